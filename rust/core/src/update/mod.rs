//! Dictionary updates: inputs and their codes in, a moved dictionary out. Each is a value of its own.

mod adam;
mod coherence;
mod gradients;
mod online;
mod redundancy;

pub use adam::Adam;
pub(crate) use adam::adam_step;
pub use coherence::coherent_pairs;
pub use online::{Online, Parting};
pub use redundancy::{Redundant, redundant_atoms};

use crate::codes::CodesView;
use crate::error::{Error, Result};
use crate::kernels::Simd;

/// Atoms whose sums one worker forms at a time.
const ATOM_BLOCK: usize = 32;

/// A mini-batch of packed rows, shape (n, d), with its codes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    x: &'a [f32],
    d: usize,
    codes: CodesView<'a>,
}

impl<'a> Batch<'a> {
    /// Checks that rows and codes are of one length.
    ///
    /// # Errors
    /// [`Error::Argument`] when they are not, or there is no row.
    pub fn new(x: &'a [f32], d: usize, codes: CodesView<'a>) -> Result<Batch<'a>> {
        if d == 0 || codes.is_empty() || x.len() != codes.len() * d {
            return Err(Error::Argument(
                "X and codes must have the same number of rows, at least one".into(),
            ));
        }
        Ok(Batch { x, d, codes })
    }

    fn n(&self) -> usize {
        self.codes.len()
    }
}

/// A dictionary as updates move it: atoms, row-major, and the bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Shape (n_components, n_features).
    pub components: Vec<f32>,
    /// Shape (n_features,).
    pub bias: Vec<f32>,
}

/// Scales an atom to unit norm; a zero atom stays zero.
pub(crate) fn normalise(atom: &mut [f32], simd: Simd) {
    let norm = simd.squared_norm(atom).sqrt();
    if norm > 0.0 {
        simd.scale(1.0 / norm, atom);
    }
}
