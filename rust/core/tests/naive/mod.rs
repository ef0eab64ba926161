//! Naive float64 runs of the encoders, and how far float32 arithmetic can be from them.
//!
//! The bounds are guaranteed ones. u = 2⁻²⁴, γ(k) = k u / (1 − k u), N the largest norm of an atom:
//!
//! - An inner product of d terms is off by at most γ(d) times the product of the norms.
//! - The L scores of a round are off by N·drift + rounding: drift is how far the residual may be off,
//!   rounding is γ(d) N ‖x‖ and, on the Gram path, what subtracting L Gram rows a round adds.
//! - Its Gram block is off by at most w = L γ(d) N² (in norm). With K = G + ridge and h ≥ ‖K⁻¹‖, a
//!   solution is therefore off by h (√L error + w ‖a‖) / (1 − h w).
//! - An exact step on a drifted residual does not increase the drift, as it is a contraction. What it
//!   adds is at most √h (√L rounding + w ‖a‖), since ‖Dᵀ K⁻¹‖² ≤ ‖K⁻¹‖, and the rounding of the sums.
//!
//! Where every decision of a row is wider than its error, supports have to be the same. As both paths
//! are held to the same run, they are held to each other.

use crate::common::{Random, gamma, inner, length, widened};
use icfl_core::encode::{Icfl, Omp, Selection};

pub(crate) const RIDGE: f64 = 1e-6;
const DEPENDENT: f64 = 1e-6;
pub(crate) const U: f64 = f32::EPSILON as f64 / 2.0;

/// Samples, atoms and a bias of random values.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) d: usize,
    pub(crate) m: usize,
    pub(crate) x: Vec<f32>,
    pub(crate) atoms: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Problem {
    /// Unit atoms and no bias for even seeds; else norms from 0.5 to 2, and a zero atom among them.
    pub(crate) fn new(n: usize, d: usize, m: usize, seed: u64) -> Problem {
        let mut random = Random(seed);
        let (mut atoms, mut bias) = (random.directions(m, d), vec![0.0; d]);
        if seed % 2 == 1 {
            for atom in atoms.chunks_mut(d) {
                let scale = random.uniform(0.5, 2.0);
                atom.iter_mut().for_each(|v| *v *= scale);
            }
            let zero = random.below(m);
            atoms[zero * d..(zero + 1) * d].fill(0.0);
            bias = random.values(d);
        }
        Problem { d, m, x: random.values(n * d), atoms, bias }
    }

    /// Small integers, on which float32 is exact.
    pub(crate) fn integers(n: usize, d: usize, atoms: Vec<f32>, seed: u64) -> Problem {
        let mut random = Random(seed);
        let x = (0..n * d).map(|_| random.below(11) as f32 - 5.0).collect();
        Problem { d, m: atoms.len() / d, x, atoms, bias: vec![0.0; d] }
    }

    /// x − bias, rounded to float32 as it is defined to be.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<f64>> + '_ {
        let centred = |(&x, &b): (&f32, &f32)| f64::from((f64::from(x) - f64::from(b)) as f32);
        self.x.chunks(self.d).map(move |row| row.iter().zip(&self.bias).map(centred).collect())
    }

    fn atom(&self, m: usize) -> Vec<f64> {
        widened(&self.atoms[m * self.d..(m + 1) * self.d])
    }

    fn largest_norm(&self) -> f64 {
        (0..self.m).map(|m| length(&self.atom(m))).fold(0.0, f64::max)
    }

    /// Scores by rank; a zero atom scores zero in any arithmetic, so that no threshold of 0 lets it in.
    fn ranks(&self, r: &[f64], selection: Selection, entry: f64) -> Vec<f64> {
        let rank = |m| {
            let atom = self.atom(m);
            let score = inner(&atom, r);
            match selection {
                _ if entry >= 0.0 && length(&atom) == 0.0 => f64::NEG_INFINITY,
                Selection::Positive => score,
                Selection::Absolute => score.abs(),
            }
        };
        (0..self.m).map(rank).collect()
    }

    fn gram(&self, atoms: &[usize]) -> Vec<Vec<f64>> {
        let products = |&a: &usize| atoms.iter().map(|&b| inner(&self.atom(a), &self.atom(b))).collect();
        atoms.iter().map(products).collect()
    }

    /// x − Σ a_l d_l.
    fn residual(&self, x: &[f64], atoms: &[usize], a: &[f64]) -> Vec<f64> {
        let mut r = x.to_vec();
        for (&m, a) in atoms.iter().zip(a) {
            r.iter_mut().zip(self.atom(m)).for_each(|(r, v)| *r -= a * v);
        }
        r
    }
}

/// A code, whether float32 must take the same atoms, and how far its coefficients may be off.
#[derive(Debug)]
pub(crate) struct Naive {
    pub(crate) code: Vec<f64>,
    pub(crate) clear: bool,
    pub(crate) error: f64,
}

