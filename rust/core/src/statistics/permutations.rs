//! Labels permuted among the samples of each group.
//!
//! Samples are ordered by group, so that a permutation is a shuffle of consecutive pieces. The numbers behind
//! permutation p come from a generator of its own, started from (seed, p): any worker can draw it, in any
//! order, with the same result.
//!
//! Reference: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).

use super::active_columns::NOWHERE;
use crate::error::{Error, Result};
use crate::kernels::LabelLine;
use crate::team::Team;

/// Permutations drawn at a time before they are laid side by side: their own memory stays a fraction of that
/// of the lines.
const ROUND: usize = 16;
/// Samples of a piece of lines.
const PIECE: usize = 4096;
/// Samples laid side by side at a time: their lines stay in the first cache.
const TILE: usize = 64;

/// Which samples take part, with which label and group.
#[derive(Clone, Debug)]
pub struct Design {
    /// Place of each row in the order by group, [`NOWHERE`] for those without a label.
    pub(super) places: Vec<u32>,
    /// Label at each place.
    pub(super) labels: Vec<u16>,
    /// Where each group ends.
    pub(super) ends: Vec<usize>,
    /// Samples of each label.
    pub(super) totals: Vec<u32>,
}

impl Design {
    /// One label and group per row, numbers from 0, or -1 for rows that are left out (in either).
    ///
    /// # Errors
    /// [`Error::Argument`] when lengths or numbers do not fit, there are fewer than two labels or more than
    /// 65,536, or one has no sample.
    pub fn new(labels: &[i64], groups: &[i64], n_labels: usize, n_groups: usize) -> Result<Design> {
        if labels.len() != groups.len() || u32::try_from(labels.len()).is_err() {
            return Err(Error::Argument(
                "labels and groups must have one entry for each of < 2^32 rows".into(),
            ));
        }
        if !(2..=1 << 16).contains(&n_labels) {
            return Err(Error::Argument(format!("labels must have from 2 to 65536 values, got {n_labels}")));
        }
        let fits = |&value: &i64, n: usize| (-1..n as i64).contains(&value);
        if !labels.iter().all(|l| fits(l, n_labels)) || !groups.iter().all(|g| fits(g, n_groups)) {
            return Err(Error::Argument("labels and groups must be numbers from -1".into()));
        }
        let kept = |row: usize| labels[row] >= 0 && groups[row] >= 0;
        let mut next = vec![0usize; n_groups + 1];
        (0..labels.len()).filter(|&row| kept(row)).for_each(|row| next[groups[row] as usize + 1] += 1);
        (0..n_groups).for_each(|g| next[g + 1] += next[g]);
        let ends = next[1..].to_vec();
        let mut design = Design {
            places: vec![NOWHERE; labels.len()],
            labels: vec![0; next[n_groups]],
            ends,
            totals: vec![0; n_labels],
        };
        for row in (0..labels.len()).filter(|&row| kept(row)) {
            let place = &mut next[groups[row] as usize];
            design.places[row] = *place as u32;
            design.labels[*place] = labels[row] as u16;
            design.totals[labels[row] as usize] += 1;
            *place += 1;
        }
        match design.totals.iter().position(|&total| total == 0) {
            Some(label) => Err(Error::Argument(format!("label number {label} has no sample"))),
            None => Ok(design),
        }
    }

    /// Samples that take part.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Labels by place under permutation `p`.
    fn permute<T: From<u8> + Copy>(&self, seed: u64, p: u64, out: &mut [T], from: impl Fn(u16) -> T) {
        out.iter_mut().zip(&self.labels).for_each(|(out, &label)| *out = from(label));
        let mut random = SplitMix::new(seed, p);
        let mut start = 0;
        for &end in &self.ends {
            let piece = &mut out[start..end];
            (1..piece.len()).rev().for_each(|i| piece.swap(i, random.below(i + 1)));
            start = end;
        }
    }

