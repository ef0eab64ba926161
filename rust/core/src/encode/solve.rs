//! The small least-squares problems of pursuit, in float64 by Cholesky.

/// Ridge of a block solve, relative to its largest diagonal: atoms with a cosine up to 0.9, even exact
/// duplicates, may be selected together. Duplicates share the coefficient evenly.
const RIDGE: f64 = 1e-6;

/// A pivot below this share of ‖d‖² says that an atom lies in the span of those before it.
const DEPENDENT: f64 = 1e-6;

/// A growing factorisation `L Lᵀ` of a Gram block with its right-hand side.
#[derive(Clone, Debug, Default)]
pub(super) struct Cholesky {
    /// Rows of L, packed: row i has i + 1 values.
    factor: Vec<f64>,
    /// `L⁻¹ c`, grown with the factor.
    forward: Vec<f64>,
}

impl Cholesky {
    pub(super) fn clear(&mut self) {
        self.factor.clear();
        self.forward.clear();
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.factor[i * (i + 1) / 2..(i + 1) * (i + 2) / 2]
    }

    /// Adds a variable that must be independent of those present; see [`Cholesky::push_above`].
    pub(super) fn push(&mut self, products: impl Iterator<Item = f64>, diagonal: f64, score: f64) -> bool {
        self.push_above(DEPENDENT * diagonal, products, diagonal, score)
    }

    /// Adds a variable: its inner products with those present (in order), its diagonal, its score.
    ///
    /// Returns false, changing nothing, unless its pivot exceeds `smallest`.
    fn push_above(
        &mut self,
        smallest: f64,
        products: impl Iterator<Item = f64>,
        diagonal: f64,
        score: f64,
    ) -> bool {
        let n = self.forward.len();
        let start = self.factor.len();
        let mut squares = 0.0;
        for (i, product) in products.enumerate() {
            let row = &self.factor[i * (i + 1) / 2..(i + 1) * (i + 2) / 2];
            let value = (product - inner(&self.factor[start..], &row[..i])) / row[i];
            squares += value * value;
            self.factor.push(value);
        }
        debug_assert_eq!(self.factor.len(), start + n);
        let pivot = diagonal - squares;
        if pivot.is_nan() || pivot <= smallest {
            self.factor.truncate(start);
            return false;
        }
        let root = pivot.sqrt();
        self.forward.push((score - inner(&self.factor[start..], &self.forward)) / root);
        self.factor.push(root);
        true
    }

    /// Takes a variable out; returns by how much the smallest squared residual grows.
    ///
    /// Rows of L below that of the variable are one column too long without it, which rotations of
    /// neighbouring columns mend; they leave `L Lᵀ` and the products of L with `L⁻¹ c` as they are.
    pub(super) fn remove(&mut self, variable: usize) -> f64 {
        let n = self.forward.len();
        let mut rotations: Vec<(f64, f64)> = Vec::with_capacity(n - variable - 1);
        let mut row = Vec::with_capacity(n);
        let mut kept = variable * (variable + 1) / 2;
        for r in variable + 1..n {
            row.clear();
            row.extend_from_slice(self.row(r));
            rotate(&rotations, &mut row[variable..]);
            let length = row[r - 1].hypot(row[r]);
            rotations.push((row[r - 1] / length, row[r] / length));
            row[r - 1] = length;
            self.factor[kept..kept + r].copy_from_slice(&row[..r]);
            kept += r;
        }
        self.factor.truncate(kept);
        rotate(&rotations, &mut self.forward[variable..]);
        self.forward.pop().map_or(0.0, |last| last * last)
    }

    /// The diagonal of `(L Lᵀ)⁻¹`.
    pub(super) fn variances(&self) -> impl Iterator<Item = f64> {
        let n = self.forward.len();
        let mut column = vec![0.0; n];
        (0..n).map(move |variable| {
            for r in variable..n {
                let row = self.row(r);
                let known = inner(&row[variable..r], &column[variable..r]);
                column[r] = (f64::from(r == variable) - known) / row[r];
            }
            column[variable..].iter().map(|x| x * x).sum()
        })
    }

    /// The coefficients, `L⁻ᵀ L⁻¹ c`.
    pub(super) fn solve(&self, out: &mut Vec<f64>) {
        out.clear();
        out.extend_from_slice(&self.forward);
        for i in (0..out.len()).rev() {
            let row = self.row(i);
            out[i] /= row[i];
            let value = out[i];
            out[..i].iter_mut().zip(row).for_each(|(x, l)| *x -= l * value);
        }
    }
}

/// Turns neighbouring columns, one pair after the other.
fn rotate(rotations: &[(f64, f64)], row: &mut [f64]) {
    for (i, &(cosine, sine)) in rotations.iter().enumerate() {
        let (a, b) = (row[i], row[i + 1]);
        row[i] = cosine * a + sine * b;
        row[i + 1] = cosine * b - sine * a;
    }
}

