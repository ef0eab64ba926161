//! Dictionary updates on every instruction set of this machine, against naive float64 arithmetic.
//!
//! Each step is compared with the naive one from the very float32 state before it, so that bounds need
//! not follow rounding through earlier steps. γ(k) = k u / (1 − k u) bounds k float32 roundings in a row.

mod common;

use common::{Random, gamma, inner, length, team, widened};
use icfl_core::codes::Codes;
use icfl_core::kernels::Simd;
use icfl_core::update::{Adam, Batch, Moved, Online, Parting, coherent_pairs};
use proptest::prelude::*;

const U: f64 = f32::EPSILON as f64 / 2.0;

/// Rows of inputs and their codes, of which about a fifth are not zero.
struct Samples {
    n: usize,
    d: usize,
    m: usize,
    x: Vec<f32>,
    codes: Codes,
}

impl Samples {
    /// Atom 0 is in no code, atom 1 in all.
    fn new(n: usize, d: usize, m: usize, random: &mut Random) -> Samples {
        let mut codes = Codes { starts: vec![0], ..Codes::default() };
        for _ in 0..n {
            for atom in (1..m).filter(|&atom| atom == 1 || random.below(5) == 0).collect::<Vec<_>>() {
                codes.indices.push(atom as i32);
                codes.values.push(random.uniform(-1.0, 2.0));
            }
            codes.starts.push(codes.indices.len() as i64);
        }
        Samples { n, d, m, x: random.values(n * d), codes }
    }

