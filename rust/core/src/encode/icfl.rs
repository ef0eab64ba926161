//! `encode_icfl`: stage-wise block matching pursuit, Algorithm 1 of Donhauser et al. (ICML 2025).
//!
//! ```text
//! r = x - b ; z = 0
//! repeat n_iterations times:
//!     S  = the atoms_per_iteration atoms with the largest ⟨d_m, r⟩, where it exceeds the threshold
//!     a  = argmin_a ‖r - Σ_S a_s d_s‖²
//!     z[S] += a ; r -= Σ_S a_s d_s
//! ```
//!
//! With the Gram matrix the residual is never formed: scores c = D r follow from c -= Σ_S a_s G_s, one
//! product for all samples and then a few rows of G a round, which is bound by memory. Without it each
//! round costs a product of residuals with all atoms. With one atom an iteration this is matching pursuit.

use super::scores::{TILE_ROWS, score_panels, score_whole, whole_rows};
use super::solve::{Cholesky, solve_block};
use super::support::Support;
use super::{Inputs, Selection, entry_score};
use crate::codes::Codes;
use crate::dictionary::{Dictionary, Gram};
use crate::error::Result;
use crate::team::Team;
use crate::top::Top;

/// Scores updated and scanned at a time: 8 KiB, so that the scan reads from L1 what was just written.
const BLOCK: usize = 2048;

/// Options of [`encode_icfl`].
#[derive(Clone, Copy, Debug)]
pub struct Icfl {
    /// Rounds, J.
    pub n_iterations: usize,
    /// Atoms chosen a round, L.
    pub atoms_per_iteration: usize,
    /// An atom joins only while its score exceeds this; negative infinity is the literal algorithm.
    pub threshold: f32,
    /// How atoms are ranked.
    pub selection: Selection,
    /// Work on the Gram matrix of the dictionary.
    pub use_gram: bool,
}

/// Codes by Algorithm 1.
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub fn encode_icfl(inputs: &Inputs<'_>, options: &Icfl, team: &Team<'_>) -> Result<Codes> {
    if options.use_gram && !inputs.rows.is_empty() {
        with_gram(inputs, options, team)
    } else {
        with_residuals(inputs, options, team)
    }
}

/// What a worker needs to solve for the atoms of a round.
struct Round {
    top: Top,
    support: Support,
    cholesky: Cholesky,
    solution: Vec<f64>,
    steps: Vec<f32>,
}

impl Round {
    fn new(options: &Icfl, dictionary: &Dictionary) -> Round {
        let m = dictionary.n_components();
        Round {
            top: Top::new(options.atoms_per_iteration.min(m)),
            support: Support::new(m),
            cholesky: Cholesky::default(),
            solution: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds least-squares coefficients of `atoms` to the support; leaves their negatives in `steps`.
    fn solve(&mut self, atoms: &[u32], gram: impl Fn(usize, usize) -> f32, score: impl Fn(usize) -> f32) {
        solve_block(atoms.len(), gram, score, &mut self.cholesky, &mut self.solution);
        self.steps.clear();
        for (&atom, &a) in atoms.iter().zip(&self.solution) {
            self.support.add(atom, a as f32);
            self.steps.push(-a as f32);
        }
    }
}

fn with_gram(inputs: &Inputs<'_>, options: &Icfl, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    let gram = dictionary.gram(team)?;
    let scratch = || (Vec::new(), Round::new(options, dictionary));
    inputs.encode(whole_rows(dictionary), team, scratch, |(scores, round), tile, out| {
        score_whole(tile, dictionary, scores);
        for (sample, scores) in tile.chunks(d).zip(scores.chunks_mut(m)) {
            team.cancel().check()?;
            let entry = entry_score(options.threshold, sample, dictionary);
            pursue(scores, entry, &gram, options, dictionary, round);
            round.support.finish(out);
        }
        Ok(())
    })
}

/// All rounds of one sample, whose scores are updated in place.
fn pursue(
    scores: &mut [f32],
    entry: f32,
    gram: &Gram,
    options: &Icfl,
    dictionary: &Dictionary,
    round: &mut Round,
) {
    let simd = dictionary.simd();
    let mut atoms: Vec<u32> = Vec::with_capacity(options.atoms_per_iteration);
    let mut rows: Vec<&[f32]> = Vec::with_capacity(options.atoms_per_iteration);
    for _ in 0..options.n_iterations {
        // The step of the round before and the search of this one share a pass over the scores.
        round.top.clear(entry);
        for (b, block) in scores.chunks_mut(BLOCK).enumerate() {
            simd.axpy_rows(&round.steps, &rows, b * BLOCK, block);
            options.selection.scan(simd, block, b * BLOCK, &mut round.top);
        }
        atoms.clear();
        atoms.extend_from_slice(round.top.indices());
        if atoms.is_empty() {
            break;
        }
        rows.clear();
        rows.extend(atoms.iter().map(|&atom| gram.row(atom as usize)));
        round.solve(&atoms, |a, b| rows[a][atoms[b] as usize], |l| scores[atoms[l] as usize]);
    }
    round.steps.clear();
}

fn with_residuals(inputs: &Inputs<'_>, options: &Icfl, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    let top = Top::new(options.atoms_per_iteration.min(m));
    let scratch = || (Vec::new(), vec![top.clone(); TILE_ROWS], Round::new(options, dictionary));
    inputs.encode(TILE_ROWS, team, scratch, |(scores, tops, round), tile, out| {
        let entries: Vec<f32> =
            tile.chunks(d).map(|sample| entry_score(options.threshold, sample, dictionary)).collect();
        let tops = &mut tops[..entries.len()];
        let mut residuals = tile.to_vec();
        let mut parts: Vec<Vec<(u32, f32)>> = vec![Vec::new(); entries.len()];
        for _ in 0..options.n_iterations {
            tops.iter_mut().zip(&entries).for_each(|(top, &entry)| top.clear(entry));
            score_panels(&residuals, dictionary, options.selection, scores, tops, |_| &[], team)?;
            if tops.iter().all(|top| top.indices().is_empty()) {
                break;
            }
            for ((residual, top), part) in residuals.chunks_mut(d).zip(&*tops).zip(&mut parts) {
                step_residual(residual, top.indices(), dictionary, round, part);
            }
        }
        for part in &parts {
            part.iter().for_each(|&(atom, coefficient)| round.support.add(atom, coefficient));
            round.support.finish(out);
        }
        Ok(())
    })
}

/// One round of one sample on its residual; the coefficients are appended to `part`.
fn step_residual(
    residual: &mut [f32],
    atoms: &[u32],
    dictionary: &Dictionary,
    round: &mut Round,
    part: &mut Vec<(u32, f32)>,
) {
    let simd = dictionary.simd();
    let atom = |l: usize| dictionary.atom(atoms[l] as usize);
    let scores: Vec<f32> = (0..atoms.len()).map(|l| simd.dot(atom(l), residual)).collect();
    solve_block(
        atoms.len(),
        |a, b| simd.dot(atom(a), atom(b)),
        |l| scores[l],
        &mut round.cholesky,
        &mut round.solution,
    );
    for (l, &a) in round.solution.iter().enumerate() {
        part.push((atoms[l], a as f32));
        simd.axpy(-a as f32, atom(l), residual);
    }
}
