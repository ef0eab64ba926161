//! Every encoder on every instruction set of this machine, against naive float64 runs.
//!
//! A naive run also follows how far float32 arithmetic can be from it, in guaranteed bounds. u = 2⁻²⁴,
//! γ(k) = k u / (1 − k u), N the largest norm of an atom:
//!
//! - An inner product of d terms is off by at most γ(d) times the product of the norms.
//! - The L scores of a round are off by N·drift + rounding: drift is how far the residual may be off,
//!   rounding is γ(d) N ‖x‖ and, on the Gram path, what subtracting L Gram rows a round adds.
//! - Its Gram block is off by at most w = L γ(d) N² (in norm). With K = G + ridge and h ≥ ‖K⁻¹‖, a
//!   solution is therefore off by h (√L error + w ‖a‖) / (1 − h w).
//! - An exact step on a drifted residual does not increase the drift, as it is a contraction. What it
//!   adds is at most √h (√L rounding + w ‖a‖), since ‖Dᵀ K⁻¹‖² ≤ ‖K⁻¹‖, and the rounding of the sums.
//!
//! Where every decision of a row is wider than its error, supports have to be the same. As both paths
//! are held to the same run, they are held to each other.

mod common;

use common::{Random, gamma, inner, length, team, widened};
use icfl_core::codes::Codes;
use icfl_core::dictionary::Dictionary;
use icfl_core::encode::{Icfl, Inputs, Omp, Selection, encode_icfl, encode_omp, encode_topk};
use icfl_core::kernels::Simd;
use icfl_core::rows::Rows;
use icfl_core::team::Team;
use icfl_core::{Error, Result};
use ndarray::ArrayView2;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::Cell;

const RIDGE: f64 = 1e-6;
const DEPENDENT: f64 = 1e-6;
const U: f64 = f32::EPSILON as f64 / 2.0;

#[derive(Clone, Copy, Debug)]
enum Encoder {
    TopK(usize),
    Icfl(Icfl),
    Omp(Omp),
}

impl Encoder {
    fn encode(self, inputs: &Inputs<'_>, team: &Team<'_>) -> Result<Codes> {
        match self {
            Encoder::TopK(k) => encode_topk(inputs, k, team),
            Encoder::Icfl(options) => encode_icfl(inputs, &options, team),
            Encoder::Omp(options) => encode_omp(inputs, &options, team),
        }
    }

    /// The same encoder on the Gram matrix and without it.
    fn paths(self) -> Vec<Encoder> {
        let both = [true, false].into_iter();
        match self {
            Encoder::TopK(_) => vec![self],
            Encoder::Icfl(o) => both.map(|use_gram| Encoder::Icfl(Icfl { use_gram, ..o })).collect(),
            Encoder::Omp(o) => both.map(|use_gram| Encoder::Omp(Omp { use_gram, ..o })).collect(),
        }
    }

    fn naive(self, problem: &Problem, x: &[f64]) -> Naive {
        match self {
            _ if length(x) == 0.0 => Naive::new(problem.m),
            Encoder::TopK(k) => naive_topk(problem, x, k),
            Encoder::Icfl(options) => naive_icfl(problem, x, &options),
            Encoder::Omp(options) => naive_omp(problem, x, &options),
        }
    }

    fn most(self, problem: &Problem) -> usize {
        match self {
            Encoder::TopK(k) => k.min(problem.m),
            Encoder::Icfl(o) => (o.n_iterations * o.atoms_per_iteration).min(problem.m),
            Encoder::Omp(o) => o.n_nonzero.min(problem.m).min(problem.d),
        }
    }
}

/// Samples, atoms and a bias of random values.
#[derive(Debug)]
struct Problem {
    d: usize,
    m: usize,
    x: Vec<f32>,
    atoms: Vec<f32>,
    bias: Vec<f32>,
}

impl Problem {
    /// Unit atoms and no bias for even seeds; else norms from 0.5 to 2, and a zero atom among them.
    fn new(n: usize, d: usize, m: usize, seed: u64) -> Problem {
        let mut random = Random(seed);
        let (mut atoms, mut bias) = (random.directions(m, d), vec![0.0; d]);
        if seed % 2 == 1 {
            for atom in atoms.chunks_mut(d) {
                let scale = random.uniform(0.5, 2.0);
                atom.iter_mut().for_each(|v| *v *= scale);
            }
            let zero = random.below(m);
            atoms[zero * d..(zero + 1) * d].fill(0.0);
            bias = random.values(d);
        }
        Problem { d, m, x: random.values(n * d), atoms, bias }
    }

