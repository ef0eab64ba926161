//! Vectors of many kinds, and what all tests of screening need.

#[path = "../../../tests/common/random.rs"]
mod random;

use super::super::fixed::{FixedAtoms, FixedRows, Product};
use crate::cancel::Cancel;
use crate::kernels::Simd;
use crate::team::Team;
use std::sync::Arc;

pub(super) use random::Random;

/// A team that nobody stops.
pub(super) fn team() -> Team<'static> {
    static CANCEL: Cancel = Cancel::new();
    Team::new(Some(2), &CANCEL)
}

impl Random {
    /// One of a few.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Uniform in (0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal (Box & Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// How the values of a vector are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gaussian,
    /// One value a thousand times as large as the others.
    Outlier,
    /// One value in twelve is not zero.
    Sparse,
    /// All values are equal.
    Constant,
    /// Ratios of normals: any magnitude occurs.
    HeavyTailed,
    /// -1, 0 and 1, whose scores tie.
    Signs,
    Zero,
}

impl Kind {
    pub(super) const ALL: [Kind; 7] = [
        Kind::Gaussian,
        Kind::Outlier,
        Kind::Sparse,
        Kind::Constant,
        Kind::HeavyTailed,
        Kind::Signs,
        Kind::Zero,
    ];

    /// `d` values of this kind, scaled to `norm` unless they are signs or zero.
    pub(super) fn vector(self, random: &mut Random, d: usize, norm: f64) -> Vec<f32> {
        let mut values: Vec<f64> = (0..d).map(|_| random.normal()).collect();
        let at = random.below(d);
        match self {
            Kind::Gaussian => {}
            Kind::Outlier => values[at] *= 1000.0,
            Kind::Sparse => {
                let keep: Vec<bool> = (0..d).map(|t| t == at || random.below(12) == 0).collect();
                values.iter_mut().zip(keep).filter(|(_, keep)| !keep).for_each(|(value, _)| *value = 0.0);
            }
            Kind::Constant => values = vec![values[0]; d],
            Kind::HeavyTailed => values.iter_mut().for_each(|value| *value /= random.normal()),
            Kind::Signs => return (0..d).map(|_| random.below(3) as f32 - 1.0).collect(),
            Kind::Zero => return vec![0.0; d],
        }
        let factor = norm / inner(&values, &values).sqrt();
        values.iter().map(|value| (value * factor) as f32).collect()
    }
}

/// Vectors one after the other: `n` of each kind but signs, of the given norm, and the first once more.
pub(super) fn mixture(random: &mut Random, n: usize, d: usize, norm: f64) -> Vec<f32> {
    let kinds = Kind::ALL.into_iter().filter(|&kind| kind != Kind::Signs);
    let mut out: Vec<f32> = kinds.flat_map(|kind| vectors(random, kind, n, d, norm)).collect();
    out.extend_from_within(..d);
    out
}

/// `n` vectors of one kind, one after the other.
pub(super) fn vectors(random: &mut Random, kind: Kind, n: usize, d: usize, norm: f64) -> Vec<f32> {
    (0..n).flat_map(|_| kind.vector(random, d, norm)).collect()
}

pub(super) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The inner product in float64.
pub(super) fn exact(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

/// The largest norm of some vectors, rounded up.
pub(super) fn largest_norm(vectors: &[f32], d: usize) -> f32 {
    let norm = vectors.chunks(d).map(|x| exact(x, x).sqrt()).fold(0.0, f64::max) as f32;
    if norm > 0.0 { norm.next_up() } else { norm }
}

/// Both products, each with a name.
pub(super) fn products(atoms: &[f32], d: usize, simd: Simd) -> [(&'static str, Product<'_>); 2] {
    let largest_norm = largest_norm(atoms, d);
    let fixed = FixedAtoms::new(atoms, d, largest_norm, simd, &team()).expect("nobody cancels");
    [("fixed", Product::Fixed(Arc::new(fixed))), ("float", Product::Float { atoms, largest_norm, simd })]
}

/// The product in fixed point.
pub(super) fn fixed_point(atoms: &[f32], d: usize, simd: Simd) -> Product<'_> {
    let [(_, fixed), _] = products(atoms, d, simd);
    fixed
}

/// Approximate scores of every row, and the bound on how far they are off.
pub(super) fn screened(
    product: &Product<'_>,
    rows: &[f32],
    n_atoms: usize,
    d: usize,
) -> Vec<(Vec<f32>, f32)> {
    let (mut fixed, stride) = (FixedRows::default(), product.stride(n_atoms));
    product.load(rows, d, &mut fixed);
    let mut scores = vec![f32::NAN; rows.len() / d * stride];
    product.scores(rows, d, &fixed, 0..n_atoms, &mut scores, stride);
    let row =
        |(r, scores): (usize, &[f32])| (scores[..n_atoms].to_vec(), product.bound(d, &fixed, r).total());
    scores.chunks(stride).enumerate().map(row).collect()
}
