//! Float32 matrix products, by the `gemm` crate, one thread each: callers split the work in fixed
//! tiles, so results do not depend on the number of threads.

use gemm::Parallelism;

/// `c = a · bᵀ`, all row-major: `a` is (m, k), `b` is (n, k), `c` is (m, n) with rows `stride` apart.
///
/// # Panics
/// When a slice is too short for its shape.
pub fn matmul_transposed(a: &[f32], b: &[f32], k: usize, c: &mut [f32], stride: usize) {
    let (m, n) = (a.len() / k, b.len() / k);
    assert!(a.len() == m * k && b.len() == n * k && n <= stride);
    assert!(m == 0 || c.len() >= (m - 1) * stride + n);
    // SAFETY: shapes and strides were checked against the slices above; `c` is borrowed mutably, so
    // it does not overlap `a` or `b`.
    unsafe { product(m, n, k, a.as_ptr(), k, 1, b.as_ptr(), 1, k, c.as_mut_ptr(), stride, None) }
}

/// `c += scale * a · b`, all row-major: `a` is (m, k) with rows `a_stride` apart, `c` is (m, n), and `b` starts
/// at the first of n columns of a matrix with k rows `b_stride` apart.
///
/// # Panics
/// When a slice is too short for its shape.
pub fn matmul(scale: f32, a: &[f32], a_stride: usize, b: &[f32], b_stride: usize, n: usize, c: &mut [f32]) {
    let (m, k) = (c.len() / n, b.len().div_ceil(b_stride));
    assert!(c.len() == m * n && n <= b_stride && k <= a_stride);
    assert!(k == 0 || b.len() >= (k - 1) * b_stride + n);
    assert!(m == 0 || a.len() >= (m - 1) * a_stride + k);
    // SAFETY: as in `matmul_transposed`.
    unsafe {
        product(m, n, k, a.as_ptr(), a_stride, 1, b.as_ptr(), b_stride, 1, c.as_mut_ptr(), n, Some(scale));
    }
}

/// `c += aᵀ · b`, all row-major: `c` is (m, n), `a` starts at the first of m columns of a matrix with k rows
/// `a_stride` apart, and `b` is (k, n).
///
/// # Panics
/// When a slice is too short for its shape.
pub fn matmul_of_columns(a: &[f32], a_stride: usize, b: &[f32], n: usize, c: &mut [f32]) {
    let (m, k) = (c.len() / n, b.len() / n);
    assert!(c.len() == m * n && b.len() == k * n && m <= a_stride);
    assert!(k == 0 || a.len() >= (k - 1) * a_stride + m);
    // SAFETY: as in `matmul_transposed`.
    unsafe { product(m, n, k, a.as_ptr(), 1, a_stride, b.as_ptr(), n, 1, c.as_mut_ptr(), n, Some(1.0)) }
}

/// Row-major destination; `scale` `None` overwrites `c`, `Some(s)` adds `s` times the product.
///
/// # Safety
/// The pointers cover their shapes under the given row and column strides; `c` overlaps neither input.
#[allow(clippy::too_many_arguments)] // a matrix product by pointers has this many
unsafe fn product(
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_rows: usize,
    a_columns: usize,
    b: *const f32,
    b_rows: usize,
    b_columns: usize,
    c: *mut f32,
    c_rows: usize,
    scale: Option<f32>,
) {
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: forwarded from the caller. `gemm` computes c = alpha c + beta a b.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            c_rows as isize,
            scale.is_some(),
            a,
            a_columns as isize,
            a_rows as isize,
            b,
            b_columns as isize,
            b_rows as isize,
            1.0,
            scale.unwrap_or(1.0),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
