//! Codes of a mini-batch, its exact scores computed panel by panel of columns.
//!
//! Encoders screen and score tile by tile, so that every tile reads most atoms from the shared cache a second time.
//! In training the whole mini-batch is at hand: panels of all atoms and all rows stay in L2 while the scores that
//! are wanted add up, in less than half the time.

use super::Batch;
use super::backward::{STRIPES, add_up};
use crate::codes::{Codes, CodesView};
use crate::dictionary::Dictionary;
use crate::encode::{Selection, candidates, keep_best};
use crate::error::Result;
use crate::kernels::PanelRow;
use crate::panels::{self, ahead, part};
use crate::team::Team;

/// Rows whose codes a worker chooses at a time.
const ROWS: usize = 256;

/// As [`crate::encode::encode_topk`], but for the order of the sums in a score; with a `floor` above zero and `most`
/// of all latents as [`crate::encode::encode_above`].
///
/// # Errors
/// [`crate::Error::NotFinite`], or cancellation.
pub(super) fn encode(
    batch: &Batch<'_>,
    dictionary: &Dictionary,
    most: usize,
    selection: Selection,
    floor: f32,
    team: &Team<'_>,
) -> Result<Codes> {
    let inputs = batch.inputs(batch.n(), dictionary)?;
    let listed = candidates(&inputs, most, selection, floor, team)?;
    let listed = listed.view(dictionary.n_components())?;
    let scores = scores(batch, dictionary, &listed, team)?;
    let scored = listed.with_values(&scores);
    let blocks = team.map(batch.n().div_ceil(ROWS), Vec::new, |entries, block| {
        let mut codes = Codes::default();
        for i in block * ROWS..batch.n().min((block + 1) * ROWS) {
            entries.clear();
            let scores = scored.row(i).map(|(atom, score)| (atom as u32, score));
            entries.extend(scores.filter(|&(_, score)| selection.rank(score) > floor));
            keep_best(entries, most, selection);
            codes.push_row(entries);
        }
        Ok(codes)
    })?;
    Ok(Codes::concatenate(blocks))
}

/// ⟨x_i − b, W_m⟩ + c_m of every candidate.
fn scores(
    batch: &Batch<'_>,
    dictionary: &Dictionary,
    listed: &CodesView<'_>,
    team: &Team<'_>,
) -> Result<Vec<f32>> {
    let (d, simd, count) = (batch.d, batch.simd, panels::count(batch.d));
    let height = count.div_ceil(STRIPES);
    let parts = team.map(count.div_ceil(height), Vec::new, |atoms, stripe| {
        let mut sums = vec![0.0; listed.n_stored()];
        for panel in stripe * height..count.min((stripe + 1) * height) {
            team.cancel().check()?;
            atoms.clear();
            let m = dictionary.n_components();
            atoms.extend((0..m).map(|m| PanelRow(ahead(dictionary.atoms(), d, m, panel))));
            let offset = part(batch.bias, panel);
            for i in 0..batch.n() {
                let sample = ahead(batch.x, d, i, panel);
                let centred = std::array::from_fn(|c| sample[c] - offset[c]);
                let (latents, _) = listed.entries(i);
                simd.products(latents, atoms, &centred, &mut sums[listed.start(i)..][..latents.len()]);
            }
        }
        Ok(sums)
    })?;
    let mut scores = add_up(parts, team)?;
    if let Some(offsets) = dictionary.offsets() {
        for i in 0..batch.n() {
            let (latents, _) = listed.entries(i);
            let here = scores[listed.start(i)..].iter_mut();
            here.zip(latents).for_each(|(score, &latent)| *score += offsets[latent as usize]);
        }
    }
    Ok(scores)
}
