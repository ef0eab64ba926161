//! An encoder with its options, as a value.

use icfl_core::Result;
use icfl_core::codes::Codes;
use icfl_core::encode::{Icfl, Inputs, Omp, Selection, encode_icfl, encode_omp, encode_topk};
use icfl_core::team::Team;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoder {
    TopK(usize),
    Icfl(Icfl),
    Omp(Omp),
}

impl Encoder {
    pub(crate) fn encode(self, inputs: &Inputs<'_>, team: &Team<'_>) -> Result<Codes> {
        match self {
            Encoder::TopK(k) => encode_topk(inputs, k, Selection::Positive, team),
            Encoder::Icfl(options) => encode_icfl(inputs, &options, team),
            Encoder::Omp(options) => encode_omp(inputs, &options, team),
        }
    }

    /// The same encoder on the Gram matrix or without it, where it can use one.
    pub(crate) fn with_gram(self, use_gram: bool) -> Encoder {
        match self {
            Encoder::TopK(_) => self,
            Encoder::Icfl(options) => Encoder::Icfl(Icfl { use_gram, ..options }),
            Encoder::Omp(options) => Encoder::Omp(Omp { use_gram, ..options }),
        }
    }
}
