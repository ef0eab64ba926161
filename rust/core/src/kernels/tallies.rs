//! How the labels of a feature's active samples are distributed, under a line of permutations at a time, and
//! what follows from it: plain Rust over fixed lanes, compiled for every level, the same bits on all of them.
//!
//! The labels of one sample under several permutations lie side by side, so that an active sample is one
//! access to memory for all of them, and the counters of different permutations never wait for each other.

use super::doubles::{LANES, method, total};
use super::{Level, Simd, prefetch};

/// Permutations of a line of bytes.
pub const FEW: usize = 64;
/// Permutations of a line of 16-bit numbers.
pub const MANY: usize = 32;

/// Labels of one sample under `N` permutations: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct LabelLine<T, const N: usize>(pub [T; N]);

/// Labels whose counters are in registers at a time: four AVX-512 registers, eight of AVX2.
const TILE: usize = 4;
/// Lines between the request for one and its use. At a million samples, 64 MB of lines, 1.2 ns a label become 0.3.
const AHEAD: usize = 16;

/// What a row of null scores adds to the sums of a feature and label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NullSums {
    /// How many reach the observed score.
    pub reached: u32,
    /// Σ (score − observed).
    pub sum: f64,
    /// Σ (score − observed)².
    pub square: f64,
}

#[inline(always)]
fn few_labels(places: &[u32], lines: &[LabelLine<u8, FEW>], counts: &mut [[u32; FEW]]) {
    // As many samples as a byte counts; their lines, 16 KB, stay in the first cache for all tiles.
    for (at, piece) in places.chunks(usize::from(u8::MAX)).enumerate() {
        let next = &places[(at * usize::from(u8::MAX) + AHEAD).min(places.len())..];
        for (tile, counts) in counts.chunks_mut(TILE).enumerate() {
            let mut found = [[0u8; FEW]; TILE];
            for (i, &place) in piece.iter().enumerate() {
                if let (0, Some(&soon)) = (tile, next.get(i)) {
                    prefetch(&lines[soon as usize].0[..1]);
                }
                let labels = &lines[place as usize].0;
                for (t, found) in found.iter_mut().enumerate() {
                    let wanted = (tile * TILE + t) as u8;
                    (0..FEW).for_each(|b| found[b] += u8::from(labels[b] == wanted));
                }
            }
            for (counts, found) in counts.iter_mut().zip(&found) {
                (0..FEW).for_each(|b| counts[b] += u32::from(found[b]));
            }
        }
    }
}

/// Adds to `counts[label][b]` how many of the samples at `places` have the label under permutation b, for any
/// number of labels; `scratch` holds as many rows of zeros as `counts`.
///
/// # Panics
/// When a place or a label is beyond `lines` or `counts`.
pub fn many_labels(
    places: &[u32],
    lines: &[LabelLine<u16, MANY>],
    scratch: &mut [[u16; MANY]],
    counts: &mut [[u32; MANY]],
) {
    // Counters of 16 bits: those of 700 labels are in the first cache, of 32 bits those of 350.
    for (at, piece) in places.chunks(usize::from(u16::MAX)).enumerate() {
        let next = &places[(at * usize::from(u16::MAX) + AHEAD).min(places.len())..];
        for (i, &place) in piece.iter().enumerate() {
            if let Some(&soon) = next.get(i) {
                prefetch(&lines[soon as usize].0[..1]);
            }
            let labels = &lines[place as usize].0;
            (0..MANY).for_each(|b| scratch[usize::from(labels[b])][b] += 1);
        }
        for (counts, found) in counts.iter_mut().zip(scratch.iter_mut()) {
            (0..MANY).for_each(|b| counts[b] += u32::from(found[b]));
            *found = [0; MANY];
        }
    }
}

#[inline(always)]
fn scale_counts(counts: &[u32], scale: f64, offset: f64, out: &mut [f64]) {
    for (counts, out) in counts.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        (0..LANES).for_each(|b| out[b] = f64::from(counts[b]) * scale - offset);
    }
}

