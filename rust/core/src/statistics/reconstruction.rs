//! How well codes reproduce a mini-batch, in float64, without the reconstructions ever being there.
//!
//! Columns are decoded panel by panel. Moments are sums of x − x₀ and (x − x₀)², x₀ the first row: the mean
//! is among the rows, so taking n (mean − x₀)² off again costs at most a factor of n of float64's precision,
//! and a constant column has a variance of exactly zero.

use crate::codes::CodesView;
use crate::error::{Error, Result};
use crate::kernels::{Compared, PANEL, Simd};
use crate::panels::{self, Decoder, ahead, part};
use crate::team::Team;

/// Sums over the rows x of a mini-batch and their reconstructions x̂.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// Σ ‖x − x̂‖².
    pub residual: f64,
    /// Σ cosine of x and x̂: one if both are zero, zero if one is.
    pub cosine: f64,
    /// Mean of every column of x.
    pub mean: Vec<f64>,
    /// Σ (x − mean)² of every column.
    pub centred_squares: Vec<f64>,
}

/// Measures rows, shape (n, d), and what `codes` make of them.
///
/// # Errors
/// [`Error::Argument`] for shapes that do not fit, or cancellation.
pub fn reconstruction(
    x: &[f32],
    codes: &CodesView<'_>,
    components: &[f32],
    bias: &[f32],
    simd: Simd,
    team: &Team<'_>,
) -> Result<Reconstruction> {
    let (n, d) = (codes.len(), bias.len());
    if n == 0 || d == 0 || x.len() != n * d || components.len() != codes.n_components() * d {
        return Err(Error::Argument("X, codes, components and bias must have matching shapes".into()));
    }
    let parts = team.map(panels::count(d), Decoder::default, |decoder, panel| {
        let mut part = PanelSums::new(x, d, panel);
        decoder.decode(codes, components, bias, panel, simd, |i, decoded| {
            part.add(i, &ahead(x, d, i, panel), decoded, simd);
        });
        Ok(part)
    })?;
    Ok(Reconstruction::join(parts, d))
}

impl Reconstruction {
    /// From the sums of all panels, in their order.
    pub(crate) fn join(panels: impl IntoIterator<Item = PanelSums>, d: usize) -> Reconstruction {
        let mut rows: Vec<Compared> = Vec::new();
        let (mut mean, mut centred_squares) = (Vec::new(), Vec::new());
        for panel in panels {
            rows.resize(panel.rows.len(), Compared::default());
            rows.iter_mut().zip(&panel.rows).for_each(|(row, part)| add(row, part));
            panel.finish(&mut mean, &mut centred_squares);
        }
        mean.truncate(d);
        centred_squares.truncate(d);
        Reconstruction {
            residual: rows.iter().map(|row| row.difference).sum(),
            cosine: rows.iter().map(cosine).sum(),
            mean,
            centred_squares,
        }
    }
}

/// Sums over one panel of columns.
#[derive(Debug)]
pub(crate) struct PanelSums {
    rows: Vec<Compared>,
    origin: panels::Columns,
    sums: [f64; PANEL],
    squares: [f64; PANEL],
}

impl PanelSums {
    /// For rows of width `d`, at least one.
    pub(crate) fn new(x: &[f32], d: usize, panel: usize) -> PanelSums {
        PanelSums {
            rows: vec![Compared::default(); x.len() / d],
            origin: part(&x[..d], panel),
            sums: [0.0; PANEL],
            squares: [0.0; PANEL],
        }
    }

    /// Takes in the panel of row `i` and of its reconstruction.
    pub(crate) fn add(&mut self, i: usize, x: &panels::Columns, decoded: &panels::Columns, simd: Simd) {
        self.rows[i] = simd.compare(x, decoded);
        simd.add_moments(x, &self.origin, &mut self.sums, &mut self.squares);
    }

