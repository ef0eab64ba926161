//! The exact best atoms of every row of a tile, without ever holding (n_samples, n_components) scores.
//!
//! Panel by panel, approximate scores pass a limit that rises with the k-th best seen so far; what passes
//! is kept. At the end the k best approximate scores get exact ones, whose k-th best, t, is a bound to be
//! trusted: whatever else may reach it (approximate score >= t - E) gets an exact score as well. Exact
//! scores of a tile are computed atom by atom, so that an atom is read once for all rows that want it.

use super::fixed::{FixedRows, Product};
use crate::aligned::Aligned;
use crate::dictionary::Dictionary;
use crate::encode::Selection;
use crate::error::Result;
use crate::kernels::Simd;
use crate::team::Team;
use crate::top::Top;

/// Atoms of a panel: 252 x 1024 float32 scores are 1 MiB, which stays in L2 between product and scan.
const PANEL: usize = 1024;

/// Bisections towards the k-th best: the bound they leave is 1/256 of the range too low, and lets a few
/// per cent more atoms through.
const BISECTIONS: usize = 8;

/// The k-th best exact score t is never more than E below the k-th best approximate score a, so nothing that
/// reaches t - E is lost by a limit of a - 2 E.
const SAFE_MARGIN: f32 = 2.0;

/// Rounding errors being many and independent, t is in fact within a few hundredths of E of a, and this
/// margin keeps a third as many atoms on the lists. Whether it sufficed is checked once t is known.
const LIKELY_MARGIN: f32 = 1.125;

/// Tiles with fewer rows score row by row: sorting wants by atom would cost more than it saves.
const FEW_ROWS: usize = 8;

/// What a search asks of every row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// How many atoms a row may take.
    pub(crate) most: usize,
    /// How they are ranked.
    pub(crate) selection: Selection,
    /// One value a row, which scores must exceed.
    pub(crate) floors: &'a [f32],
    /// Approximate scores of the only row, if somebody has them.
    pub(crate) known: Option<&'a [f32]>,
}

/// Atoms of one row that may be among its best, by ascending index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shortlist {
    atoms: Vec<u32>,
    /// Approximate scores.
    approximate: Vec<f32>,
    /// Exact ones with their signs, NaN where there is none.
    exact: Vec<f32>,
    limit: f32,
    bound: f32,
    /// How many bounds below the k-th best approximate score the limit is put.
    margin: f32,
    /// Length at which the limit is worth raising.
    crowded: usize,
}

impl Shortlist {
    fn start(&mut self, floor: f32, bound: f32, margin: f32, most: usize) {
        self.atoms.clear();
        self.approximate.clear();
        self.exact.clear();
        self.bound = bound;
        self.margin = margin;
        self.limit = floor - bound;
        self.crowded = most + most / 2 + 16;
    }

    /// Keeps scores above the limit.
    fn collect(&mut self, simd: Simd, wanted: &Wanted<'_>, scores: &[f32], first: usize) {
        if self.atoms.is_empty() && wanted.selection == Selection::Positive {
            // The k-th best of a first panel spares listing the half of it that is above zero.
            self.raise(kth_below(simd, scores, wanted.most, self.limit));
        }
        let (atoms, approximate) = (&mut self.atoms, &mut self.approximate);
        wanted.selection.above(simd, scores, self.limit, |at, score| {
            atoms.push((first + at) as u32);
            approximate.push(score);
        });
        if self.atoms.len() > self.crowded {
            self.tighten(simd, wanted.most);
            self.crowded = self.atoms.len() + self.atoms.len() / 2;
        }
    }

    /// Raises the limit to what follows from k approximate scores above `best`.
    fn raise(&mut self, best: Option<f32>) {
        if let Some(best) = best {
            self.limit = self.limit.max(best - self.margin * self.bound);
        }
    }

    /// Raises the limit to what the k best so far imply, and drops what it no longer lets pass.
    fn tighten(&mut self, simd: Simd, most: usize) {
        self.raise(kth_below(simd, &self.approximate, most, self.limit));
        let mut kept = 0;
        for i in 0..self.atoms.len() {
            let score = self.approximate[i];
            self.atoms[kept] = self.atoms[i];
            self.approximate[kept] = score;
            kept += usize::from(score > self.limit);
        }
        self.atoms.truncate(kept);
        self.approximate.truncate(kept);
    }

    /// Asks for exact scores of the atoms whose approximate score is at least `from`.
    fn want(&mut self, row: usize, from: f32, wants: &mut Wants) {
        self.exact.resize(self.atoms.len(), f32::NAN);
        for (at, &score) in self.approximate.iter().enumerate() {
            if score >= from && self.exact[at].is_nan() {
                wants.asked.push((row as u32, at as u32));
            }
        }
    }

    /// From where on approximate scores count as the k best: about k of them lie above.
    fn likely(&self, simd: Simd, most: usize) -> f32 {
        kth_below(simd, &self.approximate, most, self.limit).unwrap_or(f32::NEG_INFINITY)
    }

