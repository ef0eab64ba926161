//! Statistics of codes and inputs.

use crate::convert::{CodeArrays, Inputs, codes, matrix, simd, value_error};
use crate::run::run;
use icfl_core::rows::Rows;
use icfl_core::statistics::{
    self, ActiveRows, AurocResults, DenseRows, Index, MomentSums, Ranked, Reconstruction, SparseRows, Value,
    auroc_by_label, count_by_label,
};
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;

#[derive(FromPyObject)]
pub(crate) enum Indices<'py> {
    #[pyo3(transparent)]
    I32(PyReadonlyArray1<'py, i32>),
    #[pyo3(transparent)]
    I64(PyReadonlyArray1<'py, i64>),
}

#[derive(FromPyObject)]
pub(crate) enum Values<'py> {
    #[pyo3(transparent)]
    F32(PyReadonlyArray1<'py, f32>),
    #[pyo3(transparent)]
    F64(PyReadonlyArray1<'py, f64>),
}

/// Codes: a dense array, or (indptr, indices, data).
#[derive(FromPyObject)]
pub(crate) enum AnyCodes<'py> {
    #[pyo3(transparent)]
    Sparse((PyReadonlyArray1<'py, i64>, Indices<'py>, Values<'py>)),
    #[pyo3(transparent)]
    Dense(Inputs<'py>),
}

/// Adds to counts, (n_labels, n_components) int64, how often each component is active under each label.
#[pyfunction]
#[pyo3(signature = (Z, labels, counts, n_jobs))]
#[allow(non_snake_case)] // the field's name for codes
pub(crate) fn count_active(
    py: Python<'_>,
    Z: AnyCodes<'_>,
    labels: PyReadonlyArray1<'_, i64>,
    mut counts: PyReadwriteArray2<'_, i64>,
    n_jobs: Option<usize>,
) -> PyResult<()> {
    let width = counts.shape()[1];
    let (labels, counts) = (labels.as_slice()?, counts.as_slice_mut()?);
    match &Z {
        AnyCodes::Dense(rows) => match rows.rows() {
            Rows::F32(rows) => count(py, &DenseRows(rows), labels, counts, n_jobs),
            Rows::F64(rows) => count(py, &DenseRows(rows), labels, counts, n_jobs),
        },
        AnyCodes::Sparse((starts, indices, values)) => {
            let starts = starts.as_slice()?;
            match (indices, values) {
                (Indices::I32(i), Values::F32(v)) => {
                    count(py, &sparse(starts, i, v, width)?, labels, counts, n_jobs)
                }
                (Indices::I32(i), Values::F64(v)) => {
                    count(py, &sparse(starts, i, v, width)?, labels, counts, n_jobs)
                }
                (Indices::I64(i), Values::F32(v)) => {
                    count(py, &sparse(starts, i, v, width)?, labels, counts, n_jobs)
                }
                (Indices::I64(i), Values::F64(v)) => {
                    count(py, &sparse(starts, i, v, width)?, labels, counts, n_jobs)
                }
            }
        }
    }
}

fn sparse<'a, I: Index + numpy::Element, V: Value + numpy::Element>(
    starts: &'a [i64],
    indices: &'a PyReadonlyArray1<'_, I>,
    values: &'a PyReadonlyArray1<'_, V>,
    width: usize,
) -> PyResult<SparseRows<'a, I, V>> {
    SparseRows::new(starts, indices.as_slice()?, values.as_slice()?, width).map_err(value_error)
}

fn count<R: ActiveRows>(
    py: Python<'_>,
    rows: &R,
    labels: &[i64],
    counts: &mut [i64],
    n_jobs: Option<usize>,
) -> PyResult<()> {
    run(py, n_jobs, |team| count_by_label(rows, labels, counts, team))
}

/// (indptr, indices, data).
type SparseArrays<'py> = (PyReadonlyArray1<'py, i64>, Indices<'py>, Values<'py>);

/// Areas under the ROC curve of each component for each label, and their standard errors, into two arrays of
/// shape (n_components, n_labels).
#[pyfunction]
#[pyo3(signature = (Z, labels, areas, errors, n_jobs))]
#[allow(non_snake_case)] // the field's name for codes
pub(crate) fn auroc(
    py: Python<'_>,
    Z: SparseArrays<'_>,
    labels: PyReadonlyArray1<'_, i64>,
    mut areas: PyReadwriteArray2<'_, f64>,
    mut errors: PyReadwriteArray2<'_, f64>,
    n_jobs: Option<usize>,
) -> PyResult<()> {
    let &[width, n_labels] = areas.shape() else { unreachable!("two dimensions") };
    let (starts, labels) = (Z.0.as_slice()?, labels.as_slice()?);
    let out = AurocResults { areas: areas.as_slice_mut()?, errors: errors.as_slice_mut()? };
    match (&Z.1, &Z.2) {
        (Indices::I32(i), Values::F32(v)) => {
            rank(py, &sparse(starts, i, v, width)?, labels, n_labels, out, n_jobs)
        }
        (Indices::I32(i), Values::F64(v)) => {
            rank(py, &sparse(starts, i, v, width)?, labels, n_labels, out, n_jobs)
        }
        (Indices::I64(i), Values::F32(v)) => {
            rank(py, &sparse(starts, i, v, width)?, labels, n_labels, out, n_jobs)
        }
        (Indices::I64(i), Values::F64(v)) => {
            rank(py, &sparse(starts, i, v, width)?, labels, n_labels, out, n_jobs)
        }
    }
}

fn rank<I: Index, V: Ranked>(
    py: Python<'_>,
    rows: &SparseRows<'_, I, V>,
    labels: &[i64],
    n_labels: usize,
    out: AurocResults<'_>,
    n_jobs: Option<usize>,
) -> PyResult<()> {
    run(py, n_jobs, |team| auroc_by_label(rows, labels, n_labels, out, team))
}

/// (origin, offset, scatter, third, fourth).
type MomentArrays<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray1<f64>>,
    f64,
);

