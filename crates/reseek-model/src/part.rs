//! The smallest parts of a model: a packed matrix and a norm, each with its place in the flat gradient buffer.

use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::{add_bias, bias_grad};
use reseek_tensor::linear::{Linear, linear_dgrad, linear_forward, linear_wgrad};
use reseek_tensor::matmul::{Accumulate, matmul_tn_parts};
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::join_rows;
use reseek_tensor::rmsnorm::{rmsnorm_dgrad, rmsnorm_forward, rmsnorm_operand, rmsnorm_wgrad};

use crate::weights::Source;

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
    pub fn new(weights: Source, name: &str) -> Self {
        Self::in_format(weights, name, weights.compute)
    }

    /// [`Matrix::new`] that multiplies in `compute` whatever the model does.
    pub fn in_format(weights: Source, name: &str, compute: impl Into<Compute>) -> Self {
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

    /// The format in which the map takes its input.
    pub fn dtype(&self) -> Dtype {
        self.linear.input_dtype()
    }

    /// y [n, out] from x [n, in].
    pub fn forward(&self, x: &Operand, n: usize) -> Buffer {
        let mut y = Buffer::new(n * self.out);
        linear_forward(&mut y, x, &self.linear);
        if let Some(bias) = &self.bias {
            add_bias(&mut y, &bias.values);
        }
        y
    }

    /// The gradient of the input, dx (= or +=) dy·W, and those of weight and bias, added at their places in `grads`.
    pub fn backward(&self, dx: &mut [f32], acc: Accumulate, grads: &mut [f32], dy: &[f32], x: &Operand) {
        let rounded = Operand::of(dy, self.out, self.dtype());
        self.dgrad(dx, &rounded, acc);
        self.wgrad(grads, &rounded, x);
        if let Some(bias) = &self.bias {
            bias_grad(&mut grads[bias.range.clone()], dy);
        }
    }

    /// dx (= or +=) dy·W.
    pub fn dgrad(&self, dx: &mut [f32], dy: &Operand, acc: Accumulate) {
        linear_dgrad(dx, dy, &self.linear, acc);
    }

    /// The gradient of the weight alone, added at its place in `grads`.
    pub fn wgrad(&self, grads: &mut [f32], dy: &Operand, x: &Operand) {
        linear_wgrad(&mut grads[self.range.clone()], dy, x, &self.linear);
    }
}

/// The two maps before SwiGLU as one product: y [n, 2·out] holds the gate and then the up of each row.
#[derive(Debug)]
pub(crate) struct GateUp {
    form: GateUpForm,
    ranges: [Range<usize>; 2],
    pub out: usize,
}

#[derive(Debug)]
enum GateUpForm {
    Joined(Linear),
    /// Quantised matrices may differ in their blocks.
    Sampled([Linear; 2]),
}

impl GateUp {
    pub fn new(weights: Source, prefix: &str) -> Self {
        let names = ["gate_proj", "up_proj"].map(|part| format!("{prefix}.{part}.weight"));
        let ranges = names.each_ref().map(|name| weights.layout.range(name));
        let &[out, in_] = weights.layout.shape(&names[0]).expect("a gate") else { panic!("a gate is a matrix") };
        let form = if names.iter().any(|name| weights.quantised.contains_key(name)) {
            GateUpForm::Sampled(names.map(|name| weights.linear(&name, weights.compute)))
        } else {
            let both = join(&weights.data, &ranges);
            GateUpForm::Joined(weights.pack(&both, 2 * out, in_, weights.compute))
        };
        Self { form, ranges, out }
    }

    pub fn repack(&mut self, data: &[f32]) {
        if let GateUpForm::Joined(linear) = &mut self.form {
            linear.repack(&join(data, &self.ranges));
        }
    }

    pub fn dtype(&self) -> Dtype {
        match &self.form {
            GateUpForm::Joined(linear) => linear.input_dtype(),
            GateUpForm::Sampled(_) => Dtype::F32,
        }
    }

    pub fn forward(&self, x: &Operand, n: usize) -> Buffer {
        let mut y = Buffer::new(2 * n * self.out);
        match &self.form {
            GateUpForm::Joined(linear) => linear_forward(&mut y, x, linear),
            GateUpForm::Sampled(both) => {
                let [gate, up] = both.each_ref().map(|linear| {
                    let mut y = Buffer::new(n * self.out);
                    linear_forward(&mut y, x, linear);
                    y
                });
                join_rows(&mut y, &gate, self.out, &up, self.out);
            }
        }
        y
    }

    /// dx += dy·W, and the gradients of both weights.
    ///
    /// # Panics
    /// If the maps are quantised.
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &Operand, x: &Operand) {
        let GateUpForm::Joined(linear) = &self.form else { panic!("a quantised gate has no gradient") };
        linear_dgrad(dx, dy, linear, Accumulate::Add);
        let dw = disjoint(grads, &self.ranges);
        matmul_tn_parts(dw, dy, x, self.out, linear.in_features(), linear.compute());
    }
}

/// The values of ranges that do not overlap.
pub(crate) fn disjoint<'a, const N: usize>(values: &'a mut [f32], ranges: &[Range<usize>; N]) -> [&'a mut [f32]; N] {
    values.get_disjoint_mut(ranges.clone()).expect("tensors do not overlap")
}

/// The values of two ranges, one after the other.
fn join(data: &[f32], ranges: &[Range<usize>; 2]) -> Buffer {
    Buffer::joined(ranges.each_ref().map(|range| &data[range.clone()]))
}

/// RMSNorm with its gain.
#[derive(Debug)]
pub(crate) struct Norm {
    pub gamma: Vec<f32>,
    eps: f32,
    range: Range<usize>,
}

impl Norm {
    pub fn new(weights: Source, name: &str) -> Self {
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

    /// [`Norm::forward`] as the operand of products in `dtype`.
    pub fn operand(&self, x: &[f32], dtype: Dtype) -> Operand<'static> {
        rmsnorm_operand(x, &self.gamma, self.eps, dtype)
    }

    /// Gradients of input (= or +=) and of the gain (+=).
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &[f32], x: &[f32], acc: Accumulate) {
        rmsnorm_dgrad(dx, dy, x, &self.gamma, self.eps, acc);
        rmsnorm_wgrad(&mut grads[self.range.clone()], dy, x, self.eps);
    }
}
