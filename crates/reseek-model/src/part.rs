//! The smallest parts of a model: a packed matrix and a norm, each with its place in the flat gradient buffer.

use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::linear::{Linear, linear_dgrad, linear_forward, linear_wgrad};
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::rmsnorm::{rmsnorm_dgrad, rmsnorm_forward, rmsnorm_wgrad};

use crate::Weights;

/// A linear map y = W·x (+ b) with its weight packed for both directions.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub linear: Linear,
    pub out: usize,
    range: Range<usize>,
    bias: Option<Bias>,
}

#[derive(Debug)]
struct Bias {
    values: Vec<f32>,
    range: Range<usize>,
}

impl Matrix {
    /// `name` without its `.weight`; a bias is taken along where the specification lists one.
    pub fn new(weights: &Weights, name: &str) -> Self {
        Self::in_format(weights, name, weights.compute)
    }

    /// [`Matrix::new`] that multiplies in `compute` whatever the model does.
    pub fn in_format(weights: &Weights, name: &str, compute: impl Into<Compute>) -> Self {
        let key = format!("{name}.weight");
        let linear = weights.linear(&key, compute.into());
        let bias_key = format!("{name}.bias");
        let bias = weights
            .layout
            .shape(&bias_key)
            .map(|_| Bias { values: weights.get(&bias_key).to_vec(), range: weights.layout.range(&bias_key) });
        Self { out: linear.out_features(), linear, range: weights.layout.range(&key), bias }
    }

    pub fn repack(&mut self, data: &[f32]) {
        self.linear.repack(&data[self.range.clone()]);
        if let Some(bias) = &mut self.bias {
            bias.values.copy_from_slice(&data[bias.range.clone()]);
        }
    }

    /// y [n, out] from x [n, in].
    pub fn forward(&self, x: &[f32], n: usize) -> Buffer {
        let mut y = Buffer::new(n * self.out);
        linear_forward(&mut y, x, &self.linear);
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.out) {
                row.iter_mut().zip(&bias.values).for_each(|(y, b)| *y += b);
            }
        }
        y
    }

    /// The gradient of the input: dx (= or +=) dy·W.
    pub fn dgrad(&self, dx: &mut [f32], dy: &[f32], acc: Accumulate) {
        linear_dgrad(dx, dy, &self.linear, acc);
    }

    /// The gradients of weight and bias, added at their places in `grads`.
    pub fn wgrad(&self, grads: &mut [f32], dy: &[f32], x: &[f32]) {
        linear_wgrad(&mut grads[self.range.clone()], dy, x, &self.linear);
        if let Some(bias) = &self.bias {
            let db = &mut grads[bias.range.clone()];
            for row in dy.chunks_exact(self.out) {
                db.iter_mut().zip(row).for_each(|(d, g)| *d += g);
            }
        }
    }
}

/// RMSNorm with its gain.
#[derive(Debug)]
pub(crate) struct Norm {
    pub gamma: Vec<f32>,
    eps: f32,
    range: Range<usize>,
}

impl Norm {
    pub fn new(weights: &Weights, name: &str) -> Self {
        let key = format!("{name}.weight");
        Self {
            gamma: weights.get(&key).to_vec(),
            eps: weights.spec.rms_norm_eps as f32,
            range: weights.layout.range(&key),
        }
    }

    pub fn repack(&mut self, data: &[f32]) {
        self.gamma.copy_from_slice(&data[self.range.clone()]);
    }

    /// y of x's shape, normalised over rows of the gain's width.
    pub fn forward(&self, x: &[f32]) -> Buffer {
        let mut y = Buffer::new(x.len());
        rmsnorm_forward(&mut y, x, &self.gamma, self.eps);
        y
    }

    /// Gradients of input (= or +=) and of the gain (+=).
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &[f32], x: &[f32], acc: Accumulate) {
        rmsnorm_dgrad(dx, dy, x, &self.gamma, self.eps, acc);
        rmsnorm_wgrad(&mut grads[self.range.clone()], dy, x, self.eps);
    }
}
