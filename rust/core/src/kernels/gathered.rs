//! Weighted sums of chosen rows of a panel: what a product with sparse codes comes down to.
//!
//! A panel holds [`PANEL`] columns of a matrix, row after row. Sums over whole rows of 1,024 values wait for
//! the shared cache: 8,192 atoms are 32 MiB, their panel is 1 MiB and stays in L2 while all samples of a
//! mini-batch go through it.

use super::vector::Vector;
use super::{Level, Simd};

/// Columns of a panel: two AVX-512 registers, two cache lines.
pub const PANEL: usize = 32;

/// One row of a panel, at the start of a cache line: elsewhere every load of a register would touch two.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub struct PanelRow(pub [f32; PANEL]);

/// `out = Σ_l values[l] * panel[rows[l]]`, as a sum over even and one over odd l, each in order: one chain of
/// fused products would wait for each of them. `N` registers hold [`PANEL`] values.
///
/// # Safety
/// As [`Vector`]; `N` is `PANEL / V::LANES`.
#[inline(always)]
unsafe fn gather<V: Vector, const N: usize>(
    rows: &[i32],
    values: &[f32],
    panel: &[PanelRow],
    out: &mut [f32; PANEL],
) {
    const { assert!(N * V::LANES == PANEL) };
    // SAFETY: indexing checks the row; N registers cover it and `out`.
    unsafe {
        let add = |row: i32, value: f32, sums: &mut [V; N]| {
            let (from, value) = (panel[row as u32 as usize].0.as_ptr(), V::splat(value));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(from.add(n * V::LANES)).mul_add(value, *sum);
            }
        };
        let (mut even, mut odd) = ([V::splat(0.0); N], [V::splat(0.0); N]);
        let (row_pairs, last_row) = rows.as_chunks::<2>();
        let (value_pairs, last_value) = values.as_chunks::<2>();
        for (rows, values) in row_pairs.iter().zip(value_pairs) {
            add(rows[0], values[0], &mut even);
            add(rows[1], values[1], &mut odd);
        }
        if let (Some(&row), Some(&value)) = (last_row.first(), last_value.first()) {
            add(row, value, &mut even);
        }
        for (n, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            even.add(odd).store(out.as_mut_ptr().add(n * V::LANES));
        }
    }
}

/// `out[l] += ⟨panel[rows[l]], with⟩`.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn products<V: Vector, const N: usize>(
    rows: &[i32],
    panel: &[PanelRow],
    with: &[f32; PANEL],
    out: &mut [f32],
) {
    const { assert!(N * V::LANES == PANEL) };
    // SAFETY: indexing checks the row; N registers cover it and `with`.
    unsafe {
        let mut columns = [V::splat(0.0); N];
        for (n, column) in columns.iter_mut().enumerate() {
            *column = V::load(with.as_ptr().add(n * V::LANES));
        }
        let product = |row: i32| {
            let from = panel[row as u32 as usize].0.as_ptr();
            let mut sum = V::splat(0.0);
            for (n, column) in columns.iter().enumerate() {
                sum = V::load(from.add(n * V::LANES)).mul_add(*column, sum);
            }
            sum
        };
        let (fours, last) = rows.as_chunks::<4>();
        let (out_fours, out_last) = out.as_chunks_mut::<4>();
        for (rows, out) in fours.iter().zip(out_fours) {
            let sums = V::sums([product(rows[0]), product(rows[1]), product(rows[2]), product(rows[3])]);
            for l in 0..4 {
                out[l] += sums[l];
            }
        }
        for (&row, out) in last.iter().zip(out_last) {
            *out += product(row).sum();
        }
    }
}

/// [`products`] for AVX2.
///
/// # Safety
/// On a CPU with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn products_avx2(rows: &[i32], panel: &[PanelRow], with: &[f32; PANEL], out: &mut [f32]) {
    // SAFETY: forwarded from the caller.
    unsafe { products::<std::arch::x86_64::__m256, 4>(rows, panel, with, out) }
}

/// [`products`] for AVX-512.
///
/// # Safety
/// On a CPU with AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
unsafe fn products_avx512(rows: &[i32], panel: &[PanelRow], with: &[f32; PANEL], out: &mut [f32]) {
    // SAFETY: forwarded from the caller.
    unsafe { products::<std::arch::x86_64::__m512, 2>(rows, panel, with, out) }
}

/// [`gather`] for AVX2.
///
/// # Safety
/// On a CPU with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn gather_avx2(rows: &[i32], values: &[f32], panel: &[PanelRow], out: &mut [f32; PANEL]) {
    // SAFETY: forwarded from the caller.
    unsafe { gather::<std::arch::x86_64::__m256, 4>(rows, values, panel, out) }
}

/// [`gather`] for AVX-512.
///
/// # Safety
/// On a CPU with AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
unsafe fn gather_avx512(rows: &[i32], values: &[f32], panel: &[PanelRow], out: &mut [f32; PANEL]) {
    // SAFETY: forwarded from the caller.
    unsafe { gather::<std::arch::x86_64::__m512, 2>(rows, values, panel, out) }
}

