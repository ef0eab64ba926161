//! What dictionary updates are held to: rows with codes, and one step of each in naive float64 arithmetic.
//!
//! Each step is compared with the naive one from the very float32 state before it, so that bounds need
//! not follow rounding through earlier steps. γ(k) = k u / (1 − k u) bounds k float32 roundings in a row.

mod adam;
mod online;

use crate::common::{Random, widened};
use icfl_core::codes::Codes;
use icfl_core::update::Batch;
use proptest::prelude::*;

pub(crate) use adam::check_adam;
pub(crate) use online::{check_recoded, check_statistics, check_sweep};

pub(crate) const U: f64 = f32::EPSILON as f64 / 2.0;

/// Rows of inputs and their codes, of which about a fifth are not zero.
pub(crate) struct Samples {
    pub(crate) n: usize,
    pub(crate) d: usize,
    pub(crate) m: usize,
    pub(crate) x: Vec<f32>,
    pub(crate) codes: Codes,
}

impl Samples {
    /// Atom 0 is in no code, atom 1 in all.
    pub(crate) fn new(n: usize, d: usize, m: usize, random: &mut Random) -> Samples {
        let mut codes = Codes { starts: vec![0], ..Codes::default() };
        for _ in 0..n {
            for atom in (1..m).filter(|&atom| atom == 1 || random.below(5) == 0).collect::<Vec<_>>() {
                codes.indices.push(atom as i32);
                codes.values.push(random.uniform(-1.0, 2.0));
            }
            codes.starts.push(codes.indices.len() as i64);
        }
        Samples { n, d, m, x: random.values(n * d), codes }
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.x, self.d, self.codes.view(self.m).unwrap()).unwrap()
    }

    /// Code of one sample, with zeros.
    pub(crate) fn code(&self, i: usize) -> Vec<f64> {
        let mut z = vec![0.0; self.m];
        self.codes.view(self.m).unwrap().row(i).for_each(|(m, value)| z[m] = f64::from(value));
        z
    }

    pub(crate) fn input(&self, i: usize) -> Vec<f64> {
        widened(&self.x[i * self.d..(i + 1) * self.d])
    }
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Checks `|found − expected| ≤ bound` everywhere.
pub(crate) fn close(found: &[f32], expected: &[f64], bound: &[f64]) -> Result<(), TestCaseError> {
    prop_assert!(found.len() == expected.len() && found.len() == bound.len());
    for (i, (&found, (expected, bound))) in found.iter().zip(expected.iter().zip(bound)).enumerate() {
        let error = (f64::from(found) - expected).abs();
        prop_assert!(error <= *bound, "at {i}: {found} for {expected}, {error} > {bound}");
    }
    Ok(())
}
