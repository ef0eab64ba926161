//! Which features of a sample are active (not zero), for dense rows and for compressed sparse rows.

use crate::error::{Error, Result};
use crate::kernels::prefetch;
use ndarray::ArrayView2;
use std::ops::Add;

/// Samples whose active features can be counted.
pub trait ActiveRows: Sync {
    /// What a worker keeps between rows.
    type Scratch: Default;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features.
    fn width(&self) -> usize;

    /// Asks for a sample that is counted soon.
    fn prefetch(&self, row: usize);

    /// Adds one to the count of each active feature of a sample; `counts` holds [`ActiveRows::width`] values.
    ///
    /// # Errors
    /// [`Error::Argument`] when a value is not finite or an index is not below the width.
    fn count(&self, row: usize, counts: &mut [u16], scratch: &mut Self::Scratch) -> Result<()>;
}

/// Float32 or float64.
pub trait Value: Copy + Sync + PartialEq + Default + Add<Output = Self> {
    /// Neither NaN nor infinite.
    fn is_finite(self) -> bool;
}

impl Value for f32 {
    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

impl Value for f64 {
    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

/// Column numbers as SciPy stores them.
pub trait Index: Copy + Sync + PartialOrd {
    /// The same as a place in a slice; negative numbers become places beyond every slice.
    fn place(self) -> usize;
}

impl Index for i32 {
    fn place(self) -> usize {
        self as usize
    }
}

impl Index for i64 {
    fn place(self) -> usize {
        self as usize
    }
}

/// Dense samples, shape (n_samples, n_features), any strides.
#[derive(Clone, Copy, Debug)]
pub struct DenseRows<'a, V>(pub ArrayView2<'a, V>);

impl<V: Value> ActiveRows for DenseRows<'_, V> {
    type Scratch = ();

    fn len(&self) -> usize {
        self.0.nrows()
    }

    fn width(&self) -> usize {
        self.0.ncols()
    }

    fn prefetch(&self, _row: usize) {} // long enough for the hardware to follow

    fn count(&self, row: usize, counts: &mut [u16], (): &mut ()) -> Result<()> {
        let mut finite = true;
        for (count, &value) in counts.iter_mut().zip(self.0.row(row)) {
            finite &= value.is_finite();
            *count += u16::from(value != V::default());
        }
        if finite { Ok(()) } else { Err(not_finite(row)) }
    }
}

/// Compressed sparse rows as users have them: in any order within a row, perhaps with repeated entries (they
/// are summed) or stored zeros.
#[derive(Clone, Copy, Debug)]
pub struct SparseRows<'a, I, V> {
    starts: &'a [i64],
    indices: &'a [I],
    values: &'a [V],
    width: usize,
}

impl<'a, I: Index, V: Value> SparseRows<'a, I, V> {
    /// Row `i` has entries `starts[i]..starts[i + 1]` of the other two.
    ///
    /// # Errors
    /// [`Error::Argument`] when `starts` does not fit them. Indices are looked at when they are used.
    pub fn new(starts: &'a [i64], indices: &'a [I], values: &'a [V], width: usize) -> Result<Self> {
        let ordered = starts.first() == Some(&0) && starts.windows(2).all(|pair| pair[0] <= pair[1]);
        let stored = starts.last().map_or(usize::MAX, |&last| last as usize);
        if !ordered || stored > indices.len() || stored > values.len() {
            return Err(Error::Argument(
                "Z must be compressed sparse rows, got an inconsistent structure".into(),
            ));
        }
        Ok(SparseRows { starts, indices, values, width })
    }

    /// Features and values of a sample, as they are stored.
    pub(super) fn row(&self, row: usize) -> (&'a [I], &'a [V]) {
        let entries = self.starts[row] as usize..self.starts[row + 1] as usize;
        (&self.indices[entries.clone()], &self.values[entries])
    }

    /// The general case: entries are sorted and repeated ones summed.
    fn count_summed(
        &self,
        row: usize,
        entries: impl Iterator<Item = (usize, V)>,
        counts: &mut [u16],
        scratch: &mut Vec<(usize, V)>,
    ) -> Result<()> {
        scratch.clear();
        scratch.extend(entries);
        scratch.sort_by_key(|entry| entry.0);
        for same in scratch.chunk_by(|a, b| a.0 == b.0) {
            let sum = same[1..].iter().fold(same[0].1, |sum, entry| sum + entry.1);
            if !sum.is_finite() {
                return Err(not_finite(row));
            }
            *counts.get_mut(same[0].0).ok_or_else(|| self.outside(row))? += u16::from(sum != V::default());
        }
        Ok(())
    }

    pub(super) fn outside(&self, row: usize) -> Error {
        Error::Argument(format!(
            "Z must have column indices from 0 to {}, got others in row {row}",
            self.width - 1
        ))
    }
}

impl<I: Index, V: Value> ActiveRows for SparseRows<'_, I, V> {
    type Scratch = Vec<(usize, V)>;

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn width(&self) -> usize {
        self.width
    }

    fn prefetch(&self, row: usize) {
        let (indices, values) = self.row(row);
        prefetch(indices);
        prefetch(values);
    }

    fn count(&self, row: usize, counts: &mut [u16], scratch: &mut Self::Scratch) -> Result<()> {
        let (indices, values) = self.row(row);
        // Without branches, so that both become vector code: what they read is next needed from the first cache.
        let ascending = indices.windows(2).fold(true, |ok, pair| ok & (pair[0] < pair[1]));
        let plain = values.iter().fold(true, |ok, &v| ok & v.is_finite() & (v != V::default()));
        if !(ascending & plain) {
            let entries = indices.iter().map(|i| i.place()).zip(values.iter().copied());
            return self.count_summed(row, entries, counts, scratch);
        }
        for index in indices {
            *counts.get_mut(index.place()).ok_or_else(|| self.outside(row))? += 1;
        }
        Ok(())
    }
}

pub(super) fn not_finite(row: usize) -> Error {
    Error::Argument(format!("Z must be finite, got NaN or infinity in row {row}"))
}
