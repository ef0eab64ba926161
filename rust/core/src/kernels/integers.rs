//! Products of int16 vectors: the screening products of [`crate::screen`].
//!
//! Two int16 make a *pair* of 32 bits, and one instruction multiplies pairs and adds both products to an
//! int32. Rows of pairs lie one after the other. The other operand is packed in *strips* of
//! [`Integers::WIDTH`] columns: pair 0 of every column, then pair 1 of every column, and so on, so that one
//! load serves as many columns as a register has lanes.
//!
//! The register tile is `ROWS` rows by two registers of columns: for AVX-512, 28 accumulators that are
//! fed by 2 loads and 14 broadcasts a step, which leaves the load ports half idle. Sums wrap modulo
//! 2^32, so they are right whenever the whole sum fits into an int32, whatever its parts do.
//!
//! On two cores with AVX-512 VNNI at d = 1024 the product runs at 530 to 620 GFLOP/s, where the
//! instruction alone reaches 740 and float32 products of the `gemm` crate 220. Products of bytes run twice as
//! fast again, but their rounding lets so many more atoms through the screen that encoders lost by them.

/// Pairs of a strip that all rows pass before the next: 22 KiB of a strip of 32 columns stay in L1,
/// where 64 KiB would come from L2 for every 14 rows.
const DEPTH: usize = 176;

/// Values between the beginnings of rows of `length` values of 32 bits: an odd number of cache lines.
///
/// With a power of two, as the 2 KiB of 1,024 int16, rows of a register tile share two of the 64 sets of L1.
pub fn row_stride(length: usize) -> usize {
    (length.div_ceil(LINE) | 1) * LINE
}

/// Values of 32 bits in a cache line.
const LINE: usize = 16;

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

    unsafe fn splat(pair: i32) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    /// `self + Σ a_i b_i` over the two int16 of each lane.
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self;
    /// Writes `self * scales * scale` as float32, multiplied in this order: the two factors are those of
    /// vectors that may be tiny both, and their product may be nothing in float32.
    unsafe fn finish(self, scales: *const f32, scale: f32, to: *mut f32);
    /// `self + Σ a_i b_i` over the four bytes of each lane, those of `a` without sign, those of `b` with.
    unsafe fn add_quads(self, a: Self, b: Self) -> Self;
    /// Adds `self * scale` to float32.
    unsafe fn add_scaled(self, scale: f32, to: *mut f32);
}

/// What turns integer sums into float32: `sum * scales[column] * row_scales[row]`.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    /// One factor a column.
    pub scales: &'a [f32],
    /// One factor a row.
    pub row_scales: &'a [f32],
}

