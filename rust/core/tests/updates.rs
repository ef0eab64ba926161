//! Dictionary updates on every instruction set of this machine, against naive float64 arithmetic.

mod common;
mod update;

use common::{Random, gamma, inner, length, team, widened};
use icfl_core::codes::Codes;
use icfl_core::kernels::Simd;
use icfl_core::update::{Adam, Batch, Moved, Online, Parting, coherent_pairs};
use proptest::prelude::*;
use update::{Samples, U, bits, check_adam, check_recoded, check_statistics, check_sweep, close};

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
