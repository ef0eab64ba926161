//! One-pass moments of rows: count, mean, scatter, and third and fourth moments of the distance to the mean.
//!
//! For rows x_i with mean m and y_i = x_i - m: S = Σ y yᵀ, t = Σ |y|² y, q = Σ |y|⁴, all in float64. A block
//! of rows is centred on its own mean and joined to those before by the exact update of Chan, Golub and
//! LeVeque (1983), carried on to t and q. The first row is taken off before anything else: a difference of two
//! near floats is exact, so a constant column has no variance whatever its value.
//!
//! Float32 has twice the lanes, but its rounding would leave variance where rows have none at all (fewer rows than
//! columns, columns that sum to a constant): those directions could no longer be told from small ones.

use super::scatter::{Between, PACKED_ROWS, Packed, Scatter};
use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::rows::Rows;
use crate::team::Team;
use ndarray::ArrayView2;

/// Rows centred and multiplied at once: 35 MB of float64 at 1,024 columns, one join for each. Pieces of
/// a stream whose lengths are multiples of it give the same bits as the whole.
pub const BLOCK_ROWS: usize = 22 * PACKED_ROWS;

/// Moments of a set of rows; the mean is `origin + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The first row.
    pub origin: Vec<f64>,
    /// Mean less the first row.
    pub offset: Vec<f64>,
    /// Sum of outer products about the mean, (d, d).
    pub scatter: Vec<f64>,
    /// Sum of |y|² y about the mean.
    pub third: Vec<f64>,
    /// Sum of |y|⁴ about the mean.
    pub fourth: f64,
}

struct Source<'a, T> {
    x: ArrayView2<'a, T>,
    chosen: Option<&'a [i64]>,
}

impl<T: Copy + Into<f64> + Sync> Source<'_, T> {
    fn len(&self) -> usize {
        self.chosen.map_or(self.x.nrows(), <[i64]>::len)
    }

    /// Calls `each(out_j, x_j)` for every column of a row.
    fn for_row(&self, place: usize, out: &mut [f64], each: impl Fn(&mut f64, usize, f64)) {
        let row = self.x.row(self.chosen.map_or(place, |chosen| chosen[place] as usize));
        match row.as_slice() {
            Some(row) => row.iter().zip(out).enumerate().for_each(|(j, (&x, out))| each(out, j, x.into())),
            None => row.iter().zip(out).enumerate().for_each(|(j, (&x, out))| each(out, j, x.into())),
        }
    }
}

/// A part of a block, with its sums.
#[derive(Debug, Default)]
struct Part {
    rows: Packed,
    third: Vec<f64>,
    squares: f64,
    fourth: f64,
}

/// Moments of the rows of a stream so far.
#[derive(Debug)]
pub struct MomentSums {
    count: f64,
    trace: f64,
    scatter: Scatter,
    /// All but the scatter.
    moments: Moments,
    parts: Vec<Part>,
}

impl MomentSums {
    /// Moments of no rows, `d` columns.
    pub fn new(d: usize) -> MomentSums {
        let zeros = || vec![0.0; d];
        let moments =
            Moments { origin: zeros(), offset: zeros(), scatter: Vec::new(), third: zeros(), fourth: 0.0 };
        MomentSums { count: 0.0, trace: 0.0, scatter: Scatter::new(d), moments, parts: Vec::new() }
    }

    /// Adds the rows with the given numbers, or all.
    ///
    /// # Errors
    /// [`Error::Argument`] when a row number is too large, the width is another, or a value is not finite or
    /// so large that its fourth power leaves float64; cancellation. The moments are then of no use.
    pub fn add(&mut self, rows: Rows<'_>, chosen: Option<&[i64]>, simd: Simd, team: &Team<'_>) -> Result<()> {
        let inside = |&row: &i64| usize::try_from(row).is_ok_and(|row| row < rows.len());
        if !chosen.is_none_or(|chosen| chosen.iter().all(inside)) {
            return Err(Error::Argument(format!("rows must be numbers below {}", rows.len())));
        }
        let d = self.moments.origin.len();
        if rows.width() != d || d == 0 {
            return Err(Error::Argument(format!("X must have {d} columns, got {}", rows.width())));
        }
        match rows {
            Rows::F32(x) => self.add_source(&Source { x, chosen }, simd, team),
            Rows::F64(x) => self.add_source(&Source { x, chosen }, simd, team),
        }
    }

    fn add_source<T: Copy + Into<f64> + Sync>(
        &mut self,
        source: &Source<'_, T>,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<()> {
        if self.count == 0.0 && source.len() > 0 {
            source.for_row(0, &mut self.moments.origin, |out, _, x| *out = x);
        }
        for start in (0..source.len()).step_by(BLOCK_ROWS) {
            self.add_block(source, start..(start + BLOCK_ROWS).min(source.len()), simd, team)?;
        }
        Ok(())
    }

    /// The moments of all rows added.
    pub fn finish(&self) -> Moments {
        Moments { scatter: self.scatter.full(), ..self.moments.clone() }
    }

