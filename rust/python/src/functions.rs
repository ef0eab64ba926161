//! The module's functions.

use crate::convert::{self, CodeArrays, Inputs, matrix, new_matrix, simd, vector};
use crate::run::run;
use icfl_core::kernels::Simd;
use icfl_core::{rows, update};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

/// (rows, norms).
type PreparedArrays<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>);

/// (sum, norms).
type SurveyArrays<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f32>>);

/// (lower, higher) atoms of pairs.
type PairArrays<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Instruction set in use: "scalar", "avx2", "avx512" or "avx512vnni".
#[pyfunction]
pub(crate) fn simd_level() -> PyResult<&'static str> {
    Ok(simd()?.name())
}

/// Every instruction set of this CPU that has kernels, slowest first.
#[pyfunction]
pub(crate) fn simd_levels() -> Vec<&'static str> {
    Simd::available().into_iter().map(Simd::name).collect()
}

/// Packed float32 rows and their norms; with unit_norm, rows are divided by their norms.
#[pyfunction]
#[pyo3(signature = (X, unit_norm, n_jobs))]
#[allow(non_snake_case)] // the field's name for inputs
pub(crate) fn prepare_rows<'py>(
    py: Python<'py>,
    X: Inputs<'py>,
    unit_norm: bool,
    n_jobs: Option<usize>,
) -> PyResult<PreparedArrays<'py>> {
    let (view, simd) = (X.rows(), simd()?);
    let (values, norms) = run(py, n_jobs, |team| rows::prepare(view, unit_norm, simd, team))?;
    Ok((new_matrix(py, values, view.width())?, norms.into_pyarray(py)))
}

/// The sum of what prepare_rows gives for these rows, and their norms.
#[pyfunction]
#[pyo3(signature = (X, unit_norm, n_jobs))]
#[allow(non_snake_case)] // the field's name for inputs
pub(crate) fn survey_rows<'py>(
    py: Python<'py>,
    X: Inputs<'py>,
    unit_norm: bool,
    n_jobs: Option<usize>,
) -> PyResult<SurveyArrays<'py>> {
    let (view, simd) = (X.rows(), simd()?);
    let found = run(py, n_jobs, |team| rows::survey(view, unit_norm, simd, team))?;
    Ok((found.sum.into_pyarray(py), found.norms.into_pyarray(py)))
}

/// Z · components + bias.
#[pyfunction]
#[pyo3(signature = (codes, components, bias, n_jobs))]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    codes: CodeArrays<'py>,
    components: PyReadonlyArray2<'py, f32>,
    bias: Option<PyReadonlyArray1<'py, f32>>,
    n_jobs: Option<usize>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let (atoms, d) = matrix(&components, "components")?;
    let (bias, simd) = (vector(&bias)?, simd()?);
    let view = convert::codes(&codes, atoms.len() / d)?;
    let values = run(py, n_jobs, |team| view.decode(atoms, d, bias, simd, team))?;
    new_matrix(py, values, d)
}

/// Pairs of atoms whose cosine exceeds limit, as two arrays (lower, higher).
#[pyfunction]
#[pyo3(signature = (components, limit, n_jobs))]
pub(crate) fn coherent_atoms<'py>(
    py: Python<'py>,
    components: PyReadonlyArray2<'py, f32>,
    limit: f32,
    n_jobs: Option<usize>,
) -> PyResult<PairArrays<'py>> {
    let (atoms, d) = matrix(&components, "components")?;
    let simd = simd()?;
    let pairs = run(py, n_jobs, |team| update::coherent_pairs(atoms, d, limit, simd, team))?;
    let (lower, higher): (Vec<i64>, Vec<i64>) = pairs.into_iter().map(|(i, j)| (i as i64, j as i64)).unzip();
    Ok((lower.into_pyarray(py), higher.into_pyarray(py)))
}
