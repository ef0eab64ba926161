//! Dictionary updates and what belongs to them, on codes of the TopK encoder.

use super::data::{alone, dictionary, samples};
use super::{Case, Setting, Work, work};
use icfl_core::autoencoder::{Activation, Autoencoder, Options, Step};
use icfl_core::codes::Codes;
use icfl_core::dictionary::Dictionary;
use icfl_core::encode::{Inputs, Selection, encode_topk};
use icfl_core::rows::Rows;
use icfl_core::update::{Adam, Batch, Online, coherent_pairs, redundant_atoms};
use ndarray::ArrayView2;

/// Non-zeros of a sample.
const NON_ZEROS: usize = 32;

pub(super) const CASES: &[Case] = &[
    ("decode", decode),
    ("adam_step", adam_step),
    ("autoencoder_step", autoencoder_step),
    ("autoencoder_step_with_dead", autoencoder_step_with_dead),
    ("online_accumulate", online_accumulate),
    ("online_sweep", online_sweep),
    ("coherent_pairs", coherent),
    ("redundant_atoms", redundant),
];

/// A mini-batch and its codes.
struct Coded {
    dictionary: Dictionary,
    x: Vec<f32>,
    codes: Codes,
    bias: Vec<f32>,
}

impl Coded {
    fn new(s: Setting) -> Coded {
        let dictionary = dictionary(s);
        let x = samples(s, dictionary.atoms());
        let rows = Rows::F32(ArrayView2::from_shape((s.n, s.d), &x).expect("n samples of d features"));
        let inputs = Inputs::new(rows, None, &dictionary).expect("widths agree");
        let codes =
            encode_topk(&inputs, NON_ZEROS, Selection::Positive, &alone()).expect("values are finite");
        Coded { dictionary, x, codes, bias: vec![0.0; s.d] }
    }

    fn batch(&self) -> Batch<'_> {
        let codes = self.codes.view(self.dictionary.n_components()).expect("codes of this dictionary");
        Batch::new(&self.x, self.dictionary.n_features(), codes).expect("codes of these samples")
    }
}

fn decode(s: Setting) -> Work {
    let coded = Coded::new(s);
    work(move || {
        let codes = coded.codes.view(s.m).expect("codes of this dictionary");
        codes.decode(coded.dictionary.atoms(), s.d, Some(&coded.bias), s.simd, &alone())
    })
}

fn adam_step(s: Setting) -> Work {
    let (coded, adam) = (Coded::new(s), Adam::new(s.m, s.d, 1e-3, true));
    work(move || adam.step(&coded.batch(), coded.dictionary.atoms(), &coded.bias, s.simd, &alone()))
}

fn autoencoder_step(s: Setting) -> Work {
    autoencoder(s, &[])
}

/// A tenth of the latents is dead.
fn autoencoder_step_with_dead(s: Setting) -> Work {
    let dead: Vec<_> = (0..s.m).step_by(10).collect();
    autoencoder(s, &dead)
}

fn autoencoder(s: Setting, dead: &[usize]) -> Work {
    let atoms = dictionary(s).atoms().to_vec();
    let x = samples(s, &atoms);
    let options = Options {
        activation: Activation::TopK,
        widths: vec![s.m],
        aux_coefficient: 1.0 / 32.0,
        largest_gradient: 1.0,
    };
    let mut learner = Autoencoder::new(s.m, s.d, options, s.simd).expect("one width");
    let [encoder, decoder, ..] = learner.state_mut().values.parts_mut();
    encoder.copy_from_slice(&atoms);
    decoder.copy_from_slice(&atoms);
    let dead = dead.to_vec();
    work(move || {
        let step = Step { n_nonzero: NON_ZEROS, rate: 1e-4, dead: &dead, k_aux: s.d / 2, memory: 1.0 };
        learner.advance(&x, step, &alone()).map(|_| learner.commit())
    })
}

fn online_accumulate(s: Setting) -> Work {
    let (coded, online) = (Coded::new(s), Online::new(s.m, s.d));
    work(move || online.accumulated(&coded.batch(), 0.99, s.simd, &alone()))
}

fn online_sweep(s: Setting) -> Work {
    let coded = Coded::new(s);
    let seen =
        Online::new(s.m, s.d).accumulated(&coded.batch(), 1.0, s.simd, &alone()).expect("shapes agree");
    work(move || seen.sweep(coded.dictionary.atoms(), &coded.bias, true, s.simd, &alone()))
}

fn coherent(s: Setting) -> Work {
    let dictionary = dictionary(s);
    work(move || coherent_pairs(dictionary.atoms(), s.d, 0.9, s.simd, &alone()))
}

fn redundant(s: Setting) -> Work {
    let dictionary = dictionary(s);
    work(move || redundant_atoms(&dictionary, 3, 0.9, &alone()))
}
