//! What can go wrong in the core; the binding maps each to a Python exception.

use std::fmt;

/// An error of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A value of the inputs is NaN, infinite, or too large for float32 arithmetic.
    NotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
    },
    /// An argument's shape or value does not fit the others.
    Argument(String),
    /// The caller asked to stop.
    Cancelled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFinite { row, column } => write!(
                f,
                "Input X contains NaN, infinity or a value too large for float32 at row {row}, column {column}; \
                 expected finite values below 1e18 in magnitude"
            ),
            Error::Argument(message) => f.write_str(message),
            Error::Cancelled => f.write_str("stopped on request"),
        }
    }
}

impl std::error::Error for Error {}

/// Result of the core.
pub type Result<T> = std::result::Result<T, Error>;
