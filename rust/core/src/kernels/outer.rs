//! Sums of outer products in float64: the inner loop of a scatter matrix.
//!
//! Columns are packed in strips of [`STRIP`]: the values of eight neighbouring columns lie together, row after
//! row. One call multiplies a strip by two others, an 8 x 16 piece of the result that stays in registers
//! (AVX-512: 16 sums, 10 loads for 16 fused products) until all rows are in.
//!
//! Each sum runs over the rows in their order, so instances with fused products have the same bits.

use super::{Level, Simd};

/// Columns that are packed together: one AVX-512 register of float64, one cache line.
pub const STRIP: usize = 8;

/// Registers of sums side by side.
const WIDE: usize = 2;

/// A register of `LANES` float64 values.
///
/// # Safety
/// As [`super::vector::Vector`].
trait Doubles: Copy {
    /// Number of float64 values held, a divisor of [`STRIP`].
    const LANES: usize;

    unsafe fn splat(x: f64) -> Self;
    unsafe fn load(from: *const f64) -> Self;
    unsafe fn store(self, to: *mut f64);
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
}

// SAFETY (whole impl): plain arithmetic; `load` and `store` need one valid value, which the contract gives.
impl Doubles for f64 {
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        x
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the caller gives one valid value.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the caller gives room for one value.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        self * a + b
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self + other
    }
}

/// Implements [`Doubles`] by one instruction a method.
#[cfg(target_arch = "x86_64")]
macro_rules! doubles {
    ($register:ident, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident) => {
        // SAFETY (whole impl): each method is one instruction of the set that the contract promises, on
        // pointers that cover the lanes.
        impl Doubles for std::arch::x86_64::$register {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(x: f64) -> Self {
                // SAFETY: see the impl.
                unsafe { std::arch::x86_64::$splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f64) -> Self {
                // SAFETY: see the impl.
                unsafe { std::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f64) {
                // SAFETY: see the impl.
                unsafe { std::arch::x86_64::$store(to, self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: see the impl.
                unsafe { std::arch::x86_64::$fma(self, a, b) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: see the impl.
                unsafe { std::arch::x86_64::$add(self, other) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
doubles!(__m256d, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, _mm256_add_pd);
#[cfg(target_arch = "x86_64")]
doubles!(__m512d, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, _mm512_add_pd);

/// All of one call, in pieces of `R` rows and [`WIDE`] registers.
///
/// # Safety
/// As [`Doubles`]; strips hold `k * STRIP` values, `c` covers 8 rows of 16 values `stride` apart; `R` divides 8.
#[inline(always)]
unsafe fn add_products<V: Doubles, const R: usize>(
    k: usize,
    a: *const f64,
    b: [*const f64; 2],
    c: *mut f64,
    stride: usize,
) {
    for row in (0..STRIP).step_by(R) {
        for column in (0..2 * STRIP).step_by(WIDE * V::LANES) {
            // SAFETY: offsets stay inside one row of a strip and inside the 8 x 16 piece of `c`.
            unsafe {
                let b: [*const f64; WIDE] = std::array::from_fn(|w| {
                    let at = column + w * V::LANES;
                    b[at / STRIP].add(at % STRIP)
                });
                piece::<V, R>(k, a.add(row), b, c.add(row * stride + column), stride);
            }
        }
    }
}

/// `R` rows and [`WIDE`] registers of [`add_products`].
///
/// # Safety
/// As [`add_products`].
#[inline(always)]
unsafe fn piece<V: Doubles, const R: usize>(
    k: usize,
    a: *const f64,
    b: [*const f64; WIDE],
    c: *mut f64,
    stride: usize,
) {
    // SAFETY: row `t < k` of each strip is read; `c` has `R` rows of `WIDE * LANES` values.
    unsafe {
        let mut sums = [[V::splat(0.0); WIDE]; R];
        for t in 0..k {
            let right: [V; WIDE] = std::array::from_fn(|w| V::load(b[w].add(t * STRIP)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = V::splat(*a.add(t * STRIP + r));
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = right.mul_add(left, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (w, &sum) in sums.iter().enumerate() {
                let place = c.add(r * stride + w * V::LANES);
                V::load(place).add(sum).store(place);
            }
        }
    }
}

/// # Safety
/// As [`add_products`], on a CPU with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_products_avx2(k: usize, a: *const f64, b: [*const f64; 2], c: *mut f64, stride: usize) {
    // SAFETY: forwarded from the caller.
    unsafe { add_products::<std::arch::x86_64::__m256d, 4>(k, a, b, c, stride) }
}

/// # Safety
/// As [`add_products`], on a CPU with AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn add_products_avx512(k: usize, a: *const f64, b: [*const f64; 2], c: *mut f64, stride: usize) {
    // SAFETY: forwarded from the caller.
    unsafe { add_products::<std::arch::x86_64::__m512d, 8>(k, a, b, c, stride) }
}

impl Simd {
    /// `c += aᵀ · [b0 b1]` for strips of the same number of rows; `c` is 8 x 16 with rows `stride` apart.
    #[inline]
    pub fn add_products(self, a: &[f64], b: [&[f64]; 2], c: &mut [f64], stride: usize) {
        assert!(a.len().is_multiple_of(STRIP) && b.iter().all(|b| b.len() == a.len()));
        assert!(stride >= 2 * STRIP && c.len() >= (STRIP - 1) * stride + 2 * STRIP);
        let (k, a, b, c) = (a.len() / STRIP, a.as_ptr(), b.map(<[f64]>::as_ptr), c.as_mut_ptr());
        // SAFETY: a `Simd` exists only for a level that this CPU has; lengths were checked above, and `c` is
        // borrowed mutably, so it overlaps no strip.
        unsafe {
            match self.0 {
                Level::Scalar => add_products::<f64, 4>(k, a, b, c, stride),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => add_products_avx2(k, a, b, c, stride),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Vnni => add_products_avx512(k, a, b, c, stride),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::eighths;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_level_sums_outer_products(k in 0usize..70, stride in 16usize..20, seed in any::<u32>()) {
            let value = |i: usize| f64::from(eighths(seed, i));
            let strips: Vec<Vec<f64>> =
                (0..3).map(|s| (0..k * STRIP).map(|i| value(3 * i + s)).collect()).collect();
            let start: Vec<f64> = (0..STRIP * stride).map(value).collect();
            let mut expected = start.clone();
            for t in 0..k {
                for i in 0..STRIP {
                    for j in 0..2 * STRIP {
                        let right = strips[1 + j / STRIP][t * STRIP + j % STRIP];
                        expected[i * stride + j] += strips[0][t * STRIP + i] * right;
                    }
                }
            }
            for simd in Simd::available() {
                let mut c = start.clone();
                simd.add_products(&strips[0], [&strips[1], &strips[2]], &mut c, stride);
                prop_assert_eq!(&c, &expected, "{}", simd.name());
            }
        }
    }
}
