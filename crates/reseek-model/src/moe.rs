//! The mixture of experts: a gate by sigmoid or softmax, routed experts, and in some families one that every token uses.
//!
//! Shapes: n rows, d model width, i expert width, e experts, k experts a token, s = n·k slots (a token at one of its
//! experts). Slots are sorted by expert, so each expert's rows are adjacent and one grouped product serves all experts. The products
//! read their tokens' rows where these lie, and add to a token's row in the order of the experts: its bits depend on the token alone.
//! Kept for the backward pass: the inputs of the gated units; their output is computed again (V3 report, 3.2.3).

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
use crate::mlp::{Both, Shared, SharedSaved, activation};
use crate::part::Matrix;
use crate::pending::Backward;
use crate::rows::spans;
use crate::source::Source;
use crate::{ModelError, Weights};

/// Routed experts, a shared expert and the gate.
#[derive(Debug)]
pub(crate) struct Moe {
    gate: Gate,
    gate_matrix: Matrix,
    /// Empty in families without correction biases, as is its range.
    bias: Vec<f32>,
    bias_range: Range<usize>,
    gate_up: Group,
    down: Group,
    activation: Activation,
    shared: Option<Shared>,
}

/// What the experts keep for the backward pass.
#[derive(Debug)]
pub(crate) struct MoeSaved {
    pub routing: Routing,
    dispatcher: Dispatcher,
    gate_up: Buffer,
    shared: Option<SharedSaved>,
}

impl Moe {
    pub fn new(source: Source, prefix: &str, spec: &MoeSpec) -> Result<Self, ModelError> {
        let (bias, bias_range) = match spec.scoring {
            reseek_spec::Scoring::Sigmoid => {
                let bias = format!("{prefix}.gate.e_score_correction_bias");
                (source.get(&bias)?.into_owned(), source.layout.range(&bias))
            }
            reseek_spec::Scoring::Softmax => (Vec::new(), 0..0),
        };
        let (gate_up, down) = Experts { source, prefix, count: spec.n_routed_experts }.groups()?;
        Ok(Self {
            gate: gate_of(spec),
            // V3 keeps the gate in higher precision (report, 3.3.1): a rounded score sends a token elsewhere.
            gate_matrix: Matrix::in_format(source, &format!("{prefix}.gate"), Dtype::F32)?,
            bias,
            bias_range,
            gate_up,
            down,
            activation: activation(source),
            shared: Shared::new(source, prefix, spec)?,
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
        let x = Both { exact: Operand::of(x, d, Dtype::F32), operand: Operand::of(x, d, self.dtype()) };
        let routing = route(self.gate_matrix.forward(&x.exact, n), &self.bias, self.gate);
        let dispatcher = Dispatcher::new(&routing, self.gate);
        let gate_up = self.gate_up.forward(&dispatcher.dispatch(&x.operand));
        let act = glu_forward(&gate_up, self.down.place.in_, self.activation, self.dtype());
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
        let x = Both { operand: exact.rounded(dtype), exact };
        let dy = Both { exact: Operand::of(dy, d, Dtype::F32), operand: Operand::of(dy, d, dtype).into_owned() };
        if let (Some(expert), Some(saved)) = (&self.shared, shared) {
            expert.backward(dx, &dy, &x, saved, back);
        }
        let (x_slots, dy_slots) = (dispatcher.dispatch(&x.operand), dispatcher.dispatch(&dy.operand));
        let dact = self.down.dgrad(&dy_slots);

        // y = Σ w·(W_down·act) = Σ W_down·(w·act), so dw = (W_downᵀ·dy)·act: no need to keep W_down·act.
        let weights = dispatcher.weights(&routing.weights);
        let mut of_slots = Buffer::uncleared(weights.len());
        let rows = RowWeights { weights: (&weights).into(), dweights: (&mut of_slots).into() };
        let GluBackward { y: act, dgate_up } = glu_backward(&dact, gate_up, width, self.activation, dtype, Some(rows));
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
        self.gate_matrix.backward(dx, Accumulate::Add, Cow::Owned(dlogits), &x.exact, back);
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

fn gate_of(spec: &MoeSpec) -> Gate {
    let (scoring, group_score) = match spec.scoring {
        reseek_spec::Scoring::Sigmoid => (Scoring::Sigmoid, GroupScore::TwoBest),
        reseek_spec::Scoring::Softmax => (Scoring::Softmax, GroupScore::Best),
    };
    Gate {
        experts: spec.n_routed_experts,
        experts_per_token: spec.num_experts_per_tok,
        scoring,
        groups: spec.n_group,
        groups_kept: spec.topk_group,
        group_score,
        normalised: spec.norm_topk_prob,
        scale: spec.routed_scaling_factor as f32,
    }
}
