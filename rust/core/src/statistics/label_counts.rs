//! On how many samples of each label every feature is active.
//!
//! Samples are taken label by label, so that the counts at hand are one row of the (n_labels, n_features)
//! result: 16 KB for 8,192 features, which stay in the first cache. In the order of the samples every
//! entry would be a step to some row of a result of 70 MB. A label with many samples is shared by several
//! blocks; counts are integers, so the sum has the same bits in any order.

use super::active::ActiveRows;
use crate::error::{Error, Result};
use crate::team::Team;
use std::sync::Mutex;

/// Samples a worker takes at a time. Adding the counts of a block to the result costs as much as a few hundred
/// entries, and a count fits 16 bits.
const BLOCK_ROWS: usize = 16_384;
/// Samples between the request for a row and its use: samples of a label lie anywhere in memory.
const AHEAD: usize = 16;
const _: () = assert!(BLOCK_ROWS <= u16::MAX as usize);

/// Adds to `counts`, shape (n_labels, n_features), how often each feature is active under each label.
///
/// `labels` has one number per sample, -1 for none; samples without a label are checked like the others.
///
/// # Errors
/// [`Error::Argument`] when sizes or labels do not fit, or values are not finite; `counts` is then partly added
/// to. Cancellation.
pub fn count_by_label<R: ActiveRows>(
    rows: &R,
    labels: &[i64],
    counts: &mut [i64],
    team: &Team<'_>,
) -> Result<()> {
    let width = rows.width();
    if width == 0 || labels.len() != rows.len() || !counts.len().is_multiple_of(width) {
        return Err(Error::Argument(format!(
            "labels and counts must fit {} rows of {width} components, got {} and {}",
            rows.len(),
            labels.len(),
            counts.len()
        )));
    }
    let groups = Groups::new(labels, counts.len() / width)?;
    let totals: Vec<_> = counts.chunks_mut(width).map(Mutex::new).collect();
    let scratch = || (vec![0u16; width], R::Scratch::default());
    team.run(rows.len().div_ceil(BLOCK_ROWS), scratch, |(found, scratch), block| {
        let end = ((block + 1) * BLOCK_ROWS).min(rows.len());
        let mut place = block * BLOCK_ROWS;
        while place < end {
            let (label, group_end) = groups.at(place);
            let stop = group_end.min(end);
            for at in place..stop {
                if let Some(&soon) = groups.rows.get(at + AHEAD) {
                    rows.prefetch(soon as usize);
                }
                rows.count(groups.rows[at] as usize, found, scratch)?;
            }
            match totals.get(label) {
                Some(total) => move_counts(found, &mut total.lock().expect("no worker panicked")),
                None => found.fill(0),
            }
            place = stop;
        }
        Ok(())
    })
}

/// Adds `found` to `total` and empties it.
fn move_counts(found: &mut [u16], total: &mut [i64]) {
    for (total, found) in total.iter_mut().zip(found) {
        *total += i64::from(*found);
        *found = 0;
    }
}

/// Samples ordered by label, those without one last.
struct Groups {
    rows: Vec<u32>,
    /// Where the samples of each label end.
    ends: Vec<usize>,
}

impl Groups {
    /// A counting sort, which keeps the order of samples within a label.
    fn new(labels: &[i64], n_labels: usize) -> Result<Groups> {
        if let Some(&label) = labels.iter().find(|&&label| label < -1 || label >= n_labels as i64) {
            let highest = n_labels as i64 - 1;
            return Err(Error::Argument(format!("labels must be numbers from -1 to {highest}, got {label}")));
        }
        let group = |label: i64| if label == -1 { n_labels } else { label as usize };
        let mut next = vec![0usize; n_labels + 2];
        for &label in labels {
            next[group(label) + 1] += 1;
        }
        for i in 0..=n_labels {
            next[i + 1] += next[i];
        }
        let n_rows = u32::try_from(labels.len()).map_err(|_| {
            Error::Argument(format!("Z must have fewer than 2^32 rows at once, got {}", labels.len()))
        })?;
        let mut rows = vec![0u32; labels.len()];
        for (row, &label) in (0..n_rows).zip(labels) {
            let place = &mut next[group(label)];
            rows[*place] = row;
            *place += 1;
        }
        next.pop();
        Ok(Groups { rows, ends: next })
    }

