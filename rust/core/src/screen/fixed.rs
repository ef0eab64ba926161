//! Rows and atoms in fixed point, and bounds on what rounding did to them.
//!
//! Values are int16, scaled so that every vector has a norm of 44,000 or a largest value of 32,766,
//! whichever is less. 44,000² < 2^31, so no sum of products overflows, and the rounding error is at most √n/2
//! of 44,000 whatever the distribution of values: 2.1e-4 of the norm for 1,024 values.

use super::dot_error;
use crate::aligned::Aligned;
use crate::error::Result;
use crate::kernels::{Finish, Simd, matmul_transposed, row_stride};
use crate::team::Team;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Norm that vectors are scaled to.
const NORM: f32 = 44_000.0;

/// Largest value; float32 scaling may exceed it by rounding, so a little less than 32,767.
const LARGEST: f32 = 32_766.0;

/// Atoms packed by a worker at a time.
const PACK: usize = 128;

/// Roundings of the float32 conversion of an integer score.
const CONVERSION: f32 = 4.0 * f32::EPSILON;

/// What the bounds are multiplied by, so that rounding in their own arithmetic does not matter.
pub(super) const SLACK: f32 = 1.0 + 1e-4;

/// For so few rows a float32 product reads atoms as they are; a matrix product would pack them first, which
/// takes 11 ms for 32 MiB where reading takes one.
const FEW_ROWS: usize = 16;

/// A square that underflows is off by 2^-150, and a million of them change no norm above this by 1e-5.
pub(crate) const TINY: f32 = 1e-17;

/// Added to norms below [`TINY`]: n eps/2 of this is more than n products lose that underflow.
const LOST: f32 = 1e-30;

/// ‖x‖, or a bound where float32 loses squares: below [`TINY`] it is √n max|x|, and a little for what products
/// of such values lose.
pub(crate) fn length(simd: Simd, x: &[f32]) -> f32 {
    let norm = simd.dot(x, x).sqrt();
    // Not so for NaN and infinity; zeros, and only they, have no length.
    if norm >= TINY || norm.is_nan() {
        return norm;
    }
    let largest = simd.largest(x);
    if largest == 0.0 { 0.0 } else { (x.len() as f32).sqrt() * largest + LOST }
}

/// Rounds one vector; returns its inverse scale and ‖x - x̂‖. What cannot be scaled rounds to zero.
fn round(simd: Simd, x: &[f32], norm: f32, out: &mut [i32]) -> (f32, f32) {
    let scale = (NORM / norm).min(LARGEST / simd.largest(x));
    if !(scale.is_normal() && norm.is_normal() && (1.0 / scale).is_normal()) {
        out.fill(0);
        return (0.0, norm);
    }
    let squares = simd.quantise(x, scale, out);
    // Scaling rounds every value by half a unit in its last place: at most eps/2 of the norm in all.
    (1.0 / scale, SLACK * (squares.sqrt() / scale + f32::EPSILON * norm))
}

/// A bound on |approximate score - float32 inner product|, in its two parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// ‖x - x̂‖ max ‖d_j‖ and the rounding of float32.
    pub(crate) from_row: f32,
    /// max ‖d_j - d̂_j‖: what every unit of ‖x̂‖ adds.
    pub(crate) per_norm: f32,
    /// ‖x‖.
    pub(crate) norm: f32,
}

impl Bound {
    /// E.
    pub(crate) fn total(&self) -> f32 {
        let total = self.from_row + self.per_norm * self.norm;
        if total.is_nan() { f32::INFINITY } else { total }
    }
}

/// A tile of rows in fixed point.
#[derive(Debug, Default)]
pub(crate) struct FixedRows {
    pairs: Aligned<i32>,
    scales: Vec<f32>,
    /// ‖x - x̂‖ of every row.
    errors: Vec<f32>,
    /// ‖x‖ of every row.
    norms: Vec<f32>,
}

