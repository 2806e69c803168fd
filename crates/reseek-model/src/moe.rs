//! Feed-forward layers: the dense SwiGLU network, and DeepSeekMoE with shared and routed experts.
//!
//! Shapes: n rows, d model width, i expert width, e experts, k experts a token, s = n·k slots (a token at one of its
//! experts). Slots are sorted by expert, so each expert's rows are adjacent and one grouped product serves all experts.
//! Kept for the backward pass: the inputs of SwiGLU; its output is computed again (V3 report, 3.2.3).

use std::ops::Range;

use reseek_spec::MoeSpec;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::matmul::{Accumulate, Packed, grouped_matmul, grouped_matmul_tn};
use reseek_tensor::permute::{gather_add_rows, gather_rows, weigh_rows};
use reseek_tensor::swiglu::{swiglu_backward, swiglu_forward};

use crate::Weights;
use crate::part::Matrix;
use crate::router::{Routing, balance_loss, expert_counts, route, route_backward};
use crate::rows::spans;

/// A dense SwiGLU network: W_down·(silu(W_gate·x) ⊙ W_up·x).
#[derive(Debug)]
pub(crate) struct Mlp {
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// What the dense network keeps: the inputs of SwiGLU.
#[derive(Debug)]
pub(crate) struct MlpSaved {
    gate: Buffer,
    up: Buffer,
}

impl Mlp {
    pub fn new(weights: &Weights, prefix: &str) -> Self {
        let matrix = |part: &str| Matrix::new(weights, &format!("{prefix}.{part}"));
        Self { gate: matrix("gate_proj"), up: matrix("up_proj"), down: matrix("down_proj") }
    }

    pub fn repack(&mut self, data: &[f32]) {
        [&mut self.gate, &mut self.up, &mut self.down].into_iter().for_each(|m| m.repack(data));
    }

    pub fn forward(&self, x: &[f32], n: usize) -> (Buffer, MlpSaved) {
        let saved = MlpSaved { gate: self.gate.forward(x, n), up: self.up.forward(x, n) };
        (self.down.forward(&activate(&saved.gate, &saved.up), n), saved)
    }

    /// Adds to dx and to the gradients.
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &[f32], x: &[f32], saved: &MlpSaved) {
        let act = activate(&saved.gate, &saved.up);
        self.down.wgrad(grads, dy, &act);
        let mut dact = act;
        self.down.dgrad(&mut dact, dy, Accumulate::Set);
        let (mut dgate, mut dup) = (Buffer::new(dact.len()), Buffer::new(dact.len()));
        swiglu_backward(&mut dgate, &mut dup, &dact, &saved.gate, &saved.up);
        self.gate.dgrad(dx, &dgate, Accumulate::Add);
        self.up.dgrad(dx, &dup, Accumulate::Add);
        self.gate.wgrad(grads, &dgate, x);
        self.up.wgrad(grads, &dup, x);
    }
}

/// Routed experts, a shared expert and the gate.
#[derive(Debug)]
pub(crate) struct Moe {
    spec: MoeSpec,
    gate: Matrix,
    bias: Vec<f32>,
    bias_range: Range<usize>,
    experts: [Group; 3],
    shared: Option<Mlp>,
}

/// The same projection of all experts.
#[derive(Debug)]
struct Group {
    forward: Vec<Packed>,
    dgrad: Vec<Packed>,
    out: usize,
    in_: usize,
    range: Range<usize>,
    compute: Compute,
}

/// What the experts keep for the backward pass.
#[derive(Debug)]
pub(crate) struct MoeSaved {
    pub routing: Routing,
    slots: Slots,
    gate: Buffer,
    up: Buffer,
    shared: Option<MlpSaved>,
}

/// The permutation of tokens to experts.
#[derive(Debug)]
struct Slots {
    /// Slots of expert j: offsets[j]..offsets[j + 1].
    offsets: Vec<usize>,
    /// Token of each slot, [s].
    tokens: Vec<u32>,
    /// Slot of each choice of each token, [n, k].
    of_choice: Vec<u32>,
}

const GATE: usize = 0;
const UP: usize = 1;
const DOWN: usize = 2;

