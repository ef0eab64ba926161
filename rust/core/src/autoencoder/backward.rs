//! Gradients of a mini-batch, panel by panel of columns.
//!
//! A first pass decodes a panel of all samples, keeps what is left of them, and from it adds up the gradient
//! of the decoder, by atom, and ⟨e_i, D_m⟩ over the columns, by code. A second pass has the gradients of
//! the pre-activations whole, and adds up that of the encoder. A panel of 8,192 atoms stays in L2.

use super::{Batch, Options, Tensors};
use crate::codes::{CodesView, Columns};
use crate::error::Result;
use crate::kernels::{PANEL, PanelRow, Simd};
use crate::panels::{self, ahead, part};
use crate::statistics::{PanelSums, Reconstruction};
use crate::team::Team;
use std::ops::Range;

/// Most sums over columns side by side, one a stripe of panels: they take one value a code each.
const STRIPES: usize = 8;

/// Codes that a worker adds up at a time.
const CODES: usize = 1 << 14;

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

impl<'a> Gradients<'a> {
    /// Where the parameters are `values`.
    ///
    /// # Errors
    /// Cancellation.
    pub(super) fn new(pass: &Pass<'a>, options: &Options, team: &Team<'_>) -> Result<Gradients<'a>> {
        let forward = pass.first(team)?;
        let scales = scales(&forward.reconstruction, pass, options);
        let [codes, auxiliary] = [(&pass.codes, 0), (&pass.auxiliary, 1)].map(|(codes, which)| {
            let scaled: Vec<_> = forward.products[which].iter().map(|p| p * scales[which]).collect();
            codes.with_values(&scaled).columns()
        });
        let mut dead = vec![None; pass.values.n_components()];
        pass.dead.iter().enumerate().for_each(|(place, &latent)| dead[latent] = Some(place));
        let total = |m: usize| {
            let extra = dead[m].map_or(&[][..], |place| auxiliary.column(place).1);
            codes.column(m).1.iter().chain(extra).sum()
        };
        let encoder_bias: Vec<f32> = (0..dead.len()).map(total).collect();
        let mut bias = forward.bias;
        bias.iter_mut().for_each(|sum| *sum *= scales[0]);
        let encoder = pass.second(&codes, &auxiliary, &dead, &encoder_bias, &mut bias, team)?;
        Ok(Gradients {
            values: pass.values,
            decoder: forward.decoder,
            auxiliary: forward.auxiliary,
            scales,
            dead,
            encoder,
            encoder_bias,
            bias,
            reconstruction: forward.reconstruction,
            simd: pass.batch.simd,
        })
    }

    /// Gradient of a decoder row, without its part along the row, which has unit norm.
    pub(super) fn decoder_row(&self, m: usize, out: &mut [f32]) {
        out.fill(0.0);
        self.decoder.add_row(m, self.scales[0], self.simd, out);
        if let Some(place) = self.dead[m] {
            self.auxiliary.add_row(place, self.scales[1], self.simd, out);
        }
        let row = &self.values.components[m * out.len()..(m + 1) * out.len()];
        self.simd.axpy(-self.simd.dot(out, row), row, out);
    }

    /// Gradient of an encoder row.
    pub(super) fn encoder_row(&self, m: usize, out: &mut [f32]) {
        out.fill(0.0);
        self.encoder.add_row(m, 1.0, self.simd, out);
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
struct ByAtom {
    panels: Vec<panels::Columns>,
    height: usize,
}

impl ByAtom {
    fn zeros(height: usize, d: usize) -> ByAtom {
        ByAtom { panels: vec![[0.0; PANEL]; panels::count(d) * height], height }
    }

    /// The panels one by one, `count` of them, empty ones if there is no row.
    fn pieces(&mut self, count: usize) -> impl Iterator<Item = &mut [panels::Columns]> {
        let panels = self.panels.chunks_mut(self.height.max(1));
        panels.chain(std::iter::repeat_with(Default::default)).take(count)
    }

    /// Adds `scale` times a row.
    fn add_row(&self, row: usize, scale: f32, simd: Simd, out: &mut [f32]) {
        let panels = self.panels.iter().skip(row).step_by(self.height);
        for (out, values) in out.chunks_mut(PANEL).zip(panels) {
            simd.axpy(scale, &values[..out.len()], out);
        }
    }
}

/// What the gradients of a mini-batch are made from.
pub(super) struct Pass<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) values: &'a Tensors,
    pub(super) codes: CodesView<'a>,
    /// Codes over the dead latents, by their number among them.
    pub(super) auxiliary: CodesView<'a>,
    /// The dead latents, ascending.
    pub(super) dead: &'a [usize],
    /// Sizes of the nested dictionaries.
    pub(super) widths: &'a [usize],
}

