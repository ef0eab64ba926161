//! One lane: the reference instance, and the one for CPUs without a vector instance.

use super::vector::Vector;

// SAFETY (whole impl): plain float arithmetic; `load` and `store` need one valid value, which the
// trait's contract gives.
impl Vector for f32 {
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        x
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller gives one valid value.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller gives room for one value.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // Not fused: without an FMA unit a fused product is a library call.
        self * a + b
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        f32::max(self, other)
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    unsafe fn any_gt(self, other: Self) -> bool {
        self > other
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self
    }
}

super::instantiate!(f32);
