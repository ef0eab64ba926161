//! Sixteen lanes: AVX-512F.

use super::vector::Vector;
use std::arch::x86_64::*;

// SAFETY (whole impl): each method is one or a few AVX-512F instructions; the trait's contract says
// that the CPU has them and that pointers cover sixteen values.
impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_fmadd_ps(self, a, b) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_max_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_abs_ps(self) }
    }
    #[inline(always)]
    unsafe fn any_gt(self, other: Self) -> bool {
        // SAFETY: see the impl.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, other) != 0 }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see the impl.
        unsafe { _mm512_reduce_add_ps(self) }
    }
}

super::instantiate!(__m512, target_feature(enable = "avx512f,avx2,fma"));
