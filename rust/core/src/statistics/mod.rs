//! What codes and inputs say in the whole: counts of active features by label, moments of rows, and how well
//! codes reproduce them.

mod active;
mod auroc;
mod label_counts;
mod moments;
mod reconstruction;
mod scatter;

pub use active::{ActiveRows, DenseRows, Index, SparseRows, Value};
pub use auroc::{AurocResults, Ranked, auroc_by_label};
pub use label_counts::count_by_label;
pub use moments::{BLOCK_ROWS, MomentSums, Moments};
pub(crate) use reconstruction::PanelSums;
pub use reconstruction::{Reconstruction, reconstruction};
