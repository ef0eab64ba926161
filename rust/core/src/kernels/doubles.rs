//! Loops over float32 slices whose arithmetic is float64: plain Rust, compiled once for every level.
//!
//! Conversion, product, sum, quotient and root are rounded alike in every instruction set, nothing is
//! fused, and sums run in [`LANES`] fixed lanes, so all levels give the same bits; wider registers only
//! take fewer instructions.

use super::{Level, Simd};

/// Sums side by side: two AVX-512 registers of float64.
pub(super) const LANES: usize = 16;

/// One AVX-512 register of float64.
const FEW: usize = LANES / 2;

pub(super) type Lanes = [f64; LANES];

/// What one step of Adam is made with: Kingma & Ba (2015), end of section 2.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Decay of the mean of gradients, β₁.
    pub first_decay: f64,
    /// Decay of the mean of squared gradients, β₂.
    pub second_decay: f64,
    /// Step size times √(1 − β₂ᵗ) / (1 − β₁ᵗ).
    pub rate: f64,
    /// ε times √(1 − β₂ᵗ).
    pub epsilon: f64,
    /// What gradients are multiplied by first.
    pub scale: f64,
}

/// Parameters of an optimiser with their moments.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// The parameters themselves.
    pub values: &'a [f32],
    /// Running means of gradients.
    pub first: &'a [f32],
    /// Running means of squared gradients.
    pub second: &'a [f32],
}

/// Room for [`Parameters`].
#[derive(Debug)]
pub struct ParametersMut<'a> {
    /// As in [`Parameters`].
    pub values: &'a mut [f32],
    /// As in [`Parameters`].
    pub first: &'a mut [f32],
    /// As in [`Parameters`].
    pub second: &'a mut [f32],
}

/// Sums over two rows x and y.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// Σ (x − y)².
    pub difference: f64,
    /// Σ x y.
    pub product: f64,
    /// Σ x².
    pub left: f64,
    /// Σ y².
    pub right: f64,
}

#[inline(always)]
fn adam(step: AdamStep, gradients: &[f32], old: Parameters<'_>, new: ParametersMut<'_>) {
    let n = gradients.len();
    let whole = n - n % FEW;
    for at in (0..whole).step_by(FEW) {
        let from = |x: &[f32]| -> [f32; FEW] { x[at..at + FEW].try_into().expect("so many") };
        // Through arrays of their own, the compiler need not ask whether slices overlap.
        let moved = adam_of(step, from(gradients), [old.values, old.first, old.second].map(from));
        new.values[at..at + FEW].copy_from_slice(&moved[0]);
        new.first[at..at + FEW].copy_from_slice(&moved[1]);
        new.second[at..at + FEW].copy_from_slice(&moved[2]);
    }
    for (at, &gradient) in gradients.iter().enumerate().skip(whole) {
        let moved = adam_of(step, [gradient], [[old.values[at]], [old.first[at]], [old.second[at]]]);
        [new.values[at], new.first[at], new.second[at]] = moved.map(|[value]| value);
    }
}

/// Values and their two moments after a step of Adam.
#[inline(always)]
fn adam_of<const N: usize>(
    step: AdamStep,
    gradients: [f32; N],
    [values, first, second]: [[f32; N]; 3],
) -> [[f32; N]; 3] {
    let mut moved = [[0.0; N]; 3];
    for l in 0..N {
        let g = f64::from(gradients[l]) * step.scale;
        let one = step.first_decay * f64::from(first[l]) + (1.0 - step.first_decay) * g;
        let two = step.second_decay * f64::from(second[l]) + (1.0 - step.second_decay) * g * g;
        // Root and quotient take more time in float64 than all the rest.
        let along = one as f32 / ((two as f32).sqrt() + step.epsilon as f32);
        moved[0][l] = (f64::from(values[l]) - step.rate * f64::from(along)) as f32;
        moved[1][l] = one as f32;
        moved[2][l] = two as f32;
    }
    moved
}

#[inline(always)]
fn squared_norm(x: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    for x in x.chunks(LANES) {
        let x = widened(x);
        (0..LANES).for_each(|l| sums[l] += x[l] * x[l]);
    }
    total(&sums)
}

#[inline(always)]
fn scale(factor: f64, x: &mut [f32]) {
    for x in x.chunks_mut(LANES) {
        let mut scaled = widened(x);
        scaled.iter_mut().for_each(|value| *value *= factor);
        narrow(&scaled, x);
    }
}

