//! Statistics of the online update, and its sweep.

use super::{Samples, U, bits, close};
use crate::common::{gamma, length, widened};
use icfl_core::update::{Moved, Online, Parting};
use proptest::prelude::*;

/// Holds the statistics after a mini-batch to those before it.
pub(crate) fn check_statistics(
    samples: &Samples,
    before: &Online,
    keep: f32,
    after: &Online,
) -> Result<(), TestCaseError> {
    let Samples { n, d, m, .. } = *samples;
    let kept = |values: &[f32]| -> Vec<(f64, f64)> {
        values.iter().map(|&v| f64::from(v) * f64::from(keep)).map(|v| (v, v.abs())).collect()
    };
    let mut a = kept(&before.code_products);
    let mut b = kept(&before.code_inputs);
    let mut s = kept(&before.code_sums);
    let mut t = kept(&before.input_sums);
    let add = |entry: &mut (f64, f64), term: f64| *entry = (entry.0 + term, entry.1 + term.abs());
    for i in 0..n {
        let (z, x) = (samples.code(i), samples.input(i));
        for p in 0..m {
            (0..m).for_each(|q| add(&mut a[p * m + q], z[p] * z[q]));
            (0..d).for_each(|q| add(&mut b[p * d + q], z[p] * x[q]));
            add(&mut s[p], z[p]);
        }
        (0..d).for_each(|q| add(&mut t[q], x[q]));
    }
    let pairs =
        [(a, &after.code_products), (b, &after.code_inputs), (s, &after.code_sums), (t, &after.input_sums)];
    for (expected, found) in pairs {
        let (values, sizes): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
        // Each term is rounded once as a product and at most n times in sums, what was kept likewise.
        let bounds: Vec<_> = sizes.into_iter().map(|size| gamma(n + 2) * size).collect();
        close(found, &values, &bounds)?;
    }
    prop_assert_eq!(after.weight, before.weight * f64::from(keep) + n as f64);
    Ok(())
}

/// Holds statistics after a parting to those of the codes that it stands for, n of them, summed in float64.
pub(crate) fn check_recoded(
    samples: &Samples,
    parting: &Parting<'_>,
    found: &Online,
) -> Result<(), TestCaseError> {
    let Samples { n, d, m, .. } = *samples;
    let rewritten = |code: Vec<f64>, sign: fn(f64) -> f64| {
        let mut z = code.into_iter().map(sign).collect::<Vec<_>>();
        let own = z[parting.atom];
        let weights = parting.weights.iter().map(|&w| sign(f64::from(w)));
        parting.others.iter().zip(weights).for_each(|(&other, w)| z[other] += w * own);
        z[parting.atom] = sign(f64::from(parting.left)) * own;
        z
    };
    // Sums of products and of their magnitudes, which cancellation leaves alone.
    let summed = |sign: fn(f64) -> f64| {
        let (mut a, mut b, mut s) = (vec![0.0; m * m], vec![0.0; m * d], vec![0.0; m]);
        for i in 0..n {
            let (z, x) = (rewritten(samples.code(i), sign), samples.input(i));
            for p in 0..m {
                (0..m).for_each(|q| a[p * m + q] += z[p] * z[q]);
                (0..d).for_each(|q| b[p * d + q] += z[p] * sign(x[q]));
                s[p] += z[p];
            }
        }
        [a, b, s]
    };
    // n products and sums, then at most two products and two sums, of rows and of columns.
    let bounds = summed(f64::abs).map(|sizes| sizes.iter().map(|v| gamma(n + 6) * v).collect::<Vec<_>>());
    let found = [&found.code_products, &found.code_inputs, &found.code_sums];
    for ((found, expected), bound) in found.into_iter().zip(summed(|v| v)).zip(&bounds) {
        close(found, &expected, bound)?;
    }
    Ok(())
}

/// Holds each atom of a sweep to its optimum given the atoms as they then were: those before it moved,
/// those after it not yet.
pub(crate) fn check_sweep(
    online: &Online,
    start: &[f32],
    moved: &Moved,
    unit_norm: bool,
) -> Result<(), TestCaseError> {
    let (m, d) = (online.n_components(), online.n_features);
    let bias = widened(&moved.bias);
    let (mut atoms, before) = (widened(start), widened(start));
    for p in 0..m {
        let found = widened(&moved.components[p * d..(p + 1) * d]);
        let row = widened(&online.code_products[p * m..(p + 1) * m]);
        if row[p] == 0.0 {
            prop_assert_eq!(bits(&moved.components[p * d..(p + 1) * d]), bits(&start[p * d..(p + 1) * d]));
            continue;
        }
        // Direction B_p − s_p b − Σ_{q≠p} A_pq d_q, and the lengths of all terms that are rounded: with
        // the old d_q first, and for a d_q of the same block what it has changed by since. No term is
        // rounded more often than there are additions, 2 M + 2, and in its product.
        let mut optimum = widened(&online.code_inputs[p * d..(p + 1) * d]);
        let sum = f64::from(online.code_sums[p]);
        let mut size = length(&optimum) + sum.abs() * length(&bias);
        optimum.iter_mut().zip(&bias).for_each(|(u, b)| *u -= sum * b);
        for q in 0..m {
            let (now, old) = (&atoms[q * d..(q + 1) * d], &before[q * d..(q + 1) * d]);
            size += row[q].abs() * (2.0 * length(old) + length(now));
            if q != p {
                optimum.iter_mut().zip(now).for_each(|(u, v)| *u -= row[q] * v);
            }
        }
        optimum.iter_mut().for_each(|v| *v /= row[p]);
        let norm = length(&optimum);
        let mut off = gamma(2 * m + 4) * size / row[p] + 2.0 * U * norm;
        if unit_norm {
            // v/‖v‖ moves by at most 2/‖v‖ of what v moves by.
            optimum.iter_mut().for_each(|v| *v /= norm);
            off = 2.0 * off / norm + 2.0 * U;
        }
        let error = length(&found.iter().zip(&optimum).map(|(f, o)| f - o).collect::<Vec<_>>());
        prop_assert!(error <= off, "atom {p}: {error} > {off}");
        atoms[p * d..(p + 1) * d].copy_from_slice(&found);
    }
    Ok(())
}
