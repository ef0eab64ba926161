//! `encode_omp`: orthogonal matching pursuit with a progressive Cholesky factor.
//!
//! Each step takes the atom with the largest score against the residual and refits all coefficients
//! (Pati et al. 1993; the Gram form is Batch-OMP, Rubinstein, Zibulevsky & Elad 2008). A sample ends
//! early when no score exceeds its entry score, or when the best atom depends on those chosen.

use super::scores::{TILE_ROWS, hide, score_panels, score_whole, whole_rows};
use super::solve::Cholesky;
use super::{Inputs, Selection, entry_score};
use crate::codes::Codes;
use crate::dictionary::{Dictionary, Gram};
use crate::error::Result;
use crate::team::Team;
use crate::top::Top;

/// Scores recomputed and scanned at a time: 8 KiB, held in L1 while the Gram rows pass.
const BLOCK: usize = 2048;

/// Options of [`encode_omp`].
#[derive(Clone, Copy, Debug)]
pub struct Omp {
    /// Most atoms a sample may take.
    pub n_nonzero: usize,
    /// An atom joins only while its score exceeds this; not negative.
    pub threshold: f32,
    /// How atoms are ranked.
    pub selection: Selection,
    /// Work on the Gram matrix of the dictionary.
    pub use_gram: bool,
}

/// Codes by orthogonal matching pursuit.
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub fn encode_omp(inputs: &Inputs<'_>, options: &Omp, team: &Team<'_>) -> Result<Codes> {
    let bound = inputs.dictionary.n_components().min(inputs.dictionary.n_features());
    let options = Omp { n_nonzero: options.n_nonzero.min(bound), ..*options };
    if options.use_gram && !inputs.rows.is_empty() {
        with_gram(inputs, &options, team)
    } else {
        with_residuals(inputs, &options, team)
    }
}

/// The state of one sample.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fit {
    /// Atoms chosen so far.
    pub(crate) atoms: Vec<u32>,
    cholesky: Cholesky,
    coefficients: Vec<f64>,
}

impl Fit {
    pub(crate) fn clear(&mut self) {
        self.atoms.clear();
        self.cholesky.clear();
        self.coefficients.clear();
    }

    /// Takes an atom and refits; false, changing nothing, when the atom depends on those chosen.
    fn push(&mut self, atom: u32, product: impl Fn(u32) -> f32, score: f32) -> bool {
        let products = self.atoms.iter().map(|&other| f64::from(product(other)));
        if !self.cholesky.push(products, f64::from(product(atom)), f64::from(score)) {
            return false;
        }
        self.atoms.push(atom);
        self.cholesky.solve(&mut self.coefficients);
        true
    }

    fn finish(&mut self, out: &mut Codes) {
        let coefficients = self.coefficients.iter().map(|&a| a as f32);
        let mut entries: Vec<_> = self.atoms.iter().copied().zip(coefficients).collect();
        out.push_row(&mut entries);
        self.clear();
    }
}

fn with_gram(inputs: &Inputs<'_>, options: &Omp, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    let gram = dictionary.gram(team)?;
    let scratch = || (Vec::new(), Fit::default(), Top::new(1));
    inputs.encode(whole_rows(dictionary), team, scratch, |(scores, fit, top), tile, out| {
        score_whole(tile, dictionary, scores);
        for (sample, scores) in tile.chunks(d).zip(scores.chunks(m)) {
            team.cancel().check()?;
            let entry = entry_score(options.threshold, sample, dictionary);
            pursue(scores, entry, &gram, options, dictionary, fit, top);
            fit.finish(out);
        }
        Ok(())
    })
}

/// All steps of one sample, from its scores against the unexplained input.
fn pursue(
    first_scores: &[f32],
    entry: f32,
    gram: &Gram,
    options: &Omp,
    dictionary: &Dictionary,
    fit: &mut Fit,
    top: &mut Top,
) {
    let simd = dictionary.simd();
    let mut block = [0.0f32; BLOCK];
    let mut rows: Vec<&[f32]> = Vec::with_capacity(options.n_nonzero);
    let mut steps: Vec<f32> = Vec::with_capacity(options.n_nonzero);
    while fit.atoms.len() < options.n_nonzero {
        // All scores afresh from those of the input: rounding does not pile up over the steps.
        steps.clear();
        steps.extend(fit.coefficients.iter().map(|&a| -a as f32));
        top.clear(entry);
        for (b, first) in first_scores.chunks(BLOCK).enumerate() {
            let scores = &mut block[..first.len()];
            scores.copy_from_slice(first);
            simd.axpy_rows(&steps, &rows, b * BLOCK, scores);
            hide(scores, b * BLOCK, &fit.atoms);
            options.selection.scan(simd, scores, b * BLOCK, top);
        }
        let Some(&atom) = top.indices().first() else { return };
        let row = gram.row(atom as usize);
        if !fit.push(atom, |other| row[other as usize], first_scores[atom as usize]) {
            return;
        }
        rows.push(row);
    }
}

fn with_residuals(inputs: &Inputs<'_>, options: &Omp, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let d = dictionary.n_features();
    let scratch = || (Vec::new(), vec![Top::new(1); TILE_ROWS], vec![Fit::default(); TILE_ROWS]);
    inputs.encode(TILE_ROWS, team, scratch, |(scores, tops, fits), tile, out| {
        let entries: Vec<f32> =
            tile.chunks(d).map(|sample| entry_score(options.threshold, sample, dictionary)).collect();
        let (tops, fits) = (&mut tops[..entries.len()], &mut fits[..entries.len()]);
        let mut open = vec![true; entries.len()];
        let mut residuals = tile.to_vec();
        for _ in 0..options.n_nonzero {
            tops.iter_mut().zip(&entries).for_each(|(top, &entry)| top.clear(entry));
            let chosen = |r: usize| fits[r].atoms.as_slice();
            score_panels(&residuals, dictionary, options.selection, scores, tops, chosen, team)?;
            for (r, residual) in residuals.chunks_mut(d).enumerate() {
                open[r] = open[r]
                    && step_residual(&tile[r * d..][..d], residual, &tops[r], dictionary, &mut fits[r]);
            }
            if !open.contains(&true) {
                break;
            }
        }
        fits.iter_mut().for_each(|fit| fit.finish(out));
        Ok(())
    })
}

/// One step of one sample: takes the best atom, refits, and forms the residual afresh.
pub(crate) fn step_residual(
    sample: &[f32],
    residual: &mut [f32],
    top: &Top,
    dictionary: &Dictionary,
    fit: &mut Fit,
) -> bool {
    let simd = dictionary.simd();
    let Some(&atom) = top.indices().first() else { return false };
    let chosen = dictionary.atom(atom as usize);
    let product = |other: u32| simd.dot(chosen, dictionary.atom(other as usize));
    if !fit.push(atom, product, simd.dot(chosen, sample)) {
        return false;
    }
    residual.copy_from_slice(sample);
    for (&atom, &a) in fit.atoms.iter().zip(&fit.coefficients) {
        simd.axpy(-a as f32, dictionary.atom(atom as usize), residual);
    }
    true
}
