//! Between NumPy arrays and the core's views.

use icfl_core::codes::{Codes, CodesView};
use icfl_core::kernels::Simd;
use icfl_core::rows::Rows;
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Input rows as they came: float32 or float64, any strides.
#[derive(FromPyObject)]
pub(crate) enum Inputs<'py> {
    #[pyo3(transparent)]
    F32(PyReadonlyArray2<'py, f32>),
    #[pyo3(transparent)]
    F64(PyReadonlyArray2<'py, f64>),
}

impl Inputs<'_> {
    pub(crate) fn rows(&self) -> Rows<'_> {
        match self {
            Inputs::F32(x) => Rows::F32(x.as_array()),
            Inputs::F64(x) => Rows::F64(x.as_array()),
        }
    }
}

/// Row-major contiguous float32 values of a matrix, and its width.
pub(crate) fn matrix<'a>(array: &'a PyReadonlyArray2<'_, f32>, name: &str) -> PyResult<(&'a [f32], usize)> {
    if !array.is_c_contiguous() {
        return Err(PyTypeError::new_err(format!("{name} must be C-contiguous float32")));
    }
    Ok((array.as_slice()?, array.shape()[1]))
}

/// The values of an optional vector.
pub(crate) fn vector<'a>(array: &'a Option<PyReadonlyArray1<'_, f32>>) -> PyResult<Option<&'a [f32]>> {
    Ok(array.as_ref().map(|array| array.as_slice()).transpose()?)
}

/// The arrays of compressed sparse rows: (indptr, indices, data).
pub(crate) type CodeArrays<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, f32>);

/// What Python gets for codes.
pub(crate) type NewCodeArrays<'py> =
    (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<f32>>);

pub(crate) fn codes<'a>(arrays: &'a CodeArrays<'_>, n_components: usize) -> PyResult<CodesView<'a>> {
    CodesView::new(arrays.0.as_slice()?, arrays.1.as_slice()?, arrays.2.as_slice()?, n_components)
        .map_err(value_error)
}

pub(crate) fn new_codes(py: Python<'_>, codes: Codes) -> NewCodeArrays<'_> {
    (codes.starts.into_pyarray(py), codes.indices.into_pyarray(py), codes.values.into_pyarray(py))
}

/// A new (rows, width) array.
pub(crate) fn new_matrix(
    py: Python<'_>,
    values: Vec<f32>,
    width: usize,
) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let height = values.len().checked_div(width).unwrap_or(0);
    values.into_pyarray(py).reshape([height, width])
}

pub(crate) fn value_error(error: icfl_core::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The instruction set of this process.
pub(crate) fn simd() -> PyResult<Simd> {
    Simd::detect().map_err(PyRuntimeError::new_err)
}

/// Atom numbers from Python.
pub(crate) fn atoms(array: &PyReadonlyArray1<'_, i64>, n_components: usize) -> PyResult<Vec<usize>> {
    let inside = |&m: &i64| usize::try_from(m).ok().filter(|&m| m < n_components);
    array.as_slice()?.iter().map(inside).collect::<Option<_>>().ok_or_else(|| {
        PyValueError::new_err(format!("atoms must be integers from 0 to {}", n_components.saturating_sub(1)))
    })
}

/// Copies the named array over values of the same number.
pub(crate) fn restore(arrays: &Bound<'_, PyDict>, name: &str, into: &mut [f32]) -> PyResult<()> {
    let array = arrays.get_item(name)?.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
    let array: PyReadonlyArrayDyn<'_, f32> = array.extract()?;
    if array.len() != into.len() {
        return Err(PyValueError::new_err(format!(
            "{name} must have {} values, got {}",
            into.len(),
            array.len()
        )));
    }
    into.copy_from_slice(array.as_slice()?);
    Ok(())
}

/// The one float64 value of a named array.
pub(crate) fn scalar(arrays: &Bound<'_, PyDict>, name: &str) -> PyResult<f64> {
    let array = arrays.get_item(name)?.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
    let array: PyReadonlyArray1<'_, f64> = array.extract()?;
    array
        .as_slice()?
        .first()
        .copied()
        .ok_or_else(|| PyValueError::new_err(format!("{name} must have one value, got none")))
}
