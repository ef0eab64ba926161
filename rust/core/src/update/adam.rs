//! The paper's update: codes fixed, one Adam step on the mean of ‖x − Dᵀz − b‖² over the mini-batch.
//!
//! Gradients are `-2/n Σ_i z_im r_i` for atom m and `-2/n Σ_i r_i` for the bias, with
//! r = x − b − Σ z_m d_m. Adam as in Kingma & Ba (2015), with their default decay rates.

use super::{ATOM_BLOCK, Batch, Moved, normalise};
use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::team::Team;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

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
        let (d, m) = (batch.d, batch.codes.n_components());
        if components.len() != m * d || bias.len() != d || self.first.len() != (m + 1) * d {
            return Err(Error::Argument(
                "components, bias and the state of the update must have matching shapes".into(),
            ));
        }
        let gradients = gradients(batch, components, bias, simd, team)?;
        let mut next = Adam { steps: self.steps + 1, ..self.clone() };
        let mut moved = Moved { components: components.to_vec(), bias: bias.to_vec() };
        let exponent = next.steps as f64;
        let rate = self.learning_rate * (1.0 - BETA2.powf(exponent)).sqrt() / (1.0 - BETA1.powf(exponent));
        // PyTorch divides the second moment before adding epsilon; with this rate, epsilon scales alike.
        let epsilon = EPSILON * (1.0 - BETA2.powf(exponent)).sqrt();
        let values = moved.components.iter_mut().chain(&mut moved.bias);
        let moments = next.first.iter_mut().zip(&mut next.second);
        for ((value, (first, second)), &gradient) in values.zip(moments).zip(&gradients) {
            let g = f64::from(gradient);
            let one = BETA1 * f64::from(*first) + (1.0 - BETA1) * g;
            let two = BETA2 * f64::from(*second) + (1.0 - BETA2) * g * g;
            *value = (f64::from(*value) - rate * one / (two.sqrt() + epsilon)) as f32;
            (*first, *second) = (one as f32, two as f32);
        }
        if self.unit_norm {
            moved.components.chunks_mut(d).for_each(normalise);
        }
        Ok((next, moved))
    }
}

/// Gradients of the mean squared residual norm, atoms row-major, then the bias.
fn gradients(
    batch: &Batch<'_>,
    components: &[f32],
    bias: &[f32],
    simd: Simd,
    team: &Team<'_>,
) -> Result<Vec<f32>> {
    let (n, d, m) = (batch.n(), batch.d, batch.codes.n_components());
    let mut residuals = batch.codes.decode(components, d, Some(bias), simd, team)?;
    residuals.iter_mut().zip(batch.x).for_each(|(r, x)| *r = x - *r);
    let scale = -2.0 / n as f32;
    let columns = batch.codes.columns();
    let mut out = vec![0.0f32; (m + 1) * d];
    team.run_pieces(
        &mut out[..m * d],
        ATOM_BLOCK * d,
        || (),
        |(), block, piece| {
            for (r, gradient) in piece.chunks_mut(d).enumerate() {
                for &(i, z) in columns.column(block * ATOM_BLOCK + r) {
                    simd.axpy(scale * z, &residuals[i as usize * d..][..d], gradient);
                }
            }
            Ok(())
        },
    )?;
    let last = &mut out[m * d..];
    residuals.chunks(d).for_each(|residual| simd.axpy(scale, residual, last));
    Ok(out)
}
