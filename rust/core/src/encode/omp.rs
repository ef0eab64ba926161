//! `encode_omp`: orthogonal matching pursuit with a progressive Cholesky factor.
//!
//! Each step takes the atom with the largest score against the residual and refits all coefficients
//! (Pati et al. 1993; the Gram form is Batch-OMP, Rubinstein, Zibulevsky & Elad 2008). A sample ends
//! early when no score exceeds its entry score, or when the best atom depends on those chosen. Then atoms
//! that are too weak for what is left of the sample may go again, see [`Omp::threshold_slope`].

use super::by_gram::each_sample;
use super::solve::Cholesky;
use super::{Inputs, Selection, TILE_ROWS, entry_score};
use crate::aligned::Aligned;
use crate::codes::Codes;
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::kernels::Simd;
use crate::screen::shortlist::{Search, Wanted};
use crate::team::Team;
use crate::top::Top;

/// Options of [`encode_omp`].
#[derive(Clone, Copy, Debug)]
pub struct Omp {
    /// Most atoms a sample may take.
    pub n_nonzero: usize,
    /// An atom joins only while its score exceeds this; not negative.
    pub threshold: f32,
    /// Above zero, atoms have to exceed the threshold and this times the squared residual to stay.
    pub threshold_slope: f32,
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
    inputs.dictionary.refuse_offsets()?;
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

    /// Sets `steps` to the coefficients as they stand.
    fn previous(&self, steps: &mut Vec<f32>) {
        steps.clear();
        steps.extend(self.coefficients.iter().map(|&a| a as f32));
    }

    /// Turns the coefficients before a push into how the residual's share of each atom changed with it.
    fn change(&self, steps: &mut Vec<f32>) {
        steps.resize(self.coefficients.len(), 0.0);
        steps.iter_mut().zip(&self.coefficients).for_each(|(step, &a)| *step -= a as f32);
    }

    /// Drops the weakest atom while its score against what the others leave is not above
    /// `entry + slope ‖residual‖²`, and fits those that stay again.
    fn prune(&mut self, entry: f32, options: &Omp, residual: &[f32], simd: Simd) {
        if options.threshold_slope <= 0.0 {
            return;
        }
        let mut squared = f64::from(simd.dot(residual, residual));
        loop {
            self.cholesky.solve(&mut self.coefficients);
            let variances = self.cholesky.variances();
            let ranks =
                self.coefficients.iter().zip(variances).map(|(&a, variance)| match options.selection {
                    Selection::Positive => a / variance,
                    Selection::Absolute => a.abs() / variance,
                });
            let Some((weakest, rank)) = ranks.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)) else { return };
            if rank > f64::from(entry) + f64::from(options.threshold_slope) * squared {
                return;
            }
            squared += self.cholesky.remove(weakest);
            self.atoms.remove(weakest);
        }
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
    let scratch = || (Fit::default(), Top::new(1), Vec::new());
    each_sample(inputs, options.threshold, team, scratch, |(fit, top, steps), sample, out| {
        while fit.atoms.len() < options.n_nonzero {
            let (residual, scores) = (&mut *sample.residual, &mut sample.scores);
            scores.best(residual, sample.entry, options.selection, &fit.atoms, top);
            fit.previous(steps);
            if !step_residual(sample.values, residual, top, dictionary, fit) {
                break;
            }
            fit.change(steps);
            scores.refit(&fit.atoms, steps);
        }
        fit.prune(sample.entry, options, sample.residual, dictionary.simd());
        fit.finish(out);
    })
}

fn with_residuals(inputs: &Inputs<'_>, options: &Omp, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let d = dictionary.n_features();
    let product = dictionary.product(inputs.rows.len(), team)?;
    let scratch = || (Search::default(), Top::new(1), vec![Fit::default(); TILE_ROWS]);
    inputs.encode(TILE_ROWS, team, scratch, |(search, top, fits), tile, out| {
        let floors: Vec<f32> =
            tile.chunks(d).map(|sample| entry_score(options.threshold, sample, dictionary)).collect();
        let wanted = Wanted { most: 1, selection: options.selection, floors: &floors, known: None };
        let fits = &mut fits[..floors.len()];
        let mut open = vec![true; floors.len()];
        let mut residuals = Aligned::zeros(tile.len());
        residuals.copy_from_slice(tile);
        for _ in 0..options.n_nonzero {
            let chosen = |r: usize| fits[r].atoms.as_slice();
            let lists = search.run(&residuals, dictionary, &product, &wanted, chosen, team)?;
            for (r, residual) in residuals.chunks_mut(d).enumerate() {
                lists[r].best(options.selection, floors[r], top);
                open[r] =
                    open[r] && step_residual(&tile[r * d..][..d], residual, top, dictionary, &mut fits[r]);
            }
            if !open.contains(&true) {
                break;
            }
        }
        for ((fit, &floor), residual) in fits.iter_mut().zip(&floors).zip(residuals.chunks(d)) {
            fit.prune(floor, options, residual, dictionary.simd());
            fit.finish(out);
        }
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
    let steps: Vec<f32> = fit.coefficients.iter().map(|&a| -a as f32).collect();
    let rows: Vec<&[f32]> = fit.atoms.iter().map(|&atom| dictionary.atom(atom as usize)).collect();
    simd.axpy_rows(&steps, &rows, 0, residual);
    true
}
