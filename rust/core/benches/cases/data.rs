//! Fixed data: the same values on every machine and in every run.

#[path = "../../tests/common/random.rs"]
mod random;

use super::Setting;
use icfl_core::cancel::Cancel;
use icfl_core::dictionary::Dictionary;
use icfl_core::team::Team;
use random::Random;

/// Atoms that a sample is made of.
const ACTIVE: usize = 32;

/// Standard deviation of the noise beside a signal of unit norm, summed over features; with it pursuit goes
/// on to its last round.
const NOISE: f32 = 0.4;

static CANCEL: Cancel = Cancel::new();

/// One thread, so that time and counts are those of the work itself.
pub(super) fn alone() -> Team<'static> {
    Team::new(Some(1), &CANCEL)
}

impl Random {
    /// Uniform in [-1, 1).
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// `n` values uniform in [-1, 1), different ones for each `seed`.
pub(super) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..n).map(|_| random.value()).collect()
}

/// m atoms of unit norm, row-major.
pub(super) fn atoms(setting: Setting) -> Vec<f32> {
    let mut atoms = values(setting.m * setting.d, 1);
    atoms.chunks_mut(setting.d).for_each(normalise);
    atoms
}

/// n samples of unit norm: each a sum of some atoms, all equally frequent, and noise.
pub(super) fn samples(setting: Setting, atoms: &[f32]) -> Vec<f32> {
    let d = setting.d;
    let mut random = Random(2);
    let mut samples = vec![0.0; setting.n * d];
    for sample in samples.chunks_mut(d) {
        for _ in 0..ACTIVE {
            let (atom, scale) = (random.below(setting.m), 1.0 + 0.5 * random.value());
            sample.iter_mut().zip(&atoms[atom * d..]).for_each(|(x, a)| *x += scale * a);
        }
        normalise(sample);
        // A uniform value has variance 1/3.
        let scale = NOISE * (3.0 / d as f32).sqrt();
        sample.iter_mut().for_each(|x| *x += scale * random.value());
        normalise(sample);
    }
    samples
}

pub(super) fn dictionary(setting: Setting) -> Dictionary {
    Dictionary::new(atoms(setting), setting.d, setting.simd).expect("atoms are finite")
}

fn normalise(row: &mut [f32]) {
    let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.iter_mut().for_each(|v| *v /= norm);
}
