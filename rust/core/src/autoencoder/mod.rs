//! A sparse autoencoder that learns: x̂ = z D + b with z = activation((x − b) Wᵀ + c).
//!
//! A step encodes a mini-batch by the fused product of [`crate::encode`]; from there on only the latents
//! that take part in a row do. With e = x − x̂ and V = Σ‖x − x̄‖², the loss Σ‖e‖² / V has the gradients
//!
//! ```text
//! ∂D_m = -2/V Σ_i z_im e_i,   p_im = -2/V ⟨e_i, D_m⟩ where z_im ≠ 0,   ∂W_m = Σ_i p_im (x_i − b),
//! ∂c_m = Σ_i p_im,            ∂b = -2/V Σ_i e_i − Σ_m ∂c_m W_m
//! ```
//!
//! Nested dictionaries, the prefixes of g = 1..G groups of atoms, have the mean of their losses: for atoms
//! of group g, the sum over h >= g of the residuals e⁽ʰ⁾ of the prefixes, divided by G, takes the place of e.
//! The auxiliary loss ([`auxiliary`]) has the same gradients over the dead latents.
//!
//! [`backward`] adds them up panel by panel of columns, so that no array of shape (n, M) or (n k, d) exists,
//! and all sums run in a fixed order; [`step`] moves the parameters. A step is formed in buffers beside the
//! state and [`Autoencoder::commit`] swaps them: one that is cut short has changed nothing.

mod activation;
mod auxiliary;
mod backward;
mod gradients;
mod scores;
mod step;

pub use activation::Activation;

use self::backward::Pass;
use self::gradients::{Gradients, Memory};
use crate::aligned::Aligned;
use crate::codes::Codes;
use crate::dictionary::Dictionary;
use crate::encode::Inputs;
use crate::error::{Error, Result};
use crate::kernels::Simd;
use crate::rows::Rows;
use crate::statistics::Reconstruction;
use crate::team::Team;
use ndarray::ArrayView2;
use std::sync::Arc;

/// How an autoencoder learns.
#[derive(Clone, Debug)]
pub struct Options {
    /// What makes codes of pre-activations.
    pub activation: Activation,
    /// Increasing sizes of the nested dictionaries, the last one M.
    pub widths: Vec<usize>,
    /// Weight of the auxiliary loss.
    pub aux_coefficient: f64,
    /// Norm that all gradients together are scaled down to.
    pub largest_gradient: f64,
}

/// How one step is made.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Non-zeros of a code, on average over the mini-batch for [`Activation::BatchTopK`].
    pub n_nonzero: usize,
    /// Step size of Adam.
    pub rate: f64,
    /// Latents that get the auxiliary loss, ascending.
    pub dead: &'a [usize],
    /// How many of them model what is left of a row.
    pub k_aux: usize,
    /// Mini-batches, this one among them, over which [`State::threshold`] is a mean; at least 1.
    pub memory: f64,
}

/// Parameters, or one of the moments of their gradients.
#[derive(Debug)]
pub struct Tensors {
    /// W, shape (n_components, n_features): shared with the dictionary that encodes a step.
    encoder: Arc<Aligned<f32>>,
    /// c, shape (n_components,).
    encoder_bias: Vec<f32>,
    /// D, shape (n_components, n_features).
    components: Vec<f32>,
    /// b, shape (n_features,).
    bias: Vec<f32>,
}

impl Tensors {
    fn zeros(m: usize, d: usize) -> Tensors {
        Tensors {
            encoder: Arc::new(Aligned::zeros(m * d)),
            encoder_bias: vec![0.0; m],
            components: vec![0.0; m * d],
            bias: vec![0.0; d],
        }
    }

    /// W, shape (n_components, n_features).
    fn encoder(&self) -> &[f32] {
        &self.encoder
    }

    /// W, D, c and b.
    pub fn parts(&self) -> [&[f32]; 4] {
        [&self.encoder, &self.components, &self.encoder_bias, &self.bias]
    }

    /// As [`Tensors::parts`].
    ///
    /// # Panics
    /// During a step.
    pub fn parts_mut(&mut self) -> [&mut [f32]; 4] {
        let encoder = Arc::get_mut(&mut self.encoder).expect("a dictionary does not outlive its step");
        [encoder, &mut self.components, &mut self.encoder_bias, &mut self.bias]
    }

    /// Number of latents.
    pub fn n_components(&self) -> usize {
        self.encoder_bias.len()
    }

    /// Width of the inputs.
    pub fn n_features(&self) -> usize {
        self.bias.len()
    }
}

/// Everything that a step moves.
#[derive(Debug)]
pub struct State {
    /// The parameters.
    pub values: Tensors,
    /// Running means of their gradients.
    pub first: Tensors,
    /// Running means of the squares.
    pub second: Tensors,
    /// Steps taken.
    pub steps: u64,
    /// Running mean of the smallest code that [`Activation::BatchTopK`] kept.
    pub threshold: f32,
}

