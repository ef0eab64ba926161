//! Encoders: inputs and a dictionary in, sparse codes out.
//!
//! Each encoder is a file with one public function. All share this face: rows are packed in tiles,
//! a tile is encoded by one worker, and the tiles' codes are joined in order. Tile sizes depend on
//! shapes alone, so codes have the same bits for any number of threads.

mod by_gram;
mod icfl;
pub(crate) mod omp;
mod only_row;
mod solve;
mod support;
mod topk;

pub use icfl::{Icfl, encode_icfl};
pub use omp::{Omp, encode_omp};
pub(crate) use topk::{candidates, keep_best};
pub use topk::{encode_above, encode_topk};

use crate::aligned::Aligned;
use crate::codes::Codes;
use crate::dictionary::Dictionary;
use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::rows::Rows;
use crate::team::Team;
use crate::top::Top;

/// What is encoded: samples, a dictionary, and the bias taken off every sample.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    rows: Rows<'a>,
    bias: Option<&'a [f32]>,
    dictionary: &'a Dictionary,
}

impl<'a> Inputs<'a> {
    /// Checks that widths agree.
    ///
    /// # Errors
    /// [`Error::Argument`] when they do not.
    pub fn new(rows: Rows<'a>, bias: Option<&'a [f32]>, dictionary: &'a Dictionary) -> Result<Inputs<'a>> {
        let d = dictionary.n_features();
        if rows.width() != d {
            return Err(Error::Argument(format!(
                "X must have {d} columns, as components has, got {}",
                rows.width()
            )));
        }
        match bias {
            Some(bias) if bias.len() != d => Err(Error::Argument(format!(
                "bias must have {d} values, as components has columns, got {}",
                bias.len()
            ))),
            _ => Ok(Inputs { rows, bias, dictionary }),
        }
    }

    /// Encodes tiles of at most `most` rows; `body(scratch, tile, out)` appends one row of codes a row.
    fn encode<S>(
        &self,
        most: usize,
        team: &Team<'_>,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, &[f32], &mut Codes) -> Result<()> + Sync,
    ) -> Result<Codes> {
        let n = self.rows.len();
        // A small call still gives every core of a usual machine something to do.
        let height = n.div_ceil(16).next_multiple_of(TILE_STEP).clamp(TILE_STEP, most.max(TILE_STEP));
        let tiles = team.map(
            n.div_ceil(height),
            || (Aligned::default(), scratch()),
            |(tile, scratch), block| {
                let chosen = block * height..((block + 1) * height).min(n);
                tile.reset(chosen.len() * self.rows.width());
                self.rows.load(chosen, self.bias, tile)?;
                let mut out = Codes::default();
                body(scratch, tile, &mut out)?;
                Ok(out)
            },
        )?;
        Ok(Codes::concatenate(tiles))
    }
}

/// Rows of a tile: whole register tiles of every instruction set's products, and few enough that their
/// scores against a panel of atoms stay in L2.
pub(crate) const TILE_ROWS: usize = 252;

/// Tiles of smaller calls have a multiple of this many rows.
const TILE_STEP: usize = 14;

/// How atoms are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// By signed inner product with the residual, as the paper has it.
    Positive,
    /// By its magnitude.
    Absolute,
}

impl Selection {
    /// What a score counts for.
    #[inline]
    pub(crate) fn rank(self, score: f32) -> f32 {
        match self {
            Selection::Positive => score,
            Selection::Absolute => score.abs(),
        }
    }

    /// Calls `found(i, rank)` for every score that ranks above `limit`, in ascending order.
    #[inline]
    pub(crate) fn above(self, simd: Simd, scores: &[f32], limit: f32, found: impl FnMut(usize, f32)) {
        match self {
            Selection::Positive => simd.above(scores, limit, found),
            Selection::Absolute => simd.above_absolute(scores, limit, found),
        }
    }

    pub(crate) fn scan(self, simd: Simd, scores: &[f32], first: usize, top: &mut Top) {
        match self {
            Selection::Positive => simd.scan(scores, first as u32, top),
            Selection::Absolute => simd.scan_absolute(scores, first as u32, top),
        }
    }
}

/// Scores below this many float32 roundings of ‖x − b‖ · max ‖d‖ are rounding, not signal.
const ROUNDINGS: f32 = 8.0;

/// The score an atom must exceed to join: the threshold, or what float32 resolves for this sample.
///
/// A negative threshold asks for the literal algorithm, which takes atoms of any score.
fn entry_score(threshold: f32, sample: &[f32], dictionary: &Dictionary) -> f32 {
    if threshold < 0.0 {
        return threshold;
    }
    let norm = dictionary.simd().dot(sample, sample).sqrt();
    threshold.max(ROUNDINGS * f32::EPSILON * norm * dictionary.largest_norm())
}
