//! The operators of a layer with their shapes, operations and bytes, for one micro-batch on one rank, and what each takes on a GPU.
//!
//! Legend: t tokens of the micro-batch on the rank; d hidden size; bytes are of bf16 unless a kernel reads fp8.

use reseek_spec::{GpuSpec, ModelSpec};

use crate::plan::{Kernels, Plan, Precision, Recompute};
use crate::rates::{GemmRate, Rates};

/// What an operator is, as profiles group them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A matrix product.
    Gemm,
    /// Products of the experts on a rank, in one kernel.
    GroupedGemm,
    /// Fused attention, or its products around a matrix of scores.
    Attention,
    /// Quantisation.
    Cast,
    /// Norms, activations, rotation, permutation: bound by memory.
    Elementwise,
}

/// Operators by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpName {
    /// Rows of the table of tokens.
    Embedding,
    /// Both norms of a layer, with the additions to the residual stream.
    Norms,
    /// MLA's projections down to the latents of queries, keys and values.
    Latents,
    /// MLA's queries from their latent.
    QueryUp,
    /// MLA's keys and values from their latent.
    KeyValueUp,
    /// Queries, or queries, keys and values in one, from the hidden state.
    Query,
    /// Rotation of queries and keys.
    Rotary,
    /// Fused: scores, softmax and the sum over values.
    Attention,
    /// Attention as products around a matrix of scores.
    Scores,
    /// From the heads back to the hidden state.
    AttentionOut,
    /// Gate, up and down of a dense layer or of the shared expert.
    Mlp,
    /// SwiGLU.
    Activation,
    /// Scores of the experts, in bf16.
    Router,
    /// Rows to the experts' order and back.
    Permute,
    /// Gate, up and down of the routed experts.
    Experts,
    /// Of the hidden state and the next token's embedding.
    MtpProjection,
    /// Logits.
    Head,
    /// Softmax over the vocabulary and cross-entropy.
    Loss,
    /// Quantisation to fp8.
    Cast,
}

impl OpName {
    /// Whether [`Recompute::Selective`] computes it again: norms, activations and MLA's up-projections (V3 report, 3.2.3), and the scores of
    /// attention that is not fused (Korthikanti and others, 2022).
    fn is_selected(self) -> bool {
        matches!(self, Self::Norms | Self::Activation | Self::QueryUp | Self::KeyValueUp | Self::Scores)
    }
}

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Op {
    /// Which operator of its unit.
    pub name: OpName,
    /// How profiles count it.
    pub kind: Kind,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    /// `groups` products [m, k]·[k, n].
    Product { groups: f64, m: f64, n: f64, k: f64, fp8: bool, is_weight_gradient: bool },
    /// Fused attention's operations.
    Attention { flops: f64, is_backward: bool, kernels: Kernels },
    /// Bytes moved through memory, `kernels` of them apart.
    Bytes { bytes: f64, kernels: f64 },
}

/// The three passes of a layer. Weight gradients apart, as zero-bubble schedules need them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerOps {
    /// Of the forward pass, in order.
    pub forward: Vec<Op>,
    /// Gradients of inputs, what is computed again first.
    pub backward_input: Vec<Op>,
    /// Gradients of weights.
    pub backward_weight: Vec<Op>,
}

/// A unit of the model that a pipeline stage can begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The table of tokens.
    Embedding,
    /// A decoder layer, with routed experts or without.
    Layer {
        /// Whether it has routed experts.
        is_moe: bool,
    },
    /// Final norm, head and loss.
    Head,
    /// The multi-token prediction module: projection, layer, the head once more.
    Mtp,
}

/// Tile of a product's output that one multiprocessor works on.
const TILE: f64 = 128.0;
/// Traffic of unfused element-wise operations over that of fused ones: a norm in f32 takes seven operations where one kernel would do.
const EAGER: f64 = 2.5;
/// Bytes of a value of bf16.
const BF16: f64 = 2.0;

impl Op {
    /// Operations.
    pub fn flops(&self) -> f64 {
        match self.work {
            Work::Product { groups, m, n, k, .. } => 2.0 * groups * m * n * k,
            Work::Attention { flops, .. } => flops,
            Work::Bytes { .. } => 0.0,
        }
    }