/// What the first pass finds.
struct Forward {
    decoder: ByAtom,
    auxiliary: ByAtom,
    /// ⟨e_i, D_m⟩ of every code, and the same of the auxiliary loss.
    products: [Vec<f32>; 2],
    /// Σ e, shape (n_features,).
    bias: Vec<f32>,
    reconstruction: Reconstruction,
}

/// One panel of what the first pass finds.
struct Panel<'a> {
    decoder: &'a mut [panels::Columns],
    auxiliary: &'a mut [panels::Columns],
    bias: &'a mut [f32],
    sums: Option<PanelSums>,
}

/// Neighbouring panels, which add up their products one after the other.
struct Stripe<'a, 'b> {
    panels: &'a mut [Panel<'b>],
    products: [Vec<f32>; 2],
}

/// Panels of atoms, of what is left of the samples by every nested dictionary, and by the auxiliary loss.
#[derive(Default)]
struct Scratch {
    atoms: Vec<PanelRow>,
    left: Vec<Vec<PanelRow>>,
    dead_atoms: Vec<PanelRow>,
    left_by_dead: Vec<PanelRow>,
}

impl Pass<'_> {
    fn first(&self, team: &Team<'_>) -> Result<Forward> {
        let (m, d) = (self.values.n_components(), self.batch.d);
        let count = panels::count(d);
        let by_atom = [self.codes.columns(), self.auxiliary.columns()];
        let (mut decoder, mut auxiliary) = (ByAtom::zeros(m, d), ByAtom::zeros(self.dead.len(), d));
        let mut bias = vec![0.0; d];
        let pieces = decoder.pieces(count).zip(auxiliary.pieces(count)).zip(bias.chunks_mut(PANEL));
        let mut panels: Vec<_> = pieces
            .map(|((decoder, auxiliary), bias)| Panel { decoder, auxiliary, bias, sums: None })
            .collect();
        let height = count.div_ceil(STRIPES);
        let zeros = || [&self.codes, &self.auxiliary].map(|codes| vec![0.0; codes.n_stored()]);
        let mut stripes: Vec<_> =
            panels.chunks_mut(height).map(|panels| Stripe { panels, products: zeros() }).collect();
        team.run_pieces(&mut stripes, 1, Scratch::default, |scratch, stripe, place| {
            let Stripe { panels, products } = &mut place[0];
            for (p, out) in panels.iter_mut().enumerate() {
                team.cancel().check()?;
                let panel = stripe * height + p;
                out.sums = Some(self.decode(panel, scratch));
                self.backward(&by_atom[0], scratch, out, &mut products[0]);
                if !self.dead.is_empty() {
                    self.backward_of_dead(&by_atom[1], scratch, out, &mut products[1]);
                }
            }
            Ok(())
        })?;
        let (main, of_dead): (Vec<_>, Vec<_>) =
            stripes.into_iter().map(|stripe| stripe.products.into()).unzip();
        let products = [add_up(main, team)?, add_up(of_dead, team)?];
        let sums = panels.into_iter().map(|panel| panel.sums.expect("every panel was decoded"));
        let reconstruction = Reconstruction::join(sums, d);
        Ok(Forward { decoder, auxiliary, products, bias, reconstruction })
    }

    /// Latents and codes of a sample in each group of atoms, and where among all codes they lie.
    fn groups(&self, i: usize) -> impl Iterator<Item = (&[i32], &[f32], Range<usize>)> {
        let (latents, values) = self.codes.entries(i);
        let (mut first, start) = (0, self.codes.start(i));
        self.widths.iter().map(move |&width| {
            let last = first + latents[first..].partition_point(|&latent| (latent as usize) < width);
            let here = std::mem::replace(&mut first, last)..last;
            (&latents[here.clone()], &values[here.clone()], start + here.start..start + here.end)
        })
    }

    /// Fills `scratch` with a panel of atoms and with what every prefix of them leaves of the samples.
    fn decode(&self, panel: usize, scratch: &mut Scratch) -> PanelSums {
        let (d, simd, n) = (self.batch.d, self.batch.simd, self.batch.n());
        let Scratch { atoms, left, .. } = scratch;
        atoms.clear();
        let m = self.values.n_components();
        atoms.extend((0..m).map(|m| PanelRow(ahead(&self.values.components, d, m, panel))));
        left.resize_with(self.widths.len(), Vec::new);
        left.iter_mut().for_each(|left| left.resize(n, PanelRow([0.0; PANEL])));
        let bias = part(&self.values.bias, panel);
        let mut sums = PanelSums::new(self.batch.x, d, panel);
        for i in 0..n {
            let sample = ahead(self.batch.x, d, i, panel);
            let (mut decoded, mut more) = (bias, [0.0; PANEL]);
            for ((latents, values, _), left) in self.groups(i).zip(left.iter_mut()) {
                simd.gather(latents, values, atoms, &mut more);
                decoded.iter_mut().zip(&more).for_each(|(sum, more)| *sum += more);
                left[i].0 = std::array::from_fn(|c| sample[c] - decoded[c]);
            }
            sums.add(i, &sample, &decoded, simd);
        }
        sums
    }

    /// Adds up a panel of the gradients: atoms of a group serve it and all larger dictionaries.
    fn backward(&self, by_atom: &Columns, scratch: &mut Scratch, out: &mut Panel<'_>, products: &mut [f32]) {
        let simd = self.batch.simd;
        for g in (1..scratch.left.len()).rev() {
            let [before, after] = &mut scratch.left[g - 1..=g] else { unreachable!() };
            for (sum, more) in before.iter_mut().zip(after) {
                sum.0.iter_mut().zip(&more.0).for_each(|(sum, more)| *sum += more);
            }
        }
        let Scratch { atoms, left, .. } = scratch;
        for i in 0..self.batch.n() {
            for ((latents, _, place), left) in self.groups(i).zip(left.iter()) {
                simd.products(latents, atoms, &left[i].0, &mut products[place]);
            }
        }
        let mut first = 0;
        for (&width, left) in self.widths.iter().zip(left.iter()) {
            for (m, sum) in out.decoder[first..width].iter_mut().enumerate() {
                let (samples, values) = by_atom.column(first + m);
                simd.gather(samples, values, left, sum);
            }
            first = width;
        }
        for left in &left[0] {
            out.bias.iter_mut().zip(&left.0).for_each(|(sum, left)| *sum += left);
        }
    }

    /// The same of the auxiliary loss, whose target is what the whole dictionary leaves.
    fn backward_of_dead(
        &self,
        by_atom: &Columns,
        scratch: &mut Scratch,
        out: &mut Panel<'_>,
        products: &mut [f32],
    ) {
        let simd = self.batch.simd;
        let Scratch { atoms, left, dead_atoms, left_by_dead } = scratch;
        dead_atoms.clear();
        dead_atoms.extend(self.dead.iter().map(|&m| atoms[m]));
        left_by_dead.clear();
        let mut decoded = [0.0; PANEL];
        for (i, left) in left.last().expect("M is a width").iter().enumerate() {
            let (latents, values) = self.auxiliary.entries(i);
            simd.gather(latents, values, dead_atoms, &mut decoded);
            let rest = std::array::from_fn(|c| left.0[c] - decoded[c]);
            let first = self.auxiliary.start(i);
            simd.products(latents, dead_atoms, &rest, &mut products[first..first + latents.len()]);
            left_by_dead.push(PanelRow(rest));
        }
        for (place, sum) in out.auxiliary.iter_mut().enumerate() {
            let (samples, values) = by_atom.column(place);
            simd.gather(samples, values, left_by_dead, sum);
        }
    }

    /// The gradient of the encoder from those of pre-activations; takes what the bias owes to the encoder
    /// off its gradient.
    fn second(
        &self,
        codes: &Columns,
        auxiliary: &Columns,
        dead: &[Option<usize>],
        encoder_bias: &[f32],
        bias: &mut [f32],
        team: &Team<'_>,
    ) -> Result<ByAtom> {
        let (d, simd) = (self.batch.d, self.batch.simd);
        let mut encoder = ByAtom::zeros(dead.len(), d);
        let mut pieces: Vec<_> = encoder.pieces(panels::count(d)).zip(bias.chunks_mut(PANEL)).collect();
        team.run_pieces(&mut pieces, 1, Vec::new, |rows, panel, place| {
            let (sums, bias) = &mut place[0];
            let offset = part(self.batch.bias, panel);
            rows.clear();
            rows.extend((0..self.batch.n()).map(|i| {
                let sample = ahead(self.batch.x, d, i, panel);
                PanelRow(std::array::from_fn(|c| sample[c] - offset[c]))
            }));
            let mut more = [0.0; PANEL];
            for (m, sum) in sums.iter_mut().enumerate() {
                let (samples, values) = codes.column(m);
                simd.gather(samples, values, rows, sum);
                if let Some(place) = dead[m] {
                    let (samples, values) = auxiliary.column(place);
                    simd.gather(samples, values, rows, &mut more);
                    sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum += more);
                }
                let row = ahead(self.values.encoder(), d, m, panel);
                bias.iter_mut().zip(&row).for_each(|(sum, w)| *sum -= encoder_bias[m] * w);
            }
            Ok(())
        })?;
        drop(pieces);
        Ok(encoder)
    }
}

/// Sums of vectors of one length, in their order.
fn add_up(mut parts: Vec<Vec<f32>>, team: &Team<'_>) -> Result<Vec<f32>> {
    let mut total = parts.swap_remove(0);
    // What was last is first now; whichever the order, it is the same every time.
    team.run_pieces(
        &mut total,
        CODES,
        || (),
        |(), block, sums| {
            for part in &parts {
                let part = &part[block * CODES..][..sums.len()];
                sums.iter_mut().zip(part).for_each(|(sum, more)| *sum += more);
            }
            Ok(())
        },
    )?;
    Ok(total)
}
