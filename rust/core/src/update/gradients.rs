//! Gradients of the mean of ‖x − Dᵀz − b‖² over a mini-batch, panel by panel of columns.
//!
//! A worker decodes a panel of all samples, keeps its residuals, and sums them by atom while they are in
//! cache; of the residuals (n, d) no more than a panel a worker ever exists. How well the codes reproduce the
//! mini-batch is measured on the way: decoding it again would cost a third of the step.

use super::Batch;
use crate::codes::Columns;
use crate::error::Result;
use crate::kernels::{PANEL, PanelRow, Simd};
use crate::panels::{self, Decoder, ahead};
use crate::statistics::{PanelSums, Reconstruction};
use crate::team::Team;

/// Gradients of atoms, `-2/n Σ_i z_im r_i`, and of the bias, `-2/n Σ_i r_i`.
pub(super) struct Gradients {
    /// Panel after panel, each with the atoms' rows and then that of the bias.
    panels: Vec<panels::Columns>,
    height: usize,
    /// How the mini-batch is reproduced where the gradients were taken.
    pub(super) reconstruction: Reconstruction,
}

impl Gradients {
    /// At a dictionary and a bias of the shapes of the mini-batch.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn new(
        batch: &Batch<'_>,
        components: &[f32],
        bias: &[f32],
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<Gradients> {
        let height = batch.codes.n_components() + 1;
        let columns = batch.codes.columns();
        let mut panels = vec![[0.0; PANEL]; panels::count(batch.d) * height];
        let mut places: Vec<_> = panels.chunks_mut(height).map(|gradients| (gradients, None)).collect();
        team.run_pieces(&mut places, 1, <(Decoder, Vec<_>)>::default, |scratch, panel, place| {
            let (decoder, residuals) = scratch;
            let (gradients, measured) = &mut place[0];
            let mut sums = PanelSums::new(batch.x, batch.d, panel);
            residuals.clear();
            decoder.decode(&batch.codes, components, bias, panel, simd, |i, decoded| {
                let mut sample = ahead(batch.x, batch.d, i, panel);
                sums.add(i, &sample, decoded, simd);
                sample.iter_mut().zip(decoded).for_each(|(x, decoded)| *x -= decoded);
                residuals.push(PanelRow(sample));
            });
            sum(residuals, &columns, simd, gradients);
            *measured = Some(sums);
            Ok(())
        })?;
        let measured = places.into_iter().map(|(_, sums)| sums.expect("every panel was decoded"));
        let reconstruction = Reconstruction::join(measured, batch.d);
        Ok(Gradients { panels, height, reconstruction })
    }

    /// Writes one row of `out.len()` values: an atom's, or after them that of the bias.
    pub(super) fn row(&self, row: usize, out: &mut [f32]) {
        let panels = self.panels.iter().skip(row).step_by(self.height);
        for (out, values) in out.chunks_mut(PANEL).zip(panels) {
            out.copy_from_slice(&values[..out.len()]);
        }
    }
}

/// One panel of gradients from one of residuals.
fn sum(residuals: &[PanelRow], columns: &Columns, simd: Simd, gradients: &mut [panels::Columns]) {
    let scale = -2.0 / residuals.len() as f32;
    let (bias, atoms) = gradients.split_last_mut().expect("the bias has a row");
    for (m, gradient) in atoms.iter_mut().enumerate() {
        let (samples, values) = columns.column(m);
        simd.gather(samples, values, residuals, gradient);
    }
    for residual in residuals {
        bias.iter_mut().zip(&residual.0).for_each(|(sum, r)| *sum += r);
    }
    gradients.as_flattened_mut().iter_mut().for_each(|gradient| *gradient *= scale);
}
