//! The inner loops, on vectors as long as a sample has scores.

use super::data::values;
use super::{Case, Setting, Work, work};
use icfl_core::kernels::{Finish, Simd, row_stride};
use icfl_core::top::Top;
use std::hint::black_box;

pub(super) const CASES: &[Case] = &[
    ("dot", dot),
    ("axpy", |s| axpy_rows(s, 1)),
    ("axpy_rows_5", |s| axpy_rows(s, 5)),
    ("axpy_rows_64", |s| axpy_rows(s, 64)),
    ("scan_best_5", |s| scan(s, 5, Simd::scan)),
    ("scan_best_64", |s| scan(s, 64, Simd::scan)),
    ("scan_absolute_best_1", |s| scan(s, 1, Simd::scan_absolute)),
    ("above", above),
    ("axpy_bytes_5", axpy_bytes),
    ("add_quads_16", add_quads),
    ("interleave", interleave),
    ("pair_products_6", pair_products),
    ("quantise", quantise),
    ("product", product),
];

fn dot(s: Setting) -> Work {
    let (a, b) = (values(s.m, 1), values(s.m, 2));
    work(move || s.simd.dot(black_box(&a), &b))
}

/// Steps add up over repetitions, slowly enough to stay far from the ends of float32.
fn axpy_rows(s: Setting, n_rows: usize) -> Work {
    let rows: Vec<Vec<f32>> = (0..n_rows).map(|l| values(s.m, l as u64)).collect();
    let coefficients: Vec<f32> = values(n_rows, 1).iter().map(|v| 1e-3 * v).collect();
    let mut y = values(s.m, 2);
    work(move || {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        match rows[..] {
            [row] => s.simd.axpy(coefficients[0], row, black_box(&mut y)),
            _ => s.simd.axpy_rows(&coefficients, &rows, 0, black_box(&mut y)),
        }
    })
}

/// One value in a few hundred is above the limit, as in a pursuit.
fn above(s: Setting) -> Work {
    let scores = values(s.m, 1);
    let limit = 0.99 * s.simd.largest(&scores);
    work(move || {
        let mut found = 0;
        s.simd.above(black_box(&scores), limit, |at, _| found += at);
        found
    })
}

/// Rows of bytes.
fn bytes(s: Setting, n_rows: u64) -> Vec<Vec<i8>> {
    (0..n_rows).map(|l| values(s.m, l).iter().map(|v| (100.0 * v) as i8).collect()).collect()
}

/// Sixteen quads: the 64 atoms of a pursuit that refits.
fn add_quads(s: Setting) -> Work {
    let quads: Vec<i32> = values(s.m, 1).iter().map(|v| v.to_bits().cast_signed()).collect();
    let mut y = values(s.m, 2);
    work(move || s.simd.add_quads(&[[1, -2, 3, -4]; 16], &[&*quads; 16], 0, 1e-9, black_box(&mut y)))
}

fn interleave(s: Setting) -> Work {
    let rows = bytes(s, 4);
    let mut out = vec![0; s.m];
    work(move || {
        s.simd.interleave([&rows[0], &rows[1], &rows[2], &rows[3]], black_box(&mut out));
        out[0]
    })
}

fn axpy_bytes(s: Setting) -> Work {
    let rows = bytes(s, 5);
    let mut y = values(s.m, 2);
    work(move || {
        let rows: Vec<&[i8]> = rows.iter().map(Vec::as_slice).collect();
        s.simd.axpy_bytes(&[1e-3, -1e-3, 2e-3, -2e-3, 1e-4], &rows, 0, black_box(&mut y));
    })
}

/// Five atoms and a residual.
fn pair_products(s: Setting) -> Work {
    let vectors: Vec<Vec<f32>> = (0..6).map(|l| values(s.d, l)).collect();
    let mut products = Vec::new();
    work(move || {
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        s.simd.pair_products(black_box(&vectors), &mut products);
        products[0]
    })
}

fn quantise(s: Setting) -> Work {
    let x = values(s.m, 1);
    let mut out = vec![0; s.m.div_ceil(2)];
    work(move || s.simd.quantise(black_box(&x), 1000.0, &mut out))
}

/// Fourteen rows, the register tile of AVX-512, and four strips.
fn product(s: Setting) -> Work {
    let (height, width, pairs) = (14, 4 * s.simd.strip(), s.d.div_ceil(2));
    let (rows, strips) = (vec![0x0003_0002; height * row_stride(pairs)], vec![0x0005_0004; width * pairs]);
    let (scales, row_scales) = (vec![1.0; width], vec![1.0; height]);
    let mut out = vec![0.0; height * width];
    work(move || {
        let finish = Finish { scales: &scales, row_scales: &row_scales };
        s.simd.product(black_box(&rows), &strips, pairs, finish, &mut out, width);
        out[0]
    })
}

fn scan(s: Setting, capacity: usize, scan: fn(Simd, &[f32], u32, &mut Top)) -> Work {
    let scores = values(s.m, 1);
    let mut top = Top::new(capacity);
    work(move || {
        top.clear(0.0);
        scan(s.simd, black_box(&scores), 0, &mut top);
        top.indices().first().copied()
    })
}
