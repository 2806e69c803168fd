//! What llama.cpp can be told of a model.

use std::path::Path;

use reseek_spec::{Activation, Family, MlaSpec, ModelSpec, MoeSpec, RopeScaling};

use super::architecture::Architecture;
use crate::StoreError;

/// The architecture whose graph computes the model.
///
/// # Errors
/// If llama.cpp has none, or its loader cannot be told what is special about this one.
pub(super) fn architecture_of(path: &Path, spec: &ModelSpec) -> Result<Architecture, StoreError> {
    let refused = |what: String| {
        let mend = "write a Hugging Face folder instead";
        StoreError::malformed(path, format!("{what} is not written as GGUF"), mend)
    };
    let family = spec.family.names().1;
    let architecture = match spec.family {
        Family::Llama | Family::Mistral | Family::Mixtral => Architecture::Llama,
        Family::Qwen2 => Architecture::Qwen2,
        Family::Qwen2Moe => Architecture::Qwen2Moe,
        Family::Qwen3 => Architecture::Qwen3,
        Family::Qwen3Moe => Architecture::Qwen3Moe,
        Family::DeepseekV2 | Family::DeepseekV3 => Architecture::Deepseek2,
        Family::Gemma3 => Architecture::Gemma3,
        _ => return Err(refused(family.to_owned())),
    };
    check_parts(spec, architecture)
        .and_then(|()| spec.moe.as_ref().map_or(Ok(()), |moe| check_mixture(spec, moe)))
        .and_then(|()| spec.mla.as_ref().map_or(Ok(()), |mla| check_latent(spec, mla)))
        .and_then(|()| check_rope(spec))
        .map_err(|what| refused(format!("{family} with {what}")))?;
    Ok(architecture)
}

/// Biases, windows and scales of which an architecture knows its own alone.
fn check_parts(spec: &ModelSpec, architecture: Architecture) -> Result<(), String> {
    use Architecture::{Gemma3, Llama, Qwen2, Qwen2Moe};
    if spec.sliding_window.is_some() && !matches!(spec.family, Family::Mistral | Family::Gemma3) {
        return Err("a sliding window".to_owned());
    }
    if spec.attention_bias && !matches!(architecture, Llama | Qwen2 | Qwen2Moe) {
        return Err("biases in attention".to_owned());
    }
    if spec.mlp_bias && architecture != Llama {
        return Err("biases in feed-forward networks".to_owned());
    }
    let activation = if architecture == Gemma3 { Activation::GeluTanh } else { Activation::Silu };
    if spec.hidden_act != activation {
        return Err(format!("the activation {:?}", spec.hidden_act));
    }
    if architecture == Qwen2Moe && spec.tie_word_embeddings {
        return Err("tied embeddings".to_owned());
    }
    match spec.query_pre_attn_scalar {
        Some(scalar) if scalar != gemma_scalar(spec) as f64 => {
            Err(format!("query_pre_attn_scalar = {scalar} at {} layers", spec.num_hidden_layers))
        }
        _ => Ok(()),
    }
}

/// The width by whose root Gemma's scores are divided: a head's, and in the largest model, which is known by its depth, the hidden one's share.
pub(super) fn gemma_scalar(spec: &ModelSpec) -> usize {
    gemma_scalar_of(spec.num_hidden_layers, spec.hidden_size, spec.num_attention_heads, spec.head_dim)
}

/// [`gemma_scalar`] of sizes.
pub(super) fn gemma_scalar_of(layers: usize, hidden: usize, heads: usize, head: usize) -> usize {
    const LAYERS_27B: usize = 62;
    if layers == LAYERS_27B { hidden / heads.max(1) } else { head }
}

fn check_mixture(spec: &ModelSpec, moe: &MoeSpec) -> Result<(), String> {
    let norms = match spec.family {
        Family::Mixtral | Family::Qwen3Moe => true,
        Family::Qwen2Moe => false,
        _ => moe.norm_topk_prob,
    };
    if norms != moe.norm_topk_prob {
        return Err(format!("norm_topk_prob = {}", moe.norm_topk_prob));
    }
    let is_leading = spec.family == Family::DeepseekV2 || spec.family == Family::DeepseekV3;
    let dense = if is_leading { moe.first_k_dense_replace } else { 0 };
    match (0..spec.num_hidden_layers).find(|&layer| spec.is_mixture(layer) != (layer >= dense)) {
        None => Ok(()),
        Some(layer) => Err(format!("a dense network in layer {layer}")),
    }
}

/// What llama.cpp has built into its `deepseek2`.
fn check_latent(spec: &ModelSpec, mla: &MlaSpec) -> Result<(), String> {
    /// Depths whose models are taken to have no latent of queries.
    const LITE: [usize; 2] = [26, 27];
    if !mla.rope_interleave {
        return Err("rotary pairs that are halves (rope_interleave = false)".to_owned());
    }
    if mla.q_lora_rank.is_some() && LITE.contains(&spec.num_hidden_layers) {
        return Err(format!("{} layers and q_lora_rank, for it takes them for a lite model", spec.num_hidden_layers));
    }
    match &spec.moe {
        Some(moe) if moe.shared_expert_intermediate_size > 0 => Ok(()),
        _ => Err("no shared expert".to_owned()),
    }
}

fn check_rope(spec: &ModelSpec) -> Result<(), String> {
    match &spec.rope_scaling {
        RopeScaling::Yarn { beta_fast, beta_slow, mscale, mscale_all_dim, attention_factor, truncate, .. } => {
            if (*beta_fast, *beta_slow, *truncate) != (32.0, 1.0, true) {
                return Err(format!("YaRN of beta_fast = {beta_fast}, beta_slow = {beta_slow}, truncate = {truncate}"));
            }
            let is_one = mscale == mscale_all_dim && *mscale != 0.0 && attention_factor.is_none();
            match spec.mla.is_some() && !is_one {
                true => Err(format!("YaRN of mscale = {mscale} and mscale_all_dim = {mscale_all_dim}")),
                false => Ok(()),
            }
        }
        RopeScaling::Llama3 { .. } if spec.family != Family::Llama => Err("Llama 3's rotary frequencies".to_owned()),
        _ => match &spec.local_rope {
            Some(rope) if rope.scaling != RopeScaling::None => Err("stretched rotation in its windows".to_owned()),
            _ => Ok(()),
        },
    }
}
