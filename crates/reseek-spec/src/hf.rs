//! config.json, as Hugging Face's transformers (4 and 5) read and write it.

use serde_json::{Map, Value, json};

use crate::hf_config::Config;
use crate::{Family, ModelSpec, MoeSpec, RopeScaling, Scoring, SpecError};

impl ModelSpec {
    /// Reads a config.json of a model that the crates above compute.
    ///
    /// # Errors
    /// As [`ModelSpec::counted_from_hf_json`], and a model that can only be counted and simulated.
    pub fn from_hf_json(text: &str) -> Result<Self, SpecError> {
        let spec = Self::counted_from_hf_json(text)?;
        let why = match (spec.family.is_computed(), spec.sliding_window) {
            (true, None) => return Ok(spec),
            (true, Some(window)) => format!(" as it has a sliding window of {} tokens", window.tokens),
            (false, _) => String::new(),
        };
        let found = spec.family.names().1.to_string();
        Err(SpecError::CountedOnly { found, known: Family::listed(Family::is_computed), why })
    }

    /// Reads a config.json of any family whose layers are known: enough to count its parameters, operations and bytes.
    ///
    /// # Errors
    /// Text that is not JSON, an architecture whose layers are not known, with what is missing; a missing or mistyped key; sizes that clash.
    pub fn counted_from_hf_json(text: &str) -> Result<Self, SpecError> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| SpecError::Json { message: error.to_string() })?;
        let config = Config(value.as_object().ok_or_else(|| SpecError::Json { message: "not an object".to_string() })?);
        let family = config.family()?;
        let mla = family.has_mla().then(|| config.mla()).transpose()?;
        let num_attention_heads = config.size("num_attention_heads")?;
        let hidden_size = config.size("hidden_size")?;
        let num_hidden_layers = config.size("num_hidden_layers")?;
        let head_dim = match &mla {
            Some(mla) => mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim),
            None => config.size_or("head_dim", hidden_size / num_attention_heads.max(1))?,
        };
        let spec = Self {
            family,
            vocab_size: config.size("vocab_size")?,
            hidden_size,
            intermediate_size: config.size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: config.size_or("num_key_value_heads", num_attention_heads)?,
            head_dim,
            max_position_embeddings: config.size("max_position_embeddings")?,
            rms_norm_eps: config.number_or("rms_norm_eps", 1e-6)?,
            rope_theta: config.rope_theta()?,
            rope_scaling: config.rope_scaling()?,
            tie_word_embeddings: config.flag_or("tie_word_embeddings", false)?,
            attention_bias: config.has_qkv_bias(family)?,
            qk_norm: config.has_qk_norm(family)?,
            initializer_range: config.number_or("initializer_range", 0.02)?,
            bos_token_id: config.token_or("bos_token_id", 0),
            eos_token_id: config.token_or("eos_token_id", 1),
            sliding_window: config.sliding_window(family, num_hidden_layers)?,
            moe: config.moe(family, num_hidden_layers)?,
            num_nextn_predict_layers: match family {
                Family::DeepseekV3 | Family::Glm4Moe => config.size_or("num_nextn_predict_layers", 0)?,
                _ => 0,
            },
            mla,
        };
        spec.validate()?;
        Ok(spec)
    }

    /// The config.json that transformers needs to load the model; of families that are computed (the others' mixtures have keys of their own).
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