    /// Small integers, on which float32 is exact.
    fn integers(n: usize, d: usize, atoms: Vec<f32>, seed: u64) -> Problem {
        let mut random = Random(seed);
        let x = (0..n * d).map(|_| random.below(11) as f32 - 5.0).collect();
        Problem { d, m: atoms.len() / d, x, atoms, bias: vec![0.0; d] }
    }

    fn encode(&self, encoder: Encoder, simd: Simd, n_jobs: usize) -> Result<Codes> {
        let dictionary = Dictionary::new(self.atoms.clone(), self.d, simd)?;
        let rows = ArrayView2::from_shape((self.x.len() / self.d, self.d), &self.x).unwrap();
        let inputs = Inputs::new(Rows::F32(rows), Some(&self.bias), &dictionary)?;
        encoder.encode(&inputs, &team(n_jobs))
    }

    /// x − bias, rounded to float32 as it is defined to be.
    fn rows(&self) -> impl Iterator<Item = Vec<f64>> + '_ {
        let centred = |(&x, &b): (&f32, &f32)| f64::from((f64::from(x) - f64::from(b)) as f32);
        self.x.chunks(self.d).map(move |row| row.iter().zip(&self.bias).map(centred).collect())
    }

    fn atom(&self, m: usize) -> Vec<f64> {
        widened(&self.atoms[m * self.d..(m + 1) * self.d])
    }

    fn largest_norm(&self) -> f64 {
        (0..self.m).map(|m| length(&self.atom(m))).fold(0.0, f64::max)
    }

    /// Scores by rank; a zero atom scores zero in any arithmetic, so that no threshold of 0 lets it in.
    fn ranks(&self, r: &[f64], selection: Selection, entry: f64) -> Vec<f64> {
        let rank = |m| {
            let atom = self.atom(m);
            let score = inner(&atom, r);
            match selection {
                _ if entry >= 0.0 && length(&atom) == 0.0 => f64::NEG_INFINITY,
                Selection::Positive => score,
                Selection::Absolute => score.abs(),
            }
        };
        (0..self.m).map(rank).collect()
    }

    fn gram(&self, atoms: &[usize]) -> Vec<Vec<f64>> {
        let products = |&a: &usize| atoms.iter().map(|&b| inner(&self.atom(a), &self.atom(b))).collect();
        atoms.iter().map(products).collect()
    }

    /// x − Σ a_l d_l.
    fn residual(&self, x: &[f64], atoms: &[usize], a: &[f64]) -> Vec<f64> {
        let mut r = x.to_vec();
        for (&m, a) in atoms.iter().zip(a) {
            r.iter_mut().zip(self.atom(m)).for_each(|(r, v)| *r -= a * v);
        }
        r
    }
}

/// A code, whether float32 must take the same atoms, and how far its coefficients may be off.
#[derive(Debug)]
struct Naive {
    code: Vec<f64>,
    clear: bool,
    error: f64,
}

impl Naive {
    fn new(m: usize) -> Naive {
        Naive { code: vec![0.0; m], clear: true, error: 0.0 }
    }
}

/// What a score must exceed; see `encode::entry_score`.
fn entry_score(threshold: f32, x: &[f64], norm: f64) -> f64 {
    let threshold = f64::from(threshold);
    if threshold < 0.0 { threshold } else { threshold.max(16.0 * U * length(x) * norm) }
}

/// The best `count` atoms above `entry`, and whether scores off by `error` leave the choice as it is.
fn best(ranks: &[f64], count: usize, entry: f64, error: f64) -> (Vec<usize>, bool) {
    let mut order: Vec<_> = (0..ranks.len()).filter(|&m| ranks[m] > entry).collect();
    order.sort_by(|&a, &b| ranks[b].total_cmp(&ranks[a]).then(a.cmp(&b)));
    let next = order.get(count).map_or(f64::NEG_INFINITY, |&m| ranks[m]);
    order.truncate(count);
    let clear = match order.get(count - 1) {
        Some(&last) => ranks[last] - entry > error && ranks[last] - next > 2.0 * error,
        None => ranks.iter().all(|rank| (rank - entry).abs() > error),
    };
    (order, clear)
}

