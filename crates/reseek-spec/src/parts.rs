//! The parts that some families have and others have not: latent attention and the mixture of experts.

use crate::SpecError;

/// What the norms of MLA's latents add to the mean square: transformers leaves them at its default whatever `rms_norm_eps` says.
pub const LATENT_NORM_EPS: f64 = 1e-6;

/// Multi-head latent attention (DeepSeek-V2 report, 2.1).
#[derive(Clone, Debug, PartialEq)]
pub struct MlaSpec {
    /// Width of the latent that queries come from; nothing where they come straight from the hidden row.
    pub q_lora_rank: Option<usize>,
    /// Width of the latent that keys and values come from, which the cache holds.
    pub kv_lora_rank: usize,
    /// Width of a head's query and key without position.
    pub qk_nope_head_dim: usize,
    /// Width of its part with rotary position; the key's is shared by all heads.
    pub qk_rope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Rotary pairs are neighbours (2i, 2i + 1), not halves.
    pub rope_interleave: bool,
}

/// Experts of a layer at most: each has tensors with names.
const EXPERTS_MAX: usize = 1 << 14;

/// What turns a gate's logits into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Over all experts. A group is as good as its best expert (V2, `group_limited_greedy`).
    Softmax,
    /// Of each alone, with a correction bias. A group is as good as its best two (V3, `noaux_tc`).
    Sigmoid,
}

/// DeepSeekMoE (V3 report, 2.1.2).
#[derive(Clone, Debug, PartialEq)]
pub struct MoeSpec {
    /// Experts to choose from in a layer.
    pub n_routed_experts: usize,
    /// Width of the expert that every token uses, 0 without one; DeepSeek's `n_shared_experts` side by side.
    pub shared_expert_intermediate_size: usize,
    /// Routed experts of a token.
    pub num_experts_per_tok: usize,
    /// Width of an expert.
    pub moe_intermediate_size: usize,
    /// Layers at the bottom with a dense MLP in the mixture's place.
    pub first_k_dense_replace: usize,
    /// Further layers with one, in ascending order.
    pub mlp_only_layers: Vec<usize>,
    /// Of the rest every so-manyth layer is a mixture; 1 in most.
    pub decoder_sparse_step: usize,
    /// Groups that the experts are in.
    pub n_group: usize,
    /// Groups that a token may choose experts from.
    pub topk_group: usize,
    /// Factor on the routed experts' sum.
    pub routed_scaling_factor: f64,
    /// Whether the chosen experts' weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// How logits become scores.
    pub scoring: Scoring,
}

impl MlaSpec {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        let sizes = [
            ("q_lora_rank", self.q_lora_rank.unwrap_or(1)),
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("v_head_dim", self.v_head_dim),
        ];
        match sizes.into_iter().find(|(_, value)| !(1..=1 << 20).contains(value)) {
            None => Ok(()),
            Some((key, value)) => {
                let hint = "V3 has ranks of 1536 and 512 and heads of 128, 64 and 128";
                Err(SpecError::clash(format!("{key} = {value}"), "1 to 1048576", hint))
            }
        }
    }
}

impl MoeSpec {
    /// The shared expert's width in routed experts: DeepSeek's `n_shared_experts`.
    pub fn shared_experts(&self) -> f64 {
        self.shared_expert_intermediate_size as f64 / self.moe_intermediate_size as f64
    }

    /// Whether layer `layer` has the mixture, counted with those of the MTP module behind the last.
    pub fn is_in(&self, layer: usize) -> bool {
        layer >= self.first_k_dense_replace
            && (layer + 1).is_multiple_of(self.decoder_sparse_step)
            && self.mlp_only_layers.binary_search(&layer).is_err()
    }

    pub(crate) fn validate(&self, layers: usize) -> Result<(), SpecError> {
        let sizes = [
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
            ("decoder_sparse_step", self.decoder_sparse_step),
            // There may be none.
            ("shared_expert_intermediate_size", self.shared_expert_intermediate_size.max(1)),
        ];
        for (key, value) in sizes {
            if value == 0 || value > 1 << 20 {
                return Err(SpecError::clash(format!("{key} = {value}"), "1 to 1048576", "give the mixture a size"));
            }
        }
        if self.n_routed_experts > EXPERTS_MAX {
            let what = format!("n_routed_experts = {}", self.n_routed_experts);
            return Err(SpecError::clash(what, &format!("at most {EXPERTS_MAX}"), "V3 has 256"));
        }
        divides("n_routed_experts", self.n_routed_experts, "n_group", self.n_group)?;
        if self.topk_group > self.n_group {
            let what = format!("topk_group = {}", self.topk_group);
            return Err(SpecError::clash(what, &format!("at most n_group = {}", self.n_group), "keep fewer groups"));
        }
        let kept = self.n_routed_experts / self.n_group * self.topk_group;
        if self.num_experts_per_tok > kept {
            let what = format!("num_experts_per_tok = {}", self.num_experts_per_tok);
            let room = format!("at most the {kept} experts of the kept groups");
            return Err(SpecError::clash(what, &room, "keep more groups or choose fewer experts"));
        }
        if self.first_k_dense_replace > layers {
            let what = format!("first_k_dense_replace = {}", self.first_k_dense_replace);
            return Err(SpecError::clash(what, &format!("at most num_hidden_layers = {layers}"), "lower it"));
        }
        ascending("mlp_only_layers", &self.mlp_only_layers, layers)?;
        let factor = self.routed_scaling_factor;
        match factor > 0.0 && factor.is_finite() {
            true => Ok(()),
            false => {
                let what = format!("routed_scaling_factor = {factor}");
                Err(SpecError::clash(what, "a number above 0", "V3 has 2.5, most have 1"))
            }
        }
    }
}

pub(crate) fn divides(key: &str, value: usize, by_key: &str, by: usize) -> Result<(), SpecError> {
    if by == 0 || !value.is_multiple_of(by) {
        let nearest = (1..=value).filter(|n| value.is_multiple_of(*n)).min_by_key(|n| n.abs_diff(by)).unwrap_or(1);
        let hint = format!("the nearest {by_key} that divides is {nearest}");
        return Err(SpecError::clash(format!("{key} = {value}"), &format!("a multiple of {by_key} = {by}"), &hint));
    }
    Ok(())
}

/// Refuses numbers of layers that are not in ascending order or not of the model.
pub(crate) fn ascending(key: &str, of: &[usize], layers: usize) -> Result<(), SpecError> {
    let wrong = of.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| pair[1]);
    match wrong.or(of.last().copied().filter(|&last| last >= layers)) {
        None => Ok(()),
        Some(layer) => {
            let allowed = format!("numbers of layers in ascending order, 0 to {}", layers.saturating_sub(1));
            Err(SpecError::clash(format!("layer {layer} in {key}"), &allowed, "compare with num_hidden_layers"))
        }
    }
}
