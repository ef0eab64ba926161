//! Gradients of everything an autoencoder learns, from the passes of [`super::backward`].

use super::backward::Pass;
use super::{Options, Tensors};
use crate::codes::Columns;
use crate::error::Result;
use crate::kernels::{PANEL, Simd};
use crate::panels;
use crate::statistics::Reconstruction;
use crate::team::Team;

/// Gradients of everything an autoencoder learns.
pub(super) struct Gradients<'a> {
    values: &'a Tensors,
    /// Σ z e by atom, without its factor.
    decoder: ByAtom,
    /// The same of the auxiliary loss: one row a dead latent.
    auxiliary: ByAtom,
    /// Factors of these two.
    scales: [f32; 2],
    /// The number of every latent among the dead ones.
    dead: Vec<Option<usize>>,
    encoder: ByAtom,
    /// Gradient of the encoder's bias, shape (n_components,).
    pub(super) encoder_bias: Vec<f32>,
    /// Gradient of the bias, shape (n_features,).
    pub(super) bias: Vec<f32>,
    /// How the codes reproduce the mini-batch.
    pub(super) reconstruction: Reconstruction,
    simd: Simd,
}

/// Memory of one step's gradients for the next: making it anew takes a tenth of a step.
#[derive(Debug, Default)]
pub(super) struct Memory {
    decoder: Vec<panels::Columns>,
    auxiliary: Vec<panels::Columns>,
    encoder: Vec<panels::Columns>,
}

impl<'a> Gradients<'a> {
    /// Where the parameters are `values`.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn new(
        pass: &Pass<'a>,
        options: &Options,
        memory: Memory,
        team: &Team<'_>,
    ) -> Result<Gradients<'a>> {
        let forward = pass.first(memory.decoder, memory.auxiliary, team)?;
        let scales = scales(&forward.reconstruction, pass, options);
        let mut bias = forward.bias;
        bias.iter_mut().for_each(|sum| *sum *= scales[0]);
        let latents = OfPreActivations::new(pass, &forward.products, scales);
        let mut encoder = ByAtom::new(memory.encoder, pass.values.n_components(), pass.batch.d);
        pass.second(&latents, &mut encoder, &mut bias, team)?;
        Ok(Gradients {
            values: pass.values,
            decoder: forward.decoder,
            auxiliary: forward.auxiliary,
            scales,
            dead: latents.dead,
            encoder,
            encoder_bias: latents.totals,
            bias,
            reconstruction: forward.reconstruction,
            simd: pass.batch.simd,
        })
    }

    /// `scale` times the gradient of a decoder row, without its part along the row, which has unit norm.
    pub(super) fn decoder_row(&self, m: usize, scale: f64, out: &mut [f32]) {
        self.decoder.copy_row(m, out);
        self.simd.scale(f64::from(self.scales[0]) * scale, out);
        if let Some(place) = self.dead[m] {
            self.auxiliary.add_row(place, (f64::from(self.scales[1]) * scale) as f32, out);
        }
        let row = &self.values.components[m * out.len()..(m + 1) * out.len()];
        self.simd.axpy(-self.simd.dot(out, row), row, out);
    }

    /// `scale` times the gradient of an encoder row.
    pub(super) fn encoder_row(&self, m: usize, scale: f64, out: &mut [f32]) {
        self.encoder.copy_row(m, out);
        self.simd.scale(scale, out);
    }

    /// What they are measured by, and their memory.
    pub(super) fn into_parts(self) -> (Reconstruction, Memory) {
        let panels = [self.decoder, self.auxiliary, self.encoder].map(|rows| rows.panels);
        let [decoder, auxiliary, encoder] = panels;
        (self.reconstruction, Memory { decoder, auxiliary, encoder })
    }
}

/// The factors of sums over e, and over what is left of e by the auxiliary loss.
fn scales(found: &Reconstruction, pass: &Pass<'_>, options: &Options) -> [f32; 2] {
    let variance: f64 = found.centred_squares.iter().sum();
    // A mini-batch of one row, say, has none; rows have a norm of one or so.
    let variance = if variance > 0.0 { variance } else { pass.batch.n() as f64 };
    let main = -2.0 / (variance * pass.widths.len() as f64);
    let auxiliary = -2.0 * options.aux_coefficient / found.residual;
    [main as f32, if found.residual > 0.0 { auxiliary as f32 } else { 0.0 }]
}

/// Gradients of pre-activations, by latent.
pub(super) struct OfPreActivations {
    codes: Columns,
    auxiliary: Columns,
    /// The number of every latent among the dead ones.
    dead: Vec<Option<usize>>,
    /// Their sums: the gradient of the encoder's bias.
    totals: Vec<f32>,
}

impl OfPreActivations {
    fn new(pass: &Pass<'_>, products: &[Vec<f32>; 2], scales: [f32; 2]) -> OfPreActivations {
        let [codes, auxiliary] = [(&pass.codes, 0), (&pass.auxiliary, 1)].map(|(codes, which)| {
            let scaled: Vec<_> = products[which].iter().map(|p| p * scales[which]).collect();
            codes.with_values(&scaled).columns()
        });
        let mut dead = vec![None; pass.values.n_components()];
        pass.dead.iter().enumerate().for_each(|(place, &latent)| dead[latent] = Some(place));
        let total = |m: usize| {
            let extra = dead[m].map_or(&[][..], |place| auxiliary.column(place).1);
            codes.column(m).1.iter().chain(extra).sum()
        };
        let totals = (0..dead.len()).map(total).collect();
        OfPreActivations { codes, auxiliary, dead, totals }
    }

    /// The sum over those of latent `m`.
    pub(super) fn total(&self, m: usize) -> f32 {
        self.totals[m]
    }

    /// Those of latent `m` and their samples: of its codes, and of the auxiliary loss.
    pub(super) fn of(&self, m: usize) -> [(&[i32], &[f32]); 2] {
        [self.codes.column(m), self.dead[m].map_or((&[], &[]), |place| self.auxiliary.column(place))]
    }
}

/// Rows of a matrix that are stored panel after panel.
pub(super) struct ByAtom {
    panels: Vec<panels::Columns>,
    height: usize,
}

impl ByAtom {
    /// Of `height` rows, whose values are not specified.
    pub(super) fn new(mut panels: Vec<panels::Columns>, height: usize, d: usize) -> ByAtom {
        panels.resize(panels::count(d) * height, [0.0; PANEL]);
        ByAtom { panels, height }
    }

    /// The panels one by one, `count` of them, empty ones if there is no row.
    pub(super) fn pieces(&mut self, count: usize) -> impl Iterator<Item = &mut [panels::Columns]> {
        let panels = self.panels.chunks_mut(self.height.max(1));
        panels.chain(std::iter::repeat_with(Default::default)).take(count)
    }

    fn copy_row(&self, row: usize, out: &mut [f32]) {
        let panels = self.panels.iter().skip(row).step_by(self.height);
        out.chunks_mut(PANEL).zip(panels).for_each(|(out, values)| out.copy_from_slice(&values[..out.len()]));
    }

    /// Adds `scale` times a row.
    fn add_row(&self, row: usize, scale: f32, out: &mut [f32]) {
        let panels = self.panels.iter().skip(row).step_by(self.height);
        for (out, values) in out.chunks_mut(PANEL).zip(panels) {
            out.iter_mut().zip(values).for_each(|(sum, value)| *sum += scale * value);
        }
    }
}
