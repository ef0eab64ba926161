//! A call with a single sample: reading the atoms is most of its time, and all workers share it.

use super::Inputs;
use crate::aligned::Aligned;
use crate::error::Result;
use crate::screen::fixed::{FixedRows, Product};
use crate::team::Team;

/// Atoms that a worker scores at a time.
const PANEL: usize = 1024;

/// Approximate scores of the sample against all atoms, with room for a last strip; `None` unless there is
/// exactly one.
pub(super) fn scores_of_only_row(
    inputs: &Inputs<'_>,
    product: &Product<'_>,
    team: &Team<'_>,
) -> Result<Option<Aligned<f32>>> {
    if inputs.rows.len() != 1 {
        return Ok(None);
    }
    let (d, m) = (inputs.dictionary.n_features(), inputs.dictionary.n_components());
    let (mut row, mut fixed) = (vec![0.0; d], FixedRows::default());
    inputs.rows.load(0..1, inputs.bias, &mut row)?;
    product.load(&row, d, &mut fixed);
    let mut scores = Aligned::zeros(product.stride(m));
    team.run_pieces(
        &mut scores,
        PANEL,
        || (),
        |(), panel, piece| {
            let atoms = (panel * PANEL).min(m)..((panel + 1) * PANEL).min(m);
            product.scores(&row, d, &fixed, atoms, piece, piece.len());
            Ok(())
        },
    )?;
    Ok(Some(scores))
}