#[inline(always)]
fn keep_two_highest(scores: &[f64], first: &mut [f64], second: &mut [f64]) {
    let highest = first.as_chunks_mut::<LANES>().0.iter_mut().zip(second.as_chunks_mut::<LANES>().0);
    for (scores, (first, second)) in scores.as_chunks::<LANES>().0.iter().zip(highest) {
        for b in 0..LANES {
            let lower = if scores[b] < first[b] { scores[b] } else { first[b] };
            second[b] = if lower > second[b] { lower } else { second[b] };
            first[b] = if scores[b] > first[b] { scores[b] } else { first[b] };
        }
    }
}

#[inline(always)]
fn less_highest_other(scores: &mut [f64], first: &[f64], second: &[f64]) {
    let highest = first.as_chunks::<LANES>().0.iter().zip(second.as_chunks::<LANES>().0);
    for (scores, (first, second)) in scores.as_chunks_mut::<LANES>().0.iter_mut().zip(highest) {
        for b in 0..LANES {
            // The highest other is the highest of all, except for the highest itself.
            scores[b] -= if scores[b] < first[b] { first[b] } else { second[b] };
        }
    }
}

#[inline(always)]
fn compare_null(scores: &[f64], observed: f64, tolerance: f64, highest: &mut [f64]) -> NullSums {
    let (mut reached, mut sums, mut squares) = ([0u64; LANES], [0.0; LANES], [0.0; LANES]);
    for (scores, highest) in scores.as_chunks::<LANES>().0.iter().zip(highest.as_chunks_mut::<LANES>().0) {
        for b in 0..LANES {
            let difference = scores[b] - observed;
            reached[b] += u64::from(difference >= -tolerance);
            sums[b] += difference;
            squares[b] += difference * difference;
            highest[b] = if scores[b] > highest[b] { scores[b] } else { highest[b] };
        }
    }
    // Halves first: at 1,000 labels a sample and permutation take 4.8 ns, 5.3 if lanes are added one by one.
    NullSums { reached: reached.iter().sum::<u64>() as u32, sum: total(&sums), square: total(&squares) }
}

method! {
    /// Adds to `counts[label][b]` how many of the samples at `places` have the label under permutation b.
    ///
    /// Every label is compared with every line: faster than counting by address up to about 24 labels.
    ///
    /// # Panics
    /// When a place is beyond `lines`, or with more labels than a byte can name.
    few_labels(places: &[u32], lines: &[LabelLine<u8, FEW>], counts: &mut [[u32; FEW]]),
    counts.len() <= 256
}

method! {
    /// `out = counts · scale − offset`; here and in what follows, rows hold a multiple of 16 values.
    ///
    /// # Panics
    /// When rows differ in length.
    scale_counts(counts: &[u32], scale: f64, offset: f64, out: &mut [f64]),
    counts.len() == out.len(), counts.len().is_multiple_of(LANES)
}

method! {
    /// Puts scores among the two highest so far, value by value.
    ///
    /// # Panics
    /// When rows differ in length.
    keep_two_highest(scores: &[f64], first: &mut [f64], second: &mut [f64]),
    scores.len() == first.len() && scores.len() == second.len(), scores.len().is_multiple_of(LANES)
}

method! {
    /// Takes from each score the highest of the others, given the two highest of all.
    ///
    /// # Panics
    /// When rows differ in length.
    less_highest_other(scores: &mut [f64], first: &[f64], second: &[f64]),
    scores.len() == first.len() && scores.len() == second.len(), scores.len().is_multiple_of(LANES)
}

