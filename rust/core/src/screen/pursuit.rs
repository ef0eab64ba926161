//! Approximate scores of one sample through the rounds of a pursuit, with a bound that grows as they drift.
//!
//! Scores start as ĉ = D̂ x̂ with |ĉ_j - ⟨d_j, x⟩| <= E and follow the residual by ĉ -= Σ_S a_s Ĝ_s. Every entry of Ĝ
//! is within γ of that of D Dᵀ, so after steps a the scores are within E + γ Σ|a| of the exact ones. The
//! best atoms by exact score are found from them as in [`super::shortlist`].

use super::gram::Gram;
use crate::dictionary::Dictionary;
use crate::encode::Selection;
use crate::top::Top;

/// Scores updated and scanned at a time: 8 KiB, so that the scan reads from L1 what was just written.
const BLOCK: usize = 2048;

/// Approximate scores of one sample against its residual.
pub(crate) struct Scores<'a> {
    values: &'a mut [f32],
    bound: f32,
    /// ‖x‖ max ‖d_j‖, which no exact score exceeds: residuals do not grow.
    reach: f32,
    dictionary: &'a Dictionary,
    gram: &'a Gram,
    /// The last step, not yet in `values`: its rows and their factors.
    rows: Vec<&'a [i8]>,
    factors: Vec<f32>,
    approximate: Top,
    exact: Vec<(u32, f32)>,
}

impl<'a> Scores<'a> {
    /// Scores of `sample` that are within `bound` of the exact ones.
    pub(crate) fn new(
        values: &'a mut [f32],
        bound: f32,
        sample: &[f32],
        dictionary: &'a Dictionary,
        gram: &'a Gram,
    ) -> Scores<'a> {
        let reach = dictionary.simd().dot(sample, sample).sqrt() * dictionary.largest_norm();
        let (rows, factors, exact) = (Vec::new(), Vec::new(), Vec::new());
        Scores { values, bound, reach, dictionary, gram, rows, factors, approximate: Top::new(0), exact }
    }

    /// Fills `top` with the atoms whose inner product with `residual` ranks best above `floor`, leaving out
    /// those of `chosen`.
    pub(crate) fn best(
        &mut self,
        residual: &[f32],
        floor: f32,
        selection: Selection,
        chosen: &[u32],
        top: &mut Top,
    ) {
        let simd = self.dictionary.simd();
        // The step of the round before and the search of this one share a pass over the scores.
        self.approximate.reset(top.capacity(), floor - self.bound);
        for (b, block) in self.values.chunks_mut(BLOCK).enumerate() {
            simd.axpy_bytes(&self.factors, &self.rows, b * BLOCK, block);
            selection.scan(simd, block, b * BLOCK, &mut self.approximate);
        }
        self.exact.clear();
        let (dictionary, seen, exact) = (self.dictionary, &self.approximate, &mut self.exact);
        let score = |&atom: &u32| {
            let rank = || selection.rank(simd.dot(dictionary.atom(atom as usize), residual));
            (!chosen.contains(&atom)).then(|| (atom, rank()))
        };
        exact.extend(seen.indices().iter().filter_map(score));
        if seen.indices().len() == top.capacity() {
            // Whatever may reach the weakest of these; `seen` had no room for it.
            let weakest = match exact.len() == top.capacity() {
                true => exact.iter().fold(f32::INFINITY, |least, entry| least.min(entry.1)),
                false => floor,
            };
            selection.above(simd, self.values, weakest.max(floor) - self.bound, |atom, _| {
                if !seen.indices().contains(&(atom as u32)) {
                    exact.extend(score(&(atom as u32)));
                }
            });
        }
        if std::env::var("DBG").is_ok() {
            eprintln!("exact {} bound {:.4} weakest..floor {floor}", exact.len(), self.bound);
        }
        // Equal scores go to the lower index, for which `Top` wants ascending indices.
        exact.sort_unstable_by_key(|entry| entry.0);
        top.clear(floor);
        exact.iter().for_each(|&(atom, score)| top.offer(score, atom));
    }

    /// Takes note that the residual moved by `Σ steps[l] d_atoms[l]`.
    pub(crate) fn step(&mut self, atoms: &[u32], steps: &[f32]) {
        self.rows.clear();
        self.factors.clear();
        let mut length = 0.0;
        for (&atom, &step) in atoms.iter().zip(steps) {
            self.rows.push(self.gram.row(atom as usize));
            self.factors.push(step * self.gram.scale());
            for &(at, left) in self.gram.exceptions(atom as usize) {
                self.values[at as usize] += step * left;
            }
            length += step.abs();
        }
        // Each sum of these rows rounds once a row and once an exception, here and in the residual, relative
        // to the largest score there was or a step makes.
        let norm = self.dictionary.largest_norm();
        let rounding = (2 * atoms.len() + 4) as f32 * f32::EPSILON * (self.reach + length * norm * norm);
        self.bound += self.gram.error() * length + rounding;
    }
}
