//! Gradients of everything an autoencoder learns, from the passes of [`super::backward`].

use super::auxiliary::Auxiliary;
use super::backward::{Forward, Pass};
use super::{Options, Tensors};
use crate::error::Result;
use crate::kernels::{PANEL, Simd};
use crate::panels;
use crate::statistics::Reconstruction;
use crate::team::Team;
use std::ops::Range;

/// Gradients of everything an autoencoder learns.
pub(super) struct Gradients<'a> {
    values: &'a Tensors,
    /// Σ z e by atom, without its factor.
    decoder: ByPanel,
    /// What the auxiliary loss adds for dead latents, without its factor.
    auxiliary: Auxiliary,
    /// Factors of these two.
    scales: [f32; 2],
    /// Where in `auxiliary` the row of a latent is, if it is dead.
    dead: Vec<Option<Range<usize>>>,
    encoder: ByPanel,
    /// Gradient of the encoder's bias, shape (n_components,).
    pub(super) encoder_bias: Vec<f32>,
    /// Gradient of the bias, shape (n_features,).
    pub(super) bias: Vec<f32>,
    /// Σ g² over the rows of encoder and decoder, but for those of dead latents; not finite where float32 has no
    /// room for the squares.
    squares: f64,
    /// How the codes reproduce the mini-batch.
    pub(super) reconstruction: Reconstruction,
    /// What the codes leave of the samples, if that was wanted.
    left: ByPanel,
    simd: Simd,
}

/// Latents that a worker measures at a time.
const BLOCK: usize = 32;

/// Memory of one step's gradients for the next: making it anew takes a tenth of a step.
#[derive(Debug, Default)]
pub(super) struct Memory {
    decoder: Vec<panels::Columns>,
    left: Vec<panels::Columns>,
    encoder: Vec<panels::Columns>,
}

