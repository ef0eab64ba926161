//! `AdamUpdate` and `OnlineUpdate`: the state of dictionary updates.

use crate::convert::{CodeArrays, atoms, codes, matrix, new_matrix, restore, scalar, simd, value_error};
use crate::run::run;
use crate::statistics::{ReconstructionSums, sums};
use icfl_core::update::{Adam, Batch, Moved, Online, Parting};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A moved dictionary: (components, bias).
type MovedArrays<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>);

fn moved(py: Python<'_>, moved: Moved) -> PyResult<MovedArrays<'_>> {
    let d = moved.bias.len();
    Ok((new_matrix(py, moved.components, d)?, moved.bias.into_pyarray(py)))
}

/// Adam on dictionary and bias, codes held fixed.
#[pyclass(name = "AdamUpdate", module = "icfl._core")]
pub(crate) struct PyAdamUpdate {
    state: Adam,
    n_features: usize,
}

#[pymethods]
#[allow(non_snake_case)] // the field's name for inputs
impl PyAdamUpdate {
    #[new]
    fn new(n_components: usize, n_features: usize, learning_rate: f64, unit_norm: bool) -> PyAdamUpdate {
        PyAdamUpdate { state: Adam::new(n_components, n_features, learning_rate, unit_norm), n_features }
    }

    /// One step: returns the state after it, the moved (components, bias), and what reconstruction_sums finds
    /// before it.
    #[pyo3(signature = (X, codes, components, bias, n_jobs))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        X: PyReadonlyArray2<'py, f32>,
        codes: CodeArrays<'py>,
        components: PyReadonlyArray2<'py, f32>,
        bias: PyReadonlyArray1<'py, f32>,
        n_jobs: Option<usize>,
    ) -> PyResult<(PyAdamUpdate, MovedArrays<'py>, ReconstructionSums<'py>)> {
        let ((x, d), (atoms, _)) = (matrix(&X, "X")?, matrix(&components, "components")?);
        let batch = Batch::new(x, d, self::codes(&codes, atoms.len() / d)?).map_err(value_error)?;
        let (bias, simd) = (bias.as_slice()?, simd()?);
        let (state, after, measured) =
            run(py, n_jobs, |team| self.state.step_measured(&batch, atoms, bias, simd, team))?;
        Ok((PyAdamUpdate { state, n_features: self.n_features }, moved(py, after)?, sums(py, measured)))
    }

    /// Forgets the moments of atoms that were replaced.
    fn reset(&mut self, atoms: PyReadonlyArray1<'_, i64>) -> PyResult<()> {
        let n_components = self.state.first.len() / self.n_features - 1;
        self.state.reset(&self::atoms(&atoms, n_components)?, self.n_features);
        Ok(())
    }

    /// Everything needed to continue.
    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arrays = PyDict::new(py);
        arrays.set_item("first_moment", PyArray1::from_slice(py, &self.state.first))?;
        arrays.set_item("second_moment", PyArray1::from_slice(py, &self.state.second))?;
        arrays.set_item("n_steps", PyArray1::from_slice(py, &[self.state.steps as f64]))?;
        Ok(arrays)
    }

    /// Continues from what `arrays` gave.
    fn set_arrays(&mut self, arrays: &Bound<'_, PyDict>) -> PyResult<()> {
        restore(arrays, "first_moment", &mut self.state.first)?;
        restore(arrays, "second_moment", &mut self.state.second)?;
        self.state.steps = scalar(arrays, "n_steps")? as u64;
        Ok(())
    }
}

/// Accumulated statistics and block-coordinate sweeps.
#[pyclass(name = "OnlineUpdate", module = "icfl._core")]
pub(crate) struct PyOnlineUpdate(Online);

#[pymethods]
#[allow(non_snake_case)] // the field's name for inputs
impl PyOnlineUpdate {
    #[new]
    fn new(n_components: usize, n_features: usize) -> PyOnlineUpdate {
        PyOnlineUpdate(Online::new(n_components, n_features))
    }

    /// The statistics times keep, plus a mini-batch, as a new value.
    #[pyo3(signature = (X, codes, keep, n_jobs))]
    fn accumulated<'py>(
        &self,
        py: Python<'py>,
        X: PyReadonlyArray2<'py, f32>,
        codes: CodeArrays<'py>,
        keep: f32,
        n_jobs: Option<usize>,
    ) -> PyResult<PyOnlineUpdate> {
        let (x, d) = matrix(&X, "X")?;
        let batch = Batch::new(x, d, self::codes(&codes, self.0.n_components())?).map_err(value_error)?;
        let simd = simd()?;
        run(py, n_jobs, |team| self.0.accumulated(&batch, keep, simd, team)).map(PyOnlineUpdate)
    }

    /// One sweep over the atoms: returns the moved (components, bias).
    #[pyo3(signature = (components, bias, unit_norm, n_jobs))]
    fn sweep<'py>(
        &self,
        py: Python<'py>,
        components: PyReadonlyArray2<'py, f32>,
        bias: PyReadonlyArray1<'py, f32>,
        unit_norm: bool,
        n_jobs: Option<usize>,
    ) -> PyResult<MovedArrays<'py>> {
        let (atoms, _) = matrix(&components, "components")?;
        let (bias, simd) = (bias.as_slice()?, simd()?);
        moved(py, run(py, n_jobs, |team| self.0.sweep(atoms, bias, unit_norm, simd, team))?)
    }

    /// Has codes say what they would after d_atom = Σ weights d_others + left d'_atom.
    fn recode(
        &mut self,
        atom: usize,
        others: PyReadonlyArray1<'_, i64>,
        weights: PyReadonlyArray1<'_, f32>,
        left: f32,
    ) -> PyResult<()> {
        let others = self::atoms(&others, self.0.n_components())?;
        if atom >= self.0.n_components() {
            return Err(PyValueError::new_err(format!("atom must be below {}", self.0.n_components())));
        }
        let parting = Parting { atom, others: &others, weights: weights.as_slice()?, left };
        self.0.recode(&parting).map_err(value_error)
    }

    /// Forgets everything about atoms that were replaced.
    fn clear(&mut self, atoms: PyReadonlyArray1<'_, i64>) -> PyResult<()> {
        let atoms = self::atoms(&atoms, self.0.n_components())?;
        self.0.clear(&atoms);
        Ok(())
    }

    /// Mean squared code of each atom over the weighted samples.
    #[getter]
    fn energy<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        self.0.energy().into_pyarray(py)
    }

    /// Everything needed to continue.
    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arrays = PyDict::new(py);
        arrays.set_item("code_products", PyArray1::from_slice(py, &self.0.code_products))?;
        arrays.set_item("code_inputs", PyArray1::from_slice(py, &self.0.code_inputs))?;
        arrays.set_item("code_sums", PyArray1::from_slice(py, &self.0.code_sums))?;
        arrays.set_item("input_sums", PyArray1::from_slice(py, &self.0.input_sums))?;
        arrays.set_item("weight", PyArray1::from_slice(py, &[self.0.weight]))?;
        Ok(arrays)
    }

    /// Continues from what `arrays` gave.
    fn set_arrays(&mut self, arrays: &Bound<'_, PyDict>) -> PyResult<()> {
        restore(arrays, "code_products", &mut self.0.code_products)?;
        restore(arrays, "code_inputs", &mut self.0.code_inputs)?;
        restore(arrays, "code_sums", &mut self.0.code_sums)?;
        restore(arrays, "input_sums", &mut self.0.input_sums)?;
        self.0.weight = scalar(arrays, "weight")?;
        Ok(())
    }
}
