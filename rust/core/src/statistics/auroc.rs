//! Area under the ROC curve of every feature for every label, with DeLong's variance.
//!
//! The labelled samples of one feature, in the order of their codes, are groups of ties; the zeros, most of the
//! samples, are one group of which only the size for each label is needed. With `m` samples of a label, `n`
//! others, `a` twice the number of others below a sample of the label (ties count half) and `b` twice the number
//! of the label's samples below one of the others,
//!
//! ```text
//! AUC = Σa / (2 m n),   variance = S(a) / (4 n² m) + S(b) / (4 m² n),   S the sample variance
//! ```
//!
//! (DeLong, DeLong and Clarke-Pearson 1988; by ranks: Sun and Xu 2014). A label's `b` changes only at groups that
//! hold the label, so that one walk over the non-zeros serves all labels. All sums are integers: the order of
//! entries within a column does not matter, and results have the same bits for any number of threads.

use super::active::{ActiveRows, Index, SparseRows, Value, not_finite};
use crate::error::{Error, Result};
use crate::team::Team;
use std::cmp::Ordering;
use std::sync::Mutex;

/// Rows whose entries a worker counts at a time, and looks at between two questions whether to stop.
const BLOCK_ROWS: usize = 1 << 15;
/// What the entries of a panel of columns take, where that makes no more than `MOST_PANELS` panels. Every panel
/// is one more reading of all column numbers: 25 ms for 32 million, a twentieth of sorting them.
const PANEL_BYTES: usize = 1 << 24;
const MOST_PANELS: usize = 64;
/// Products of three counts below this fit 128 bits.
const MOST_SAMPLES: usize = i32::MAX as usize;

/// A value that can be ranked together with its label.
pub trait Ranked: Value {
    /// Ordered by value, then by label.
    type Entry: Copy + Default + Ord + Send;

    /// This value, which is not NaN, with a label.
    fn entry(self, label: u32) -> Self::Entry;

    /// The label of an entry.
    fn label(entry: Self::Entry) -> usize;

    /// How the value of an entry compares with another's, and with zero.
    fn compare(one: Self::Entry, other: Self::Entry) -> Ordering;
}

impl Ranked for f32 {
    type Entry = u64; // the value in the high half

    fn entry(self, label: u32) -> u64 {
        let bits = self.to_bits();
        let ordered = if self.is_sign_negative() { !bits } else { bits | 1 << 31 };
        u64::from(ordered) << 32 | u64::from(label)
    }

    fn label(entry: u64) -> usize {
        entry as u32 as usize
    }

    fn compare(one: u64, other: u64) -> Ordering {
        (one >> 32).cmp(&(other >> 32))
    }
}

impl Ranked for f64 {
    type Entry = (u64, u32);

    fn entry(self, label: u32) -> (u64, u32) {
        let bits = self.to_bits();
        (if self.is_sign_negative() { !bits } else { bits | 1 << 63 }, label)
    }

    fn label(entry: (u64, u32)) -> usize {
        entry.1 as usize
    }

    fn compare(one: (u64, u32), other: (u64, u32)) -> Ordering {
        one.0.cmp(&other.0)
    }
}

/// Where the results go, each of shape (n_features, n_labels).
#[derive(Debug)]
pub struct AurocResults<'a> {
    /// Areas; NaN for a label with no sample or with all.
    pub areas: &'a mut [f64],
    /// DeLong's standard errors; NaN where the label, or the rest, has fewer than two samples.
    pub errors: &'a mut [f64],
}

/// The area under the ROC curve of every feature for every label against all other labelled samples.
///
/// `labels` has a number from 0 to `n_labels` - 1 per sample, -1 for none. Rows may be in any order within
/// themselves but must not repeat a feature.
///
/// # Errors
/// [`Error::Argument`] when sizes, labels or indices do not fit, a feature is repeated, or values are not finite;
/// results are then partly written. Cancellation.
pub fn auroc_by_label<I: Index, V: Ranked>(
    rows: &SparseRows<'_, I, V>,
    labels: &[i64],
    n_labels: usize,
    results: AurocResults<'_>,
    team: &Team<'_>,
) -> Result<()> {
    let totals = count_labels(rows, labels, n_labels)?;
    let expected = rows.width() * n_labels;
    if results.areas.len() != expected || results.errors.len() != expected {
        return Err(Error::Argument(format!("results must have {expected} values each")));
    }
    let counts = count_columns(rows, labels, team)?;
    let panels = Panel::cut(&counts, size_of::<V::Entry>(), n_labels, results);
    team.run(panels.len(), Vec::new, |tallies: &mut Vec<Tally>, p| {
        let mut panel = panels[p].lock().expect("each panel has one user");
        let Panel { first, counts, areas, errors } = &mut *panel;
        let (ends, mut entries) = gather(rows, labels, *first, counts, team)?;
        let mut start = 0;
        for (c, &end) in ends.iter().enumerate() {
            team.cancel().check()?;
            let column = &mut entries[start..end];
            column.sort_unstable();
            let out = c * n_labels..(c + 1) * n_labels;
            walk::<V>(column, &totals, tallies)?;
            for (l, tally) in tallies.iter().enumerate() {
                (areas[out.start + l], errors[out.start + l]) = tally.finish(totals.each[l], totals.all);
            }
            start = end;
        }
        Ok(())
    })
}

