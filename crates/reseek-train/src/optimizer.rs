//! AdamW over a model's flat parameters, with the clip of the global gradient norm.

use std::ops::Range;

use reseek_model::Weights;
use reseek_tensor::adamw::{AdamW, Moment, adamw};
use reseek_tensor::dtype::{Dtype, bf16};
use reseek_tensor::pool::map_lanes;

use crate::TrainError;

/// First and second moments, laid out as [`Weights::data`], in the format in which they are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Moments {
    /// Exact.
    F32 {
        /// Means of the gradients, decayed by β₁.
        m: Vec<f32>,
        /// Means of their squares, decayed by β₂.
        v: Vec<f32>,
    },
    /// Rounded to nearest even when they are stored.
    Bf16 {
        /// As in f32.
        m: Vec<bf16>,
        /// As in f32.
        v: Vec<bf16>,
    },
}

/// The moments, and the number of steps taken.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// The moments.
    pub moments: Moments,
    /// Steps taken.
    pub step: u64,
}

/// The hyper-parameters of one step.
#[derive(Clone, Copy, Debug)]
pub struct Hyper {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay, of matrices and embeddings only: a norm's gain or a bias has no scale to hold down.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; a larger one is scaled down to it.
    pub clip: f64,
}

impl Optimizer {
    /// Zero moments for `parameters` values, kept in `format`.
    pub fn new(parameters: usize, format: Dtype) -> Self {
        let moments = match format {
            Dtype::F32 => Moments::F32 { m: vec![0.0; parameters], v: vec![0.0; parameters] },
            Dtype::Bf16 => Moments::Bf16 { m: vec![bf16::ZERO; parameters], v: vec![bf16::ZERO; parameters] },
        };
        Self { moments, step: 0 }
    }

    /// One AdamW step on `weights` with `grads`; returns the gradient's global norm before the clip.
    ///
    /// # Errors
    /// If the gradient is not finite: nothing is changed then.
    pub fn update(&mut self, weights: &mut Weights, grads: &[f32], hyper: &Hyper) -> Result<f64, TrainError> {
        let norm = global_norm(grads);
        if !norm.is_finite() {
            return Err(TrainError::Diverged { what: "gradient norm", value: norm, step: self.step + 1 });
        }
        let scale = if norm > hyper.clip { hyper.clip / norm } else { 1.0 };
        self.step += 1;
        let mut tensors = Vec::new();
        for (tensor, range) in weights.layout.tensors().filter(|(tensor, _)| tensor.is_trained()) {
            tensors.push((range, if tensor.shape.len() > 1 { hyper.weight_decay } else { 0.0 }));
        }
        self.apply(&mut weights.data, grads, tensors, hyper, scale as f32);
        Ok(norm)
    }

    /// One AdamW step on `values` that belong to no model, such as a head's, without clip or decay.
    ///
    /// # Panics
    /// If the lengths differ from those of the moments.
    pub fn update_values(&mut self, values: &mut [f32], grads: &[f32], hyper: &Hyper) {
        self.step += 1;
        self.apply(values, grads, vec![(0..values.len(), 0.0)], hyper, 1.0);
    }

    /// Updates neighbouring ranges of `values`, each with its decay.
    fn apply(
        &mut self,
        values: &mut [f32],
        grads: &[f32],
        ranges: Vec<(Range<usize>, f64)>,
        hyper: &Hyper,
        scale: f32,
    ) {
        match &mut self.moments {
            Moments::F32 { m, v } => update(values, grads, [m, v], ranges, hyper, (self.step, scale)),
            Moments::Bf16 { m, v } => update(values, grads, [m, v], ranges, hyper, (self.step, scale)),
        }
    }
}

/// Values that a thread updates at a time: the embedding alone may be a fifth of a model.
const PART: usize = 1 << 20;

fn update<M: Moment>(
    mut p: &mut [f32],
    grads: &[f32],
    mut moments: [&mut [M]; 2],
    ranges: Vec<(Range<usize>, f64)>,
    hyper: &Hyper,
    (step, scale): (u64, f32),
) {
    let mut jobs = Vec::new();
    for (range, decay) in ranges {
        let p = p.split_off_mut(..range.len()).expect("the tensor's values");
        let [m, v] = moments.each_mut().map(|all| all.split_off_mut(..range.len()).expect("its moments"));
        let parts = p.chunks_mut(PART).zip(grads[range].chunks(PART)).zip(m.chunks_mut(PART)).zip(v.chunks_mut(PART));
        jobs.extend(parts.map(|(((p, g), m), v)| (p, g, m, v, decay)));
    }
    map_lanes(jobs, |(p, g, m, v, decay)| {
        let adam = AdamW { lr: hyper.lr, beta1: hyper.beta1, beta2: hyper.beta2, eps: 1e-8, weight_decay: decay };
        adamw(p, g, m, v, &adam, step, scale);
    });
}

/// √Σg², in f64 and in one fixed order.
fn global_norm(grads: &[f32]) -> f64 {
    let partial = |chunk: &[f32]| {
        let mut lanes = [0.0f64; 8];
        for part in chunk.chunks(8) {
            part.iter().zip(&mut lanes).for_each(|(&g, lane)| *lane += g as f64 * g as f64);
        }
        lanes.iter().sum::<f64>()
    };
    let chunks: Vec<&[f32]> = grads.chunks(1 << 16).collect();
    map_lanes(chunks, partial).into_iter().sum::<f64>().sqrt()
}
