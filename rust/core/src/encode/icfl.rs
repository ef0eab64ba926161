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
//! The residual is kept, and chosen atoms get their scores and coefficients from it in float32; what the
//! two ways below differ in is how the best atoms are found. With the Gram matrix approximate scores follow
//! from c -= Σ_S a_s G_s, one product for all samples and then a few rows of bytes a round, which is bound by
//! memory. Without it each round costs a screening product of residuals with all atoms. Both give the same
//! codes. With one atom an iteration this is matching pursuit.

use super::by_gram::each_sample;
use super::solve::{Cholesky, solve_block};
use super::support::Support;
use super::{Inputs, Selection, TILE_ROWS, entry_score};
use crate::aligned::Aligned;
use crate::codes::Codes;
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::screen::shortlist::{Search, Wanted};
use crate::team::Team;
use crate::top::Top;
use std::cmp::Ordering;

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
    inputs.dictionary.refuse_offsets()?;
    if options.use_gram && !inputs.rows.is_empty() {
        with_gram(inputs, options, team)
    } else {
        with_residuals(inputs, options, team)
    }
}

/// One round of one sample: its atoms, and the least-squares problem for their coefficients.
struct Round {
    top: Top,
    cholesky: Cholesky,
    solution: Vec<f64>,
    products: Vec<f32>,
    steps: Vec<f32>,
}

impl Round {
    fn new(options: &Icfl, dictionary: &Dictionary) -> Round {
        Round {
            top: Top::new(options.atoms_per_iteration.min(dictionary.n_components())),
            cholesky: Cholesky::default(),
            solution: Vec::new(),
            products: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Fits the atoms in `top` to the residual and takes their share off it; `steps` holds minus the coefficients.
    fn step(&mut self, residual: &mut [f32], dictionary: &Dictionary) {
        let simd = dictionary.simd();
        let atoms = self.top.indices();
        let rows: Vec<&[f32]> = atoms.iter().map(|&atom| dictionary.atom(atom as usize)).collect();
        let vectors: Vec<&[f32]> = rows.iter().copied().chain([&*residual]).collect();
        simd.pair_products(&vectors, &mut self.products);
        let product = |a: usize, b: usize| self.products[b * (b - 1) / 2 + a];
        let gram = |a: usize, b: usize| match a.cmp(&b) {
            Ordering::Less => product(a, b),
            Ordering::Equal => dictionary.squared_norms()[atoms[a] as usize],
            Ordering::Greater => product(b, a),
        };
        let score = |l| product(l, atoms.len());
        solve_block(atoms.len(), gram, score, &mut self.cholesky, &mut self.solution);
        self.steps.clear();
        self.steps.extend(self.solution.iter().map(|&a| -a as f32));
        simd.axpy_rows(&self.steps, &rows, 0, residual);
    }
}

fn with_gram(inputs: &Inputs<'_>, options: &Icfl, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let scratch = || (Round::new(options, dictionary), Support::new(dictionary.n_components()));
    each_sample(inputs, options.threshold, team, scratch, |(round, support), sample, out| {
        for _ in 0..options.n_iterations {
            let (residual, scores) = (&mut *sample.residual, &mut sample.scores);
            scores.best(residual, sample.entry, options.selection, &[], &mut round.top);
            if round.top.indices().is_empty() {
                break;
            }
            round.step(residual, dictionary);
            scores.step(round.top.indices(), &round.steps);
            for (&atom, &step) in round.top.indices().iter().zip(&round.steps) {
                support.add(atom, -step);
            }
        }
        support.finish(out);
    })
}

fn with_residuals(inputs: &Inputs<'_>, options: &Icfl, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    let product = dictionary.product(inputs.rows.len(), team)?;
    let scratch = || (Search::default(), Round::new(options, dictionary), Support::new(m));
    inputs.encode(TILE_ROWS, team, scratch, |(search, round, support), tile, out| {
        let floors: Vec<f32> =
            tile.chunks(d).map(|sample| entry_score(options.threshold, sample, dictionary)).collect();
        let wanted = Wanted {
            most: options.atoms_per_iteration,
            selection: options.selection,
            floors: &floors,
            known: None,
        };
        let mut residuals = Aligned::zeros(tile.len());
        residuals.copy_from_slice(tile);
        let mut parts: Vec<Vec<(u32, f32)>> = vec![Vec::new(); floors.len()];
        for _ in 0..options.n_iterations {
            let lists = search.run(&residuals, dictionary, &product, &wanted, |_| &[], team)?;
            let mut moved = false;
            for (r, residual) in residuals.chunks_mut(d).enumerate() {
                lists[r].best(options.selection, floors[r], &mut round.top);
                moved |= !round.top.indices().is_empty();
                round.step(residual, dictionary);
                parts[r].extend(round.top.indices().iter().copied().zip(round.steps.iter().copied()));
            }
            if !moved {
                break;
            }
        }
        for part in &parts {
            part.iter().for_each(|&(atom, step)| support.add(atom, -step));
            support.finish(out);
        }
        Ok(())
    })
}
