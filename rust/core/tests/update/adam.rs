//! A step of Adam.

use super::{Samples, U, close};
use crate::common::{gamma, length, widened};
use icfl_core::update::{Adam, Moved};
use proptest::prelude::*;

/// Gradients of the mean of ‖x − Σ z_m d_m − b‖², atoms then bias, with bounds on their error.
fn gradients(samples: &Samples, components: &[f32], bias: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let Samples { n, d, m, .. } = *samples;
    let (mut gradients, mut bounds) = (vec![0.0; (m + 1) * d], vec![0.0; (m + 1) * d]);
    for i in 0..n {
        let (z, x) = (samples.code(i), samples.input(i));
        let used = z.iter().filter(|z| **z != 0.0).count();
        for t in 0..d {
            let terms = (0..m).map(|m| z[m] * f64::from(components[m * d + t]));
            let b = f64::from(bias[t]);
            let r = x[t] - b - terms.clone().sum::<f64>();
            // Each term is rounded as a product and in every sum after it, then x takes it off.
            let off = gamma(used + 3) * (x[t].abs() + b.abs() + terms.map(f64::abs).sum::<f64>());
            for (atom, z) in z.iter().chain([&1.0]).enumerate() {
                let scale = -2.0 * z / n as f64;
                gradients[atom * d + t] += scale * r;
                bounds[atom * d + t] += scale.abs() * (off + gamma(n + 4) * (r.abs() + off));
            }
        }
    }
    (gradients, bounds)
}

/// What Adam subtracts at step t from its moments: Kingma & Ba (2015), Algorithm 1.
fn adam_step(rate: f64, first: f64, second: f64, t: i32) -> f64 {
    let (first, second) = (first / (1.0 - 0.9f64.powi(t)), second / (1.0 - 0.999f64.powi(t)));
    rate * first / (second.sqrt() + 1e-8)
}

/// Holds one step to the naive one.
pub(crate) fn check_adam(
    samples: &Samples,
    before: (&Adam, &Moved),
    after: (&Adam, &Moved),
) -> Result<(), TestCaseError> {
    let ((state, at), (next, moved), d) = (before, after, samples.d);
    let (gradients, bounds) = gradients(samples, &at.components, &at.bias);
    let values = widened(&[&at.components[..], &at.bias[..]].concat());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (mut expected, mut off) = (Vec::new(), Vec::new());
    for (i, (&g, &bound)) in gradients.iter().zip(&bounds).enumerate() {
        let one = 0.9 * f64::from(state.first[i]) + 0.1 * g;
        let two = 0.999 * f64::from(state.second[i]) + 0.001 * g * g;
        let (one_off, two_off) = (0.1 * bound, 0.001 * (2.0 * g.abs() * bound + bound * bound));
        first.push((one, one_off + U * (one.abs() + one_off)));
        second.push((two, two_off + U * (two + two_off)));
        // The step is monotone in each moment, so it is farthest off at a corner.
        let t = next.steps as i32;
        let step = adam_step(state.learning_rate, one, two, t);
        let corners = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)].map(|(a, b)| {
            let corner = (one + a * one_off, (two + b * two_off).max(0.0));
            (adam_step(state.learning_rate, corner.0, corner.1, t) - step).abs()
        });
        expected.push(values[i] - step);
        // A float32 quotient of float32 roundings, of one of them the root, is off by 5 U.
        off.push(corners.into_iter().fold(0.0, f64::max) + U * (2.0 * values[i].abs() + 7.0 * step.abs()));
    }
    if state.unit_norm {
        for (atom, off) in expected.chunks_mut(d).zip(off.chunks_mut(d)).take(samples.m) {
            // v/‖v‖ moves by at most 2/‖v‖ of what v moves by.
            let (norm, by) = (length(atom), length(off));
            atom.iter_mut().for_each(|v| *v /= norm);
            off.iter_mut().for_each(|off| *off = 2.0 * by / norm + 2.0 * U);
        }
    }
    close(&[&moved.components[..], &moved.bias[..]].concat(), &expected, &off)?;
    for (found, wanted) in [(&next.first, first), (&next.second, second)] {
        let (wanted, off): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        close(found, &wanted, &off)?;
    }
    Ok(())
}
