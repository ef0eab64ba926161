//! Approximate scores of one sample through the rounds of a pursuit, with a bound that grows as they drift.
//!
//! Scores start as ĉ = D̂ x̂ and follow the residual by ĉ -= Σ_S a_s Ĝ_s, where Ĝ ≈ D̂ D̂ᵀ holds bytes. Up to the
//! rounding of bytes they are those of r̂ = x̂ - Σ a_s d̂_s, so that with h the error of a byte
//!
//! ```text
//! |ĉ_j - ⟨d_j, r⟩| <= ‖r - r̂‖ ‖d_j‖ + ‖r̂‖ ‖d_j - d̂_j‖ + h Σ|a|,   ‖r - r̂‖ <= ‖x - x̂‖ + Σ|a| ‖d_s - d̂_s‖
//! ```
//!
//! and the best atoms by exact score are found from them as in [`super::shortlist`].

use super::fixed::{Bound, SLACK};
use super::gram::Gram;
use super::refit::Refit;
use crate::dictionary::Dictionary;
use crate::encode::Selection;
use crate::kernels::{prefetch, prefetch_pages};
use crate::top::Top;

/// Scores updated and searched at a time: 8 KiB, so that the search reads from L1 what was just written.
const BLOCK: usize = 2048;

/// The weakest atom of a round is expected to score this much of the weakest of the round before: a dozen
/// candidates for five atoms instead of a sorted list of the best so far, which cost as much as the step.
const EXPECTED: f32 = 0.88;

/// Approximate scores of one sample against its residual.
pub(crate) struct Scores<'a, 'w> {
    values: &'w mut [f32],
    bound: Bound,
    /// Σ|a|, and what the float32 arithmetic of all steps has rounded off.
    length: f32,
    rounding: f32,
    dictionary: &'a Dictionary,
    gram: &'a Gram,
    work: &'w mut Work<'a>,
}

/// What a search keeps from round to round, and its buffers from sample to sample.
#[derive(Default)]
pub(crate) struct Work<'a> {
    /// The last step, not yet in the scores: its rows and their factors.
    rows: Vec<&'a [i8]>,
    factors: Vec<f32>,
    /// The same for atoms chosen earlier.
    refit: Refit,
    /// (atom, approximate score) by ascending atom.
    candidates: Vec<(u32, f32)>,
    exact: Vec<(u32, f32)>,
    order: Vec<f32>,
    /// The weakest score of the last round's atoms.
    weakest: Option<f32>,
}

impl<'a, 'w> Scores<'a, 'w> {
    /// Scores of one sample, as the product with this bound gave them.
    pub(crate) fn new(
        values: &'w mut [f32],
        bound: Bound,
        dictionary: &'a Dictionary,
        gram: &'a Gram,
        work: &'w mut Work<'a>,
    ) -> Scores<'a, 'w> {
        work.rows.clear();
        work.factors.clear();
        work.refit.clear();
        work.weakest = None;
        Scores { values, bound, length: 0.0, rounding: 0.0, dictionary, gram, work }
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
        let search = Find { residual, selection, chosen, most: top.capacity() };
        let error = self.error(residual);
        // No atom with an approximate score below this can exceed the floor.
        let lowest = floor - error;
        let expected = self.work.weakest.map_or(f32::INFINITY, |weakest| EXPECTED * weakest - error);
        let mut limit = expected.max(lowest);
        self.advance(selection, limit);
        if self.work.candidates.len() < search.most && limit > lowest {
            limit = (self.kth(&search, lowest) - 2.0 * error).max(lowest);
            self.collect(selection, limit);
        }
        let mut from = self.likely(search.most);
        self.work.exact.clear();
        self.score(&search, from, f32::INFINITY);
        let needed = self.weakest_exact(search.most, floor) - error;
        if needed < limit && limit > lowest {
            self.work.exact.clear();
            self.collect(selection, needed.max(lowest));
            from = f32::INFINITY;
        }
        self.score(&search, needed, from);
        self.choose(floor, top);
    }

    /// How far scores may be from exact ones, the last step included.
    fn error(&self, residual: &[f32]) -> f32 {
        let norm = self.dictionary.simd().dot(residual, residual).sqrt();
        let Bound { from_row, per_norm, .. } = self.bound;
        let most = self.dictionary.largest_norm();
        let pending = SLACK * self.work.refit.pending() * most * (most + per_norm);
        let total = from_row + per_norm * norm + self.gram.drift() * self.length + pending + self.rounding;
        if total.is_nan() { f32::INFINITY } else { total }
    }

    /// Applies the last step and collects what exceeds `limit`, in one pass.
    fn advance(&mut self, selection: Selection, limit: f32) {
        let (simd, work) = (self.dictionary.simd(), &mut *self.work);
        work.candidates.clear();
        let earlier = work.refit.last(self.gram);
        for (b, block) in self.values.chunks_mut(BLOCK).enumerate() {
            let first = (b * BLOCK) as u32;
            earlier.add_to(block, b * BLOCK, simd);
            simd.axpy_bytes(&work.factors, &work.rows, b * BLOCK, block);
            let candidates = &mut work.candidates;
            selection.above(simd, block, limit, |at, score| candidates.push((first + at as u32, score)));
        }
        work.rows.clear();
        work.factors.clear();
        work.refit.settle();
    }