    /// Fills `lines` with `used` permutations from number `first` on; other lanes hold the labels as they are.
    pub(super) fn draw<T: From<u8> + Copy + Send + Sync, const N: usize>(
        &self,
        (seed, first, used): (u64, usize, usize),
        lines: &mut [LabelLine<T, N>],
        from: impl Fn(u16) -> T + Sync,
        team: &Team<'_>,
    ) -> Result<()> {
        let n = self.len();
        let mut drawn = vec![T::from(0); ROUND.min(N) * n];
        for round in (0..N).step_by(ROUND) {
            team.run_pieces(
                &mut drawn,
                n,
                || (),
                |(), b, out| {
                    if round + b < used {
                        self.permute(seed, (first + round + b) as u64, out, &from);
                    } else {
                        out.iter_mut().zip(&self.labels).for_each(|(out, &label)| *out = from(label));
                    }
                    Ok(())
                },
            )?;
            team.run_pieces(
                lines,
                PIECE,
                || (),
                |(), piece, lines| {
                    for (tile, lines) in lines.chunks_mut(TILE).enumerate() {
                        let start = piece * PIECE + tile * TILE;
                        for (b, drawn) in drawn.chunks(n).enumerate() {
                            let labels = &drawn[start..start + lines.len()];
                            lines.iter_mut().zip(labels).for_each(|(line, &label)| line.0[round + b] = label);
                        }
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    }
}

/// Random numbers of one permutation.
struct SplitMix(u64);

impl SplitMix {
    fn new(seed: u64, stream: u64) -> SplitMix {
        // Streams start at places that are far apart on the one sequence all of them walk.
        let mut start = SplitMix(seed);
        let mixed = start.next();
        let mut start = SplitMix(mixed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        SplitMix(start.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; each comes up with probability 1/n to within 2⁻⁶⁴.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Labels by place under permutation `p`.
    pub(crate) fn permuted(design: &Design, seed: u64, p: usize) -> Vec<u16> {
        let mut out = vec![0; design.len()];
        design.permute(seed, p as u64, &mut out, |label| label);
        out
    }

    #[test]
    fn groups_keep_their_labels() {
        let labels: Vec<i64> = (0..60).map(|i| [0, 1, 1, 2, -1][i % 5]).collect();
        let groups: Vec<i64> = (0..60i64).map(|i| i * i % 7 - 1).collect();
        let design = Design::new(&labels, &groups, 3, 6).unwrap();
        let of = |labels: &[u16], g: usize| {
            let start = if g == 0 { 0 } else { design.ends[g - 1] };
            let mut group = labels[start..design.ends[g]].to_vec();
            group.sort_unstable();
            group
        };
        for row in 0..60 {
            let taken = labels[row] >= 0 && groups[row] >= 0;
            assert_eq!(design.places[row] != NOWHERE, taken);
            if taken {
                let place = design.places[row] as usize;
                assert_eq!(i64::from(design.labels[place]), labels[row]);
                assert_eq!(design.ends.partition_point(|&end| end <= place) as i64, groups[row]);
            }
        }
        let all: Vec<_> = (0..9).map(|p| permuted(&design, 3, p)).collect();
        for labels in &all {
            (0..6).for_each(|g| assert_eq!(of(labels, g), of(&design.labels, g)));
        }
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn every_order_is_as_likely_as_the_others() {
        // 24 orders of four labels, 24,000 permutations.
        let design = Design::new(&[0, 1, 2, 3], &[0; 4], 4, 1).unwrap();
        let mut counts = std::collections::HashMap::new();
        for p in 0..24_000 {
            *counts.entry(permuted(&design, 11, p)).or_insert(0) += 1;
        }
        let chi2: f64 = counts.values().map(|&n: &i32| (f64::from(n) - 1e3).powi(2) / 1e3).sum();
        // χ² with 23 degrees of freedom exceeds 49.7 with probability 0.001.
        assert!(counts.len() == 24 && chi2 < 49.7, "{chi2}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let message = |labels: &[i64], groups: &[i64], n_labels| {
            Design::new(labels, groups, n_labels, 1).unwrap_err().to_string()
        };
        assert!(message(&[0, 1], &[0], 2).contains("one entry"));
        assert!(message(&[0, 0], &[0, 0], 1).contains("2 to 65536"));
        assert!(message(&[0, 2], &[0, 0], 2).contains("numbers"));
        assert!(message(&[0, 1], &[0, 1], 2).contains("numbers"));
        assert!(message(&[0, 1], &[0, -1], 2).contains("no sample"));
    }
}
