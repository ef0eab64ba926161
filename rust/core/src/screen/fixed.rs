//! Rows and atoms in fixed point, and bounds on what rounding did to them.
//!
//! *Words*: int16 scaled so that every vector has a norm of 44,000 or a largest value of 32,767, whichever
//! is less. 44,000² < 2^31, so no sum of products overflows, and the rounding error is at most √n/2 of
//! 44,000 whatever the distribution of values: 2.1e-4 of the norm for 1,024 Gaussian values, as for any
//! others. *Bytes*: the largest value becomes 127; the error of 1,024 Gaussian values is 0.8 % of the norm, more
//! for heavier tails, and the product twice as fast where the CPU has byte products (1,300 GFLOP/s for
//! 660 of words and 230 of float32, on two cores with AVX-512 VNNI).

use super::dot_error;
use crate::error::Result;
use crate::kernels::{Finish, Simd, matmul_transposed, row_stride};
use crate::team::Team;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Norm that words are scaled to.
const WORD_NORM: f32 = 44_000.0;

/// Largest word; float32 scaling may exceed it by rounding, so a little less than 32,767.
const LARGEST_WORD: f32 = 32_766.0;

/// Largest byte, likewise.
const LARGEST_BYTE: f32 = 126.99;

/// Byte rows are stored with this added, since the product takes them unsigned.
const BYTE_OFFSET: i32 = 128;

/// Beyond this width a sum of byte products could pass 2^31.
const WIDEST_BYTES: usize = 1 << 16;

/// Atoms packed by a worker at a time.
const PACK: usize = 128;

/// Roundings of the float32 conversion of an integer score.
const CONVERSION: f32 = 4.0 * f32::EPSILON;

/// What the bounds are multiplied by, so that rounding in their own arithmetic does not matter.
const SLACK: f32 = 1.0 + 1e-4;

/// How numbers are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Bytes,
    Words,
}

impl Width {
    /// Bytes where their products are fast and cannot overflow.
    pub(crate) fn fastest(simd: Simd, d: usize) -> Width {
        if simd.has_byte_products() && d <= WIDEST_BYTES { Width::Bytes } else { Width::Words }
    }

    /// Numbers in a group of 32 bits.
    fn per_group(self) -> usize {
        match self {
            Width::Bytes => 4,
            Width::Words => 2,
        }
    }

    /// The factor for a vector; zero when the vector cannot be scaled (it then rounds to zero).
    fn scale(self, norm: f32, largest: f32) -> f32 {
        let scale = match self {
            Width::Bytes => LARGEST_BYTE / largest,
            Width::Words => (WORD_NORM / norm).min(LARGEST_WORD / largest),
        };
        if scale.is_normal() && norm.is_normal() && (1.0 / scale).is_normal() { scale } else { 0.0 }
    }

    /// Rounds one vector; returns its inverse scale and ‖x - x̂‖.
    fn round(self, simd: Simd, x: &[f32], norm: f32, offset: i32, out: &mut [i32]) -> (f32, f32) {
        let largest = simd.largest(x);
        let scale = self.scale(norm, largest);
        let squares = match self {
            Width::Bytes => simd.quantise_quads(x, scale, offset, out),
            Width::Words => simd.quantise_pairs(x, scale, out),
        };
        if scale == 0.0 {
            return (0.0, norm);
        }
        // Scaling rounds every value by half a unit in its last place: at most eps/2 of the norm in all.
        (1.0 / scale, SLACK * (squares.sqrt() / scale + f32::EPSILON * norm))
    }
}

/// A tile of rows in fixed point.
#[derive(Debug, Default)]
pub(crate) struct FixedRows {
    groups: Vec<i32>,
    scales: Vec<f32>,
    /// ‖x - x̂‖ of every row.
    errors: Vec<f32>,
    /// ‖x‖ of every row.
    norms: Vec<f32>,
}

impl FixedRows {
    /// Rounds the rows of a tile, `d` values each.
    pub(crate) fn load(&mut self, tile: &[f32], d: usize, width: Width, simd: Simd) {
        let stride = row_stride(d.div_ceil(width.per_group()));
        let height = tile.len() / d;
        self.groups.resize(height * stride, 0);
        self.scales.clear();
        self.errors.clear();
        self.norms.clear();
        for (x, out) in tile.chunks(d).zip(self.groups.chunks_mut(stride)) {
            let norm = simd.dot(x, x).sqrt();
            let (scale, error) = width.round(simd, x, norm, BYTE_OFFSET, out);
            self.scales.push(scale);
            self.errors.push(error);
            self.norms.push(norm);
        }
    }
}