/// Labelled samples.
struct Totals {
    each: Vec<u64>,
    all: u64,
}

fn count_labels<I: Index, V: Ranked>(
    rows: &SparseRows<'_, I, V>,
    labels: &[i64],
    n_labels: usize,
) -> Result<Totals> {
    if labels.len() != rows.len() || labels.len() > MOST_SAMPLES {
        return Err(Error::Argument(format!(
            "labels must have one entry for each of the {} rows of Z (at most {MOST_SAMPLES}), got {}",
            rows.len(),
            labels.len()
        )));
    }
    let mut each = vec![0u64; n_labels];
    for &label in labels.iter().filter(|&&label| label != -1) {
        let place = usize::try_from(label).ok().and_then(|l| each.get_mut(l));
        *place.ok_or_else(|| {
            Error::Argument(format!("labels must be numbers from -1 to {n_labels} - 1, got {label}"))
        })? += 1;
    }
    let all = each.iter().sum();
    Ok(Totals { each, all })
}

/// How many labelled, non-zero entries every column has; all entries are checked.
fn count_columns<I: Index, V: Ranked>(
    rows: &SparseRows<'_, I, V>,
    labels: &[i64],
    team: &Team<'_>,
) -> Result<Vec<usize>> {
    let width = rows.width();
    let total = Mutex::new(vec![0usize; width]);
    team.run(
        labels.len().div_ceil(BLOCK_ROWS),
        || vec![0u32; width],
        |found, block| {
            let first = block * BLOCK_ROWS;
            for (row, &label) in (first..).zip(labels[first..].iter().take(BLOCK_ROWS)) {
                let labelled = label >= 0;
                let (indices, values) = rows.row(row);
                for (index, &value) in indices.iter().zip(values) {
                    if !value.is_finite() {
                        return Err(not_finite(row));
                    }
                    let count = found.get_mut(index.place()).ok_or_else(|| rows.outside(row))?;
                    *count += u32::from(labelled && value != V::default());
                }
            }
            let mut total = total.lock().expect("no worker panicked");
            for (total, found) in total.iter_mut().zip(found) {
                *total += std::mem::take(found) as usize;
            }
            Ok(())
        },
    )?;
    Ok(total.into_inner().expect("no worker panicked"))
}

/// Neighbouring columns whose entries are brought together at once, and their places in the results.
struct Panel<'a> {
    first: usize,
    counts: &'a [usize],
    areas: &'a mut [f64],
    errors: &'a mut [f64],
}

impl<'a> Panel<'a> {
    /// Panels of about equally many entries; how many follows from sizes alone.
    fn cut(
        counts: &'a [usize],
        entry_bytes: usize,
        n_labels: usize,
        results: AurocResults<'a>,
    ) -> Vec<Mutex<Panel<'a>>> {
        let stored: usize = counts.iter().sum();
        let n_panels = (stored * entry_bytes / PANEL_BYTES).clamp(1, MOST_PANELS);
        let most = stored.div_ceil(n_panels);
        let (mut areas, mut errors) = (results.areas, results.errors);
        let (mut panels, mut first) = (Vec::new(), 0);
        while first < counts.len() {
            let mut sum = 0;
            let fits = |&&count: &&usize| {
                sum += count;
                sum <= most
            };
            let width = counts[first..].iter().take_while(fits).count().max(1);
            let (own_areas, rest_areas) = areas.split_at_mut(width * n_labels);
            let (own_errors, rest_errors) = errors.split_at_mut(width * n_labels);
            let counts = &counts[first..first + width];
            panels.push(Mutex::new(Panel { first, counts, areas: own_areas, errors: own_errors }));
            (areas, errors, first) = (rest_areas, rest_errors, first + width);
        }
        panels
    }
}

