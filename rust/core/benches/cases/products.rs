//! Large float32 products, of samples with atoms and back.

use super::data::values;
use super::{Case, Setting, Work, work};
use icfl_core::kernels;
use std::hint::black_box;

pub(super) const CASES: &[Case] = &[("matmul_transposed", matmul_transposed), ("matmul", matmul)];

/// Scores: (n, d) by (m, d) transposed.
fn matmul_transposed(s: Setting) -> Work {
    let (x, atoms) = (values(s.n * s.d, 1), values(s.m * s.d, 2));
    let mut scores = vec![0.0; s.n * s.m];
    work(move || kernels::matmul_transposed(black_box(&x), &atoms, s.d, &mut scores, s.m))
}

/// As a sweep has it: (n, m) by (m, d), added to (n, d).
fn matmul(s: Setting) -> Work {
    let (scores, atoms) = (values(s.n * s.m, 1), values(s.m * s.d, 2));
    let mut out = vec![0.0; s.n * s.d];
    work(move || kernels::matmul(1e-3, black_box(&scores), s.m, &atoms, s.d, s.d, &mut out))
}
