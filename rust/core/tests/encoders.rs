//! Every encoder on every instruction set of this machine, against naive float64 runs (see [`naive`]).

mod common;
mod encoder;
mod naive;

use common::{length, team};
use encoder::Encoder;
use icfl_core::codes::Codes;
use icfl_core::dictionary::Dictionary;
use icfl_core::encode::{Icfl, Inputs, Omp, Selection};
use icfl_core::kernels::Simd;
use icfl_core::rows::Rows;
use icfl_core::team::Team;
use icfl_core::{Error, Result};
use naive::{Naive, Problem, RIDGE, U, naive_icfl, naive_omp, naive_topk};
use ndarray::ArrayView2;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::Cell;

impl Encoder {
    /// The same encoder on the Gram matrix and without it.
    fn paths(self) -> Vec<Encoder> {
        match self {
            Encoder::TopK(_) => vec![self],
            _ => [true, false].map(|use_gram| self.with_gram(use_gram)).to_vec(),
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

impl Problem {
    fn encode(&self, encoder: Encoder, simd: Simd, n_jobs: usize) -> Result<Codes> {
        let dictionary = Dictionary::new(self.atoms.clone(), self.d, simd)?;
        let rows = ArrayView2::from_shape((self.x.len() / self.d, self.d), &self.x).unwrap();
        let inputs = Inputs::new(Rows::F32(rows), Some(&self.bias), &dictionary)?;
        encoder.encode(&inputs, &team(n_jobs))
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
    let slopes = prop_oneof![Just(0.0f32), 0.01f32..0.5];
    let options = (1usize..12, thresholds, slopes, selections());
    let omp = options.prop_map(|(n_nonzero, threshold, threshold_slope, selection)| {
        Encoder::Omp(Omp { n_nonzero, threshold, threshold_slope, selection, use_gram: true })
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
    let omp =
        |selection| Omp { n_nonzero: 6, threshold: 0.0, threshold_slope: 0.0, selection, use_gram: true };
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
fn scores_that_float32_does_not_resolve_do_not_join() {
    // Atoms e_0 and e_1: the second scores x_1 in any round, and 8 eps ‖x‖ are 9.5e-7.
    let problem = |x1| Problem { x: vec![1.0, x1], ..Problem::integers(1, 2, vec![1.0, 0.0, 0.0, 1.0], 0) };
    for encoder in encoders() {
        let takes = match encoder {
            Encoder::TopK(_) => [true, true],
            Encoder::Icfl(Icfl { threshold: 0.0, .. }) | Encoder::Omp(_) => [false, true],
            Encoder::Icfl(Icfl { threshold, .. }) => [threshold < 0.0; 2],
        };
        for (x1, taken) in [8e-7, 1.1e-6].into_iter().zip(takes) {
            for simd in Simd::available() {
                let codes = problem(x1).encode(encoder, simd, 1).unwrap();
                assert_eq!(codes.indices.contains(&1), taken, "{encoder:?} {x1}");
            }
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
    let omp = Omp {
        n_nonzero: 99,
        threshold: 0.0,
        threshold_slope: 0.0,
        selection: Selection::Absolute,
        use_gram: true,
    };
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
