//! Inner products of a tile of residuals with all atoms, without ever holding (n_samples, n_components).

use super::Selection;
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::kernels::matmul_transposed;
use crate::team::Team;
use crate::top::Top;

/// Rows of a tile that are scored against one panel of atoms.
pub(crate) const TILE_ROWS: usize = 256;

/// Atoms of a panel: 256 x 1024 float32 scores are 1 MiB, which stays in L2 between product and scan.
const PANEL: usize = 1024;

/// Scores that a worker holds when it keeps whole rows of them: 8 MiB.
const WHOLE_SCORES: usize = 1 << 21;

/// Rows of a tile whose scores against all atoms are kept.
pub(crate) fn whole_rows(dictionary: &Dictionary) -> usize {
    (WHOLE_SCORES / dictionary.n_components()).clamp(16, TILE_ROWS)
}

/// All scores of a tile, shape (rows, n_components).
pub(crate) fn score_whole(tile: &[f32], dictionary: &Dictionary, scores: &mut Vec<f32>) {
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    scores.resize(tile.len() / d * m, 0.0);
    matmul_transposed(tile, dictionary.atoms(), d, scores, m);
}

/// Panel by panel, offers each row's scores to its `Top`; `exclude(row)` lists atoms that may not join.
pub(crate) fn score_panels<'a>(
    tile: &[f32],
    dictionary: &Dictionary,
    selection: Selection,
    scores: &mut Vec<f32>,
    tops: &mut [Top],
    exclude: impl Fn(usize) -> &'a [u32],
    team: &Team<'_>,
) -> Result<()> {
    let (d, m) = (dictionary.n_features(), dictionary.n_components());
    for first in (0..m).step_by(PANEL) {
        team.cancel().check()?;
        let width = PANEL.min(m - first);
        scores.resize(tile.len() / d * width, 0.0);
        matmul_transposed(tile, &dictionary.atoms()[first * d..(first + width) * d], d, scores, width);
        for (r, (row, top)) in scores.chunks_mut(width).zip(&mut *tops).enumerate() {
            hide(row, first, exclude(r));
            selection.scan(dictionary.simd(), row, first, top);
        }
    }
    Ok(())
}

/// Sets the scores of given atoms to zero, where scores start at atom `first`.
pub(crate) fn hide(scores: &mut [f32], first: usize, atoms: &[u32]) {
    for &m in atoms {
        if let Some(score) = (m as usize).checked_sub(first).and_then(|at| scores.get_mut(at)) {
            *score = 0.0;
        }
    }
}
