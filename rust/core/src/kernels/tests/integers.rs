//! Products and rounding of fixed-point numbers, at every level, against plain integers.

use super::super::*;
use proptest::prelude::*;

/// Numbers of a group, first in the low bits.
fn pair(numbers: [i16; 2]) -> i32 {
    let [low, high] = numbers.map(i16::to_le_bytes);
    i32::from_le_bytes([low[0], low[1], high[0], high[1]])
}

/// Operands of a product, each number given by its place; `quads` as in [`Simd::product`].
struct Case {
    quads: bool,
    height: usize,
    strips: usize,
    groups: usize,
    row: Box<dyn Fn(usize, usize) -> i32>,
    column: Box<dyn Fn(usize, usize) -> i32>,
    offset: fn(usize) -> i32,
}

impl Case {
    fn per_group(&self) -> usize {
        if self.quads { 4 } else { 2 }
    }

    /// Four bytes or two int16 of one row or column.
    fn group(&self, number: &dyn Fn(usize, usize) -> i32, i: usize, g: usize) -> i32 {
        let at = |t: usize| number(i, g * self.per_group() + t);
        match self.quads {
            true => i32::from_le_bytes(std::array::from_fn(|t| at(t) as u8)),
            false => pair(std::array::from_fn(|t| at(t) as i16)),
        }
    }

    /// Scores as [`Simd::product`] defines them, sums in int64, their low half taken, and the rest in float64.
    fn expected(&self, r: usize, c: usize) -> f64 {
        let n = self.groups * self.per_group();
        let sum: i64 = (0..n).map(|t| i64::from((self.row)(r, t)) * i64::from((self.column)(c, t))).sum();
        let left = (sum as i32).wrapping_sub((self.offset)(c));
        f64::from(left) * f64::from(scale(c)) * f64::from(row_scale(r))
    }

    /// Runs one level with a gap between rows of the result; returns the result and its stride.
    fn run(&self, simd: Simd, gap: usize) -> (Vec<f32>, usize) {
        let width = self.strips * simd.strip();
        let stride = width + gap;
        // What lies between the end of a row and the next must not matter.
        let mut rows = vec![0x5a5a_5a5a_u32 as i32; self.height * row_stride(self.groups)];
        for (r, row) in rows.chunks_mut(row_stride(self.groups)).enumerate() {
            (0..self.groups).for_each(|g| row[g] = self.group(&self.row, r, g));
        }
        let mut packed = Vec::new();
        for strip in 0..self.strips {
            for g in 0..self.groups {
                let columns = strip * simd.strip()..(strip + 1) * simd.strip();
                packed.extend(columns.map(|c| self.group(&self.column, c, g)));
            }
        }
        let finish = Finish {
            offsets: &(0..width).map(self.offset).collect::<Vec<_>>(),
            scales: &(0..width).map(scale).collect::<Vec<_>>(),
            row_scales: &(0..self.height).map(row_scale).collect::<Vec<_>>(),
        };
        let mut out = vec![f32::NAN; (self.height * stride).saturating_sub(gap) + 5];
        simd.product(self.quads, &rows, &packed, self.groups, finish, &mut out, stride);
        (out, stride)
    }

    /// Every score is the right one at every level, and nothing else is written.
    fn check(&self) {
        for simd in Simd::available() {
            let (out, stride) = self.run(simd, 3);
            for (at, &score) in out.iter().enumerate() {
                let (r, c) = (at / stride, at % stride);
                if r < self.height && c < self.strips * simd.strip() {
                    let expected = self.expected(r, c);
                    // The sum becomes a float, and two factors follow.
                    let limit = 1.5001 * f64::from(f32::EPSILON) * expected.abs();
                    let place = format!("{} {}x{}x{}", simd.name(), self.height, self.strips, self.groups);
                    assert!((f64::from(score) - expected).abs() <= limit, "{place}: {score} {expected}");
                } else {
                    assert!(score.is_nan(), "{}: wrote beyond row {r}, column {c}", simd.name());
                }
            }
        }
    }
}

fn scale(column: usize) -> f32 {
    0.1 + column as f32
}

fn row_scale(row: usize) -> f32 {
    1.0 / (3.0 + row as f32)
}

/// A number in `0..n` that its place determines.
fn hash(seed: usize, i: usize, t: usize, n: u64) -> i32 {
    let mut z = (seed as u64) << 42 ^ (i as u64) << 21 ^ t as u64;
    z = (z ^ (z >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % n) as i32
}

/// Around the rows of every register tile and the groups of a block.
fn shapes() -> impl Iterator<Item = (usize, usize, usize)> {
    let heights = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 29];
    let groups = [0, 1, 2, 17, 255, 256, 257, 600];
    heights.into_iter().flat_map(move |h| groups.into_iter().map(move |g| (h, 1 + (h + g) % 3, g)))
}

