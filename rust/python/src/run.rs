//! Long calls: without the GIL, stopped by Ctrl-C.

use icfl_core::cancel::Cancel;
use icfl_core::team::Team;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often Python gets to look at its signals.
const SIGNALS: Duration = Duration::from_millis(50);

/// Runs `work` on another thread and waits without the GIL, attending to signals.
///
/// Only Python's main thread receives signals, so that thread must wait rather than work. When a handler
/// raises (KeyboardInterrupt), the work is cancelled and the exception returned once it has stopped.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    n_jobs: Option<usize>,
    work: impl FnOnce(&Team<'_>) -> icfl_core::Result<T> + Send,
) -> PyResult<T> {
    if n_jobs == Some(0) {
        return Err(PyValueError::new_err("n_jobs must be None or a positive integer, got 0"));
    }
    let cancel = Cancel::new();
    let (result, signal) = py.detach(|| {
        let (done, finished) = channel();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let result = work(&Team::new(n_jobs, &cancel));
                let _ = done.send(());
                result
            });
            let mut signal = None;
            while signal.is_none() && finished.recv_timeout(SIGNALS) == Err(RecvTimeoutError::Timeout) {
                signal = Python::attach(|py| py.check_signals()).err();
                if signal.is_some() {
                    cancel.cancel();
                }
            }
            (worker.join(), signal)
        })
    });
    if let Some(error) = signal {
        return Err(error);
    }
    match result {
        Ok(result) => result.map_err(|error| PyValueError::new_err(error.to_string())),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