/// Eight sums, so that none waits for the one before; in a fixed order.
fn inner(a: &[f64], b: &[f64]) -> f64 {
    const SUMS: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

/// argmin_a ‖r − Σ a_l d_l‖² for a few atoms, from their Gram block and scores ⟨d_l, r⟩.
///
/// With the ridge no pivot can vanish unless all atoms are zero; then all coefficients are zero.
pub(super) fn solve_block(
    n: usize,
    gram: impl Fn(usize, usize) -> f32,
    scores: impl Fn(usize) -> f32,
    work: &mut Cholesky,
    out: &mut Vec<f64>,
) {
    work.clear();
    let ridge = RIDGE * f64::from((0..n).map(|l| gram(l, l)).fold(0.0, f32::max));
    for l in 0..n {
        let row = (0..l).map(|other| f64::from(gram(l, other)));
        if !work.push_above(0.0, row, f64::from(gram(l, l)) + ridge, f64::from(scores(l))) {
            out.clear();
            out.resize(n, 0.0);
            return;
        }
    }
    work.solve(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The solution satisfies the normal equations of the ridged problem.
        #[test]
        fn block_solution_is_optimal(atoms in prop::collection::vec(-1.0f32..1.0, 12), scores in prop::collection::vec(-1.0f32..1.0, 3)) {
            let gram = |a: usize, b: usize| (0..4).map(|t| atoms[4 * a + t] * atoms[4 * b + t]).sum::<f32>();
            let mut a = Vec::new();
            solve_block(3, gram, |l| scores[l], &mut Cholesky::default(), &mut a);
            let largest = f64::from((0..3).map(|l| gram(l, l)).fold(0.0, f32::max));
            for l in 0..3 {
                let left = (0..3).map(|o| f64::from(gram(l, o)) * a[o]).sum::<f64>() + RIDGE * largest * a[l];
                // Backward stable: residual within a few eps of |G| |a|.
                let scale = largest * a.iter().map(|x| x.abs()).sum::<f64>() + 1.0;
                prop_assert!((left - f64::from(scores[l])).abs() <= 64.0 * f64::EPSILON * scale);
            }
        }
    }

    fn factor(gram: &[[f64; 4]; 4], scores: &[f64; 4], kept: &[usize]) -> Option<Cholesky> {
        let mut cholesky = Cholesky::default();
        kept.iter()
            .enumerate()
            .all(|(i, &l)| {
                cholesky.push(kept[..i].iter().map(|&other| gram[l][other]), gram[l][l], scores[l])
            })
            .then_some(cholesky)
    }

    proptest! {
        /// A variable taken out leaves the problem of the others; with the variances it tells by how much
        /// the squared residual grows: a² / variance.
        #[test]
        fn removal_leaves_the_problem_of_the_others(
            atoms in prop::collection::vec(-1.0f64..1.0, 20),
            scores in prop::collection::vec(-1.0f64..1.0, 4),
            variable in 0usize..4,
        ) {
            // A ridge of 0.1 keeps the condition near 200 at most: errors are far below 1e-10.
            let entry = |a: usize, b: usize| {
                (0..5).map(|t| atoms[5 * a + t] * atoms[5 * b + t]).sum::<f64>() + 0.1 * f64::from(a == b)
            };
            let gram: [[f64; 4]; 4] = std::array::from_fn(|a| std::array::from_fn(|b| entry(a, b)));
            let scores: [f64; 4] = scores.try_into().unwrap();
            let kept: Vec<usize> = (0..4).filter(|&l| l != variable).collect();
            let mut cholesky = factor(&gram, &scores, &[0, 1, 2, 3]).unwrap();
            let expected = factor(&gram, &scores, &kept).unwrap();
            let (mut a, mut left) = (Vec::new(), Vec::new());
            cholesky.solve(&mut a);
            let variances: Vec<f64> = cholesky.variances().collect();
            // Explained energy is the squared length of `L⁻¹ c`.
            let explained = |c: &Cholesky| c.forward.iter().map(|f| f * f).sum::<f64>();
            let lost = explained(&cholesky) - explained(&expected);
            let grown = cholesky.remove(variable);
            prop_assert!((grown - lost).abs() < 1e-10 * (1.0 + explained(&expected)));
            prop_assert!((grown - a[variable].powi(2) / variances[variable]).abs() < 1e-10 * (1.0 + grown));
            cholesky.solve(&mut left);
            expected.solve(&mut a);
            prop_assert_eq!(left.len(), 3);
            prop_assert!(left.iter().zip(&a).all(|(x, y)| (x - y).abs() < 1e-10 * (1.0 + y.abs())));
            prop_assert!(cholesky.factor.iter().zip(&expected.factor).all(|(x, y)| (x - y).abs() < 1e-10));
        }
    }

    #[test]
    fn duplicates_share_and_zero_atoms_get_nothing() {
        let mut a = Vec::new();
        solve_block(2, |_, _| 1.0, |_| 3.0, &mut Cholesky::default(), &mut a);
        assert!((a[0] - 1.5).abs() < 1e-5 && (a[1] - 1.5).abs() < 1e-5);
        solve_block(2, |_, _| 0.0, |_| 0.0, &mut Cholesky::default(), &mut a);
        assert_eq!(a, [0.0, 0.0]);
    }

    #[test]
    fn a_dependent_variable_is_refused() {
        let mut cholesky = Cholesky::default();
        assert!(cholesky.push([].into_iter(), 4.0, 2.0));
        assert!(!cholesky.push([4.0].into_iter(), 4.0, 2.0));
        let mut a = Vec::new();
        cholesky.solve(&mut a);
        assert_eq!(a, [0.5]);
    }
}