    /// The k-th best exact score, or the floor when there are fewer above it.
    fn kth_exact(&self, wanted: &Wanted<'_>, floor: f32, work: &mut Vec<f32>) -> f32 {
        work.clear();
        work.extend(self.scored(wanted.selection, floor).map(|(_, score)| wanted.selection.rank(score)));
        match work.len().checked_sub(wanted.most) {
            Some(below) if wanted.most > 0 => *work.select_nth_unstable_by(below, f32::total_cmp).1,
            _ => floor,
        }
    }

    /// What is on the list.
    pub(crate) fn atoms(&self) -> &[u32] {
        &self.atoms
    }

    /// Fills `top` with the best atoms that rank above `floor`.
    pub(crate) fn best(&self, selection: Selection, floor: f32, top: &mut Top) {
        top.clear(floor);
        self.scored(selection, floor).for_each(|(atom, score)| top.offer(selection.rank(score), atom));
    }

    /// (atom, exact score) by ascending atom: the k best that rank above `floor` are among them.
    pub(crate) fn scored(&self, selection: Selection, floor: f32) -> impl Iterator<Item = (u32, f32)> + '_ {
        let scores = self.atoms.iter().copied().zip(self.exact.iter().copied());
        scores.filter(move |&(_, score)| selection.rank(score) > floor)
    }
}

/// A value, `least` or more, that at least `k` of `values` exceed, close below the k-th largest; `None` if
/// there is none.
///
/// Bisection with vector comparisons: a tenth of the time of a selection algorithm on a thousand values.
fn kth_below(simd: Simd, values: &[f32], k: usize, least: f32) -> Option<f32> {
    if values.len() <= k {
        return None;
    }
    let mut high = simd.largest(values);
    let mut low = least.max(-high);
    let mut found = None;
    for _ in 0..BISECTIONS {
        let middle = low + 0.5 * (high - low);
        let count = simd.count_above(values, middle);
        if count >= k {
            (low, found) = (middle, Some(middle));
            if count <= k + k / 16 {
                break;
            }
        } else {
            high = middle;
        }
    }
    found
}

/// Searches tile after tile, keeping its buffers.
#[derive(Debug, Default)]
pub(crate) struct Search {
    rows: FixedRows,
    scores: Aligned<f32>,
    lists: Vec<Shortlist>,
    wants: Wants,
    work: Vec<f32>,
}

impl Search {
    /// Finds the best atoms of every row; `exclude(row)` lists atoms that may not be chosen.
    ///
    /// # Errors
    /// Cancellation.
    pub(crate) fn run<'a>(
        &mut self,
        tile: &[f32],
        dictionary: &Dictionary,
        product: &Product<'_>,
        wanted: &Wanted<'_>,
        exclude: impl Fn(usize) -> &'a [u32],
        team: &Team<'_>,
    ) -> Result<&[Shortlist]> {
        product.load(tile, dictionary.n_features(), &mut self.rows);
        for margin in [LIKELY_MARGIN, SAFE_MARGIN] {
            self.start(tile, dictionary, product, wanted, margin);
            self.collect(tile, dictionary, product, wanted, &exclude, team)?;
            if self.decide(tile, dictionary, wanted) {
                break;
            }
        }
        Ok(&self.lists[..tile.len() / dictionary.n_features()])
    }

    /// Lists for every row all atoms that may be among its best, without their exact scores.
    ///
    /// # Errors
    /// Cancellation.
    pub(crate) fn candidates(
        &mut self,
        tile: &[f32],
        dictionary: &Dictionary,
        product: &Product<'_>,
        wanted: &Wanted<'_>,
        team: &Team<'_>,
    ) -> Result<&[Shortlist]> {
        product.load(tile, dictionary.n_features(), &mut self.rows);
        self.start(tile, dictionary, product, wanted, SAFE_MARGIN);
        self.collect(tile, dictionary, product, wanted, |_| &[], team)?;
        let lists = &mut self.lists[..tile.len() / dictionary.n_features()];
        lists.iter_mut().for_each(|list| list.tighten(dictionary.simd(), wanted.most));
        Ok(lists)
    }

    /// Empties the lists of the rows that are loaded.
    fn start(
        &mut self,
        tile: &[f32],
        dictionary: &Dictionary,
        product: &Product<'_>,
        wanted: &Wanted<'_>,
        margin: f32,
    ) {
        let d = dictionary.n_features();
        let height = tile.len() / d;
        self.lists.resize(height.max(self.lists.len()), Shortlist::default());
        for (r, (list, &floor)) in self.lists[..height].iter_mut().zip(wanted.floors).enumerate() {
            let bound = product.bound(d, &self.rows, r);
            let offsets = offset_error(dictionary, bound.norm);
            list.start(floor, bound.total() + offsets, margin, wanted.most);
        }
    }

    /// Passes approximate scores to the shortlists, panel by panel.
    fn collect<'a>(
        &mut self,
        tile: &[f32],
        dictionary: &Dictionary,
        product: &Product<'_>,
        wanted: &Wanted<'_>,
        exclude: impl Fn(usize) -> &'a [u32],
        team: &Team<'_>,
    ) -> Result<()> {
        let (d, m) = (dictionary.n_features(), dictionary.n_components());
        for first in (0..m).step_by(PANEL) {
            team.cancel().check()?;
            let width = PANEL.min(m - first);
            let stride = product.stride(width);
            self.scores.reset(tile.len() / d * stride);
            match wanted.known {
                Some(scores) => self.scores[..width].copy_from_slice(&scores[first..][..width]),
                None => product.scores(tile, d, &self.rows, first..first + width, &mut self.scores, stride),
            }
            for (r, row) in self.scores.chunks_mut(stride).enumerate() {
                let row = &mut row[..width];
                if let Some(offsets) = dictionary.offsets() {
                    dictionary.simd().axpy(1.0, &offsets[first..first + width], row);
                }
                hide(row, first, exclude(r));
                self.lists[r].collect(dictionary.simd(), wanted, row, first);
            }
        }
        Ok(())
    }

    /// Computes the exact scores that settle every row; false if some limit let too little pass.
    fn decide(&mut self, tile: &[f32], dictionary: &Dictionary, wanted: &Wanted<'_>) -> bool {
        let height = tile.len() / dictionary.n_features();
        self.wants.clear();
        for (r, list) in self.lists[..height].iter_mut().enumerate() {
            let from = list.likely(dictionary.simd(), wanted.most);
            list.want(r, from, &mut self.wants);
        }
        self.wants.answer(tile, dictionary, &mut self.lists);
        let mut settled = true;
        self.wants.clear();
        for (r, (list, &floor)) in self.lists[..height].iter_mut().zip(wanted.floors).enumerate() {
            let from = list.kth_exact(wanted, floor, &mut self.work) - list.bound;
            // Not `<=`: a row beyond the range of float32 has NaN here, and nothing to lose.
            let lost = list.limit > from;
            settled &= !lost;
            list.want(r, from, &mut self.wants);
        }
        if settled {
            self.wants.answer(tile, dictionary, &mut self.lists);
        }
        settled
    }
}

