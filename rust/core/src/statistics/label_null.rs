//! Selectivity under permuted labels: how often chance reaches what was observed, and the highest of all
//! features in each permutation.
//!
//! Features are taken one at a time and permutations a line at a time ([`crate::kernels::LabelLine`]): the
//! labels of the active samples are counted, the counts become scores, and only sums over permutations stay.
//! Sums of a feature are made by one worker, permutation by permutation, and a maximum is the same in any
//! order, so results have the same bits for any number of threads.

use super::active::Index;
use super::active_columns::{ActiveColumns, Pattern, slabs};
use super::permutations::Design;
use crate::error::{Error, Result};
use crate::kernels::{FEW, LabelLine, MANY, NullSums, Simd, many_labels};
use crate::team::Team;
use std::sync::Mutex;

/// Up to this many labels are compared with every line, more are counted by address: 0.5 ns a sample and
/// permutation for either at 30 labels, 0.12 against 0.45 at eight.
const FEW_LABELS: usize = 24;
/// Features a worker takes at a time.
const BLOCK_FEATURES: usize = 8;
/// Two quotients up to 1 and their difference, each rounded: scores of equal counts are within 3 eps however
/// they were reached, and those of other counts are not meant to be told apart more finely.
const TOLERANCE: f64 = 4.0 * f64::EPSILON;

/// What a label is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All other samples.
    Average,
    /// The most active other label.
    Maximum,
}

/// Scores under permuted labels.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelNull {
    /// How many permutations reach the observed score, shape (n_features, n_labels).
    pub reached: Vec<u32>,
    /// Σ (score − observed), the same shape.
    pub sums: Vec<f64>,
    /// Σ (score − observed)², the same shape.
    pub squares: Vec<f64>,
    /// The highest score of any feature, shape (n_permutations, n_labels).
    pub highest: Vec<f64>,
}

/// Scores all features under permutations of the labels within groups.
///
/// `observed`, shape (n_features, n_labels), has the counts of active samples by label.
///
/// # Errors
/// [`Error::Argument`] when shapes or indices do not fit. Cancellation.
pub fn label_null<I: Index>(
    pattern: &Pattern<'_, I>,
    design: &Design,
    observed: &[i64],
    kind: Kind,
    (seed, n_permutations): (u64, usize),
    simd: Simd,
    team: &Team<'_>,
) -> Result<LabelNull> {
    let (n_labels, width) = (design.totals.len(), pattern.width());
    if pattern.len() != design.places.len() || observed.len() != n_labels * width || width == 0 {
        let message = format!("labels and counts must fit {} rows of {width} components", pattern.len());
        return Err(Error::Argument(message));
    }
    let mut null = LabelNull {
        reached: vec![0; width * n_labels],
        sums: vec![0.0; width * n_labels],
        squares: vec![0.0; width * n_labels],
        highest: vec![f64::NEG_INFINITY; n_permutations * n_labels],
    };
    let scores = Scores::new(design, observed, kind, simd);
    let sizes = pattern.sizes(&design.places)?;
    for range in slabs(&sizes) {
        let columns = pattern.columns(&design.places, &sizes, range);
        if n_labels <= FEW_LABELS {
            permute::<Few, FEW>(&columns, design, &scores, (seed, n_permutations), &mut null, team)?;
        } else {
            permute::<Many, MANY>(&columns, design, &scores, (seed, n_permutations), &mut null, team)?;
        }
    }
    Ok(null)
}

/// A way to count labels, `N` permutations at a time.
trait Tally<const N: usize> {
    type Label: From<u8> + Copy + Send + Sync;
    type Scratch;

    fn label(label: u16) -> Self::Label;
    fn scratch(n_labels: usize) -> Self::Scratch;
    fn count(
        places: &[u32],
        lines: &[LabelLine<Self::Label, N>],
        scratch: &mut Self::Scratch,
        counts: &mut [[u32; N]],
        simd: Simd,
    );
}

struct Few;
struct Many;

impl Tally<FEW> for Few {
    type Label = u8;
    type Scratch = ();

    fn label(label: u16) -> u8 {
        label as u8
    }

    fn scratch(_: usize) {}

    fn count(
        places: &[u32],
        lines: &[LabelLine<u8, FEW>],
        (): &mut (),
        counts: &mut [[u32; FEW]],
        simd: Simd,
    ) {
        simd.few_labels(places, lines, counts);
    }
}