impl Moe {
    pub fn new(weights: &Weights, prefix: &str, spec: &MoeSpec) -> Self {
        let bias = format!("{prefix}.gate.e_score_correction_bias");
        let group = |part: &str| Group::new(weights, prefix, part, spec.n_routed_experts);
        Self {
            spec: spec.clone(),
            // V3 keeps the gate in higher precision (report, 3.3.1): a rounded score sends a token elsewhere.
            gate: Matrix::in_format(weights, &format!("{prefix}.gate"), Dtype::F32),
            bias: weights.get(&bias).to_vec(),
            bias_range: weights.layout.range(&bias),
            experts: [group("gate_proj"), group("up_proj"), group("down_proj")],
            shared: (spec.n_shared_experts > 0).then(|| Mlp::new(weights, &format!("{prefix}.shared_experts"))),
        }
    }

    pub fn repack(&mut self, weights: &Weights) {
        self.gate.repack(&weights.data);
        self.bias.copy_from_slice(&weights.buffers[self.bias_range.clone()]);
        self.experts.iter_mut().for_each(|group| group.repack(&weights.data));
        if let Some(shared) = &mut self.shared {
            shared.repack(&weights.data);
        }
    }

    pub fn forward(&self, x: &[f32], n: usize) -> (Buffer, MoeSaved) {
        let d = x.len() / n;
        let routing = route(&self.gate.forward(x, n), &self.bias, &self.spec);
        let slots = Slots::new(&routing.experts, &self.spec);
        let x_slots = slots.gather(x, d);
        let gate = self.experts[GATE].forward(&x_slots, &slots.offsets);
        let up = self.experts[UP].forward(&x_slots, &slots.offsets);
        let y_slots = self.experts[DOWN].forward(&activate(&gate, &up), &slots.offsets);
        let (mut y, shared) = match &self.shared {
            Some(shared) => {
                let (y, saved) = shared.forward(x, n);
                (y, Some(saved))
            }
            None => (Buffer::zeros(n * d), None),
        };
        slots.combine(&mut y, &y_slots, Some(&routing.weights), d);
        (y, MoeSaved { routing, slots, gate, up, shared })
    }

    /// Adds to dx and to the gradients; the balance loss of each segment enters with `balance_weight` a row.
    pub fn backward(
        &self,
        dx: &mut [f32],
        grads: &mut [f32],
        dy: &[f32],
        x: &[f32],
        saved: &MoeSaved,
        segments: &[usize],
        balance_weight: f32,
    ) {
        let MoeSaved { routing, slots, gate, up, shared } = saved;
        let d = dx.len() / (slots.of_choice.len() / self.spec.num_experts_per_tok);
        if let (Some(mlp), Some(saved)) = (&self.shared, shared) {
            mlp.backward(dx, grads, dy, x, saved);
        }
        let dy_slots = slots.gather(dy, d);
        let mut act = activate(gate, up);
        let mut dact = self.experts[DOWN].dgrad(&dy_slots, &slots.offsets);

        // y = Σ w·(W_down·act), so dw = (W_downᵀ·dy)·act: no need to keep W_down·act.
        let width = self.experts[DOWN].in_;
        let mut dweights = Buffer::new(routing.weights.len());
        weigh_rows(&mut dweights, &mut act, &mut dact, &slots.of_choice, &routing.weights, width);
        self.experts[DOWN].wgrad(grads, &dy_slots, &act, &slots.offsets);

        let (mut dgate, mut dup) = (Buffer::new(dact.len()), Buffer::new(dact.len()));
        swiglu_backward(&mut dgate, &mut dup, &dact, gate, up);
        let x_slots = slots.gather(x, d);
        self.experts[GATE].wgrad(grads, &dgate, &x_slots, &slots.offsets);
        self.experts[UP].wgrad(grads, &dup, &x_slots, &slots.offsets);
        let mut dx_slots = self.experts[GATE].dgrad(&dgate, &slots.offsets);
        grouped_matmul(&mut dx_slots, &dup, &self.experts[UP].dgrad, &slots.offsets, Accumulate::Add);
        slots.combine(dx, &dx_slots, None, d);

        let mut dlogits = route_backward(&dweights, routing, &self.spec);
        if balance_weight != 0.0 {
            let (e, k) = (self.spec.n_routed_experts, self.spec.num_experts_per_tok);
            for (from, to) in spans(segments) {
                let (scores, experts) = (&routing.scores[from * e..to * e], &routing.experts[from * k..to * k]);
                let weight = balance_weight * (to - from) as f32;
                balance_loss(scores, experts, Some(&mut dlogits[from * e..to * e]), weight, &self.spec);
            }
        }
        self.gate.dgrad(dx, &dlogits, Accumulate::Add);
        self.gate.wgrad(grads, &dlogits, x);
    }

