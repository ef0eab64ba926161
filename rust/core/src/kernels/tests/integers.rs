//! Products and rounding of int16, at every level, against plain integers.

use super::super::*;
use proptest::prelude::*;

/// Two numbers of 16 bits, the first in the low ones.
fn pair([low, high]: [i32; 2]) -> i32 {
    (low & 0xffff) | high << 16
}

/// Operands of a product, each number given by its place in its row or column.
struct Case {
    height: usize,
    strips: usize,
    pairs: usize,
    row: fn(usize, usize) -> i32,
    column: fn(usize, usize) -> i32,
}

impl Case {
    /// The sum in int64, its low half taken, and the rest in float64.
    fn expected(&self, r: usize, c: usize) -> f64 {
        let term = |t| i64::from((self.row)(r, t)) * i64::from((self.column)(c, t));
        let sum: i64 = (0..2 * self.pairs).map(term).sum();
        f64::from(sum as i32) * f64::from(scale(c)) * f64::from(row_scale(r))
    }

    /// Runs one level with a gap between rows of the result; returns the result and its stride.
    fn run(&self, simd: Simd, gap: usize) -> (Vec<f32>, usize) {
        let width = self.strips * simd.strip();
        let at = |number: fn(usize, usize) -> i32, i, p| pair([number(i, 2 * p), number(i, 2 * p + 1)]);
        // What lies between the end of a row and the next must not matter.
        let mut rows = vec![0x5a5a_5a5a; self.height * row_stride(self.pairs)];
        for (r, row) in rows.chunks_mut(row_stride(self.pairs)).enumerate() {
            (0..self.pairs).for_each(|p| row[p] = at(self.row, r, p));
        }
        let mut packed = Vec::new();
        for first in (0..width).step_by(simd.strip()) {
            for p in 0..self.pairs {
                packed.extend((first..first + simd.strip()).map(|c| at(self.column, c, p)));
            }
        }
        let scales: Vec<f32> = (0..width).map(scale).collect();
        let row_scales: Vec<f32> = (0..self.height).map(row_scale).collect();
        let finish = Finish { scales: &scales, row_scales: &row_scales };
        let stride = width + gap;
        let mut out = vec![f32::NAN; (self.height * stride).saturating_sub(gap) + 5];
        simd.product(&rows, &packed, self.pairs, finish, &mut out, stride);
        (out, stride)
    }

