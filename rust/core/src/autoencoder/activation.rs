//! What makes codes of pre-activations.

use super::{Batch, scores};
use crate::codes::Codes;
use crate::dictionary::Dictionary;
use crate::encode::{Selection, encode_topk};
use crate::error::Result;
use crate::team::Team;

/// How latents are chosen in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The k largest positive pre-activations of each row.
    TopK,
    /// The k of largest magnitude of each row, signs kept (arXiv:2510.00404).
    AbsTopK,
    /// The n k largest positive ones of a mini-batch of n rows (arXiv:2412.06410).
    BatchTopK,
}

/// Rows that are looked at for a first guess of the threshold of a mini-batch.
const SAMPLE_ROWS: usize = 504;

/// Share of the expected threshold from which on pre-activations are listed: consecutive mini-batches differ
/// by less, and listing a few more costs little.
const CAUTION: f32 = 0.9;

/// Attempts to list enough, each with a lower limit, before everything positive is listed.
const ATTEMPTS: usize = 8;

/// Codes of a mini-batch, and the smallest one kept; `expected` is near that if anything is known of it.
pub(super) fn encode(
    batch: &Batch<'_>,
    dictionary: &Dictionary,
    activation: Activation,
    k: usize,
    expected: Option<f32>,
    team: &Team<'_>,
) -> Result<(Codes, f32)> {
    match activation {
        Activation::TopK => Ok((scores::encode(batch, dictionary, k, Selection::Positive, 0.0, team)?, 0.0)),
        Activation::AbsTopK => {
            Ok((scores::encode(batch, dictionary, k, Selection::Absolute, 0.0, team)?, 0.0))
        }
        Activation::BatchTopK => {
            let expected = match expected {
                Some(expected) => expected,
                None => threshold_of_sample(batch, dictionary, k, team)?,
            };
            largest_of_all(batch, dictionary, k * batch.n(), expected, team)
        }
    }
}

/// The `total` largest positive scores of all rows, ties to the earlier row and the lower index, and the
/// smallest of them, zero if there are fewer.
fn largest_of_all(
    batch: &Batch<'_>,
    dictionary: &Dictionary,
    total: usize,
    expected: f32,
    team: &Team<'_>,
) -> Result<(Codes, f32)> {
    let all = dictionary.n_components();
    let mut limit = expected;
    for attempt in 1..=ATTEMPTS {
        limit = if attempt < ATTEMPTS { limit * CAUTION } else { 0.0 };
        let codes = scores::encode(batch, dictionary, all, Selection::Positive, limit, team)?;
        if codes.values.len() >= total {
            return Ok(keep_largest(&codes, total));
        }
        if limit == 0.0 {
            return Ok((codes, 0.0));
        }
    }
    unreachable!("the last limit is zero")
}

/// A mini-batch's codes without all but the `total` largest.
fn keep_largest(codes: &Codes, total: usize) -> (Codes, f32) {
    let mut sorted = codes.values.clone();
    let smallest = match sorted.len().checked_sub(total) {
        Some(below) if total > 0 => *sorted.select_nth_unstable_by(below, f32::total_cmp).1,
        _ => return (codes.clone(), 0.0),
    };
    let mut ties = total - codes.values.iter().filter(|&&value| value > smallest).count();
    let mut kept = Codes { starts: vec![0], ..Codes::default() };
    for ends in codes.starts.windows(2) {
        for at in ends[0] as usize..ends[1] as usize {
            let value = codes.values[at];
            let tie = value == smallest && ties > 0;
            ties -= usize::from(tie);
            if value > smallest || tie {
                kept.indices.push(codes.indices[at]);
                kept.values.push(value);
            }
        }
        kept.starts.push(kept.indices.len() as i64);
    }
    (kept, smallest)
}

/// The k-th largest score a row, over some rows: of each row no more than 4 k are looked at.
fn threshold_of_sample(batch: &Batch<'_>, dictionary: &Dictionary, k: usize, team: &Team<'_>) -> Result<f32> {
    let n = batch.n().min(SAMPLE_ROWS);
    let most = (4 * k).min(dictionary.n_components());
    let codes = encode_topk(&batch.inputs(n, dictionary)?, most, Selection::Positive, team)?;
    Ok(keep_largest(&codes, n * k).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_ties_go_to_the_first() {
        let codes = Codes {
            starts: vec![0, 2, 2, 5],
            indices: vec![1, 4, 0, 2, 3],
            values: vec![2.0, 1.0, 1.0, 3.0, 1.0],
        };
        let (kept, smallest) = keep_largest(&codes, 4);
        assert_eq!((kept.starts, kept.indices), (vec![0, 2, 2, 4], vec![1, 4, 0, 2]));
        assert_eq!((kept.values, smallest), (vec![2.0, 1.0, 1.0, 3.0], 1.0));
        assert_eq!(keep_largest(&codes, 5), (codes.clone(), 1.0));
        assert_eq!(keep_largest(&codes, 6), (codes, 0.0));
    }
}
