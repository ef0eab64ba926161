//! What codes and inputs say in the whole: counts of active features by label, moments of rows, and how well
//! codes reproduce them.

mod active;
mod active_columns;
mod auroc;
mod hypergeometric;
mod label_counts;
mod label_null;
mod moments;
mod permutations;
mod reconstruction;
mod scatter;

pub use active::{ActiveRows, DenseRows, Index, SparseRows, Value};
pub use active_columns::Pattern;
pub use auroc::{AurocResults, Ranked, auroc_by_label};
pub use hypergeometric::{ExactNull, exact_null, expected_entropy};
pub use label_counts::count_by_label;
pub use label_null::{Kind, LabelNull, label_null};
pub use moments::{BLOCK_ROWS, MomentSums, Moments};
pub use permutations::Design;
pub(crate) use reconstruction::PanelSums;
pub use reconstruction::{Reconstruction, reconstruction};