/// K⁻¹ of a positive definite matrix, by Gauss and Jordan; not finite when it is singular.
fn inverse(mut k: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = k.len();
    for (i, row) in k.iter_mut().enumerate() {
        row.extend((0..n).map(|j| f64::from(i == j)));
    }
    for i in 0..n {
        let pivot = k[i][i];
        k[i].iter_mut().for_each(|v| *v /= pivot);
        let own = k[i].clone();
        for (_, row) in k.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            row.iter_mut().zip(&own).for_each(|(v, o)| *v -= factor * o);
        }
    }
    k.into_iter().map(|row| row[n..].to_vec()).collect()
}

fn naive_topk(p: &Problem, x: &[f64], k: usize) -> Naive {
    let mut out = Naive::new(p.m);
    out.error = gamma(p.d) * p.largest_norm() * length(x);
    let ranks = p.ranks(x, Selection::Positive, 0.0);
    let (chosen, clear) = best(&ranks, k, 0.0, out.error);
    out.clear = clear;
    chosen.iter().for_each(|&m| out.code[m] = ranks[m]);
    out
}

fn naive_icfl(p: &Problem, x: &[f64], options: &Icfl) -> Naive {
    let (mut out, mut r, norm) = (Naive::new(p.m), x.to_vec(), p.largest_norm());
    let entry = entry_score(options.threshold, x, norm);
    let (mut drift, mut rounding, mut taken) = (0.0, gamma(p.d + 2) * norm * length(x), 0.0);
    for _ in 0..options.n_iterations {
        let error = norm * drift + rounding;
        let ranks = p.ranks(&r, options.selection, entry);
        let (s, clear) = best(&ranks, options.atoms_per_iteration, entry, error);
        if s.is_empty() || !clear {
            return Naive { clear: out.clear && clear, ..out };
        }
        let mut k = p.gram(&s);
        let ridge = RIDGE * (0..s.len()).map(|l| k[l][l]).fold(0.0, f64::max);
        (0..s.len()).for_each(|l| k[l][l] += ridge);
        let scores: Vec<_> = s.iter().map(|&m| inner(&p.atom(m), &r)).collect();
        let Some(fit) = Fit::new(p, k, &scores, error) else { return Naive { clear: false, ..out } };
        s.iter().zip(&fit.a).for_each(|(&m, a)| out.code[m] += a);
        taken += fit.size;
        out.error += fit.error + 2.0 * U * taken;
        let sums = gamma(s.len() + 2) * (length(&r) + drift + fit.root * fit.size * norm);
        r = p.residual(&r, &s, &fit.a);
        drift += fit.h.sqrt() * (fit.root * rounding + fit.wrong * fit.size) + sums;
        rounding +=
            gamma(p.d) * norm * norm * fit.root * fit.size + norm * sums + gamma(s.len() + 2) * rounding;
    }
    out
}

fn naive_omp(p: &Problem, x: &[f64], options: &Omp) -> Naive {
    let (mut out, norm) = (Naive::new(p.m), p.largest_norm());
    let entry = entry_score(options.threshold, x, norm);
    let rounding = gamma(p.d + 2) * norm * length(x);
    let (mut s, mut r, mut error, mut a) = (Vec::new(), x.to_vec(), rounding, Vec::new());
    for _ in 0..options.n_nonzero.min(p.m).min(p.d) {
        let mut ranks = p.ranks(&r, options.selection, entry);
        s.iter().for_each(|&m: &usize| ranks[m] = f64::NEG_INFINITY);
        let (chosen, clear) = best(&ranks, 1, entry, error);
        out.clear &= clear;
        let Some(&m) = chosen.first().filter(|_| clear) else { break };
        s.push(m);
        let scores: Vec<_> = s.iter().map(|&m| inner(&p.atom(m), x)).collect();
        // Dependent atoms, and nearly dependent ones, end here as not clear: 1 / pivot ≤ h.
        let fit = Fit::new(p, p.gram(&s), &scores, rounding);
        let own = length(&p.atom(m)).powi(2);
        let Some(fit) = fit.filter(|fit| fit.h * DEPENDENT * own < 0.5) else {
            out.clear = false;
            break;
        };
        let sums = gamma(s.len() + 2) * (length(x) + fit.root * fit.size * norm);
        let drift = fit.h.sqrt() * (fit.root * rounding + fit.wrong * fit.size) + sums;
        error = norm * (drift + sums) + rounding + gamma(p.d) * norm * norm * fit.root * fit.size;
        out.error = fit.error + 2.0 * U * fit.size;
        r = p.residual(x, &s, &fit.a);
        a = fit.a;
    }
    s.iter().zip(&a).for_each(|(&m, a)| out.code[m] = *a);
    out
}

