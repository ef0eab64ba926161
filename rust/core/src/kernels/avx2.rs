//! Eight lanes: AVX2 with FMA.

use super::integers::Integers;
use super::vector::Vector;
use std::arch::x86_64::*;

// SAFETY (whole impl): each method is one or a few AVX2/FMA instructions; the trait's contract says
// that the CPU has them and that pointers cover eight values.
impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see the impl.
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_fmadd_ps(self, a, b) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_max_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self) }
    }
    #[inline(always)]
    unsafe fn gt_bits(self, other: Self) -> u32 {
        // SAFETY: see the impl.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) as u32 }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see the impl.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

// SAFETY (whole impl): as above.
impl Integers for __m256i {
    const LANES: usize = 8;
    // Twelve sums, two columns, a row and a product: the sixteen registers.
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(pair: i32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_set1_epi32(pair) }
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm256_add_epi32(self, _mm256_madd_epi16(a, b)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: see the impl.
        unsafe { _mm256_storeu_si256(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn finish(self, scales: *const f32, scale: f32, to: *mut f32) {
        // SAFETY: see the impl.
        unsafe {
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(self), _mm256_loadu_ps(scales));
            _mm256_storeu_ps(to, _mm256_mul_ps(scaled, _mm256_set1_ps(scale)));
        }
    }
    #[inline(always)]
    unsafe fn add_quads(self, a: Self, b: Self) -> Self {
        // As int16, since `vpmaddubsw` saturates.
        // SAFETY: see the impl.
        unsafe {
            let even = _mm256_and_si256(a, _mm256_set1_epi16(255));
            let even = _mm256_madd_epi16(even, _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)));
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
            _mm256_add_epi32(self, _mm256_add_epi32(even, odd))
        }
    }
    #[inline(always)]
    unsafe fn add_scaled(self, scale: f32, to: *mut f32) {
        // SAFETY: see the impl.
        unsafe {
            let sums = _mm256_fmadd_ps(_mm256_cvtepi32_ps(self), _mm256_set1_ps(scale), _mm256_loadu_ps(to));
            _mm256_storeu_ps(to, sums);
        }
    }
}

super::instantiate!(__m256, __m256i, target_feature(enable = "avx2,fma"));
