//! Products of sparse codes with matrices, [`PANEL`] columns at a time: see [`Simd::gather`].

use crate::codes::CodesView;
use crate::kernels::{PANEL, PanelRow, Simd, prefetch};

/// Columns of a panel of one row.
pub(crate) type Columns = [f32; PANEL];

/// Panels of a matrix of width `d`.
pub(crate) fn count(d: usize) -> usize {
    d.div_ceil(PANEL)
}

/// Copies the part of a row of a matrix that lies in a panel; beyond the last column are zeros.
pub(crate) fn part(row: &[f32], panel: usize) -> Columns {
    let mut columns = [0.0; PANEL];
    let values = &row[panel * PANEL..row.len().min((panel + 1) * PANEL)];
    match values.first_chunk::<PANEL>() {
        Some(values) => columns = *values,
        None => columns[..values.len()].copy_from_slice(values),
    }
    columns
}

/// Rows that are asked for before they are needed: each lies in a page of its own, which no hardware
/// prefetcher follows.
const AHEAD: usize = 16;

/// [`part`] of row `i` of a matrix of width `d` whose rows are visited one after the other.
pub(crate) fn ahead(matrix: &[f32], d: usize, i: usize, panel: usize) -> Columns {
    let first = (i + AHEAD) * d + panel * PANEL;
    if let Some(later) = matrix.get(first..first + PANEL) {
        prefetch(later);
    }
    part(&matrix[i * d..(i + 1) * d], panel)
}

/// One panel of the reconstructions of all samples.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    atoms: Vec<PanelRow>,
}

impl Decoder {
    /// Calls `found(i, x̂)` with columns of the panel of `Z · components + bias`, sample by sample.
    pub(crate) fn decode(
        &mut self,
        codes: &CodesView<'_>,
        components: &[f32],
        bias: &[f32],
        panel: usize,
        simd: Simd,
        mut found: impl FnMut(usize, &Columns),
    ) {
        self.atoms.clear();
        self.atoms
            .extend((0..codes.n_components()).map(|m| PanelRow(ahead(components, bias.len(), m, panel))));
        let bias = part(bias, panel);
        let mut sums = [0.0; PANEL];
        for i in 0..codes.len() {
            let (atoms, values) = codes.entries(i);
            simd.gather(atoms, values, &self.atoms, &mut sums);
            sums.iter_mut().zip(&bias).for_each(|(sum, b)| *sum += b);
            found(i, &sums);
        }
    }
}
