//! config.json, as Hugging Face's transformers (4 and 5) read and write it.

use serde_json::{Map, Value, json};

use crate::{Family, MlaSpec, ModelSpec, MoeSpec, RopeScaling, Scoring, SpecError};

impl ModelSpec {
    /// Reads a config.json.
    ///
    /// # Errors
    /// Text that is not JSON, an architecture whose tensors are not known, a missing or mistyped key, sizes that clash.
    pub fn from_hf_json(text: &str) -> Result<Self, SpecError> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| SpecError::Json { message: error.to_string() })?;
        let config = Config(value.as_object().ok_or_else(|| SpecError::Json { message: "not an object".to_string() })?);
        let family = config.family()?;
        let mla = matches!(family, Family::DeepseekV2 | Family::DeepseekV3).then(|| config.mla()).transpose()?;
        let num_attention_heads = config.size("num_attention_heads")?;
        let hidden_size = config.size("hidden_size")?;
        let head_dim = match &mla {
            Some(mla) => mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim),
            None => config.size_or("head_dim", hidden_size / num_attention_heads.max(1))?,
        };
        let spec = Self {
            family,
            vocab_size: config.size("vocab_size")?,
            hidden_size,
            intermediate_size: config.size("intermediate_size")?,
            num_hidden_layers: config.size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: config.size_or("num_key_value_heads", num_attention_heads)?,
            head_dim,
            max_position_embeddings: config.size("max_position_embeddings")?,
            rms_norm_eps: config.number_or("rms_norm_eps", 1e-6)?,
            rope_theta: config.rope_theta()?,
            rope_scaling: config.rope_scaling()?,
            tie_word_embeddings: config.flag_or("tie_word_embeddings", false)?,
            attention_bias: family == Family::Qwen2,
            qk_norm: family == Family::Qwen3,
            initializer_range: config.number_or("initializer_range", 0.02)?,
            bos_token_id: config.token_or("bos_token_id", 0),
            eos_token_id: config.token_or("eos_token_id", 1),
            moe: mla.is_some().then(|| config.moe(family)).transpose()?,
            num_nextn_predict_layers: if family == Family::DeepseekV3 {
                config.size_or("num_nextn_predict_layers", 0)?
            } else {
                0
            },
            mla,
        };
        if config.flag_or("attention_bias", false)? && family != Family::Qwen2 {
            let hint = "only Qwen2's biases on q, k and v are known";
            return Err(SpecError::clash("attention_bias = true".to_string(), &format!("false for {family:?}"), hint));
        }
        spec.validate()?;
        Ok(spec)
    }

    /// The config.json that transformers needs to load the model.
    pub fn to_hf_json(&self) -> Value {
        let (architecture, model_type) = self.family.names();
        let mut out = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling_json(),
            "rope_parameters": self.rope_parameters_json(),
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "initializer_range": self.initializer_range,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": 2,
            "dtype": "float32",
            "torch_dtype": "float32",
            "use_cache": true,
        });
        let map = out.as_object_mut().expect("an object");
        match &self.mla {
            Some(mla) => {
                map.insert("q_lora_rank".into(), json!(mla.q_lora_rank));
                map.insert("kv_lora_rank".into(), json!(mla.kv_lora_rank));
                map.insert("qk_nope_head_dim".into(), json!(mla.qk_nope_head_dim));
                map.insert("qk_rope_head_dim".into(), json!(mla.qk_rope_head_dim));
                map.insert("v_head_dim".into(), json!(mla.v_head_dim));
                map.insert("rope_interleave".into(), json!(mla.rope_interleave));
                map.insert("num_nextn_predict_layers".into(), json!(self.num_nextn_predict_layers));
            }
            None => {
                map.insert("head_dim".into(), json!(self.head_dim));
            }
        }
        if let Some(moe) = &self.moe {
            moe.write(map);
        }
        out
    }

    fn rope_scaling_json(&self) -> Value {
        match &self.rope_scaling {
            RopeScaling::None => Value::Null,
            _ => self.rope_parameters_json(),
        }
    }

    fn rope_parameters_json(&self) -> Value {
        let theta = self.rope_theta;
        match &self.rope_scaling {
            RopeScaling::None => json!({"rope_type": "default", "rope_theta": theta}),
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                beta_fast,
                beta_slow,
                mscale,
                mscale_all_dim,
            } => {
                json!({
                    "rope_type": "yarn", "type": "yarn", "rope_theta": theta, "factor": factor,
                    "original_max_position_embeddings": original_max_position_embeddings, "beta_fast": beta_fast,
                    "beta_slow": beta_slow, "mscale": mscale, "mscale_all_dim": mscale_all_dim,
                })
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                json!({
                    "rope_type": "llama3", "rope_theta": theta, "factor": factor, "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_max_position_embeddings,
                })
            }
        }
    }
}