/// All atoms in fixed point, packed in strips for [`Simd::product`].
#[derive(Debug)]
pub(crate) struct FixedAtoms {
    pub(crate) width: Width,
    d: usize,
    strips: Vec<i32>,
    offsets: Vec<i32>,
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
        width: Width,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<FixedAtoms> {
        let groups = d.div_ceil(width.per_group());
        let padded = (atoms.len() / d).next_multiple_of(simd.strip());
        let mut strips = vec![0; padded * groups];
        let places = Mutex::new((vec![0; padded], vec![0.0f32; padded], 0.0f32));
        team.run_pieces(
            &mut strips,
            PACK * groups,
            || (),
            |(), block, piece| {
                let first = block * PACK;
                let part = &atoms[first * d..atoms.len().min((first + PACK) * d)];
                let packed = pack(part, d, width, simd, groups, piece);
                let (offsets, scales, error) = &mut *places.lock().expect("no worker panicked");
                offsets[first..][..packed.offsets.len()].copy_from_slice(&packed.offsets);
                scales[first..][..packed.scales.len()].copy_from_slice(&packed.scales);
                *error = error.max(packed.error);
                Ok(())
            },
        )?;
        let (offsets, scales, error) = places.into_inner().expect("no worker panicked");
        Ok(FixedAtoms { width, d, strips, offsets, scales, error, largest_norm, simd })
    }

    /// Approximate scores of rows against the atoms of `range`, which starts and ends at strips.
    pub(crate) fn scores(&self, rows: &FixedRows, range: Range<usize>, out: &mut [f32], stride: usize) {
        let groups = self.d.div_ceil(self.width.per_group());
        let finish = Finish {
            offsets: &self.offsets[range.clone()],
            scales: &self.scales[range.clone()],
            row_scales: &rows.scales,
        };
        let strips = &self.strips[range.start * groups..range.end * groups];
        self.simd.product(self.width == Width::Bytes, &rows.groups, strips, groups, finish, out, stride);
    }

    /// E: no approximate score of this row is further from the float32 inner product.
    pub(crate) fn bound(&self, rows: &FixedRows, r: usize) -> f32 {
        let (norm, error) = (rows.norms[r], rows.errors[r]);
        let rounding = (CONVERSION + dot_error(self.d)) * norm * self.largest_norm;
        let bound = SLACK * (error * self.largest_norm + (norm + error) * self.error + rounding);
        // Infinity times zero, for rows beyond float32's range: nothing is known.
        if bound.is_nan() { f32::INFINITY } else { bound }
    }

    /// max ‖d_j - d̂_j‖ relative to the largest norm.
    pub(crate) fn relative_error(&self) -> f32 {
        if self.largest_norm > 0.0 { self.error / self.largest_norm } else { 0.0 }
    }

    /// No approximate inner product of two atoms is further from that of the unrounded ones.
    pub(crate) fn gram_bound(&self) -> f32 {
        let norm = self.largest_norm;
        SLACK * (self.error * (2.0 * norm + self.error) + CONVERSION * norm * norm)
    }
}

/// A block of packed atoms.
struct Packed {
    offsets: Vec<i32>,
    scales: Vec<f32>,
    error: f32,
}

/// Rounds atoms and lays their groups out in strips; `strips` may have room for padding.
fn pack(atoms: &[f32], d: usize, width: Width, simd: Simd, groups: usize, strips: &mut [i32]) -> Packed {
    let mut packed = Packed { offsets: Vec::new(), scales: Vec::new(), error: 0.0 };
    let mut rows = vec![0; simd.strip() * groups];
    for (atoms, strip) in atoms.chunks(simd.strip() * d).zip(strips.chunks_mut(simd.strip() * groups)) {
        for (atom, row) in atoms.chunks(d).zip(rows.chunks_mut(groups)) {
            let (scale, error) = width.round(simd, atom, simd.dot(atom, atom).sqrt(), 0, row);
            packed.scales.push(scale);
            packed.error = packed.error.max(error);
            packed.offsets.push(match width {
                Width::Bytes => BYTE_OFFSET * sum_of_bytes(row),
                Width::Words => 0,
            });
        }
        let present = atoms.len() / d;
        for (g, place) in strip.chunks_mut(simd.strip()).enumerate() {
            for (column, value) in place[..present].iter_mut().enumerate() {
                *value = rows[column * groups + g];
            }
        }
    }
    packed
}

fn sum_of_bytes(groups: &[i32]) -> i32 {
    groups.iter().flat_map(|group| group.to_le_bytes()).map(|byte| i32::from(byte as i8)).sum()
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
            Product::Fixed(fixed) => rows.load(tile, d, fixed.width, fixed.simd),
            Product::Float { simd, .. } => {
                rows.norms.clear();
                rows.norms.extend(tile.chunks(d).map(|x| simd.dot(x, x).sqrt()));
            }
        }
    }

    /// Columns that scores against `n` atoms need.
    pub(crate) fn columns(&self, n: usize) -> usize {
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
            Product::Float { atoms, .. } => {
                matmul_transposed(tile, &atoms[range.start * d..range.end * d], d, out, stride);
            }
        }
    }

    /// E of a row: see [`FixedAtoms::bound`].
    pub(crate) fn bound(&self, d: usize, rows: &FixedRows, r: usize) -> f32 {
        match self {
            Product::Fixed(fixed) => fixed.bound(rows, r),
            Product::Float { largest_norm, .. } => SLACK * 2.0 * dot_error(d) * rows.norms[r] * largest_norm,
        }
    }

    /// No inner product of two atoms by this product is further from that of the atoms themselves.
    pub(crate) fn gram_bound(&self, d: usize) -> f32 {
        match self {
            Product::Fixed(fixed) => fixed.gram_bound(),
            Product::Float { largest_norm, .. } => SLACK * dot_error(d) * largest_norm * largest_norm,
        }
    }
}