impl FixedRows {
    /// Rounds the rows of a tile, `d` values each.
    pub(crate) fn load(&mut self, tile: &[f32], d: usize, simd: Simd) {
        let stride = row_stride(d.div_ceil(2));
        let height = tile.len() / d;
        self.pairs.reset(height * stride);
        self.scales.clear();
        self.errors.clear();
        self.norms.clear();
        for (x, out) in tile.chunks(d).zip(self.pairs.chunks_mut(stride)) {
            let norm = length(simd, x);
            let (scale, error) = round(simd, x, norm, out);
            self.scales.push(scale);
            self.errors.push(error);
            self.norms.push(norm);
        }
    }
}

/// All atoms in fixed point, packed in strips for [`Simd::product`].
#[derive(Debug)]
pub(crate) struct FixedAtoms {
    d: usize,
    strips: Aligned<i32>,
    scales: Vec<f32>,
    /// max ‖d_j - d̂_j‖.
    error: f32,
    largest_norm: f32,
    simd: Simd,
}

impl FixedAtoms {
    /// Rounds and packs atoms of `d` values.
    pub(crate) fn new(
        atoms: &[f32],
        d: usize,
        largest_norm: f32,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<FixedAtoms> {
        let pairs = d.div_ceil(2);
        let padded = (atoms.len() / d).next_multiple_of(simd.strip());
        let mut strips = Aligned::zeros(padded * pairs);
        let places = Mutex::new((vec![0.0f32; padded], 0.0f32));
        team.run_pieces(
            &mut strips,
            PACK * pairs,
            || (),
            |(), block, piece| {
                let first = block * PACK;
                let part = &atoms[first * d..atoms.len().min((first + PACK) * d)];
                let (new_scales, new_error) = pack(part, d, simd, pairs, piece);
                let (scales, error) = &mut *places.lock().expect("no worker panicked");
                scales[first..][..new_scales.len()].copy_from_slice(&new_scales);
                *error = error.max(new_error);
                Ok(())
            },
        )?;
        let (scales, error) = places.into_inner().expect("no worker panicked");
        Ok(FixedAtoms { d, strips, scales, error, largest_norm, simd })
    }

    /// Approximate scores of rows against the atoms of `range`, which starts and ends at strips.
    pub(crate) fn scores(&self, rows: &FixedRows, range: Range<usize>, out: &mut [f32], stride: usize) {
        let pairs = self.d.div_ceil(2);
        let finish = Finish { scales: &self.scales[range.clone()], row_scales: &rows.scales };
        let strips = &self.strips[range.start * pairs..range.end * pairs];
        self.simd.product(&rows.pairs, strips, pairs, finish, out, stride);
    }

    /// The parts of the bound of this row.
    fn bound(&self, rows: &FixedRows, r: usize) -> Bound {
        let (norm, error) = (rows.norms[r], rows.errors[r]);
        let rounding = (CONVERSION + dot_error(self.d)) * norm * self.largest_norm;
        let from_row = SLACK * (error * self.largest_norm + error * self.error + rounding);
        // Infinity times zero, for rows beyond float32's range: nothing is known.
        Bound {
            from_row: if from_row.is_nan() { f32::INFINITY } else { from_row },
            per_norm: SLACK * self.error,
            norm,
        }
    }

    #[cfg(test)]
    /// No approximate inner product of two atoms is further from that of the unrounded ones.
    pub(crate) fn gram_bound(&self) -> f32 {
        let norm = self.largest_norm;
        SLACK * (self.error * (2.0 * norm + self.error) + CONVERSION * norm * norm)
    }
}

/// Rounds atoms and lays their pairs out in strips, which may have room for padding; returns the inverse
/// scales and the largest ‖d_j - d̂_j‖.
fn pack(atoms: &[f32], d: usize, simd: Simd, pairs: usize, strips: &mut [i32]) -> (Vec<f32>, f32) {
    let (mut scales, mut largest_error) = (Vec::new(), 0.0f32);
    let mut rows = vec![0; simd.strip() * pairs];
    for (atoms, strip) in atoms.chunks(simd.strip() * d).zip(strips.chunks_mut(simd.strip() * pairs)) {
        for (atom, row) in atoms.chunks(d).zip(rows.chunks_mut(pairs)) {
            let (scale, error) = round(simd, atom, length(simd, atom), row);
            scales.push(scale);
            largest_error = largest_error.max(error);
        }
        let present = atoms.len() / d;
        for (p, place) in strip.chunks_mut(simd.strip()).enumerate() {
            for (column, value) in place[..present].iter_mut().enumerate() {
                *value = rows[column * pairs + p];
            }
        }
    }
    (scales, largest_error)
}

/// Approximate scores by whichever product suits.
#[derive(Clone, Debug)]
pub(crate) enum Product<'a> {
    /// Fixed point.
    Fixed(Arc<FixedAtoms>),
    /// Float32 by the `gemm` crate: for a few rows, or where no vector unit multiplies integers.
    Float {
        /// Row-major atoms.
        atoms: &'a [f32],
        /// max ‖d_j‖.
        largest_norm: f32,
        /// For norms.
        simd: Simd,
    },
}