    /// Collects what exceeds `limit`.
    fn collect(&mut self, selection: Selection, limit: f32) {
        let candidates = &mut self.work.candidates;
        candidates.clear();
        let simd = self.dictionary.simd();
        selection.above(simd, self.values, limit, |at, score| candidates.push((at as u32, score)));
    }

    /// The k-th best approximate score, or `lowest` when fewer exceed that.
    fn kth(&self, search: &Find<'_>, lowest: f32) -> f32 {
        let mut best = Top::new(search.most);
        best.clear(lowest);
        search.selection.scan(self.dictionary.simd(), self.values, 0, &mut best);
        best.entry_score()
    }

    /// From where on candidates are the k best by approximate score.
    fn likely(&mut self, most: usize) -> f32 {
        let work = &mut *self.work;
        work.order.clear();
        work.order.extend(work.candidates.iter().map(|candidate| candidate.1));
        match work.order.len().checked_sub(most) {
            Some(below) if below > 0 => *work.order.select_nth_unstable_by(below, f32::total_cmp).1,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Computes exact scores of the candidates with an approximate score in `from..below`.
    fn score(&mut self, search: &Find<'_>, from: f32, below: f32) {
        let (simd, work) = (self.dictionary.simd(), &mut *self.work);
        let wanted = |score: f32| score >= from && (score < below || below == f32::INFINITY);
        for &(atom, approximate) in &work.candidates {
            if wanted(approximate) {
                prefetch_pages(self.dictionary.atom(atom as usize));
            }
        }
        for &(atom, approximate) in &work.candidates {
            if wanted(approximate) && !search.chosen.contains(&atom) {
                let score = simd.dot(self.dictionary.atom(atom as usize), search.residual);
                work.exact.push((atom, search.selection.rank(score)));
            }
        }
    }

    /// The weakest exact score if there are k of them above the floor; else the floor.
    fn weakest_exact(&self, most: usize, floor: f32) -> f32 {
        let exact = &self.work.exact;
        let weakest = exact.iter().map(|entry| entry.1).fold(f32::INFINITY, f32::min);
        if exact.len() >= most { weakest.max(floor) } else { floor }
    }

    /// The best by exact score; asks for the memory that the step along them will read.
    fn choose(&mut self, floor: f32, top: &mut Top) {
        let work = &mut *self.work;
        // Equal scores go to the lower index, for which `Top` wants ascending indices.
        work.exact.sort_unstable_by_key(|entry| entry.0);
        top.clear(floor);
        work.exact.iter().for_each(|&(atom, score)| top.offer(score, atom));
        let full = top.indices().len() == top.capacity();
        work.weakest = top.scores().last().copied().filter(|_| full);
        for &atom in top.indices() {
            prefetch_pages(self.gram.row(atom as usize));
            prefetch(self.gram.exceptions(atom as usize));
        }
    }

    /// The scores with the last step in them, and how far they may be from those of `residual`.
    #[cfg(test)]
    pub(crate) fn settled(&mut self, residual: &[f32]) -> (&[f32], f32) {
        let error = self.error(residual);
        self.advance(Selection::Positive, f32::INFINITY);
        (&*self.values, error)
    }

    /// Takes note that the residual moved by `Σ steps[l] d_atoms[l]`.
    pub(crate) fn step(&mut self, atoms: &[u32], steps: &[f32]) {
        self.length += self.note(atoms, steps, 0);
    }

    /// As [`Scores::step`] where all atoms of the sample move and only the last of them is new; spoils `steps`.
    pub(crate) fn refit(&mut self, atoms: &[u32], steps: &mut [f32]) {
        let Some((_, earlier)) = atoms.split_last() else { return };
        let refit = &mut self.work.refit;
        refit.pack(earlier, self.gram, self.dictionary.simd());
        let packed = refit.packed();
        refit.round(&mut steps[..packed]);
        // Errors belong to atoms: what counts is where a coefficient is, not how it came there.
        self.length = refit.moved(steps);
        self.note(atoms, steps, packed);
    }

    /// Takes rows, exceptions and rounding of a step, but the rows of its first `packed` atoms; returns Σ|step|.
    fn note(&mut self, atoms: &[u32], steps: &[f32], packed: usize) -> f32 {
        let mut length = 0.0;
        for (l, (&atom, &step)) in atoms.iter().zip(steps).enumerate() {
            if l >= packed {
                self.work.rows.push(self.gram.row(atom as usize));
                self.work.factors.push(step * self.gram.scale());
            }
            for &(at, left) in self.gram.exceptions(atom as usize) {
                self.values[at as usize] += step * left;
            }
            length += step.abs();
        }
        // Each sum of these rows rounds once a row and once an exception, here and in the residual, relative
        // to the largest score there was or a step makes; residuals do not grow.
        let norm = self.dictionary.largest_norm();
        let roundings = (2 * atoms.len() + 4) as f32;
        self.rounding += roundings * f32::EPSILON * norm * (self.bound.norm + length * norm);
        length
    }
}

/// What is looked for in a round.
struct Find<'a> {
    residual: &'a [f32],
    selection: Selection,
    chosen: &'a [u32],
    most: usize,
}
