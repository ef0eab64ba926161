//! Which atoms nearly coincide.
//!
//! Fixed-point products with known bounds (see [`crate::screen`]) find the few pairs that may; float32 inner
//! products decide about those. At 8,192 atoms of 1,024 values half the products of all pairs are 69 GFLOP.

use crate::error::Result;
use crate::kernels::Simd;
use crate::screen::fixed::{FixedAtoms, FixedRows, Product};
use crate::team::Team;
use std::sync::Arc;

/// Atoms on a side of the tiles in which products are formed: whole register tiles and strips.
const TILE: usize = 224;

/// Roundings in the arithmetic of a floor.
const ROUNDINGS: f32 = 4.0 * f32::EPSILON;

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
    let atom = |i: usize| &components[i * d..(i + 1) * d];
    let norms: Vec<f32> = components.chunks(d).map(|atom| simd.dot(atom, atom).sqrt()).collect();
    let product = screening_product(components, d, &norms, simd, team)?;
    let scratch = || (FixedRows::default(), Vec::new());
    let bands = team.map(m.div_ceil(TILE), scratch, |(rows, scores), band| {
        let first = band * TILE;
        let tile = &components[first * d..m.min(first + TILE) * d];
        product.load(tile, d, rows);
        let mut found = Vec::new();
        for start in (first..m).step_by(TILE) {
            team.cancel().check()?;
            let range = start..m.min(start + TILE);
            let stride = product.stride(range.len());
            scores.resize(tile.len() / d * stride, 0.0);
            product.scores(tile, d, rows, range.clone(), scores, stride);
            for (r, scores) in scores.chunks(stride).enumerate() {
                let i = first + r;
                let floor =
                    lowest(limit * norms[i], &norms[range.clone()]) - product.bound(d, rows, r).total();
                simd.above(&scores[..range.len()], floor - ROUNDINGS * floor.abs(), |c, _| {
                    let j = start + c;
                    if i < j && simd.dot(atom(i), atom(j)) > limit * norms[i] * norms[j] {
                        found.push((i, j));
                    }
                });
            }
        }
        found.sort_unstable();
        Ok(found)
    })?;
    Ok(bands.concat())
}

/// The least of `factor * norm`.
fn lowest(factor: f32, norms: &[f32]) -> f32 {
    norms.iter().map(|norm| factor * norm).fold(f32::INFINITY, f32::min)
}

/// Fixed point where it is faster; of atoms that are not finite there is none.
fn screening_product<'a>(
    components: &'a [f32],
    d: usize,
    norms: &[f32],
    simd: Simd,
    team: &Team<'_>,
) -> Result<Product<'a>> {
    let largest_norm = norms.iter().copied().fold(0.0, f32::max);
    if !simd.has_integer_products() || !norms.iter().all(|norm| norm.is_finite()) {
        return Ok(Product::Float { atoms: components, largest_norm, simd });
    }
    Ok(Product::Fixed(Arc::new(FixedAtoms::new(components, d, largest_norm, simd, team)?)))
}
