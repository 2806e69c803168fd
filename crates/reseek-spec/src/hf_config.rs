//! Typed access to the keys of a config.json, family by family.

use serde_json::{Map, Value};

use crate::{Family, MlaSpec, MoeSpec, RopeScaling, Scoring, SlidingWindow, SpecError};

/// Sizes that every known family gives.
const SIZES: [&str; 6] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
];

/// Other keys that are read.
const READ: [&str; 15] = [
    "model_type",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "sliding_window",
    "layer_types",
];

/// Keys that change no count.
const IDLE: [&str; 14] = [
    "architectures",
    "attention_dropout",
    "auto_map",
    "cache_implementation",
    "dtype",
    "hidden_act",
    "hidden_activation",
    "pad_token_id",
    "pretraining_tp",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "output_router_logits",
    "router_aux_loss_coef",
];

/// Typed access to the keys of a config.json.
pub struct Config<'a>(pub &'a Map<String, Value>);

impl Config<'_> {
    pub fn family(&self) -> Result<Family, SpecError> {
        let Some(model_type) = self.0.get("model_type").and_then(Value::as_str) else {
            return Err(SpecError::Missing { key: "model_type".to_string() });
        };
        Family::of(model_type).ok_or_else(|| SpecError::Architecture {
            found: model_type.chars().take(60).collect(),
            known: Family::listed(|_| true),
            missing: self.missing(),
        })
    }

    /// What an unknown architecture would need: sizes that its config.json lacks, and a meaning for keys that nothing here reads.
    fn missing(&self) -> String {
        const SHOWN: usize = 8;
        let lacks: Vec<&str> = SIZES.into_iter().filter(|key| !self.0.contains_key(*key)).collect();
        let is_read = |key: &str| READ.contains(&key) || SIZES.contains(&key) || IDLE.contains(&key);
        let unread: Vec<String> =
            self.0.keys().filter(|key| !is_read(key)).map(|key| key.chars().take(40).collect()).collect();
        let mut out = "how its layers are built is missing".to_string();
        if !lacks.is_empty() {
            out += &format!(", its config.json lacks {}", lacks.join(", "));
        }
        if !unread.is_empty() {
            let more = if unread.len() > SHOWN { " and others" } else { "" };
            out += &format!(", nothing here reads its {}{more}", unread[..unread.len().min(SHOWN)].join(", "));
        }
        out
    }

    /// # Errors
    /// Biases in a family that is not known to have any.
    pub fn has_qkv_bias(&self, family: Family) -> Result<bool, SpecError> {
        let refuse = |key: &str, hint: &str| {
            Err(SpecError::clash(format!("{key} = true"), &format!("false for {family:?}"), hint))
        };
        let given = self.flag_or("attention_bias", false)?;
        if given && !(family.has_qkv_bias() || family == Family::Glm4Moe) {
            return refuse("attention_bias", "known are the biases on q, k and v of Qwen2 and GLM 4.5");
        }
        if self.flag_or("mlp_bias", false)? {
            return refuse("mlp_bias", "no MLP with biases is known");
        }
        Ok(given || family.has_qkv_bias())
    }

    pub fn has_qk_norm(&self, family: Family) -> Result<bool, SpecError> {
        match family {
            Family::Glm4Moe => self.flag_or("use_qk_norm", false),
            _ => Ok(matches!(family, Family::Qwen3 | Family::Qwen3Moe | Family::Olmo2 | Family::Olmo3)),
        }
    }

    /// The window of a family that has one, with the layers that do without: named by `layer_types`, or by the family's own rule.
    pub fn sliding_window(&self, family: Family, layers: usize) -> Result<Option<SlidingWindow>, SpecError> {
        let by_default = match family {
            Family::Mistral | Family::Mixtral | Family::Olmo3 => true,
            Family::Qwen2 | Family::Qwen3 | Family::Qwen2Moe | Family::Qwen3Moe | Family::Smollm3 => false,
            _ => return Ok(None),
        };
        if !self.has("sliding_window") || !self.flag_or("use_sliding_window", by_default)? {
            return Ok(None);
        }
        let full_layers = match self.0.get("layer_types").and_then(Value::as_array) {
            Some(kinds) => kinds.iter().filter(|kind| kind.as_str() == Some("full_attention")).count(),
            None if family == Family::Olmo3 => layers / 4,
            None if by_default => 0,
            None => self.size_or("max_window_layers", 0)?.min(layers),
        };
        Ok(Some(SlidingWindow { tokens: self.size("sliding_window")?, full_layers }))
    }

    pub fn mla(&self) -> Result<MlaSpec, SpecError> {
        let q_lora_rank = match self.0.get("q_lora_rank") {
            None | Some(Value::Null) => None,
            Some(_) => Some(self.size("q_lora_rank")?),
        };
        Ok(MlaSpec {
            q_lora_rank,
            kv_lora_rank: self.size("kv_lora_rank")?,
            qk_nope_head_dim: self.size("qk_nope_head_dim")?,
            qk_rope_head_dim: self.size("qk_rope_head_dim")?,
            v_head_dim: self.size("v_head_dim")?,
            rope_interleave: self.flag_or("rope_interleave", true)?,
        })
    }

    /// The mixture of a family that has one.
    pub fn moe(&self, family: Family, layers: usize) -> Result<Option<MoeSpec>, SpecError> {
        match family {
            Family::DeepseekV2 | Family::DeepseekV3 | Family::Glm4Moe => self.deepseek_moe(family).map(Some),
            Family::Mixtral => {
                let width = self.size("intermediate_size")?;
                let plain = plain_moe(self.size("num_local_experts")?, self.size("num_experts_per_tok")?, width);
                Ok(Some(MoeSpec { norm_topk_prob: true, ..plain }))
            }
            Family::Qwen2Moe | Family::Qwen3Moe => self.qwen_moe(layers).map(Some),
            _ => Ok(None),
        }
    }

    fn qwen_moe(&self, layers: usize) -> Result<MoeSpec, SpecError> {
        let step = self.size_or("decoder_sparse_step", 1)?;
        if step != 1 {
            let hint = "every layer after the dense ones is a mixture";
            return Err(SpecError::clash(format!("decoder_sparse_step = {step}"), "1", hint));
        }
        let dense: Vec<Option<u64>> = match self.0.get("mlp_only_layers").and_then(Value::as_array) {
            Some(indices) => indices.iter().map(Value::as_u64).collect(),
            None => Vec::new(),
        };
        if dense.len() > layers || !dense.iter().enumerate().all(|(i, index)| *index == Some(i as u64)) {
            let hint = "dense layers elsewhere than at the front are not known";
            return Err(SpecError::clash("mlp_only_layers".to_string(), "the first layers, 0 and on", hint));
        }
        let width = self.size("moe_intermediate_size")?;
        let shared = self.size_or("shared_expert_intermediate_size", 0)?;
        if width == 0 || !shared.is_multiple_of(width) {
            let what = format!("shared_expert_intermediate_size = {shared}");
            let allowed = format!("a multiple of moe_intermediate_size = {width}");
            return Err(SpecError::clash(what, &allowed, "a shared expert counts as whole experts side by side"));
        }
        Ok(MoeSpec {
            n_shared_experts: shared / width,
            first_k_dense_replace: dense.len(),
            norm_topk_prob: self.flag_or("norm_topk_prob", false)?,
            ..plain_moe(self.size("num_experts")?, self.size("num_experts_per_tok")?, width)
        })
    }

    fn deepseek_moe(&self, family: Family) -> Result<MoeSpec, SpecError> {
        let scoring = match self.0.get("scoring_func").and_then(Value::as_str) {
            Some("softmax") => Scoring::Softmax,
            Some("sigmoid") => Scoring::Sigmoid,
            None if family == Family::DeepseekV2 => Scoring::Softmax,
            None => Scoring::Sigmoid,
            Some(other) => {
                let what = format!("scoring_func = {other}");
                return Err(SpecError::clash(what, "sigmoid or softmax", "V3 uses sigmoid"));
            }
        };
        if self.size_or("moe_layer_freq", 1)? != 1 {
            return Err(SpecError::clash(
                "moe_layer_freq".to_string(),
                "1",
                "every layer after the dense ones is a mixture",
            ));
        }
        Ok(MoeSpec {
            n_routed_experts: self.size("n_routed_experts")?,
            n_shared_experts: self.size_or("n_shared_experts", 0)?,
            num_experts_per_tok: self.size("num_experts_per_tok")?,
            moe_intermediate_size: self.size("moe_intermediate_size")?,
            first_k_dense_replace: self.size_or("first_k_dense_replace", 0)?,
            n_group: self.size_or("n_group", 1)?,
            topk_group: self.size_or("topk_group", 1)?,
            routed_scaling_factor: self.number_or("routed_scaling_factor", 1.0)?,
            norm_topk_prob: self.flag_or("norm_topk_prob", scoring == Scoring::Sigmoid)?,
            scoring,
        })
    }

    fn rope(&self) -> Option<Config<'_>> {
        let of = |key: &str| self.0.get(key).and_then(Value::as_object);
        of("rope_parameters").or_else(|| of("rope_scaling")).map(Config)
    }

    pub fn rope_theta(&self) -> Result<f64, SpecError> {
        match self.rope() {
            Some(rope) if rope.0.contains_key("rope_theta") => rope.number("rope_theta"),
            _ => self.number_or("rope_theta", 1e4),
        }
    }

    pub fn rope_scaling(&self) -> Result<RopeScaling, SpecError> {
        let Some(rope) = self.rope() else { return Ok(RopeScaling::None) };
        let kind = rope.0.get("rope_type").or_else(|| rope.0.get("type")).and_then(Value::as_str).unwrap_or("default");
        let original = || rope.size("original_max_position_embeddings");
        match kind {
            "default" => Ok(RopeScaling::None),
            "yarn" => Ok(RopeScaling::Yarn {
                factor: rope.number("factor")?,
                original_max_position_embeddings: original()?,
                beta_fast: rope.number_or("beta_fast", 32.0)?,
                beta_slow: rope.number_or("beta_slow", 1.0)?,
                mscale: rope.number_or("mscale", 1.0)?,
                mscale_all_dim: rope.number_or("mscale_all_dim", 0.0)?,
            }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: rope.number("factor")?,
                low_freq_factor: rope.number("low_freq_factor")?,
                high_freq_factor: rope.number("high_freq_factor")?,
                original_max_position_embeddings: original()?,
            }),
            other => {
                let what = format!("rope_type = {}", other.chars().take(60).collect::<String>());
                Err(SpecError::clash(
                    what,
                    "default, yarn or llama3",
                    "other stretchings of the rotary table are not known",
                ))
            }
        }
    }

    pub fn size(&self, key: &str) -> Result<usize, SpecError> {
        let value = self.0.get(key).ok_or_else(|| SpecError::Missing { key: key.to_string() })?;
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| SpecError::mistyped(key, value, "a whole number"))
    }

    pub fn size_or(&self, key: &str, default: usize) -> Result<usize, SpecError> {
        if self.has(key) { self.size(key) } else { Ok(default) }
    }

    fn number(&self, key: &str) -> Result<f64, SpecError> {
        let value = self.0.get(key).ok_or_else(|| SpecError::Missing { key: key.to_string() })?;
        value.as_f64().ok_or_else(|| SpecError::mistyped(key, value, "a number"))
    }

    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, SpecError> {
        if self.has(key) { self.number(key) } else { Ok(default) }
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, SpecError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| SpecError::mistyped(key, value, "true or false")),
        }
    }

    /// A token id; of several the first.
    pub fn token_or(&self, key: &str, default: u32) -> u32 {
        let value = self.0.get(key).map(|v| v.get(0).unwrap_or(v));
        value.and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    }

    fn has(&self, key: &str) -> bool {
        !matches!(self.0.get(key), None | Some(Value::Null))
    }
}

/// A mixture with a softmax over all experts, none shared, in every layer.
fn plain_moe(n_routed_experts: usize, num_experts_per_tok: usize, moe_intermediate_size: usize) -> MoeSpec {
    MoeSpec {
        n_routed_experts,
        n_shared_experts: 0,
        num_experts_per_tok,
        moe_intermediate_size,
        first_k_dense_replace: 0,
        n_group: 1,
        topk_group: 1,
        routed_scaling_factor: 1.0,
        norm_topk_prob: false,
        scoring: Scoring::Softmax,
    }
}
