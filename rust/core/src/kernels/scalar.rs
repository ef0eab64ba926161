//! One lane: the reference instance, and the one for CPUs without a vector instance.

use super::integers::Integers;
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
    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: the caller gives one valid value.
        unsafe { f32::from(*from) }
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
    unsafe fn gt_bits(self, other: Self) -> u32 {
        u32::from(self > other)
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self
    }
}

// SAFETY (whole impl): plain integer arithmetic; pointers cover one value.
impl Integers for i32 {
    const LANES: usize = 1;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(pair: i32) -> Self {
        pair
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller gives one valid value.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        let half = |pair: i32, at: u32| i32::from((pair >> (16 * at)) as i16);
        (0..2).fold(self, |sum, at| sum.wrapping_add(half(a, at) * half(b, at)))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: see the impl.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn finish(self, scales: *const f32, scale: f32, to: *mut f32) {
        // SAFETY: the caller's pointers cover one value.
        unsafe { *to = self as f32 * *scales * scale }
    }
    #[inline(always)]
    unsafe fn add_quads(self, a: Self, b: Self) -> Self {
        let byte = |quad: i32, at: u32| (quad >> (8 * at)) as u8;
        let product = |at| i32::from(byte(a, at)) * i32::from(byte(b, at).cast_signed());
        (0..4).fold(self, |sum, at| sum.wrapping_add(product(at)))
    }
    #[inline(always)]
    unsafe fn add_scaled(self, scale: f32, to: *mut f32) {
        // SAFETY: the caller gives one valid value.
        unsafe { *to += self as f32 * scale }
    }
}

super::instantiate!(f32, i32);
