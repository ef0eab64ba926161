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
