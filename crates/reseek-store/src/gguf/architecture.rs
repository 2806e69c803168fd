//! llama.cpp's architectures, and what each makes of the keys of its files.

use super::metadata::{Metadata, Value};
use crate::StoreError;

/// What `general.architecture` says. Read are those whose layers are a family's of Hugging Face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Llama and Mistral, and with experts Mixtral.
    Llama,
    Qwen2,
    Qwen2Moe,
    Qwen3,
    Qwen3Moe,
    /// DeepSeek-V2 and V3.
    Deepseek2,
    Gemma3,
}

impl Architecture {
    pub const ALL: [Self; 7] =
        [Self::Llama, Self::Qwen2, Self::Qwen2Moe, Self::Qwen3, Self::Qwen3Moe, Self::Deepseek2, Self::Gemma3];

    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen2Moe => "qwen2moe",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3moe",
            Self::Deepseek2 => "deepseek2",
            Self::Gemma3 => "gemma3",
        }
    }

    pub fn of(meta: &Metadata) -> Result<Self, StoreError> {
        let key = "general.architecture";
        let name = meta.text(key)?;
        Self::ALL.into_iter().find(|architecture| architecture.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            meta.refused(key, format!("{:?}", name.chars().take(60).collect::<String>()), &known.join(", "))
        })
    }

    /// Whether llama.cpp turns neighbouring values of q and k, so that files hold the rows of Hugging Face's halves in turn.
    pub fn turns_neighbours(self) -> bool {
        self == Self::Llama
    }

    /// Whether norms are stored with the 1 that Hugging Face adds to them.
    pub fn stores_whole_gains(self) -> bool {
        self == Self::Gemma3
    }
}

/// Keys of an architecture that are obeyed by being held against the one value that changes nothing.
///
/// | key | without effect |
/// |---|---|
/// | `attention.causal` | true |
/// | `pooling_type` | 0, none |
/// | scales of granite, command-r and others | 1, or 0 for unset |
/// | soft caps, clamps, ALiBi | 0 |
/// | experts of a dense model | 0 |
const HARMLESS: [(&str, &[f64]); 25] = [
    ("attention.causal", &[1.0]),
    ("pooling_type", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("router_logit_softcapping", &[0.0]),
    ("rope.scaling.alpha", &[0.0]),
    ("rope.scaling.yarn_ext_factor", &[-1.0, 1.0]),
    ("nextn_predict_layers", &[0.0]),
    ("expert_count", &[0.0]),
    ("expert_used_count", &[0.0]),
    ("expert_shared_count", &[0.0]),
    ("expert_group_count", &[0.0, 1.0]),
    ("expert_group_used_count", &[0.0, 1.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    ("expert_gating_func", &[0.0, 1.0]),
    ("leading_dense_block_count", &[0.0]),
    ("interleave_moe_layer_step", &[0.0, 1.0]),
    ("moe_every_n_layers", &[0.0, 1.0]),
];

/// Keys of an architecture that change nothing that is computed.
const IDLE: [&str; 3] = ["rope.scaling.finetuned", "tensor_data_layout", "attention.layer_norm_epsilon"];

/// Keys of the tokenizer that change no text's tokens and end no text. Named are tokens that fill holes in code or stand between
/// texts, and forms of the tokenizer that come beside the one that is read.
const IDLE_TOKENIZER: [&str; 18] = [
    "tokenizer.huggingface.json",
    "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.suppress_tokens",
    "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.added_tokens",
];

/// Refuses keys that nobody has obeyed. Called last.
///
/// `general.*` describes the file, and no loader reads a key with the prefix of a tool or of another architecture; the rest is known.
pub(super) fn check_keys(architecture: Architecture, meta: &Metadata) -> Result<(), StoreError> {
    let prefix = format!("{}.", architecture.name());
    let unread: Vec<String> = meta.keys().filter(|key| !meta.was_asked(key)).map(str::to_owned).collect();
    for key in unread {
        if let Some(rest) = key.strip_prefix(&prefix) {
            check_own_key(&key, rest, meta)?;
        } else if key.starts_with("tokenizer.") && !IDLE_TOKENIZER.contains(&key.as_str()) {
            return Err(meta.refused(&shown(&key), "set", "a tokenizer without it"));
        } else if key == "general.type" && meta.text(&key)? != "model" {
            return Err(meta.refused(&key, meta.text(&key)?, "\"model\""));
        }
    }
    Ok(())
}

fn check_own_key(key: &str, rest: &str, meta: &Metadata) -> Result<(), StoreError> {
    if IDLE.contains(&rest) {
        return Ok(());
    }
    let harmless = HARMLESS.iter().find(|(name, _)| *name == rest).map(|(_, values)| *values);
    let value = match meta.get(key) {
        Some(Value::Integer(n)) => *n as f64,
        Some(Value::Float(x)) => *x,
        Some(Value::Text(_)) => return Err(meta.refused(&shown(key), "a text", "a model without it")),
        _ => return Err(meta.refused(&shown(key), "a list", "a model without it")),
    };
    match harmless {
        Some(values) if values.contains(&value) => Ok(()),
        Some(values) => Err(meta.refused(key, value, &format!("{}, which changes nothing", values[values.len() - 1]))),
        None => Err(meta.refused(&shown(key), value, "a model without it")),
    }
}

/// A key as a message can have it.
fn shown(key: &str) -> String {
    key.chars().take(80).flat_map(char::escape_default).collect()
}
