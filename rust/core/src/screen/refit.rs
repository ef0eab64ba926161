//! The Gram rows of a pursuit that refits: every step changes the coefficients of all atoms so far.
//!
//! Atoms are packed by fours once there are four, see [`Simd::add_quads`], and their changes rounded to
//! bytes of a common scale. What rounding leaves is *pending*: it is carried to the next step, and the scores
//! are those of a residual that lacks it,
//!
//! ```text
//! |Σ p_i ⟨d_i, d_j⟩| <= Σ|p_i| max ‖d‖²
//! ```
//!
//! further from the true one. Atoms that are already in change by a few per cent of the newest coefficient,
//! and rounding by 1/254 of the largest change at most, so that what is pending never matters much.

use super::gram::Gram;
use crate::aligned::Aligned;
use crate::kernels::Simd;

/// Rows side by side.
const FOUR: usize = 4;

/// Largest factor in use.
const LARGEST: f32 = 127.0;

/// Atoms packed by fours, and their last step.
#[derive(Debug, Default)]
pub(super) struct Refit {
    /// Four Gram rows each; those beyond `n_quads` are room for later ones.
    quads: Vec<Aligned<i32>>,
    n_quads: usize,
    /// Changes that the scores do not have yet, one for each packed atom.
    pending: Vec<f32>,
    /// The sum of those that they have, one for each atom.
    moved: Vec<f32>,
    factors: Vec<[i8; FOUR]>,
    scale: f32,
}

impl Refit {
    pub(super) fn clear(&mut self) {
        self.n_quads = 0;
        self.pending.clear();
        self.moved.clear();
        self.settle();
    }

    /// How many of a sample's atoms are packed.
    pub(super) fn packed(&self) -> usize {
        FOUR * self.n_quads
    }

    /// Σ|p_i|.
    pub(super) fn pending(&self) -> f32 {
        self.pending.iter().map(|change| change.abs()).sum()
    }

    /// Adds up the steps of all atoms; returns Σ|a|, the scores being those of coefficients a.
    pub(super) fn moved(&mut self, steps: &[f32]) -> f32 {
        self.moved.resize(steps.len(), 0.0);
        self.moved.iter_mut().zip(steps).for_each(|(sum, step)| *sum += step);
        self.moved.iter().map(|sum| sum.abs()).sum()
    }

    /// Packs what is left of `atoms` by fours.
    pub(super) fn pack(&mut self, atoms: &[u32], gram: &Gram, simd: Simd) {
        for four in atoms[self.packed()..].as_chunks::<FOUR>().0 {
            if self.quads.len() == self.n_quads {
                self.quads.push(Aligned::default());
            }
            let rows = four.map(|atom| gram.row(atom as usize));
            let quads = &mut self.quads[self.n_quads];
            quads.reset(rows[0].len());
            simd.interleave(rows, quads);
            self.n_quads += 1;
        }
        self.pending.resize(self.packed(), 0.0);
    }

    /// Takes the changes of all packed atoms: `steps` becomes what the scores are to get of them now.
    pub(super) fn round(&mut self, steps: &mut [f32]) {
        let mut largest = 0.0f32;
        for (step, pending) in steps.iter_mut().zip(&self.pending) {
            *step += pending;
            largest = largest.max(step.abs());
        }
        self.scale = largest / LARGEST;
        let inverse = if self.scale.is_normal() { 1.0 / self.scale } else { 0.0 };
        self.factors.clear();
        for (steps, pending) in
            steps.as_chunks_mut::<FOUR>().0.iter_mut().zip(self.pending.as_chunks_mut::<FOUR>().0)
        {
            let factors = steps.map(|step| nearest(step * inverse));
            for ((step, pending), factor) in steps.iter_mut().zip(pending).zip(factors) {
                let applied = f32::from(factor) * self.scale;
                *pending = *step - applied;
                *step = applied;
            }
            self.factors.push(factors);
        }
    }

    /// The last step, of which the scores do not know yet.
    pub(super) fn last(&self, gram: &Gram) -> Step<'_> {
        let quads = self.quads[..self.factors.len()].iter().map(|quads| &**quads).collect();
        Step { factors: &self.factors, quads, scale: self.scale * gram.scale() }
    }

    /// Forgets the last step, once the scores have it.
    pub(super) fn settle(&mut self) {
        self.factors.clear();
    }
}

/// The nearest integer; a call of the C library where the instruction for it is not part of every CPU.
fn nearest(x: f32) -> i8 {
    (x + 0.5f32.copysign(x)) as i8
}

/// What a step adds to scores.
pub(super) struct Step<'a> {
    factors: &'a [[i8; FOUR]],
    quads: Vec<&'a [i32]>,
    scale: f32,
}

impl Step<'_> {
    /// Adds it to the scores from atom `first` on.
    pub(super) fn add_to(&self, scores: &mut [f32], first: usize, simd: Simd) {
        if !self.factors.is_empty() {
            simd.add_quads(self.factors, &self.quads, first, self.scale, scores);
        }
    }
}