    /// The label of the sample at a place of the order, and where that label ends.
    fn at(&self, place: usize) -> (usize, usize) {
        let label = self.ends.partition_point(|&end| end <= place);
        (label, self.ends[label])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DenseRows, SparseRows};
    use super::*;
    use crate::cancel::Cancel;
    use ndarray::Array2;

    fn count<R: ActiveRows>(rows: &R, labels: &[i64], n_labels: usize, n_jobs: usize) -> Result<Vec<i64>> {
        let cancel = Cancel::new();
        let mut counts = vec![0; n_labels * rows.width()];
        count_by_label(rows, labels, &mut counts, &Team::new(Some(n_jobs), &cancel)).map(|()| counts)
    }

    #[test]
    fn labels_may_be_empty_missing_or_longer_than_a_block() {
        // Nine of ten samples carry label 2, none carries 1.
        let n = 3 * BLOCK_ROWS + 17;
        let label = |i: usize| [0, 2, 2, 2, -1, 2, 2, 2, 2, 2][i % 10];
        let active = |i: usize, m: usize| (i * 7 + m * m).is_multiple_of(3);
        let labels: Vec<i64> = (0..n).map(label).collect();
        let dense = Array2::from_shape_fn((n, 5), |(i, m)| if active(i, m) { -0.5f32 } else { 0.0 });
        let mut expected = vec![0i64; 3 * 5];
        for i in 0..n {
            for m in 0..5 {
                if label(i) >= 0 && active(i, m) {
                    expected[label(i) as usize * 5 + m] += 1;
                }
            }
        }
        for n_jobs in [1, 2, 5] {
            assert_eq!(count(&DenseRows(dense.view()), &labels, 3, n_jobs).unwrap(), expected);
            assert_eq!(
                count(&DenseRows(dense.mapv(f64::from).view()), &labels, 3, n_jobs).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn repeated_unsorted_and_zero_entries_are_understood() {
        let (starts, indices) = ([0i64, 3, 3, 6], [2i32, 0, 2, 1, 0, 1]);
        let values = [1.0f32, 0.0, -1.0, 2.0, 3.0, 4.0];
        let rows = SparseRows::new(&starts, &indices, &values, 3).unwrap();
        assert_eq!(count(&rows, &[0, 0, 1], 2, 1).unwrap(), [0, 0, 0, 1, 1, 0]);
        let wide = indices.map(i64::from);
        let rows = SparseRows::new(&starts, &wide, &values, 3).unwrap();
        assert_eq!(count(&rows, &[1, 1, 1], 2, 1).unwrap(), [0, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let starts = [0i64, 1, 2];
        let message = |indices: [i32; 2], values: [f64; 2], labels: [i64; 2]| {
            let rows = SparseRows::new(&starts, &indices, &values, 3).unwrap();
            count(&rows, &labels, 2, 1).unwrap_err().to_string()
        };
        for bad in [f64::NAN, f64::INFINITY] {
            // Also where the sample has no label.
            assert!(message([0, 1], [1.0, bad], [0, -1]).contains("finite"));
        }
        assert!(message([0, 3], [1.0, 1.0], [0, 1]).contains("indices from 0 to 2"));
        assert!(message([-1, 0], [1.0, 1.0], [0, 1]).contains("indices"));
        assert!(message([0, 0], [1.0, 1.0], [0, 2]).contains("labels"));
        assert!(message([0, 0], [1.0, 1.0], [0, -2]).contains("labels"));
        assert!(SparseRows::new(&[0, 2, 1], &[0i32, 1], &[1.0f32, 1.0], 3).is_err());
        assert!(SparseRows::new(&[0, 3], &[0i32, 1], &[1.0f32, 1.0], 3).is_err());
    }
}
