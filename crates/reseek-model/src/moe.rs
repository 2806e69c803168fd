//! Feed-forward layers: the dense SwiGLU network, and DeepSeekMoE with shared and routed experts.
//!
//! Shapes: n rows, d model width, i expert width, e experts, k experts a token, s = n·k slots (a token at one of its
//! experts). Slots are sorted by expert, so each expert's rows are adjacent and one grouped product serves all experts. The products
//! read their tokens' rows where these lie, and add to a token's row in the order of the experts: its bits depend on the token alone.
//! Kept for the backward pass: the inputs of SwiGLU; its output is computed again (V3 report, 3.2.3).

use std::borrow::Cow;
use std::ops::Range;

use reseek_spec::MoeSpec;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::glu::{Activation, GluBackward, RowWeights, glu_backward, glu_forward};
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;
use reseek_tensor::routing::{
    Gate, GroupScore, Routing, Scoring, balance_loss, balance_loss_backward, expert_counts, route, route_backward,
};

use crate::dispatch::Dispatcher;
use crate::experts::{Experts, Group};
use crate::part::{GateUp, Matrix};
use crate::pending::Backward;
use crate::rows::spans;
use crate::source::Source;
use crate::{ModelError, Weights};

/// A dense SwiGLU network: W_down·(silu(W_gate·x) ⊙ W_up·x).
#[derive(Debug)]
pub(crate) struct Mlp {
    gate_up: GateUp,
    down: Matrix,
}

/// What the dense network keeps: the inputs of SwiGLU, [n, 2·i].
#[derive(Debug)]
pub(crate) struct MlpSaved {
    gate_up: Buffer,
}

impl Mlp {
    pub fn new(source: Source, prefix: &str) -> Result<Self, ModelError> {
        Ok(Self { gate_up: GateUp::new(source, prefix)?, down: Matrix::new(source, &format!("{prefix}.down_proj"))? })
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
        let act = glu_forward(&gate_up, self.gate_up.out, Activation::Silu, self.down.dtype());
        (self.down.forward(&act, n), MlpSaved { gate_up })
    }

    /// Adds to dx; the gradients of weights are left to `back`.
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
        let GluBackward { y: act, dgate_up } =
            glu_backward(&dact, &saved.gate_up, width, Activation::Silu, dtype, None);
        self.down.wgrad(dy.clone(), &act, back);
        self.gate_up.backward(dx, dgate_up, x, back);
    }
}

/// Routed experts, a shared expert and the gate.
#[derive(Debug)]
pub(crate) struct Moe {
    gate: Gate,
    gate_matrix: Matrix,
    bias: Vec<f32>,
    bias_range: Range<usize>,
    gate_up: Group,
    down: Group,
    shared: Option<Mlp>,
}

/// What the experts keep for the backward pass.
#[derive(Debug)]
pub(crate) struct MoeSaved {
    pub routing: Routing,
    dispatcher: Dispatcher,
    gate_up: Buffer,
    shared: Option<MlpSaved>,
}

impl Moe {
    pub fn new(source: Source, prefix: &str, spec: &MoeSpec) -> Result<Self, ModelError> {
        let bias = format!("{prefix}.gate.e_score_correction_bias");
        let (gate_up, down) = Experts { source, prefix, count: spec.n_routed_experts }.groups()?;
        Ok(Self {
            gate: Gate {
                experts: spec.n_routed_experts,
                experts_per_token: spec.num_experts_per_tok,
                scoring: Scoring::Sigmoid,
                groups: spec.n_group,
                groups_kept: spec.topk_group,
                group_score: GroupScore::TwoBest,
                normalised: spec.norm_topk_prob,
                scale: spec.routed_scaling_factor as f32,
            },
            // V3 keeps the gate in higher precision (report, 3.3.1): a rounded score sends a token elsewhere.
            gate_matrix: Matrix::in_format(source, &format!("{prefix}.gate"), Dtype::F32)?,
            bias: source.get(&bias)?.into_owned(),
            bias_range: source.layout.range(&bias),
            gate_up,
            down,
            shared: match spec.shared_expert_intermediate_size {
                0 => None,
                _ => Some(Mlp::new(source, &format!("{prefix}.shared_experts"))?),
            },
        })
    }

