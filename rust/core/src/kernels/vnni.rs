//! AVX-512 with VNNI: the float kernels of [`super::avx512`], and integer products in one instruction.

use super::integers::Integers;
use std::arch::asm;
use std::arch::x86_64::*;

/// Sixteen int32 sums.
#[derive(Clone, Copy)]
pub(super) struct Vnni(__m512i);

// SAFETY (whole impl): each method is one or a few AVX-512F/VNNI instructions; the trait's contract
// says that the CPU has them and that pointers cover sixteen values.
impl Integers for Vnni {
    const LANES: usize = 16;
    const ROWS: usize = 14;

    #[inline(always)]
    unsafe fn splat(pair: i32) -> Self {
        // SAFETY: see the impl.
        Vnni(unsafe { _mm512_set1_epi32(pair) })
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: see the impl.
        Vnni(unsafe { _mm512_loadu_si512(from.cast()) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")] // for the register class
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        // The intrinsic will not do: LLVM's machine combiner splits it into vpmaddwd and vpaddd to shorten
        // the chain of sums, which halves the speed of a loop that has sums enough (167 and 330 GFLOP/s).
        let mut sum = self.0;
        // SAFETY: see the impl; registers only.
        unsafe {
            asm!(
                "vpdpwssd {sum}, {a}, {b}",
                sum = inout(zmm_reg) sum,
                a = in(zmm_reg) a.0,
                b = in(zmm_reg) b.0,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        Vnni(sum)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn finish(self, scales: *const f32, scale: f32, to: *mut f32) {
        // SAFETY: forwarded from the caller.
        unsafe { super::avx512::finish(self.0, scales, scale, to) }
    }
    #[inline(always)]
    unsafe fn add_quads(self, a: Self, b: Self) -> Self {
        // SAFETY: see the impl.
        Vnni(unsafe { _mm512_dpbusd_epi32(self.0, a.0, b.0) })
    }
    #[inline(always)]
    unsafe fn add_scaled(self, scale: f32, to: *mut f32) {
        // SAFETY: forwarded from the caller.
        unsafe { super::avx512::add_scaled(self.0, scale, to) }
    }
}

super::instantiate!(__m512, Vnni, target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma"));
