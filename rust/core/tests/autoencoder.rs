//! Steps of autoencoders on every instruction set of this machine, against differences of the loss.
//!
//! The loss is written down in float64, with codes on the latents that the step chose. After one step from
//! zero, Adam's first moment is a tenth of the gradient.

mod common;

use common::{Random, gamma, inner, length, team, widened};
use icfl_core::autoencoder::{Activation, Autoencoder, Options, Step};
use icfl_core::codes::Codes;
use icfl_core::kernels::Simd;

const N: usize = 7;
const D: usize = 35;
const M: usize = 11;
const AUX: f64 = 0.5;

/// Parameters in the order of `Tensors::parts`: W, D, c, b.
type Parameters = [Vec<f64>; 4];

fn step(rate: f64, dead: &[usize]) -> Step<'_> {
    Step { n_nonzero: 3, rate, dead, k_aux: M, memory: 1.0 }
}

struct Problem {
    x: Vec<f32>,
    parameters: [Vec<f32>; 4],
    options: Options,
    dead: Vec<usize>,
}

impl Problem {
    fn new(activation: Activation, widths: &[usize], dead: &[usize]) -> Problem {
        let mut random = Random(3);
        let decoder = random.directions(M, D);
        let encoder = decoder.iter().map(|v| v + random.uniform(-0.1, 0.1)).collect();
        let parameters = [encoder, decoder, random.values(M), random.values(D)];
        let widths = widths.to_vec();
        let options = Options { activation, widths, aux_coefficient: AUX, largest_gradient: 1e9 };
        let mut x = random.values(N * D);
        let empty = random.below(N);
        x[empty * D..(empty + 1) * D].fill(0.0);
        Problem { x, parameters, options, dead: dead.to_vec() }
    }

    fn autoencoder(&self, simd: Simd) -> Autoencoder {
        let mut autoencoder = Autoencoder::new(M, D, self.options.clone(), simd).unwrap();
        let parts = autoencoder.state_mut().values.parts_mut();
        parts.into_iter().zip(&self.parameters).for_each(|(to, from)| to.copy_from_slice(from));
        autoencoder
    }

    /// The loss where codes lie on given latents; `fixed` is what the auxiliary loss is asked to model, and is
    /// what the codes leave where there is none.
    fn loss(&self, [w, d, c, b]: &Parameters, codes: &Codes, fixed: Option<&[f64]>) -> (f64, Vec<f64>) {
        let x = widened(&self.x);
        let mean: Vec<f64> = (0..D).map(|j| (0..N).map(|i| x[i * D + j]).sum::<f64>() / N as f64).collect();
        let variance: f64 = x.iter().enumerate().map(|(at, v)| (v - mean[at % D]).powi(2)).sum();
        let (mut main, mut left, mut auxiliary, mut energy) = (0.0, Vec::new(), 0.0, 0.0);
        for i in 0..N {
            let centred: Vec<f64> = (0..D).map(|j| x[i * D + j] - b[j]).collect();
            let before = |m: usize| inner(&centred, &w[m * D..(m + 1) * D]) + c[m];
            let chosen = &codes.indices[codes.starts[i] as usize..codes.starts[i + 1] as usize];
            let mut rest = centred.clone();
            let mut first = 0;
            for &width in &self.options.widths {
                for &m in chosen.iter().filter(|&&m| (first..width).contains(&(m as usize))) {
                    let (m, z) = (m as usize, before(m as usize));
                    rest.iter_mut().zip(&d[m * D..]).for_each(|(rest, atom)| *rest -= z * atom);
                }
                first = width;
                main += inner(&rest, &rest) / variance / self.options.widths.len() as f64;
            }
            let target = fixed.map_or(rest.clone(), |fixed| fixed[i * D..(i + 1) * D].to_vec());
            left.extend(rest);
            energy += inner(&target, &target);
            let mut modelled = target;
            for &m in &self.dead {
                let z = before(m).max(0.0);
                modelled.iter_mut().zip(&d[m * D..]).for_each(|(rest, atom)| *rest -= z * atom);
            }
            auxiliary += inner(&modelled, &modelled);
        }
        let auxiliary = if self.dead.is_empty() { 0.0 } else { AUX * auxiliary / energy };
        (main + auxiliary, left)
    }

