//! What pursuits on the Gram matrix share: approximate scores of a tile, handed on sample by sample.

use super::only_row::scores_of_only_row;
use super::{Inputs, TILE_ROWS, TILE_STEP, entry_score};
use crate::aligned::Aligned;
use crate::codes::Codes;
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::screen::fixed::FixedRows;
use crate::screen::pursuit::{Scores, Work};
use crate::team::Team;

/// Scores that a worker holds when it keeps whole rows of them: 8 MiB.
const WHOLE_SCORES: usize = 1 << 21;

/// One sample on its way through a pursuit.
pub(super) struct Sample<'s, 'a, 'w> {
    /// The input less the bias.
    pub(super) values: &'s [f32],
    /// The input at first; the pursuit takes its atoms off it.
    pub(super) residual: &'s mut [f32],
    /// What atoms must score to join.
    pub(super) entry: f32,
    /// Scores against the residual.
    pub(super) scores: Scores<'a, 'w>,
}

/// Calls `body(scratch, sample, out)` for every sample, which appends one row of codes.
pub(super) fn each_sample<S>(
    inputs: &Inputs<'_>,
    threshold: f32,
    team: &Team<'_>,
    scratch: impl Fn() -> S + Sync,
    body: impl Fn(&mut S, &mut Sample<'_, '_, '_>, &mut Codes) + Sync,
) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    let gram = dictionary.gram(team)?;
    let product = dictionary.product(inputs.rows.len(), team)?;
    let stride = product.stride(m);
    let only = scores_of_only_row(inputs, &product, team)?;
    let buffers = || (FixedRows::default(), Aligned::default(), Aligned::default(), Work::default());
    inputs.encode(
        whole_rows(dictionary),
        team,
        || (buffers(), scratch()),
        |(buffers, scratch), tile, out| {
            let (rows, approximate, residual, work) = buffers;
            product.load(tile, d, rows);
            approximate.reset(tile.len() / d * stride);
            match &only {
                Some(scores) => approximate.copy_from_slice(scores),
                None => product.scores(tile, d, rows, 0..m, approximate, stride),
            }
            for (r, (values, scores)) in tile.chunks(d).zip(approximate.chunks_mut(stride)).enumerate() {
                team.cancel().check()?;
                residual.reset(d);
                residual.copy_from_slice(values);
                let entry = entry_score(threshold, values, dictionary);
                let scores =
                    Scores::new(&mut scores[..m], product.bound(d, rows, r), dictionary, &gram, work);
                body(scratch, &mut Sample { values, residual, entry, scores }, out);
            }
            Ok(())
        },
    )
}

/// Rows of a tile whose scores against all atoms are kept.
fn whole_rows(dictionary: &Dictionary) -> usize {
    (WHOLE_SCORES / dictionary.n_components() / TILE_STEP * TILE_STEP).clamp(TILE_STEP, TILE_ROWS)
}