impl Tally<MANY> for Many {
    type Label = u16;
    type Scratch = Vec<[u16; MANY]>;

    fn label(label: u16) -> u16 {
        label
    }

    fn scratch(n_labels: usize) -> Self::Scratch {
        vec![[0; MANY]; n_labels]
    }

    fn count(
        places: &[u32],
        lines: &[LabelLine<u16, MANY>],
        scratch: &mut Self::Scratch,
        counts: &mut [[u32; MANY]],
        _: Simd,
    ) {
        many_labels(places, lines, scratch, counts);
    }
}

/// All permutations for the features of a slab.
fn permute<T: Tally<N>, const N: usize>(
    columns: &ActiveColumns,
    design: &Design,
    scores: &Scores<'_>,
    (seed, n_permutations): (u64, usize),
    null: &mut LabelNull,
    team: &Team<'_>,
) -> Result<()> {
    let n_labels = design.totals.len();
    let mut lines = vec![LabelLine([T::Label::from(0); N]); design.len()];
    let LabelNull { reached, sums, squares, highest: all_highest } = null;
    let block = BLOCK_FEATURES * n_labels;
    let span = columns.range.start * n_labels..columns.range.end * n_labels;
    let parts = reached[span.clone()].chunks_mut(block).zip(sums[span.clone()].chunks_mut(block));
    let parts = parts.zip(squares[span].chunks_mut(block));
    let sums: Vec<_> = parts.map(|((reached, sums), squares)| Mutex::new((reached, sums, squares))).collect();
    for first in (0..n_permutations).step_by(N) {
        let used = N.min(n_permutations - first);
        design.draw((seed, first, used), &mut lines, T::label, team)?;
        let highest = Mutex::new(vec![f64::NEG_INFINITY; n_labels * N]);
        let scratch = || (vec![[0; N]; n_labels], T::scratch(n_labels), Room::new(n_labels * N, N));
        team.run(sums.len(), scratch, |(counts, scratch, room), block| {
            room.highest.fill(f64::NEG_INFINITY);
            let mut sums = sums[block].lock().expect("each block has one user");
            for i in 0..sums.0.len() / n_labels {
                let m = block * BLOCK_FEATURES + i;
                counts.fill([0; N]);
                T::count(columns.column(m), &lines, scratch, counts, scores.simd);
                scores.compare(
                    columns.range.start + m,
                    counts.as_flattened(),
                    N,
                    room,
                    |label, mut found| {
                        // Lanes that are not used hold the labels as they are: each reaches the observed score and
                        // differs from it by nothing.
                        found.reached -= (N - used) as u32;
                        let at = i * n_labels + label;
                        sums.0[at] += found.reached;
                        sums.1[at] += found.sum;
                        sums.2[at] += found.square;
                    },
                );
            }
            raise(&mut highest.lock().expect("no worker panicked"), &room.highest);
            Ok(())
        })?;
        let highest = highest.into_inner().expect("no worker panicked");
        for (b, out) in all_highest[first * n_labels..].chunks_mut(n_labels).take(used).enumerate() {
            out.iter_mut().enumerate().for_each(|(l, out)| *out = out.max(highest[l * N + b]));
        }
    }
    Ok(())
}

/// `to = max(to, from)`, value by value.
fn raise(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = to.max(*from));
}

/// Rows of one value per permutation, a row for each label.
struct Room {
    scores: Vec<f64>,
    /// Of the features seen so far.
    highest: Vec<f64>,
    /// The two highest shares of a feature; the first is also a row for average scores.
    top: [Vec<f64>; 2],
}

impl Room {
    fn new(size: usize, n: usize) -> Room {
        let top = [vec![0.0; n], vec![0.0; n]];
        Room { scores: vec![0.0; size], highest: vec![f64::NEG_INFINITY; size], top }
    }
}

/// From counts to scores, and to what was observed.
struct Scores<'a> {
    kind: Kind,
    /// 1 / samples of each label.
    inverse: Vec<f64>,
    /// 1 / samples of all other labels.
    inverse_others: Vec<f64>,
    /// Counts, shape (n_features, n_labels).
    observed: &'a [i64],
    simd: Simd,
}

