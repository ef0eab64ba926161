//! The Gram matrix in bytes, for carrying approximate scores from one round of a pursuit to the next.
//!
//! A pursuit by Gram matrix is bound by the memory its rows come from: 100 float32 rows of 8,192 values are
//! 3.3 MB a sample. In bytes they are 0.8 MB, and the matrix is a quarter as large, so that more of it
//! lies in a shared cache. All entries have one scale. The few that it cannot hold, the diagonal and the
//! inner products of close atoms, lie beside as *exceptions* with what the byte leaves of them; the scale
//! is chosen from a sample of entries so that these are about two in a thousand.

use super::fixed::{FixedRows, Product};
use crate::aligned::Aligned;
use crate::error::Result;
use crate::kernels::Simd;
use crate::team::Team;
use std::ops::Range;
use std::sync::Mutex;

/// Atoms on a side of the tiles in which the matrix is built: whole register tiles and strips of every
/// instruction set, and few enough that a tile of float32 fits in L2.
const TILE: usize = 224;

/// Tiles in a row that one worker builds, having brought that row's atoms to fixed point once.
const RUN: usize = 8;

/// Atoms whose inner products are looked at to choose the scale: 65,000 entries.
const SAMPLE: usize = 256;

/// Share of off-diagonal entries that the scale leaves to exceptions. One more in a thousand costs a
/// round of five atoms 40 scattered additions; one less widens all errors by a few per cent.
const EXCEPTIONS: f64 = 0.002;

/// Largest byte in use.
const LARGEST: f32 = 127.0;

/// `G ≈ D Dᵀ`, shape (n_components, n_components).
#[derive(Debug)]
pub(crate) struct Gram {
    bytes: Aligned<i8>,
    scale: f32,
    /// Where the exceptions of each row start.
    starts: Vec<usize>,
    exceptions: Vec<(u32, f32)>,
    n: usize,
    #[cfg(test)]
    error: f32,
    drift: f32,
}

/// Row, column, and what is left of the entry.
type Exception = (u32, u32, f32);

impl Gram {
    /// Computes one triangle in tiles and mirrors each tile.
    pub(crate) fn new(
        atoms: &[f32],
        d: usize,
        product: &Product<'_>,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<Gram> {
        let n = atoms.len() / d;
        let scale = scale(atoms, d, product.drift(d));
        let tile = |t: usize| t * TILE..n.min((t + 1) * TILE);
        let mut bytes = Aligned::zeros(n * n);
        let bands: Vec<_> = bytes.chunks_mut(TILE * n).map(Mutex::new).collect();
        let runs: Vec<_> =
            (0..n.div_ceil(TILE)).flat_map(|i| (0..=i).step_by(RUN).map(move |j| (i, j))).collect();
        let found = team.map(runs.len(), Block::default, |block, at| {
            let (i, first) = runs[at];
            let mut exceptions = Vec::new();
            product.load(&atoms[tile(i).start * d..tile(i).end * d], d, &mut block.rows);
            for j in first..=i.min(first + RUN - 1) {
                team.cancel().check()?;
                block.compute(&atoms[tile(i).start * d..tile(i).end * d], d, product, tile(j));
                block.round(simd, scale, tile(i).start, tile(j).start, tile(j).len(), &mut exceptions);
                copy_rows(&block.bytes, tile(j).len(), n, tile(j).start, &bands[i]);
                if i != j {
                    block.transpose(tile(j).len());
                    copy_rows(&block.transposed, tile(i).len(), n, tile(i).start, &bands[j]);
                }
            }
            Ok(exceptions)
        })?;
        drop(bands);
        let (starts, exceptions) = by_row(&found, n);
        let rounding = 0.5 * scale * (1.0 + 1e-4);
        Ok(Gram {
            bytes,
            scale,
            starts,
            exceptions,
            n,
            #[cfg(test)]
            error: rounding + product.gram_bound(d),
            drift: rounding + product.drift(d),
        })
    }

    /// Inner products of one atom with all atoms, in units of [`Gram::scale`], without its exceptions.
    #[inline]
    pub(crate) fn row(&self, m: usize) -> &[i8] {
        &self.bytes[m * self.n..(m + 1) * self.n]
    }

    /// What has to be added to a row: (atom, value).
    #[inline]
    pub(crate) fn exceptions(&self, m: usize) -> &[(u32, f32)] {
        &self.exceptions[self.starts[m]..self.starts[m + 1]]
    }

    /// The value of a byte.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// No entry, exceptions added, is further from the inner product of the two atoms.
    #[cfg(test)]
    pub(crate) fn error(&self) -> f32 {
        self.error
    }

    /// What a step of one along an atom adds to the error of scores that follow the residual.
    pub(crate) fn drift(&self) -> f32 {
        self.drift
    }
}

