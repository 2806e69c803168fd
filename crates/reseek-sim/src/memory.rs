//! Bytes on the fullest rank of a plan.

use reseek_spec::ModelSpec;
use serde::Serialize;

use crate::layout::Layout;
use crate::ops::Unit;
use crate::plan::{Kernels, Plan, Precision, Recompute};

/// Bytes by what they hold, on the rank where their sum is largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Weights in the formats of products.
    pub weights_bytes: f64,
    /// Gradients in f32.
    pub gradients_bytes: f64,
    /// Master weights and both moments.
    pub optimizer_bytes: f64,
    /// What passes in flight keep for their way back.
    pub activations_bytes: f64,
    /// Communication buffers, workspaces and what allocators lose.
    pub buffers_bytes: f64,
}

/// Context of the driver, libraries and communicators on each GPU.
const RUNTIME_BYTES: f64 = 4e9;

impl Memory {
    /// All of it.
    pub fn total_bytes(&self) -> f64 {
        self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes + self.buffers_bytes
    }
}

/// Parameters of a unit on one rank: those that every data-parallel rank has, and the experts that expert parallelism divides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UnitParams {
    /// On every data-parallel rank, after tensor parallelism.
    pub shared: f64,
    /// Of routed experts, after expert parallelism.
    pub routed: f64,
}

/// Parameters of `unit` on a rank of `plan`.
pub fn unit_params(model: &ModelSpec, plan: &Plan, unit: Unit) -> UnitParams {
    let (d, tp) = (model.hidden_size as f64, plan.tp as f64);
    let table = model.vocab_size as f64 * d / tp;
    match unit {
        Unit::Embedding => UnitParams { shared: table, routed: 0.0 },
        Unit::Head => UnitParams { shared: if model.tie_word_embeddings { 0.0 } else { table }, routed: 0.0 },
        Unit::Layer { is_moe } => layer_params(model, plan, is_moe),
        Unit::Mtp => {
            let layer = layer_params(model, plan, model.moe.is_some());
            UnitParams { shared: layer.shared + 2.0 * d * d / tp, ..layer }
        }
    }
}

fn layer_params(model: &ModelSpec, plan: &Plan, is_moe: bool) -> UnitParams {
    let (d, tp) = (model.hidden_size as f64, plan.tp as f64);
    let heads = model.num_attention_heads as f64;
    let attention = match &model.mla {
        Some(mla) => {
            let (nope, rope, v) = (mla.qk_nope_head_dim as f64, mla.qk_rope_head_dim as f64, mla.v_head_dim as f64);
            let kv = mla.kv_lora_rank as f64;
            let q = match mla.q_lora_rank {
                Some(q) => d * q as f64 + q as f64 * heads * (nope + rope) / tp,
                None => d * heads * (nope + rope) / tp,
            };
            q + d * (kv + rope) + kv * heads * (nope + v) / tp + d * heads * v / tp
        }
        None => {
            let kv = (model.num_key_value_heads as f64 / tp).max(1.0);
            d * model.head_dim as f64 * (2.0 * heads / tp + 2.0 * kv)
        }
    };
    match &model.moe {
        Some(moe) if is_moe => {
            let expert = 3.0 * d * moe.moe_intermediate_size as f64;
            let experts = moe.n_routed_experts as f64;
            UnitParams {
                shared: attention + expert * moe.shared_experts() / tp + d * experts,
                routed: expert * experts / plan.ep as f64,
            }
        }
        _ => UnitParams { shared: attention + 3.0 * d * model.intermediate_size as f64 / tp, routed: 0.0 },
    }
}

/// Bytes of activations that `unit` keeps for one micro-batch until its backward pass.
pub fn unit_activations(model: &ModelSpec, plan: &Plan, unit: Unit) -> f64 {
    let (d, tp, t) = (model.hidden_size as f64, plan.tp as f64, plan.tokens());
    let input = 2.0 * t * d / tp;
    let is_moe = match unit {
        Unit::Embedding => return 0.0,
        // The loss is computed in tiles; what stays is its input.
        Unit::Head => return input,
        Unit::Layer { is_moe } => is_moe,
        Unit::Mtp => model.moe.is_some(),
    };
    if plan.recompute == Recompute::Full {
        return input;
    }
    let selective = plan.recompute == Recompute::Selective;
    // Inputs of products, and of SwiGLU, are kept in fp8 where they are computed in it (V3 report, 3.3.3).
    let kept = if plan.precision == Precision::Bf16 { 2.0 } else { 1.0 };
    let norms = if selective { 0.0 } else { 2.0 * input };
    let rows = |width: f64, bytes: f64| t * width * bytes / tp;
    let attention = attention_activations(model, plan, selective);
    let mlp = match &model.moe {
        Some(moe) if is_moe => {
            let (i, chosen) = (moe.moe_intermediate_size as f64, moe.num_experts_per_tok as f64);
            let experts = chosen + moe.shared_experts();
            let activation = if selective { 0.0 } else { i * kept };
            rows(experts, 1.0) * (2.0 * i * kept + activation) + rows((chosen + 1.0) * d, kept)
        }
        _ => {
            let i = model.intermediate_size as f64;
            rows(i, 2.0 * kept) + if selective { 0.0 } else { rows(i, kept) }
        }
    };
    2.0 * input + norms + attention + mlp
}

