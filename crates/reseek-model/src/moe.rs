//! Feed-forward layers: the dense SwiGLU network, and DeepSeekMoE with shared and routed experts.
//!
//! Shapes: n rows, d model width, i expert width, e experts, k experts a token, s = n·k slots (a token at one of its
//! experts). Slots are sorted by expert, so each expert's rows are adjacent and one grouped product serves all experts. The products
//! read their tokens' rows where these lie, and add to a token's row in the order of the experts: its bits depend on the token alone.
//! Kept for the backward pass: the inputs of SwiGLU; its output is computed again (V3 report, 3.2.3).

use std::ops::Range;

use reseek_spec::MoeSpec;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::matmul::{Accumulate, Packed, grouped_matmul, grouped_matmul_tn_parts};
use reseek_tensor::operand::Operand;
use reseek_tensor::routing::{
    Gate, Routing, balance_loss, balance_loss_backward, expert_counts, route, route_backward,
};
use reseek_tensor::swiglu::{RowWeights, SwiGluBackward, swiglu_backward, swiglu_forward};

use crate::Weights;
use crate::dispatch::{ByExpert, Dispatch};
use crate::part::{GateUp, Matrix, disjoint};
use crate::rows::spans;
use crate::weights::Source;

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
    pub fn new(weights: Source, prefix: &str) -> Self {
        Self { gate_up: GateUp::new(weights, prefix), down: Matrix::new(weights, &format!("{prefix}.down_proj")) }
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
        let act = swiglu_forward(&gate_up, self.gate_up.out, self.down.dtype());
        (self.down.forward(&act, n), MlpSaved { gate_up })
    }

    /// Adds to dx and to the gradients.
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &Operand, x: &Operand, saved: &MlpSaved) {
        let (width, dtype) = (self.gate_up.out, self.dtype());
        let mut dact = Buffer::new(saved.gate_up.len() / 2);
        self.down.dgrad(&mut dact, dy, Accumulate::Set);
        let SwiGluBackward { y: act, dgate_up } = swiglu_backward(&dact, &saved.gate_up, width, dtype, None);
        self.down.wgrad(grads, dy, &act);
        self.gate_up.backward(dx, grads, &dgate_up, x);
    }
}

/// Routed experts, a shared expert and the gate.
#[derive(Debug)]
pub(crate) struct Moe {
    gate: Gate,
    gate_matrix: Matrix,
    bias: Vec<f32>,
    bias_range: Range<usize>,
    gate_up: Group<2>,
    down: Group<1>,
    shared: Option<Mlp>,
}

/// PARTS projections of all experts, as one product a step: their outputs lie side by side.
#[derive(Debug)]
struct Group<const PARTS: usize> {
    forward: Vec<Packed>,
    /// None where there is no backward pass.
    dgrad: Vec<Packed>,
    /// Width of one part.
    out: usize,
    in_: usize,
    ranges: [Range<usize>; PARTS],
    compute: Compute,
}

/// What the experts keep for the backward pass.
#[derive(Debug)]
pub(crate) struct MoeSaved {
    pub routing: Routing,
    dispatch: Dispatch,
    gate_up: Buffer,
    shared: Option<MlpSaved>,
}

