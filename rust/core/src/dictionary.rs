//! A dictionary ready for encoding: atoms, their norms, and the Gram matrix once somebody needs it.

use crate::error::{Error, Result};
use crate::kernels::{Simd, matmul_transposed};
use crate::team::Team;
use std::sync::{Arc, Mutex};

/// Atoms on a side of the tiles in which the Gram matrix is built: 256 x 256 float32 fit in L2.
const TILE: usize = 256;

/// Unchanging atoms, shape (n_components, n_features), with what encoders derive from them.
#[derive(Debug)]
pub struct Dictionary {
    atoms: Vec<f32>,
    n_features: usize,
    squared_norms: Vec<f32>,
    largest_norm: f32,
    simd: Simd,
    gram: Mutex<Option<Arc<Gram>>>,
}

impl Dictionary {
    /// Takes row-major atoms of `n_features` values each.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no atom, no feature, or a value that is not finite.
    pub fn new(atoms: Vec<f32>, n_features: usize, simd: Simd) -> Result<Dictionary> {
        if n_features == 0 || atoms.is_empty() || !atoms.len().is_multiple_of(n_features) {
            return Err(Error::Argument(
                "components must have shape (n_components, n_features) with neither zero".into(),
            ));
        }
        let squared_norms: Vec<f32> = atoms.chunks(n_features).map(|atom| simd.dot(atom, atom)).collect();
        if let Some(m) = squared_norms.iter().position(|norm| !norm.is_finite()) {
            return Err(Error::Argument(format!(
                "components must hold finite values whose squares are finite in float32, atom {m} does not"
            )));
        }
        let largest_norm = squared_norms.iter().copied().fold(0.0, f32::max).sqrt();
        Ok(Dictionary { atoms, n_features, squared_norms, largest_norm, simd, gram: Mutex::new(None) })
    }

    /// Number of atoms.
    pub fn n_components(&self) -> usize {
        self.squared_norms.len()
    }

    /// Width of an atom.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// All atoms, row-major.
    pub fn atoms(&self) -> &[f32] {
        &self.atoms
    }

    /// One atom.
    pub fn atom(&self, m: usize) -> &[f32] {
        &self.atoms[m * self.n_features..(m + 1) * self.n_features]
    }

    /// ‖d_m‖² of every atom.
    pub fn squared_norms(&self) -> &[f32] {
        &self.squared_norms
    }

    /// max ‖d_m‖.
    pub fn largest_norm(&self) -> f32 {
        self.largest_norm
    }

    /// The instruction set in use.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// The Gram matrix, built at the first call and kept.
    ///
    /// # Errors
    /// Cancellation.
    pub fn gram(&self, team: &Team<'_>) -> Result<Arc<Gram>> {
        // Waiting for a build by another thread beats building twice. A cancelled build leaves `None`.
        let mut kept = self.gram.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(gram) = kept.as_ref() {
            return Ok(gram.clone());
        }
        let gram = Arc::new(Gram::new(&self.atoms, self.n_features, team)?);
        *kept = Some(gram.clone());
        Ok(gram)
    }
}

/// `G = D Dᵀ`, shape (n_components, n_components), symmetric to the bit.
#[derive(Debug)]
pub struct Gram {
    values: Vec<f32>,
    n: usize,
}

impl Gram {
    /// Computes one triangle in tiles and mirrors each tile.
    fn new(atoms: &[f32], d: usize, team: &Team<'_>) -> Result<Gram> {
        let n = atoms.len() / d;
        let n_tiles = n.div_ceil(TILE);
        let mut values = vec![0.0; n * n];
        let bands: Vec<_> = values.chunks_mut(TILE * n).map(Mutex::new).collect();
        let rows = |tile: usize| tile * TILE..((tile + 1) * TILE).min(n);
        let pairs: Vec<_> = (0..n_tiles).flat_map(|i| (0..=i).map(move |j| (i, j))).collect();
        team.run(
            pairs.len(),
            || vec![0.0; TILE * TILE],
            |product, block| {
                let (i, j) = pairs[block];
                let (ri, rj) = (rows(i), rows(j));
                let (height, width) = (ri.len(), rj.len());
                let product = &mut product[..height * width];
                matmul_transposed(
                    &atoms[ri.start * d..ri.end * d],
                    &atoms[rj.start * d..rj.end * d],
                    d,
                    product,
                    width,
                );
                if i == j {
                    mirror(product, width);
                }
                let mut band = bands[i].lock().expect("no worker panicked");
                for (r, row) in product.chunks(width).enumerate() {
                    band[r * n + rj.start..r * n + rj.end].copy_from_slice(row);
                }
                drop(band);
                if i != j {
                    let mut band = bands[j].lock().expect("no worker panicked");
                    for c in 0..width {
                        let row = &mut band[c * n + ri.start..c * n + ri.end];
                        row.iter_mut().enumerate().for_each(|(r, value)| *value = product[r * width + c]);
                    }
                }
                Ok(())
            },
        )?;
        drop(bands);
        Ok(Gram { values, n })
    }

    /// Inner products of one atom with all atoms.
    #[inline]
    pub fn row(&self, m: usize) -> &[f32] {
        &self.values[m * self.n..(m + 1) * self.n]
    }
}

/// Copies the lower triangle of a square tile to the upper.
fn mirror(tile: &mut [f32], width: usize) {
    for r in 0..width {
        for c in r + 1..width {
            tile[r * width + c] = tile[c * width + r];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;

    #[test]
    fn gram_is_symmetric_and_right_across_tile_borders() {
        let (n, d) = (TILE + 37, 5);
        let atoms: Vec<f32> = (0..n * d).map(|i| ((i * 7919) % 23) as f32 - 11.0).collect();
        let simd = Simd::detect().unwrap();
        let dictionary = Dictionary::new(atoms.clone(), d, simd).unwrap();
        let cancel = Cancel::new();
        let gram = dictionary.gram(&Team::new(Some(3), &cancel)).unwrap();
        for i in (0..n).step_by(13) {
            for j in 0..n {
                // Small integers: exact in float32.
                let expected: f32 = (0..d).map(|t| atoms[i * d + t] * atoms[j * d + t]).sum();
                assert_eq!(gram.row(i)[j], expected);
                assert_eq!(gram.row(j)[i].to_bits(), gram.row(i)[j].to_bits());
            }
        }
    }
}