impl Naive {
    pub(crate) fn new(m: usize) -> Naive {
        Naive { code: vec![0.0; m], clear: true, error: 0.0 }
    }
}

/// What a score must exceed; see `encode::entry_score`.
fn entry_score(threshold: f32, x: &[f64], norm: f64) -> f64 {
    let threshold = f64::from(threshold);
    if threshold < 0.0 { threshold } else { threshold.max(16.0 * U * length(x) * norm) }
}

/// The best `count` atoms above `entry`, and whether scores off by `error` leave the choice as it is.
fn best(ranks: &[f64], count: usize, entry: f64, error: f64) -> (Vec<usize>, bool) {
    let mut order: Vec<_> = (0..ranks.len()).filter(|&m| ranks[m] > entry).collect();
    order.sort_by(|&a, &b| ranks[b].total_cmp(&ranks[a]).then(a.cmp(&b)));
    let next = order.get(count).map_or(f64::NEG_INFINITY, |&m| ranks[m]);
    order.truncate(count);
    let clear = match order.get(count - 1) {
        Some(&last) => ranks[last] - entry > error && ranks[last] - next > 2.0 * error,
        None => ranks.iter().all(|rank| (rank - entry).abs() > error),
    };
    (order, clear)
}

/// K⁻¹ of a positive definite matrix, by Gauss and Jordan; not finite when it is singular.
fn inverse(mut k: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = k.len();
    for (i, row) in k.iter_mut().enumerate() {
        row.extend((0..n).map(|j| f64::from(i == j)));
    }
    for i in 0..n {
        let pivot = k[i][i];
        k[i].iter_mut().for_each(|v| *v /= pivot);
        let own = k[i].clone();
        for (_, row) in k.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            row.iter_mut().zip(&own).for_each(|(v, o)| *v -= factor * o);
        }
    }
    k.into_iter().map(|row| row[n..].to_vec()).collect()
}

pub(crate) fn naive_topk(p: &Problem, x: &[f64], k: usize) -> Naive {
    let mut out = Naive::new(p.m);
    out.error = gamma(p.d) * p.largest_norm() * length(x);
    let ranks = p.ranks(x, Selection::Positive, 0.0);
    let (chosen, clear) = best(&ranks, k, 0.0, out.error);
    out.clear = clear;
    chosen.iter().for_each(|&m| out.code[m] = ranks[m]);
    out
}

pub(crate) fn naive_icfl(p: &Problem, x: &[f64], options: &Icfl) -> Naive {
    let (mut out, mut r, norm) = (Naive::new(p.m), x.to_vec(), p.largest_norm());
    let entry = entry_score(options.threshold, x, norm);
    let (mut drift, mut rounding, mut taken) = (0.0, gamma(p.d + 2) * norm * length(x), 0.0);
    for _ in 0..options.n_iterations {
        let error = norm * drift + rounding;
        let ranks = p.ranks(&r, options.selection, entry);
        let (s, clear) = best(&ranks, options.atoms_per_iteration, entry, error);
        if s.is_empty() || !clear {
            return Naive { clear: out.clear && clear, ..out };
        }
        let mut k = p.gram(&s);
        let ridge = RIDGE * (0..s.len()).map(|l| k[l][l]).fold(0.0, f64::max);
        (0..s.len()).for_each(|l| k[l][l] += ridge);
        let scores: Vec<_> = s.iter().map(|&m| inner(&p.atom(m), &r)).collect();
        let Some(fit) = Fit::new(p, k, &scores, error) else { return Naive { clear: false, ..out } };
        s.iter().zip(&fit.a).for_each(|(&m, a)| out.code[m] += a);
        taken += fit.size;
        out.error += fit.error + 2.0 * U * taken;
        let sums = gamma(s.len() + 2) * (length(&r) + drift + fit.root * fit.size * norm);
        r = p.residual(&r, &s, &fit.a);
        drift += fit.h.sqrt() * (fit.root * rounding + fit.wrong * fit.size) + sums;
        rounding +=
            gamma(p.d) * norm * norm * fit.root * fit.size + norm * sums + gamma(s.len() + 2) * rounding;
    }
    out
}