/// K a = scores, with what the bounds need.
struct Fit {
    a: Vec<f64>,
    /// At least ‖K⁻¹‖.
    h: f64,
    /// At most by how much K may be off.
    wrong: f64,
    /// At most by how much a may be off.
    error: f64,
    /// At least ‖a‖ as float32 arithmetic finds it.
    size: f64,
    /// √L.
    root: f64,
}

impl Fit {
    /// None when float32 arithmetic cannot be held to any solution.
    fn new(p: &Problem, k: Vec<Vec<f64>>, scores: &[f64], error: f64) -> Option<Fit> {
        let n = scores.len() as f64;
        let inverse = inverse(k);
        let a: Vec<f64> = inverse.iter().map(|row| inner(row, scores)).collect();
        let h = inverse.iter().map(|row| inner(row, row)).sum::<f64>().sqrt();
        let wrong = n * gamma(p.d + 1) * p.largest_norm().powi(2);
        let error = h * (n.sqrt() * error + wrong * length(&a)) / (1.0 - h * wrong);
        let size = length(&a) + error;
        (h * wrong < 0.5).then_some(Fit { a, h, wrong, error, size, root: n.sqrt() })
    }
}

/// Holds codes to naive runs where those are clear, and to the face of codes everywhere.
fn check(codes: &Codes, naive: &[Naive], m: usize, most: usize) -> std::result::Result<(), TestCaseError> {
    let view = codes.view(m).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(view.len(), naive.len());
    for (i, naive) in naive.iter().enumerate() {
        let row: Vec<_> = view.row(i).collect();
        prop_assert!(row.windows(2).all(|pair| pair[0].0 < pair[1].0) && row.len() <= most);
        prop_assert!(row.iter().all(|(_, value)| value.is_finite() && *value != 0.0));
        if naive.clear {
            let expected: Vec<_> = (0..m).filter(|&m| naive.code[m] != 0.0).collect();
            prop_assert_eq!(row.iter().map(|entry| entry.0).collect::<Vec<_>>(), expected, "row {}", i);
            for (m, value) in row {
                let error = (f64::from(value) - naive.code[m]).abs();
                prop_assert!(error <= naive.error, "row {i}, atom {m}: {error} > {}", naive.error);
            }
        }
    }
    Ok(())
}