fn attention_activations(model: &ModelSpec, plan: &Plan, selective: bool) -> f64 {
    let (tp, t) = (plan.tp as f64, plan.tokens());
    let heads = model.num_attention_heads as f64;
    let rows = |width: f64, bytes: f64| t * width * bytes / tp;
    let scores = match plan.kernels {
        // Scores, softmax and dropout's mask of every head (Korthikanti and others, 2022: 5·s·a/h of the layer).
        Kernels::Megatron2021 if !selective => rows(heads * plan.seq as f64, 5.0),
        _ => 0.0,
    };
    let tensors = match &model.mla {
        Some(mla) => {
            let (nope, rope, v) = (mla.qk_nope_head_dim as f64, mla.qk_rope_head_dim as f64, mla.v_head_dim as f64);
            let latents = mla.q_lora_rank.unwrap_or(0) as f64 + mla.kv_lora_rank as f64 + rope;
            let up = if selective { 0.0 } else { rows(heads * (2.0 * nope + 2.0 * rope + v), 2.0) };
            // The output of attention is also the next product's input.
            t * latents * 2.0 + up + rows(heads * v, 2.0)
        }
        None => {
            let kv = model.num_key_value_heads as f64;
            rows((heads + 2.0 * kv) * model.head_dim as f64, 2.0) + rows(heads * model.head_dim as f64, 2.0)
        }
    };
    scores + tensors
}

/// The fullest rank's memory.
pub fn memory(model: &ModelSpec, plan: &Plan, layout: &Layout) -> Memory {
    let mut worst = Memory::default();
    for rank in 0..plan.pp {
        let found = rank_memory(model, plan, layout, rank);
        if found.total_bytes() > worst.total_bytes() {
            worst = found;
        }
    }
    worst
}

fn rank_memory(model: &ModelSpec, plan: &Plan, layout: &Layout, rank: usize) -> Memory {
    let mut params = UnitParams::default();
    let mut activations = 0.0;
    for &chunk in &layout.chunks_of_rank[rank] {
        for &unit in &layout.chunks[chunk] {
            let found = unit_params(model, plan, unit);
            params.shared += found.shared;
            params.routed += found.routed;
            activations += unit_activations(model, plan, unit) / layout.chunks_of_rank[rank].len() as f64;
        }
    }
    // In flight are chunks of any kind; each counts as the mean of the rank's.
    let in_flight = layout.in_flight[rank] as f64;
    let replicas = plan.dp * plan.cp * layout.directions;
    let shared_ranks = replicas as f64;
    let routed_ranks = ((replicas * plan.tp) as f64 / plan.ep as f64).max(1.0);
    let divided = |stage: u8| match plan.zero >= stage {
        true => params.shared / shared_ranks + params.routed / routed_ranks,
        false => params.shared + params.routed,
    };
    let all = params.shared + params.routed;
    // f32 master weights and two moments; V3 keeps the moments in bf16.
    let optimizer = if plan.precision == Precision::Bf16 { 12.0 } else { 8.0 };
    // fp8 copies are made of bf16 weights; ZeRO-3 keeps one layer's whole beside the shards.
    let weights = match plan.zero >= 3 {
        true => 2.0 * divided(3) + 4.0 * all / layout.layers_of_rank(rank).max(1) as f64,
        false => {
            if plan.precision == Precision::Bf16 {
                2.0 * all
            } else {
                3.0 * all - params.shared
            }
        }
    };
    Memory {
        weights_bytes: weights,
        // Gradients are summed in f32.
        gradients_bytes: 4.0 * divided(2),
        optimizer_bytes: optimizer * divided(1),
        activations_bytes: activations * in_flight,
        buffers_bytes: RUNTIME_BYTES + 8.0 * plan.tokens() * model.hidden_size as f64,
    }
}