#[test]
fn products_of_pairs_are_those_of_integers() {
    for (height, strips, groups) in shapes() {
        let row = move |r, t| hash(1, r, t, 65_535) - 32_767;
        let column = move |c, t| hash(2, c, t, 65_535) - 32_767;
        let offset = |c| hash(3, c, 0, 1 << 32);
        let (row, column) = (Box::new(row), Box::new(column));
        Case { quads: false, height, strips, groups, row, column, offset }.check();
    }
}

#[test]
fn products_of_quads_are_those_of_integers() {
    for (height, strips, groups) in shapes() {
        let row = move |r, t| hash(4, r, t, 256);
        let column = move |c, t| hash(5, c, t, 256) - 128;
        let offset = |c| hash(6, c, 0, 200_000) - 100_000;
        let (row, column) = (Box::new(row), Box::new(column));
        Case { quads: true, height, strips, groups, row, column, offset }.check();
    }
}

#[test]
fn extreme_numbers_neither_saturate_nor_lose_their_sign() {
    // All combinations of the ends of both ranges lie in some group of some row and column.
    let ends =
        |low: i32, high: i32| move |i: usize, t: usize| if (i >> (t % 4)) & 1 == 0 { low } else { high };
    for groups in [1, 2] {
        let (row, column) = (Box::new(ends(-32_767, 32_767)), Box::new(ends(-32_767, 32_767)));
        Case { quads: false, height: 16, strips: 1, groups, row, column, offset: |_| 0 }.check();
        let (row, column) = (Box::new(ends(0, 255)), Box::new(ends(-128, 127)));
        Case { quads: true, height: 16, strips: 1, groups, row, column, offset: |_| 0 }.check();
    }
}

#[test]
fn sums_whose_parts_wrap_are_right_when_they_fit() {
    // 600 groups of 2 · 32,767² pass 2^31 with the first; what follows takes all but one number off again.
    let sign = |t: usize| if t < 600 { 1 } else { -1 };
    let row = |_, _| 32_767;
    let column = move |c: usize, t| if t == 700 { c as i32 } else { 32_767 * sign(t) };
    let case = Case {
        quads: false,
        height: 15,
        strips: 2,
        groups: 600,
        row: Box::new(row),
        column: Box::new(column),
        offset: |_| 0,
    };
    let true_sum = |c: i64| 32_767 * (32_767 + c);
    for c in 0..8 {
        let expected = true_sum(c as i64) as f64 * f64::from(scale(c)) * f64::from(row_scale(3));
        assert!((case.expected(3, c) - expected).abs() <= 1e-12 * expected, "the sum fits");
    }
    case.check();
}

#[test]
fn small_factors_do_not_vanish_together() {
    // 1e-23 · 1e-23 is nothing in float32, the score 2^30 · 1e-46 is.
    for simd in Simd::available() {
        let (width, rows) = (simd.strip(), vec![pair([32_767, 0]); row_stride(1)]);
        let (offsets, scales) = (vec![0; width], vec![1e-23; width]);
        let mut out = vec![0.0; width];
        let finish = Finish { offsets: &offsets, scales: &scales, row_scales: &[1e-23] };
        simd.product(false, &rows, &vec![pair([32_767, 0]); width], 1, finish, &mut out, width);
        let expected = 32_767.0f64.powi(2) * 1e-46;
        let error = out.iter().map(|&score| (f64::from(score) - expected).abs()).fold(0.0, f64::max);
        // Half of the least float32, and three roundings.
        assert!(error <= 2f64.powi(-150) + 3.0 * f64::from(f32::EPSILON) * expected, "{}", simd.name());
    }
}

/// Numbers that rounding to fixed point has to give, and ‖x · scale - rounded‖².
fn rounded(x: &[f32], scale: f32) -> (Vec<i32>, f64) {
    let scaled: Vec<f32> = x.iter().map(|x| x * scale).collect();
    let rounded: Vec<i32> = scaled.iter().map(|x| x.round_ties_even() as i32).collect();
    let error = |(&x, &q): (&f32, &i32)| (f64::from(x) - f64::from(q)).powi(2);
    let errors = scaled.iter().zip(&rounded).map(error).sum();
    (rounded, errors)
}

/// Holds a sum of squares in float32 to one in float64: each square rounds once and vanishes below the least
/// normal float, and adding n of them rounds n times.
fn same_sum(found: f32, expected: f64, n: usize) -> bool {
    let n = n as f64 + 1.0;
    (f64::from(found) - expected).abs()
        <= n * (f64::from(f32::EPSILON) * expected + f64::from(f32::MIN_POSITIVE))
}

/// Values with many halves between whole numbers, up to what fits into a byte.
fn vectors() -> impl Strategy<Value = Vec<f32>> {
    let halves = (-253i32..254).prop_map(|x| x as f32 / 2.0);
    prop::collection::vec(prop_oneof![halves, -126.9f32..126.9, Just(-0.0), Just(1e-40)], 0..75)
}

