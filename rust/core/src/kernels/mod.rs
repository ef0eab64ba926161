//! Slices in, slices out: the inner loops, and the only `unsafe` code of the project.
//!
//! One algorithm over a small vector abstraction ([`vector`], [`generic`]) is instantiated for one lane
//! ([`scalar`], the reference), AVX2+FMA ([`avx2`]), AVX-512 ([`avx512`]) and AVX-512 with VNNI
//! ([`vnni`]). A [`Simd`] value stands for an instruction set that this CPU was seen to have; it can be
//! had in no other way, and its methods are safe. Large float32 products come from the `gemm` crate
//! ([`product`]); those of fixed-point numbers are our own ([`integers`]).

#![allow(unsafe_code)]

mod doubles;
mod gathered;
mod generic;
mod instances;
mod integers;
mod outer;
mod prefetch;
mod product;
mod quads;
mod scalar;
mod tallies;
mod vector;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use doubles::{AdamStep, Compared, Parameters, ParametersMut};
pub use gathered::{PANEL, PanelRow};
pub use integers::{Finish, row_stride};
pub use outer::STRIP;
pub use prefetch::{prefetch, prefetch_pages};
pub use product::{matmul, matmul_of_columns, matmul_transposed};
pub use tallies::{FEW, LabelLine, MANY, NullSums, many_labels};

use crate::top::Top;
use instances::instantiate;
use std::sync::OnceLock;

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
                #[cfg(target_arch = "x86_64")]
                Level::Vnni => vnni::$($call)+,
            }
        }
    };
}

/// Environment variable that forces a lower level: `scalar`, `avx2`, `avx512` or `avx512vnni`. Read once
/// a process.
pub const LEVEL_VARIABLE: &str = "ICFL_SIMD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Level {
    /// From the slowest to the fastest.
    const ALL: &'static [Level] = &[
        Level::Scalar,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512,
        #[cfg(target_arch = "x86_64")]
        Level::Vnni,
    ];

    fn is_available(self) -> bool {
        match self {
            Level::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
            }
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => Level::Avx512.is_available() && is_x86_feature_detected!("avx512vnni"),
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

    /// `"scalar"`, `"avx2"`, `"avx512"` or `"avx512vnni"`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => "avx512vnni",
        }
    }

    /// `Σ a_i b_i`.
    #[inline]
    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        dispatch!(self, dot(a, b))
    }

    /// Inner products of all pairs of a few vectors, in the order (0, 1), (0, 2), (1, 2), (0, 3), ...
    #[inline]
    pub fn pair_products(self, vectors: &[&[f32]], out: &mut Vec<f32>) {
        assert!(vectors.iter().all(|vector| vector.len() == vectors[0].len()));
        out.clear();
        out.resize(vectors.len() * vectors.len().saturating_sub(1) / 2, 0.0);
        dispatch!(self, pair_products(vectors, out));
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

    /// `y += Σ_l coefficients[l] * rows[l][offset .. offset + y.len()]`, for rows of bytes.
    #[inline]
    pub fn axpy_bytes(self, coefficients: &[f32], rows: &[&[i8]], offset: usize, y: &mut [f32]) {
        assert_eq!(coefficients.len(), rows.len());
        assert!(rows.iter().all(|row| row.len() >= offset + y.len()));
        dispatch!(self, axpy_bytes(coefficients, rows, offset, y));
    }

    /// Lays four rows of bytes side by side, for [`Simd::add_quads`].
    #[inline]
    pub fn interleave(self, rows: [&[i8]; 4], out: &mut [i32]) {
        assert!(rows.iter().all(|row| row.len() == out.len()));
        dispatch!(self, interleave(rows, out));
    }

    /// `y[j] += scale * Σ factors[q][l] * byte l of quads[q][offset + j]`, for rows laid side by side by
    /// [`Simd::interleave`].
    ///
    /// Sums are exact while they stay below 2^24: 1,000 factors of 127 by as many bytes of 127.
    #[inline]
    pub fn add_quads(self, factors: &[[i8; 4]], quads: &[&[i32]], offset: usize, scale: f32, y: &mut [f32]) {
        assert_eq!(factors.len(), quads.len());
        assert!(quads.iter().all(|quads| quads.len() >= offset + y.len()));
        dispatch!(self, add_quads(factors, quads, offset, scale, y));
    }

    /// Calls `found(i, y[i])` for every `y[i] > limit`, in ascending order.
    #[inline]
    pub fn above(self, y: &[f32], limit: f32, mut found: impl FnMut(usize, f32)) {
        dispatch!(self, above::<false>(y, limit, &mut found));
    }

    /// Calls `found(i, |y[i]|)` for every `|y[i]| > limit`, in ascending order.
    #[inline]
    pub fn above_absolute(self, y: &[f32], limit: f32, mut found: impl FnMut(usize, f32)) {
        dispatch!(self, above::<true>(y, limit, &mut found));
    }

    /// max |x_i|; NaN is passed over.
    #[inline]
    pub fn largest(self, x: &[f32]) -> f32 {
        dispatch!(self, largest(x))
    }

    /// How many values exceed `limit`.
    #[inline]
    pub fn count_above(self, y: &[f32], limit: f32) -> usize {
        dispatch!(self, count_above(y, limit))
    }

    /// Columns that a strip of a packed operand holds: see [`integers`].
    #[inline]
    pub fn strip(self) -> usize {
        match self.0 {
            Level::Scalar => scalar::STRIP,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::STRIP,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::STRIP,
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => vnni::STRIP,
        }
    }

    /// Whether products of integers are faster than those of float32 by the `gemm` crate.
    #[inline]
    pub fn has_integer_products(self) -> bool {
        self.0 != Level::Scalar
    }

    /// Products of rows with packed strips of int16 pairs: see [`integers`].
    ///
    /// `out[r][c] = Σ_p rows[r][p] · strips[c][p] * scales[c] * row_scales[r]`, rows of `rows` being
    /// [`row_stride`]`(pairs)` and those of `out` `stride` apart.
    pub fn product(
        self,
        rows: &[i32],
        strips: &[i32],
        pairs: usize,
        finish: Finish<'_>,
        out: &mut [f32],
        stride: usize,
    ) {
        let (height, width) = (finish.row_scales.len(), finish.scales.len());
        assert!(width <= stride && width.is_multiple_of(self.strip()));
        assert!(rows.len() == height * row_stride(pairs) && strips.len() == width * pairs);
        assert!(height == 0 || out.len() >= (height - 1) * stride + width);
        dispatch!(self, product(rows, strips, pairs, finish, out, stride));
    }

    /// Writes `round(x * scale)`, clipped to ±127, and returns max |x_i|.
    #[inline]
    pub fn clip_to_bytes(self, x: &[f32], scale: f32, out: &mut [i8]) -> f32 {
        assert_eq!(x.len(), out.len());
        dispatch!(self, clip_to_bytes(x, scale, out))
    }

    /// Writes `round(x * scale)` as int16 pairs and returns `‖x * scale - round(x * scale)‖²`.
    ///
    /// # Panics
    /// When `out` is too short, or some `|x * scale|` rounds to no int16.
    pub fn quantise(self, x: &[f32], scale: f32, out: &mut [i32]) -> f32 {
        assert!(2 * out.len() >= x.len());
        assert!(self.largest(x) * scale < 32_767.5);
        // SAFETY: any bits are an int16, and two of them lie in each int32.
        let out = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<i16>(), 2 * out.len()) };
        out[x.len()..].fill(0);
        dispatch!(self, quantise(x, scale, &mut out[..x.len()]))
    }
}

#[cfg(test)]
mod tests;