impl Family {
    /// The architecture and model type of config.json.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Family::DeepseekV2 => ("DeepseekV2ForCausalLM", "deepseek_v2"),
            Family::DeepseekV3 => ("DeepseekV3ForCausalLM", "deepseek_v3"),
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        }
    }
}

impl MoeSpec {
    fn write(&self, map: &mut Map<String, Value>) {
        let scoring = match self.scoring {
            Scoring::Sigmoid => "sigmoid",
            Scoring::Softmax => "softmax",
        };
        map.insert("n_routed_experts".into(), json!(self.n_routed_experts));
        map.insert("n_shared_experts".into(), json!(self.n_shared_experts));
        map.insert("num_experts_per_tok".into(), json!(self.num_experts_per_tok));
        map.insert("moe_intermediate_size".into(), json!(self.moe_intermediate_size));
        map.insert("first_k_dense_replace".into(), json!(self.first_k_dense_replace));
        map.insert("moe_layer_freq".into(), json!(1));
        map.insert("n_group".into(), json!(self.n_group));
        map.insert("topk_group".into(), json!(self.topk_group));
        map.insert("topk_method".into(), json!("noaux_tc"));
        map.insert("routed_scaling_factor".into(), json!(self.routed_scaling_factor));
        map.insert("norm_topk_prob".into(), json!(self.norm_topk_prob));
        map.insert("scoring_func".into(), json!(scoring));
    }
}

/// Typed access to the keys of a config.json.
struct Config<'a>(&'a Map<String, Value>);

impl Config<'_> {
    fn family(&self) -> Result<Family, SpecError> {
        let model_type = self.0.get("model_type").and_then(Value::as_str).unwrap_or("");
        let all = [Family::DeepseekV2, Family::DeepseekV3, Family::Llama, Family::Qwen2, Family::Qwen3];
        all.into_iter().find(|family| family.names().1 == model_type).ok_or_else(|| SpecError::Architecture {
            found: model_type.chars().take(60).collect(),
            known: all.map(|family| family.names().1).join(", "),
        })
    }

    fn mla(&self) -> Result<MlaSpec, SpecError> {
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

    fn moe(&self, family: Family) -> Result<MoeSpec, SpecError> {
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

    fn rope_theta(&self) -> Result<f64, SpecError> {
        match self.rope() {
            Some(rope) if rope.0.contains_key("rope_theta") => rope.number("rope_theta"),
            _ => self.number_or("rope_theta", 1e4),
        }
    }

    fn rope_scaling(&self) -> Result<RopeScaling, SpecError> {
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

    fn size(&self, key: &str) -> Result<usize, SpecError> {
        let value = self.0.get(key).ok_or_else(|| SpecError::Missing { key: key.to_string() })?;
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| SpecError::mistyped(key, value, "a whole number"))
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize, SpecError> {
        if self.has(key) { self.size(key) } else { Ok(default) }
    }

    fn number(&self, key: &str) -> Result<f64, SpecError> {
        let value = self.0.get(key).ok_or_else(|| SpecError::Missing { key: key.to_string() })?;
        value.as_f64().ok_or_else(|| SpecError::mistyped(key, value, "a number"))
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, SpecError> {
        if self.has(key) { self.number(key) } else { Ok(default) }
    }

    fn flag_or(&self, key: &str, default: bool) -> Result<bool, SpecError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| SpecError::mistyped(key, value, "true or false")),
        }
    }

    /// A token id; of several the first.
    fn token_or(&self, key: &str, default: u32) -> u32 {
        let value = self.0.get(key).map(|v| v.get(0).unwrap_or(v));
        value.and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    }

    fn has(&self, key: &str) -> bool {
        !matches!(self.0.get(key), None | Some(Value::Null))
    }
}