proptest! {
    #[test]
    fn rounding_to_words_is_to_the_nearest(x in vectors(), scale in 0.5f32..256.0, spare in 0usize..4) {
        let (expected, squares) = rounded(&x, scale);
        for simd in Simd::available() {
            let mut out = vec![-1; x.len().div_ceil(2) + spare];
            let error = simd.quantise_pairs(&x, scale, &mut out);
            let words = |group: &i32| [*group as i16, (*group >> 16) as i16].map(i32::from);
            let found: Vec<i32> = out.iter().flat_map(words).collect();
            prop_assert_eq!(&found[..x.len()], &expected[..], "{}", simd.name());
            prop_assert!(found[x.len()..].iter().all(|&padding| padding == 0), "{}", simd.name());
            prop_assert!(same_sum(error, squares, x.len()), "{}: {} {}", simd.name(), error, squares);
        }
    }

    #[test]
    fn rounding_to_bytes_is_to_the_nearest(
        x in vectors(), scale in prop_oneof![Just(1.0f32), 0.1f32..1.0], spare in 0usize..4,
        offset in prop_oneof![Just(0), Just(128)],
    ) {
        let (expected, squares) = rounded(&x, scale);
        for simd in Simd::available() {
            let mut out = vec![-1; x.len().div_ceil(4) + spare];
            let error = simd.quantise_quads(&x, scale, offset, &mut out);
            let found: Vec<u8> = out.iter().flat_map(|group| group.to_le_bytes()).collect();
            let expected: Vec<u8> = expected.iter().map(|number| (number + offset) as u8).collect();
            prop_assert_eq!(&found[..x.len()], &expected[..], "{}", simd.name());
            prop_assert!(found[x.len()..].iter().all(|&padding| padding == 0), "{}", simd.name());
            prop_assert!(same_sum(error, squares, x.len()), "{}: {} {}", simd.name(), error, squares);
        }
    }
}

#[test]
fn rounding_does_not_depend_on_the_level() {
    let x: Vec<f32> =
        (0..1000).map(|i| (hash(7, i, 0, 1 << 24) as f32 / (1 << 23) as f32 - 1.0) * 1.7).collect();
    let scalar = Simd::available()[0];
    let (mut expected, mut out) = (vec![0; 500], vec![0; 500]);
    let error = scalar.quantise_pairs(&x, 19_000.0, &mut expected);
    for simd in Simd::available() {
        assert_eq!(simd.quantise_pairs(&x, 19_000.0, &mut out).to_bits(), error.to_bits(), "{}", simd.name());
        assert_eq!(out, expected);
    }
}

#[test]
fn rounding_what_does_not_fit_is_refused() {
    for simd in Simd::available() {
        let refused = |x: f32, scale: f32, length: usize| {
            let words = || simd.quantise_pairs(&[x; 6], 256.0 * scale, &mut vec![0; 2 * length]);
            let bytes = || simd.quantise_quads(&[x; 6], scale, 0, &mut vec![0; length]);
            [std::panic::catch_unwind(words).is_err(), std::panic::catch_unwind(bytes).is_err()]
        };
        assert_eq!(refused(127.0, 1.0, 2), [false; 2], "{}", simd.name());
        // Below 128 and 32,768, but rounded to them.
        assert_eq!(refused(127.999, 1.0, 2), [true; 2], "{}", simd.name());
        assert_eq!(refused(-128.0, 1.0, 2), [true; 2], "{}", simd.name());
        assert_eq!(refused(2.0, 64.0, 2), [true; 2], "{}", simd.name());
        assert_eq!(refused(f32::INFINITY, 1.0, 2), [true; 2], "{}", simd.name());
        assert_eq!(refused(1.0, 1.0, 1), [true; 2], "{}", simd.name());
    }
}

#[test]
fn products_of_wrong_lengths_are_refused() {
    for simd in Simd::available() {
        let width = simd.strip();
        // Of a fitting call: rows, strips, offsets, result, stride.
        let lengths = [row_stride(3) * 2, width * 3, width, width * 2, width];
        let refused = |lengths: [usize; 5]| {
            let [rows, strips, offsets, out, stride] = lengths;
            let call = || {
                let (offsets, scales) = (vec![0; offsets], vec![1.0; width]);
                let finish = Finish { offsets: &offsets, scales: &scales, row_scales: &[1.0; 2] };
                simd.product(false, &vec![0; rows], &vec![0; strips], 3, finish, &mut vec![0.0; out], stride);
            };
            std::panic::catch_unwind(call).is_err()
        };
        assert!(!refused(lengths));
        for short in 0..5 {
            let mut lengths = lengths;
            lengths[short] -= 1;
            assert!(refused(lengths), "{} {short}", simd.name());
        }
    }
}