/// `out[r][c] = finish(Σ_p rows[r][p] · strips[c][p])`, rows of `out` being `stride` apart.
///
/// # Safety
/// As [`Integers`]. With `h = finish.row_scales.len()` and `w = finish.scales.len()`, a multiple of
/// `WIDTH`: `rows` holds h · `row_stride(pairs)` values, `strips` w · pairs, and `out`
/// (h - 1) · stride + w with w <= stride.
#[inline(always)]
pub(super) unsafe fn product<I: Integers>(
    rows: &[i32],
    strips: &[i32],
    pairs: usize,
    finish: Finish<'_>,
    out: &mut [f32],
    stride: usize,
) {
    let height = finish.row_scales.len();
    let mut partial = vec![0; if pairs > DEPTH { height * I::WIDTH } else { 0 }];
    for first in (0..finish.scales.len()).step_by(I::WIDTH) {
        for depth in (0..pairs.max(1)).step_by(DEPTH) {
            let mut r = 0;
            while r < height {
                // SAFETY: rows r .. r + R and columns first .. first + WIDTH lie within what the caller
                // vouches for: R <= height - r, and the width is a multiple of WIDTH.
                unsafe {
                    let tile = Tile {
                        rows: rows.as_ptr().add(r * row_stride(pairs)),
                        strip: strips.as_ptr().add(first * pairs),
                        pairs,
                        depth,
                        scales: finish.scales.as_ptr().add(first),
                        row_scales: finish.row_scales.as_ptr().add(r),
                        partial: partial.as_mut_ptr().wrapping_add(r * I::WIDTH),
                        out: out.as_mut_ptr().add(r * stride + first),
                        stride,
                    };
                    r += match (height - r).min(I::ROWS) {
                        14.. => tile.run::<I, 14>(),
                        8.. => tile.run::<I, 8>(),
                        6.. => tile.run::<I, 6>(),
                        4.. => tile.run::<I, 4>(),
                        2.. => tile.run::<I, 2>(),
                        _ => tile.run::<I, 1>(),
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
    pairs: usize,
    /// First of the pairs to add: later blocks of pairs go on from the sums in `partial`.
    depth: usize,
    scales: *const f32,
    row_scales: *const f32,
    /// Sums of these rows so far, when there is more than one block of pairs.
    partial: *mut i32,
    out: *mut f32,
    stride: usize,
}

impl Tile {
    /// Computes `R` rows of one strip over one block of pairs; returns `R`.
    ///
    /// # Safety
    /// As [`product`], for these rows and columns.
    #[inline(always)]
    unsafe fn run<I: Integers, const R: usize>(&self) -> usize {
        let end = (self.depth + DEPTH).min(self.pairs);
        let row_stride = row_stride(self.pairs);
        // SAFETY: offsets stay below R rows, `pairs` pairs and WIDTH columns; `partial` has
        // a place for each sum where there are several blocks, and this function filled it in earlier ones.
        unsafe {
            let mut sums = [[I::splat(0); 2]; R];
            if self.depth > 0 {
                for (r, sum) in sums.iter_mut().enumerate() {
                    let from = self.partial.add(r * I::WIDTH);
                    *sum = [I::load(from), I::load(from.add(I::LANES))];
                }
            }
            for p in self.depth..end {
                let first = I::load(self.strip.add(p * I::WIDTH));
                let second = I::load(self.strip.add(p * I::WIDTH + I::LANES));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let row = I::splat(*self.rows.add(r * row_stride + p));
                    *sum = [sum[0].add_pairs(row, first), sum[1].add_pairs(row, second)];
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                let scale = *self.row_scales.add(r);
                for (half, sum) in sum.into_iter().enumerate() {
                    let at = half * I::LANES;
                    if end == self.pairs {
                        let to = self.out.add(r * self.stride + at);
                        sum.finish(self.scales.add(at), scale, to);
                    } else {
                        sum.store(self.partial.add(r * I::WIDTH + at));
                    }
                }
            }
        }
        R
    }
}

/// 1.5 · 2^23. A sum with it has no fraction bits, so that its low bits are the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// Writes `round(x * scale)`, clipped to ±127, to `out` and returns max |x_i|.
///
/// # Safety
/// As [`Integers`]; `out` is as long as `x`.
#[inline(always)]
pub(super) unsafe fn clip_to_bytes(x: &[f32], scale: f32, out: &mut [i8]) -> f32 {
    let mut largest = [0.0f32; 16];
    for (x, out) in x.chunks(16).zip(out.chunks_mut(16)) {
        for ((&x, out), largest) in x.iter().zip(out).zip(&mut largest) {
            *largest = if x.abs() > *largest { x.abs() } else { *largest };
            let clipped = (x * scale).clamp(-127.0, 127.0);
            *out = (clipped + ROUND).to_bits() as i8;
        }
    }
    largest.into_iter().fold(0.0, f32::max)
}

/// Writes `round(x * scale)` to `out` and returns `‖x * scale - round(x * scale)‖²`.
///
/// The nearest integer comes by way of [`ROUND`], for |x * scale| < 2^22; what other values and NaN become is
/// not specified. Sixteen sums, so that the loop can be vectorised in a fixed order.
///
/// # Safety
/// As [`Integers`].
#[inline(always)]
pub(super) unsafe fn quantise(x: &[f32], scale: f32, out: &mut [i16]) -> f32 {
    debug_assert_eq!(x.len(), out.len());
    let mut errors = [0.0f32; 16];
    for (x, out) in x.chunks(16).zip(out.chunks_mut(16)) {
        for ((x, out), error) in x.iter().zip(out).zip(&mut errors) {
            let scaled = x * scale;
            let shifted = scaled + ROUND;
            let left = scaled - (shifted - ROUND);
            *error += left * left;
            *out = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i16;
        }
    }
    errors.iter().sum()
}