    fn batch(&self) -> Batch<'_> {
        Batch::new(&self.x, self.d, self.codes.view(self.m).unwrap()).unwrap()
    }

    /// Code of one sample, with zeros.
    fn code(&self, i: usize) -> Vec<f64> {
        let mut z = vec![0.0; self.m];
        self.codes.view(self.m).unwrap().row(i).for_each(|(m, value)| z[m] = f64::from(value));
        z
    }

    fn input(&self, i: usize) -> Vec<f64> {
        widened(&self.x[i * self.d..(i + 1) * self.d])
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Checks `|found − expected| ≤ bound` everywhere.
fn close(found: &[f32], expected: &[f64], bound: &[f64]) -> Result<(), TestCaseError> {
    prop_assert!(found.len() == expected.len() && found.len() == bound.len());
    for (i, (&found, (expected, bound))) in found.iter().zip(expected.iter().zip(bound)).enumerate() {
        let error = (f64::from(found) - expected).abs();
        prop_assert!(error <= *bound, "at {i}: {found} for {expected}, {error} > {bound}");
    }
    Ok(())
}

/// Gradients of the mean of ‖x − Σ z_m d_m − b‖², atoms then bias, with bounds on their error.
fn gradients(samples: &Samples, components: &[f32], bias: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let Samples { n, d, m, .. } = *samples;
    let (mut gradients, mut bounds) = (vec![0.0; (m + 1) * d], vec![0.0; (m + 1) * d]);
    for i in 0..n {
        let (z, x) = (samples.code(i), samples.input(i));
        let used = z.iter().filter(|z| **z != 0.0).count();
        for t in 0..d {
            let terms = (0..m).map(|m| z[m] * f64::from(components[m * d + t]));
            let b = f64::from(bias[t]);
            let r = x[t] - b - terms.clone().sum::<f64>();
            // Each term is rounded as a product and in every sum after it, then x takes it off.
            let off = gamma(used + 3) * (x[t].abs() + b.abs() + terms.map(f64::abs).sum::<f64>());
            for (atom, z) in z.iter().chain([&1.0]).enumerate() {
                let scale = -2.0 * z / n as f64;
                gradients[atom * d + t] += scale * r;
                bounds[atom * d + t] += scale.abs() * (off + gamma(n + 4) * (r.abs() + off));
            }
        }
    }
    (gradients, bounds)
}

/// What Adam subtracts at step t from its moments: Kingma & Ba (2015), Algorithm 1.
fn adam_step(rate: f64, first: f64, second: f64, t: i32) -> f64 {
    let (first, second) = (first / (1.0 - 0.9f64.powi(t)), second / (1.0 - 0.999f64.powi(t)));
    rate * first / (second.sqrt() + 1e-8)
}

/// Holds one step to the naive one.
fn check_adam(
    samples: &Samples,
    before: (&Adam, &Moved),
    after: (&Adam, &Moved),
) -> Result<(), TestCaseError> {
    let ((state, at), (next, moved), d) = (before, after, samples.d);
    let (gradients, bounds) = gradients(samples, &at.components, &at.bias);
    let values = widened(&[&at.components[..], &at.bias[..]].concat());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (mut expected, mut off) = (Vec::new(), Vec::new());
    for (i, (&g, &bound)) in gradients.iter().zip(&bounds).enumerate() {
        let one = 0.9 * f64::from(state.first[i]) + 0.1 * g;
        let two = 0.999 * f64::from(state.second[i]) + 0.001 * g * g;
        let (one_off, two_off) = (0.1 * bound, 0.001 * (2.0 * g.abs() * bound + bound * bound));
        first.push((one, one_off + U * (one.abs() + one_off)));
        second.push((two, two_off + U * (two + two_off)));
        // The step is monotone in each moment, so it is farthest off at a corner.
        let t = next.steps as i32;
        let step = adam_step(state.learning_rate, one, two, t);
        let corners = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)].map(|(a, b)| {
            let corner = (one + a * one_off, (two + b * two_off).max(0.0));
            (adam_step(state.learning_rate, corner.0, corner.1, t) - step).abs()
        });
        expected.push(values[i] - step);
        // A float32 quotient of float32 roundings, of one of them the root, is off by 5 U.
        off.push(corners.into_iter().fold(0.0, f64::max) + U * (2.0 * values[i].abs() + 7.0 * step.abs()));
    }
    if state.unit_norm {
        for (atom, off) in expected.chunks_mut(d).zip(off.chunks_mut(d)).take(samples.m) {
            // v/‖v‖ moves by at most 2/‖v‖ of what v moves by.
            let (norm, by) = (length(atom), length(off));
            atom.iter_mut().for_each(|v| *v /= norm);
            off.iter_mut().for_each(|off| *off = 2.0 * by / norm + 2.0 * U);
        }
    }
    close(&[&moved.components[..], &moved.bias[..]].concat(), &expected, &off)?;
    for (found, wanted) in [(&next.first, first), (&next.second, second)] {
        let (wanted, off): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        close(found, &wanted, &off)?;
    }
    Ok(())
}

/// Holds the statistics after a mini-batch to those before it.
fn check_statistics(
    samples: &Samples,
    before: &Online,
    keep: f32,
    after: &Online,
) -> Result<(), TestCaseError> {
    let Samples { n, d, m, .. } = *samples;
    let kept = |values: &[f32]| -> Vec<(f64, f64)> {
        values.iter().map(|&v| f64::from(v) * f64::from(keep)).map(|v| (v, v.abs())).collect()
    };
    let mut a = kept(&before.code_products);
    let mut b = kept(&before.code_inputs);
    let mut s = kept(&before.code_sums);
    let mut t = kept(&before.input_sums);
    let add = |entry: &mut (f64, f64), term: f64| *entry = (entry.0 + term, entry.1 + term.abs());
    for i in 0..n {
        let (z, x) = (samples.code(i), samples.input(i));
        for p in 0..m {
            (0..m).for_each(|q| add(&mut a[p * m + q], z[p] * z[q]));
            (0..d).for_each(|q| add(&mut b[p * d + q], z[p] * x[q]));
            add(&mut s[p], z[p]);
        }
        (0..d).for_each(|q| add(&mut t[q], x[q]));
    }
    let pairs =
        [(a, &after.code_products), (b, &after.code_inputs), (s, &after.code_sums), (t, &after.input_sums)];
    for (expected, found) in pairs {
        let (values, sizes): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
        // Each term is rounded once as a product and at most n times in sums, what was kept likewise.
        let bounds: Vec<_> = sizes.into_iter().map(|size| gamma(n + 2) * size).collect();
        close(found, &values, &bounds)?;
    }
    prop_assert_eq!(after.weight, before.weight * f64::from(keep) + n as f64);
    Ok(())
}

