//! Input rows: float32 or float64, any strides, brought tile by tile into packed float32.

use crate::error::{Error, Result};
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
    pub fn load(&self, range: Range<usize>, bias: Option<&[f32]>, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        for row in range {
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
    out: &mut Vec<f32>,
) -> Result<()> {
    let start = out.len();
    match bias {
        Some(bias) => out.extend(values.iter().zip(bias).map(|(&v, &b)| (v.into() - f64::from(b)) as f32)),
        None => out.extend(values.iter().map(|&v| v.into() as f32)),
    }
    check(&out[start..], row)
}

/// As [`load_row`] for packed float32, which one pass of whole registers copies.
fn load_packed(values: &[f32], row: usize, bias: Option<&[f32]>, out: &mut Vec<f32>) -> Result<()> {
    let start = out.len();
    match bias {
        Some(bias) => out.extend(values.iter().zip(bias).map(|(v, b)| v - b)),
        None => out.extend_from_slice(values),
    }
    check(&out[start..], row)
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
pub fn prepare(rows: Rows<'_>, unit_norm: bool, team: &Team<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
    let (n, d) = (rows.len(), rows.width());
    let mut out = vec![0.0; n * d];
    let norms = std::sync::Mutex::new(vec![0.0f32; n]);
    team.run_pieces(&mut out, PREPARE_ROWS * d, Vec::new, |tile, block, piece| {
        let first = block * PREPARE_ROWS;
        let last = (first + PREPARE_ROWS).min(n);
        rows.load(first..last, None, tile)?;
        piece.copy_from_slice(tile);
        let found: Vec<f32> = piece.chunks_mut(d).map(|row| measure(row, unit_norm)).collect();
        norms.lock().expect("no worker panicked")[first..last].copy_from_slice(&found);
        Ok(())
    })?;
    Ok((out, norms.into_inner().expect("no worker panicked")))
}

/// The norm of a row, which is scaled to one when asked.
fn measure(row: &mut [f32], unit_norm: bool) -> f32 {
    let norm = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if unit_norm && norm > 0.0 {
        row.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
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
        let (mut a, mut b) = (Vec::new(), Vec::new());
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
            let error = Rows::F32(x.view()).load(0..3, None, &mut Vec::new()).unwrap_err();
            assert_eq!(error, Error::NotFinite { row: 2, column: 1 });
        }
    }

    #[test]
    fn unit_rows_have_norm_one_and_zero_rows_stay() {
        let x = Array2::from_shape_fn((300, 7), |(i, j)| if i == 5 { 0.0 } else { (i + 2 * j) as f32 - 9.0 });
        let (rows, norms) = prepare(Rows::F32(x.view()), true, &Team::new(Some(3), &Cancel::new())).unwrap();
        for (i, row) in rows.chunks(7).enumerate() {
            let norm: f32 = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            let expected = if i == 5 { 0.0 } else { 1.0 };
            assert!((norm - expected).abs() < 1e-6 && (norms[i] > 0.0) == (i != 5));
        }
    }
}