/// Where each column of a panel ends, and the entries, column after column.
fn gather<I: Index, V: Ranked>(
    rows: &SparseRows<'_, I, V>,
    labels: &[i64],
    first: usize,
    counts: &[usize],
    team: &Team<'_>,
) -> Result<(Vec<usize>, Vec<V::Entry>)> {
    let mut stored = 0;
    let mut next: Vec<usize> = Vec::with_capacity(counts.len());
    for count in counts {
        next.push(stored);
        stored += count;
    }
    let mut entries = vec![V::Entry::default(); stored];
    for (row, &label) in labels.iter().enumerate() {
        if row.is_multiple_of(BLOCK_ROWS) {
            team.cancel().check()?;
        }
        if label < 0 {
            continue;
        }
        let (indices, values) = rows.row(row);
        for (index, &value) in indices.iter().zip(values) {
            // Columns before the first become places beyond the last.
            if let Some(place) = next.get_mut(index.place().wrapping_sub(first))
                && value != V::default()
            {
                entries[*place] = value.entry(label as u32);
                *place += 1;
            }
        }
    }
    Ok((next, entries)) // where the next entry would go is where the column ends
}

/// What is known of a label after some of the samples, in the order of their codes.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Its samples so far.
    own: u64,
    /// All samples up to the last group that held one of its samples.
    seen: u64,
    a: u64,
    a_squares: u128,
    b_squares: u128,
}

impl Tally {
    /// Adds `own` samples of the label in a group of `size` ties, above `below` samples of any label.
    fn add(&mut self, own: u64, below: u64, size: u64) {
        let a = 2 * below + size - (2 * self.own + own);
        self.a += own * a;
        self.a_squares += u128::from(own * a) * u128::from(a);
        self.pass(below);
        let b = 2 * self.own + own;
        self.b_squares += u128::from(size - own) * square(b);
        self.own += own;
        self.seen = below + size;
    }

    /// Notes the others between the last group of the label and the place `below`.
    fn pass(&mut self, below: u64) {
        self.b_squares += u128::from(below - self.seen) * square(2 * self.own);
    }

    /// Area and standard error, for `own` of `all` samples.
    fn finish(&self, own: u64, all: u64) -> (f64, f64) {
        let (m, n) = (own, all - own);
        if m == 0 || n == 0 {
            return (f64::NAN, f64::NAN);
        }
        let area = self.a as f64 / (2 * m * n) as f64;
        if m == 1 || n == 1 {
            return (area, f64::NAN);
        }
        let b = 2 * m * n - self.a; // every pair counts two, for one side or the other
        let (m_f, n_f) = (m as f64, n as f64);
        let variance = of_mean(m, self.a, self.a_squares) / (4.0 * n_f * n_f)
            + of_mean(n, b, self.b_squares) / (4.0 * m_f * m_f);
        (area, variance.sqrt())
    }
}

/// Variance of the mean of integers: count Σx² - (Σx)² is count² (count - 1) times that.
fn of_mean(count: u64, sum: u64, squares: u128) -> f64 {
    let centred = u128::from(count) * squares - square(sum);
    let count = count as f64;
    centred as f64 / (count * count * (count - 1.0))
}

fn square(count: u64) -> u128 {
    u128::from(count) * u128::from(count)
}

/// Tallies of all labels for one column, whose non-zero entries are sorted.
fn walk<V: Ranked>(column: &[V::Entry], totals: &Totals, tallies: &mut Vec<Tally>) -> Result<()> {
    tallies.clear();
    tallies.resize(totals.each.len(), Tally::default());
    let zero = V::default().entry(0);
    let (negative, positive) = column.split_at(column.partition_point(|&e| V::compare(e, zero).is_lt()));
    add_groups::<V>(negative, 0, tallies);
    let mut active = vec![0u64; totals.each.len()];
    for &entry in column {
        active[V::label(entry)] += 1;
    }
    let zeros = totals.all.checked_sub(column.len() as u64).ok_or_else(repeated)?;
    for ((tally, &all), &active) in tallies.iter_mut().zip(&totals.each).zip(&active) {
        let own = all.checked_sub(active).ok_or_else(repeated)?;
        if own > 0 {
            tally.add(own, negative.len() as u64, zeros);
        }
    }
    add_groups::<V>(positive, negative.len() as u64 + zeros, tallies);
    for tally in tallies {
        tally.pass(totals.all);
    }
    Ok(())
}

/// Adds sorted entries that lie above `below` samples.
fn add_groups<V: Ranked>(entries: &[V::Entry], mut below: u64, tallies: &mut [Tally]) {
    for ties in entries.chunk_by(|&one, &other| V::compare(one, other).is_eq()) {
        for same in ties.chunk_by(|&one, &other| V::label(one) == V::label(other)) {
            tallies[V::label(same[0])].add(same.len() as u64, below, ties.len() as u64);
        }
        below += ties.len() as u64;
    }
}

fn repeated() -> Error {
    Error::Argument("Z must have each feature once in a row, got repeated entries".into())
}

#[cfg(test)]
mod tests;