/// The value of a byte for which [`EXCEPTIONS`] of the sampled entries lie beyond the bytes.
///
/// Entries come from a product that is off by at most `bound`. Room for that keeps rounding from making
/// exceptions of all entries where they are equal or, with orthogonal atoms, nothing but rounding.
fn scale(atoms: &[f32], d: usize, bound: f32) -> f32 {
    let n = atoms.len() / d;
    // A linear congruential walk through the atoms: like a random sample, and always the same.
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % n
    };
    let chosen: Vec<usize> = (0..SAMPLE.min(n)).map(|_| draw()).collect();
    let sample: Vec<f32> = chosen.iter().flat_map(|&m| &atoms[m * d..(m + 1) * d]).copied().collect();
    let mut products = vec![0.0; chosen.len() * chosen.len()];
    crate::kernels::matmul_transposed(&sample, &sample, d, &mut products, chosen.len());
    let mut sizes: Vec<f32> = (0..chosen.len())
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .filter(|&(i, j)| chosen[i] != chosen[j])
        .map(|(i, j)| products[i * chosen.len() + j].abs())
        .collect();
    let diagonal = (0..chosen.len()).map(|i| products[i * chosen.len() + i]).fold(0.0, f32::max);
    // A millionth of the diagonal is below what matters, and the inverse of a scale is finite.
    let least = (1e-6 * diagonal).max(LARGEST * f32::MIN_POSITIVE);
    let rank = ((1.0 - EXCEPTIONS) * sizes.len() as f64) as usize;
    let size = match rank < sizes.len() {
        true => *sizes.select_nth_unstable_by(rank, f32::total_cmp).1,
        false => 0.0,
    };
    (size + bound).max(least) / LARGEST
}

/// A worker's tile.
#[derive(Default)]
struct Block {
    rows: FixedRows,
    products: Aligned<f32>,
    stride: usize,
    bytes: Vec<i8>,
    transposed: Vec<i8>,
}

impl Block {
    /// Inner products of the loaded `tile` with the atoms of `columns`.
    fn compute(&mut self, tile: &[f32], d: usize, product: &Product<'_>, columns: Range<usize>) {
        self.stride = product.stride(columns.len());
        self.products.reset(tile.len() / d * self.stride);
        product.scores(tile, d, &self.rows, columns, &mut self.products, self.stride);
    }

    /// Rounds the tile at (row, column) to bytes; adds its exceptions, those of the mirrored tile included.
    fn round(
        &mut self,
        simd: Simd,
        scale: f32,
        row: usize,
        column: usize,
        width: usize,
        exceptions: &mut Vec<Exception>,
    ) {
        let inverse = 1.0 / scale;
        self.bytes.resize(self.products.len() / self.stride * width, 0);
        let rows = self.products.chunks(self.stride).zip(self.bytes.chunks_mut(width));
        for (r, (products, bytes)) in rows.enumerate() {
            let products = &products[..width];
            if simd.clip_to_bytes(products, inverse, bytes) * inverse <= LARGEST {
                continue;
            }
            for (c, (&byte, &value)) in bytes.iter().zip(products).enumerate() {
                if (value * inverse).abs() > LARGEST {
                    let (i, j) = ((row + r) as u32, (column + c) as u32);
                    let left = value - f32::from(byte) * scale;
                    exceptions.push((i, j, left));
                    if row != column {
                        exceptions.push((j, i, left));
                    }
                }
            }
        }
    }

    fn transpose(&mut self, width: usize) {
        let height = self.bytes.len() / width;
        self.transposed.resize(self.bytes.len(), 0);
        // Sixteen rows at a time: their cache lines stay in L1 while a line of each is read.
        for first in (0..height).step_by(16) {
            let last = height.min(first + 16);
            for c in 0..width {
                for r in first..last {
                    self.transposed[c * height + r] = self.bytes[r * width + c];
                }
            }
        }
    }
}

/// Copies a tile of `width` columns into a band of full rows, from column `first` on.
fn copy_rows(tile: &[i8], width: usize, n: usize, first: usize, band: &Mutex<&mut [i8]>) {
    let mut band = band.lock().expect("no worker panicked");
    for (row, out) in tile.chunks(width).zip(band.chunks_mut(n)) {
        out[first..first + width].copy_from_slice(row);
    }
}

/// Exceptions in compressed rows, each in the order of columns.
fn by_row(found: &[Vec<Exception>], n: usize) -> (Vec<usize>, Vec<(u32, f32)>) {
    let mut all: Vec<Exception> = found.concat();
    all.sort_unstable_by_key(|&(row, column, _)| (row, column));
    let mut starts = vec![0; n + 1];
    for &(row, ..) in &all {
        starts[row as usize + 1] += 1;
    }
    for m in 0..n {
        starts[m + 1] += starts[m];
    }
    (starts, all.into_iter().map(|(_, column, left)| (column, left)).collect())
}
