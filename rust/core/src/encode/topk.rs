//! `encode_topk`: the k largest scores of each sample (the code of a TopK SAE), and `encode_above`: all that
//! exceed a threshold.

use super::only_row::scores_of_only_row;
use super::{Inputs, Selection, TILE_ROWS};
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::screen::shortlist::{Search, Wanted};
use crate::team::Team;

/// For each sample the `n_nonzero` atoms with the largest score, where it is positive; by magnitude, with its
/// sign, for [`Selection::Absolute`].
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub fn encode_topk(
    inputs: &Inputs<'_>,
    n_nonzero: usize,
    selection: Selection,
    team: &Team<'_>,
) -> Result<Codes> {
    encode(inputs, n_nonzero, selection, 0.0, team)
}

/// For each sample all atoms whose score exceeds `threshold`, which is zero or more.
///
/// # Errors
/// [`crate::Error::Argument`] for a negative threshold, [`crate::Error::NotFinite`], or cancellation.
pub fn encode_above(inputs: &Inputs<'_>, threshold: f32, team: &Team<'_>) -> Result<Codes> {
    if !(0.0..f32::INFINITY).contains(&threshold) {
        return Err(Error::Argument(format!("threshold must be zero or more, got {threshold}")));
    }
    encode(inputs, inputs.dictionary.n_components(), Selection::Positive, threshold, team)
}

/// For each sample the atoms among which are all that [`encode_topk`] may return, or for a `floor` above zero
/// [`encode_above`] with it; as codes whose values mean nothing.
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub(crate) fn candidates(
    inputs: &Inputs<'_>,
    most: usize,
    selection: Selection,
    floor: f32,
    team: &Team<'_>,
) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let product = dictionary.product(inputs.rows.len(), team)?;
    let floors = [floor; TILE_ROWS];
    let wanted = Wanted { most, selection, floors: &floors, known: None };
    let scratch = || (Search::default(), Vec::new());
    inputs.encode(TILE_ROWS, team, scratch, |(search, entries), tile, out| {
        for list in search.candidates(tile, dictionary, &product, &wanted, team)? {
            entries.clear();
            entries.extend(list.atoms().iter().map(|&atom| (atom, 1.0)));
            out.push_row(entries);
        }
        Ok(())
    })
}

fn encode(
    inputs: &Inputs<'_>,
    most: usize,
    selection: Selection,
    floor: f32,
    team: &Team<'_>,
) -> Result<Codes> {
    let dictionary = inputs.dictionary;
    let product = dictionary.product(inputs.rows.len(), team)?;
    let floors = [floor; TILE_ROWS];
    let known = scores_of_only_row(inputs, &product, team)?;
    let wanted = Wanted { most, selection, floors: &floors, known: known.as_deref() };
    let scratch = || (Search::default(), Vec::new());
    inputs.encode(TILE_ROWS, team, scratch, |(search, entries), tile, out| {
        for list in search.run(tile, dictionary, &product, &wanted, |_| &[], team)? {
            entries.clear();
            entries.extend(list.scored(selection, floor));
            keep_best(entries, most, selection);
            out.push_row(entries);
        }
        Ok(())
    })
}

/// The `most` highest ranks, equal ones by the lower index.
pub(crate) fn keep_best(entries: &mut Vec<(u32, f32)>, most: usize, selection: Selection) {
    if entries.len() > most {
        if most > 0 {
            let rank = |entry: &(u32, f32)| selection.rank(entry.1);
            entries.select_nth_unstable_by(most - 1, |a, b| rank(b).total_cmp(&rank(a)).then(a.0.cmp(&b.0)));
        }
        entries.truncate(most);
    }
}
