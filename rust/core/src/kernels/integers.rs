//! Products of fixed-point numbers: the screening products of [`crate::screen`].
//!
//! Numbers come in *groups* of 32 bits: two int16 ([`PAIRS`]) or four bytes ([`QUADS`], unsigned in rows
//! and signed in strips, as the hardware's instruction wants them). Rows lie one after the other. The
//! other operand is packed in *strips* of [`Integers::WIDTH`] columns: group 0 of every column, then
//! group 1 of every column, and so on, so that one load serves as many columns as a register has lanes.
//!
//! The register tile is `ROWS` rows by two registers of columns: for AVX-512, 28 accumulators that are
//! fed by 2 loads and 14 broadcasts a step, which leaves the load ports half idle. Sums wrap modulo
//! 2^32, so they are right whenever the whole sum fits into an int32, whatever its parts do.

/// Groups of a strip that all rows pass before the next: 16 KiB of a strip of 32 columns stay in L1,
/// where 64 KiB would come from L2 for every 14 rows (two cores, d = 1024, int16: 455 GFLOP/s).
const DEPTH: usize = 256;

/// Values between the beginnings of rows of `groups` groups: an odd number of cache lines.
///
/// With the 2 KiB of 1,024 int16 the rows of a register tile share two of the 64 sets of L1, and the
/// product runs at 530 instead of NNN GFLOP/s.
pub fn row_stride(groups: usize) -> usize {
    (groups.div_ceil(LINE) | 1) * LINE
}

/// Groups in a cache line.
const LINE: usize = 16;

/// Groups of two int16.
pub(super) const PAIRS: bool = false;

/// Groups of four bytes.
pub(super) const QUADS: bool = true;

/// A register of int32 sums.
///
/// # Safety
/// As [`super::vector::Vector`]: callers are inside a function with the instruction set's
/// `target_feature`, and pointers cover `LANES` values.
pub(super) trait Integers: Copy {
    /// Number of sums held.
    const LANES: usize;
    /// Rows of the register tile.
    const ROWS: usize;
    /// Columns of a strip.
    const WIDTH: usize = 2 * Self::LANES;

    unsafe fn splat(group: i32) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    /// `self + Σ a_i b_i` over the two int16 of each lane.
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self;
    /// `self + Σ a_i b_i` over the four bytes of each lane, those of `a` unsigned.
    unsafe fn add_quads(self, a: Self, b: Self) -> Self;
    /// Writes `(self - offsets) * scales * scale` as float32, multiplied in this order: the two factors are
    /// those of vectors that may be tiny both, and their product may be nothing in float32.
    unsafe fn finish(self, offsets: *const i32, scales: *const f32, scale: f32, to: *mut f32);
}

/// What turns integer sums into float32: `(sum - offsets[column]) * scales[column] * row_scales[row]`.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    /// One value a column, taken off its sums.
    pub offsets: &'a [i32],
    /// One factor a column.
    pub scales: &'a [f32],
    /// One factor a row.
    pub row_scales: &'a [f32],
}

/// `out[r][c] = finish(Σ_g rows[r][g] · strips[c][g])`, rows of `out` being `stride` apart.
///
/// # Safety
/// As [`Integers`]. With `h = finish.row_scales.len()` and `w = finish.scales.len()`, a multiple of
/// `WIDTH`: `rows` holds h · `row_stride(groups)` values, `strips` w · groups, `finish.offsets` w, and `out`
/// (h - 1) · stride + w with w <= stride.
#[inline(always)]
pub(super) unsafe fn product<I: Integers, const KIND: bool>(
    rows: &[i32],
    strips: &[i32],
    groups: usize,
    finish: Finish<'_>,
    out: &mut [f32],
    stride: usize,
) {
    let height = finish.row_scales.len();
    for first in (0..finish.scales.len()).step_by(I::WIDTH) {
        for depth in (0..groups.max(1)).step_by(DEPTH) {
            let mut r = 0;
            while r < height {
                // SAFETY: rows r .. r + R and columns first .. first + WIDTH lie within what the caller
                // vouches for: R <= height - r, and the width is a multiple of WIDTH.
                unsafe {
                    let tile = Tile {
                        rows: rows.as_ptr().add(r * row_stride(groups)),
                        strip: strips.as_ptr().add(first * groups),
                        groups,
                        depth,
                        offsets: finish.offsets.as_ptr().add(first),
                        scales: finish.scales.as_ptr().add(first),
                        row_scales: finish.row_scales.as_ptr().add(r),
                        out: out.as_mut_ptr().add(r * stride + first),
                        stride,
                    };
                    r += match (height - r).min(I::ROWS) {
                        14.. => tile.run::<I, KIND, 14>(),
                        8.. => tile.run::<I, KIND, 8>(),
                        6.. => tile.run::<I, KIND, 6>(),
                        4.. => tile.run::<I, KIND, 4>(),
                        2.. => tile.run::<I, KIND, 2>(),
                        _ => tile.run::<I, KIND, 1>(),
                    };
                }
            }
        }
    }
}

