//! One step of Adam on everything, with the gradients together no longer than they may be.

use super::gradients::Gradients;
use super::{Options, State};
use crate::error::{Error, Result};
use crate::kernels::{AdamStep, Parameters, ParametersMut, Simd};
use crate::team::Team;
use crate::update::{adam_step, normalise};

/// Latents that a worker moves at a time.
const BLOCK: usize = 32;

/// Fills `next` with where `state` goes along the gradients.
///
/// # Errors
/// [`Error::Argument`] for gradients that are not finite, or cancellation.
pub(super) fn step(
    state: &State,
    next: &mut State,
    gradients: &Gradients<'_>,
    rate: f64,
    options: &Options,
    simd: Simd,
    team: &Team<'_>,
) -> Result<()> {
    let norm = gradients.norm(team)?;
    if !norm.is_finite() {
        return Err(Error::Argument("gradients must be finite, some are not".into()));
    }
    let shrink = if norm > options.largest_gradient { options.largest_gradient / norm } else { 1.0 };
    next.steps = state.steps + 1;
    let step = adam_step(rate, next.steps);
    let d = state.values.n_features();
    let old = parameters(state);
    let [encoder, decoder, encoder_bias, bias] = parameters_mut(next);
    let mut places: Vec<_> = blocks(encoder, d).zip(blocks(decoder, d)).collect();
    let scratch = || vec![0.0; d];
    team.run_pieces(&mut places, 1, scratch, |gradient, block, place| {
        let (encoder, decoder) = &mut place[0];
        for r in 0..encoder.values.len() / d {
            let m = block * BLOCK + r;
            let scale = shrink * gradients.encoder_row(m, gradient);
            simd.adam(AdamStep { scale, ..step }, gradient, row(&old[0], m, d), row_mut(encoder, r, d));
            let scale = shrink * gradients.decoder_row(m, gradient);
            simd.adam(AdamStep { scale, ..step }, gradient, row(&old[1], m, d), row_mut(decoder, r, d));
            normalise(&mut decoder.values[r * d..(r + 1) * d], simd);
        }
        Ok(())
    })?;
    drop(places);
    for (gradient, old, new) in
        [(&gradients.encoder_bias, old[2], encoder_bias), (&gradients.bias, old[3], bias)]
    {
        simd.adam(AdamStep { scale: shrink, ..step }, gradient, old, new);
    }
    Ok(())
}

/// Encoder, decoder, and their biases, each with its moments.
fn parameters(state: &State) -> [Parameters<'_>; 4] {
    let (values, first, second) = (state.values.parts(), state.first.parts(), state.second.parts());
    std::array::from_fn(|i| Parameters { values: values[i], first: first[i], second: second[i] })
}

fn parameters_mut(state: &mut State) -> [ParametersMut<'_>; 4] {
    let (values, first, second) =
        (state.values.parts_mut(), state.first.parts_mut(), state.second.parts_mut());
    let mut parts = values.into_iter().zip(first).zip(second);
    std::array::from_fn(|_| {
        let ((values, first), second) = parts.next().expect("there are four");
        ParametersMut { values, first, second }
    })
}

/// Blocks of latents.
fn blocks<'a>(all: ParametersMut<'a>, d: usize) -> impl Iterator<Item = ParametersMut<'a>> {
    let size = BLOCK * d;
    let moments = all.first.chunks_mut(size).zip(all.second.chunks_mut(size));
    let all = all.values.chunks_mut(size).zip(moments);
    all.map(|(values, (first, second))| ParametersMut { values, first, second })
}

fn row<'a>(all: &Parameters<'a>, m: usize, d: usize) -> Parameters<'a> {
    let at = m * d..(m + 1) * d;
    Parameters { values: &all.values[at.clone()], first: &all.first[at.clone()], second: &all.second[at] }
}

fn row_mut<'a>(block: &'a mut ParametersMut<'_>, r: usize, d: usize) -> ParametersMut<'a> {
    let at = r * d..(r + 1) * d;
    ParametersMut {
        values: &mut block.values[at.clone()],
        first: &mut block.first[at.clone()],
        second: &mut block.second[at],
    }
}