impl<'a> Gradients<'a> {
    /// For latents `dead`, of which `k_aux` get to model what is left of a row.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn new(
        pass: &Pass<'a>,
        (dead, k_aux): (&[usize], usize),
        options: &Options,
        memory: Memory,
        team: &Team<'_>,
    ) -> Result<Gradients<'a>> {
        let (values, d, simd) = (pass.values, pass.batch.d, pass.batch.simd);
        let Forward { decoder, left, products, mut bias, measured, reconstruction } =
            pass.first(memory.decoder, memory.left, team)?;
        let scales = scales(&reconstruction, pass, options);
        let auxiliary = Auxiliary::new(pass.batch, values, (dead, k_aux), &left, team)?;
        let scaled: Vec<_> = products.iter().map(|product| product * scales[0]).collect();
        let by_latent = pass.codes.with_values(&scaled).columns();
        let mut encoder_bias: Vec<f32> =
            (0..values.n_components()).map(|m| by_latent.column(m).1.iter().sum()).collect();
        for (&m, total) in dead.iter().zip(&auxiliary.totals) {
            encoder_bias[m] += scales[1] * total;
        }
        bias.iter_mut().for_each(|sum| *sum *= scales[0]);
        let mut encoder = ByPanel::new(memory.encoder, values.n_components(), d);
        let mut places = vec![None; values.n_components()];
        if !auxiliary.totals.is_empty() {
            dead.iter().enumerate().for_each(|(place, &m)| places[m] = Some(place * d..(place + 1) * d));
        }
        let alive = |m: usize| places[m].is_none();
        let of_encoder = pass.second(&by_latent, &encoder_bias, alive, &mut encoder, &mut bias, team)?;
        // Without its part along a row of unit norm, g is that much shorter.
        let across = |[squares, along]: [f64; 2]| {
            let left = squares - along * along;
            // Not `max`, which would make zero of NaN.
            if left < 0.0 { 0.0 } else { left }
        };
        let of_decoder: f64 =
            measured.iter().enumerate().filter(|&(m, _)| alive(m)).map(|(_, &found)| across(found)).sum();
        let squares = of_encoder + f64::from(scales[0]).powi(2) * of_decoder;
        Ok(Gradients {
            values,
            decoder,
            auxiliary,
            scales,
            dead: places,
            encoder,
            encoder_bias,
            bias,
            squares,
            reconstruction,
            left,
            simd,
        })
    }

    /// Writes the gradient of a decoder row but for a factor, which is returned; without its part along the
    /// row, which has unit norm.
    pub(super) fn decoder_row(&self, m: usize, out: &mut [f32]) -> f64 {
        self.decoder.copy_row(m, out);
        let factor = self.add_auxiliary(m, self.scales[0], &self.auxiliary.decoder, out);
        let row = &self.values.components[m * out.len()..(m + 1) * out.len()];
        self.simd.axpy(-self.simd.dot(out, row), row, out);
        factor
    }

    /// Writes the gradient of an encoder row but for a factor, which is returned.
    pub(super) fn encoder_row(&self, m: usize, out: &mut [f32]) -> f64 {
        self.encoder.copy_row(m, out);
        self.add_auxiliary(m, 1.0, &self.auxiliary.encoder, out)
    }

    /// Adds what the auxiliary loss owes to a gradient without its factor; returns what that is now.
    fn add_auxiliary(&self, m: usize, factor: f32, rows: &[f32], out: &mut [f32]) -> f64 {
        let Some(place) = &self.dead[m] else { return f64::from(factor) };
        self.simd.scale(f64::from(factor), out);
        self.simd.axpy(self.scales[1], &rows[place.clone()], out);
        1.0
    }

    /// Norm of all gradients together.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn norm(&self, team: &Team<'_>) -> Result<f64> {
        let known = if self.squares.is_finite() { self.squares } else { 0.0 };
        let one_by_one = |m: &usize| self.dead[*m].is_some() || !self.squares.is_finite();
        let latents: Vec<_> = (0..self.dead.len()).filter(one_by_one).collect();
        let scratch = || vec![0.0; self.bias.len()];
        let parts = team.map(latents.len().div_ceil(BLOCK), scratch, |gradient, block| {
            let mut squares = 0.0;
            for &m in latents.iter().skip(block * BLOCK).take(BLOCK) {
                for row in [Self::encoder_row, Self::decoder_row] {
                    squares += row(self, m, gradient).powi(2) * self.simd.squared_norm(gradient);
                }
            }
            Ok(squares)
        })?;
        let biases = self.simd.squared_norm(&self.encoder_bias) + self.simd.squared_norm(&self.bias);
        Ok((known + parts.iter().sum::<f64>() + biases).sqrt())
    }

    /// What they are measured by, and their memory.
    pub(super) fn into_parts(self) -> (Reconstruction, Memory) {
        let [decoder, left, encoder] = [self.decoder, self.left, self.encoder].map(|rows| rows.panels);
        (self.reconstruction, Memory { decoder, left, encoder })
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

/// Rows of a matrix that are stored panel after panel.
pub(super) struct ByPanel {
    panels: Vec<panels::Columns>,
    height: usize,
}

impl ByPanel {
    /// Of `height` rows, whose values are not specified.
    pub(super) fn new(mut panels: Vec<panels::Columns>, height: usize, d: usize) -> ByPanel {
        panels.resize(panels::count(d) * height, [0.0; PANEL]);
        ByPanel { panels, height }
    }

    /// The panels one by one, `count` of them, empty ones if there is no row.
    pub(super) fn pieces(&mut self, count: usize) -> impl Iterator<Item = &mut [panels::Columns]> {
        let panels = self.panels.chunks_mut(self.height.max(1));
        panels.chain(std::iter::repeat_with(Default::default)).take(count)
    }

    /// Copies a row.
    pub(super) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let panels = self.panels.iter().skip(row).step_by(self.height);
        out.chunks_mut(PANEL).zip(panels).for_each(|(out, values)| out.copy_from_slice(&values[..out.len()]));
    }
}