    fn check(&self, simd: Simd, what: &str) {
        let mut autoencoder = self.autoencoder(simd);
        let found = autoencoder.advance(&self.x, step(1e-3, &self.dead), &team(2)).unwrap();
        let untouched = autoencoder.state().values.parts().map(<[f32]>::to_vec);
        assert_eq!(untouched, self.parameters, "nothing moves before the step is committed");
        autoencoder.commit();
        let exact: Parameters = self.parameters.each_ref().map(|part| widened(part));
        let (_, left) = self.loss(&exact, &found.codes, None);
        let total = inner(&left, &left);
        assert!((found.reconstruction.residual / total - 1.0).abs() < 1e-5, "{what}");
        let moments = autoencoder.state().first.parts();
        for (part, moments) in moments.iter().enumerate() {
            let mut gradient: Vec<f64> = (0..exact[part].len())
                .map(|at| {
                    // The error of central differences is of the order of h², that of rounding of 1e-16 / h.
                    let h = 1e-5;
                    let moved = |by: f64| {
                        let mut moved = exact.clone();
                        moved[part][at] += by;
                        self.loss(&moved, &found.codes, Some(&left)).0
                    };
                    (moved(h) - moved(-h)) / (2.0 * h)
                })
                .collect();
            if part == 1 {
                for (gradient, row) in gradient.chunks_mut(D).zip(exact[1].chunks(D)) {
                    let along = inner(gradient, row);
                    gradient.iter_mut().zip(row).for_each(|(g, d)| *g -= along * d);
                }
            }
            // Sums of 35 columns, 11 latents and 7 samples, one in the other, and what differences are off by.
            let tolerance = gamma(4 * (D + M + N)) + 1e-6;
            let scale = gradient.iter().fold(0.0f64, |most, g| most.max(g.abs()));
            for (at, (g, moment)) in gradient.iter().zip(*moments).enumerate() {
                let found = 10.0 * f64::from(*moment);
                assert!((found - g).abs() < tolerance * scale, "{what}, part {part}, {at}: {found} {g}");
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_loss_on_every_level() {
    use Activation::{AbsTopK, BatchTopK, TopK};
    let problems = [
        ("topk", TopK, &[M][..], &[][..]),
        ("topk with dead latents", TopK, &[M], &[0, 4, 5, 10]),
        ("signed", AbsTopK, &[M], &[2, 6, 9]),
        ("shared", BatchTopK, &[M], &[]),
        ("nested", BatchTopK, &[1, 4, M], &[3, 9]),
    ];
    for (name, activation, widths, dead) in problems {
        let problem = Problem::new(activation, widths, dead);
        for simd in Simd::available() {
            problem.check(simd, &format!("{name}, {}", simd.name()));
        }
    }
}

#[test]
fn decoder_rows_keep_unit_norm_and_gradients_their_largest_one() {
    let mut problem = Problem::new(Activation::TopK, &[M], &[1]);
    problem.options.largest_gradient = 1e-3;
    for simd in Simd::available() {
        let mut autoencoder = problem.autoencoder(simd);
        autoencoder.advance(&problem.x, step(0.1, &[1]), &team(2)).unwrap();
        autoencoder.commit();
        let first = autoencoder.state().first.parts();
        let norm = length(&widened(&first.concat()));
        assert!((norm / 1e-4 - 1.0).abs() < 1e-5, "a tenth of the largest gradient");
        for row in autoencoder.state().values.parts()[1].chunks(D) {
            let norm = length(&widened(row));
            assert!((norm - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn squares_beyond_float32_are_no_gradients_beyond_it() {
    for simd in Simd::available() {
        for (size, fits) in [(1e12f32, true), (1e25, false)] {
            let mut problem = Problem::new(Activation::TopK, &[M], &[]);
            problem.options.largest_gradient = 1e-3;
            problem.x.iter_mut().for_each(|x| *x *= size);
            let mut autoencoder = problem.autoencoder(simd);
            let found = autoencoder.advance(&problem.x, step(0.1, &[]), &team(2));
            assert_eq!(found.is_ok(), fits, "{}, {size:e}", simd.name());
            autoencoder.commit();
            let first = widened(&autoencoder.state().first.parts().concat());
            let expected = if fits { 1e-4 } else { 0.0 };
            assert!((length(&first) - expected).abs() <= 1e-5 * expected, "{}, {size:e}", simd.name());
        }
    }
}

#[test]
fn a_step_that_was_not_committed_is_lost() {
    let problem = Problem::new(Activation::TopK, &[M], &[]);
    let mut autoencoder = problem.autoencoder(Simd::detect().unwrap());
    autoencoder.advance(&problem.x, step(0.1, &[]), &team(2)).unwrap();
    autoencoder.state_mut();
    autoencoder.commit();
    assert_eq!(autoencoder.state().steps, 0);
    assert!(autoencoder.advance(&problem.x[1..], step(0.1, &[]), &team(2)).is_err());
    assert!(autoencoder.advance(&problem.x, step(0.1, &[M]), &team(2)).is_err());
    assert!(autoencoder.advance(&[f32::NAN; D], step(0.1, &[]), &team(2)).is_err());
    autoencoder.commit();
    assert_eq!(autoencoder.state().values.parts().map(<[f32]>::to_vec), problem.parameters);
}

#[test]
fn widths_must_increase_to_the_whole() {
    for widths in [&[][..], &[3], &[4, 4, M], &[0, M], &[5, 3, M]] {
        let options =
            Options { widths: widths.to_vec(), ..Problem::new(Activation::TopK, &[M], &[]).options };
        assert!(Autoencoder::new(M, D, options, Simd::detect().unwrap()).is_err(), "{widths:?}");
    }
}
