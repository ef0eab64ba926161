//! What chance alone makes of codes and labels.

use crate::convert::{simd, value_error};
use crate::run::run;
use crate::statistics::Indices;
use icfl_core::statistics::{
    self, Design, ExactNull, Index, Kind, LabelNull, Pattern, exact_null, label_null,
};
use numpy::{
    Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;

/// (indptr, indices) of codes whose every entry is active, and stored once.
type PatternArrays<'py> = (PyReadonlyArray1<'py, i64>, Indices<'py>);
/// (reached, sums, squares, highest).
type NullArrays<'py> = (Matrix<'py, u32>, Matrix<'py, f64>, Matrix<'py, f64>, Matrix<'py, f64>);
/// (p_values, means, variances).
type ExactArrays<'py> = (Matrix<'py, f64>, Matrix<'py, f64>, Matrix<'py, f64>);
type Matrix<'py, T> = Bound<'py, PyArray2<T>>;

/// Selectivity under permutations of the labels within groups; observed has the counts (n_components, n_labels).
#[pyfunction]
#[pyo3(signature = (pattern, labels, groups, observed, kind, seed, n_permutations, n_jobs))]
#[allow(clippy::too_many_arguments)] // Python's call
pub(crate) fn permutation_null<'py>(
    py: Python<'py>,
    pattern: PatternArrays<'py>,
    labels: PyReadonlyArray1<'py, i64>,
    groups: PyReadonlyArray1<'py, i64>,
    observed: PyReadonlyArray2<'py, i64>,
    kind: &str,
    seed: u64,
    n_permutations: usize,
    n_jobs: Option<usize>,
) -> PyResult<NullArrays<'py>> {
    let design = design(&labels, &groups, observed.shape()[1])?;
    let kind = if kind == "average" { Kind::Average } else { Kind::Maximum };
    let (starts, counts, draws, simd) =
        (pattern.0.as_slice()?, observed.as_slice()?, (seed, n_permutations), simd()?);
    let [width, n_labels] = [observed.shape()[0], observed.shape()[1]];
    let null: LabelNull = match &pattern.1 {
        Indices::I32(i) => {
            let pattern = rows(starts, i, width)?;
            run(py, n_jobs, |team| label_null(&pattern, &design, counts, kind, draws, simd, team))?
        }
        Indices::I64(i) => {
            let pattern = rows(starts, i, width)?;
            run(py, n_jobs, |team| label_null(&pattern, &design, counts, kind, draws, simd, team))?
        }
    };
    Ok((
        matrix(py, null.reached, [width, n_labels])?,
        matrix(py, null.sums, [width, n_labels])?,
        matrix(py, null.squares, [width, n_labels])?,
        matrix(py, null.highest, [n_permutations, n_labels])?,
    ))
}

/// Distribution of the counts under permutations of the labels within groups, exactly.
#[pyfunction]
#[pyo3(signature = (pattern, labels, groups, observed, n_jobs))]
pub(crate) fn hypergeometric_null<'py>(
    py: Python<'py>,
    pattern: PatternArrays<'py>,
    labels: PyReadonlyArray1<'py, i64>,
    groups: PyReadonlyArray1<'py, i64>,
    observed: PyReadonlyArray2<'py, i64>,
    n_jobs: Option<usize>,
) -> PyResult<ExactArrays<'py>> {
    let design = design(&labels, &groups, observed.shape()[1])?;
    let (starts, counts) = (pattern.0.as_slice()?, observed.as_slice()?);
    let [width, n_labels] = [observed.shape()[0], observed.shape()[1]];
    let null: ExactNull = match &pattern.1 {
        Indices::I32(i) => {
            let pattern = rows(starts, i, width)?;
            run(py, n_jobs, |team| exact_null(&pattern, &design, counts, team))?
        }
        Indices::I64(i) => {
            let pattern = rows(starts, i, width)?;
            run(py, n_jobs, |team| exact_null(&pattern, &design, counts, team))?
        }
    };
    let shape = [width, n_labels];
    Ok((
        matrix(py, null.p_values, shape)?,
        matrix(py, null.means, shape)?,
        matrix(py, null.variances, shape)?,
    ))
}

/// Σ_c E[n_c h(A_c / n_c)] in nats for each feature, over cells drawn at random from their strata; active is
/// (n_strata, n_components).
#[pyfunction]
#[pyo3(signature = (active, all, strata, drawn, n_jobs))]
pub(crate) fn expected_entropy<'py>(
    py: Python<'py>,
    active: PyReadonlyArray2<'py, i64>,
    all: PyReadonlyArray1<'py, i64>,
    strata: PyReadonlyArray1<'py, i64>,
    drawn: PyReadonlyArray1<'py, i64>,
    n_jobs: Option<usize>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (active, all, cells) = (active.as_array(), all.as_slice()?, (strata.as_slice()?, drawn.as_slice()?));
    let found = run(py, n_jobs, |team| statistics::expected_entropy(active, all, cells, team))?;
    Ok(found.into_pyarray(py))
}

fn design(
    labels: &PyReadonlyArray1<'_, i64>,
    groups: &PyReadonlyArray1<'_, i64>,
    n_labels: usize,
) -> PyResult<Design> {
    let (labels, groups) = (labels.as_slice()?, groups.as_slice()?);
    let n_groups = groups.iter().max().map_or(0, |&highest| highest.max(-1) + 1) as usize;
    Design::new(labels, groups, n_labels, n_groups).map_err(value_error)
}

fn rows<'a, I: Index + Element>(
    starts: &'a [i64],
    indices: &'a PyReadonlyArray1<'_, I>,
    width: usize,
) -> PyResult<Pattern<'a, I>> {
    Pattern::new(starts, indices.as_slice()?, width).map_err(value_error)
}

fn matrix<T: Element>(py: Python<'_>, values: Vec<T>, shape: [usize; 2]) -> PyResult<Matrix<'_, T>> {
    values.into_pyarray(py).reshape(shape)
}