    /// Every score is the right one at every level, and nothing else is written.
    fn check(&self) {
        for simd in Simd::available() {
            let (out, stride) = self.run(simd, 3);
            let place = format!("{} {}x{}x{}", simd.name(), self.height, self.strips, self.pairs);
            for (at, &score) in out.iter().enumerate() {
                let (r, c) = (at / stride, at % stride);
                if r < self.height && c < self.strips * simd.strip() {
                    let expected = self.expected(r, c);
                    // The sum becomes a float, and two factors follow.
                    let limit = 1.5001 * f64::from(f32::EPSILON) * expected.abs();
                    assert!((f64::from(score) - expected).abs() <= limit, "{place}: {score} {expected}");
                } else {
                    assert!(score.is_nan(), "{place}: wrote to row {r}, column {c}");
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

/// A number from -32,767 to 32,767 that its place determines.
fn number(i: usize, t: usize) -> i32 {
    let mut z = (i as u64) << 32 ^ t as u64;
    z = (z ^ (z >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % 65_535) as i32 - 32_767
}

#[test]
fn products_are_those_of_integers() {
    // Heights around the rows of every register tile, lengths around the pairs of a block.
    for height in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 29] {
        for pairs in [0, 1, 2, 17, 175, 176, 177, 255, 256, 257, 352, 600] {
            let strips = 1 + (height + pairs) % 3;
            Case { height, strips, pairs, row: number, column: |c, t| number(c + 1000, t) }.check();
        }
    }
}

#[test]
fn extreme_numbers_neither_saturate_nor_lose_their_sign() {
    // All combinations of the ends of the range lie in some pair of some row and column.
    let ends = |i: usize, t: usize| if (i >> (t % 4)) & 1 == 0 { -32_767 } else { 32_767 };
    for pairs in [1, 2] {
        Case { height: 16, strips: 1, pairs, row: ends, column: ends }.check();
    }
}

#[test]
fn sums_whose_parts_wrap_are_right_when_they_fit() {
    // The first pairs pass 2^31 and 2^32; what follows takes all but one number off again.
    let column = |c: usize, t| match t {
        700 => c as i32,
        0..600 => 32_767,
        _ => -32_767,
    };
    let case = Case { height: 15, strips: 2, pairs: 600, row: |_, _| 32_767, column };
    for c in 0..64 {
        let expected = 32_767.0 * (32_767.0 + c as f64) * f64::from(scale(c)) * f64::from(row_scale(3));
        assert!((case.expected(3, c) - expected).abs() <= 1e-12 * expected, "the sum fits");
    }
    case.check();
}

#[test]
fn small_factors_do_not_vanish_together() {
    // 1e-23 · 1e-23 is nothing in float32, 2^30 · 1e-46 is something.
    for simd in Simd::available() {
        let (rows, strips) = (vec![pair([32_767, 0]); row_stride(1)], vec![pair([32_767, 0]); simd.strip()]);
        let scales = vec![1e-23; simd.strip()];
        let mut out = vec![0.0; simd.strip()];
        let finish = Finish { scales: &scales, row_scales: &[1e-23] };
        simd.product(&rows, &strips, 1, finish, &mut out, simd.strip());
        let expected = 32_767.0f64.powi(2) * 1e-46;
        // Half of the least float32, and three roundings.
        let limit = 2f64.powi(-150) + 3.0 * f64::from(f32::EPSILON) * expected;
        for score in out {
            assert!((f64::from(score) - expected).abs() <= limit, "{}: {score}", simd.name());
        }
    }
}

/// Numbers that rounding has to give, and ‖x · scale - rounded‖².
fn rounded(x: &[f32], scale: f32) -> (Vec<i32>, f64) {
    let scaled: Vec<f32> = x.iter().map(|x| x * scale).collect();
    let rounded: Vec<i32> = scaled.iter().map(|x| x.round_ties_even() as i32).collect();
    let error = |(&x, &q): (&f32, &i32)| (f64::from(x) - f64::from(q)).powi(2);
    let errors = scaled.iter().zip(&rounded).map(error).sum();
    (rounded, errors)
}

/// Values with many halves between whole numbers.
fn vectors() -> impl Strategy<Value = Vec<f32>> {
    let halves = (-253i32..254).prop_map(|x| x as f32 / 2.0);
    prop::collection::vec(prop_oneof![halves, -127.9f32..127.9, Just(-0.0), Just(1e-40)], 0..75)
}

proptest! {
    #[test]
    fn rounding_is_to_the_nearest(
        x in vectors(), scale in prop_oneof![Just(1.0f32), 0.5f32..256.0], spare in 0usize..4,
    ) {
        let (expected, squares) = rounded(&x, scale);
        // Each square rounds once and vanishes below the least normal float; adding n of them rounds n times.
        let roundings = x.len() as f64 + 1.0;
        let limit = roundings * (f64::from(f32::EPSILON) * squares + f64::from(f32::MIN_POSITIVE));
        for simd in Simd::available() {
            let mut out = vec![-1; x.len().div_ceil(2) + spare];
            let error = f64::from(simd.quantise(&x, scale, &mut out));
            let numbers = |pair: &i32| [*pair as i16, (*pair >> 16) as i16].map(i32::from);
            let found: Vec<i32> = out.iter().flat_map(numbers).collect();
            prop_assert_eq!(&found[..x.len()], &expected[..], "{}", simd.name());
            prop_assert!(found[x.len()..].iter().all(|&padding| padding == 0), "{}", simd.name());
            prop_assert!((error - squares).abs() <= limit, "{}: {} {}", simd.name(), error, squares);
        }
    }
}

#[test]
fn rounding_does_not_depend_on_the_level() {
    let x: Vec<f32> = (0..1001).map(|i| number(7, i) as f32 / 32_767.0 * 1.7).collect();
    let (mut expected, mut out) = (vec![0; 501], vec![0; 501]);
    let error = Simd::available()[0].quantise(&x, 19_000.0, &mut expected);
    for simd in Simd::available() {
        assert_eq!(simd.quantise(&x, 19_000.0, &mut out).to_bits(), error.to_bits(), "{}", simd.name());
        assert!(out == expected, "{}", simd.name());
    }
}

#[test]
fn rounding_what_does_not_fit_is_refused() {
    for simd in Simd::available() {
        let refused = |x: f32, scale: f32, length: usize| {
            std::panic::catch_unwind(|| simd.quantise(&[x; 6], scale, &mut vec![0; length])).is_err()
        };
        assert!(!refused(32_767.4, 1.0, 3), "{}", simd.name());
        assert!(!refused(-1.0, 32_767.0, 3), "{}", simd.name());
        // Below 2^15, but rounded to it.
        assert!(refused(32_767.9, 1.0, 3), "{}", simd.name());
        assert!(refused(-2.0, 16_384.0, 3), "{}", simd.name());
        assert!(refused(f32::INFINITY, 1.0, 3), "{}", simd.name());
        assert!(refused(1.0, 1.0, 2), "{}", simd.name());
    }
}

#[test]
fn products_of_wrong_lengths_are_refused() {
    for simd in Simd::available() {
        let width = simd.strip();
        // Of a call that fits: rows, strips, scales, result, stride.
        let lengths = [2 * row_stride(3), width * 3, width, width * 2, width];
        let refused = |[rows, strips, scales, out, stride]: [usize; 5]| {
            let call = || {
                let finish = Finish { scales: &vec![1.0; scales], row_scales: &[1.0; 2] };
                simd.product(&vec![0; rows], &vec![0; strips], 3, finish, &mut vec![0.0; out], stride);
            };
            std::panic::catch_unwind(call).is_err()
        };
        assert!(!refused(lengths));
        for short in 0..lengths.len() {
            let mut lengths = lengths;
            lengths[short] -= 1;
            assert!(refused(lengths), "{} {short}", simd.name());
        }
    }
}
