//! Encoders on planted samples, with the Gram matrix there already (`_gram`) and without one.

use super::data::{alone, dictionary, samples};
use super::{Case, Setting, Work, work};
use icfl_core::codes::Codes;
use icfl_core::dictionary::Dictionary;
use icfl_core::encode::{Icfl, Inputs, Omp, Selection, encode_icfl, encode_omp, encode_topk};
use icfl_core::rows::Rows;
use ndarray::ArrayView2;

/// Non-zeros of a sample, for all encoders but ICFL.
const NON_ZEROS: usize = 32;

/// With which all but two of 32 atoms go again.
const SLOPE: f32 = 2.0;

pub(super) const CASES: &[Case] = &[
    ("gram", gram),
    ("topk", topk),
    ("icfl_20x5_gram", |s| icfl(s, 20, 5, Selection::Positive, true)),
    ("icfl_20x5", |s| icfl(s, 20, 5, Selection::Positive, false)),
    // Matching pursuit is ICFL with one atom a round.
    ("mp_gram", |s| icfl(s, NON_ZEROS, 1, Selection::Absolute, true)),
    ("mp", |s| icfl(s, NON_ZEROS, 1, Selection::Absolute, false)),
    ("omp_gram", |s| omp(s, 0.0, true)),
    ("omp", |s| omp(s, 0.0, false)),
    ("omp_slope_gram", |s| omp(s, SLOPE, true)),
];

/// The atoms in fixed point, and their Gram matrix.
fn gram(s: Setting) -> Work {
    let atoms = dictionary(s).atoms().to_vec();
    work(move || {
        let dictionary = Dictionary::new(atoms.clone(), s.d, s.simd).expect("atoms are finite");
        dictionary.prepare(true, &alone()).expect("nobody cancels");
    })
}

fn topk(s: Setting) -> Work {
    encoder(s, false, |inputs| encode_topk(inputs, NON_ZEROS, Selection::Positive, &alone()))
}

fn icfl(
    s: Setting,
    n_iterations: usize,
    atoms_per_iteration: usize,
    selection: Selection,
    use_gram: bool,
) -> Work {
    let options = Icfl { n_iterations, atoms_per_iteration, threshold: 0.0, selection, use_gram };
    encoder(s, use_gram, move |inputs| encode_icfl(inputs, &options, &alone()))
}

fn omp(s: Setting, threshold_slope: f32, use_gram: bool) -> Work {
    let options = Omp {
        n_nonzero: NON_ZEROS,
        threshold: 0.0,
        threshold_slope,
        selection: Selection::Absolute,
        use_gram,
    };
    encoder(s, use_gram, move |inputs| encode_omp(inputs, &options, &alone()))
}

fn encoder(
    s: Setting,
    use_gram: bool,
    encode: impl Fn(&Inputs<'_>) -> icfl_core::Result<Codes> + 'static,
) -> Work {
    let dictionary = dictionary(s);
    let x = samples(s, dictionary.atoms());
    dictionary.prepare(use_gram, &alone()).expect("nobody cancels");
    work(move || {
        let rows = Rows::F32(ArrayView2::from_shape((s.n, s.d), &x).expect("n samples of d features"));
        let inputs = Inputs::new(rows, None, &dictionary).expect("widths agree");
        encode(&inputs).expect("values are finite, and nobody cancels")
    })
}
