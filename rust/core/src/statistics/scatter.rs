//! The scatter matrix of centred rows, in square tiles of its upper triangle.
//!
//! A tile belongs to one worker at a time and takes the rows in their order, so the result has the same bits
//! for any number of threads.

use crate::error::Result;
use crate::kernels::{STRIP, Simd};
use crate::team::Team;

/// Rows packed together. A strip of them is 12 KB: the three of one product (36 KB) stay in the first cache.
pub(super) const PACKED_ROWS: usize = 192;

/// Centred rows of a block, at most [`PACKED_ROWS`], in strips of [`STRIP`] columns; missing columns are zero.
#[derive(Debug, Default)]
pub(super) struct Packed {
    values: Vec<f64>,
    n_rows: usize,
}

impl Packed {
    /// Makes room for rows of width `d`.
    pub(super) fn clear(&mut self, n_rows: usize, d: usize) {
        self.n_rows = n_rows;
        self.values.resize(n_strips(d) * n_rows * STRIP, 0.0);
    }

    /// Copies a row to its place.
    pub(super) fn set_row(&mut self, row: usize, values: &[f64]) {
        let strips = self.values.chunks_exact_mut(self.n_rows * STRIP);
        for (strip, values) in strips.zip(values.chunks(STRIP)) {
            let place = &mut strip[row * STRIP..(row + 1) * STRIP];
            place[..values.len()].copy_from_slice(values);
            place[values.len()..].fill(0.0);
        }
    }

    fn strip(&self, s: usize) -> &[f64] {
        &self.values[s * self.n_rows * STRIP..(s + 1) * self.n_rows * STRIP]
    }
}

/// Strips of `d` columns, an even number: products take two at a time.
fn n_strips(d: usize) -> usize {
    d.div_ceil(2 * STRIP) * 2
}

/// What a block adds besides its own scatter: `weight * gap gapᵀ`.
pub(super) struct Between<'a> {
    pub(super) gap: &'a [f64],
    pub(super) weight: f64,
}

/// Sum of outer products of rows about their mean.
#[derive(Debug)]
pub(super) struct Scatter {
    d: usize,
    edge: usize,
    tiles: Vec<Tile>,
}

/// A square of the matrix, on or above the diagonal; on it, only what lies above is kept up.
#[derive(Debug)]
struct Tile {
    row: usize,
    column: usize,
    values: Vec<f64>,
    /// Products with the gap, of the scatter before and of the block: for the tile's rows, for its columns.
    pulled: [[Vec<f64>; 2]; 2],
}

impl Scatter {
    pub(super) fn new(d: usize) -> Scatter {
        // Smaller tiles re-read the rows more often, larger ones leave workers idle at the end of a block:
        // with 128, 1,024 columns make 36.
        let edge = if d > 512 { 128 } else { 64 };
        let n = d.div_ceil(edge);
        let tile = |row: usize, column: usize| Tile {
            row: row * edge,
            column: column * edge,
            values: vec![0.0; edge * edge],
            pulled: std::array::from_fn(|_| std::array::from_fn(|_| vec![0.0; edge])),
        };
        // The diagonal, half as much work, fills the end.
        let above = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        let tiles = above.chain((0..n).map(|i| (i, i))).map(|(i, j)| tile(i, j)).collect();
        Scatter { d, edge, tiles }
    }

    /// Adds the scatter B of a block of rows, and what lies between; returns `(S · gap, B · gap)`, S as before.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn add(
        &mut self,
        block: &[Packed],
        between: &Between<'_>,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<[Vec<f64>; 2]> {
        let (d, edge) = (self.d, self.edge);
        let scratch = || vec![0.0; edge * edge];
        team.run_pieces(&mut self.tiles, 1, scratch, |sums, _, tile| {
            sums.fill(0.0);
            for rows in block {
                tile[0].add_products(rows, sums, d, edge, simd);
            }
            tile[0].flush(sums, between, d, edge);
            Ok(())
        })?;
        let mut pulled = [vec![0.0; d], vec![0.0; d]];
        for tile in &self.tiles {
            for (total, [rows, columns]) in pulled.iter_mut().zip(&tile.pulled) {
                scaled(&mut total[tile.row..], 1.0, rows);
                scaled(&mut total[tile.column..], 1.0, columns);
            }
        }
        Ok(pulled)
    }

    /// The whole matrix, row-major.
    pub(super) fn full(&self) -> Vec<f64> {
        let (d, edge) = (self.d, self.edge);
        let mut full = vec![0.0; d * d];
        for tile in &self.tiles {
            for i in tile.row..(tile.row + edge).min(d) {
                for j in tile.column.max(i)..(tile.column + edge).min(d) {
                    let value = tile.values[(i - tile.row) * edge + j - tile.column];
                    full[i * d + j] = value;
                    full[j * d + i] = value;
                }
            }
        }
        full
    }
}

impl Tile {
    /// Adds products of the packed rows to `sums`.
    fn add_products(&self, rows: &Packed, sums: &mut [f64], d: usize, edge: usize, simd: Simd) {
        let strips = |start: usize| start / STRIP..((start + edge) / STRIP).min(n_strips(d));
        for right in strips(self.column).step_by(2) {
            for left in strips(self.row).filter(|&left| left < right + 2) {
                let place = (left * STRIP - self.row) * edge + right * STRIP - self.column;
                let b = [rows.strip(right), rows.strip(right + 1)];
                simd.add_products(rows.strip(left), b, &mut sums[place..], edge);
            }
        }
    }

    /// Adds the block's sums to the tile, and takes products of both with the gap.
    fn flush(&mut self, sums: &[f64], between: &Between<'_>, d: usize, edge: usize) {
        self.pulled.iter_mut().flatten().for_each(|values| values.fill(0.0));
        let [[old_rows, old_columns], [new_rows, new_columns]] = &mut self.pulled;
        for i in self.row..(self.row + edge).min(d) {
            let (r, first) = (i - self.row, self.column.max(i));
            let range = first - self.column..(self.column + edge).min(d) - self.column;
            let gap_i = between.gap[i];
            let gap = &between.gap[first..];
            let values = &mut self.values[r * edge..][range.clone()];
            let sums = &sums[r * edge..][range.clone()];
            let (mut old_sum, mut new_sum) = (0.0, 0.0);
            for ((&value, &sum), &gap) in values.iter().zip(sums).zip(gap) {
                old_sum += value * gap;
                new_sum += sum * gap;
            }
            old_rows[r] = old_sum;
            new_rows[r] = new_sum;
            // The diagonal counts once.
            let skip = usize::from(first == i);
            let columns = range.start + skip..range.end;
            scaled(&mut old_columns[columns.clone()], gap_i, &values[skip..]);
            scaled(&mut new_columns[columns], gap_i, &sums[skip..]);
            for ((value, &sum), &gap) in values.iter_mut().zip(sums).zip(gap) {
                *value += sum + between.weight * gap_i * gap;
            }
        }
    }
}

fn scaled(total: &mut [f64], scale: f64, values: &[f64]) {
    for (total, value) in total.iter_mut().zip(values) {
        *total += scale * value;
    }
}
