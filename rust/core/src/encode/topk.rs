//! `encode_topk`: the k largest positive inner products of each sample (the code of a TopK SAE).

use super::scores::{TILE_ROWS, score_panels};
use super::{Inputs, Selection};
use crate::codes::Codes;
use crate::error::Result;
use crate::team::Team;
use crate::top::Top;

/// For each sample the `n_nonzero` atoms with the largest inner product, where it is positive.
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub fn encode_topk(inputs: &Inputs<'_>, n_nonzero: usize, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let d = dictionary.n_features();
    let k = n_nonzero.min(dictionary.n_components());
    let scratch = || (Vec::new(), vec![Top::new(k); TILE_ROWS], Vec::new());
    inputs.encode(TILE_ROWS, team, scratch, |(scores, tops, entries), tile, out| {
        let tops = &mut tops[..tile.len() / d];
        tops.iter_mut().for_each(|top| top.clear(0.0));
        score_panels(tile, dictionary, Selection::Positive, scores, tops, |_| &[], team)?;
        for top in tops {
            entries.clear();
            entries.extend(top.indices().iter().copied().zip(top.scores().iter().copied()));
            out.push_row(entries);
        }
        Ok(())
    })
}