/// Holds statistics after a parting to those of the codes that it stands for, n of them, summed in float64.
fn check_recoded(samples: &Samples, parting: &Parting<'_>, found: &Online) -> Result<(), TestCaseError> {
    let Samples { n, d, m, .. } = *samples;
    let rewritten = |code: Vec<f64>, sign: fn(f64) -> f64| {
        let mut z = code.into_iter().map(sign).collect::<Vec<_>>();
        let own = z[parting.atom];
        let weights = parting.weights.iter().map(|&w| sign(f64::from(w)));
        parting.others.iter().zip(weights).for_each(|(&other, w)| z[other] += w * own);
        z[parting.atom] = sign(f64::from(parting.left)) * own;
        z
    };
    // Sums of products and of their magnitudes, which cancellation leaves alone.
    let summed = |sign: fn(f64) -> f64| {
        let (mut a, mut b, mut s) = (vec![0.0; m * m], vec![0.0; m * d], vec![0.0; m]);
        for i in 0..n {
            let (z, x) = (rewritten(samples.code(i), sign), samples.input(i));
            for p in 0..m {
                (0..m).for_each(|q| a[p * m + q] += z[p] * z[q]);
                (0..d).for_each(|q| b[p * d + q] += z[p] * sign(x[q]));
                s[p] += z[p];
            }
        }
        [a, b, s]
    };
    // n products and sums, then at most two products and two sums, of rows and of columns.
    let bounds = summed(f64::abs).map(|sizes| sizes.iter().map(|v| gamma(n + 6) * v).collect::<Vec<_>>());
    let found = [&found.code_products, &found.code_inputs, &found.code_sums];
    for ((found, expected), bound) in found.into_iter().zip(summed(|v| v)).zip(&bounds) {
        close(found, &expected, bound)?;
    }
    Ok(())
}

