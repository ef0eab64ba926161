//! Long calls: without the GIL, stopped by Ctrl-C.

use icfl_core::cancel::Cancel;
use icfl_core::team::Team;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often Python gets to look at its signals: each time may wait for the GIL, 5 ms if others keep it busy.
const SIGNALS: Duration = Duration::from_millis(100);

/// Runs `work` without the GIL, attending to signals.
///
/// When a handler raises (KeyboardInterrupt), the work is cancelled and the exception returned once it has
/// stopped. The calling thread works and looks at signals itself: one that waits for another costs a tenth of
/// a millisecond a call.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    n_jobs: Option<usize>,
    work: impl FnOnce(&Team<'_>) -> icfl_core::Result<T> + Send,
) -> PyResult<T> {
    if n_jobs == Some(0) {
        return Err(PyValueError::new_err("n_jobs must be None or a positive integer, got 0"));
    }
    let raised = Arc::new(Mutex::new(None));
    let cancel = if receives_signals(py)? {
        let raised = raised.clone();
        Cancel::asking(SIGNALS, move || {
            let error = Python::attach(|py| py.check_signals()).err();
            let stop = error.is_some();
            *raised.lock().expect("nothing panics here") = error;
            stop
        })
    } else {
        Cancel::new()
    };
    let result = py.detach(|| work(&Team::new(n_jobs, &cancel)));
    match raised.lock().expect("nothing panics here").take() {
        Some(error) => Err(error),
        None => result.map_err(|error| PyValueError::new_err(error.to_string())),
    }
}

/// Whether this is Python's main thread, the only one whose handlers run.
fn receives_signals(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import(intern!(py, "threading"))?;
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    threading.call_method0(intern!(py, "get_ident"))?.eq(main)
}
