//! Which atoms say nothing that a few others do not say together.
//!
//! Two atoms that converge on one feature are the plain case. The other is the atom that stands for features
//! which often fire together, beside atoms for each of them: it saves a non-zero and costs the dictionary a
//! place that a rarer feature needs. Both are found by encoding every atom with the others: a greedy
//! non-negative-score pursuit (OMP) of a few steps whose reconstruction reaches a given cosine.

use crate::dictionary::Dictionary;
use crate::encode::omp::{Fit, step_residual};
use crate::encode::{Selection, TILE_ROWS};
use crate::error::Result;
use crate::screen::shortlist::{Search, Wanted};
use crate::team::Team;
use crate::top::Top;

/// An atom and those that reproduce it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redundant {
    /// The atom.
    pub atom: usize,
    /// The others, in the order they were chosen.
    pub others: Vec<u32>,
}

/// Atoms whose cosine with their reconstruction by at most `most` others exceeds `limit`.
///
/// # Errors
/// Cancellation.
pub fn redundant_atoms(
    dictionary: &Dictionary,
    most: usize,
    limit: f32,
    team: &Team<'_>,
) -> Result<Vec<Redundant>> {
    dictionary.refuse_offsets()?;
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    let product = dictionary.product(m, team)?;
    let floors = [0.0; TILE_ROWS];
    let wanted = Wanted { most: 1, selection: Selection::Positive, floors: &floors, known: None };
    let scratch = || (Search::default(), Top::new(1), vec![Fit::default(); TILE_ROWS]);
    let tiles = team.map(m.div_ceil(TILE_ROWS), scratch, |(search, top, fits), tile| {
        let first = tile * TILE_ROWS;
        let atoms = &dictionary.atoms()[first * d..(first + TILE_ROWS).min(m) * d];
        let n_atoms = atoms.len() / d;
        let fits = &mut fits[..n_atoms];
        fits.iter_mut().for_each(Fit::clear);
        let mut hidden: Vec<Vec<u32>> = (0..n_atoms).map(|r| vec![(first + r) as u32]).collect();
        let mut residuals = atoms.to_vec();
        for _ in 0..most {
            let lists = search.run(&residuals, dictionary, &product, &wanted, |r| &hidden[r], team)?;
            for (r, residual) in residuals.chunks_mut(d).enumerate() {
                let open = left(residual, r, first, dictionary) > 1.0 - limit * limit;
                lists[r].best(Selection::Positive, 0.0, top);
                if open && step_residual(&atoms[r * d..][..d], residual, top, dictionary, &mut fits[r]) {
                    hidden[r].extend(fits[r].atoms.last());
                }
            }
        }
        let reproduced =
            |r: &usize| left(&residuals[r * d..][..d], *r, first, dictionary) < 1.0 - limit * limit;
        let others = |r: usize| Redundant { atom: first + r, others: std::mem::take(&mut fits[r].atoms) };
        Ok((0..n_atoms).filter(reproduced).map(others).collect::<Vec<_>>())
    })?;
    Ok(tiles.concat())
}

/// Share of an atom's squared norm that is left in its residual; a zero atom is not redundant.
///
/// After a least-squares fit, the cosine of atom and reconstruction is the root of one minus this.
fn left(residual: &[f32], r: usize, first: usize, dictionary: &Dictionary) -> f32 {
    let whole = dictionary.squared_norms()[first + r];
    if whole > 0.0 { dictionary.simd().dot(residual, residual) / whole } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::kernels::Simd;

    #[test]
    fn duplicates_and_sums_are_found_and_nothing_else() {
        // e0, e1, e2, e0 + e1, 2 e2, zero, e3 - e0
        let atoms = [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [1.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 2.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
            [-1.0, 0.0, 0.0, 1.0],
        ];
        let dictionary = Dictionary::new(atoms.concat(), 4, Simd::detect().unwrap()).unwrap();
        let cancel = Cancel::new();
        let found = |most| redundant_atoms(&dictionary, most, 0.95, &Team::new(Some(2), &cancel)).unwrap();
        let named = |found: Vec<Redundant>| found.into_iter().map(|r| (r.atom, r.others)).collect::<Vec<_>>();
        assert_eq!(named(found(1)), [(2, vec![4]), (4, vec![2])]);
        let two = named(found(2));
        assert!(
            two.contains(&(3, vec![0, 1])) && two.iter().all(|(atom, _)| ![5, 6].contains(atom)),
            "{two:?}"
        );
    }
}
