//! Scores that follow a residual are as close to inner products as their bounds say.

use super::data::{Kind, Random, exact, mixture, team, vectors};
use crate::dictionary::Dictionary;
use crate::kernels::Simd;
use crate::screen::fixed::FixedRows;
use crate::screen::gram::Gram;
use crate::screen::pursuit::{Scores, Work};

/// How scores hear of changes.
#[derive(Clone, Copy)]
enum How {
    Refit,
    Steps,
}

/// A sample on its way through a pursuit.
struct Path<'a> {
    sample: &'a [f32],
    dictionary: &'a Dictionary,
    /// The coefficients after every step, of the first so many of these atoms.
    atoms: &'a [u32],
    coefficients: &'a [Vec<f32>],
}

impl Path<'_> {
    /// Holds all scores to their bound after every step; they hear of it as `how` says. Returns the last bound and
    /// what the Gram matrix alone adds for coefficients of one.
    fn follow(&self, how: How, what: &str) -> (f32, f32) {
        let (dictionary, simd) = (self.dictionary, self.dictionary.simd());
        let (d, n) = (dictionary.n_features(), dictionary.n_components());
        let gram = dictionary.gram(&team()).expect("nobody cancels");
        let product = dictionary.product(usize::MAX, &team()).expect("nobody cancels");
        let (mut rows, mut scores) = (FixedRows::default(), vec![0.0; product.stride(n)]);
        product.load(self.sample, d, &mut rows);
        product.scores(self.sample, d, &rows, 0..n, &mut scores, product.stride(n));
        let mut work = Work::default();
        let bound = product.bound(d, &rows, 0);
        let mut scores = Scores::new(&mut scores[..n], bound, dictionary, &gram, &mut work);
        let (mut residual, mut before, mut last) = (self.sample.to_vec(), Vec::new(), 0.0);
        for (t, now) in self.coefficients.iter().enumerate() {
            let atoms = &self.atoms[..now.len()];
            before.resize(now.len(), 0.0);
            let mut steps: Vec<f32> = before.iter().zip(now).map(|(before, now)| before - now).collect();
            before.copy_from_slice(now);
            residual.copy_from_slice(self.sample);
            let minus: Vec<f32> = now.iter().map(|a| -a).collect();
            let taken: Vec<&[f32]> = atoms.iter().map(|&atom| dictionary.atom(atom as usize)).collect();
            simd.axpy_rows(&minus, &taken, 0, &mut residual);
            match how {
                How::Refit => scores.refit(atoms, &mut steps),
                How::Steps => scores.step(atoms, &steps),
            }
            let (found, bound) = scores.settled(&residual);
            for (m, &score) in found.iter().enumerate() {
                let expected = exact(dictionary.atom(m), &residual);
                let error = (f64::from(score) - expected).abs() - f64::from(f32::MIN_POSITIVE);
                let place = format!("{} {what}, step {t}, atom {m}", simd.name());
                assert!(error <= f64::from(bound), "{place}: {score} for {expected}, bound {bound}");
            }
            last = bound;
        }
        (last, Gram::drift(&gram))
    }
}

/// Atoms in a random order.
fn shuffled(random: &mut Random, n: usize) -> Vec<u32> {
    let mut atoms: Vec<u32> = (0..n as u32).collect();
    (1..n).for_each(|i| atoms.swap(i, random.below(i + 1)));
    atoms
}

/// Coefficients of a refit: each step adds one of about `size` and moves all others by `share` of it.
fn refits(random: &mut Random, n_steps: usize, size: f64, share: f64) -> Vec<Vec<f32>> {
    let mut steps: Vec<Vec<f32>> = Vec::new();
    for t in 0..n_steps {
        let mut now = steps.last().cloned().unwrap_or_default();
        now.iter_mut().for_each(|a| *a += (share * size * random.normal()) as f32);
        now.push((size * random.normal()) as f32);
        // Some steps change nothing but the newest.
        if t % 7 == 3 {
            now[..t].copy_from_slice(&steps[t - 1]);
        }
        steps.push(now);
    }
    steps
}

#[test]
fn scores_follow_refits_within_their_bound() {
    let mut random = Random(31);
    for (d, n) in [(3, 5), (40, 8), (64, 10)] {
        let atoms = mixture(&mut random, n, d, 1.2);
        for simd in Simd::available() {
            let dictionary = Dictionary::new(atoms.clone(), d, simd).unwrap();
            let order = shuffled(&mut random, dictionary.n_components());
            for (size, share) in
                [(1.0, 0.03), (1.0, 3.0), (1.0, 0.0), (1e-30, 0.1), (1e-37, 1.0), (1e12, 0.1)]
            {
                let sample = Kind::Gaussian.vector(&mut random, d, f64::max(size, 1e-10));
                let coefficients = refits(&mut random, order.len(), size, share);
                let path = Path {
                    sample: &sample,
                    dictionary: &dictionary,
                    atoms: &order,
                    coefficients: &coefficients,
                };
                path.follow(How::Refit, &format!("width {d}, size {size:e}, share {share}"));
                path.follow(How::Steps, "by steps");
            }
        }
    }
}

#[test]
fn rounding_of_refits_stays_small() {
    let mut random = Random(32);
    let (d, n) = (256, 300);
    let atoms = vectors(&mut random, Kind::Gaussian, n, d, 1.0);
    let (order, sample) = (shuffled(&mut random, n), Kind::Gaussian.vector(&mut random, d, 1.0));
    let coefficients = refits(&mut random, 40, 0.1, 0.03);
    let length: f32 = coefficients[39].iter().map(|a| a.abs()).sum();
    for simd in Simd::available() {
        let dictionary = Dictionary::new(atoms.clone(), d, simd).unwrap();
        let path =
            Path { sample: &sample, dictionary: &dictionary, atoms: &order, coefficients: &coefficients };
        let (bound, drift) = path.follow(How::Refit, "in use");
        let (by_steps, _) = path.follow(How::Steps, "by steps");
        // 39 changes of about 0.003, the largest of them three times that, rounded by at most 1/254 of it each.
        let rest = bound - drift * length;
        assert!(rest < 39.0 * 0.009 / 254.0 + 1e-3, "{}: {rest} of {bound}", simd.name());
        assert!(bound < by_steps, "{}: {bound} where the path gives {by_steps}", simd.name());
    }
}
