//! `icfl._core`: checks and converts arguments, releases the GIL, calls `icfl-core`, converts back.

#![deny(unsafe_code)]

mod autoencoder;
mod convert;
mod dictionary;
mod functions;
mod nulls;
mod run;
mod statistics;
mod updates;

#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use super::autoencoder::PyAutoencoder;
    #[pymodule_export]
    use super::dictionary::PyDictionary;
    #[pymodule_export]
    use super::functions::{coherent_atoms, decode, prepare_rows, simd_level, simd_levels, survey_rows};
    #[pymodule_export]
    use super::nulls::{expected_entropy, hypergeometric_null, permutation_null};
    #[pymodule_export]
    use super::statistics::{PyMomentSums, auroc, count_active, reconstruction_sums};
    #[pymodule_export]
    use super::updates::{PyAdamUpdate, PyOnlineUpdate};

    #[pymodule_export]
    #[allow(non_upper_case_globals)] // Python's name for it
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
