//! Two passes over a mini-batch, panel by panel of columns, that add up its gradients.
//!
//! A first pass decodes a panel of all samples, keeps what is left of them, and from it adds up the gradient
//! of the decoder, by atom, and ⟨e_i, D_m⟩ over the columns, by code. A second pass has the gradients of
//! the pre-activations whole, and adds up that of the encoder. A panel of 8,192 atoms stays in L2.

use super::gradients::ByPanel;
use super::{Batch, Tensors};
use crate::codes::{CodesView, Columns};
use crate::error::Result;
use crate::kernels::{PANEL, PanelRow};
use crate::panels::{self, ahead, part};
use crate::statistics::{PanelSums, Reconstruction};
use crate::team::Team;
use std::ops::Range;

/// Most sums over columns side by side, one a stripe of panels: they take one value a code each.
pub(super) const STRIPES: usize = 8;

/// Codes that a worker adds up at a time.
const CODES: usize = 1 << 14;

/// What the gradients of a mini-batch are made from.
pub(super) struct Pass<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) values: &'a Tensors,
    pub(super) codes: CodesView<'a>,
    /// Whether what is left of the samples is wanted.
    pub(super) keep_left: bool,
    /// Sizes of the nested dictionaries.
    pub(super) widths: &'a [usize],
}

/// What the first pass finds.
pub(super) struct Forward {
    /// Σ z e by atom.
    pub(super) decoder: ByPanel,
    /// What the whole dictionary leaves of the samples, if that is wanted.
    pub(super) left: ByPanel,
    /// ⟨e_i, D_m⟩ of every code.
    pub(super) products: Vec<f32>,
    /// Σ e, shape (n_features,).
    pub(super) bias: Vec<f32>,
    /// Of the rows g of `decoder`: ‖g‖² and ⟨g, D_m⟩.
    pub(super) measured: Vec<[f64; 2]>,
    pub(super) reconstruction: Reconstruction,
}

/// One panel of what the first pass finds.
struct Panel<'a> {
    decoder: &'a mut [panels::Columns],
    left: &'a mut [panels::Columns],
    bias: &'a mut [f32],
    sums: Option<PanelSums>,
}

/// Neighbouring panels, which add up over their columns one after the other.
struct Stripe<'a, 'b> {
    panels: &'a mut [Panel<'b>],
    products: Vec<f32>,
    measured: Vec<[f64; 2]>,
}

/// Panels of atoms, and of what every nested dictionary leaves of the samples.
#[derive(Default)]
struct Scratch {
    atoms: Vec<PanelRow>,
    left: Vec<Vec<PanelRow>>,
}

impl Pass<'_> {
    /// The gradient of the decoder and those of codes; `decoder` and `left` are memory for what it finds.
    pub(super) fn first(
        &self,
        decoder: Vec<panels::Columns>,
        left: Vec<panels::Columns>,
        team: &Team<'_>,
    ) -> Result<Forward> {
        let (m, d) = (self.values.n_components(), self.batch.d);
        let count = panels::count(d);
        let by_atom = self.codes.columns();
        let mut decoder = ByPanel::new(decoder, m, d);
        let mut left = ByPanel::new(left, if self.keep_left { self.batch.n() } else { 0 }, d);
        let mut bias = vec![0.0; d];
        let pieces = decoder.pieces(count).zip(left.pieces(count)).zip(bias.chunks_mut(PANEL));
        let mut panels: Vec<_> =
            pieces.map(|((decoder, left), bias)| Panel { decoder, left, bias, sums: None }).collect();
        let height = count.div_ceil(STRIPES);
        let products = || vec![0.0; self.codes.n_stored()];
        let mut stripes: Vec<_> = panels
            .chunks_mut(height)
            .map(|panels| Stripe { panels, products: products(), measured: vec![[0.0; 2]; m] })
            .collect();
        team.run_pieces(&mut stripes, 1, Scratch::default, |scratch, stripe, place| {
            let stripe_panels = place[0].panels.len();
            for p in 0..stripe_panels {
                team.cancel().check()?;
                place[0].panels[p].sums = Some(self.decode(stripe * height + p, scratch));
                self.backward(&by_atom, scratch, p, &mut place[0]);
            }
            Ok(())
        })?;
        let mut measured = vec![[0.0; 2]; m];
        for stripe in &stripes {
            for (sums, more) in measured.iter_mut().zip(&stripe.measured) {
                sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
        }
        let products = add_up(stripes.into_iter().map(|stripe| stripe.products).collect(), team)?;
        let sums = panels.into_iter().map(|panel| panel.sums.expect("every panel was decoded"));
        let reconstruction = Reconstruction::join(sums, d);
        Ok(Forward { decoder, left, products, bias, measured, reconstruction })
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
    fn backward(&self, by_atom: &Columns, scratch: &mut Scratch, panel: usize, stripe: &mut Stripe<'_, '_>) {
        let simd = self.batch.simd;
        let Stripe { panels, products, measured } = stripe;
        let out = &mut panels[panel];
        let whole = scratch.left.last().expect("M is a width");
        out.left.iter_mut().zip(whole).for_each(|(out, left)| *out = left.0);
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
                measured[first + m][0] += f64::from(simd.dot(sum, sum));
                measured[first + m][1] += f64::from(simd.dot(sum, &atoms[first + m].0));
            }
            first = width;
        }
        for left in &left[0] {
            out.bias.iter_mut().zip(&left.0).for_each(|(sum, left)| *sum += left);
        }
    }

    /// The gradient of the encoder from those of codes, by latent; takes what the bias owes to the encoder,
    /// whose own bias has the gradients `totals`, off its gradient. Returns ‖·‖² of the rows of the encoder's
    /// gradient for which `counts` is true, all together.
    pub(super) fn second(
        &self,
        latents: &Columns,
        totals: &[f32],
        counts: impl Fn(usize) -> bool + Sync,
        encoder: &mut ByPanel,
        bias: &mut [f32],
        team: &Team<'_>,
    ) -> Result<f64> {
        let (d, simd) = (self.batch.d, self.batch.simd);
        let pieces = encoder.pieces(panels::count(d)).zip(bias.chunks_mut(PANEL));
        let mut pieces: Vec<_> = pieces.map(|(sums, bias)| (sums, bias, 0.0)).collect();
        team.run_pieces(&mut pieces, 1, Vec::new, |rows, panel, place| {
            let (sums, bias, squares) = &mut place[0];
            let offset = part(self.batch.bias, panel);
            rows.clear();
            rows.extend((0..self.batch.n()).map(|i| {
                let sample = ahead(self.batch.x, d, i, panel);
                PanelRow(std::array::from_fn(|c| sample[c] - offset[c]))
            }));
            for (m, sum) in sums.iter_mut().enumerate() {
                let (samples, values) = latents.column(m);
                simd.gather(samples, values, rows, sum);
                if counts(m) {
                    *squares += f64::from(simd.dot(sum, sum));
                }
                let row = ahead(self.values.encoder(), d, m, panel);
                bias.iter_mut().zip(&row).for_each(|(sum, w)| *sum -= totals[m] * w);
            }
            Ok(())
        })?;
        Ok(pieces.iter().map(|(_, _, squares)| squares).sum())
    }
}

/// Sums of vectors of one length, in their order.
pub(super) fn add_up(mut parts: Vec<Vec<f32>>, team: &Team<'_>) -> Result<Vec<f32>> {
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
