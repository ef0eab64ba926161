//! Slices in, slices out: the inner loops, and the only `unsafe` code of the project.
//!
//! One algorithm over a small vector abstraction ([`vector`], [`generic`]) is instantiated for one lane
//! ([`scalar`], the reference), AVX2+FMA ([`avx2`]) and AVX-512 ([`avx512`]). A [`Simd`] value stands
//! for an instruction set that this CPU was seen to have; it can be had in no other way, and its
//! methods are safe. Large float32 products come from the `gemm` crate ([`product`]).

#![allow(unsafe_code)]

mod generic;
mod outer;
mod prefetch;
mod product;
mod scalar;
mod vector;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

pub use outer::STRIP;
pub use prefetch::prefetch;
pub use product::{matmul, matmul_transposed};

use crate::top::Top;
use std::sync::OnceLock;

/// Makes the functions of one instruction set from the generic loops.
macro_rules! instantiate {
    ($vector:ty $(, $feature:meta)?) => {
        /// See [`super::generic::dot`].
        ///
        /// # Safety
        /// The CPU has this instruction set; the slices have one length.
        $(#[$feature])?
        pub(super) unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
            // SAFETY: forwarded from the caller.
            unsafe { super::generic::dot::<$vector>(a, b) }
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
            unsafe { super::generic::axpy_rows::<$vector>(coefficients, rows, offset, y) }
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
    };
}
use instantiate;

/// Calls the instance of a kernel that belongs to a level.
macro_rules! dispatch {
    ($simd:expr, $($call:tt)+) => {
        // SAFETY: a `Simd` exists only for a level that `is_available` on this CPU, and the calling
        // method has checked the lengths.
        unsafe {
            match $simd.0 {
                Level::Scalar => scalar::$($call)+,
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => avx2::$($call)+,
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => avx512::$($call)+,
            }
        }
    };
}

/// Environment variable that forces a lower level: `scalar`, `avx2` or `avx512`. Read once a process.
pub const LEVEL_VARIABLE: &str = "ICFL_SIMD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// From the slowest to the fastest.
    const ALL: &'static [Level] = &[
        Level::Scalar,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512,
    ];

    fn is_available(self) -> bool {
        match self {
            Level::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Level::Avx2.is_available() && is_x86_feature_detected!("avx512f"),
        }
    }
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd(Level);

impl Simd {
    /// Every level this CPU has, from the slowest (scalar) to the fastest.
    pub fn available() -> Vec<Simd> {
        Level::ALL.iter().filter(|level| level.is_available()).map(|&level| Simd(level)).collect()
    }

    /// The level of this process: the fastest, unless [`LEVEL_VARIABLE`] names a lower one.
    ///
    /// # Errors
    /// When the variable holds a name that is unknown or that this CPU lacks.
    pub fn detect() -> Result<Simd, String> {
        static DETECTED: OnceLock<Result<Simd, String>> = OnceLock::new();
        DETECTED.get_or_init(|| Simd::choose(std::env::var(LEVEL_VARIABLE).ok().as_deref())).clone()
    }

    fn choose(wanted: Option<&str>) -> Result<Simd, String> {
        let available = Simd::available();
        let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
            return Ok(*available.last().expect("scalar is always available"));
        };
        available.iter().copied().find(|simd| simd.name() == wanted).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|simd| simd.name()).collect();
            format!("{LEVEL_VARIABLE} must be one of {} on this CPU, got {wanted:?}", names.join(", "))
        })
    }

    /// `"scalar"`, `"avx2"` or `"avx512"`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    /// `Σ a_i b_i`.
    #[inline]
    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        dispatch!(self, dot(a, b))
    }

    /// `y += coefficient * x`.
    #[inline]
    pub fn axpy(self, coefficient: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        dispatch!(self, axpy_rows(&[coefficient], &[x], 0, y));
    }

    /// `y += Σ_l coefficients[l] * rows[l][offset .. offset + y.len()]`.
    #[inline]
    pub fn axpy_rows(self, coefficients: &[f32], rows: &[&[f32]], offset: usize, y: &mut [f32]) {
        assert_eq!(coefficients.len(), rows.len());
        assert!(rows.iter().all(|row| row.len() >= offset + y.len()));
        dispatch!(self, axpy_rows(coefficients, rows, offset, y));
    }

    /// Offers every score of `y` to `top`, value `y[i]` under index `first + i`.
    #[inline]
    pub fn scan(self, y: &[f32], first: u32, top: &mut Top) {
        dispatch!(self, scan::<false>(y, first, top));
    }

    /// As [`Simd::scan`] with `|y[i]|` as the score.
    #[inline]
    pub fn scan_absolute(self, y: &[f32], first: u32, top: &mut Top) {
        dispatch!(self, scan::<true>(y, first, top));
    }
}

#[cfg(test)]
mod tests;