impl Moe {
    pub fn new(weights: Source, prefix: &str, spec: &MoeSpec) -> Self {
        let bias = format!("{prefix}.gate.e_score_correction_bias");
        Self {
            gate: Gate {
                experts: spec.n_routed_experts,
                experts_per_token: spec.num_experts_per_tok,
                groups: spec.n_group,
                groups_kept: spec.topk_group,
                normalised: spec.norm_topk_prob,
                scale: spec.routed_scaling_factor as f32,
            },
            // V3 keeps the gate in higher precision (report, 3.3.1): a rounded score sends a token elsewhere.
            gate_matrix: Matrix::in_format(weights, &format!("{prefix}.gate"), Dtype::F32),
            bias: weights.get(&bias).to_vec(),
            bias_range: weights.layout.range(&bias),
            gate_up: Group::new(weights, prefix, ["gate_proj", "up_proj"], spec.n_routed_experts),
            down: Group::new(weights, prefix, ["down_proj"], spec.n_routed_experts),
            shared: (spec.n_shared_experts > 0).then(|| Mlp::new(weights, &format!("{prefix}.shared_experts"))),
        }
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

    pub fn forward(&self, x: &[f32], n: usize) -> (Buffer, MoeSaved) {
        let (d, dtype) = (self.down.out, self.down.compute.operand_dtype());
        let routing = route(self.gate_matrix.forward(&Operand::of(x, d, Dtype::F32), n), &self.bias, self.gate);
        let dispatch = Dispatch::new(&routing, self.gate);
        let x = Operand::of(x, d, dtype);
        let gate_up = self.gate_up.forward(&dispatch.dispatch(&x));
        let act = swiglu_forward(&gate_up, self.down.in_, dtype);
        let y_slots = self.down.forward(&dispatch.at_experts(act));
        let (mut y, shared) = match &self.shared {
            Some(shared) => {
                let (y, saved) = shared.forward(&x, n);
                (y, Some(saved))
            }
            None => (Buffer::zeros(n * d), None),
        };
        dispatch.combine(&mut y, &y_slots, Some(&routing.weights), d);
        (y, MoeSaved { routing, dispatch, gate_up, shared })
    }

    /// Adds to dx and to the gradients; the balance loss of each segment enters with `balance_weight` a row.
    pub fn backward(
        &self,
        dx: &mut [f32],
        grads: &mut [f32],
        dy: &[f32],
        h: &[f32],
        saved: &MoeSaved,
        segments: &[usize],
        balance_weight: f32,
    ) {
        let MoeSaved { routing, dispatch, gate_up, shared } = saved;
        let (d, width, dtype) = (self.down.out, self.down.in_, self.down.compute.operand_dtype());
        let (x, dy) = (Operand::of(h, d, dtype), Operand::of(dy, d, dtype));
        if let (Some(mlp), Some(saved)) = (&self.shared, shared) {
            mlp.backward(dx, grads, &dy, &x, saved);
        }
        let (x_slots, dy_slots) = (dispatch.dispatch(&x), dispatch.dispatch(&dy));
        let dact = self.down.dgrad(&dy_slots);

        // y = Σ w·(W_down·act) = Σ W_down·(w·act), so dw = (W_downᵀ·dy)·act: no need to keep W_down·act.
        let weights = dispatch.weights(&routing.weights);
        let mut of_slots = Buffer::new(weights.len());
        let rows = RowWeights { weights: &weights, dweights: &mut of_slots };
        let SwiGluBackward { y: act, dgate_up } = swiglu_backward(&dact, gate_up, width, dtype, Some(rows));
        let dweights = dispatch.combine_weights(&of_slots);
        let dgate_up = dispatch.at_experts(dgate_up);
        self.down.wgrad(grads, &dy_slots, &act);
        self.gate_up.wgrad(grads, &dgate_up, &x_slots.rows);
        let dx_slots = self.gate_up.dgrad(&dgate_up);
        dispatch.combine(dx, &dx_slots, None, d);

        let mut dlogits = route_backward(&dweights, routing, self.gate);
        if balance_weight != 0.0 {
            for (from, to) in spans(segments) {
                let weight = balance_weight * (to - from) as f32;
                balance_loss_backward(&mut dlogits, routing, from..to, weight, self.gate);
            }
        }
        self.gate_matrix.backward(dx, Accumulate::Add, grads, &dlogits, &Operand::of(h, d, Dtype::F32));
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

impl<const PARTS: usize> Group<PARTS> {
    fn new(weights: Source, prefix: &str, parts: [&str; PARTS], n_experts: usize) -> Self {
        let name = |j: usize, part: &str| format!("{prefix}.experts.{j}.{part}.weight");
        let shape = weights.layout.shape(&name(0, parts[0])).expect("a mixture has an expert 0");
        let (out, in_) = (shape[0], shape[1]);
        let ranges = parts.map(|part| {
            let place = |j: usize| weights.layout.range(&name(j, part));
            let range = place(0).start..place(n_experts - 1).end;
            assert_eq!(range.len(), n_experts * out * in_, "the experts' {part} do not lie side by side");
            range
        });
        let zeros = vec![0.0; PARTS * out * in_];
        let (out_all, compute) = (PARTS * out, weights.compute);
        let forward = vec![Packed::from_transposed(&zeros, out_all, in_, compute); n_experts];
        let dgrad = vec![Packed::from_rows(&zeros, out_all, in_, compute); if weights.trains { n_experts } else { 0 }];
        let mut group = Self { forward, dgrad, out, in_, ranges, compute };
        group.repack(&weights.data);
        group
    }

    fn repack(&mut self, data: &[f32]) {
        let size = self.out * self.in_;
        let of_expert =
            |j: usize| Buffer::joined(self.ranges.each_ref().map(|range| &data[range.start + j * size..][..size]));
        for (j, forward) in (0..).zip(&mut self.forward) {
            let w = of_expert(j);
            forward.repack_transposed(&w);
            if let Some(dgrad) = self.dgrad.get_mut(j) {
                dgrad.repack_rows(&w);
            }
        }
    }

    /// y [s, PARTS·out] from x [s, in].
    fn forward(&self, x: &ByExpert) -> Buffer {
        let mut y = Buffer::new(x.len() * PARTS * self.out);
        grouped_matmul(&mut y, &x.rows, &self.forward, x.offsets, Accumulate::Set);
        y
    }

    /// The gradient of the input, [s, in].
    fn dgrad(&self, dy: &ByExpert) -> Buffer {
        let mut dx = Buffer::new(dy.len() * self.in_);
        grouped_matmul(&mut dx, &dy.rows, &self.dgrad, dy.offsets, Accumulate::Set);
        dx
    }

    /// The gradients of all experts' weights, from the rows that `dy` are the gradient for.
    fn wgrad(&self, grads: &mut [f32], dy: &ByExpert, x: &Operand) {
        let dw = disjoint(grads, &self.ranges);
        grouped_matmul_tn_parts(dw, &dy.rows, x, self.out, self.in_, dy.offsets, self.compute);
    }
}
