//! Codes do not show how the best atoms were found: by which product, from which cache, in which tiles.
//!
//! Shapes are such that fixed-point products screen: calls with many rows, on levels that multiply integers.

mod common;
mod encoder;

use common::{Random, gamma, inner, length, team, widened};
use encoder::Encoder;
use icfl_core::codes::Codes;
use icfl_core::dictionary::Dictionary;
use icfl_core::encode::{Icfl, Inputs, Omp, Selection};
use icfl_core::kernels::Simd;
use icfl_core::rows::Rows;
use ndarray::ArrayView2;

/// How samples and atoms are distributed.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Uniform,
    /// Cubes of ratios: a few values carry the norm.
    HeavyTailed,
    /// Close to one of a few directions, with cosines up to 0.99 among them.
    Clustered,
    /// -1, 0 and 1: many equal scores.
    Signs,
}

const KINDS: [Kind; 4] = [Kind::Uniform, Kind::HeavyTailed, Kind::Clustered, Kind::Signs];

fn unit(mut x: Vec<f32>) -> Vec<f32> {
    let norm = length(&widened(&x)) as f32;
    x.iter_mut().for_each(|v| *v /= norm.max(f32::MIN_POSITIVE));
    x
}

/// `n` vectors of `d` values, of norm one but for signs.
fn vectors(kind: Kind, n: usize, d: usize, random: &mut Random) -> Vec<f32> {
    let centres: Vec<_> = (0..5).map(|_| unit(random.values(d))).collect();
    let one = |i: usize| match kind {
        Kind::Uniform => random.directions(1, d),
        Kind::HeavyTailed => {
            unit((0..d).map(|_| (random.uniform(-1.0, 1.0) / random.uniform(0.02, 1.0)).powi(3)).collect())
        }
        Kind::Clustered => {
            let (centre, away, share) = (&centres[i % 5], unit(random.values(d)), random.uniform(0.1, 0.6));
            unit(centre.iter().zip(away).map(|(c, a)| c + share * a).collect())
        }
        Kind::Signs => (0..d).map(|_| random.below(3) as f32 - 1.0).collect(),
    };
    (0..n).flat_map(one).collect()
}

#[derive(Clone, Debug)]
struct Problem {
    x: Vec<f32>,
    atoms: Vec<f32>,
    d: usize,
}

impl Problem {
    fn new(kinds: (Kind, Kind), n: usize, m: usize, d: usize, seed: u64) -> Problem {
        let mut random = Random(seed);
        let atoms = vectors(kinds.1, m, d, &mut random);
        Problem { x: vectors(kinds.0, n, d, &mut random), atoms, d }
    }

    fn dictionary(&self, simd: Simd) -> Dictionary {
        Dictionary::new(self.atoms.clone(), self.d, simd).unwrap()
    }
}

impl Encoder {
    fn codes(self, x: &[f32], dictionary: &Dictionary) -> Codes {
        let d = dictionary.n_features();
        let rows = Rows::F32(ArrayView2::from_shape((x.len() / d, d), x).unwrap());
        self.encode(&Inputs::new(rows, None, dictionary).unwrap(), &team(2)).unwrap()
    }
}

fn icfl(n_iterations: usize, atoms_per_iteration: usize, threshold: f32, selection: Selection) -> Encoder {
    Encoder::Icfl(Icfl { n_iterations, atoms_per_iteration, threshold, selection, use_gram: false })
}

fn omp(n_nonzero: usize, threshold: f32, selection: Selection) -> Encoder {
    Encoder::Omp(Omp { n_nonzero, threshold, threshold_slope: 0.0, selection, use_gram: false })
}