    /// Seconds on `gpu` when `sms` of its multiprocessors compute.
    pub fn seconds(&self, gpu: &GpuSpec, rates: &Rates, sms: f64) -> f64 {
        let share = sms / f64::from(gpu.sms);
        match self.work {
            Work::Product { groups, m, n, k, fp8, is_weight_gradient } => {
                let (peak, rate) = match fp8 {
                    true if is_weight_gradient => (gpu.fp8_flops.unwrap_or(gpu.bf16_flops), rates.fp8_wgrad),
                    true => (gpu.fp8_flops.unwrap_or(gpu.bf16_flops), rates.fp8),
                    false => (gpu.bf16_flops, rates.bf16),
                };
                let compute = self.flops() / (peak * share * product_share(rate, k)) / wave_share(groups, m, n, sms);
                let input = if fp8 { 1.0 } else { BF16 };
                // A gradient of weights is added to f32.
                let output = if is_weight_gradient { 8.0 } else { BF16 };
                let bytes = groups * ((m * k + k * n) * input + m * n * output);
                compute.max(bytes / (gpu.hbm_bytes_per_s * rates.elementwise)) + rates.launch_s
            }
            Work::Attention { flops, is_backward, kernels } => {
                let rate = match kernels {
                    Kernels::Current | Kernels::Megatron2021 => rates.attention,
                    Kernels::Flash2 => rates.flash2,
                    Kernels::Eager2022 => rates.flash1,
                };
                let reached = if is_backward { rate.backward } else { rate.forward };
                flops / (gpu.bf16_flops * reached * share) + rates.launch_s
            }
            Work::Bytes { bytes, kernels } => {
                let reached = if self.kind == Kind::Cast { rates.cast } else { rates.elementwise };
                bytes / (gpu.hbm_bytes_per_s * reached * share.max(0.5)) + kernels * rates.launch_s
            }
        }
    }
}

/// Of the peak, by the length of the inner sum.
fn product_share(rate: GemmRate, k: f64) -> f64 {
    rate.share * k / (k + rate.k_half)
}

/// Of the multiprocessors, those that the waves of tiles keep busy. Kernels choose among tiles of 128×128 and half of that, so a last wave
/// that is nearly empty costs half a wave.
fn wave_share(groups: f64, m: f64, n: f64, sms: f64) -> f64 {
    let tiles = groups * (m / TILE).ceil() * (n / TILE).ceil();
    let waves = tiles / sms;
    let padded = (m / TILE) * (n / TILE) * groups / tiles;
    padded * waves / ((2.0 * waves).ceil() / 2.0).max(waves)
}

/// What a layer is built with.
struct Builder<'a> {
    model: &'a ModelSpec,
    plan: &'a Plan,
    /// Tokens of the micro-batch on this rank.
    t: f64,
    tp: f64,
    ops: LayerOps,
}

/// Operators of `unit` for one micro-batch of `plan`. `load_max` is the fullest rank's share of routed rows over the mean.
pub fn unit_ops(model: &ModelSpec, plan: &Plan, unit: Unit, load_max: f64) -> LayerOps {
    let mut builder = Builder { model, plan, t: plan.tokens(), tp: plan.tp as f64, ops: LayerOps::default() };
    match unit {
        Unit::Embedding => builder.bytes(OpName::Embedding, 2.0 * BF16 * builder.width(), 1.0, 2.0),
        Unit::Layer { is_moe } => builder.layer(is_moe, load_max),
        Unit::Head => builder.head(),
        Unit::Mtp => {
            let d = model.hidden_size as f64;
            builder.product(OpName::MtpProjection, builder.t, d / builder.tp, 2.0 * d, true);
            builder.layer(model.moe.is_some(), load_max);
            builder.head();
        }
    }
    builder.ops
}

