//! What passes over a row of scores: comparisons, counts, and sums of byte rows, at every level.

use super::super::*;
use super::{bound, values};
use proptest::prelude::*;

/// Scores among which are those that compare in odd ways.
fn scores(n: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, f32::MAX, f32::MIN];
    let one = prop_oneof![
        3 => (-40i8..40).prop_map(|x| f32::from(x) / 8.0),
        1 => prop::sample::select(odd.to_vec()),
    ];
    prop::collection::vec(one, n)
}

fn limits() -> impl Strategy<Value = f32> {
    let odd = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0, -0.0, 1.5, -1.5];
    prop_oneof![prop::sample::select(odd.to_vec()), -6.0f32..6.0]
}

proptest! {
    // Lengths pass four registers of sixteen lanes several times, with every remainder.
    #[test]
    fn what_exceeds_a_limit_is_found_in_order(y in scores(0..300), limit in limits()) {
        let expected = |absolute: bool| -> Vec<(usize, u32)> {
            let rank = |x: f32| if absolute { x.abs() } else { x };
            let exceeds = |&(_, x): &(usize, f32)| x > limit;
            y.iter().map(|&x| rank(x)).enumerate().filter(exceeds).map(|(i, x)| (i, x.to_bits())).collect()
        };
        for simd in Simd::available() {
            let (mut signed, mut absolute) = (Vec::new(), Vec::new());
            simd.above(&y, limit, |i, x| signed.push((i, x.to_bits())));
            simd.above_absolute(&y, limit, |i, x| absolute.push((i, x.to_bits())));
            prop_assert_eq!(&signed, &expected(false), "{}", simd.name());
            prop_assert_eq!(&absolute, &expected(true), "{}", simd.name());
            prop_assert_eq!(simd.count_above(&y, limit), signed.len(), "{}", simd.name());
        }
    }

    #[test]
    fn the_largest_magnitude_passes_over_nan(x in scores(0..100)) {
        let expected = x.iter().map(|x| x.abs()).filter(|x| !x.is_nan()).fold(0.0, f32::max);
        for simd in Simd::available() {
            prop_assert_eq!(simd.largest(&x).to_bits(), expected.to_bits(), "{}", simd.name());
        }
    }

    #[test]
    fn sums_of_byte_rows_agree_with_float64(
        y in values(0..150), coefficients in values(0..18), offset in 0usize..5,
        bytes in prop::collection::vec(any::<i8>(), 155),
    ) {
        let n = y.len();
        // Row l is the bytes turned by 7 l: all bytes meet all places.
        let row = |l: usize| (0..offset + n).map(|i| bytes[(i + 7 * l) % bytes.len()]).collect::<Vec<_>>();
        let rows: Vec<_> = (0..coefficients.len()).map(row).collect();
        let views: Vec<&[i8]> = rows.iter().map(Vec::as_slice).collect();
        for simd in Simd::available() {
            let mut out = y.clone();
            simd.axpy_bytes(&coefficients, &views, offset, &mut out);
            for i in 0..n {
                let terms = coefficients.iter().zip(&rows);
                let terms = terms.map(|(&c, row)| f64::from(c) * f64::from(row[offset + i]));
                let magnitude = f64::from(y[i].abs()) + terms.clone().map(f64::abs).sum::<f64>();
                let error = (f64::from(out[i]) - f64::from(y[i]) - terms.sum::<f64>()).abs();
                prop_assert!(error <= bound(rows.len() + 1, magnitude), "{} at {i}", simd.name());
            }
        }
    }
}

#[test]
fn every_byte_is_loaded_as_its_value() {
    let bytes: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let expected: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
    for simd in Simd::available() {
        let mut out = vec![0.0; bytes.len()];
        simd.axpy_bytes(&[1.0], &[&bytes], 0, &mut out);
        assert_eq!(out, expected, "{}", simd.name());
    }
}

#[test]
fn byte_rows_that_are_too_short_are_refused() {
    for simd in Simd::available() {
        let refused = |offset: usize| {
            std::panic::catch_unwind(|| simd.axpy_bytes(&[1.0], &[&[1; 40]], offset, &mut [0.0; 36])).is_err()
        };
        assert_eq!([4, 5].map(refused), [false, true], "{}", simd.name());
    }
}
