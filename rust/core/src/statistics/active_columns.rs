//! Where codes are active, by feature: a slab of columns at a time, so that a second copy of the data never exists.

use super::active::Index;
use crate::error::{Error, Result};
use std::ops::Range;

/// A slab has at most so many entries, 256 MiB, or a quarter of all if that is more: every slab costs a pass
/// over the rows.
const SLAB_ENTRIES: usize = 1 << 26;
/// A row that takes no part.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Compressed sparse rows without values: each entry once, and active.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'a, I> {
    starts: &'a [i64],
    indices: &'a [I],
    width: usize,
}

/// Places of the active samples of some features.
pub(super) struct ActiveColumns {
    /// The features.
    pub(super) range: Range<usize>,
    starts: Vec<usize>,
    places: Vec<u32>,
}

impl ActiveColumns {
    /// Places of the samples on which the `i`-th feature of the slab is active.
    pub(super) fn column(&self, i: usize) -> &[u32] {
        &self.places[self.starts[i]..self.starts[i + 1]]
    }
}

impl<'a, I: Index> Pattern<'a, I> {
    /// Row `i` has entries `starts[i]..starts[i + 1]`.
    ///
    /// # Errors
    /// [`Error::Argument`] when `starts` does not fit `indices`. Indices are looked at when they are used.
    pub fn new(starts: &'a [i64], indices: &'a [I], width: usize) -> Result<Self> {
        let ordered = starts.first() == Some(&0) && starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ordered || starts.last().is_none_or(|&last| last as usize > indices.len()) {
            let message = "Z must be compressed sparse rows, got an inconsistent structure";
            return Err(Error::Argument(message.into()));
        }
        Ok(Pattern { starts, indices, width })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.width
    }

    fn row(&self, row: usize) -> &'a [I] {
        &self.indices[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    /// On how many rows that have a place each feature is active.
    ///
    /// # Errors
    /// [`Error::Argument`] when an index is not below the width.
    pub(super) fn sizes(&self, places: &[u32]) -> Result<Vec<usize>> {
        let mut sizes = vec![0; self.width];
        for (row, _) in places.iter().enumerate().filter(|&(_, &place)| place != NOWHERE) {
            for index in self.row(row) {
                let Some(size) = sizes.get_mut(index.place()) else {
                    let highest = self.width as i64 - 1;
                    let message =
                        format!("Z must have column indices from 0 to {highest}, got others in row {row}");
                    return Err(Error::Argument(message));
                };
                *size += 1;
            }
        }
        Ok(sizes)
    }

    /// The features of `range`, given [`Pattern::sizes`].
    pub(super) fn columns(&self, places: &[u32], sizes: &[usize], range: Range<usize>) -> ActiveColumns {
        let mut starts = vec![0];
        starts.extend(sizes[range.clone()].iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        }));
        let mut next = starts.clone();
        let mut active = vec![0u32; starts[range.len()]];
        for (row, &place) in places.iter().enumerate().filter(|&(_, &place)| place != NOWHERE) {
            for index in self.row(row) {
                let m = index.place();
                if range.contains(&m) {
                    active[next[m - range.start]] = place;
                    next[m - range.start] += 1;
                }
            }
        }
        ActiveColumns { range, starts, places: active }
    }
}

/// Cuts features into slabs of bounded size; one with more entries than that is a slab of its own.
pub(super) fn slabs(sizes: &[usize]) -> Vec<Range<usize>> {
    let most = SLAB_ENTRIES.max(sizes.iter().sum::<usize>() / 4);
    let (mut slabs, mut start, mut entries) = (Vec::new(), 0, 0);
    for (m, size) in sizes.iter().enumerate() {
        if m > start && entries + size > most {
            slabs.push(start..m);
            (start, entries) = (m, 0);
        }
        entries += size;
    }
    slabs.push(start..sizes.len());
    slabs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_the_places_of_their_rows() {
        let (starts, indices) = ([0i64, 2, 2, 4, 5], [0i32, 2, 2, 0, 1]);
        let pattern = Pattern::new(&starts, &indices, 3).unwrap();
        let places = [7, 8, NOWHERE, 5];
        let sizes = pattern.sizes(&places).unwrap();
        assert_eq!(sizes, [1, 1, 1]);
        let columns = pattern.columns(&places, &sizes, 1..3);
        assert_eq!((columns.column(0), columns.column(1)), (&[5][..], &[7][..]));
        assert!(Pattern::new(&starts, &indices, 2).unwrap().sizes(&places).is_err());
        assert!(Pattern::new(&[0, 6], &indices, 3).is_err());
        assert!(Pattern::new(&[0, 2, 1], &indices, 3).is_err());
    }

    #[test]
    fn slabs_cover_all_features_and_are_bounded() {
        let few = [SLAB_ENTRIES / 2, SLAB_ENTRIES / 2, 1, 2 * SLAB_ENTRIES, 0, 5];
        assert_eq!(slabs(&few), [0..2, 2..3, 3..4, 4..6]);
        assert_eq!(slabs(&[0, 0, 0, SLAB_ENTRIES, 1]), [0..4, 4..5]);
    }
}
