//! The families of models: what config.json calls them and how their layers differ.

/// The families whose layers are known.
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
    /// Llama, with a sliding window in every layer or in none.
    Mistral,
    /// Mistral, each of whose layers has the window or not.
    Ministral,
    /// Mistral whose queries grow with the logarithm of their position.
    Ministral3,
    /// Llama, some of whose layers do without rotation.
    Smollm3,
    /// Norms behind attention and MLP instead of before them, and over all heads of q and k.
    Olmo2,
    /// OLMo 2 with sliding windows, under a rotary table of their own.
    Olmo3,
    /// Llama with a mixture in every layer, under names of its own.
    Mixtral,
    /// Its shared expert has a gate of its own.
    Qwen2Moe,
    /// Qwen3 with a mixture, no shared expert.
    Qwen3Moe,
    /// GLM 4.5: V3's mixture under grouped-query attention, half of each head rotated.
    Glm4Moe,
    /// Gemma 3 without its eyes: norms on both sides, gains that begin at 0, a scaled embedding, sliding windows.
    Gemma3,
}

/// Where a layer has its norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlaces {
    /// Before attention and before the feed-forward network.
    Before,
    /// Behind each, before its output joins the residual stream.
    After,
    /// On both sides.
    Both,
}

impl Family {
    /// Every family, in the order in which messages list them.
    pub const ALL: [Family; 16] = [
        Family::DeepseekV2,
        Family::DeepseekV3,
        Family::Llama,
        Family::Qwen2,
        Family::Qwen3,
        Family::Mistral,
        Family::Ministral,
        Family::Ministral3,
        Family::Smollm3,
        Family::Olmo2,
        Family::Olmo3,
        Family::Mixtral,
        Family::Qwen2Moe,
        Family::Qwen3Moe,
        Family::Glm4Moe,
        Family::Gemma3,
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
            Family::Ministral => ("MinistralForCausalLM", "ministral"),
            Family::Ministral3 => ("Ministral3ForCausalLM", "ministral3"),
            Family::Smollm3 => ("SmolLM3ForCausalLM", "smollm3"),
            Family::Olmo2 => ("Olmo2ForCausalLM", "olmo2"),
            Family::Olmo3 => ("Olmo3ForCausalLM", "olmo3"),
            Family::Mixtral => ("MixtralForCausalLM", "mixtral"),
            Family::Qwen2Moe => ("Qwen2MoeForCausalLM", "qwen2_moe"),
            Family::Qwen3Moe => ("Qwen3MoeForCausalLM", "qwen3_moe"),
            Family::Glm4Moe => ("Glm4MoeForCausalLM", "glm4_moe"),
            Family::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
        }
    }

    /// The family with this `model_type`. Kimi K2 is V3 at other sizes, under a name of its own.
    pub(crate) fn of(model_type: &str) -> Option<Self> {
        match model_type {
            "kimi_k2" => Some(Family::DeepseekV3),
            _ => Self::ALL.into_iter().find(|family| family.names().1 == model_type),
        }
    }

    /// Their model types, for messages.
    pub(crate) fn listed() -> String {
        Self::ALL.map(|family| family.names().1).join(", ")
    }

    /// Whether attention has latents (MLA).
    pub(crate) fn has_mla(self) -> bool {
        matches!(self, Family::DeepseekV2 | Family::DeepseekV3)
    }

    /// Whether a mixture's gate is V3's: a sigmoid with a correction bias.
    pub(crate) fn has_sigmoid_gate(self) -> bool {
        matches!(self, Family::DeepseekV3 | Family::Glm4Moe)
    }

    /// Whether q, k and v have biases though config.json does not say so.
    pub(crate) fn has_qkv_bias(self) -> bool {
        matches!(self, Family::Qwen2 | Family::Qwen2Moe)
    }

    /// Whether biases of attention are on its output too.
    pub(crate) fn has_output_bias(self) -> bool {
        !matches!(self, Family::Qwen2 | Family::Qwen2Moe | Family::Glm4Moe)
    }

    /// Whether sliding windows go with a rotary table of their own.
    pub(crate) fn has_local_rope(self) -> bool {
        matches!(self, Family::Olmo3 | Family::Gemma3)
    }

    /// Whether a norm of q or k runs over all heads together.
    pub fn norms_all_heads(self) -> bool {
        matches!(self, Family::Olmo2 | Family::Olmo3)
    }

    /// Whether a norm multiplies by 1 + its weight, which begins at 0, instead of by the weight.
    pub fn has_gains_about_one(self) -> bool {
        self == Family::Gemma3
    }

    /// Whether embeddings are multiplied by the root of their width.
    pub fn scales_embedding(self) -> bool {
        self == Family::Gemma3
    }

    /// Whether the shared expert's output is multiplied by a sigmoid of the token's own.
    pub fn gates_shared_expert(self) -> bool {
        self == Family::Qwen2Moe
    }

    /// Where a layer has its norms.
    pub fn norm_places(self) -> NormPlaces {
        match self {
            Family::Olmo2 | Family::Olmo3 => NormPlaces::After,
            Family::Gemma3 => NormPlaces::Both,
            _ => NormPlaces::Before,
        }
    }

    /// Names of a layer's norms, in the order in which it applies them.
    pub fn layer_norms(self) -> &'static [&'static str] {
        match self.norm_places() {
            NormPlaces::Before => &["input_layernorm", "post_attention_layernorm"],
            NormPlaces::After => &["post_attention_layernorm", "post_feedforward_layernorm"],
            NormPlaces::Both => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        }
    }

    /// What a layer calls its mixture; a dense network is `mlp` in every family.
    pub fn mixture_name(self) -> &'static str {
        if self == Family::Mixtral { "block_sparse_moe" } else { "mlp" }
    }

    /// An expert's gate, up and down projection.
    pub fn expert_parts(self) -> [&'static str; 3] {
        match self {
            Family::Mixtral => ["w1", "w3", "w2"],
            _ => ["gate_proj", "up_proj", "down_proj"],
        }
    }

    /// What a mixture calls the expert that every token uses.
    pub fn shared_expert_name(self) -> &'static str {
        if self == Family::Qwen2Moe { "shared_expert" } else { "shared_experts" }
    }
}
