//! Input rows: float32 or float64, any strides, brought tile by tile into packed float32.

use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::team::Team;
use ndarray::{ArrayView1, ArrayView2};
use std::ops::Range;

/// Largest magnitude accepted: its square, times any width in use, stays finite in float32.
const LARGEST: f32 = 1e18;

/// Rows a worker prepares at a time.
const PREPARE_ROWS: usize = 256;

/// The samples, shape (n_samples, n_features).
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Float32 samples.
    F32(ArrayView2<'a, f32>),
    /// Float64 samples; centred in float64, then rounded to float32.
    F64(ArrayView2<'a, f64>),
}

impl Rows<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::F32(x) => x.nrows(),
            Rows::F64(x) => x.nrows(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        match self {
            Rows::F32(x) => x.ncols(),
            Rows::F64(x) => x.ncols(),
        }
    }

    /// Writes `x_i - bias` for the rows of `range` to `out`, packed.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names the first offending value.
    pub fn load(&self, range: Range<usize>, bias: Option<&[f32]>, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), range.len() * self.width(), "room for these rows");
        for (row, out) in range.zip(out.chunks_mut(self.width().max(1))) {
            match self {
                Rows::F32(x) => match x.row(row).to_slice() {
                    Some(values) => load_packed(values, row, bias, out)?,
                    None => load_row(x.row(row), row, bias, out)?,
                },
                Rows::F64(x) => load_row(x.row(row), row, bias, out)?,
            }
        }
        Ok(())
    }
}

fn load_row<T: Copy + Into<f64>>(
    values: ArrayView1<'_, T>,
    row: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<()> {
    let pairs = out.iter_mut().zip(values);
    match bias {
        Some(bias) => pairs.zip(bias).for_each(|((out, &v), &b)| *out = (v.into() - f64::from(b)) as f32),
        None => pairs.for_each(|(out, &v)| *out = v.into() as f32),
    }
    check(out, row)
}

/// As [`load_row`] for packed float32, which one pass of whole registers copies.
fn load_packed(values: &[f32], row: usize, bias: Option<&[f32]>, out: &mut [f32]) -> Result<()> {
    match bias {
        Some(bias) => out.iter_mut().zip(values).zip(bias).for_each(|((out, v), b)| *out = v - b),
        None => out.copy_from_slice(values),
    }
    check(out, row)
}

/// Refuses a row with a value that is not finite or too large.
fn check(values: &[f32], row: usize) -> Result<()> {
    // Without a branch a value the compiler makes this one comparison a lane; false for NaN.
    let fine = values.iter().fold(true, |fine, v| fine & (v.abs() <= LARGEST));
    if fine {
        return Ok(());
    }
    let column = values.iter().position(|v| v.is_nan() || v.abs() > LARGEST).expect("one is not fine");
    Err(Error::NotFinite { row, column })
}

/// Packed float32 rows and their Euclidean norms; with `unit_norm` each row is divided by its norm.
///
/// A zero row stays zero.
///
/// # Errors
/// [`Error::NotFinite`], or cancellation.
pub fn prepare(rows: Rows<'_>, unit_norm: bool, simd: Simd, team: &Team<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
    let (n, d) = (rows.len(), rows.width());
    let (mut out, mut norms) = (vec![0.0; n * d], vec![0.0; n]);
    let places = out.chunks_mut((PREPARE_ROWS * d).max(1)).zip(norms.chunks_mut(PREPARE_ROWS));
    let mut places: Vec<_> = places.collect();
    team.run_pieces(
        &mut places,
        1,
        || (),
        |(), block, place| {
            let (out, norms) = &mut place[0];
            let first = block * PREPARE_ROWS;
            rows.load(first..first + norms.len(), None, out)?;
            for (row, norm) in out.chunks_mut(d).zip(norms.iter_mut()) {
                *norm = measure(row, unit_norm, simd);
            }
            Ok(())
        },
    )?;
    Ok((out, norms))
}

/// What [`survey`] finds.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Sum of the rows as [`prepare`] gives them.
    pub sum: Vec<f64>,
    /// Norm of every row before that.
    pub norms: Vec<f32>,
}

