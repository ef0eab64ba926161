//! The auxiliary loss: dead latents get to model what the others leave (AuxK, arXiv:2406.04093).
//!
//! Of the dead latents of a row the k' with the largest positive pre-activations z' make ê = Σ z'_m D_m, and
//! Σ‖e − ê‖² / Σ‖e‖² is what they are asked to lower, e held fixed. The bias has no part in ê.

use super::{Batch, Tensors};
use crate::codes::Codes;
use crate::error::Result;
use crate::kernels::matmul_transposed;
use crate::team::Team;

/// Rows that a worker encodes at a time.
const TILE: usize = 96;

/// Codes over the dead latents, by their number among them: float32 scores, whose order among almost equal
/// ones is of no consequence here.
pub(super) fn encode(
    batch: &Batch<'_>,
    values: &Tensors,
    dead: &[usize],
    most: usize,
    team: &Team<'_>,
) -> Result<Codes> {
    let (d, n) = (batch.d, batch.n());
    if dead.is_empty() || most == 0 {
        return Ok(Codes { starts: vec![0; n + 1], ..Codes::default() });
    }
    let atoms: Vec<f32> = dead.iter().flat_map(|&m| &values.encoder()[m * d..(m + 1) * d]).copied().collect();
    let offsets: Vec<f32> = dead.iter().map(|&m| values.encoder_bias[m]).collect();
    let scratch = || (vec![0.0; TILE * d], vec![0.0; TILE * dead.len()], Vec::new());
    let tiles = team.map(n.div_ceil(TILE), scratch, |(rows, scores, best), tile| {
        let x = &batch.x[tile * TILE * d..batch.x.len().min((tile + 1) * TILE * d)];
        let rows = &mut rows[..x.len()];
        for (row, x) in rows.chunks_mut(d).zip(x.chunks(d)) {
            row.iter_mut().zip(x).zip(batch.bias).for_each(|((out, x), b)| *out = x - b);
        }
        matmul_transposed(rows, &atoms, d, scores, dead.len());
        let mut out = Codes::default();
        for scores in scores.chunks_mut(dead.len()).take(x.len() / d) {
            batch.simd.axpy(1.0, &offsets, scores);
            best.clear();
            batch.simd.above(scores, 0.0, |at, score| best.push((at as u32, score)));
            if best.len() > most {
                best.select_nth_unstable_by(most - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                best.truncate(most);
            }
            out.push_row(best);
        }
        Ok(out)
    })?;
    Ok(Codes::concatenate(tiles))
}