#[inline(always)]
fn compare(x: &[f32], y: &[f32]) -> Compared {
    let mut sums = [[0.0; LANES]; 4];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        let (x, y) = (widened(x), widened(y));
        for l in 0..LANES {
            let difference = x[l] - y[l];
            sums[0][l] += difference * difference;
            sums[1][l] += x[l] * y[l];
            sums[2][l] += x[l] * x[l];
            sums[3][l] += y[l] * y[l];
        }
    }
    let [difference, product, left, right] = sums.map(|sums| total(&sums));
    Compared { difference, product, left, right }
}

#[inline(always)]
fn add_moments(x: &[f32], origin: &[f32], sums: &mut [f64], squares: &mut [f64]) {
    let places = sums.chunks_mut(LANES).zip(squares.chunks_mut(LANES));
    for ((x, origin), (sums, squares)) in x.chunks(LANES).zip(origin.chunks(LANES)).zip(places) {
        let (x, origin) = (widened(x), widened(origin));
        for ((l, sum), square) in (0..LANES).zip(sums).zip(squares) {
            let shifted = x[l] - origin[l];
            *sum += shifted;
            *square += shifted * shifted;
        }
    }
}

#[inline(always)]
fn add_to(x: &[f32], sums: &mut [f64]) {
    sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x));
}

#[inline(always)]
fn widened(x: &[f32]) -> Lanes {
    let mut out = [0.0; LANES];
    match x.first_chunk::<LANES>() {
        Some(x) => (0..LANES).for_each(|l| out[l] = f64::from(x[l])),
        None => out.iter_mut().zip(x).for_each(|(out, &x)| *out = f64::from(x)),
    }
    out
}

#[inline(always)]
fn narrow(x: &Lanes, out: &mut [f32]) {
    match out.first_chunk_mut::<LANES>() {
        Some(out) => (0..LANES).for_each(|l| out[l] = x[l] as f32),
        None => out.iter_mut().zip(x).for_each(|(out, &x)| *out = x as f32),
    }
}

/// Sum of the lanes, halves first.
#[inline(always)]
pub(super) fn total(sums: &Lanes) -> f64 {
    let mut sums = *sums;
    let mut half = LANES / 2;
    while half > 0 {
        (0..half).for_each(|l| sums[l] += sums[l + half]);
        half /= 2;
    }
    sums[0]
}

/// Compiles a loop for every level and makes it a method of [`Simd`].
macro_rules! method {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?, $($check:expr),*) => {
        impl Simd {
            $(#[$doc])*
            #[inline]
            pub fn $name(self, $($argument: $kind),*) $(-> $result)? {
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $kind),*) $(-> $result)? {
                    $name($($argument),*)
                }
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx512f,avx512bw,avx2")]
                fn avx512($($argument: $kind),*) $(-> $result)? {
                    $name($($argument),*)
                }
                $(assert!($check);)*
                match self.0 {
                    Level::Scalar => $name($($argument),*),
                    // SAFETY: a `Simd` exists only for a level that this CPU has.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { avx2($($argument),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 | Level::Vnni => unsafe { avx512($($argument),*) },
                }
            }
        }
    };
}

pub(super) use method;

method! {
    /// `first = β₁ first + (1 − β₁) g`, `second = β₂ second + (1 − β₂) g²` with scaled gradients g,
    /// `values -= rate · first / (√second + ε)`; each is rounded to float32 once, and the quotient is float32.
    ///
    /// # Panics
    /// When slices differ in length.
    adam(step: AdamStep, gradients: &[f32], old: Parameters<'_>, new: ParametersMut<'_>),
    [old.values.len(), old.first.len(), old.second.len()].iter().all(|&n| n == gradients.len()),
    [new.values.len(), new.first.len(), new.second.len()].iter().all(|&n| n == gradients.len())
}

method! {
    /// `Σ x²`.
    squared_norm(x: &[f32]) -> f64,
}

method! {
    /// `x *= factor`, each product rounded to float32 once.
    scale(factor: f64, x: &mut [f32]),
}

method! {
    /// Sums of squares and products of two rows.
    ///
    /// # Panics
    /// When they differ in length.
    compare(x: &[f32], y: &[f32]) -> Compared,
    x.len() == y.len()
}

method! {
    /// `sums += x`, value by value.
    ///
    /// # Panics
    /// When slices differ in length.
    add_to(x: &[f32], sums: &mut [f64]),
    x.len() == sums.len()
}

