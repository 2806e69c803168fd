//! The config.json that transformers, 4 or 5, needs to load a model.

use serde_json::{Map, Value, json};

use crate::{Activation, Family, ModelSpec, MoeSpec, Rope, RopeScaling, Scoring};

impl ModelSpec {
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
            "hidden_act": self.activation_name(),
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling_json(),
            "rope_parameters": self.rope_parameters_json(),
            "tie_word_embeddings": self.tie_word_embeddings,
            // Qwen2 has its biases by name.
            "attention_bias": self.attention_bias && !self.family.has_qkv_bias(),
            "attention_dropout": 0.0,
            "initializer_range": self.initializer_range,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.ends_json(),
            "pad_token_id": 2,
            "dtype": "float32",
            "torch_dtype": "float32",
            "use_cache": true,
        });
        let map = out.as_object_mut().expect("an object");
        self.write_heads(map);
        if let Some(moe) = &self.moe {
            self.write_mixture(moe, map);
        }
        self.write_window(map);
        self.write_family(map);
        out
    }

    fn write_heads(&self, map: &mut Map<String, Value>) {
        match &self.mla {
            Some(mla) => {
                map.insert("q_lora_rank".into(), json!(mla.q_lora_rank));
                map.insert("kv_lora_rank".into(), json!(mla.kv_lora_rank));
                map.insert("qk_nope_head_dim".into(), json!(mla.qk_nope_head_dim));
                map.insert("qk_rope_head_dim".into(), json!(mla.qk_rope_head_dim));
                map.insert("v_head_dim".into(), json!(mla.v_head_dim));
                map.insert("rope_interleave".into(), json!(mla.rope_interleave));
                if self.family == Family::DeepseekV3 {
                    map.insert("num_nextn_predict_layers".into(), json!(self.num_nextn_predict_layers));
                }
            }
            None => {
                map.insert("head_dim".into(), json!(self.head_dim));
            }
        }
    }

    fn activation_name(&self) -> &'static str {
        match self.hidden_act {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        }
    }

    fn ends_json(&self) -> Value {
        match self.other_eos_token_ids.is_empty() {
            true => json!(self.eos_token_id),
            false => json!(self.eos_token_ids()),
        }
    }

    fn rope_scaling_json(&self) -> Value {
        match &self.rope_scaling {
            RopeScaling::None => Value::Null,
            _ => self.main_rope_json(),
        }
    }

    fn rope_parameters_json(&self) -> Value {
        let full = self.main_rope_json();
        match self.family {
            Family::Gemma3 | Family::Olmo3 => {
                // Without a window there is no layer for the other table.
                let local = self.local_rope.as_ref().map_or(full.clone(), Rope::to_json);
                json!({"full_attention": full, "sliding_attention": local})
            }
            _ => full,
        }
    }

    fn main_rope_json(&self) -> Value {
        let mut out = self.rope().to_json();
        let map = out.as_object_mut().expect("an object");
        if self.partial_rotary_factor != 1.0 {
            map.insert("partial_rotary_factor".into(), json!(self.partial_rotary_factor));
        }
        if self.family == Family::Ministral3 {
            map.insert("llama_4_scaling_beta".into(), json!(self.llama_4_scaling_beta));
            // Its queries ask for this even where nothing is stretched.
            let original = json!(self.max_position_embeddings);
            map.entry("original_max_position_embeddings").or_insert(original);
        }
        out
    }

    fn write_window(&self, map: &mut Map<String, Value>) {
        let kind = |layer| if self.window_of(layer).is_some() { "sliding_attention" } else { "full_attention" };
        let kinds: Vec<&str> = (0..self.num_hidden_layers).map(kind).collect();
        let tokens = self.sliding_window.as_ref().map(|window| window.tokens);
        match self.family {
            Family::Mistral | Family::Ministral3 | Family::Mixtral => {
                map.insert("sliding_window".into(), json!(tokens));
            }
            Family::Ministral | Family::Olmo3 | Family::Gemma3 => {
                map.insert("sliding_window".into(), json!(tokens));
                map.insert("layer_types".into(), json!(kinds));
            }
            // Transformers 4 and 5 go without, if nothing is said.
            _ if tokens.is_none() => {}
            family => {
                map.insert("use_sliding_window".into(), json!(true));
                map.insert("sliding_window".into(), json!(tokens));
                if family != Family::Qwen3Moe {
                    map.insert("layer_types".into(), json!(kinds));
                }
            }
        }
    }

    fn write_family(&self, map: &mut Map<String, Value>) {
        match self.family {
            Family::Llama | Family::DeepseekV2 if self.mlp_bias => {
                map.insert("mlp_bias".into(), json!(true));
            }
            Family::Smollm3 => {
                let rotates = |layer: usize| u8::from(self.no_rope_layers.binary_search(&layer).is_err());
                let rotates: Vec<u8> = (0..self.num_hidden_layers).map(rotates).collect();
                map.insert("no_rope_layers".into(), json!(rotates));
                map.insert("mlp_bias".into(), json!(self.mlp_bias));
            }
            Family::Glm4Moe => {
                map.insert("partial_rotary_factor".into(), json!(self.partial_rotary_factor));
                map.insert("use_qk_norm".into(), json!(self.qk_norm));
                map.insert("num_nextn_predict_layers".into(), json!(self.num_nextn_predict_layers));
            }
            Family::Gemma3 => {
                map.insert("hidden_activation".into(), json!(self.activation_name()));
                // Transformers 5 takes whole numbers alone.
                let whole =
                    self.query_pre_attn_scalar.filter(|scalar| scalar.fract() == 0.0).map(|scalar| scalar as u64);
                let scalar = whole.map_or(json!(self.query_pre_attn_scalar), |scalar| json!(scalar));
                map.insert("query_pre_attn_scalar".into(), scalar);
                if let Some(rope) = &self.local_rope {
                    map.insert("rope_local_base_freq".into(), json!(rope.theta));
                }
            }
            _ => {}
        }
    }

    fn write_mixture(&self, moe: &MoeSpec, map: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| {
            map.insert(key.to_string(), value);
        };
        match self.family {
            Family::Mixtral => {
                put("num_local_experts", json!(moe.n_routed_experts));
                put("num_experts_per_tok", json!(moe.num_experts_per_tok));
            }
            Family::Qwen2Moe | Family::Qwen3Moe => {
                put("num_experts", json!(moe.n_routed_experts));
                put("num_experts_per_tok", json!(moe.num_experts_per_tok));
                put("moe_intermediate_size", json!(moe.moe_intermediate_size));
                put("norm_topk_prob", json!(moe.norm_topk_prob));
                put("decoder_sparse_step", json!(moe.decoder_sparse_step));
                put("mlp_only_layers", json!(moe.mlp_only_layers));
                if self.family == Family::Qwen2Moe {
                    put("shared_expert_intermediate_size", json!(moe.shared_expert_intermediate_size));
                    put("qkv_bias", json!(self.attention_bias));
                }
            }
            _ => moe.write_deepseek(self.family, map),
        }
    }
}