impl Product<'_> {
    /// Makes a tile of `d`-wide rows ready.
    pub(crate) fn load(&self, tile: &[f32], d: usize, rows: &mut FixedRows) {
        match self {
            Product::Fixed(fixed) => rows.load(tile, d, fixed.simd),
            Product::Float { simd, .. } => {
                rows.norms.clear();
                rows.norms.extend(tile.chunks(d).map(|x| length(*simd, x)));
            }
        }
    }

    /// Distance between rows of scores against `n` atoms: room for whole strips, and an odd number of cache
    /// lines, so that rows do not share the sets of a cache.
    pub(crate) fn stride(&self, n: usize) -> usize {
        row_stride(self.columns(n))
    }

    /// Columns that a product with `n` atoms writes.
    fn columns(&self, n: usize) -> usize {
        match self {
            Product::Fixed(fixed) => n.next_multiple_of(fixed.simd.strip()),
            Product::Float { .. } => n,
        }
    }

    /// Approximate scores of the loaded tile against the atoms of `range`, which starts at a strip.
    pub(crate) fn scores(
        &self,
        tile: &[f32],
        d: usize,
        rows: &FixedRows,
        range: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        match self {
            Product::Fixed(fixed) => {
                fixed.scores(rows, range.start..range.start + self.columns(range.len()), out, stride);
            }
            Product::Float { atoms, simd, .. } => {
                let atoms = &atoms[range.start * d..range.end * d];
                if tile.len() > FEW_ROWS * d {
                    return matmul_transposed(tile, atoms, d, out, stride);
                }
                for (j, atom) in atoms.chunks(d).enumerate() {
                    for (row, out) in tile.chunks(d).zip(out.chunks_mut(stride)) {
                        out[j] = simd.dot(atom, row);
                    }
                }
            }
        }
    }

    /// How far the approximate scores of a row can be from its float32 inner products.
    pub(crate) fn bound(&self, d: usize, rows: &FixedRows, r: usize) -> Bound {
        match self {
            Product::Fixed(fixed) => fixed.bound(rows, r),
            Product::Float { largest_norm, .. } => {
                let norm = rows.norms[r];
                Bound { from_row: SLACK * 2.0 * dot_error(d) * norm * largest_norm, per_norm: 0.0, norm }
            }
        }
    }

    /// How much a step of one along an atom adds to the error of scores that follow the residual by this
    /// product's Gram matrix: see [`super::pursuit`].
    pub(crate) fn drift(&self, d: usize) -> f32 {
        match self {
            Product::Fixed(fixed) => {
                let norm = fixed.largest_norm;
                SLACK * (fixed.error * (norm + fixed.error) + CONVERSION * norm * norm)
            }
            Product::Float { largest_norm, .. } => SLACK * dot_error(d) * largest_norm * largest_norm,
        }
    }

    #[cfg(test)]
    /// No inner product of two atoms by this product is further from that of the atoms themselves.
    pub(crate) fn gram_bound(&self, d: usize) -> f32 {
        match self {
            Product::Fixed(fixed) => fixed.gram_bound(),
            Product::Float { largest_norm, .. } => SLACK * dot_error(d) * largest_norm * largest_norm,
        }
    }
}
