//! `encode_topk`: the k largest positive inner products of each sample (the code of a TopK SAE).

use super::only_row::scores_of_only_row;
use super::{Inputs, Selection, TILE_ROWS};
use crate::codes::Codes;
use crate::error::Result;
use crate::screen::shortlist::{Search, Wanted};
use crate::team::Team;

/// For each sample the `n_nonzero` atoms with the largest inner product, where it is positive.
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub fn encode_topk(inputs: &Inputs<'_>, n_nonzero: usize, team: &Team<'_>) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let product = dictionary.product(inputs.rows.len(), team)?;
    let floors = [0.0; TILE_ROWS];
    let known = scores_of_only_row(inputs, &product, team)?;
    let wanted =
        Wanted { most: n_nonzero, selection: Selection::Positive, floors: &floors, known: known.as_deref() };
    let scratch = || (Search::default(), Vec::new());
    inputs.encode(TILE_ROWS, team, scratch, |(search, entries), tile, out| {
        for list in search.run(tile, dictionary, &product, &wanted, |_| &[], team)? {
            entries.clear();
            entries.extend(list.scored(0.0));
            keep_best(entries, n_nonzero);
            out.push_row(entries);
        }
        Ok(())
    })
}

/// The `most` largest values, equal ones by the lower index.
fn keep_best(entries: &mut Vec<(u32, f32)>, most: usize) {
    if entries.len() > most {
        if most > 0 {
            entries.select_nth_unstable_by(most - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        }
        entries.truncate(most);
    }
}