method! {
    /// Compares null scores with the observed one, and raises `highest` to them.
    ///
    /// # Panics
    /// When rows differ in length.
    compare_null(scores: &[f64], observed: f64, tolerance: f64, highest: &mut [f64]) -> NullSums,
    scores.len() == highest.len(), scores.len().is_multiple_of(LANES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Labels that look random.
    fn label(place: usize, b: usize, n_labels: usize) -> usize {
        (place * 7_919 + b * 104_729 + place * b) % n_labels
    }

    proptest! {
        #[test]
        fn labels_are_counted_on_every_level(
            n_labels in 1usize..40, places in prop::collection::vec(0u32..50, 0..700), before in 0u32..3,
        ) {
            let expected = |n: usize| -> Vec<Vec<u32>> {
                let mut counts = vec![vec![before; n]; n_labels];
                for &place in &places {
                    (0..n).for_each(|b| counts[label(place as usize, b, n_labels)][b] += 1);
                }
                counts
            };
            let line = |place| LabelLine(std::array::from_fn(|b| label(place, b, n_labels) as u8));
            let lines: Vec<LabelLine<u8, FEW>> = (0..50).map(line).collect();
            for simd in Simd::available() {
                let mut counts = vec![[before; FEW]; n_labels];
                simd.few_labels(&places, &lines, &mut counts);
                let counts: Vec<_> = counts.iter().map(|row| row.to_vec()).collect();
                prop_assert_eq!(counts, expected(FEW), "{}", simd.name());
            }
            let line = |place| LabelLine(std::array::from_fn(|b| label(place, b, n_labels) as u16));
            let lines: Vec<LabelLine<u16, MANY>> = (0..50).map(line).collect();
            let mut counts = vec![[before; MANY]; n_labels];
            many_labels(&places, &lines, &mut vec![[0; MANY]; n_labels], &mut counts);
            let counts: Vec<_> = counts.iter().map(|row| row.to_vec()).collect();
            prop_assert_eq!(counts, expected(MANY));
        }

        #[test]
        fn scores_are_compared_on_every_level(
            rows in prop::collection::vec(prop::collection::vec(0u32..9, 32), 2..6), observed in 0u32..9,
        ) {
            for simd in Simd::available() {
                // Eighths: every sum is exact.
                let scaled = |row: &[u32]| {
                    let mut out = vec![f64::NAN; 32];
                    simd.scale_counts(row, 0.125, 0.5, &mut out);
                    out
                };
                let scores: Vec<_> = rows.iter().map(|row| scaled(row)).collect();
                let (mut first, mut second) = (vec![f64::NEG_INFINITY; 32], vec![f64::NEG_INFINITY; 32]);
                scores.iter().for_each(|row| simd.keep_two_highest(row, &mut first, &mut second));
                let observed = f64::from(observed) / 8.0 - 0.5;
                for (l, row) in scores.iter().enumerate() {
                    let mut less = row.clone();
                    simd.less_highest_other(&mut less, &first, &second);
                    let mut highest = vec![0.0; 32];
                    let found = simd.compare_null(row, observed, 1e-15, &mut highest);
                    let mut expected = NullSums::default();
                    for b in 0..32 {
                        let score = f64::from(rows[l][b]) / 8.0 - 0.5;
                        prop_assert_eq!(row[b], score);
                        let others = (0..rows.len()).filter(|&j| j != l).map(|j| scores[j][b]);
                        prop_assert_eq!(less[b], score - others.fold(f64::NEG_INFINITY, f64::max));
                        prop_assert_eq!(highest[b], score.max(0.0));
                        expected.reached += u32::from(score >= observed);
                        expected.sum += score - observed;
                        expected.square += (score - observed) * (score - observed);
                    }
                    prop_assert_eq!(found, expected, "{}", simd.name());
                }
            }
        }
    }

    #[test]
    fn more_samples_than_a_counter_of_16_bits_holds() {
        let places: Vec<u32> = (0..150_000).map(|i| i % 3).collect();
        let lines = [0u16, 1, 0].map(|label| LabelLine([label; MANY]));
        let mut counts = [[0; MANY]; 2];
        many_labels(&places, &lines, &mut [[0; MANY]; 2], &mut counts);
        assert_eq!(counts, [[100_000; MANY], [50_000; MANY]]);
    }
}
