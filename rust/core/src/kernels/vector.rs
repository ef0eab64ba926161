//! The vector abstraction: what an instruction set must offer for the generic loops.
//!
//! Every method is `#[inline(always)]` in its implementations and takes on the target features of the
//! function it is inlined into, so one generic loop compiles to each instruction set.

/// A register of `LANES` float32 values.
///
/// # Safety
/// All methods may execute instructions of the implementing instruction set: callers must be inside
/// (or be inlined into) a function with that `target_feature`, on a CPU that has it. `load` and
/// `store` need `LANES` valid values behind the pointer; no alignment is required.
pub(super) trait Vector: Copy {
    /// Number of float32 values held.
    const LANES: usize;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Loads `LANES` bytes as floats.
    unsafe fn load_bytes(from: *const i8) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self * a + b`, rounded once where the instruction set fuses.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// Whether any lane of `self` is greater than the same lane of `other`.
    #[inline(always)]
    unsafe fn any_gt(self, other: Self) -> bool {
        // SAFETY: forwarded from the caller.
        unsafe { self.gt_bits(other) != 0 }
    }
    /// Bit l says whether lane l of `self` is greater than that of `other`.
    unsafe fn gt_bits(self, other: Self) -> u32;
    /// Sum of the lanes, in a fixed order.
    unsafe fn sum(self) -> f32;
    /// [`Vector::sum`] of each, to the bit.
    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: forwarded from the caller.
        four.map(|v| unsafe { v.sum() })
    }
}

/// What rows hold that are added up: float32, or bytes.
pub(super) trait Value: Copy {
    /// As [`Vector::load`].
    ///
    /// # Safety
    /// As there.
    unsafe fn load<V: Vector>(from: *const Self) -> V;
    fn value(self) -> f32;
}

impl Value for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f32) -> V {
        // SAFETY: forwarded from the caller.
        unsafe { V::load(from) }
    }
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Value for i8 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const i8) -> V {
        // SAFETY: forwarded from the caller.
        unsafe { V::load_bytes(from) }
    }
    #[inline(always)]
    fn value(self) -> f32 {
        self.into()
    }
}
