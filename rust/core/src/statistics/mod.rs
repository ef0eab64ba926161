//! What codes and inputs say in the whole: counts of active features by label.

mod active;
mod label_counts;

pub use active::{ActiveRows, DenseRows, Index, SparseRows, Value};
pub use label_counts::count_by_label;
