//! `Dictionary`: atoms ready for encoding, and the encoders as its methods.

use crate::convert::{Inputs, NewCodeArrays, matrix, new_codes, simd, value_error, vector};
use crate::run::run;
use icfl_core::codes::Codes;
use icfl_core::dictionary::Dictionary;
use icfl_core::encode::{self, Icfl, Omp, Selection};
use icfl_core::team::Team;
use icfl_core::update::redundant_atoms;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Unchanging atoms, copied from a float32 array of shape (n_components, n_features).
#[pyclass(name = "Dictionary", module = "icfl._core", frozen)]
pub(crate) struct PyDictionary(Dictionary);

/// (atoms, starts, others).
type RedundantArrays<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

fn selection(name: &str) -> PyResult<Selection> {
    match name {
        "positive" => Ok(Selection::Positive),
        "absolute" => Ok(Selection::Absolute),
        _ => Err(PyValueError::new_err(format!("selection must be 'positive' or 'absolute', got {name:?}"))),
    }
}

impl PyDictionary {
    fn encode<'py>(
        &self,
        py: Python<'py>,
        x: &Inputs<'_>,
        bias: &Option<PyReadonlyArray1<'_, f32>>,
        n_jobs: Option<usize>,
        encoder: impl FnOnce(&encode::Inputs<'_>, &Team<'_>) -> icfl_core::Result<Codes> + Send,
    ) -> PyResult<NewCodeArrays<'py>> {
        let inputs = encode::Inputs::new(x.rows(), vector(bias)?, &self.0).map_err(value_error)?;
        Ok(new_codes(py, run(py, n_jobs, |team| encoder(&inputs, team))?))
    }
}

#[pymethods]
#[allow(non_snake_case)] // the field's name for inputs
#[allow(clippy::too_many_arguments)] // Python's signature
impl PyDictionary {
    #[new]
    #[pyo3(signature = (components, offsets=None))]
    fn new(
        py: Python<'_>,
        components: PyReadonlyArray2<'_, f32>,
        offsets: Option<PyReadonlyArray1<'_, f32>>,
    ) -> PyResult<PyDictionary> {
        let ((atoms, d), simd) = (matrix(&components, "components")?, simd()?);
        let offsets = vector(&offsets)?.map(<[f32]>::to_vec);
        run(py, None, |team| {
            let dictionary = Dictionary::copied(atoms, d, simd, team)?;
            match offsets {
                Some(offsets) => dictionary.with_offsets(offsets),
                None => Ok(dictionary),
            }
        })
        .map(PyDictionary)
    }

    #[getter]
    fn n_components(&self) -> usize {
        self.0.n_components()
    }

    #[getter]
    fn n_features(&self) -> usize {
        self.0.n_features()
    }

    /// The n_nonzero largest scores of each row: positive ones, or by magnitude.
    #[pyo3(signature = (X, bias, n_nonzero, selection, n_jobs))]
    fn encode_topk<'py>(
        &self,
        py: Python<'py>,
        X: Inputs<'py>,
        bias: Option<PyReadonlyArray1<'py, f32>>,
        n_nonzero: usize,
        selection: &str,
        n_jobs: Option<usize>,
    ) -> PyResult<NewCodeArrays<'py>> {
        let selection = self::selection(selection)?;
        self.encode(py, &X, &bias, n_jobs, |inputs, team| {
            encode::encode_topk(inputs, n_nonzero, selection, team)
        })
    }

    /// All scores above a threshold of zero or more.
    #[pyo3(signature = (X, bias, threshold, n_jobs))]
    fn encode_above<'py>(
        &self,
        py: Python<'py>,
        X: Inputs<'py>,
        bias: Option<PyReadonlyArray1<'py, f32>>,
        threshold: f32,
        n_jobs: Option<usize>,
    ) -> PyResult<NewCodeArrays<'py>> {
        self.encode(py, &X, &bias, n_jobs, |inputs, team| encode::encode_above(inputs, threshold, team))
    }

    /// Stage-wise block matching pursuit.
    #[pyo3(signature = (X, bias, n_iterations, atoms_per_iteration, threshold, selection, use_gram, n_jobs))]
    fn encode_icfl<'py>(
        &self,
        py: Python<'py>,
        X: Inputs<'py>,
        bias: Option<PyReadonlyArray1<'py, f32>>,
        n_iterations: usize,
        atoms_per_iteration: usize,
        threshold: f32,
        selection: &str,
        use_gram: bool,
        n_jobs: Option<usize>,
    ) -> PyResult<NewCodeArrays<'py>> {
        let selection = self::selection(selection)?;
        let options = Icfl { n_iterations, atoms_per_iteration, threshold, selection, use_gram };
        self.encode(py, &X, &bias, n_jobs, |inputs, team| encode::encode_icfl(inputs, &options, team))
    }

    /// Orthogonal matching pursuit.
    #[pyo3(signature = (X, bias, n_nonzero, threshold, threshold_slope, selection, use_gram, n_jobs))]
    fn encode_omp<'py>(
        &self,
        py: Python<'py>,
        X: Inputs<'py>,
        bias: Option<PyReadonlyArray1<'py, f32>>,
        n_nonzero: usize,
        threshold: f32,
        threshold_slope: f32,
        selection: &str,
        use_gram: bool,
        n_jobs: Option<usize>,
    ) -> PyResult<NewCodeArrays<'py>> {
        let selection = self::selection(selection)?;
        let options = Omp { n_nonzero, threshold, threshold_slope, selection, use_gram };
        self.encode(py, &X, &bias, n_jobs, |inputs, team| encode::encode_omp(inputs, &options, team))
    }

    /// Atoms that at most `most` others reproduce to a cosine above `limit`.
    ///
    /// Returns (atoms, starts, others): those of atom i are others[starts[i]:starts[i + 1]].
    #[pyo3(signature = (most, limit, n_jobs))]
    fn redundant_atoms<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        limit: f32,
        n_jobs: Option<usize>,
    ) -> PyResult<RedundantArrays<'py>> {
        let found = run(py, n_jobs, |team| redundant_atoms(&self.0, most, limit, team))?;
        let mut starts = vec![0i64];
        let mut others = Vec::new();
        for redundant in &found {
            others.extend(redundant.others.iter().map(|&atom| i64::from(atom)));
            starts.push(others.len() as i64);
        }
        let atoms: Vec<i64> = found.iter().map(|redundant| redundant.atom as i64).collect();
        Ok((atoms.into_pyarray(py), starts.into_pyarray(py), others.into_pyarray(py)))
    }
}