/// Pursuits with every kind of threshold and one to five atoms a round.
fn pursuits() -> Vec<Encoder> {
    let mut all = Vec::new();
    for selection in [Selection::Positive, Selection::Absolute] {
        for (l, threshold) in [(1, 0.0), (2, f32::NEG_INFINITY), (3, 0.15), (4, 0.0), (5, 0.0)] {
            all.push(icfl(6, l, threshold, selection));
        }
        all.extend([omp(8, 0.0, selection), omp(8, 0.1, selection)]);
    }
    all
}

/// Rows of codes, values by their bits.
fn bits(codes: &Codes) -> Vec<Vec<(u32, u32)>> {
    let row = |ends: &[_]| {
        let range = ends[0] as usize..ends[1] as usize;
        let values = codes.values[range.clone()].iter().map(|value| value.to_bits());
        codes.indices[range].iter().map(|&atom| atom as u32).zip(values).collect()
    };
    codes.starts.windows(2).map(row).collect()
}

fn assert_same(found: &[Vec<(u32, u32)>], expected: &[Vec<(u32, u32)>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "{what}, row {i}");
    }
}

#[test]
fn the_gram_path_and_the_residual_path_give_the_same_bits() {
    let kinds = KINDS.into_iter().flat_map(|x| KINDS.map(|atoms| (x, atoms)));
    for (seed, kinds) in kinds.enumerate() {
        let problem = Problem::new(kinds, 40, 300, 24, seed as u64);
        for simd in Simd::available() {
            let dictionary = problem.dictionary(simd);
            for encoder in pursuits() {
                let [gram, residual] =
                    [true, false].map(|gram| bits(&encoder.with_gram(gram).codes(&problem.x, &dictionary)));
                assert_same(&gram, &residual, &format!("{} {kinds:?} {encoder:?}", simd.name()));
            }
        }
    }
}

#[test]
fn long_pursuits_of_wide_samples_give_the_same_bits() {
    // The paper's 20 rounds of 5, and as many single ones: errors of carried scores add up.
    for (seed, kinds) in
        [(Kind::Uniform, Kind::Uniform), (Kind::HeavyTailed, Kind::Clustered)].into_iter().enumerate()
    {
        let problem = Problem::new(kinds, 30, 900, 200, 100 + seed as u64);
        for simd in Simd::available().into_iter().rev().take(2) {
            let dictionary = problem.dictionary(simd);
            for encoder in [icfl(20, 5, 0.0, Selection::Positive), omp(60, 0.0, Selection::Absolute)] {
                let [gram, residual] =
                    [true, false].map(|gram| bits(&encoder.with_gram(gram).codes(&problem.x, &dictionary)));
                assert_same(&gram, &residual, &format!("{} {kinds:?} {encoder:?}", simd.name()));
            }
        }
    }
}