impl Scores<'_> {
    fn new<'a>(design: &Design, observed: &'a [i64], kind: Kind, simd: Simd) -> Scores<'a> {
        let all = design.len() as u32;
        let inverse = |n: u32| 1.0 / f64::from(n);
        Scores {
            kind,
            inverse: design.totals.iter().map(|&n| inverse(n)).collect(),
            inverse_others: design.totals.iter().map(|&n| inverse(all - n)).collect(),
            observed,
            simd,
        }
    }

    /// What a count of the label is multiplied by, and what is taken off, for a feature active `active` times.
    fn scale(&self, label: usize, active: f64) -> (f64, f64) {
        let (own, others) = (self.inverse[label], self.inverse_others[label]);
        // a / n - (active - a) / others
        if self.kind == Kind::Average { (own + others, active * others) } else { (own, 0.0) }
    }

    /// Scores `n` permutations and compares them with what was observed for feature `m`.
    fn compare(
        &self,
        m: usize,
        counts: &[u32],
        n: usize,
        room: &mut Room,
        mut found: impl FnMut(usize, NullSums),
    ) {
        let observed = self.of_observed(m);
        let active: i64 = self.counts(m).iter().sum();
        if self.kind == Kind::Maximum {
            self.maxima(counts, n, room);
        }
        let Room { scores, highest, top: [row, _] } = room;
        let rows = counts.chunks(n).zip(scores.chunks(n)).zip(highest.chunks_mut(n));
        for (label, (((counts, scores), highest), observed)) in rows.zip(observed).enumerate() {
            let scores = if self.kind == Kind::Average {
                let (scale, offset) = self.scale(label, active as f64);
                self.simd.scale_counts(counts, scale, offset, row);
                &row[..]
            } else {
                scores
            };
            found(label, self.simd.compare_null(scores, observed, TOLERANCE, highest));
        }
    }

    /// Maximum selectivity of every label, into `room`.
    fn maxima(&self, counts: &[u32], n: usize, room: &mut Room) {
        let [first, second] = &mut room.top;
        first.fill(f64::NEG_INFINITY);
        second.fill(f64::NEG_INFINITY);
        for (label, (counts, scores)) in counts.chunks(n).zip(room.scores.chunks_mut(n)).enumerate() {
            self.simd.scale_counts(counts, self.inverse[label], 0.0, scores);
            self.simd.keep_two_highest(scores, first, second);
        }
        for scores in room.scores.chunks_mut(n) {
            self.simd.less_highest_other(scores, first, second);
        }
    }

    fn counts(&self, m: usize) -> &[i64] {
        let n_labels = self.inverse.len();
        &self.observed[m * n_labels..(m + 1) * n_labels]
    }

    /// Scores for the labels as they are.
    fn of_observed(&self, m: usize) -> Vec<f64> {
        let counts = self.counts(m);
        let active = counts.iter().sum::<i64>() as f64;
        let scaled = counts.iter().enumerate().map(|(label, &count)| {
            let (scale, offset) = self.scale(label, active);
            count as f64 * scale - offset
        });
        let scaled: Vec<f64> = scaled.collect();
        if self.kind == Kind::Average {
            return scaled;
        }
        let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for &share in &scaled {
            second = f64::max(second, f64::min(first, share));
            first = f64::max(first, share);
        }
        let other = |share: f64| if share < first { first } else { second };
        scaled.iter().map(|&share| share - other(share)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::permutations::tests::permuted;
    use super::*;
    use crate::cancel::Cancel;

    /// Selectivity of one feature by definition; samples by place.
    fn by_definition(active: &[bool], labels: &[u16], n_labels: usize, kind: Kind) -> Vec<f64> {
        let (mut totals, mut counts) = (vec![0.0; n_labels], vec![0.0; n_labels]);
        for (&label, &active) in labels.iter().zip(active) {
            totals[usize::from(label)] += 1.0;
            counts[usize::from(label)] += f64::from(u8::from(active));
        }
        let score = |label: usize| {
            let others = (0..n_labels).filter(|&j| j != label);
            let against = match kind {
                Kind::Average => {
                    others.clone().map(|j| counts[j]).sum::<f64>() / others.map(|j| totals[j]).sum::<f64>()
                }
                Kind::Maximum => others.map(|j| counts[j] / totals[j]).fold(f64::NEG_INFINITY, f64::max),
            };
            counts[label] / totals[label] - against
        };
        (0..n_labels).map(score).collect()
    }

    fn check(n_labels: usize, n_permutations: usize) {
        let (n, width, seed) = (150, 21, 5);
        let labels: Vec<i64> =
            (0..n).map(|i| if i % 9 == 4 { -1 } else { ((i * i + i / 7) % n_labels) as i64 }).collect();
        let groups: Vec<i64> = (0..n).map(|i| (i % 3) as i64).collect();
        let is_active = |i: usize, m: usize| m != 3 && (i * (m + 3) + i * i / 5) % 11 < 4;
        let (mut starts, mut indices) = (vec![0i64], Vec::<i32>::new());
        for i in 0..n {
            indices.extend((0..width).filter(|&m| is_active(i, m)).map(|m| m as i32));
            starts.push(indices.len() as i64);
        }
        let pattern = Pattern::new(&starts, &indices, width).unwrap();
        let design = Design::new(&labels, &groups, n_labels, 3).unwrap();
        let column = |m: usize| -> Vec<bool> {
            let mut active = vec![false; design.len()];
            for i in (0..n).filter(|&i| labels[i] >= 0) {
                active[design.places[i] as usize] = is_active(i, m);
            }
            active
        };
        let mut observed = vec![0i64; n_labels * width];
        for m in 0..width {
            for (&label, _) in design.labels.iter().zip(column(m)).filter(|(_, active)| *active) {
                observed[m * n_labels + usize::from(label)] += 1;
            }
        }
        let cancel = Cancel::new();
        let run = |kind, simd, n_jobs| {
            let team = Team::new(Some(n_jobs), &cancel);
            label_null(&pattern, &design, &observed, kind, (seed, n_permutations), simd, &team).unwrap()
        };
        for kind in [Kind::Average, Kind::Maximum] {
            let found = run(kind, Simd::detect().unwrap(), 1);
            for simd in Simd::available() {
                assert_eq!(run(kind, simd, 3), found, "{}", simd.name());
            }
            let mut highest = vec![f64::NEG_INFINITY; n_permutations * n_labels];
            for m in 0..width {
                let active = column(m);
                let truth = by_definition(&active, &design.labels, n_labels, kind);
                let mut sums = vec![(0, 0.0, 0.0); n_labels];
                for p in 0..n_permutations {
                    let scores = by_definition(&active, &permuted(&design, seed, p), n_labels, kind);
                    for l in 0..n_labels {
                        let difference = scores[l] - truth[l];
                        sums[l].0 += u32::from(difference >= -1e-12);
                        sums[l].1 += difference;
                        sums[l].2 += difference * difference;
                        let highest = &mut highest[p * n_labels + l];
                        *highest = highest.max(scores[l]);
                    }
                }
                for (l, sums) in sums.iter().enumerate() {
                    let at = m * n_labels + l;
                    assert_eq!(found.reached[at], sums.0);
                    // Each score is off by 3 eps at most, and each of the additions by half of eps of the sum.
                    let bound = (n_permutations * (n_permutations + 8)) as f64 * f64::EPSILON;
                    assert!((found.sums[at] - sums.1).abs() <= bound);
                    assert!((found.squares[at] - sums.2).abs() <= 4.0 * bound);
                }
            }
            for (found, expected) in found.highest.iter().zip(&highest) {
                assert!((found - expected).abs() <= TOLERANCE);
            }
        }
    }

    #[test]
    fn few_labels_are_the_definition() {
        check(2, 65);
        check(5, 130);
    }

    #[test]
    fn many_labels_are_the_definition() {
        check(FEW_LABELS + 1, 33);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let pattern = Pattern::new(&[0, 1, 2], &[0i32, 1], 2).unwrap();
        let design = Design::new(&[0, 1], &[0, 0], 2, 1).unwrap();
        let cancel = Cancel::new();
        let (team, simd) = (Team::new(Some(1), &cancel), Simd::detect().unwrap());
        assert!(label_null(&pattern, &design, &[0; 3], Kind::Average, (0, 1), simd, &team).is_err());
        let longer = Design::new(&[0, 1, 1], &[0; 3], 2, 1).unwrap();
        assert!(label_null(&pattern, &longer, &[0; 4], Kind::Average, (0, 1), simd, &team).is_err());
    }
}