/// Exact scores that are wanted: for which rows, and where in their shortlists they go.
#[derive(Debug, Default)]
struct Wants {
    /// (row, place) pairs in the order they were asked for.
    asked: Vec<(u32, u32)>,
    /// The same by atom, and where those of each atom start.
    sorted: Vec<(u32, u32)>,
    starts: Vec<u32>,
}

impl Wants {
    fn clear(&mut self) {
        self.asked.clear();
    }

    /// Computes the scores.
    fn answer(&mut self, tile: &[f32], dictionary: &Dictionary, lists: &mut [Shortlist]) {
        let (d, simd) = (dictionary.n_features(), dictionary.simd());
        let by_atom = tile.len() / d >= FEW_ROWS;
        if by_atom {
            self.sort(dictionary.n_components(), lists);
        }
        for &(row, place) in if by_atom { &self.sorted } else { &self.asked } {
            let (list, x) = (&mut lists[row as usize], &tile[row as usize * d..][..d]);
            let atom = list.atoms[place as usize] as usize;
            let offset = dictionary.offsets().map_or(0.0, |offsets| offsets[atom]);
            list.exact[place as usize] = simd.dot(dictionary.atom(atom), x) + offset;
        }
    }

    /// Counting sort by atom.
    fn sort(&mut self, n_components: usize, lists: &[Shortlist]) {
        let atom = |&(row, place): &(u32, u32)| lists[row as usize].atoms[place as usize] as usize;
        self.starts.clear();
        self.starts.resize(n_components + 1, 0);
        for want in &self.asked {
            self.starts[atom(want) + 1] += 1;
        }
        for m in 0..n_components {
            self.starts[m + 1] += self.starts[m];
        }
        self.sorted.resize(self.asked.len(), (0, 0));
        for want in &self.asked {
            let start = &mut self.starts[atom(want)];
            self.sorted[*start as usize] = *want;
            *start += 1;
        }
    }
}

/// How far adding offsets to the scores of a row of norm `norm` can move approximate ones from exact ones: one
/// rounding of each sum.
fn offset_error(dictionary: &Dictionary, norm: f32) -> f32 {
    let Some(offsets) = dictionary.offsets() else { return 0.0 };
    2.0 * f32::EPSILON * (norm * dictionary.largest_norm() + dictionary.simd().largest(offsets))
}

/// Takes given atoms out of a row of scores that starts at atom `first`: nothing compares with NaN.
fn hide(scores: &mut [f32], first: usize, atoms: &[u32]) {
    for &m in atoms {
        if let Some(score) = (m as usize).checked_sub(first).and_then(|at| scores.get_mut(at)) {
            *score = f32::NAN;
        }
    }
}