#[test]
fn codes_do_not_depend_on_how_rows_are_cut_into_calls() {
    for (seed, kinds) in KINDS.map(|kind| (kind, kind)).into_iter().enumerate() {
        // 300 rows: tiles of full height and a last one that is lower.
        let problem = Problem::new(kinds, 300, 130, 17, 200 + seed as u64);
        for simd in Simd::available() {
            for encoder in
                [Encoder::TopK(9), icfl(3, 3, 0.0, Selection::Positive), omp(5, 0.0, Selection::Absolute)]
            {
                for encoder in [encoder.with_gram(true), encoder.with_gram(false)] {
                    let together = bits(&encoder.codes(&problem.x, &problem.dictionary(simd)));
                    // A fresh dictionary has no fixed-point atoms, and calls with few rows make none.
                    for height in [1, 10, 77] {
                        let dictionary = problem.dictionary(simd);
                        let calls = problem.x.chunks(height * problem.d);
                        let found: Vec<_> =
                            calls.flat_map(|x| bits(&encoder.codes(x, &dictionary))).collect();
                        let what = format!("{} {kinds:?} {encoder:?} by {height}", simd.name());
                        assert_same(&found, &together, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn codes_do_not_depend_on_what_a_dictionary_has_cached() {
    let problem = Problem::new((Kind::HeavyTailed, Kind::Uniform), 60, 500, 33, 300);
    let encoders =
        [Encoder::TopK(20), icfl(4, 5, 0.0, Selection::Absolute), omp(6, 0.0, Selection::Positive)];
    for simd in Simd::available() {
        let expected = encoders.map(|encoder| bits(&encoder.codes(&problem.x, &problem.dictionary(simd))));
        let used = problem.dictionary(simd);
        for warm in encoders {
            warm.with_gram(true).codes(&problem.x, &used);
        }
        for (encoder, expected) in encoders.into_iter().zip(&expected) {
            let few: Vec<_> =
                problem.x.chunks(3 * problem.d).flat_map(|x| bits(&encoder.codes(x, &used))).collect();
            assert_same(&few, expected, &format!("{} {encoder:?}", simd.name()));
        }
    }
}

/// Whether chosen atoms are the k best above zero by float64 scores, but for scores within `error` of each other.
fn best_by_float64(chosen: &[(u32, f32)], scores: &[f64], k: usize, error: f64) -> Result<(), String> {
    let is_chosen = |m: usize| chosen.iter().any(|entry| entry.0 as usize == m);
    let weakest = chosen.iter().map(|entry| scores[entry.0 as usize]).fold(f64::INFINITY, f64::min);
    let bar = if chosen.len() < k { 0.0 } else { weakest };
    if chosen.len() > k || weakest < -error {
        return Err(format!("{} atoms, the weakest scores {weakest}", chosen.len()));
    }
    for (m, &score) in scores.iter().enumerate() {
        if !is_chosen(m) && score > bar + 2.0 * error {
            return Err(format!("atom {m} scores {score}, which is more than {bar}"));
        }
    }
    match chosen.iter().find(|entry| (f64::from(entry.1) - scores[entry.0 as usize]).abs() > error) {
        Some(entry) => Err(format!("{entry:?} should be {}", scores[entry.0 as usize])),
        None => Ok(()),
    }
}

#[test]
fn topk_is_that_of_float64() {
    let shapes = [(60, 3000, 64), (30, 1500, 700), (26, 1025, 5), (300, 700, 96)];
    for (seed, (n, m, d)) in shapes.into_iter().enumerate() {
        for (i, kind) in KINDS.into_iter().enumerate() {
            let problem = Problem::new((kind, KINDS[(i + seed) % 4]), n, m, d, 400 + seed as u64);
            let scores: Vec<Vec<f64>> = problem.x.chunks(d).map(|x| products(&problem.atoms, x)).collect();
            for simd in Simd::available() {
                let dictionary = problem.dictionary(simd);
                for k in [1, 32] {
                    let codes = Encoder::TopK(k).codes(&problem.x, &dictionary);
                    for (r, (row, scores)) in bits(&codes).iter().zip(&scores).enumerate() {
                        let x = &problem.x[r * d..][..d];
                        let norm = products(x, x)[0].sqrt();
                        let error = gamma(d) * norm * f64::from(dictionary.largest_norm()) * 1.0001;
                        let chosen: Vec<_> = row.iter().map(|&(m, v)| (m, f32::from_bits(v))).collect();
                        best_by_float64(&chosen, scores, k, error).unwrap_or_else(|why| {
                            panic!("{} {kind:?} {m} atoms of {d}, row {r}, k = {k}: {why}", simd.name())
                        });
                    }
                }
            }
        }
    }
}

/// ⟨d_m, x⟩ of every atom, in float64.
fn products(atoms: &[f32], x: &[f32]) -> Vec<f64> {
    let x = widened(x);
    atoms.chunks(x.len()).map(|atom| inner(&widened(atom), &x)).collect()
}

#[test]
fn levels_agree_but_for_rounding() {
    // Of 200 rows at most a few have two scores that differ by rounding alone, about 1e-6 of typical gaps.
    let problem = Problem::new((Kind::Uniform, Kind::Uniform), 200, 400, 48, 500);
    let atoms = |codes: &Codes| -> Vec<Vec<u32>> {
        bits(codes).into_iter().map(|row| row.into_iter().map(|entry| entry.0).collect()).collect()
    };
    for encoder in [Encoder::TopK(12), icfl(4, 3, 0.0, Selection::Positive), omp(8, 0.0, Selection::Absolute)]
    {
        let of = |simd| atoms(&encoder.codes(&problem.x, &problem.dictionary(simd)));
        let expected = of(Simd::available()[0]);
        for simd in Simd::available() {
            let same = of(simd).iter().zip(&expected).filter(|(a, b)| a == b).count();
            assert!(same >= 195, "{} {encoder:?}: {same} of 200 rows", simd.name());
        }
    }
}

#[test]
fn a_row_at_the_end_of_the_range_leaves_its_neighbours_alone() {
    // Squares of 1e18 do not add up to a float32 beyond 340 of them: nothing is known about that row's norm.
    let mut problem = Problem::new((Kind::Uniform, Kind::Uniform), 40, 300, 512, 600);
    let usual = problem.x.clone();
    problem.x[7 * 512..8 * 512].fill(1e18);
    for simd in Simd::available() {
        let dictionary = problem.dictionary(simd);
        let mut encoders = vec![Encoder::TopK(5)];
        encoders.extend(pursuits());
        for encoder in encoders {
            for encoder in [encoder.with_gram(true), encoder.with_gram(false)] {
                let mut found = bits(&encoder.codes(&problem.x, &dictionary));
                let mut expected = bits(&encoder.codes(&usual, &dictionary));
                (found[7], expected[7]) = (Vec::new(), Vec::new());
                assert_same(&found, &expected, &format!("{} {encoder:?}", simd.name()));
            }
        }
    }
}

#[test]
fn tiny_and_large_rows_have_the_codes_of_their_multiples() {
    // Powers of two change no digit: codes of rows times 2^e are the codes times 2^e, where 2^e stays above
    // what float32 resolves. Thresholds of zero scale with the rows.
    let problem = Problem::new((Kind::HeavyTailed, Kind::Uniform), 30, 200, 20, 700);
    for simd in Simd::available() {
        for encoder in
            [Encoder::TopK(6), icfl(3, 2, 0.0, Selection::Positive), omp(4, 0.0, Selection::Absolute)]
        {
            let dictionary = problem.dictionary(simd);
            let expected = bits(&encoder.codes(&problem.x, &dictionary));
            for factor in [2.0f32.powi(-55), 2.0f32.powi(50)] {
                let x: Vec<f32> = problem.x.iter().map(|v| v * factor).collect();
                let scaled = |v: u32| (f32::from_bits(v) * factor).to_bits();
                let expected: Vec<Vec<_>> =
                    expected.iter().map(|row| row.iter().map(|&(m, v)| (m, scaled(v))).collect()).collect();
                for encoder in [encoder.with_gram(true), encoder.with_gram(false)] {
                    let what = format!("{} {encoder:?} times {factor:e}", simd.name());
                    assert_same(&bits(&encoder.codes(&x, &dictionary)), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn rows_whose_squares_vanish_have_the_codes_of_a_call_of_their_own() {
    let mut problem = Problem::new((Kind::Uniform, Kind::Uniform), 30, 200, 20, 800);
    problem.x.iter_mut().for_each(|v| *v *= 1e-25);
    for simd in Simd::available() {
        let together = bits(&Encoder::TopK(6).codes(&problem.x, &problem.dictionary(simd)));
        assert!(together.iter().all(|row| row.len() == 6), "{}", simd.name());
        let fresh = problem.dictionary(simd);
        let alone: Vec<_> =
            problem.x.chunks(20).flat_map(|x| bits(&Encoder::TopK(6).codes(x, &fresh))).collect();
        assert_same(&alone, &together, simd.name());
    }
}
