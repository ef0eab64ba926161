//! The auxiliary loss: dead latents get to model what the others leave (AuxK, arXiv:2406.04093).
//!
//! Of the dead latents of a row the k' with the largest positive pre-activations z' make ê = Σ z'_m D_m, and
//! Σ‖e − ê‖² / Σ‖e‖² is what they are asked to lower, e held fixed. The bias has no part in ê.
//!
//! k' is half the features but where codes have signs, so that most of a few hundred dead latents take part in a
//! row: products with all of them, for [`CHUNK`] rows at a time, are several times as fast as gathering those
//! that do.

use super::gradients::ByPanel;
use super::{Batch, Tensors};
use crate::error::Result;
use crate::kernels::{matmul, matmul_of_columns, matmul_transposed};
use crate::team::Team;

/// Rows whose codes over the dead latents exist at a time.
const CHUNK: usize = 1024;

/// Rows that a worker encodes at a time: each product packs all dead latents anew.
const TILE: usize = 256;

/// Dead latents whose gradients a worker adds up at a time.
const BLOCK: usize = 128;

/// Sums over what is left of e, by dead latent: gradients without their factor -2 / Σ‖e‖².
#[derive(Debug, Default)]
pub(super) struct Auxiliary {
    /// Σ z' (e − ê), shape (n_dead, n_features).
    pub(super) decoder: Vec<f32>,
    /// Σ p' (x − b) with p' = ⟨e − ê, D_m⟩ where z' > 0, of that shape.
    pub(super) encoder: Vec<f32>,
    /// Σ p', shape (n_dead,).
    pub(super) totals: Vec<f32>,
}

/// Encoder, its bias and decoder of the dead latents.
struct Dead {
    encoder: Vec<f32>,
    offsets: Vec<f32>,
    atoms: Vec<f32>,
    /// Most that take part in a row.
    most: usize,
}

/// Some rows of a chunk: x − b, z', p', and e, from which ê is taken.
struct Tile<'a> {
    centred: &'a mut [f32],
    codes: &'a mut [f32],
    products: &'a mut [f32],
    left: &'a mut [f32],
}

impl Auxiliary {
    /// For latents `dead`, of which `most` take part in a row; `left` has e.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn new(
        batch: &Batch<'_>,
        values: &Tensors,
        (dead, most): (&[usize], usize),
        left: &ByPanel,
        team: &Team<'_>,
    ) -> Result<Auxiliary> {
        let (n, d) = (batch.n(), batch.d);
        if dead.is_empty() || most == 0 {
            return Ok(Auxiliary::default());
        }
        let rows = |all: &[f32]| dead.iter().flat_map(|&m| &all[m * d..(m + 1) * d]).copied().collect();
        let latents = Dead {
            encoder: rows(values.encoder()),
            offsets: dead.iter().map(|&m| values.encoder_bias[m]).collect(),
            atoms: rows(&values.components),
            most,
        };
        let width = dead.len();
        let mut sums = Auxiliary {
            decoder: vec![0.0; width * d],
            encoder: vec![0.0; width * d],
            totals: vec![0.0; width],
        };
        let height = CHUNK.min(n);
        let (mut centred, mut rest) = (vec![0.0; height * d], vec![0.0; height * d]);
        let (mut codes, mut products) = (vec![0.0; height * width], vec![0.0; height * width]);
        for first in (0..n).step_by(CHUNK) {
            let height = height.min(n - first);
            let parts = codes[..height * width].chunks_mut(TILE * width);
            let parts = parts.zip(products[..height * width].chunks_mut(TILE * width));
            let parts = parts.zip(centred[..height * d].chunks_mut(TILE * d));
            let parts = parts.zip(rest[..height * d].chunks_mut(TILE * d));
            let mut tiles: Vec<_> = parts
                .map(|(((codes, products), centred), left)| Tile { centred, codes, products, left })
                .collect();
            team.run_pieces(&mut tiles, 1, Vec::new, |best, tile, place| {
                latents.look(batch, first + tile * TILE, left, best, &mut place[0]);
                Ok(())
            })?;
            drop(tiles);
            let (codes, products) = (&codes[..height * width], &products[..height * width]);
            sums.add(codes, products, &centred[..height * d], &rest[..height * d], d, team)?;
        }
        Ok(sums)
    }

    /// Adds a chunk, its rows in their order.
    fn add(
        &mut self,
        codes: &[f32],
        products: &[f32],
        centred: &[f32],
        rest: &[f32],
        d: usize,
        team: &Team<'_>,
    ) -> Result<()> {
        let width = self.totals.len();
        let sums = self.decoder.chunks_mut(BLOCK * d).zip(self.encoder.chunks_mut(BLOCK * d));
        let mut blocks: Vec<_> = sums.zip(self.totals.chunks_mut(BLOCK)).collect();
        team.run_pieces(
            &mut blocks,
            1,
            || (),
            |(), block, place| {
                let ((decoder, encoder), totals) = &mut place[0];
                matmul_of_columns(&codes[block * BLOCK..], width, rest, d, decoder);
                matmul_of_columns(&products[block * BLOCK..], width, centred, d, encoder);
                for row in products.chunks(width) {
                    totals.iter_mut().zip(&row[block * BLOCK..]).for_each(|(sum, p)| *sum += p);
                }
                Ok(())
            },
        )
    }
}

impl Dead {
    /// Fills a tile, whose first row is `first` of the mini-batch.
    fn look(
        &self,
        batch: &Batch<'_>,
        first: usize,
        left: &ByPanel,
        best: &mut Vec<(u32, f32)>,
        tile: &mut Tile<'_>,
    ) {
        let (d, width) = (batch.d, self.offsets.len());
        for (r, (centred, e)) in tile.centred.chunks_mut(d).zip(tile.left.chunks_mut(d)).enumerate() {
            let x = &batch.x[(first + r) * d..][..d];
            centred.iter_mut().zip(x).zip(batch.bias).for_each(|((out, x), b)| *out = x - b);
            left.copy_row(first + r, e);
        }
        matmul_transposed(tile.centred, &self.encoder, d, tile.codes, width);
        for scores in tile.codes.chunks_mut(width) {
            batch.simd.axpy(1.0, &self.offsets, scores);
            best.clear();
            batch.simd.above(scores, 0.0, |at, score| best.push((at as u32, score)));
            if best.len() > self.most {
                best.select_nth_unstable_by(self.most - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                best.truncate(self.most);
            }
            scores.fill(0.0);
            best.iter().for_each(|&(at, score)| scores[at as usize] = score);
        }
        matmul(-1.0, tile.codes, width, &self.atoms, d, d, tile.left);
        matmul_transposed(tile.left, &self.atoms, d, tile.products, width);
        for (product, &code) in tile.products.iter_mut().zip(&*tile.codes) {
            *product = if code > 0.0 { *product } else { 0.0 };
        }
    }
}