/// Looks at all rows once, so that a value that is not finite is found before any is used; none is kept.
///
/// # Errors
/// [`Error::NotFinite`], or cancellation.
pub fn survey(rows: Rows<'_>, unit_norm: bool, simd: Simd, team: &Team<'_>) -> Result<Survey> {
    let (n, d) = (rows.len(), rows.width());
    let parts = team.map(n.div_ceil(PREPARE_ROWS), Vec::new, |tile, block| {
        let chosen = block * PREPARE_ROWS..((block + 1) * PREPARE_ROWS).min(n);
        tile.resize(chosen.len() * d, 0.0);
        rows.load(chosen, None, tile)?;
        let mut part = Survey { sum: vec![0.0; d], norms: Vec::with_capacity(PREPARE_ROWS) };
        for row in tile.chunks_mut(d.max(1)) {
            part.norms.push(measure(row, unit_norm, simd));
            simd.add_to(row, &mut part.sum);
        }
        Ok(part)
    })?;
    let mut all = Survey { sum: vec![0.0; d], norms: Vec::with_capacity(n) };
    for part in parts {
        all.sum.iter_mut().zip(&part.sum).for_each(|(sum, part)| *sum += part);
        all.norms.extend(part.norms);
    }
    Ok(all)
}

/// The norm of a row, which is scaled to one when asked.
fn measure(row: &mut [f32], unit_norm: bool, simd: Simd) -> f32 {
    let norm = simd.squared_norm(row).sqrt();
    if unit_norm && norm > 0.0 {
        simd.scale(1.0 / norm, row);
    }
    norm as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use ndarray::{Array2, s};

    #[test]
    fn strides_types_and_bias_do_not_matter() {
        let wide = Array2::from_shape_fn((4, 6), |(i, j)| (i * 6 + j) as f64 - 7.0);
        let narrow = wide.mapv(|v| v as f32);
        let bias = [0.5, -1.0, 2.0];
        let (mut a, mut b) = ([0.0; 6], [0.0; 6]);
        Rows::F64(wide.slice(s![..;-1, ..;2])).load(1..3, Some(&bias), &mut a).unwrap();
        Rows::F32(narrow.slice(s![..;-1, ..;2])).load(1..3, Some(&bias), &mut b).unwrap();
        assert_eq!(a, b);
        assert_eq!(a[..3], [5.0 - 0.5, 7.0 + 1.0, 9.0 - 2.0]);
    }

    #[test]
    fn a_bad_value_is_named() {
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut x = Array2::zeros((3, 5));
            x[[2, 1]] = bad;
            let error = Rows::F32(x.view()).load(0..3, None, &mut [0.0; 15]).unwrap_err();
            assert_eq!(error, Error::NotFinite { row: 2, column: 1 });
        }
    }

    #[test]
    fn unit_rows_have_norm_one_and_zero_rows_stay() {
        let x = Array2::from_shape_fn((300, 7), |(i, j)| if i == 5 { 0.0 } else { (i + 2 * j) as f32 - 9.0 });
        let (simd, cancel) = (Simd::detect().unwrap(), Cancel::new());
        let team = Team::new(Some(3), &cancel);
        let (rows, norms) = prepare(Rows::F32(x.view()), true, simd, &team).unwrap();
        for (i, row) in rows.chunks(7).enumerate() {
            let norm: f32 = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            let expected = if i == 5 { 0.0 } else { 1.0 };
            assert!((norm - expected).abs() < 1e-6 && (norms[i] > 0.0) == (i != 5));
        }
        for unit_norm in [false, true] {
            let prepared = prepare(Rows::F32(x.view()), unit_norm, simd, &team).unwrap();
            let found = survey(Rows::F32(x.view()), unit_norm, simd, &team).unwrap();
            assert_eq!(found.norms, prepared.1);
            for (t, &sum) in found.sum.iter().enumerate() {
                let expected: f64 = prepared.0.iter().skip(t).step_by(7).map(|&v| f64::from(v)).sum();
                // 300 values of at most 500, in two orders.
                assert!((sum - expected).abs() <= 300.0 * 300.0 * 500.0 * f64::EPSILON);
            }
        }
        let mut bad = x.mapv(f64::from);
        bad[[290, 3]] = f64::NAN;
        let error = survey(Rows::F64(bad.view()), true, simd, &team).unwrap_err();
        assert_eq!(error, Error::NotFinite { row: 290, column: 3 });
    }
}
