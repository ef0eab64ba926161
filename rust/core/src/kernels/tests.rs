//! Every instance of every kernel against float64 arithmetic, with bounds from eps and length.

mod integers;
mod quads;
mod scores;

use super::*;
use proptest::prelude::*;

fn values(n: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-2.0f32..2.0, n)
}

/// Multiples of 1/8 up to 16, whose products and sums are exact: on them every level must agree to the bit.
pub(super) fn eighths(seed: u32, i: usize) -> f32 {
    let hash = seed.wrapping_mul(2_654_435_761).wrapping_add(i as u32 * 40_503);
    ((hash >> 9) % 255) as f32 / 8.0 - 16.0
}

/// Rounding bound of a sum of `n` products in float32, whatever the order: n eps Σ|a b|.
fn bound(n: usize, magnitude: f64) -> f64 {
    (n as f64 + 1.0) * f64::from(f32::EPSILON) * magnitude
}

#[test]
fn levels_of_this_cpu_are_all_there() {
    let names: Vec<_> = Simd::available().iter().map(|simd| simd.name()).collect();
    assert_eq!(names[0], "scalar");
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        assert_eq!(names.contains(&"avx2"), avx2);
        assert_eq!(names.contains(&"avx512"), avx512);
        assert_eq!(names.contains(&"avx512vnni"), avx512 && is_x86_feature_detected!("avx512vnni"));
        assert_eq!(names.len(), names.iter().collect::<std::collections::HashSet<_>>().len());
    }
}

#[test]
fn a_level_can_be_forced_and_a_wrong_one_is_named() {
    for simd in Simd::available() {
        assert_eq!(Simd::choose(Some(simd.name())), Ok(simd));
    }
    assert_eq!(Simd::choose(None).unwrap(), *Simd::available().last().unwrap());
    let message = Simd::choose(Some("sse9")).unwrap_err();
    assert!(message.contains("ICFL_SIMD") && message.contains("sse9") && message.contains("scalar"));
}