    /// Appends the mean and the centred sum of squares of every column.
    fn finish(&self, mean: &mut Vec<f64>, centred_squares: &mut Vec<f64>) {
        let n = self.rows.len() as f64;
        for ((sum, square), origin) in self.sums.iter().zip(self.squares).zip(self.origin) {
            mean.push(f64::from(origin) + sum / n);
            centred_squares.push((square - sum * (sum / n)).max(0.0));
        }
    }
}

fn add(row: &mut Compared, part: &Compared) {
    row.difference += part.difference;
    row.product += part.product;
    row.left += part.left;
    row.right += part.right;
}

fn cosine(row: &Compared) -> f64 {
    match (row.left > 0.0, row.right > 0.0) {
        (true, true) => row.product / (row.left.sqrt() * row.right.sqrt()),
        (false, false) => 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::codes::Codes;

    /// A multiple of 1/64 in [-2, 2): products of two are exact in float32.
    fn value(i: usize) -> f32 {
        ((i.wrapping_mul(2_654_435_761) >> 7) % 256) as f32 / 64.0 - 2.0
    }

    #[test]
    fn sums_are_those_of_plain_loops_whatever_level_and_threads() {
        for (n, d, m) in [(1, 1, 2), (9, 33, 5), (40, 70, 12), (7, 64 * PANEL + 40, 3)] {
            let x: Vec<f32> = (0..n * d).map(|i| if i / d == 2 { 0.0 } else { value(3 * i) }).collect();
            let components: Vec<f32> = (0..m * d).map(|i| value(5 * i + 1)).collect();
            let bias = vec![0.0; d];
            let mut codes = Codes::default();
            for i in 0..n {
                // Samples 2 and 3 have no code: one is zero itself, the other is not.
                let kept = |&a: &usize| i != 2 && i != 3 && (i + a).is_multiple_of(2);
                let mut row: Vec<_> = (0..m).filter(kept).map(|a| (a as u32, value(i + 9 * a))).collect();
                codes.push_row(&mut row);
            }
            let view = codes.view(m).unwrap();
            let row = |i: usize| &x[i * d..(i + 1) * d];
            let decoded = |i: usize, t: usize| -> f64 {
                view.row(i).map(|(a, z)| f64::from(z) * f64::from(components[a * d + t])).sum()
            };
            let (mut residual, mut cosines) = (0.0, 0.0);
            for i in 0..n {
                let y: Vec<f64> = (0..d).map(|t| decoded(i, t)).collect();
                let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
                    row(i).iter().zip(&y).map(|(&x, &y)| term(x.into(), y)).sum()
                };
                residual += sum(&|x, y| (x - y) * (x - y));
                let norms = sum(&|x, _| x * x).sqrt() * sum(&|_, y| y * y).sqrt();
                let both_zero = row(i).iter().all(|&x| x == 0.0) && y.iter().all(|&y| y == 0.0);
                cosines += if norms > 0.0 { sum(&|x, y| x * y) / norms } else { f64::from(both_zero) };
            }
            let mut first = None;
            for simd in Simd::available() {
                for n_jobs in [1, 3] {
                    let cancel = Cancel::new();
                    let team = Team::new(Some(n_jobs), &cancel);
                    let found = reconstruction(&x, &view, &components, &bias, simd, &team).unwrap();
                    assert!((found.residual - residual).abs() <= 1e-12 * residual, "{}", simd.name());
                    assert!((found.cosine - cosines).abs() <= 1e-12 * n as f64);
                    for t in 0..d {
                        let column: Vec<f64> = (0..n).map(|i| row(i)[t].into()).collect();
                        let mean = column.iter().sum::<f64>() / n as f64;
                        let squares: f64 = column.iter().map(|x| (x - mean) * (x - mean)).sum();
                        assert!((found.mean[t] - mean).abs() <= 1e-13);
                        assert!((found.centred_squares[t] - squares).abs() <= 1e-13 * n as f64 * 16.0);
                    }
                    assert_eq!(first.get_or_insert(found.clone()), &found);
                }
            }
        }
    }
}
