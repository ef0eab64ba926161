//! The Gram matrix in bytes against float64.

use super::super::gram::Gram;
use super::data::{Kind, Random, exact, fixed_point, mixture, products, team, vectors};
use crate::kernels::Simd;

/// Entries of every row, exceptions added, in float64.
fn rows(gram: &Gram, n: usize) -> Vec<Vec<f64>> {
    let row = |m| {
        let mut row: Vec<f64> =
            gram.row(m).iter().map(|&byte| f64::from(byte) * f64::from(gram.scale())).collect();
        for &(at, left) in gram.exceptions(m) {
            row[at as usize] += f64::from(left);
        }
        row
    };
    (0..n).map(row).collect()
}

fn n_exceptions(gram: &Gram, n: usize) -> usize {
    (0..n).map(|m| gram.exceptions(m).len()).sum()
}

/// Holds every entry to its bound for both products, at every level; `each` sees each matrix.
fn check(atoms: &[f32], d: usize, what: &str, each: impl Fn(&Gram, &str)) {
    let n = atoms.len() / d;
    let products_of = |m: usize| atoms.chunks(d).map(move |other| exact(&atoms[m * d..(m + 1) * d], other));
    let expected: Vec<Vec<f64>> = (0..n).map(|m| products_of(m).collect()).collect();
    for simd in Simd::available() {
        for (name, product) in products(atoms, d, simd) {
            let gram = Gram::new(atoms, d, &product, simd, &team()).expect("nobody cancels");
            let place = format!("{} {name}, {what}, {n} atoms of {d}", simd.name());
            for (m, (row, expected)) in rows(&gram, n).iter().zip(&expected).enumerate() {
                let errors = row.iter().zip(expected).map(|(entry, expected)| (entry - expected).abs());
                let (at, error) = errors.enumerate().fold((0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
                let bound = f64::from(gram.error());
                assert!(error <= bound, "{place}: row {m}, column {at} is off by {error}, bound {bound}");
                let exceptions = gram.exceptions(m);
                assert!(exceptions.windows(2).all(|pair| pair[0].0 < pair[1].0), "{place}: row {m} unsorted");
                assert!(exceptions.iter().all(|entry| (entry.0 as usize) < n), "{place}: row {m}");
            }
            each(&gram, &place);
        }
    }
}

/// `n` atoms in clusters about as many centres, with cosines up to 0.99 within them.
fn clustered(random: &mut Random, n: usize, d: usize, centres: usize) -> Vec<f32> {
    let centres: Vec<Vec<f32>> = (0..centres).map(|_| Kind::Gaussian.vector(random, d, 1.0)).collect();
    let atom = |m: usize| {
        let (centre, away) = (&centres[m % centres.len()], Kind::Gaussian.vector(random, d, 1.0));
        let cosine = 0.8 + 0.19 * random.uniform() as f32;
        let rest = (1.0 - cosine * cosine).sqrt();
        centre.iter().zip(away).map(|(c, a)| cosine * c + rest * a).collect::<Vec<_>>()
    };
    (0..n).flat_map(atom).collect()
}

/// The type-II cosine basis of `d` dimensions.
fn orthonormal(d: usize) -> Vec<f32> {
    let value = |k: usize, t: usize| {
        let angle = std::f64::consts::PI * (t as f64 + 0.5) * k as f64 / d as f64;
        let norm = if k == 0 { 1.0 } else { 2.0f64 } / d as f64;
        (angle.cos() * norm.sqrt()) as f32
    };
    (0..d * d).map(|i| value(i / d, i % d)).collect()
}

#[test]
fn entries_are_within_their_bound() {
    let mut random = Random(11);
    // Tiles have 256 atoms on a side.
    for (n, d) in [(1, 1), (2, 3), (3, 2), (31, 7), (255, 20), (256, 17), (257, 40), (530, 64)] {
        for kind in Kind::ALL {
            let atoms = vectors(&mut random, kind, n, d, 1.3);
            check(&atoms, d, &format!("{kind:?}"), |_, _| ());
        }
    }
}

#[test]
fn entries_of_close_atoms_are_within_their_bound() {
    let mut random = Random(12);
    for centres in [1, 3, 40, 200] {
        check(&clustered(&mut random, 300, 48, centres), 48, "clusters", |_, _| ());
    }
    let mut twice = vectors(&mut random, Kind::Gaussian, 150, 33, 1.0);
    twice.extend_from_within(..);
    check(&twice, 33, "each atom twice", |gram, place| {
        let alike = |m: usize| rows(gram, 300)[m].iter().filter(|&&entry| entry > 0.99).count() == 2;
        assert!([0, 149, 150, 299].into_iter().all(alike), "{place}");
    });
    check(&mixture(&mut random, 50, 21, 1.0), 21, "a mixture", |_, _| ());
}

#[test]
fn entries_of_large_and_small_atoms_are_within_their_bound() {
    let mut random = Random(13);
    for norm in [1e-18, 1e-12, 1e12, 1e17] {
        for kind in [Kind::Gaussian, Kind::Sparse] {
            let atoms = vectors(&mut random, kind, 270, 16, norm);
            check(&atoms, 16, &format!("{kind:?} of norm {norm:e}"), few_exceptions(270));
        }
    }
}

/// The exceptions are the diagonal and about two in a thousand of the others: at most three in a hundred,
/// since the scale comes from a sample.
fn few_exceptions(n: usize) -> impl Fn(&Gram, &str) {
    move |gram, place| {
        let found = n_exceptions(gram, n);
        assert!(found <= n + 3 * n * n / 100, "{place}: {found} exceptions");
    }
}

#[test]
fn exceptions_are_few() {
    let mut random = Random(14);
    for kind in [Kind::Gaussian, Kind::HeavyTailed, Kind::Constant, Kind::Zero] {
        check(&vectors(&mut random, kind, 300, 24, 1.0), 24, &format!("{kind:?}"), few_exceptions(300));
    }
    for d in [64, 300] {
        check(&orthonormal(d), d, "orthonormal", few_exceptions(d));
    }
}

#[test]
fn the_bound_is_of_use() {
    let mut random = Random(15);
    let d = 384;
    let atoms = vectors(&mut random, Kind::Gaussian, 300, d, 1.0);
    // Two in a thousand normals exceed 3.1 deviations of 1/√384, which is byte 127; half of its value, and
    // twice 2.6e-4 of fixed point for the worst atom.
    let half_a_byte = 3.4 / f64::from(d as u32).sqrt() / 254.0;
    for simd in Simd::available() {
        for (name, product) in products(&atoms, d, simd) {
            let gram = Gram::new(&atoms, d, &product, simd, &team()).expect("nobody cancels");
            assert!(f64::from(gram.error()) < half_a_byte + 6e-4, "{} {name}: {}", simd.name(), gram.error());
        }
    }
}

#[test]
fn fixed_point_makes_it_symmetric() {
    let atoms = mixture(&mut Random(16), 60, 30, 1.0);
    let n = atoms.len() / 30;
    for simd in Simd::available() {
        let product = fixed_point(&atoms, 30, simd);
        let rows = rows(&Gram::new(&atoms, 30, &product, simd, &team()).expect("nobody cancels"), n);
        for (i, row) in rows.iter().enumerate() {
            let same = (0..n).all(|j| row[j].to_bits() == rows[j][i].to_bits());
            assert!(same, "{} row {i}", simd.name());
        }
    }
}
