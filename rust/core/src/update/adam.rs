//! The paper's update: codes fixed, one Adam step on the mean of ‖x − Dᵀz − b‖² over the mini-batch.
//!
//! Gradients are `-2/n Σ_i z_im r_i` for atom m and `-2/n Σ_i r_i` for the bias, with
//! r = x − b − Σ z_m d_m. Adam as in Kingma & Ba (2015), with their default decay rates.

use super::gradients::Gradients;
use super::{ATOM_BLOCK, Batch, Moved, normalise};
use crate::error::{Error, Result};
use crate::kernels::{AdamStep, Parameters, ParametersMut, Simd};
use crate::statistics::Reconstruction;
use crate::team::Team;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// What step number `steps` is made with.
pub(crate) fn adam_step(learning_rate: f64, steps: u64) -> AdamStep {
    let correction = (1.0 - BETA2.powf(steps as f64)).sqrt();
    // PyTorch divides the second moment before adding epsilon; with this rate, epsilon scales alike.
    AdamStep {
        first_decay: BETA1,
        second_decay: BETA2,
        rate: learning_rate * correction / (1.0 - BETA1.powf(steps as f64)),
        epsilon: EPSILON * correction,
        scale: 1.0,
    }
}

/// First and second moments of the gradients, and the step count.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f64,
    /// Keep atoms at unit norm.
    pub unit_norm: bool,
    /// Steps taken.
    pub steps: u64,
    /// Running mean of gradients: atoms row-major, then the bias.
    pub first: Vec<f32>,
    /// Running mean of squared gradients, laid out as `first`.
    pub second: Vec<f32>,
}

impl Adam {
    /// No step taken yet.
    pub fn new(n_components: usize, n_features: usize, learning_rate: f64, unit_norm: bool) -> Adam {
        let zeros = vec![0.0; (n_components + 1) * n_features];
        Adam { learning_rate, unit_norm, steps: 0, first: zeros.clone(), second: zeros }
    }

    /// Forgets the moments of atoms that were replaced.
    pub fn reset(&mut self, atoms: &[usize], n_features: usize) {
        for &m in atoms {
            self.first[m * n_features..(m + 1) * n_features].fill(0.0);
            self.second[m * n_features..(m + 1) * n_features].fill(0.0);
        }
    }

    /// One step: the state after it, and the moved dictionary. Cut short, nothing has changed.
    ///
    /// # Errors
    /// [`Error::Argument`] for shapes that do not fit, or cancellation.
    pub fn step(
        &self,
        batch: &Batch<'_>,
        components: &[f32],
        bias: &[f32],
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<(Adam, Moved)> {
        self.step_measured(batch, components, bias, simd, team).map(|(next, moved, _)| (next, moved))
    }

    /// As [`Adam::step`], with how well the codes reproduced the mini-batch before it.
    ///
    /// # Errors
    /// As there.
    pub fn step_measured(
        &self,
        batch: &Batch<'_>,
        components: &[f32],
        bias: &[f32],
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<(Adam, Moved, Reconstruction)> {
        let (d, m) = (batch.d, batch.codes.n_components());
        if components.len() != m * d || bias.len() != d || self.first.len() != (m + 1) * d {
            return Err(Error::Argument(
                "components, bias and the state of the update must have matching shapes".into(),
            ));
        }
        let gradients = Gradients::new(batch, components, bias, simd, team)?;
        let steps = self.steps + 1;
        let step = adam_step(self.learning_rate, steps);
        let zeros = || vec![0.0; self.first.len()];
        let mut next = Adam {
            learning_rate: self.learning_rate,
            unit_norm: self.unit_norm,
            steps,
            first: zeros(),
            second: zeros(),
        };
        let mut moved = Moved { components: vec![0.0; m * d], bias: vec![0.0; d] };
        let mut pieces = pieces(&mut next, &mut moved);
        team.run_pieces(
            &mut pieces,
            1,
            || vec![0.0; d],
            |gradient, block, piece| {
                let piece = &mut piece[0];
                for (r, values) in piece.values.chunks_mut(d).enumerate() {
                    let row = (block * ATOM_BLOCK + r).min(m);
                    let (here, at) = (r * d..(r + 1) * d, row * d..(row + 1) * d);
                    gradients.row(row, gradient);
                    let old = Parameters {
                        values: if row < m { &components[at.clone()] } else { bias },
                        first: &self.first[at.clone()],
                        second: &self.second[at],
                    };
                    let new = ParametersMut {
                        values,
                        first: &mut piece.first[here.clone()],
                        second: &mut piece.second[here],
                    };
                    simd.adam(step, gradient, old, new);
                    if self.unit_norm && row < m {
                        normalise(values, simd);
                    }
                }
                Ok(())
            },
        )?;
        drop(pieces);
        Ok((next, moved, gradients.reconstruction))
    }
}

/// Room for what a step writes: blocks of atoms, then the bias.
fn pieces<'a>(next: &'a mut Adam, moved: &'a mut Moved) -> Vec<ParametersMut<'a>> {
    let d = moved.bias.len();
    let (first, first_of_bias) = next.first.split_at_mut(moved.components.len());
    let (second, second_of_bias) = next.second.split_at_mut(moved.components.len());
    let block = ATOM_BLOCK * d;
    let values = moved.components.chunks_mut(block).chain([&mut moved.bias[..]]);
    let first = first.chunks_mut(block).chain([first_of_bias]);
    let second = second.chunks_mut(block).chain([second_of_bias]);
    values
        .zip(first.zip(second))
        .map(|(values, (first, second))| ParametersMut { values, first, second })
        .collect()
}
