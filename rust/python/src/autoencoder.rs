//! `Autoencoder`: a sparse autoencoder that learns.

use crate::convert::{
    NewCodeArrays, atoms, matrix, new_codes, new_matrix, restore, scalar, simd, value_error,
};
use crate::run::run;
use crate::statistics::{ReconstructionSums, sums};
use icfl_core::autoencoder::{Activation, Autoencoder, Options, Step, Tensors};
use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What parameters are called, in the order of [`Tensors::parts`].
const NAMES: [&str; 4] = ["encoder", "components", "encoder_bias", "bias"];

/// A sparse autoencoder with the moments of its gradients.
#[pyclass(name = "Autoencoder", module = "icfl._core")]
pub(crate) struct PyAutoencoder(Autoencoder);

fn activation(name: &str) -> PyResult<Activation> {
    match name {
        "topk" => Ok(Activation::TopK),
        "abs_topk" => Ok(Activation::AbsTopK),
        "batch_topk" => Ok(Activation::BatchTopK),
        _ => Err(PyValueError::new_err(format!(
            "activation must be 'topk', 'abs_topk' or 'batch_topk', got {name:?}"
        ))),
    }
}

#[pymethods]
#[allow(non_snake_case)] // the field's name for inputs
#[allow(clippy::too_many_arguments)] // Python's signature
impl PyAutoencoder {
    #[new]
    fn new(
        n_components: usize,
        n_features: usize,
        activation: &str,
        widths: Vec<usize>,
        aux_coefficient: f64,
        largest_gradient: f64,
    ) -> PyResult<PyAutoencoder> {
        let activation = self::activation(activation)?;
        let options = Options { activation, widths, aux_coefficient, largest_gradient };
        Autoencoder::new(n_components, n_features, options, simd()?).map(PyAutoencoder).map_err(value_error)
    }

    /// Forms one step without showing it: returns codes and what reconstruction_sums finds for them.
    #[pyo3(signature = (X, n_nonzero, rate, dead, k_aux, memory, n_jobs))]
    fn advance<'py>(
        &mut self,
        py: Python<'py>,
        X: PyReadonlyArray2<'py, f32>,
        n_nonzero: usize,
        rate: f64,
        dead: PyReadonlyArray1<'py, i64>,
        k_aux: usize,
        memory: f64,
        n_jobs: Option<usize>,
    ) -> PyResult<(NewCodeArrays<'py>, ReconstructionSums<'py>)> {
        let (x, _) = matrix(&X, "X")?;
        let dead = atoms(&dead, self.0.state().values.n_components())?;
        let how = Step { n_nonzero, rate, dead: &dead, k_aux, memory };
        let found = run(py, n_jobs, |team| self.0.advance(x, how, team))?;
        Ok((new_codes(py, found.codes), sums(py, found.reconstruction)))
    }

    /// Puts the step in place.
    fn commit(&mut self) {
        self.0.commit();
    }

    /// The parameters, and the threshold.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arrays = PyDict::new(py);
        let state = self.0.state();
        let d = state.values.n_features();
        for (name, values) in NAMES.into_iter().zip(state.values.parts()) {
            match name {
                "encoder" | "components" => arrays.set_item(name, new_matrix(py, values.to_vec(), d)?)?,
                _ => arrays.set_item(name, PyArray1::from_slice(py, values))?,
            }
        }
        arrays.set_item("threshold", state.threshold)?;
        Ok(arrays)
    }

    /// Takes parameters of the same shapes.
    fn set_parameters(&mut self, arrays: &Bound<'_, PyDict>) -> PyResult<()> {
        let state = self.0.state_mut();
        for (name, values) in NAMES.into_iter().zip(state.values.parts_mut()) {
            restore(arrays, name, values)?;
        }
        state.threshold = arrays.get_item("threshold")?.map_or(Ok(0.0), |value| value.extract())?;
        Ok(())
    }

    /// Everything else that is needed to continue.
    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (arrays, state) = (PyDict::new(py), self.0.state());
        for (moment, tensors) in [("first", &state.first), ("second", &state.second)] {
            for (name, values) in NAMES.into_iter().zip(tensors.parts()) {
                arrays.set_item(format!("{name}_{moment}"), PyArray1::from_slice(py, values))?;
            }
        }
        arrays.set_item("n_steps", PyArray1::from_slice(py, &[state.steps as f64]))?;
        Ok(arrays)
    }

    /// Continues from what `arrays` gave.
    fn set_arrays(&mut self, arrays: &Bound<'_, PyDict>) -> PyResult<()> {
        let state = self.0.state_mut();
        let restore_all = |moment: &str, tensors: &mut Tensors| {
            let mut parts = NAMES.into_iter().zip(tensors.parts_mut());
            parts.try_for_each(|(name, values)| restore(arrays, &format!("{name}_{moment}"), values))
        };
        restore_all("first", &mut state.first)?;
        restore_all("second", &mut state.second)?;
        state.steps = scalar(arrays, "n_steps")? as u64;
        Ok(())
    }
}