/// Holds each atom of a sweep to its optimum given the atoms as they then were: those before it moved,
/// those after it not yet.
fn check_sweep(online: &Online, start: &[f32], moved: &Moved, unit_norm: bool) -> Result<(), TestCaseError> {
    let (m, d) = (online.n_components(), online.n_features);
    let bias = widened(&moved.bias);
    let (mut atoms, before) = (widened(start), widened(start));
    for p in 0..m {
        let found = widened(&moved.components[p * d..(p + 1) * d]);
        let row = widened(&online.code_products[p * m..(p + 1) * m]);
        if row[p] == 0.0 {
            prop_assert_eq!(bits(&moved.components[p * d..(p + 1) * d]), bits(&start[p * d..(p + 1) * d]));
            continue;
        }
        // Direction B_p − s_p b − Σ_{q≠p} A_pq d_q, and the lengths of all terms that are rounded: with
        // the old d_q first, and for a d_q of the same block what it has changed by since. No term is
        // rounded more often than there are additions, 2 M + 2, and in its product.
        let mut optimum = widened(&online.code_inputs[p * d..(p + 1) * d]);
        let sum = f64::from(online.code_sums[p]);
        let mut size = length(&optimum) + sum.abs() * length(&bias);
        optimum.iter_mut().zip(&bias).for_each(|(u, b)| *u -= sum * b);
        for q in 0..m {
            let (now, old) = (&atoms[q * d..(q + 1) * d], &before[q * d..(q + 1) * d]);
            size += row[q].abs() * (2.0 * length(old) + length(now));
            if q != p {
                optimum.iter_mut().zip(now).for_each(|(u, v)| *u -= row[q] * v);
            }
        }
        optimum.iter_mut().for_each(|v| *v /= row[p]);
        let norm = length(&optimum);
        let mut off = gamma(2 * m + 4) * size / row[p] + 2.0 * U * norm;
        if unit_norm {
            // v/‖v‖ moves by at most 2/‖v‖ of what v moves by.
            optimum.iter_mut().for_each(|v| *v /= norm);
            off = 2.0 * off / norm + 2.0 * U;
        }
        let error = length(&found.iter().zip(&optimum).map(|(f, o)| f - o).collect::<Vec<_>>());
        prop_assert!(error <= off, "atom {p}: {error} > {off}");
        atoms[p * d..(p + 1) * d].copy_from_slice(&found);
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Mostly narrow; some of more than one panel of any loop.
fn widths() -> impl Strategy<Value = usize> {
    prop_oneof![15 => 1usize..20, 1 => 20usize..290]
}

/// Statistics of one mini-batch.
fn seen(samples: &Samples, simd: Simd) -> Online {
    Online::new(samples.m, samples.d).accumulated(&samples.batch(), 1.0, simd, &team(1)).unwrap()
}

proptest! {
    #![proptest_config(config(256))]
    #[test]
    fn adam_agrees_with_float64(
        n in 1usize..12, d in widths(), m in 2usize..50, seed in any::<u64>(), unit_norm in any::<bool>(),
    ) {
        for simd in Simd::available() {
            let mut random = Random(seed);
            let mut state = Adam::new(m, d, 1e-2, unit_norm);
            let mut at = Moved { components: random.directions(m, d), bias: random.values(d) };
            for step in 1..4 {
                let samples = Samples::new(n, d, m, &mut random);
                let (next, moved) =
                    state.step(&samples.batch(), &at.components, &at.bias, simd, &team(1)).unwrap();
                prop_assert_eq!(next.steps, step);
                check_adam(&samples, (&state, &at), (&next, &moved))?;
                (state, at) = (next, moved);
            }
        }
    }

    #[test]
    fn statistics_agree_with_float64(
        n in 1usize..12, d in 1usize..20, m in 2usize..50, seed in any::<u64>(), keep in 0.0f32..=1.0,
    ) {
        for simd in Simd::available() {
            let (mut random, mut online) = (Random(seed), Online::new(m, d));
            for _ in 0..3 {
                let samples = Samples::new(n, d, m, &mut random);
                let after = online.accumulated(&samples.batch(), keep, simd, &team(1)).unwrap();
                check_statistics(&samples, &online, keep, &after)?;
                online = after;
            }
        }
    }
}

proptest! {
    #![proptest_config(config(256))]
    #[test]
    fn recoded_statistics_are_those_of_rewritten_codes(
        n in 1usize..12, d in 1usize..20, m in 2usize..30, seed in any::<u64>(), left in 0.0f32..1.0,
    ) {
        let mut random = Random(seed);
        let samples = Samples::new(n, d, m, &mut random);
        let before = seen(&samples, Simd::detect().unwrap());
        let atom = random.below(m);
        let others = (0..m).filter(|&o| o != atom && random.below(3) == 0).collect::<Vec<_>>();
        let parting = Parting { atom, others: &others, weights: &random.values(others.len()), left };
        let mut after = before.clone();
        after.recode(&parting).unwrap();
        check_recoded(&samples, &parting, &after)?;
        prop_assert_eq!((after.input_sums, after.weight), (before.input_sums, before.weight));
    }
}

proptest! {
    #![proptest_config(config(48))]
    #[test]
    fn sweeps_agree_with_float64(
        // More atoms than a block of the sweep has; samples enough for A to be well conditioned.
        d in widths(), m in 2usize..150, seed in any::<u64>(), unit_norm in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let samples = Samples::new(3 * m, d, m, &mut random);
        let start = random.directions(m, d);
        for simd in Simd::available() {
            let online = seen(&samples, simd);
            let moved = online.sweep(&start, &vec![9.0; d], unit_norm, simd, &team(1)).unwrap();
            let mean = online.input_sums.iter().map(|&t| f64::from(t) / online.weight).collect::<Vec<_>>();
            close(&moved.bias, &mean, &mean.iter().map(|b| 4.0 * U * b.abs()).collect::<Vec<_>>())?;
            check_sweep(&online, &start, &moved, unit_norm)?;
        }
    }
}

proptest! {
    #![proptest_config(config(48))]
    #[test]
    fn coherent_pairs_are_those_of_brute_force(
        // More atoms than a tile of cosines has; few features, so that many atoms nearly coincide.
        d in 1usize..6, m in 1usize..600, seed in any::<u64>(), limit in 0.0f32..1.0,
    ) {
        let mut random = Random(seed);
        let mut atoms = random.directions(m, d);
        atoms.chunks_mut(d).for_each(|atom| {
            let scale = [0.0, 0.25, 1.0, 3.0][random.below(4)];
            atom.iter_mut().for_each(|v| *v *= scale);
        });
        // A product of norms and limit against one of atoms, each rounded about d times.
        let off = gamma(2 * d + 6);
        for simd in Simd::available() {
            let found = coherent_pairs(&atoms, d, limit, simd, &team(2)).unwrap();
            prop_assert!(found.is_sorted());
            let mut found = found.into_iter().peekable();
            for i in 0..m {
                for j in i + 1..m {
                    let (a, b) = (widened(&atoms[i * d..(i + 1) * d]), widened(&atoms[j * d..(j + 1) * d]));
                    // Zero atoms give 0 > 0 in any arithmetic: no pair.
                    let cosine = inner(&a, &b) / (length(&a) * length(&b)).max(f64::MIN_POSITIVE);
                    let is_there = found.next_if_eq(&(i, j)).is_some();
                    let limit = f64::from(limit);
                    prop_assert!(
                        is_there == (cosine > limit) || (cosine - limit).abs() <= off,
                        "{}: ({i}, {j}) with cosine {cosine}, limit {limit}", simd.name()
                    );
                }
            }
            prop_assert_eq!(found.next(), None);
        }
    }
}

#[test]
fn same_bits_for_any_number_of_jobs() {
    // More atoms, and more columns, than a block of any loop has.
    let (mut random, m, d) = (Random(5), 300, 290);
    let samples = Samples::new(200, d, m, &mut random);
    let (start, bias) = (random.directions(m, d), random.values(d));
    for simd in Simd::available() {
        let all = |n_jobs: usize| {
            let (team, batch) = (team(n_jobs), samples.batch());
            let (adam, first) = Adam::new(m, d, 1e-2, true).step(&batch, &start, &bias, simd, &team).unwrap();
            let online = Online::new(m, d).accumulated(&batch, 1.0, simd, &team).unwrap();
            let second = online.sweep(&start, &bias, true, simd, &team).unwrap();
            assert!(!coherent_pairs(&start, d, 0.1, simd, &team).unwrap().is_empty());
            let floats = [
                &first.components,
                &first.bias,
                &adam.first,
                &adam.second,
                &second.components,
                &second.bias,
                &online.code_products,
                &online.code_inputs,
                &online.code_sums,
                &online.input_sums,
            ];
            (floats.map(|f| bits(f)), coherent_pairs(&start, d, 0.1, simd, &team).unwrap())
        };
        let one = all(1);
        assert_eq!(one, all(2), "{}", simd.name());
        assert_eq!(one, all(5), "{}", simd.name());
    }
}

#[test]
fn cleared_atoms_are_as_if_never_used() {
    let (mut random, m, d) = (Random(1), 12, 5);
    let samples = Samples::new(50, d, m, &mut random);
    let simd = Simd::detect().unwrap();
    let before = seen(&samples, simd);
    let mut online = before.clone();
    online.clear(&[3, 7]);
    let gone = |p: usize| p == 3 || p == 7;
    for p in 0..m {
        for q in 0..m {
            let expected = if gone(p) || gone(q) { 0.0 } else { before.code_products[p * m + q] };
            assert_eq!(online.code_products[p * m + q], expected);
        }
        let kept = |values: &[f32]| if gone(p) { vec![0.0; values.len()] } else { values.to_vec() };
        let row = p * d..(p + 1) * d;
        assert_eq!(online.code_inputs[row.clone()], kept(&before.code_inputs[row]));
        assert_eq!(online.code_sums[p], kept(&before.code_sums[p..p + 1])[0]);
        let energy = if gone(p) { 0.0 } else { before.code_products[p * m + p] / 50.0 };
        assert!((online.energy()[p] - energy).abs() <= 2.0 * f32::EPSILON * energy);
    }
    assert_eq!((&online.input_sums, online.weight), (&before.input_sums, before.weight));
    let start = random.directions(m, d);
    let moved = online.sweep(&start, &vec![0.0; d], true, simd, &team(1)).unwrap();
    for p in 0..m {
        let row = p * d..(p + 1) * d;
        assert_eq!(moved.components[row.clone()] == start[row], gone(p) || p == 0, "atom {p}");
    }
}

#[test]
fn reset_forgets_the_moments_of_some_atoms_alone() {
    let (mut random, m, d) = (Random(2), 6, 4);
    let samples = Samples::new(30, d, m, &mut random);
    let (start, bias) = (random.directions(m, d), random.values(d));
    let adam = Adam::new(m, d, 1e-2, true);
    let before = adam.step(&samples.batch(), &start, &bias, Simd::detect().unwrap(), &team(1)).unwrap().0;
    let mut after = before.clone();
    after.reset(&[1, 4], d);
    for (i, (b, a)) in
        before.first.iter().zip(&after.first).chain(before.second.iter().zip(&after.second)).enumerate()
    {
        let atom = i % ((m + 1) * d) / d;
        assert_eq!(*a, if atom == 1 || atom == 4 { 0.0 } else { *b });
        assert!(*b != 0.0 || atom == 0);
    }
    assert_eq!(after.steps, 1);
}

#[test]
fn nothing_seen_moves_nothing() {
    let start = Random(3).directions(5, 3);
    let bias = vec![0.5; 3];
    let moved = Online::new(5, 3).sweep(&start, &bias, true, Simd::detect().unwrap(), &team(1)).unwrap();
    assert_eq!(moved, Moved { components: start, bias });
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let mut random = Random(4);
    let (samples, simd) = (Samples::new(7, 3, 4, &mut random), Simd::detect().unwrap());
    let (start, bias) = (random.directions(4, 3), vec![0.0; 3]);
    let codes = samples.codes.view(4).unwrap();
    assert!(Batch::new(&samples.x[3..], 3, codes).is_err());
    assert!(Batch::new(&[], 3, Codes { starts: vec![0], ..Codes::default() }.view(4).unwrap()).is_err());
    let (batch, team) = (samples.batch(), team(1));
    let adam = Adam::new(4, 3, 1e-3, true);
    assert!(adam.step(&batch, &start[3..], &bias, simd, &team).is_err());
    assert!(adam.step(&batch, &start, &bias[1..], simd, &team).is_err());
    assert!(Adam::new(5, 3, 1e-3, true).step(&batch, &start, &bias, simd, &team).is_err());
    for (m, d) in [(5, 3), (4, 2)] {
        assert!(Online::new(m, d).accumulated(&batch, 1.0, simd, &team).is_err());
        assert!(Online::new(m, d).sweep(&start, &bias, true, simd, &team).is_err());
    }
    assert!(samples.codes.view(1).is_err());
    for (others, weights) in [(&[1, 2][..], &[0.5][..]), (&[0], &[0.5]), (&[2, 2], &[0.5, 0.5])] {
        let (before, mut after) = (seen(&samples, simd), seen(&samples, simd));
        assert!(after.recode(&Parting { atom: 0, others, weights, left: 0.5 }).is_err());
        assert_eq!(bits(&after.code_products), bits(&before.code_products));
    }
}
