//! The dense feed-forward network, and the expert of a mixture that every token uses: W_down·(act(W_gate·x) ⊙ W_up·x).
//!
//! Shapes: n rows, d model width, i width of the network. Kept for the backward pass: the inputs of the gated unit; its output is computed
//! again (V3 report, 3.2.3).

use std::borrow::Cow;

use reseek_spec::MoeSpec;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::{scale_rows, scale_rows_backward, sigmoid, sigmoid_backward};
use reseek_tensor::glu::{Activation, GluBackward, glu_backward, glu_forward};
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;

use crate::ModelError;
use crate::part::{GateUp, Matrix};
use crate::pending::Backward;
use crate::source::Source;

/// The activation of a model's gated units.
pub(crate) fn activation(source: Source) -> Activation {
    match source.spec.hidden_act {
        reseek_spec::Activation::Silu => Activation::Silu,
        reseek_spec::Activation::GeluTanh => Activation::GeluTanh,
    }
}

/// A dense network.
#[derive(Debug)]
pub(crate) struct Mlp {
    gate_up: GateUp,
    down: Matrix,
    activation: Activation,
}

/// What the dense network keeps: the inputs of the gated unit, [n, 2·i].
#[derive(Debug)]
pub(crate) struct MlpSaved {
    gate_up: Buffer,
}

impl Mlp {
    pub fn new(source: Source, prefix: &str) -> Result<Self, ModelError> {
        Ok(Self {
            gate_up: GateUp::new(source, prefix)?,
            down: Matrix::new(source, &format!("{prefix}.down_proj"))?,
            activation: activation(source),
        })
    }

    pub fn repack(&mut self, data: &[f32]) {
        self.gate_up.repack(data);
        self.down.repack(data);
    }

    /// The format in which the network takes its input and its output's gradient.
    pub fn dtype(&self) -> Dtype {
        self.gate_up.dtype()
    }

    pub fn forward(&self, x: &Operand, n: usize) -> (Buffer, MlpSaved) {
        let gate_up = self.gate_up.forward(x, n);
        let act = glu_forward(&gate_up, self.gate_up.out, self.activation, self.down.dtype());
        (self.down.forward(&act, n), MlpSaved { gate_up })
    }

    /// Adds to dx; the gradients of weights are left to `back`, but that of the output's bias is [`Mlp::down_bias_gradient`]'s.
    pub fn backward<'a>(
        &'a self,
        dx: &mut Buffer,
        dy: &Operand<'a>,
        x: &Operand<'a>,
        saved: &MlpSaved,
        back: &mut Backward<'a, '_>,
    ) {
        let (width, dtype) = (self.gate_up.out, self.dtype());
        let mut dact = Buffer::uncleared(saved.gate_up.len() / 2);
        self.down.dgrad(&mut dact, dy, Accumulate::Set);
        // Gradients of biases are sums of f32 values.
        let of_unit = if self.gate_up.has_bias() { Dtype::F32 } else { dtype };
        let GluBackward { y: act, dgate_up } =
            glu_backward(&dact, &saved.gate_up, width, self.activation, of_unit, None);
        let act = if of_unit == dtype { act } else { act.rounded(dtype) };
        self.down.wgrad(dy.clone(), &act, back);
        self.gate_up.backward(dx, dgate_up, x, back);
    }

    /// Leaves the gradient of the output's bias, where there is one.
    pub fn down_bias_gradient<'a>(&'a self, dy: &Buffer, back: &mut Backward<'a, '_>) {
        self.down.bias_gradient(dy, back);
    }
}

/// The expert that every token uses, in some families times a sigmoid of the token's own.
#[derive(Debug)]
pub(crate) struct Shared {
    mlp: Mlp,
    gate: Option<Matrix>,
}

/// What the shared expert keeps; with a gate its output before that, [n, d], and the gate's values [n].
#[derive(Debug)]
pub(crate) struct SharedSaved {
    mlp: MlpSaved,
    gated: Option<(Buffer, Buffer)>,
}

/// Rows, or gradients of rows, in f32 and as products take them.
pub(crate) struct Both<'e, 'a> {
    pub exact: Operand<'e>,
    pub operand: Operand<'a>,
}

impl Shared {
    /// That of the mixture `prefix`, if it has one.
    pub fn new(source: Source, prefix: &str, spec: &MoeSpec) -> Result<Option<Self>, ModelError> {
        if spec.shared_expert_intermediate_size == 0 {
            return Ok(None);
        }
        let family = source.spec.family;
        let gate = || Matrix::in_format(source, &format!("{prefix}.shared_expert_gate"), Dtype::F32);
        Ok(Some(Self {
            mlp: Mlp::new(source, &format!("{prefix}.{}", family.shared_expert_name()))?,
            gate: if family.gates_shared_expert() { Some(gate()?) } else { None },
        }))
    }

    pub fn repack(&mut self, data: &[f32]) {
        self.mlp.repack(data);
        if let Some(gate) = &mut self.gate {
            gate.repack(data);
        }
    }

    pub fn forward(&self, x: &Both, n: usize) -> (Buffer, SharedSaved) {
        let (mut y, mlp) = self.mlp.forward(&x.operand, n);
        let gated = self.gate.as_ref().map(|gate| {
            let mut values = gate.forward(&x.exact, n);
            sigmoid(&mut values);
            let plain = y.clone();
            scale_rows(&mut y, &values, x.exact.width());
            (plain, values)
        });
        (y, SharedSaved { mlp, gated })
    }

    /// Adds to dx; the gradients of weights are left to `back`.
    pub fn backward<'a>(
        &'a self,
        dx: &mut Buffer,
        dy: &Both<'_, 'a>,
        x: &Both<'a, 'a>,
        saved: &'a SharedSaved,
        back: &mut Backward<'a, '_>,
    ) {
        let (Some(gate), Some((plain, values))) = (&self.gate, &saved.gated) else {
            if self.mlp.down.has_bias() {
                self.mlp.down_bias_gradient(&Buffer::of(dy.exact.host()), back);
            }
            return self.mlp.backward(dx, &dy.operand, &x.operand, &saved.mlp, back);
        };
        let (d, mut dplain) = (x.exact.width(), Buffer::of(dy.exact.host()));
        let mut dvalues = Buffer::uncleared(values.len());
        scale_rows_backward(&mut dplain, &mut dvalues, plain, values, d);
        sigmoid_backward(&mut dvalues, values);
        self.mlp.down_bias_gradient(&dplain, back);
        self.mlp.backward(dx, &Operand::owned(dplain, d, self.mlp.dtype()), &x.operand, &saved.mlp, back);
        gate.backward(dx, Accumulate::Add, Cow::Owned(dvalues), &x.exact, back);
    }
}
