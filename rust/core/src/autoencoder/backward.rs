//! Two passes over a mini-batch, panel by panel of columns, that add up its gradients.
//!
//! A first pass decodes a panel of all samples, keeps what is left of them, and from it adds up the gradient
//! of the decoder, by atom, and ⟨e_i, D_m⟩ over the columns, by code. A second pass has the gradients of
//! the pre-activations whole, and adds up that of the encoder. A panel of 8,192 atoms stays in L2.

use super::gradients::{ByAtom, OfPreActivations};
use super::{Batch, Tensors};
use crate::codes::{CodesView, Columns};
use crate::error::Result;
use crate::kernels::{PANEL, PanelRow};
use crate::panels::{self, ahead, part};
use crate::statistics::{PanelSums, Reconstruction};
use crate::team::Team;
use std::ops::Range;

/// Most sums over columns side by side, one a stripe of panels: they take one value a code each.
const STRIPES: usize = 8;

/// Codes that a worker adds up at a time.
const CODES: usize = 1 << 14;

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
pub(super) struct Forward {
    pub(super) decoder: ByAtom,
    pub(super) auxiliary: ByAtom,
    /// ⟨e_i, D_m⟩ of every code, and the same of the auxiliary loss.
    pub(super) products: [Vec<f32>; 2],
    /// Σ e, shape (n_features,).
    pub(super) bias: Vec<f32>,
    pub(super) reconstruction: Reconstruction,
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
    pub(super) fn first(
        &self,
        decoder: Vec<panels::Columns>,
        auxiliary: Vec<panels::Columns>,
        team: &Team<'_>,
    ) -> Result<Forward> {
        let (m, d) = (self.values.n_components(), self.batch.d);
        let count = panels::count(d);
        let by_atom = [self.codes.columns(), self.auxiliary.columns()];
        let mut decoder = ByAtom::new(decoder, m, d);
        let mut auxiliary = ByAtom::new(auxiliary, self.dead.len(), d);
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
    pub(super) fn second(
        &self,
        latents: &OfPreActivations,
        encoder: &mut ByAtom,
        bias: &mut [f32],
        team: &Team<'_>,
    ) -> Result<()> {
        let (d, simd) = (self.batch.d, self.batch.simd);
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
                let [(samples, values), (others, theirs)] = latents.of(m);
                simd.gather(samples, values, rows, sum);
                if !others.is_empty() {
                    simd.gather(others, theirs, rows, &mut more);
                    sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum += more);
                }
                let row = ahead(self.values.encoder(), d, m, panel);
                let total = latents.total(m);
                bias.iter_mut().zip(&row).for_each(|(sum, w)| *sum -= total * w);
            }
            Ok(())
        })
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