    fn add_block<T: Copy + Into<f64> + Sync>(
        &mut self,
        source: &Source<'_, T>,
        range: std::ops::Range<usize>,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<()> {
        let count = range.len() as f64;
        let offset = self.block_offset(source, &range, team)?;
        self.parts.resize_with(range.len().div_ceil(PACKED_ROWS), Part::default);
        let origin = &self.moments.origin;
        team.run_pieces(
            &mut self.parts,
            1,
            || vec![0.0; origin.len()],
            |y, part, place| {
                let start = range.start + part * PACKED_ROWS;
                place[0].fill(source, start..(start + PACKED_ROWS).min(range.end), origin, &offset, y);
                Ok(())
            },
        )?;
        self.join(count, offset, simd, team)
    }

    /// Mean of a block, less the origin.
    fn block_offset<T: Copy + Into<f64> + Sync>(
        &self,
        source: &Source<'_, T>,
        range: &std::ops::Range<usize>,
        team: &Team<'_>,
    ) -> Result<Vec<f64>> {
        let origin = &self.moments.origin;
        let sums = team.map(
            range.len().div_ceil(PACKED_ROWS),
            || (),
            |(), part| {
                let start = range.start + part * PACKED_ROWS;
                let mut sums = vec![0.0; origin.len()];
                for place in start..(start + PACKED_ROWS).min(range.end) {
                    source.for_row(place, &mut sums, |sum, j, x| *sum += x - origin[j]);
                }
                Ok(sums)
            },
        )?;
        let mut offset = vec![0.0; origin.len()];
        for sums in sums {
            add_scaled(&mut offset, 1.0, &sums);
        }
        offset.iter_mut().for_each(|total| *total /= range.len() as f64);
        Ok(offset)
    }

    /// Adds the block in `parts`, `count` rows about `origin + offset`.
    fn join(&mut self, count: f64, offset: Vec<f64>, simd: Simd, team: &Team<'_>) -> Result<()> {
        let n = self.count + count;
        let mut gap: Vec<f64> = offset.iter().zip(&self.moments.offset).map(|(b, a)| b - a).collect();
        if self.count == 0.0 {
            gap.fill(0.0); // nothing lies between a block and no rows
            self.moments.offset = offset;
        }
        let weight = self.count * (count / n);
        let packed: Vec<_> = self.parts.iter_mut().map(|part| std::mem::take(&mut part.rows)).collect();
        let pulled = self.scatter.add(&packed, &Between { gap: &gap, weight }, simd, team)?;
        let mut block = Higher::of_parts(count, &self.parts);
        for (part, rows) in self.parts.iter_mut().zip(packed) {
            part.rows = rows; // its memory serves the next block
        }
        let squares = block.trace;
        let mut before = Higher {
            n: self.count,
            trace: self.trace,
            third: std::mem::take(&mut self.moments.third),
            fourth: self.moments.fourth,
        };
        before.shift(&gap, -count / n, &pulled[0]);
        block.shift(&gap, self.count / n, &pulled[1]);
        add_scaled(&mut before.third, 1.0, &block.third);
        self.moments.third = before.third;
        self.moments.fourth = before.fourth + block.fourth;
        add_scaled(&mut self.moments.offset, count / n, &gap);
        self.trace += squares + weight * inner(&gap, &gap);
        self.count = n;
        if self.moments.fourth.is_finite() {
            Ok(())
        } else {
            // NaN and infinity reach every moment; this stands for a look at every value.
            Err(Error::Argument(
                "X contains NaN, infinity, or values too large for float64 statistics".into(),
            ))
        }
    }
}

impl Part {
    fn fill<T: Copy + Into<f64> + Sync>(
        &mut self,
        source: &Source<'_, T>,
        range: std::ops::Range<usize>,
        origin: &[f64],
        offset: &[f64],
        y: &mut [f64],
    ) {
        self.rows.clear(range.len(), y.len());
        self.third.clear();
        self.third.resize(y.len(), 0.0);
        (self.squares, self.fourth) = (0.0, 0.0);
        for (row, place) in range.enumerate() {
            source.for_row(place, y, |y, j, x| *y = (x - origin[j]) - offset[j]);
            let square = square_sum(y);
            add_scaled(&mut self.third, square, y);
            self.squares += square;
            self.fourth += square * square;
            self.rows.set_row(row, y);
        }
    }
}

/// Third and fourth moments of `n` rows that sum to zero.
struct Higher {
    n: f64,
    trace: f64,
    third: Vec<f64>,
    fourth: f64,
}

impl Higher {
    fn of_parts(n: f64, parts: &[Part]) -> Higher {
        let mut all = Higher { n, trace: 0.0, third: vec![0.0; parts[0].third.len()], fourth: 0.0 };
        for part in parts {
            all.trace += part.squares;
            add_scaled(&mut all.third, 1.0, &part.third);
            all.fourth += part.fourth;
        }
        all
    }

    /// Moves them to rows shifted by `scale * gap`, where `pulled` is the scatter times the gap.
    fn shift(&mut self, gap: &[f64], scale: f64, pulled: &[f64]) {
        let length2 = scale * scale * inner(gap, gap);
        self.fourth += 4.0 * scale * inner(gap, &self.third) + 4.0 * scale * scale * inner(gap, pulled);
        self.fourth += 2.0 * length2 * self.trace + self.n * length2 * length2;
        add_scaled(&mut self.third, 2.0 * scale, pulled);
        add_scaled(&mut self.third, scale * (self.trace + self.n * length2), gap);
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(total: &mut [f64], scale: f64, values: &[f64]) {
    for (total, value) in total.iter_mut().zip(values) {
        *total += scale * value;
    }
}

/// `Σ y²` in eight sums side by side.
fn square_sum(y: &[f64]) -> f64 {
    let (eights, rest) = y.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, y) in sums.iter_mut().zip(eight) {
            *sum += y * y;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|y| y * y).sum::<f64>()
}
