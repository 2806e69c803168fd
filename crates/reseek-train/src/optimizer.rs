//! AdamW over a model's flat parameters, with the clip of the global gradient norm.

use reseek_model::Weights;
use reseek_tensor::adamw::{AdamW, adamw};
use reseek_tensor::pool::map_lanes;

use crate::TrainError;

/// First and second moments, laid out as [`Weights::data`], and the number of steps taken.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// First moments.
    pub m: Vec<f32>,
    /// Second moments.
    pub v: Vec<f32>,
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
    /// Zero moments for `parameters` values.
    pub fn new(parameters: usize) -> Self {
        Self { m: vec![0.0; parameters], v: vec![0.0; parameters], step: 0 }
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
        let layout = weights.layout.clone();
        let mut jobs = Vec::new();
        let (mut p, mut m, mut v) = (weights.data.as_mut_slice(), self.m.as_mut_slice(), self.v.as_mut_slice());
        for (tensor, range) in layout.tensors().filter(|(tensor, _)| !tensor.role.buffer) {
            let (p_head, p_tail) = std::mem::take(&mut p).split_at_mut(range.len());
            let (m_head, m_tail) = std::mem::take(&mut m).split_at_mut(range.len());
            let (v_head, v_tail) = std::mem::take(&mut v).split_at_mut(range.len());
            (p, m, v) = (p_tail, m_tail, v_tail);
            let decay = if tensor.shape.len() > 1 { hyper.weight_decay } else { 0.0 };
            jobs.push((p_head, &grads[range], m_head, v_head, decay));
        }
        let step = self.step;
        map_lanes(jobs, |(p, g, m, v, decay)| {
            let adam = AdamW { lr: hyper.lr, beta1: hyper.beta1, beta2: hyper.beta2, eps: 1e-8, weight_decay: decay };
            adamw(p, g, m, v, &adam, step, scale as f32);
        });
        Ok(norm)
    }
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