impl Simd {
    /// `out = Σ_l values[l] * panel[rows[l]]`.
    ///
    /// # Panics
    /// When a row is not in the panel.
    #[inline]
    pub fn gather(self, rows: &[i32], values: &[f32], panel: &[PanelRow], out: &mut [f32; PANEL]) {
        assert_eq!(rows.len(), values.len());
        // SAFETY: a `Simd` exists only for a level that this CPU has; N fits each register.
        unsafe {
            match self.0 {
                Level::Scalar => gather::<f32, PANEL>(rows, values, panel, out),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => gather_avx2(rows, values, panel, out),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Vnni => gather_avx512(rows, values, panel, out),
            }
        }
    }
}

impl Simd {
    /// `out[l] += ⟨panel[rows[l]], with⟩`: what a product with the transpose of sparse codes comes down to.
    ///
    /// # Panics
    /// When a row is not in the panel.
    #[inline]
    pub fn products(self, rows: &[i32], panel: &[PanelRow], with: &[f32; PANEL], out: &mut [f32]) {
        assert_eq!(rows.len(), out.len());
        // SAFETY: a `Simd` exists only for a level that this CPU has; N fits each register.
        unsafe {
            match self.0 {
                Level::Scalar => products::<f32, PANEL>(rows, panel, with, out),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => products_avx2(rows, panel, with, out),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Vnni => products_avx512(rows, panel, with, out),
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
        fn every_level_sums_the_chosen_rows(
            entries in prop::collection::vec((0i32..9, -128i32..128), 0..70), seed in any::<u32>(),
        ) {
            let value = |i: usize| eighths(seed, i);
            let panel: Vec<_> = (0..9).map(|r| PanelRow(std::array::from_fn(|c| value(PANEL * r + c)))).collect();
            let (rows, values): (Vec<i32>, Vec<f32>) = entries.iter().map(|&(r, v)| (r, v as f32 / 8.0)).unzip();
            let expected: [f32; PANEL] = std::array::from_fn(|c| {
                rows.iter().zip(&values).map(|(&r, v)| v * panel[r as usize].0[c]).sum::<f32>()
            });
            for simd in Simd::available() {
                let mut out = [f32::NAN; PANEL];
                simd.gather(&rows, &values, &panel, &mut out);
                prop_assert_eq!(out, expected, "{}", simd.name());
            }
        }

        #[test]
        fn every_level_multiplies_the_chosen_rows(rows in prop::collection::vec(0i32..9, 0..70), seed in any::<u32>()) {
            let value = |i: usize| eighths(seed, i);
            let panel: Vec<_> = (0..9).map(|r| PanelRow(std::array::from_fn(|c| value(PANEL * r + c)))).collect();
            let with: [f32; PANEL] = std::array::from_fn(|c| value(1_000 + c));
            let product = |r: i32| panel[r as usize].0.iter().zip(&with).map(|(a, b)| a * b).sum::<f32>();
            let expected: Vec<f32> = rows.iter().map(|&r| 1.0 + product(r)).collect();
            for simd in Simd::available() {
                let mut out = vec![1.0; rows.len()];
                simd.products(&rows, &panel, &with, &mut out);
                prop_assert_eq!(&out, &expected, "{}", simd.name());
            }
        }
    }

    proptest! {
        #[test]
        fn products_are_the_same_bits_four_at_a_time_and_one_by_one(
            values in prop::collection::vec(-2.0f32..2.0, PANEL * 5), rows in prop::collection::vec(0i32..4, 0..14),
        ) {
            let (panel, _) = values.as_chunks::<PANEL>();
            let with = panel[4];
            let panel: Vec<_> = panel.iter().copied().map(PanelRow).collect();
            for simd in Simd::available() {
                let (mut all, mut each) = (vec![0.5; rows.len()], vec![0.5; rows.len()]);
                simd.products(&rows, &panel, &with, &mut all);
                for (row, out) in rows.chunks(1).zip(each.chunks_mut(1)) {
                    simd.products(row, &panel, &with, out);
                }
                prop_assert_eq!(&all, &each, "{}", simd.name());
            }
        }
    }

    #[test]
    fn rows_beyond_the_panel_are_refused() {
        for simd in Simd::available() {
            for row in [2, -1] {
                let (rows, panel) = ([0, row, 1], [PanelRow([0.0; PANEL]); 2]);
                let call = || simd.gather(&rows, &[1.0; 3], &panel, &mut [0.0; PANEL]);
                assert!(std::panic::catch_unwind(call).is_err(), "{}", simd.name());
                let call = || simd.products(&rows, &panel, &[0.0; PANEL], &mut [0.0; 3]);
                assert!(std::panic::catch_unwind(call).is_err(), "{}", simd.name());
            }
        }
    }
}
