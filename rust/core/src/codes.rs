//! Sparse codes in compressed rows, and what is computed from them: reconstructions and columns.

use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::team::Team;

/// Rows a worker decodes at a time.
const DECODE_ROWS: usize = 64;

/// Codes, shape (n_samples, n_components), as compressed sparse rows with ascending indices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Codes {
    /// Where each row starts in the other two; n_samples + 1 values.
    pub starts: Vec<i64>,
    /// Atom of each stored code.
    pub indices: Vec<i32>,
    /// Value of each stored code.
    pub values: Vec<f32>,
}

/// Borrowed [`Codes`] whose structure was checked.
#[derive(Clone, Copy, Debug)]
pub struct CodesView<'a> {
    starts: &'a [i64],
    indices: &'a [i32],
    values: &'a [f32],
    n_components: usize,
}

impl Codes {
    /// Appends a row; entries need not be sorted, zeros are left out.
    pub(crate) fn push_row(&mut self, entries: &mut [(u32, f32)]) {
        entries.sort_unstable_by_key(|entry| entry.0);
        for &(index, value) in entries.iter().filter(|entry| entry.1 != 0.0) {
            self.indices.push(index as i32);
            self.values.push(value);
        }
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.starts.push(self.indices.len() as i64);
    }

    /// One after the other.
    pub(crate) fn concatenate(parts: Vec<Codes>) -> Codes {
        let stored = parts.iter().map(|part| part.indices.len()).sum();
        let mut all = Codes {
            starts: vec![0],
            indices: Vec::with_capacity(stored),
            values: Vec::with_capacity(stored),
        };
        for part in parts {
            let before = all.indices.len() as i64;
            all.starts.extend(part.starts.iter().skip(1).map(|start| start + before));
            all.indices.extend(part.indices);
            all.values.extend(part.values);
        }
        all
    }

    /// A view for `n_components` atoms.
    ///
    /// # Errors
    /// As [`CodesView::new`].
    pub fn view(&self, n_components: usize) -> Result<CodesView<'_>> {
        CodesView::new(&self.starts, &self.indices, &self.values, n_components)
    }
}

impl<'a> CodesView<'a> {
    /// Checks that the three arrays are compressed rows over `n_components` atoms.
    ///
    /// # Errors
    /// [`Error::Argument`] when they are not.
    pub fn new(
        starts: &'a [i64],
        indices: &'a [i32],
        values: &'a [f32],
        n_components: usize,
    ) -> Result<CodesView<'a>> {
        let ordered = starts.first() == Some(&0)
            && starts.windows(2).all(|pair| pair[0] <= pair[1])
            && starts.last() == Some(&(indices.len() as i64));
        let inside = indices.iter().all(|&i| usize::try_from(i).is_ok_and(|i| i < n_components));
        if ordered && inside && indices.len() == values.len() {
            Ok(CodesView { starts, indices, values, n_components })
        } else {
            Err(Error::Argument(format!(
                "codes must be compressed sparse rows with indices below {n_components}, got an inconsistent structure"
            )))
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of atoms.
    pub fn n_components(&self) -> usize {
        self.n_components
    }

    /// Atoms and values of one sample.
    pub fn row(&self, i: usize) -> impl Iterator<Item = (usize, f32)> + 'a {
        let range = self.starts[i] as usize..self.starts[i + 1] as usize;
        self.indices[range.clone()].iter().map(|&m| m as usize).zip(self.values[range].iter().copied())
    }

    /// Atoms and values of one sample, as they are stored.
    pub(crate) fn entries(&self, i: usize) -> (&'a [i32], &'a [f32]) {
        let range = self.starts[i] as usize..self.starts[i + 1] as usize;
        (&self.indices[range.clone()], &self.values[range])
    }

    /// Where the codes of a sample start among all that are stored.
    pub(crate) fn start(&self, i: usize) -> usize {
        self.starts[i] as usize
    }

    /// Stored codes of all samples.
    pub(crate) fn n_stored(&self) -> usize {
        self.values.len()
    }

    /// Other values in the same places.
    pub(crate) fn with_values<'b>(&self, values: &'b [f32]) -> CodesView<'b>
    where
        'a: 'b,
    {
        assert_eq!(values.len(), self.values.len());
        CodesView { values, ..*self }
    }

    /// The same codes by atom.
    ///
    /// # Panics
    /// With 2^31 samples or more.
    pub fn columns(&self) -> Columns {
        assert!(i32::try_from(self.len()).is_ok());
        let mut starts = vec![0usize; self.n_components + 1];
        for &m in self.indices {
            starts[m as usize + 1] += 1;
        }
        for m in 0..self.n_components {
            starts[m + 1] += starts[m];
        }
        let mut next = starts.clone();
        let (mut samples, mut values) = (vec![0i32; self.indices.len()], vec![0.0f32; self.indices.len()]);
        for i in 0..self.len() {
            for (m, value) in self.row(i) {
                (samples[next[m]], values[next[m]]) = (i as i32, value);
                next[m] += 1;
            }
        }
        Columns { starts, samples, values }
    }

    /// `Z · components + bias`, shape (n_samples, d).
    ///
    /// # Errors
    /// Cancellation.
    pub fn decode(
        &self,
        components: &[f32],
        d: usize,
        bias: Option<&[f32]>,
        simd: Simd,
        team: &Team<'_>,
    ) -> Result<Vec<f32>> {
        assert_eq!(components.len(), self.n_components * d);
        let mut out = vec![0.0; self.len() * d];
        team.run_pieces(
            &mut out,
            DECODE_ROWS * d,
            || (),
            |(), block, piece| {
                for (r, row) in piece.chunks_mut(d).enumerate() {
                    if let Some(bias) = bias {
                        row.copy_from_slice(bias);
                    }
                    for (m, value) in self.row(block * DECODE_ROWS + r) {
                        simd.axpy(value, &components[m * d..(m + 1) * d], row);
                    }
                }
                Ok(())
            },
        )?;
        Ok(out)
    }
}

/// Codes by atom: for each, its samples in ascending order with their values.
#[derive(Clone, Debug)]
pub struct Columns {
    starts: Vec<usize>,
    samples: Vec<i32>,
    values: Vec<f32>,
}

impl Columns {
    /// Samples and values of one atom.
    pub fn column(&self, m: usize) -> (&[i32], &[f32]) {
        let range = self.starts[m]..self.starts[m + 1];
        (&self.samples[range.clone()], &self.values[range])
    }
}