    pub fn repack(&mut self, weights: &Weights) {
        self.gate_matrix.repack(&weights.data);
        self.bias.copy_from_slice(&weights.buffers[self.bias_range.clone()]);
        self.gate_up.repack(&weights.data);
        self.down.repack(&weights.data);
        if let Some(shared) = &mut self.shared {
            shared.repack(&weights.data);
        }
    }

    pub fn forward(&self, x: &Buffer, n: usize) -> (Buffer, MoeSaved) {
        let d = self.down.place.out;
        let routing = route(self.gate_matrix.forward(&Operand::of(x, d, Dtype::F32), n), &self.bias, self.gate);
        let dispatcher = Dispatcher::new(&routing, self.gate);
        let x = Operand::of(x, d, self.dtype());
        let gate_up = self.gate_up.forward(&dispatcher.dispatch(&x));
        let act = glu_forward(&gate_up, self.down.place.in_, Activation::Silu, self.dtype());
        let y_slots = self.down.forward(&dispatcher.at_experts(act));
        let (mut y, shared) = match &self.shared {
            Some(shared) => {
                let (y, saved) = shared.forward(&x, n);
                (y, Some(saved))
            }
            None => (Buffer::zeros(n * d), None),
        };
        dispatcher.combine(&mut y, &y_slots, Some(&routing.weights), d);
        (y, MoeSaved { routing, dispatcher, gate_up, shared })
    }

    /// Adds to dx; the gradients of weights are left to `back`. h are the rows that went in, normed.
    pub fn backward<'a>(
        &'a self,
        dx: &mut Buffer,
        dy: &Buffer,
        h: Buffer,
        saved: &'a MoeSaved,
        back: &mut Backward<'a, '_>,
    ) {
        let MoeSaved { routing, dispatcher, gate_up, shared } = saved;
        let (d, width, dtype) = (self.down.place.out, self.down.place.in_, self.dtype());
        let exact = Operand::owned(h, d, Dtype::F32);
        let (x, dy) = (exact.rounded(dtype), Operand::of(dy, d, dtype).into_owned());
        if let (Some(mlp), Some(saved)) = (&self.shared, shared) {
            mlp.backward(dx, &dy, &x, saved, back);
        }
        let (x_slots, dy_slots) = (dispatcher.dispatch(&x), dispatcher.dispatch(&dy));
        let dact = self.down.dgrad(&dy_slots);

        // y = Σ w·(W_down·act) = Σ W_down·(w·act), so dw = (W_downᵀ·dy)·act: no need to keep W_down·act.
        let weights = dispatcher.weights(&routing.weights);
        let mut of_slots = Buffer::uncleared(weights.len());
        let rows = RowWeights { weights: (&weights).into(), dweights: (&mut of_slots).into() };
        let GluBackward { y: act, dgate_up } = glu_backward(&dact, gate_up, width, Activation::Silu, dtype, Some(rows));
        let dweights = dispatcher.combine_weights(&of_slots);
        self.down.wgrad(dy_slots, act, back);
        let dgate_up = dispatcher.at_experts(dgate_up);
        let dx_slots = self.gate_up.dgrad(&dgate_up);
        self.gate_up.wgrad(dgate_up, x_slots.rows, back);
        dispatcher.combine(dx, &dx_slots, None, d);

        let mut dlogits = route_backward(&dweights, routing, self.gate);
        if back.balance != 0.0 {
            for (from, to) in spans(&back.pass.rows.segments) {
                let weight = back.balance * (to - from) as f32;
                balance_loss_backward(&mut dlogits, routing, from..to, weight, self.gate);
            }
        }
        self.gate_matrix.backward(dx, Accumulate::Add, Cow::Owned(dlogits), &exact, back);
    }

    /// The format in which experts take their input and their output's gradient.
    fn dtype(&self) -> Dtype {
        self.down.dtype()
    }

    /// Σ_i f_i·P_i of each segment, weighted by its rows and summed: 1 a row when the load is even.
    pub fn balance(&self, saved: &MoeSaved, segments: &[usize]) -> f64 {
        let of_segment =
            |(from, to): (usize, usize)| balance_loss(&saved.routing, from..to, self.gate) as f64 * (to - from) as f64;
        spans(segments).map(of_segment).sum()
    }

    /// Tokens that each expert received.
    pub fn counts(&self, saved: &MoeSaved) -> Vec<u32> {
        expert_counts(&saved.routing.experts, self.gate.experts)
    }

    /// Where the correction biases lie in the buffers.
    pub fn bias_range(&self) -> Range<usize> {
        self.bias_range.clone()
    }
}