/// Moments of a stream of rows.
#[pyclass(name = "MomentSums", module = "icfl._core")]
pub(crate) struct PyMomentSums {
    sums: MomentSums,
    width: usize,
}

#[pymethods]
#[allow(non_snake_case)] // the field's name for inputs
impl PyMomentSums {
    /// Pieces of a stream with multiples of this many rows give the same bits as the whole.
    #[getter]
    fn block_rows(&self) -> usize {
        statistics::BLOCK_ROWS
    }

    #[new]
    fn new(n_features: usize) -> PyMomentSums {
        PyMomentSums { sums: MomentSums::new(n_features), width: n_features }
    }

    /// Adds the rows with the given numbers, or all; after an error the sums are of no use.
    #[pyo3(signature = (X, rows, n_jobs))]
    fn add<'py>(
        &mut self,
        py: Python<'py>,
        X: Inputs<'py>,
        rows: Option<PyReadonlyArray1<'py, i64>>,
        n_jobs: Option<usize>,
    ) -> PyResult<()> {
        let (view, simd) = (X.rows(), simd()?);
        let chosen = rows.as_ref().map(|rows| rows.as_slice()).transpose()?;
        run(py, n_jobs, |team| self.sums.add(view, chosen, simd, team))
    }

    /// (origin, offset, scatter, third, fourth).
    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<MomentArrays<'py>> {
        let found = self.sums.finish();
        let scatter = found.scatter.into_pyarray(py).reshape([self.width, self.width])?;
        let (origin, offset) = (found.origin.into_pyarray(py), found.offset.into_pyarray(py));
        Ok((origin, offset, scatter, found.third.into_pyarray(py), found.fourth))
    }
}

/// (residual, cosine, mean, centred_squares).
pub(crate) type ReconstructionSums<'py> = (f64, f64, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

pub(crate) fn sums(py: Python<'_>, found: Reconstruction) -> ReconstructionSums<'_> {
    let (mean, squares) = (found.mean.into_pyarray(py), found.centred_squares.into_pyarray(py));
    (found.residual, found.cosine, mean, squares)
}

/// How well codes reproduce the rows of X: Σ‖x − x̂‖², Σ cosine(x, x̂), and mean and Σ(x − mean)² of every column.
#[pyfunction]
#[pyo3(signature = (X, codes, components, bias, n_jobs))]
#[allow(non_snake_case)] // the field's name for inputs
pub(crate) fn reconstruction_sums<'py>(
    py: Python<'py>,
    X: PyReadonlyArray2<'py, f32>,
    codes: CodeArrays<'py>,
    components: PyReadonlyArray2<'py, f32>,
    bias: PyReadonlyArray1<'py, f32>,
    n_jobs: Option<usize>,
) -> PyResult<ReconstructionSums<'py>> {
    let ((x, _), (atoms, d)) = (matrix(&X, "X")?, matrix(&components, "components")?);
    let (codes, bias, simd) = (self::codes(&codes, atoms.len() / d)?, bias.as_slice()?, simd()?);
    let found = run(py, n_jobs, |team| statistics::reconstruction(x, &codes, atoms, bias, simd, team))?;
    Ok(sums(py, found))
}