/// Random shapes and options, all paths, all levels; `least` is the share of rows that must be clear.
fn agrees(encoders: impl Strategy<Value = Encoder>, least: f64) {
    let (rows, clear) = (Cell::new(0), Cell::new(0));
    let shapes = (1usize..12, 1usize..41, 1usize..81, any::<u64>());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let result = runner.run(&(shapes, encoders), |((n, d, m, seed), encoder)| {
        let problem = Problem::new(n, d, m, seed);
        let naive: Vec<_> = problem.rows().map(|x| encoder.naive(&problem, &x)).collect();
        rows.set(rows.get() + n);
        clear.set(clear.get() + naive.iter().filter(|row| row.clear).count());
        for simd in Simd::available() {
            for path in encoder.paths() {
                let codes = problem.encode(path, simd, 1).unwrap();
                check(&codes, &naive, m, encoder.most(&problem))
                    .map_err(|error| TestCaseError::fail(format!("{}, {path:?}: {error}", simd.name())))?;
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let share = f64::from(clear.get() as u32) / rows.get() as f64;
    assert!(share > least, "only {share} of the rows were clear");
}

fn selections() -> impl Strategy<Value = Selection> {
    prop_oneof![Just(Selection::Positive), Just(Selection::Absolute)]
}

#[test]
fn topk_agrees_with_float64() {
    agrees((1usize..100).prop_map(Encoder::TopK), 0.9);
}

#[test]
fn icfl_agrees_with_float64() {
    let thresholds = prop_oneof![Just(0.0f32), 0.05f32..0.8, Just(f32::NEG_INFINITY)];
    let options = (1usize..7, 1usize..6, thresholds, selections());
    let icfl = options.prop_map(|(n_iterations, atoms_per_iteration, threshold, selection)| {
        Encoder::Icfl(Icfl { n_iterations, atoms_per_iteration, threshold, selection, use_gram: true })
    });
    agrees(icfl, 0.6);
}

#[test]
fn omp_agrees_with_float64() {
    let thresholds = prop_oneof![Just(0.0f32), 0.05f32..0.8];
    let options = (1usize..12, thresholds, selections());
    let omp = options.prop_map(|(n_nonzero, threshold, selection)| {
        Encoder::Omp(Omp { n_nonzero, threshold, selection, use_gram: true })
    });
    agrees(omp, 0.6);
}

fn encoders() -> Vec<Encoder> {
    let icfl = |threshold, selection| Icfl {
        n_iterations: 4,
        atoms_per_iteration: 3,
        threshold,
        selection,
        use_gram: true,
    };
    let omp = |selection| Omp { n_nonzero: 6, threshold: 0.0, selection, use_gram: true };
    let families = [
        Encoder::TopK(5),
        Encoder::Icfl(icfl(0.0, Selection::Positive)),
        Encoder::Icfl(icfl(f32::NEG_INFINITY, Selection::Positive)),
        Encoder::Icfl(icfl(0.1, Selection::Absolute)),
        Encoder::Omp(omp(Selection::Positive)),
        Encoder::Omp(omp(Selection::Absolute)),
    ];
    families.into_iter().flat_map(Encoder::paths).collect()
}

/// Every encoder on every level.
fn each(problem: &Problem, mut body: impl FnMut(Encoder, &dyn Fn(usize) -> Codes)) {
    for encoder in encoders() {
        for simd in Simd::available() {
            body(encoder, &|n_jobs| problem.encode(encoder, simd, n_jobs).unwrap());
        }
    }
}

#[test]
fn same_bits_for_any_number_of_jobs() {
    // 600 rows are more than one tile, whose height does not depend on the number of jobs.
    each(&Problem::new(600, 24, 70, 3), |encoder, codes| {
        let one = codes(1);
        for n_jobs in [2, 5] {
            let other = codes(n_jobs);
            assert_eq!((&one.starts, &one.indices), (&other.starts, &other.indices), "{encoder:?}");
            let bits = |codes: &Codes| codes.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one), bits(&other), "{encoder:?}");
        }
    });
}

#[test]
fn nothing_to_explain_gives_empty_codes() {
    let bias = vec![0.25, -1.0, 3.0];
    let problem = Problem { x: bias.repeat(20), bias, ..Problem::new(20, 3, 7, 0) };
    each(&problem, |encoder, codes| assert_eq!(codes(2).starts, [0; 21], "{encoder:?}"));
    let problem = Problem { atoms: vec![0.0; 21], ..Problem::new(20, 3, 7, 0) };
    each(&problem, |encoder, codes| assert_eq!(codes(2).starts, [0; 21], "{encoder:?}"));
    let problem = Problem { x: Vec::new(), ..Problem::new(1, 3, 7, 0) };
    each(&problem, |encoder, codes| assert_eq!(codes(2).starts, [0], "{encoder:?}"));
}

#[test]
fn ties_go_to_the_lower_index() {
    // Atoms ±e_j, each twice, scores small integers: nothing is rounded before the first choice.
    let units: Vec<f32> = (0..4).flat_map(|j| (0..4).map(move |t| f32::from(u8::from(t == j)))).collect();
    let atoms = [units.clone(), units.iter().map(|v| -v).collect(), units.clone(), units].concat();
    for seed in 0..20 {
        let problem = Problem::integers(40, 4, atoms.clone(), seed);
        each(&problem, |encoder, codes| {
            let codes = codes(1);
            let view = codes.view(problem.m).unwrap();
            for (i, x) in problem.rows().enumerate() {
                let chosen: Vec<_> = view.row(i).map(|entry| entry.0).collect();
                // Copies at 8 + j and 12 + j never join without the one before them.
                assert!(
                    chosen.iter().all(|&m| m < 8 || chosen.contains(&(if m < 12 { m - 8 } else { m - 4 })))
                );
                if !matches!(encoder, Encoder::Omp(_)) {
                    continue;
                }
                // Orthogonal atoms: the code is the input itself, by first copies alone.
                let absolute = matches!(encoder, Encoder::Omp(Omp { selection: Selection::Absolute, .. }));
                let expected = |j: &usize| x[*j] > 0.0 || (absolute && x[*j] != 0.0);
                let first = (0..4).filter(expected).count();
                assert_eq!(chosen.iter().filter(|&&m| m < 4).count(), first, "{encoder:?} {x:?} {chosen:?}");
            }
        });
    }
}

#[test]
fn duplicates_chosen_together_share_the_coefficient() {
    let problem = Problem { x: vec![2.0, 0.0], ..Problem::integers(1, 2, vec![1.0, 0.0, 1.0, 0.0], 0) };
    let icfl = |use_gram| Icfl {
        n_iterations: 1,
        atoms_per_iteration: 2,
        threshold: 0.0,
        selection: Selection::Positive,
        use_gram,
    };
    // (1 + ridge) a + a = 2 for both.
    let expected = 2.0 / (2.0 + RIDGE);
    for simd in Simd::available() {
        for use_gram in [true, false] {
            let codes = problem.encode(Encoder::Icfl(icfl(use_gram)), simd, 1).unwrap();
            assert_eq!(codes.indices, [0, 1]);
            assert!(codes.values.iter().all(|&a| (f64::from(a) - expected).abs() <= 2.0 * U));
        }
    }
}

#[test]
fn more_nonzeros_than_atoms() {
    let problem = Problem::new(30, 20, 4, 0);
    let icfl = Icfl {
        n_iterations: 1,
        atoms_per_iteration: 99,
        threshold: f32::NEG_INFINITY,
        selection: Selection::Positive,
        use_gram: true,
    };
    let omp = Omp { n_nonzero: 99, threshold: 0.0, selection: Selection::Absolute, use_gram: true };
    for (encoder, full) in
        [(Encoder::TopK(99), false), (Encoder::Icfl(icfl), true), (Encoder::Omp(omp), true)]
    {
        let naive: Vec<_> = problem.rows().map(|x| encoder.naive(&problem, &x)).collect();
        assert!(naive.iter().all(|row| row.clear));
        // All atoms at once: the least-squares solution, which has no zeros.
        assert!(!full || naive.iter().all(|row| row.code.iter().all(|&a| a != 0.0)));
        for simd in Simd::available() {
            for path in encoder.paths() {
                check(&problem.encode(path, simd, 1).unwrap(), &naive, 4, 4).unwrap();
            }
        }
    }
}

#[test]
fn bad_inputs_are_named() {
    let problem = Problem::new(40, 6, 9, 0);
    let simd = Simd::detect().unwrap();
    for encoder in encoders() {
        let refused = |problem: Problem| problem.encode(encoder, simd, 2).unwrap_err().to_string();
        let mut x = problem.x.clone();
        x[33 * 6 + 4] = f32::NAN;
        let error = Problem { x, ..Problem::new(1, 6, 9, 0) }.encode(encoder, simd, 2).unwrap_err();
        assert_eq!(error, Error::NotFinite { row: 33, column: 4 });
        assert!(refused(Problem { bias: vec![0.0; 5], ..Problem::new(1, 6, 9, 0) }).contains("bias"));
        let mut atoms = problem.atoms.clone();
        atoms[7 * 6] = f32::INFINITY;
        assert!(refused(Problem { atoms, ..Problem::new(1, 6, 9, 0) }).contains("atom 7"));
    }
    let dictionary = Dictionary::new(problem.atoms.clone(), 6, simd).unwrap();
    let rows = ArrayView2::from_shape((20, 12), &problem.x).unwrap();
    let error = Inputs::new(Rows::F32(rows), None, &dictionary).unwrap_err().to_string();
    assert!(error.contains('6') && error.contains("12"));
}

#[test]
fn a_request_to_stop_is_heeded() {
    let problem = Problem::new(40, 6, 9, 0);
    let cancel = icfl_core::cancel::Cancel::new();
    cancel.cancel();
    let dictionary = Dictionary::new(problem.atoms.clone(), 6, Simd::detect().unwrap()).unwrap();
    let rows = ArrayView2::from_shape((40, 6), &problem.x).unwrap();
    let inputs = Inputs::new(Rows::F32(rows), None, &dictionary).unwrap();
    for encoder in encoders() {
        let result = encoder.encode(&inputs, &Team::new(Some(2), &cancel));
        assert_eq!(result, Err(Error::Cancelled), "{encoder:?}");
    }
}