impl State {
    fn zeros(m: usize, d: usize) -> State {
        State {
            values: Tensors::zeros(m, d),
            first: Tensors::zeros(m, d),
            second: Tensors::zeros(m, d),
            steps: 0,
            threshold: 0.0,
        }
    }
}

/// What a step found before anything moved.
#[derive(Debug)]
pub struct Found {
    /// The codes of the mini-batch.
    pub codes: Codes,
    /// How they reproduce it.
    pub reconstruction: Reconstruction,
}

/// A sparse autoencoder and what moves it.
#[derive(Debug)]
pub struct Autoencoder {
    options: Options,
    state: State,
    next: State,
    /// Whether `next` is a finished step.
    ready: bool,
    memory: Memory,
    simd: Simd,
}

impl Autoencoder {
    /// All zeros, before its first step; [`Autoencoder::state_mut`] is where it gets its parameters.
    ///
    /// # Errors
    /// [`Error::Argument`] unless widths increase to the number of latents.
    pub fn new(n_components: usize, n_features: usize, options: Options, simd: Simd) -> Result<Autoencoder> {
        let increasing = options.widths.windows(2).all(|pair| pair[0] < pair[1]);
        if !increasing || options.widths.first() == Some(&0) || options.widths.last() != Some(&n_components) {
            return Err(Error::Argument("widths must increase up to the number of latents".into()));
        }
        let zeros = || State::zeros(n_components, n_features);
        Ok(Autoencoder {
            options,
            state: zeros(),
            next: zeros(),
            ready: false,
            memory: Memory::default(),
            simd,
        })
    }

    /// Where it stands after the last [`Autoencoder::commit`].
    pub fn state(&self) -> &State {
        &self.state
    }

    /// As [`Autoencoder::state`]. A step that was not committed is lost.
    pub fn state_mut(&mut self) -> &mut State {
        self.ready = false;
        &mut self.state
    }

    /// Forms one step on packed rows, shape (n, d), without showing it.
    ///
    /// # Errors
    /// [`Error::Argument`] for shapes that do not fit or gradients that are not finite, or cancellation.
    pub fn advance(&mut self, x: &[f32], how: Step<'_>, team: &Team<'_>) -> Result<Found> {
        let (m, d) = (self.state.values.n_components(), self.state.values.n_features());
        let Step { n_nonzero, rate, dead, k_aux, memory } = how;
        if x.is_empty() || !x.len().is_multiple_of(d) || dead.iter().any(|&latent| latent >= m) {
            return Err(Error::Argument(
                "X must have the width of the autoencoder and at least one row".into(),
            ));
        }
        self.ready = false;
        let batch = Batch { x, d, bias: &self.state.values.bias, simd: self.simd };
        let dictionary = Dictionary::sharing(self.state.values.encoder.clone(), d, self.simd, team)?
            .with_offsets(self.state.values.encoder_bias.clone())?;
        let (codes, smallest) =
            activation::encode(&batch, &dictionary, self.options.activation, n_nonzero, self.guess(), team)?;
        drop(dictionary);
        let pass = Pass {
            batch: &batch,
            values: &self.state.values,
            codes: codes.view(m)?,
            keep_left: !dead.is_empty(),
            widths: &self.options.widths,
        };
        let gradients =
            Gradients::new(&pass, (dead, k_aux), &self.options, std::mem::take(&mut self.memory), team)?;
        step::step(&self.state, &mut self.next, &gradients, rate, &self.options, self.simd, team)?;
        self.next.threshold = self.state.threshold + (smallest - self.state.threshold) / memory as f32;
        self.ready = true;
        let (reconstruction, memory) = gradients.into_parts();
        self.memory = memory;
        Ok(Found { codes, reconstruction })
    }

    /// A threshold that the next mini-batch will probably reach.
    fn guess(&self) -> Option<f32> {
        (self.state.steps > 0).then_some(self.state.threshold)
    }

    /// Puts the step that [`Autoencoder::advance`] formed in place.
    pub fn commit(&mut self) {
        if std::mem::take(&mut self.ready) {
            std::mem::swap(&mut self.state, &mut self.next);
        }
    }
}

/// A mini-batch of packed rows, shape (n, d).
#[derive(Clone, Copy, Debug)]
struct Batch<'a> {
    x: &'a [f32],
    d: usize,
    /// Taken off every row before it is encoded.
    bias: &'a [f32],
    simd: Simd,
}

impl Batch<'_> {
    fn n(&self) -> usize {
        self.x.len() / self.d
    }

    /// The first `n` rows, for an encoder.
    fn inputs<'b>(&'b self, n: usize, dictionary: &'b Dictionary) -> Result<Inputs<'b>> {
        let rows = ArrayView2::from_shape((n, self.d), &self.x[..n * self.d]).expect("packed rows");
        Inputs::new(Rows::F32(rows), Some(self.bias), dictionary)
    }
}