impl MoeSpec {
    fn write_deepseek(&self, family: Family, map: &mut Map<String, Value>) {
        let (scoring, method) = match (self.scoring, self.n_group) {
            (Scoring::Sigmoid, _) => ("sigmoid", "noaux_tc"),
            (Scoring::Softmax, 1) => ("softmax", "greedy"),
            (Scoring::Softmax, _) => ("softmax", "group_limited_greedy"),
        };
        map.insert("n_routed_experts".into(), json!(self.n_routed_experts));
        let shared = self.shared_expert_intermediate_size / self.moe_intermediate_size;
        map.insert("n_shared_experts".into(), json!(shared));
        map.insert("num_experts_per_tok".into(), json!(self.num_experts_per_tok));
        map.insert("moe_intermediate_size".into(), json!(self.moe_intermediate_size));
        map.insert("first_k_dense_replace".into(), json!(self.first_k_dense_replace));
        if family != Family::Glm4Moe {
            map.insert("moe_layer_freq".into(), json!(1));
        }
        map.insert("n_group".into(), json!(self.n_group));
        map.insert("topk_group".into(), json!(self.topk_group));
        map.insert("topk_method".into(), json!(method));
        map.insert("routed_scaling_factor".into(), json!(self.routed_scaling_factor));
        map.insert("norm_topk_prob".into(), json!(self.norm_topk_prob));
        map.insert("scoring_func".into(), json!(scoring));
    }
}

impl Rope {
    fn to_json(&self) -> Value {
        let theta = self.theta;
        match &self.scaling {
            RopeScaling::None => json!({"rope_type": "default", "rope_theta": theta}),
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "rope_theta": theta, "factor": factor}),
            RopeScaling::Dynamic { factor } => json!({"rope_type": "dynamic", "rope_theta": theta, "factor": factor}),
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                beta_fast,
                beta_slow,
                mscale,
                mscale_all_dim,
                attention_factor,
                truncate,
            } => {
                let mut out = json!({
                    "rope_type": "yarn", "type": "yarn", "rope_theta": theta, "factor": factor,
                    "original_max_position_embeddings": original_max_position_embeddings, "beta_fast": beta_fast,
                    "beta_slow": beta_slow, "mscale": mscale, "mscale_all_dim": mscale_all_dim,
                });
                let map = out.as_object_mut().expect("an object");
                if let Some(factor) = attention_factor {
                    map.insert("attention_factor".into(), json!(factor));
                }
                if !truncate {
                    map.insert("truncate".into(), json!(false));
                }
                out
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