    /// Σ_i f_i·P_i of each segment, weighted by its rows and summed: 1 a row when the load is even.
    pub fn balance(&self, saved: &MoeSaved, segments: &[usize]) -> f64 {
        let (e, k) = (self.spec.n_routed_experts, self.spec.num_experts_per_tok);
        let of_segment = |(from, to): (usize, usize)| {
            let (scores, experts) = (&saved.routing.scores[from * e..to * e], &saved.routing.experts[from * k..to * k]);
            balance_loss(scores, experts, None, 0.0, &self.spec) as f64 * (to - from) as f64
        };
        spans(segments).map(of_segment).sum()
    }

    /// Tokens that each expert received.
    pub fn counts(&self, saved: &MoeSaved) -> Vec<u32> {
        expert_counts(&saved.routing.experts, self.spec.n_routed_experts)
    }

    /// Where the correction biases lie in the buffers.
    pub fn bias_range(&self) -> Range<usize> {
        self.bias_range.clone()
    }
}

impl Group {
    fn new(weights: &Weights, prefix: &str, part: &str, n_experts: usize) -> Self {
        let name = |j: usize| format!("{prefix}.experts.{j}.{part}.weight");
        let shape = weights.layout.shape(&name(0)).expect("a mixture has an expert 0");
        let (out, in_) = (shape[0], shape[1]);
        let range = weights.layout.range(&name(0)).start..weights.layout.range(&name(n_experts - 1)).end;
        assert_eq!(range.len(), n_experts * out * in_, "the experts' {part} do not lie side by side");
        let pack = |from: fn(&[f32], usize, usize, Compute) -> Packed| -> Vec<Packed> {
            let experts = weights.data[range.clone()].chunks_exact(out * in_);
            experts.map(|w| from(w, out, in_, weights.compute)).collect()
        };
        Self {
            forward: pack(Packed::from_transposed),
            dgrad: pack(Packed::from_rows),
            out,
            in_,
            range,
            compute: weights.compute,
        }
    }

    fn repack(&mut self, data: &[f32]) {
        let weights = data[self.range.clone()].chunks_exact(self.out * self.in_);
        for ((forward, dgrad), w) in self.forward.iter_mut().zip(&mut self.dgrad).zip(weights) {
            forward.repack_transposed(w);
            dgrad.repack_rows(w);
        }
    }

    fn forward(&self, x: &[f32], offsets: &[usize]) -> Buffer {
        let mut y = Buffer::new(x.len() / self.in_ * self.out);
        grouped_matmul(&mut y, x, &self.forward, offsets, Accumulate::Set);
        y
    }

    fn dgrad(&self, dy: &[f32], offsets: &[usize]) -> Buffer {
        let mut dx = Buffer::new(dy.len() / self.out * self.in_);
        grouped_matmul(&mut dx, dy, &self.dgrad, offsets, Accumulate::Set);
        dx
    }

    fn wgrad(&self, grads: &mut [f32], dy: &[f32], x: &[f32], offsets: &[usize]) {
        grouped_matmul_tn(&mut grads[self.range.clone()], dy, x, self.out, self.in_, offsets, self.compute);
    }
}

impl Slots {
    fn new(experts: &[u32], spec: &MoeSpec) -> Self {
        let counts = expert_counts(experts, spec.n_routed_experts);
        let mut offsets = vec![0];
        counts.iter().for_each(|&c| offsets.push(offsets.last().unwrap() + c as usize));
        let mut next = offsets.clone();
        let mut tokens = vec![0; experts.len()];
        let mut of_choice = vec![0; experts.len()];
        for (choice, &expert) in experts.iter().enumerate() {
            let slot = next[expert as usize];
            next[expert as usize] += 1;
            tokens[slot] = (choice / spec.num_experts_per_tok) as u32;
            of_choice[choice] = slot as u32;
        }
        Self { offsets, tokens, of_choice }
    }

    fn gather(&self, x: &[f32], d: usize) -> Buffer {
        let mut y = Buffer::new(self.tokens.len() * d);
        gather_rows(&mut y, x, &self.tokens, d);
        y
    }

    /// y[t] += Σ over t's choices of (weight ·) slots[choice], in order of preference: a row's bits depend on its token alone.
    fn combine(&self, y: &mut [f32], slots: &[f32], weights: Option<&[f32]>, d: usize) {
        gather_add_rows(y, slots, &self.of_choice, weights, d);
    }
}

fn activate(gate: &[f32], up: &[f32]) -> Buffer {
    let mut act = Buffer::new(gate.len());
    swiglu_forward(&mut act, gate, up);
    act
}