impl Builder<'_> {
    /// Bytes of activations of width d a token and rank: sequence parallelism divides them.
    fn width(&self) -> f64 {
        self.t * self.model.hidden_size as f64 / self.tp
    }

    fn fp8(&self) -> bool {
        self.plan.precision != Precision::Bf16
    }

    /// A product [m, k]·[k, n] in all three passes, with the casts that fp8 needs. Those that are not `low` stay in bf16.
    fn product(&mut self, name: OpName, m: f64, n: f64, k: f64, low: bool) {
        let fp8 = low && self.fp8();
        self.passes(name, Kind::Gemm, 1.0, [m, n, k], fp8);
    }

    /// `groups` products of [m, k]·[k, n], one for each expert on the rank.
    fn grouped_product(&mut self, name: OpName, groups: f64, m: f64, n: f64, k: f64) {
        let fp8 = self.fp8();
        self.passes(name, Kind::GroupedGemm, groups, [m, n, k], fp8);
    }

    fn passes(&mut self, name: OpName, kind: Kind, groups: f64, [m, n, k]: [f64; 3], fp8: bool) {
        let op = |m, n, k, is_weight_gradient| Op {
            name,
            kind,
            work: Work::Product { groups, m, n, k, fp8, is_weight_gradient },
        };
        self.ops.forward.push(op(m, n, k, false));
        self.ops.backward_input.push(op(m, k, n, false));
        self.ops.backward_weight.push(op(n, k, m, true));
        if fp8 {
            let cast = |values: f64, bytes: f64| Op {
                name: OpName::Cast,
                kind: Kind::Cast,
                work: Work::Bytes { bytes: groups * values * bytes, kernels: 1.0 },
            };
            // Inputs: read bf16, write fp8. Gradients of outputs: written in both directions. Inputs once more, transposed.
            self.ops.forward.push(cast(m * k, 3.0));
            self.ops.backward_input.push(cast(m * n, 4.0));
            self.ops.backward_weight.push(cast(m * k, 2.0));
        }
    }

    /// Element-wise work: `bytes` forward, `backward` times as many backward.
    fn bytes(&mut self, name: OpName, bytes: f64, kernels: f64, backward: f64) {
        // Unfused, every operation reads and writes on its own.
        let bytes = if self.plan.kernels == Kernels::Eager2022 { EAGER * bytes } else { bytes };
        let op = |times: f64| Op {
            name,
            kind: Kind::Elementwise,
            work: Work::Bytes { bytes: bytes * times, kernels: kernels * times },
        };
        self.ops.forward.push(op(1.0));
        self.ops.backward_input.push(op(backward));
    }

    fn layer(&mut self, is_moe: bool, load_max: f64) {
        // Both norms with the additions to the residual: each reads two and writes two.
        self.bytes(OpName::Norms, 8.0 * BF16 * self.width(), 2.0, 1.5);
        match &self.model.mla {
            Some(_) => self.mla(),
            None => self.gqa(),
        }
        if is_moe {
            self.moe(load_max);
        } else {
            let i = self.model.intermediate_size as f64 / self.tp;
            self.mlp(self.t, i);
        }
        let is_again = |op: &Op| match self.plan.recompute {
            Recompute::None => false,
            Recompute::Selective => op.name.is_selected(),
            Recompute::Full => true,
        };
        let again: Vec<Op> = self.ops.forward.iter().filter(|op| is_again(op)).copied().collect();
        self.ops.backward_input.splice(0..0, again);
    }

    fn mla(&mut self) {
        let Some(mla) = &self.model.mla else { return };
        let (t, tp, d) = (self.t, self.tp, self.model.hidden_size as f64);
        let heads = self.model.num_attention_heads as f64 / tp;
        let (nope, rope, v) = (mla.qk_nope_head_dim as f64, mla.qk_rope_head_dim as f64, mla.v_head_dim as f64);
        let kv = mla.kv_lora_rank as f64;
        // The latents are not divided among tensor-parallel ranks, but their tokens are.
        match mla.q_lora_rank {
            Some(q) => {
                let q = q as f64;
                self.product(OpName::Latents, t / tp, q + kv + rope, d, true);
                self.product(OpName::QueryUp, t, heads * (nope + rope), q, true);
            }
            None => {
                self.product(OpName::Query, t, heads * (nope + rope), d, true);
                self.product(OpName::Latents, t / tp, kv + rope, d, true);
            }
        }
        self.product(OpName::KeyValueUp, t, heads * (nope + v), kv, true);
        self.bytes(OpName::Rotary, 4.0 * BF16 * t * heads * (nope + rope), 2.0, 1.0);
        self.attention(heads, nope + rope, v);
        self.product(OpName::AttentionOut, t, d, heads * v, true);
    }

    fn gqa(&mut self) {
        let (t, tp, d) = (self.t, self.tp, self.model.hidden_size as f64);
        let head = self.model.head_dim as f64;
        let heads = self.model.num_attention_heads as f64 / tp;
        let kv = self.model.num_key_value_heads as f64 / tp;
        self.product(OpName::Query, t, (heads + 2.0 * kv.max(1.0)) * head, d, true);
        self.bytes(OpName::Rotary, 2.0 * BF16 * t * (heads + kv) * head, 2.0, 1.0);
        self.attention(heads, head, head);
        self.product(OpName::AttentionOut, t, d, heads * head, true);
    }

    /// Causal: half of the scores. Context parallelism divides queries evenly, and each sees all keys before it, or those of its window.
    fn attention(&mut self, heads: f64, d_qk: f64, d_v: f64) {
        let seq = self.plan.seq as f64;
        if self.plan.kernels != Kernels::Megatron2021 {
            // Layers with and without a window count as their mean.
            let flops = self.t * self.model.attended(seq) * heads * (d_qk + d_v);
            let op = |flops, is_backward| Op {
                name: OpName::Attention,
                kind: Kind::Attention,
                work: Work::Attention { flops, is_backward, kernels: self.plan.kernels },
            };
            self.ops.forward.push(op(flops, false));
            self.ops.backward_input.push(op(2.5 * flops, true));
            return;
        }
        let scores = self.t * seq * heads;
        // Whole squares: one product a sequence and head, and a softmax with dropout that reads and writes the scores in bf16.
        let groups = self.plan.micro_batch as f64 * heads;
        let product = |m, n, k| Op {
            name: OpName::Scores,
            kind: Kind::Attention,
            work: Work::Product { groups, m, n, k, fp8: false, is_weight_gradient: false },
        };
        let both = [product(seq, seq, d_qk), product(seq, d_v, seq)];
        self.ops.forward.extend(both);
        self.ops.backward_input.extend(both);
        self.ops.backward_input.extend(both);
        let softmax = |times: f64| Op {
            name: OpName::Scores,
            kind: Kind::Elementwise,
            work: Work::Bytes { bytes: times * BF16 * scores, kernels: 2.0 },
        };
        self.ops.forward.push(softmax(5.0));
        self.ops.backward_input.push(softmax(6.0));
    }

    fn mlp(&mut self, t: f64, i: f64) {
        let d = self.model.hidden_size as f64;
        self.product(OpName::Mlp, t, 2.0 * i, d, true);
        self.bytes(OpName::Activation, 3.0 * BF16 * t * i, 1.0, 5.0 / 3.0);
        self.product(OpName::Mlp, t, d, i, true);
    }

    fn moe(&mut self, load_max: f64) {
        let Some(moe) = &self.model.moe else { return };
        let d = self.model.hidden_size as f64;
        // Experts are whole on their rank: each rank of a tensor-parallel group sends its own part of the tokens.
        let t = self.t / self.tp;
        let (experts, chosen, i) =
            (moe.n_routed_experts as f64, moe.num_experts_per_tok as f64, moe.moe_intermediate_size as f64);
        self.product(OpName::Router, t, experts, d, false);
        if moe.shared_expert_intermediate_size > 0 {
            self.mlp(self.t, moe.shared_expert_intermediate_size as f64 / self.tp);
        }
        let groups = experts / self.plan.ep as f64;
        let rows = t * chosen * load_max;
        let wide = if self.fp8() { 1.5 } else { 2.0 };
        self.bytes(OpName::Permute, 2.0 * wide * rows * d, 2.0, 1.0);
        let m = rows / groups;
        self.grouped_product(OpName::Experts, groups, m, 2.0 * i, d);
        self.bytes(OpName::Activation, 3.0 * BF16 * rows * i, 1.0, 5.0 / 3.0);
        self.grouped_product(OpName::Experts, groups, m, d, i);
        self.bytes(OpName::Permute, 2.0 * BF16 * rows * d, 2.0, 1.0);
    }

    /// Final norm, head and loss, which are computed in tiles of tokens so that logits are read and written about twice.
    fn head(&mut self) {
        let (d, vocabulary) = (self.model.hidden_size as f64, self.model.vocab_size as f64 / self.tp);
        self.product(OpName::Head, self.t, vocabulary, d, false);
        self.bytes(OpName::Loss, 2.0 * BF16 * self.t * vocabulary, 3.0, 1.0);
    }
}
