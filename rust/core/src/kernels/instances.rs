//! What every instruction set offers: [`super::Simd`] calls these functions by name.

/// Makes the functions of one instruction set from the generic loops.
macro_rules! instantiate {
    ($vector:ty, $integers:ty $(, $feature:meta)?) => {
        /// Columns of a strip: see [`super::integers::Integers::WIDTH`].
        pub(super) const STRIP: usize = <$integers as super::integers::Integers>::WIDTH;

        /// See [`super::generic::dot`].
        ///
        /// # Safety
        /// The CPU has this instruction set; the slices have one length.
        $(#[$feature])?
        pub(super) unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::dot::<$vector>(a, b) }
        }

        /// See [`super::generic::pair_products`].
        ///
        /// # Safety
        /// The CPU has this instruction set; the vectors have one length, and `out` a place for every pair.
        $(#[$feature])?
        pub(super) unsafe fn pair_products(vectors: &[&[f32]], out: &mut [f32]) {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::pair_products::<$vector>(vectors, out) }
        }

        /// See [`super::generic::axpy_rows`].
        ///
        /// # Safety
        /// The CPU has this instruction set; rows hold at least `offset + y.len()` values.
        $(#[$feature])?
        pub(super) unsafe fn axpy_rows(
            coefficients: &[f32],
            rows: &[&[f32]],
            offset: usize,
            y: &mut [f32],
        ) {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::axpy_rows::<$vector, f32>(coefficients, rows, offset, y) }
        }

        /// See [`super::generic::scan`].
        ///
        /// # Safety
        /// The CPU has this instruction set.
        $(#[$feature])?
        pub(super) unsafe fn scan<const ABSOLUTE: bool>(
            y: &[f32],
            first: u32,
            top: &mut crate::top::Top,
        ) {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::scan::<$vector, ABSOLUTE>(y, first, top) }
        }

        /// See [`super::generic::axpy_rows`], of bytes.
        ///
        /// # Safety
        /// The CPU has this instruction set; rows hold at least `offset + y.len()` values.
        $(#[$feature])?
        pub(super) unsafe fn axpy_bytes(
            coefficients: &[f32],
            rows: &[&[i8]],
            offset: usize,
            y: &mut [f32],
        ) {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::axpy_rows::<$vector, i8>(coefficients, rows, offset, y) }
        }

        /// See [`super::generic::above`].
        ///
        /// # Safety
        /// The CPU has this instruction set.
        $(#[$feature])?
        pub(super) unsafe fn above<const ABSOLUTE: bool>(
            y: &[f32],
            limit: f32,
            found: &mut impl FnMut(usize, f32),
        ) {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::above::<$vector, ABSOLUTE>(y, limit, found) }
        }

        /// See [`super::generic::count_above`].
        ///
        /// # Safety
        /// The CPU has this instruction set.
        $(#[$feature])?
        pub(super) unsafe fn count_above(y: &[f32], limit: f32) -> usize {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::count_above::<$vector>(y, limit) }
        }

        /// See [`super::generic::largest`].
        ///
        /// # Safety
        /// The CPU has this instruction set.
        $(#[$feature])?
        pub(super) unsafe fn largest(x: &[f32]) -> f32 {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::largest::<$vector>(x) }
        }

        /// See [`super::integers::product`].
        ///
        /// # Safety
        /// As there.
        $(#[$feature])?
        pub(super) unsafe fn product(
            rows: &[i32],
            strips: &[i32],
            pairs: usize,
            finish: super::integers::Finish<'_>,
            out: &mut [f32],
            stride: usize,
        ) {
            // SAFETY: forwarded from the caller.
            unsafe { super::integers::product::<$integers>(rows, strips, pairs, finish, out, stride) }
        }

        /// See [`super::quads::interleave`].
        ///
        /// # Safety
        /// The CPU has this instruction set.
        $(#[$feature])?
        pub(super) unsafe fn interleave(rows: [&[i8]; 4], out: &mut [i32]) {
            // SAFETY: forwarded from the caller.
            unsafe { super::quads::interleave(rows, out) }
        }

        /// See [`super::quads::add_quads`].
        ///
        /// # Safety
        /// The CPU has this instruction set; every row holds at least `offset + y.len()` quads.
        $(#[$feature])?
        pub(super) unsafe fn add_quads(
            factors: &[[i8; 4]],
            quads: &[&[i32]],
            offset: usize,
            scale: f32,
            y: &mut [f32],
        ) {
            // SAFETY: forwarded from the caller.
            unsafe { super::quads::add_quads::<$integers>(factors, quads, offset, scale, y) }
        }

        /// See [`super::integers::clip_to_bytes`].
        ///
        /// # Safety
        /// The CPU has this instruction set; `out` is as long as `x`.
        $(#[$feature])?
        pub(super) unsafe fn clip_to_bytes(x: &[f32], scale: f32, out: &mut [i8]) -> f32 {
            // SAFETY: forwarded from the caller.
            unsafe { super::integers::clip_to_bytes(x, scale, out) }
        }

        /// See [`super::integers::quantise`].
        ///
        /// # Safety
        /// As there.
        $(#[$feature])?
        pub(super) unsafe fn quantise(x: &[f32], scale: f32, out: &mut [i16]) -> f32 {
            // SAFETY: forwarded from the caller.
            unsafe { super::integers::quantise(x, scale, out) }
        }
    };
}
pub(super) use instantiate;