method! {
    /// `sums += x − origin` and `squares += (x − origin)²`, value by value.
    ///
    /// # Panics
    /// When slices differ in length.
    add_moments(x: &[f32], origin: &[f32], sums: &mut [f64], squares: &mut [f64]),
    x.len() == origin.len() && x.len() == sums.len() && x.len() == squares.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-2.0f32..2.0, n)
    }

    proptest! {
        #[test]
        fn adam_is_the_formula_on_every_level(seed in values(1..150), rate in 1e-4..1.0f64, scale in 0.1..1.0f64) {
            let n = seed.len();
            let part = |k: usize| -> Vec<f32> { (0..n).map(|i| seed[(i * 7 + k) % n]).collect() };
            let (gradients, values, first) = (part(0), part(1), part(2));
            let second: Vec<f32> = part(3).iter().map(|v| v * v).collect();
            let step = AdamStep { first_decay: 0.9, second_decay: 0.999, rate, epsilon: 1e-8, scale };
            for simd in Simd::available() {
                let mut new = vec![vec![f32::NAN; n]; 3];
                let [v, a, b] = &mut new[..] else { unreachable!() };
                let old = Parameters { values: &values, first: &first, second: &second };
                simd.adam(step, &gradients, old, ParametersMut { values: v, first: a, second: b });
                for i in 0..n {
                    let g = f64::from(gradients[i]) * scale;
                    let one = 0.9 * f64::from(first[i]) + (1.0 - 0.9) * g;
                    let two = 0.999 * f64::from(second[i]) + (1.0 - 0.999) * g * g;
                    let along = one as f32 / ((two as f32).sqrt() + 1e-8);
                    let moved = f64::from(values[i]) - rate * f64::from(along);
                    prop_assert_eq!([v[i], a[i], b[i]], [moved as f32, one as f32, two as f32], "{}", simd.name());
                    // Three roundings of factors, one of their square root, one of the sum: 4.5 eps/2 at most.
                    let exact = one / (two.sqrt() + 1e-8);
                    prop_assert!((f64::from(along) - exact).abs() <= 2.5 * f64::from(f32::EPSILON) * exact.abs() + 1e-30);
                }
            }
        }

        #[test]
        fn sums_agree_with_plain_ones_and_between_levels(pairs in prop::collection::vec((-2.0f32..2.0, -2.0f32..2.0), 0..150)) {
            let (x, y): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let sum = |term: fn(f64, f64) -> f64| pairs.iter().map(|&(x, y)| term(x.into(), y.into())).sum::<f64>();
            let expected = [sum(|x, y| (x - y) * (x - y)), sum(|x, y| x * y), sum(|x, _| x * x), sum(|_, y| y * y)];
            // No term exceeds 16: n roundings of a sum of n of them, twice for the plain sum.
            let n = x.len() as f64 + 2.0;
            let reference = Simd::available()[0].compare(&x, &y);
            for simd in Simd::available() {
                let found = simd.compare(&x, &y);
                prop_assert_eq!(found, reference, "{}", simd.name());
                prop_assert_eq!(found.left, simd.squared_norm(&x));
                let found = [found.difference, found.product, found.left, found.right];
                for (found, expected) in found.iter().zip(expected) {
                    prop_assert!((found - expected).abs() <= 2.0 * n * f64::EPSILON * 16.0 * n);
                }
            }
        }

        #[test]
        fn scaling_and_moments_are_the_same_on_every_level(x in values(1..150), factor in -2.0..2.0f64) {
            let origin: Vec<f32> = x.iter().rev().copied().collect();
            for simd in Simd::available() {
                let mut scaled = x.clone();
                simd.scale(factor, &mut scaled);
                let (mut sums, mut squares) = (vec![1.0; x.len()], vec![2.0; x.len()]);
                simd.add_moments(&x, &origin, &mut sums, &mut squares);
                let mut plain = vec![1.0; x.len()];
                simd.add_to(&x, &mut plain);
                for i in 0..x.len() {
                    prop_assert_eq!(plain[i], 1.0 + f64::from(x[i]));
                    let shifted = f64::from(x[i]) - f64::from(origin[i]);
                    prop_assert_eq!(scaled[i], (f64::from(x[i]) * factor) as f32, "{}", simd.name());
                    prop_assert_eq!((sums[i], squares[i]), (1.0 + shifted, 2.0 + shifted * shifted));
                }
            }
        }
    }
}
