//! A dictionary ready for encoding: atoms, their norms, and what encoders derive from them, kept once made.

use crate::aligned::Aligned;
use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::screen::fixed::{FixedAtoms, Product, TINY, length};
use crate::screen::gram::Gram;
use crate::team::Team;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Before so many rows were asked for, atoms are not rounded and packed: that costs as much as a few rows'
/// scores in float32. Many calls of one row add up; codes are the same to the bit either way.
const FEW_ROWS: usize = 24;

/// Atoms copied by a worker at a time.
const COPY: usize = 128;

/// Unchanging atoms, shape (n_components, n_features), with what encoders derive from them.
#[derive(Debug)]
pub struct Dictionary {
    atoms: Arc<Aligned<f32>>,
    n_features: usize,
    squared_norms: Vec<f32>,
    largest_norm: f32,
    offsets: Option<Vec<f32>>,
    simd: Simd,
    /// Rows of all calls so far, counting no more than [`FEW_ROWS`] of each.
    rows_seen: AtomicUsize,
    fixed: Kept<FixedAtoms>,
    gram: Kept<Gram>,
}

impl Dictionary {
    /// Takes row-major atoms of `n_features` values each.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no atom, no feature, or a value that is not finite.
    pub fn new(atoms: Vec<f32>, n_features: usize, simd: Simd) -> Result<Dictionary> {
        check_shape(&atoms, n_features)?;
        let squared_norms = atoms.chunks(n_features).map(|atom| simd.dot(atom, atom)).collect();
        let mut copy = Aligned::zeros(atoms.len());
        copy.copy_from_slice(&atoms);
        Dictionary::with_norms(Arc::new(copy), n_features, squared_norms, simd)
    }

    /// As [`Dictionary::new`], of a copy that the team makes.
    ///
    /// # Errors
    /// As there, or cancellation.
    pub fn copied(atoms: &[f32], n_features: usize, simd: Simd, team: &Team<'_>) -> Result<Dictionary> {
        check_shape(atoms, n_features)?;
        let mut copy = Aligned::zeros(atoms.len());
        let block = COPY * n_features;
        let mut places: Vec<_> = copy.chunks_mut(block).zip(atoms.chunks(block)).collect();
        team.run_pieces(
            &mut places,
            1,
            || (),
            |(), _, place| {
                let (copy, atoms) = &mut place[0];
                copy.copy_from_slice(atoms);
                Ok(())
            },
        )?;
        drop(places);
        Dictionary::sharing(Arc::new(copy), n_features, simd, team)
    }

