//! Areas and errors against comparisons of all pairs.

use super::*;
use crate::cancel::Cancel;

/// Areas and squared standard errors by comparing all pairs.
fn by_pairs(columns: &[Vec<f64>], labels: &[i64], n_labels: usize) -> Vec<(f64, f64)> {
    let against = |x: f64, y: f64| if x > y { 1.0 } else { f64::from(x == y) / 2.0 };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut out = Vec::new();
    for column in columns {
        for l in 0..n_labels as i64 {
            let pick = |inside: bool| -> Vec<f64> {
                let keep = |&i: &usize| labels[i] >= 0 && (labels[i] == l) == inside;
                (0..labels.len()).filter(keep).map(|i| column[i]).collect()
            };
            let (own, others) = (pick(true), pick(false));
            let part = |x: f64| mean(&others.iter().map(|&y| against(x, y)).collect::<Vec<_>>());
            let a: Vec<f64> = own.iter().map(|&x| part(x)).collect();
            let part = |y: f64| mean(&own.iter().map(|&x| against(x, y)).collect::<Vec<_>>());
            let b: Vec<f64> = others.iter().map(|&y| part(y)).collect();
            let spread = |v: &[f64]| {
                let (n, centre) = (v.len() as f64, mean(v));
                v.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / (n - 1.0) / n
            };
            out.push((mean(&a), spread(&a) + spread(&b)));
        }
    }
    out
}

fn compute<V: Ranked>(
    stored: (&[i64], &[i32], &[V]),
    width: usize,
    labels: &[i64],
    n_labels: usize,
    n_jobs: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let cancel = Cancel::new();
    let rows = SparseRows::new(stored.0, stored.1, stored.2, width)?;
    let (mut areas, mut errors) = (vec![0.0; width * n_labels], vec![0.0; width * n_labels]);
    let results = AurocResults { areas: &mut areas, errors: &mut errors };
    auroc_by_label(&rows, labels, n_labels, results, &Team::new(Some(n_jobs), &cancel))?;
    Ok((areas, errors))
}

#[test]
fn all_pairs_are_compared() {
    // Few distinct values: ties below, at and above zero; the last feature is never active.
    let (n, width, n_labels) = (97, 6, 4);
    let value = |i: usize, m: usize| ((i * 31 + m * m * 7 + i * i * (m + 1)) % (3 + m)) as f64 - 2.0;
    let columns: Vec<Vec<f64>> =
        (0..width).map(|m| (0..n).map(|i| if m == 5 { 0.0 } else { value(i, m) }).collect()).collect();
    let labels: Vec<i64> = (0..n).map(|i| ((i * 7 + i / 3) % 5) as i64 - 1).collect();
    let (mut starts, mut indices, mut values) = (vec![0i64], Vec::new(), Vec::new());
    for i in 0..n {
        for (m, column) in columns.iter().enumerate().rev().filter(|(_, column)| column[i] != 0.0) {
            indices.push(m as i32);
            values.push(column[i]);
        }
        starts.push(indices.len() as i64);
    }
    let single: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    let expected = by_pairs(&columns, &labels, n_labels);
    for n_jobs in [1, 3] {
        let (areas, errors) =
            compute((&starts, &indices, &values), width, &labels, n_labels, n_jobs).unwrap();
        for ((area, error), (mean, variance)) in areas.iter().zip(&errors).zip(&expected) {
            // Sums of at most 97 numbers up to 1.
            assert!((area - mean).abs() <= 1e-14, "{area} {mean}");
            assert!((error * error - variance).abs() <= 1e-14, "{error} {variance}");
        }
        let from_single = compute((&starts, &indices, &single), width, &labels, n_labels, n_jobs);
        assert_eq!(from_single.unwrap(), (areas, errors));
    }
}

#[test]
fn panels_hold_every_column_once() {
    let counts = [0, 5, 0, 1 << 23, 7, 1 << 23, 0, 0];
    let (mut areas, mut errors) = (vec![0.0; 16], vec![0.0; 16]);
    let results = AurocResults { areas: &mut areas, errors: &mut errors };
    let panels = Panel::cut(&counts, 8, 2, results);
    let widths: Vec<_> = panels.iter().map(|panel| panel.lock().unwrap().counts.len()).collect();
    assert!(panels.len() > 1);
    assert_eq!(widths.iter().sum::<usize>(), counts.len());
    for (panel, width) in panels.iter().zip(widths) {
        let panel = panel.lock().unwrap();
        assert_eq!((panel.areas.len(), panel.errors.len()), (2 * width, 2 * width));
        assert_eq!(panel.counts, &counts[panel.first..panel.first + width]);
    }
}

#[test]
fn largest_sums_fit() {
    let (m, n) = (MOST_SAMPLES as u64 / 2, MOST_SAMPLES as u64 / 2 + 1);
    let mut tally = Tally::default();
    tally.add(m, n, m); // all others first
    tally.pass(m + n);
    assert_eq!(tally.finish(m, m + n), (1.0, 0.0));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let message = |indices: [i32; 2], values: [f32; 2], labels: [i64; 2]| {
        compute((&[0, 2, 2], &indices, &values), 2, &labels, 2, 1).unwrap_err().to_string()
    };
    assert!(message([0, 1], [1.0, f32::NAN], [0, -1]).contains("finite"));
    assert!(message([0, 2], [1.0, 1.0], [0, 1]).contains("indices from 0 to 1"));
    assert!(message([0, -1], [1.0, 1.0], [0, 1]).contains("indices"));
    assert!(message([0, 1], [1.0, 1.0], [0, 2]).contains("labels"));
    assert!(message([0, 1], [1.0, 1.0], [0, -2]).contains("labels"));
    assert!(message([1, 1], [1.0, 1.0], [0, 1]).contains("repeated"));
}
