//! What the tests of this crate share: random numbers, float64 helpers, and the rounding unit.

mod random;

use icfl_core::cancel::Cancel;
use icfl_core::team::Team;

pub(crate) use random::Random;

static CANCEL: Cancel = Cancel::new();

/// A team that nobody stops.
pub(crate) fn team(n_jobs: usize) -> Team<'static> {
    Team::new(Some(n_jobs), &CANCEL)
}

/// Bound on the relative error of `k` float32 roundings one after the other (Higham 2002, lemma 3.1).
pub(crate) fn gamma(k: usize) -> f64 {
    let u = f64::from(f32::EPSILON) / 2.0;
    k as f64 * u / (1.0 - k as f64 * u)
}

pub(crate) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(crate) fn length(a: &[f64]) -> f64 {
    inner(a, a).sqrt()
}

pub(crate) fn widened(a: &[f32]) -> Vec<f64> {
    a.iter().map(|&v| f64::from(v)).collect()
}

impl Random {
    /// Uniform in [low, high).
    pub(crate) fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u32 << 24) as f32)
    }

    /// `n` values uniform in [-1, 1).
    pub(crate) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.uniform(-1.0, 1.0)).collect()
    }

    /// `n` vectors of `d` values with unit norm, one after the other.
    pub(crate) fn directions(&mut self, n: usize, d: usize) -> Vec<f32> {
        let mut out = self.values(n * d);
        for row in out.chunks_mut(d) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            row.iter_mut().for_each(|v| *v /= norm);
        }
        out
    }
}
