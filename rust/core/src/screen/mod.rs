//! Screening: cheap inner products with error bounds say which few atoms need a float32 inner product.
//!
//! An encoder wants the atoms with the largest ⟨d_j, x⟩. Rows and atoms are rounded to fixed point,
//! x ≈ x̂ and d_j ≈ d̂_j, with known rounding errors, and by Cauchy and Schwarz
//!
//! ```text
//! |⟨x̂, d̂_j⟩ - ⟨x, d_j⟩| <= ‖x - x̂‖ ‖d_j‖ + ‖x̂‖ ‖d_j - d̂_j‖ =: E
//! ```
//!
//! so that an atom among the k best has an approximate score of at least t - E, where t is the k-th best
//! exact score of any atoms already known. Whoever passes gets an exact score: the float32 inner product
//! of [`crate::kernels::Simd::dot`]. What an encoder returns is therefore the same to the bit whichever
//! product did the screening, however rows were cut into tiles, and whatever has been cached.
//!
//! [`fixed`] holds the fixed-point forms and their products, [`shortlist`] the search for the k best,
//! [`gram`] a Gram matrix in bytes, which carries approximate scores from one round of a [`pursuit`] to the
//! next, by [`refit`] where each round changes all coefficients.

pub(crate) mod fixed;
pub(crate) mod gram;
pub(crate) mod pursuit;
mod refit;
pub(crate) mod shortlist;

#[cfg(test)]
mod tests;

/// Bound on the rounding error of a float32 inner product of `n` terms, relative to ‖a‖ ‖b‖: n u / (1 - n u),
/// whatever the order of summation (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5).
pub(crate) fn dot_error(n: usize) -> f32 {
    let units = n as f32 * 0.5 * f32::EPSILON;
    units / (1.0 - units).max(0.5)
}