/// Where one register tile reads and writes.
struct Tile {
    rows: *const i32,
    strip: *const i32,
    groups: usize,
    /// First of the groups to add: later blocks of groups go on from sums left in `out`.
    depth: usize,
    offsets: *const i32,
    scales: *const f32,
    row_scales: *const f32,
    out: *mut f32,
    stride: usize,
}

impl Tile {
    /// Computes `R` rows of one strip over one block of groups; returns `R`.
    ///
    /// # Safety
    /// As [`product`], for these rows and columns.
    #[inline(always)]
    unsafe fn run<I: Integers, const KIND: bool, const R: usize>(&self) -> usize {
        let end = (self.depth + DEPTH).min(self.groups);
        let row_stride = row_stride(self.groups);
        // SAFETY: offsets stay below R rows, `groups` groups and WIDTH columns; sums of earlier blocks
        // were stored in `out` by this function.
        unsafe {
            let mut sums = [[I::splat(0); 2]; R];
            if self.depth > 0 {
                for (r, sum) in sums.iter_mut().enumerate() {
                    let from = self.out.add(r * self.stride).cast::<i32>();
                    *sum = [I::load(from), I::load(from.add(I::LANES))];
                }
            }
            for g in self.depth..end {
                let first = I::load(self.strip.add(g * I::WIDTH));
                let second = I::load(self.strip.add(g * I::WIDTH + I::LANES));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let row = I::splat(*self.rows.add(r * row_stride + g));
                    if KIND == QUADS {
                        *sum = [sum[0].add_quads(row, first), sum[1].add_quads(row, second)];
                    } else {
                        *sum = [sum[0].add_pairs(row, first), sum[1].add_pairs(row, second)];
                    }
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                let scale = *self.row_scales.add(r);
                for (half, sum) in sum.into_iter().enumerate() {
                    let at = half * I::LANES;
                    let to = self.out.add(r * self.stride + at);
                    if end == self.groups {
                        sum.finish(self.offsets.add(at), self.scales.add(at), scale, to);
                    } else {
                        sum.store(to.cast());
                    }
                }
            }
        }
        R
    }
}

/// Writes `round(x * scale)` to `out` and returns `‖x * scale - round(x * scale)‖²`.
///
/// Adding 1.5 · 2^23 leaves a sum without fraction bits, so that its low bits are the nearest integer for
/// |x * scale| < 2^22; what other values and NaN become is not specified. Sixteen sums, so that the loop can
/// be vectorised in a fixed order.
///
/// # Safety
/// As [`Integers`].
#[inline(always)]
pub(super) unsafe fn quantise<T>(x: &[f32], scale: f32, out: &mut [T], convert: impl Fn(i32) -> T) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    debug_assert_eq!(x.len(), out.len());
    let mut errors = [0.0f32; 16];
    for (x, out) in x.chunks(16).zip(out.chunks_mut(16)) {
        for ((x, out), error) in x.iter().zip(out).zip(&mut errors) {
            let scaled = x * scale;
            let shifted = scaled + ROUND;
            let left = scaled - (shifted - ROUND);
            *error += left * left;
            *out = convert(shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32);
        }
    }
    errors.iter().sum()
}
