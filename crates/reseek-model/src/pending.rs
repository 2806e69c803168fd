//! Gradients of weights as values that can wait: a backward pass computes the gradients of inputs, which the layer before waits for, and
//! leaves the operands of the others here. DualPipe and zero-bubble schedules fill their gaps with these (V3 report, 3.2.1); a pass without
//! a pipeline adds each at once.

use std::borrow::Cow;
use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::elementwise::bias_grad;
use reseek_tensor::embedding::embedding_backward;
use reseek_tensor::operand::Operand;

use crate::norm::Norm;
use crate::part::Place;
use crate::rows::Pass;

/// What the layers of a backward pass share: rows, the weight of the balance loss a row, and what becomes of the weights' gradients.
pub(crate) struct Backward<'a, 'g> {
    pub pass: Pass<'a>,
    pub balance: f32,
    pub sink: Sink<'a, 'g>,
}

/// What becomes of the gradients of weights.
pub(crate) enum Sink<'a, 'g> {
    /// Each is added while its operands are in the cache: to hold them until the end of their layer cost about 2 % of a step.
    Now(&'g mut [f32]),
    /// They wait.
    Later(&'g mut Pending<'a>),
}

impl<'a> Backward<'a, '_> {
    /// Takes the gradient of a weight.
    pub fn leave(&mut self, gradient: WeightGradient<'a>) {
        match &mut self.sink {
            Sink::Now(grads) => gradient.add_to(grads),
            Sink::Later(pending) => pending.0.push(gradient),
        }
    }
}

/// Gradients of weights that wait to be added. They keep their operands and borrow the model and the activations of the pass.
#[derive(Debug, Default)]
#[must_use = "gradients that are not added are lost"]
pub struct Pending<'a>(Vec<WeightGradient<'a>>);

/// One of them.
#[derive(Debug)]
pub(crate) enum WeightGradient<'a> {
    /// dW += dyᵀ·x, with the rows of each expert where the matrices are those of experts.
    Product { place: &'a Place, dy: Operand<'a>, x: Operand<'a>, experts: Option<&'a [usize]> },
    /// Sums of the rows of dy [n, out].
    Bias { range: &'a Range<usize>, dy: Buffer },
    /// Of a norm's gain: dy and its input x, [n, d].
    Gain { norm: &'a Norm, dy: Buffer, x: Cow<'a, Buffer> },
    /// Of the table's rows that were looked up, dy [n, d].
    Embedding { range: &'a Range<usize>, dy: Buffer, tokens: &'a [u32], d: usize },
}

impl Pending<'_> {
    /// Adds all of them, in the order in which the pass left them, to `grads`, laid out as [`crate::Weights::data`].
    pub fn add_to(self, grads: &mut [f32]) {
        for gradient in self.0 {
            gradient.add_to(grads);
        }
    }
}

impl WeightGradient<'_> {
    fn add_to(self, grads: &mut [f32]) {
        match self {
            Self::Product { place, dy, x, experts } => place.add_gradient(grads, &dy, &x, experts),
            Self::Bias { range, dy } => bias_grad(&mut grads[range.clone()], &dy),
            Self::Gain { norm, dy, x } => norm.add_gradient(grads, &dy, &x),
            Self::Embedding { range, dy, tokens, d } => embedding_backward(&mut grads[range.clone()], &dy, tokens, d),
        }
    }
}
