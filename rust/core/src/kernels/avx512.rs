//! Sixteen lanes: AVX-512 F and BW.

use super::integers::Integers;
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
    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
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
    unsafe fn gt_bits(self, other: Self) -> u32 {
        // SAFETY: see the impl.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, other).into() }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see the impl.
        unsafe { _mm512_reduce_add_ps(self) }
    }
    /// Halves of two at a time, quarters of all four, then within quarters: 14 instructions where sums one by
    /// one take 32.
    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        const LOW: i32 = 0b01_00_01_00;
        const HIGH: i32 = 0b11_10_11_10;
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        // SAFETY: see the impl.
        unsafe {
            let halves =
                |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<LOW>(a, b), _mm512_shuffle_f32x4::<HIGH>(a, b));
            let (ab, cd) = (halves(a, b), halves(c, d));
            let fours =
                _mm512_add_ps(_mm512_shuffle_f32x4::<EVEN>(ab, cd), _mm512_shuffle_f32x4::<ODD>(ab, cd));
            let twos = _mm512_add_ps(fours, _mm512_permute_ps::<0b11_10_11_10>(fours));
            let ones = _mm512_add_ps(twos, _mm512_permute_ps::<1>(twos));
            let packed = _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, ones));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), packed);
            out
        }
    }
}

// SAFETY (whole impl): as above, with AVX-512BW for products of int16.
impl Integers for __m512i {
    const LANES: usize = 16;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn splat(pair: i32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_epi32(pair) }
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        // SAFETY: see the impl.
        unsafe { _mm512_add_epi32(self, _mm512_madd_epi16(a, b)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_si512(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn finish(self, scales: *const f32, scale: f32, to: *mut f32) {
        // SAFETY: forwarded from the caller.
        unsafe { finish(self, scales, scale, to) }
    }
    #[inline(always)]
    unsafe fn add_quads(self, a: Self, b: Self) -> Self {
        // SAFETY: see the impl.
        unsafe {
            let even = _mm512_and_si512(a, _mm512_set1_epi16(255));
            let even = _mm512_madd_epi16(even, _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b)));
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(a), _mm512_srai_epi16::<8>(b));
            _mm512_add_epi32(self, _mm512_add_epi32(even, odd))
        }
    }
    #[inline(always)]
    unsafe fn add_scaled(self, scale: f32, to: *mut f32) {
        // SAFETY: forwarded from the caller.
        unsafe { add_scaled(self, scale, to) }
    }
}

/// See [`Integers::finish`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn finish(sums: __m512i, scales: *const f32, scale: f32, to: *mut f32) {
    // SAFETY: the caller's pointers cover sixteen values, on a CPU with AVX-512F.
    unsafe {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales));
        _mm512_storeu_ps(to, _mm512_mul_ps(scaled, _mm512_set1_ps(scale)));
    }
}

/// See [`Integers::add_scaled`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn add_scaled(sums: __m512i, scale: f32, to: *mut f32) {
    // SAFETY: the caller's pointer covers sixteen values, on a CPU with AVX-512F.
    unsafe {
        let sums = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(scale), _mm512_loadu_ps(to));
        _mm512_storeu_ps(to, sums);
    }
}

super::instantiate!(__m512, __m512i, target_feature(enable = "avx512f,avx512bw,avx2,fma"));
