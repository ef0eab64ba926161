//! The inner loops, on vectors as long as a sample has scores.

use super::data::values;
use super::{Case, Setting, Work, work};
use icfl_core::kernels::Simd;
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

fn scan(s: Setting, capacity: usize, scan: fn(Simd, &[f32], u32, &mut Top)) -> Work {
    let scores = values(s.m, 1);
    let mut top = Top::new(capacity);
    work(move || {
        top.clear(0.0);
        scan(s.simd, black_box(&scores), 0, &mut top);
        top.indices().first().copied()
    })
}
