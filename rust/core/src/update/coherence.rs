//! Which atoms nearly coincide.

use crate::error::Result;
use crate::kernels::{Simd, matmul_transposed};
use crate::team::Team;

/// Atoms on a side of the tiles in which cosines are formed.
const TILE: usize = 256;

/// Pairs (i, j), i < j, whose cosine exceeds `limit`, in ascending order of (i, j).
///
/// # Errors
/// Cancellation.
pub fn coherent_pairs(
    components: &[f32],
    d: usize,
    limit: f32,
    simd: Simd,
    team: &Team<'_>,
) -> Result<Vec<(usize, usize)>> {
    let m = components.len() / d;
    let norms: Vec<f32> = components.chunks(d).map(|atom| simd.dot(atom, atom).sqrt()).collect();
    let bands = team.map(m.div_ceil(TILE), Vec::new, |cosines: &mut Vec<f32>, band| {
        let first = band * TILE;
        let rows = TILE.min(m - first);
        let mut found = Vec::new();
        for start in (first..m).step_by(TILE) {
            team.cancel().check()?;
            let width = TILE.min(m - start);
            cosines.resize(rows * width, 0.0);
            let (a, b) = (&components[first * d..][..rows * d], &components[start * d..][..width * d]);
            matmul_transposed(a, b, d, cosines, width);
            for (at, &product) in cosines.iter().enumerate() {
                let (i, j) = (first + at / width, start + at % width);
                if i < j && product > limit * norms[i] * norms[j] {
                    found.push((i, j));
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    })?;
    Ok(bands.concat())
}