pub(crate) fn naive_omp(p: &Problem, x: &[f64], options: &Omp) -> Naive {
    let (mut out, norm) = (Naive::new(p.m), p.largest_norm());
    let entry = entry_score(options.threshold, x, norm);
    let rounding = gamma(p.d + 2) * norm * length(x);
    let (mut s, mut r, mut error, mut a) = (Vec::new(), x.to_vec(), rounding, Vec::new());
    for _ in 0..options.n_nonzero.min(p.m).min(p.d) {
        let mut ranks = p.ranks(&r, options.selection, entry);
        s.iter().for_each(|&m: &usize| ranks[m] = f64::NEG_INFINITY);
        let (chosen, clear) = best(&ranks, 1, entry, error);
        out.clear &= clear;
        let Some(&m) = chosen.first().filter(|_| clear) else { break };
        s.push(m);
        let scores: Vec<_> = s.iter().map(|&m| inner(&p.atom(m), x)).collect();
        // Dependent atoms, and nearly dependent ones, end here as not clear: 1 / pivot ≤ h.
        let fit = Fit::new(p, p.gram(&s), &scores, rounding);
        let own = length(&p.atom(m)).powi(2);
        let Some(fit) = fit.filter(|fit| fit.h * DEPENDENT * own < 0.5) else {
            out.clear = false;
            break;
        };
        let sums = gamma(s.len() + 2) * (length(x) + fit.root * fit.size * norm);
        let drift = fit.h.sqrt() * (fit.root * rounding + fit.wrong * fit.size) + sums;
        error = norm * (drift + sums) + rounding + gamma(p.d) * norm * norm * fit.root * fit.size;
        out.error = fit.error + 2.0 * U * fit.size;
        r = p.residual(x, &s, &fit.a);
        a = fit.a;
    }
    if out.clear && options.threshold_slope > 0.0 {
        match pruned(p, x, options, entry, &mut s) {
            Some(fit) => {
                out.error = fit.error + 2.0 * U * fit.size;
                a = fit.a;
            }
            None => out.clear = false,
        }
    }
    s.iter().zip(&a).for_each(|(&m, a)| out.code[m] = *a);
    out
}

/// Takes the weakest atom away, judged by what the others leave, while it is too weak for what all
/// leave; None where float32 might decide otherwise.
///
/// A score is a / (K⁻¹)_ll, with K⁻¹ off by at most h² w / (1 − h w).
fn pruned(p: &Problem, x: &[f64], options: &Omp, entry: f64, s: &mut Vec<usize>) -> Option<Fit> {
    let (norm, slope) = (p.largest_norm(), f64::from(options.threshold_slope));
    let rounding = gamma(p.d + 2) * norm * length(x);
    let mut off = 0.0;
    loop {
        let scores: Vec<_> = s.iter().map(|&m| inner(&p.atom(m), x)).collect();
        let fit = Fit::new(p, p.gram(s), &scores, rounding)?;
        if s.is_empty() {
            return Some(fit);
        }
        let r = p.residual(x, s, &fit.a);
        let sums = gamma(s.len() + 2) * (length(x) + fit.root * fit.size * norm);
        let drift = fit.h.sqrt() * (fit.root * rounding + fit.wrong * fit.size) + sums;
        off += drift * (2.0 * length(&r) + drift) + gamma(p.d) * inner(&r, &r);
        let limit = entry + slope * inner(&r, &r);
        let variances: Vec<_> = inverse(p.gram(s)).iter().enumerate().map(|(l, row)| row[l]).collect();
        let inverse_off = fit.h * fit.h * fit.wrong / (1.0 - fit.h * fit.wrong);
        let ranked = fit.a.iter().zip(&variances).map(|(a, variance)| {
            let rank = a / variance;
            let error = (fit.error + rank.abs() * inverse_off) / (variance - inverse_off);
            (if options.selection == Selection::Absolute { rank.abs() } else { rank }, error)
        });
        let ranked: Vec<_> = ranked.collect();
        let weakest = (0..s.len()).min_by(|&a, &b| ranked[a].0.total_cmp(&ranked[b].0)).unwrap();
        let (rank, error) = ranked[weakest];
        let sure = (0..s.len()).all(|l| l == weakest || ranked[l].0 - ranked[l].1 > rank + error);
        if !sure || error < 0.0 || (rank - limit).abs() <= error + slope * off + 4.0 * U * limit {
            return None;
        }
        if rank > limit {
            return Some(fit);
        }
        s.remove(weakest);
    }
}

/// K a = scores, with what the bounds need.
struct Fit {
    a: Vec<f64>,
    /// At least ‖K⁻¹‖.
    h: f64,
    /// At most by how much K may be off.
    wrong: f64,
    /// At most by how much a may be off.
    error: f64,
    /// At least ‖a‖ as float32 arithmetic finds it.
    size: f64,
    /// √L.
    root: f64,
}

impl Fit {
    /// None when float32 arithmetic cannot be held to any solution.
    fn new(p: &Problem, k: Vec<Vec<f64>>, scores: &[f64], error: f64) -> Option<Fit> {
        let n = scores.len() as f64;
        let inverse = inverse(k);
        let a: Vec<f64> = inverse.iter().map(|row| inner(row, scores)).collect();
        let h = inverse.iter().map(|row| inner(row, row)).sum::<f64>().sqrt();
        let wrong = n * gamma(p.d + 1) * p.largest_norm().powi(2);
        let error = h * (n.sqrt() * error + wrong * length(&a)) / (1.0 - h * wrong);
        let size = length(&a) + error;
        (h * wrong < 0.5).then_some(Fit { a, h, wrong, error, size, root: n.sqrt() })
    }
}