    /// As [`Dictionary::new`], of atoms that somebody else may hold too.
    ///
    /// # Errors
    /// As there, or cancellation.
    pub(crate) fn sharing(
        atoms: Arc<Aligned<f32>>,
        n_features: usize,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<Dictionary> {
        check_shape(&atoms, n_features)?;
        let mut squared_norms = vec![0.0; atoms.len() / n_features];
        team.run_pieces(
            &mut squared_norms,
            COPY,
            || (),
            |(), block, norms| {
                let atoms = atoms[block * COPY * n_features..].chunks(n_features);
                norms.iter_mut().zip(atoms).for_each(|(norm, atom)| *norm = simd.dot(atom, atom));
                Ok(())
            },
        )?;
        Dictionary::with_norms(atoms, n_features, squared_norms, simd)
    }

    fn with_norms(
        atoms: Arc<Aligned<f32>>,
        n_features: usize,
        squared_norms: Vec<f32>,
        simd: Simd,
    ) -> Result<Dictionary> {
        if let Some(m) = squared_norms.iter().position(|norm| !norm.is_finite()) {
            return Err(Error::Argument(format!(
                "components must hold finite values whose squares are finite in float32, atom {m} does not"
            )));
        }
        let mut largest_norm = squared_norms.iter().copied().fold(0.0, f32::max).sqrt();
        if largest_norm < TINY {
            // Squares of tiny atoms vanish, and bounds would with them.
            largest_norm = atoms.chunks(n_features).map(|atom| length(simd, atom)).fold(0.0, f32::max);
        }
        Ok(Dictionary {
            atoms,
            n_features,
            squared_norms,
            largest_norm,
            offsets: None,
            simd,
            rows_seen: AtomicUsize::new(0),
            fixed: Kept::default(),
            gram: Kept::default(),
        })
    }

    /// The same, where each atom adds a value of its own to its scores: the bias of an encoder.
    ///
    /// # Errors
    /// [`Error::Argument`] unless there is one finite value an atom.
    pub fn with_offsets(mut self, offsets: Vec<f32>) -> Result<Dictionary> {
        if offsets.len() != self.n_components() || !offsets.iter().all(|offset| offset.is_finite()) {
            return Err(Error::Argument("offsets must be one finite value for each atom".into()));
        }
        self.offsets = Some(offsets);
        Ok(self)
    }

    /// What each atom adds to its scores.
    pub fn offsets(&self) -> Option<&[f32]> {
        self.offsets.as_deref()
    }

    /// Pursuits subtract atoms from rows, which offsets have no part in.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are offsets.
    pub(crate) fn refuse_offsets(&self) -> Result<()> {
        match self.offsets {
            Some(_) => Err(Error::Argument("a dictionary with offsets has no pursuit".into())),
            None => Ok(()),
        }
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

    /// Makes now, rather than in the first call that encodes, what encoders derive from the atoms.
    ///
    /// # Errors
    /// Cancellation.
    pub fn prepare(&self, with_gram: bool, team: &Team<'_>) -> Result<()> {
        self.product(usize::MAX, team)?;
        if with_gram {
            self.gram(team)?;
        }
        Ok(())
    }

    /// The Gram matrix in bytes, for pursuits.
    ///
    /// # Errors
    /// Cancellation.
    pub(crate) fn gram(&self, team: &Team<'_>) -> Result<Arc<Gram>> {
        self.refuse_offsets()?;
        self.gram.get(|| {
            let product = self.product(usize::MAX, team)?;
            Gram::new(&self.atoms, self.n_features, &product, self.simd, team)
        })
    }

    /// The product that screens `n_rows` rows soonest: in fixed point if that is at hand or has come to pay.
    ///
    /// # Errors
    /// Cancellation.
    pub(crate) fn product(&self, n_rows: usize, team: &Team<'_>) -> Result<Product<'_>> {
        let (d, norm, simd) = (self.n_features, self.largest_norm, self.simd);
        let rows = self.rows_seen.fetch_add(n_rows.min(FEW_ROWS), Ordering::Relaxed) + n_rows.min(FEW_ROWS);
        let fixed = if simd.has_integer_products() && rows >= FEW_ROWS {
            Some(self.fixed.get(|| FixedAtoms::new(&self.atoms, d, norm, simd, team))?)
        } else {
            self.fixed.peek()
        };
        let float = Product::Float { atoms: &self.atoms, largest_norm: norm, simd };
        Ok(fixed.map_or(float, Product::Fixed))
    }
}

fn check_shape(atoms: &[f32], n_features: usize) -> Result<()> {
    if n_features == 0 || atoms.is_empty() || !atoms.len().is_multiple_of(n_features) {
        return Err(Error::Argument(
            "components must have shape (n_components, n_features) with neither zero".into(),
        ));
    }
    Ok(())
}

/// Something made at its first use and kept.
#[derive(Debug)]
struct Kept<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// Waiting for another thread that is making it beats making it twice. A cancelled attempt leaves nothing.
    fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = kept.as_ref() {
            return Ok(value.clone());
        }
        let value = Arc::new(make()?);
        *kept = Some(value.clone());
        Ok(value)
    }

    fn peek(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_norm_is_no_less_than_any_however_small_they_are() {
        for simd in Simd::available() {
            for size in [1.0f32, 1e-15, 1e-20, 1e-25, 1e-38, 1e-44] {
                let atoms = vec![0.3 * size, 0.4 * size, -size, 0.0, 0.0, 0.0];
                let expected = f64::from(atoms[2]).abs();
                let found = f64::from(Dictionary::new(atoms, 2, simd).unwrap().largest_norm());
                // Below the range of squares it is √2 of the largest value, and 1e-30 more.
                let most = expected * 2f64.sqrt() * 1.001 + 2e-30;
                assert!(found >= expected && found <= most, "{}, {size:e}: {found:e}", simd.name());
            }
            assert_eq!(Dictionary::new(vec![0.0; 6], 2, simd).unwrap().largest_norm(), 0.0);
        }
    }
}
