//! The families of models: what config.json calls them and how their tensors differ.

/// The families whose tensors and counts are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// MLA, and a mixture behind a softmax gate.
    DeepseekV2,
    /// MLA, a mixture behind a sigmoid gate with a correction bias, multi-token prediction.
    DeepseekV3,
    /// Grouped-query attention and SwiGLU, no biases.
    Llama,
    /// Llama with biases on q, k and v.
    Qwen2,
    /// Llama with norms on each head's q and k.
    Qwen3,
    /// Llama's tensors.
    Mistral,
    /// Llama's tensors.
    Smollm3,
    /// Norms behind attention and MLP instead of before them, and over all heads of q and k.
    Olmo2,
    /// OLMo 2 with sliding windows.
    Olmo3,
    /// Llama with a mixture in every layer, under names of its own.
    Mixtral,
    /// Its shared experts have a gate of their own.
    Qwen2Moe,
    /// Qwen3 with a mixture, no shared expert.
    Qwen3Moe,
    /// GLM 4.5: V3's mixture under grouped-query attention.
    Glm4Moe,
}

impl Family {
    /// Every family, in the order in which messages list them.
    pub const ALL: [Family; 13] = [
        Family::DeepseekV2,
        Family::DeepseekV3,
        Family::Llama,
        Family::Qwen2,
        Family::Qwen3,
        Family::Mistral,
        Family::Smollm3,
        Family::Olmo2,
        Family::Olmo3,
        Family::Mixtral,
        Family::Qwen2Moe,
        Family::Qwen3Moe,
        Family::Glm4Moe,
    ];

    /// The architecture and model type of config.json.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Family::DeepseekV2 => ("DeepseekV2ForCausalLM", "deepseek_v2"),
            Family::DeepseekV3 => ("DeepseekV3ForCausalLM", "deepseek_v3"),
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
            Family::Mistral => ("MistralForCausalLM", "mistral"),
            Family::Smollm3 => ("SmolLM3ForCausalLM", "smollm3"),
            Family::Olmo2 => ("Olmo2ForCausalLM", "olmo2"),
            Family::Olmo3 => ("Olmo3ForCausalLM", "olmo3"),
            Family::Mixtral => ("MixtralForCausalLM", "mixtral"),
            Family::Qwen2Moe => ("Qwen2MoeForCausalLM", "qwen2_moe"),
            Family::Qwen3Moe => ("Qwen3MoeForCausalLM", "qwen3_moe"),
            Family::Glm4Moe => ("Glm4MoeForCausalLM", "glm4_moe"),
        }
    }

    /// The family with this `model_type`. Kimi K2 is V3 at other sizes, under a name of its own.
    pub(crate) fn of(model_type: &str) -> Option<Self> {
        match model_type {
            "kimi_k2" => Some(Family::DeepseekV3),
            _ => Self::ALL.into_iter().find(|family| family.names().1 == model_type),
        }
    }

    /// Whether models of the family are more than counted and simulated: read, trained and sampled from, as far as `reseek-model` goes.
    pub fn is_computed(self) -> bool {
        matches!(self, Family::DeepseekV2 | Family::DeepseekV3 | Family::Llama | Family::Qwen2 | Family::Qwen3)
    }

    /// The model types of `families`, for messages.
    pub(crate) fn listed(families: impl Fn(Family) -> bool) -> String {
        let names = Self::ALL.into_iter().filter(|&family| families(family)).map(|family| family.names().1);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Whether attention has latents (MLA).
    pub(crate) fn has_mla(self) -> bool {
        matches!(self, Family::DeepseekV2 | Family::DeepseekV3)
    }

    /// Whether q, k and v have biases though config.json does not say so.
    pub(crate) fn has_qkv_bias(self) -> bool {
        matches!(self, Family::Qwen2 | Family::Qwen2Moe)
    }

    /// Whether a norm of q or k runs over all heads together.
    pub(crate) fn norms_all_heads(self) -> bool {
        matches!(self, Family::Olmo2 | Family::Olmo3)
    }

    pub(crate) fn layer_norms(self) -> [&'static str; 2] {
        match self.norms_all_heads() {
            true => ["post_attention_layernorm", "post_feedforward_layernorm"],
            false => ["input_layernorm", "post_attention_layernorm"],
        }
    }

    pub(crate) fn mlp_name(self) -> &'static str {
        if self == Family::Mixtral { "block_sparse_moe" } else { "mlp" }
    }

    /// An expert's gate, up and down projection.
    pub(crate) fn expert_parts(self) -> [&'static str; 3] {
        match self {
            Family::Mixtral => ["w1", "w3", "w2"],
            _ => ["gate_proj", "up_proj", "down_proj"],
        }
    }

    pub(crate) fn shared_expert_name(self) -> &'static str {
        if self == Family::Qwen2Moe { "shared_expert" } else { "shared_experts" }
    }
}
