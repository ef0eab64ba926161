//! Approximate scores are as close to inner products as their bounds say, and the bounds are not idle.

use super::data::{Kind, Random, exact, fixed_point, mixture, products, screened, vectors};
use crate::kernels::Simd;

/// Every approximate score lies within its bound of the float64 product and of the float32 one.
fn check(rows: &[f32], atoms: &[f32], d: usize, what: &str) {
    for simd in Simd::available() {
        for (name, product) in products(atoms, d, simd) {
            let screened = screened(&product, rows, atoms.len() / d, d);
            for (r, (x, (scores, bound))) in rows.chunks(d).zip(&screened).enumerate() {
                for (m, (atom, &score)) in atoms.chunks(d).zip(scores).enumerate() {
                    let place = format!("{} {name}, {what}, d = {d}, row {r}, atom {m}", simd.name());
                    let (score, bound) = (f64::from(score), f64::from(*bound));
                    let (float32, float64) = (f64::from(simd.dot(atom, x)), exact(atom, x));
                    assert!(
                        (score - float32).abs() <= bound,
                        "{place}: {score} for {float32}, bound {bound}"
                    );
                    // What float32 has no number for cannot be in a bound.
                    let least = d as f64 * f64::from(f32::MIN_POSITIVE);
                    let error = (score - float64).abs() - least;
                    assert!(error <= bound, "{place}: {score} for {float64} in float64, bound {bound}");
                }
            }
        }
    }
}

const WIDTHS: [usize; 11] = [1, 2, 3, 4, 5, 17, 64, 95, 129, 384, 1024];

#[test]
fn scores_are_within_their_bounds() {
    let mut random = Random(1);
    for d in WIDTHS {
        for kind in Kind::ALL {
            let rows = mixture(&mut random, 2, d, 1.0);
            // More than a strip of any level and no multiple of one; the last atom is the first row.
            let mut atoms = vectors(&mut random, kind, 34, d, 0.7);
            atoms.extend_from_slice(&rows[..d]);
            check(&rows, &atoms, d, &format!("{kind:?}"));
        }
    }
}

#[test]
fn scores_of_large_and_small_vectors_are_within_their_bounds() {
    let mut random = Random(2);
    for d in [1, 2, 17, 64, 1024] {
        for (row, atom) in
            [(1e-18, 1.0), (1e17, 1.0), (1.0, 1e-18), (1e-18, 1e-18), (1e17, 1e17), (1e-18, 1e17)]
        {
            let rows = mixture(&mut random, 1, d, row);
            let atoms = mixture(&mut random, 6, d, atom);
            check(&rows, &atoms, d, &format!("norms {row:e} and {atom:e}"));
        }
    }
}

#[test]
fn bounds_hold_where_squares_vanish_or_overflow() {
    let mut random = Random(3);
    for d in [1, 3, 64, 500] {
        for norm in [1e-20, 1e-22, 1e-25, 1e-32, 1e-38, 1e-42, 1e19] {
            let rows = mixture(&mut random, 2, d, norm);
            let atoms = mixture(&mut random, 3, d, 1.0);
            check(&rows, &atoms, d, &format!("rows of norm {norm:e}"));
            // Products that underflow are in the bounds of rows, not in those of atoms.
            if norm > 1e-40 {
                check(&atoms, &rows, d, &format!("atoms of norm {norm:e}"));
            }
        }
    }
}

#[test]
fn bounds_are_of_use() {
    let mut random = Random(4);
    let d = 1024;
    let rows = vectors(&mut random, Kind::Gaussian, 8, d, 1.0);
    let atoms = vectors(&mut random, Kind::Gaussian, 200, d, 1.0);
    // Rounding errors are uniform, 1/√12 a value on both sides, and a vector has a norm of 44,000: 2 √(1024 / 12)
    // / 44,000 = 4.2e-4. Float32 adds 1,024 half units of 2^-23, and has twice as many by itself.
    let most = [("fixed", 5e-4), ("float", 1.3e-4)];
    for simd in Simd::available() {
        for ((name, product), expected) in products(&atoms, d, simd).iter().zip(most) {
            assert_eq!(*name, expected.0);
            for (_, bound) in screened(product, &rows, 200, d) {
                assert!(bound < expected.1, "{} {name}: {bound}", simd.name());
            }
        }
    }
}

#[test]
fn scores_do_not_depend_on_the_other_rows() {
    let mut random = Random(5);
    for d in [3, 64, 300] {
        let rows = mixture(&mut random, 3, d, 1.0);
        let atoms = mixture(&mut random, 8, d, 1.0);
        for simd in Simd::available() {
            // Not the float product: the matrix product of a tile may round otherwise than that of a row.
            let product = fixed_point(&atoms, d, simd);
            let together = screened(&product, &rows, atoms.len() / d, d);
            for (x, expected) in rows.chunks(d).zip(together) {
                let alone = screened(&product, x, atoms.len() / d, d);
                assert!(alone == [expected], "{}, width {d}", simd.name());
            }
        }
    }
}
