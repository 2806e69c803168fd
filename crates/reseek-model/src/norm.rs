//! The norm of a model's rows, with its place in the flat gradient buffer.

use std::borrow::Cow;
use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::add_constant;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;
use reseek_tensor::rmsnorm::{rmsnorm_dgrad, rmsnorm_forward, rmsnorm_operand, rmsnorm_wgrad};

use crate::ModelError;
use crate::pending::{Backward, WeightGradient};
use crate::source::Source;

/// RMSNorm with its gain: a weight, or 1 and a weight.
#[derive(Debug)]
pub(crate) struct Norm {
    gamma: Vec<f32>,
    /// What the gain has beside the weight.
    base: f32,
    eps: f32,
    range: Range<usize>,
}

impl Norm {
    pub fn new(source: Source, name: &str) -> Result<Self, ModelError> {
        Self::with_eps(source, name, source.spec.rms_norm_eps)
    }

    /// [`Norm::new`] of a norm that has an ε of its own.
    pub fn with_eps(source: Source, name: &str, eps: f64) -> Result<Self, ModelError> {
        let key = format!("{name}.weight");
        let base = if source.spec.family.has_gains_about_one() { 1.0 } else { 0.0 };
        let (gamma, range) = (source.get(&key)?.into_owned(), source.layout.range(&key));
        let mut norm = Self { gamma, base, eps: eps as f32, range };
        norm.add_base();
        Ok(norm)
    }

    pub fn repack(&mut self, data: &[f32]) {
        self.gamma.copy_from_slice(&data[self.range.clone()]);
        self.add_base();
    }

    fn add_base(&mut self) {
        if self.base != 0.0 {
            add_constant(&mut *self.gamma, self.base);
        }
    }

    /// y of x's shape, normalised over rows of the gain's width.
    pub fn forward(&self, x: &Buffer) -> Buffer {
        let mut y = Buffer::uncleared(x.len());
        rmsnorm_forward(&mut y, x, &self.gamma, self.eps);
        y
    }

    /// [`Norm::forward`] as the operand of products in `dtype`.
    pub fn operand(&self, x: &Buffer, dtype: Dtype) -> Operand<'static> {
        rmsnorm_operand(x, &self.gamma, self.eps, dtype)
    }

    /// The gradient of the input x (= or +=); that of the gain is left to `back`.
    pub fn backward<'a>(
        &'a self,
        dx: &mut Buffer,
        acc: Accumulate,
        dy: Buffer,
        x: Cow<'a, Buffer>,
        back: &mut Backward<'a, '_>,
    ) {
        rmsnorm_dgrad(dx, &dy, &*x, &self.gamma, self.eps, acc);
        back.leave(WeightGradient::Gain { norm: self, dy, x });
    }

    /// The gradient of the gain (+=).
    pub fn add_gradient(&self, grads: &mut [f32], dy: &Buffer, x: &Buffer) {
        rmsnorm_wgrad(&mut grads[self.range.clone()], dy, x, self.eps);
    }
}