proptest! {
    #[test]
    fn dot_agrees_with_float64(pairs in prop::collection::vec((-2.0f32..2.0, -2.0f32..2.0), 0..300)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let terms: Vec<f64> = pairs.iter().map(|&(x, y)| f64::from(x) * f64::from(y)).collect();
        let limit = bound(a.len(), terms.iter().map(|t| t.abs()).sum());
        for simd in Simd::available() {
            let error = (f64::from(simd.dot(&a, &b)) - terms.iter().sum::<f64>()).abs();
            prop_assert!(error <= limit, "{}: {error} > {limit}", simd.name());
        }
    }

    #[test]
    fn products_of_pairs_of_vectors_agree_with_float64(
        count in 0usize..9, length in 0usize..90, seed in values(200),
    ) {
        let vector = |v: usize| (0..length).map(|i| seed[(31 * v + 7 * i) % seed.len()]).collect::<Vec<_>>();
        let vectors: Vec<_> = (0..count).map(vector).collect();
        let views: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let pairs: Vec<_> = (1..count).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        for simd in Simd::available() {
            let mut out = vec![f32::NAN; 3];
            simd.pair_products(&views, &mut out);
            prop_assert_eq!(out.len(), pairs.len());
            for (&(a, b), &product) in pairs.iter().zip(&out) {
                let terms = vectors[a].iter().zip(&vectors[b]).map(|(&x, &y)| f64::from(x) * f64::from(y));
                let limit = bound(length, terms.clone().map(f64::abs).sum());
                let error = (f64::from(product) - terms.sum::<f64>()).abs();
                prop_assert!(error <= limit, "{}: vectors {a} and {b} of {count}", simd.name());
            }
        }
    }

    #[test]
    fn axpy_rows_agrees_with_float64(
        y in values(0..150), coefficients in values(0..20), offset in 0usize..5, seed in values(160),
    ) {
        let rows: Vec<Vec<f32>> = (0..coefficients.len())
            .map(|l| (0..offset + y.len()).map(|i| seed[(7 * l + i) % seed.len()]).collect())
            .collect();
        let views: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        for simd in Simd::available() {
            let mut out = y.clone();
            simd.axpy_rows(&coefficients, &views, offset, &mut out);
            for i in 0..y.len() {
                let terms = coefficients.iter().zip(&rows).map(|(&c, r)| f64::from(c) * f64::from(r[offset + i]));
                let magnitude = f64::from(y[i].abs()) + terms.clone().map(f64::abs).sum::<f64>();
                let expected = f64::from(y[i]) + terms.sum::<f64>();
                prop_assert!(
                    (f64::from(out[i]) - expected).abs() <= bound(coefficients.len() + 1, magnitude),
                    "{} at {i}", simd.name()
                );
            }
        }
    }

    #[test]
    fn scan_finds_what_one_lane_finds(
        y in prop::collection::vec((-40i8..40).prop_map(|x| f32::from(x) / 8.0), 0..400),
        capacity in 1usize..20, floor in -1.0f32..1.0, first in 0u32..1000,
    ) {
        let found = |simd: Simd, absolute: bool| {
            let mut top = Top::new(capacity);
            top.clear(floor);
            if absolute { simd.scan_absolute(&y, first, &mut top) } else { simd.scan(&y, first, &mut top) }
            (top.indices().to_vec(), top.scores().to_vec())
        };
        for absolute in [false, true] {
            let mut expected = Top::new(capacity);
            expected.clear(floor);
            for (i, &x) in y.iter().enumerate() {
                expected.offer(if absolute { x.abs() } else { x }, first + i as u32);
            }
            for simd in Simd::available() {
                let (indices, scores) = found(simd, absolute);
                prop_assert_eq!(&indices[..], expected.indices(), "{}", simd.name());
                prop_assert_eq!(&scores[..], expected.scores());
            }
        }
    }

    #[test]
    fn products_of_columns_agree_with_float64(m in 1usize..9, n in 1usize..9, k in 1usize..40, seed in values(400)) {
        let a: Vec<f32> = (0..m * k).map(|i| seed[i % seed.len()]).collect();
        let b: Vec<f32> = (0..n * k).map(|i| seed[(3 * i + 1) % seed.len()]).collect();
        for first in 0..m {
            let mut c = vec![0.5; (m - first) * n];
            matmul_of_columns(&a[first..], m, &b, n, &mut c);
            for (at, value) in c.iter().enumerate() {
                let (i, j) = (first + at / n, at % n);
                let terms = (0..k).map(|t| f64::from(a[t * m + i]) * f64::from(b[t * n + j]));
                let limit = bound(k + 1, 0.5 + terms.clone().map(f64::abs).sum::<f64>());
                prop_assert!((f64::from(*value) - 0.5 - terms.sum::<f64>()).abs() <= limit);
            }
        }
    }

    #[test]
    fn products_agree_with_float64(m in 1usize..9, n in 1usize..9, k in 1usize..40, seed in values(400)) {
        let a: Vec<f32> = (0..m * k).map(|i| seed[i % seed.len()]).collect();
        let b: Vec<f32> = (0..n * k).map(|i| seed[(3 * i + 1) % seed.len()]).collect();
        let mut c = vec![f32::NAN; m * n];
        matmul_transposed(&a, &b, k, &mut c, n);
        let mut back = vec![0.5; m * k];
        matmul(-2.0, &c, n, &b, k, k, &mut back);
        for first in 0..k {
            let mut columns = vec![0.5; m * (k - first)];
            matmul(-2.0, &c, n, &b[first..], k, k - first, &mut columns);
            for (i, value) in columns.iter().enumerate() {
                let (row, column) = (i / (k - first), first + i % (k - first));
                let terms = (0..n).map(|j| 2.0 * f64::from((c[row * n + j] * b[j * k + column]).abs()));
                let limit = 2.0 * bound(n + 2, 0.5 + terms.sum::<f64>());
                prop_assert!(f64::from((value - back[row * k + column]).abs()) <= limit);
            }
        }
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|t| f64::from(a[i * k + t]) * f64::from(b[j * k + t]));
                let limit = bound(k, terms.clone().map(f64::abs).sum());
                prop_assert!((f64::from(c[i * n + j]) - terms.sum::<f64>()).abs() <= limit);
            }
            for t in 0..k {
                let terms = (0..n).map(|j| -2.0 * f64::from(c[i * n + j]) * f64::from(b[j * k + t]));
                let limit = bound(n + 2, 0.5 + terms.clone().map(f64::abs).sum::<f64>());
                prop_assert!((f64::from(back[i * k + t]) - 0.5 - terms.sum::<f64>()).abs() <= limit);
            }
        }
    }
}
