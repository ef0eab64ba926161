//! Rows of bytes by fours, at every level, against plain integers.

use super::super::*;
use super::values;
use proptest::prelude::*;

/// `4 * n_quads` rows of `width` bytes, and the same laid side by side at this level.
fn interleaved(simd: Simd, bytes: &[i8], n_quads: usize, width: usize) -> (Vec<Vec<i8>>, Vec<Vec<i32>>) {
    // Row l is the bytes turned by 7 l: all bytes meet all places.
    let row = |l: usize| (0..width).map(|i| bytes[(i + 7 * l) % bytes.len()]).collect::<Vec<_>>();
    let rows: Vec<_> = (0..4 * n_quads).map(row).collect();
    let quads = rows.as_chunks().0.iter().map(|[a, b, c, d]| {
        let mut out = vec![0; width];
        simd.interleave([a, b, c, d], &mut out);
        out
    });
    let quads = quads.collect();
    (rows, quads)
}

proptest! {
    // Lengths pass four registers of sixteen lanes several times, with every remainder.
    #[test]
    fn sums_of_quads_are_exact(
        y in values(0..200), offset in 0usize..5, scale in -1.0f32..1.0,
        bytes in prop::collection::vec(any::<i8>(), 255),
        factors in prop::collection::vec(any::<[i8; 4]>(), 0..40),
    ) {
        for simd in Simd::available() {
            let (rows, quads) = interleaved(simd, &bytes, factors.len(), offset + y.len());
            let quads: Vec<&[i32]> = quads.iter().map(Vec::as_slice).collect();
            let mut out = y.clone();
            simd.add_quads(&factors, &quads, offset, scale, &mut out);
            for (i, (&out, &y)) in out.iter().zip(&y).enumerate() {
                let terms = rows.iter().zip(factors.as_flattened());
                let sum: i32 = terms.map(|(row, &f)| i32::from(row[offset + i]) * i32::from(f)).sum();
                // Where a product is not fused with its sum, it is rounded by itself.
                let (fused, apart) = ((sum as f32).mul_add(scale, y), sum as f32 * scale + y);
                prop_assert!(out == fused || out == apart, "{} at {i}: {out} for {fused}", simd.name());
            }
        }
    }
}

#[test]
fn the_ends_of_bytes_neither_saturate_nor_wrap() {
    for simd in Simd::available() {
        for (byte, factor) in [(-128, -128), (-128, 127), (127, -128), (127, 127)] {
            // As many as sum to something that float32 holds exactly.
            let (factors, n) = (vec![[factor; 4]; 250], 70);
            let (_, quads) = interleaved(simd, &[byte], factors.len(), n);
            let quads: Vec<&[i32]> = quads.iter().map(Vec::as_slice).collect();
            let mut out = vec![0.0; n];
            simd.add_quads(&factors, &quads, 0, 1.0, &mut out);
            let expected = 1000.0 * f32::from(byte) * f32::from(factor);
            assert!(out.iter().all(|&y| y == expected), "{} {byte} {factor}: {out:?}", simd.name());
        }
    }
}

#[test]
fn quads_that_are_too_short_are_refused() {
    let bytes = [1; 40];
    for simd in Simd::available() {
        let refused = |f: &(dyn Fn() + std::panic::RefUnwindSafe)| std::panic::catch_unwind(f).is_err();
        let add = |offset: usize, n: usize| {
            refused(&move || simd.add_quads(&vec![[1; 4]; n], &[&[1; 40]], offset, 1.0, &mut [0.0; 36]))
        };
        assert_eq!([add(4, 1), add(5, 1), add(0, 0)], [false, true, true], "{}", simd.name());
        let lay = |n: usize| refused(&move || simd.interleave([&bytes; 4], &mut vec![0; n]));
        assert_eq!([lay(39), lay(40), lay(41)], [true, false, true], "{}", simd.name());
    }
}
