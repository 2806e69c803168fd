//! Models by name: the published ones from their config.json, and the nano ladder, V3's shape at sizes a laptop can train.

use crate::{Activation, Family, MlaSpec, ModelSpec, MoeSpec, RopeScaling, Scoring, SpecError};

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../presets/", $name, ".json")))),*]
    };
}

/// Names and configurations of the published models.
pub const PRESETS: [(&str, &str); 12] = presets!(
    "v3-671b",
    "v2-236b",
    "v2-lite-16b",
    "r1-distill-qwen-1.5b",
    "r1-distill-qwen-7b",
    "r1-distill-qwen-14b",
    "r1-distill-qwen-32b",
    "r1-distill-llama-8b",
    "r1-distill-llama-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-405b",
);

/// The model called `name`: a published one, or a rung of the ladder such as `v3-nano` with a vocabulary of 2,048.
///
/// # Errors
/// If there is none of that name.
pub fn preset(name: &str) -> Result<ModelSpec, SpecError> {
    if let Some((_, text)) = PRESETS.iter().find(|(known, _)| *known == name) {
        return ModelSpec::from_hf_json(text);
    }
    if let Some(scale) = Scale::ALL.into_iter().find(|scale| name == format!("v3-{}", scale.name())) {
        return Ok(ModelSpec::ladder(scale, 2048));
    }
    let ladder = Scale::ALL.into_iter().map(|scale| format!("v3-{}", scale.name()));
    let known: Vec<String> = PRESETS.iter().map(|(name, _)| name.to_string()).chain(ladder).collect();
    Err(SpecError::Preset { name: name.chars().take(80).collect(), known: known.join(", ") })
}

/// The one dial of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Seconds: for checks that the chain holds together.
    Smoke,
    /// Made to take six minutes on two cores with bf16 instructions.
    Nano,
    /// An evening on the same cores: two to four hours.
    Micro,
    /// A night: seven to twelve hours.
    Mini,
}

/// Sizes of a rung: width, layers, heads, dense width, expert width, experts, chosen, groups, kept, q and kv latents.
struct Rung {
    d: usize,
    layers: usize,
    heads: usize,
    dense: usize,
    expert: usize,
    experts: usize,
    chosen: usize,
    groups: usize,
    kept: usize,
    q_lora: usize,
    kv_lora: usize,
    head: usize,
}

impl Scale {
    /// Every scale, the smallest first.
    pub const ALL: [Scale; 4] = [Scale::Smoke, Scale::Nano, Scale::Micro, Scale::Mini];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Smoke => "smoke",
            Scale::Nano => "nano",
            Scale::Micro => "micro",
            Scale::Mini => "mini",
        }
    }

    fn rung(self) -> Rung {
        let rung = |d, layers, heads, dense, expert, (experts, chosen, groups, kept), (q_lora, kv_lora), head| Rung {
            d,
            layers,
            heads,
            dense,
            expert,
            experts,
            chosen,
            groups,
            kept,
            q_lora,
            kv_lora,
            head,
        };
        match self {
            Scale::Smoke => rung(64, 2, 2, 128, 32, (8, 2, 4, 2), (32, 16), 32),
            Scale::Nano => rung(128, 4, 4, 256, 32, (16, 4, 4, 2), (64, 32), 32),
            Scale::Micro => rung(256, 6, 4, 1024, 128, (16, 4, 4, 2), (96, 64), 32),
            Scale::Mini => rung(384, 8, 6, 1536, 128, (32, 4, 8, 4), (128, 96), 32),
        }
    }
}

impl ModelSpec {
    /// V3's shape at a rung of the ladder: MLA with both latents, first layer dense, sigmoid gate with groups, one shared
    /// expert, MTP of depth 1. Positions for sequences of 256 tokens.
    ///
    /// Initialised with half of 1/√width, as V3's 0.006 is at 7,168.
    pub fn ladder(scale: Scale, vocab_size: usize) -> Self {
        let rung = scale.rung();
        let rope = rung.head / 2;
        Self {
            family: Family::DeepseekV3,
            vocab_size,
            hidden_size: rung.d,
            intermediate_size: rung.dense,
            num_hidden_layers: rung.layers,
            num_attention_heads: rung.heads,
            num_key_value_heads: rung.heads,
            head_dim: rung.head + rope,
            max_position_embeddings: 256,
            rms_norm_eps: 1e-6,
            hidden_act: Activation::Silu,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::None,
            partial_rotary_factor: 1.0,
            local_rope: None,
            no_rope_layers: Vec::new(),
            llama_4_scaling_beta: 0.0,
            query_pre_attn_scalar: None,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            qk_norm: false,
            initializer_range: 0.5 / (rung.d as f64).sqrt(),
            bos_token_id: 0,
            eos_token_id: 1,
            other_eos_token_ids: Vec::new(),
            sliding_window: None,
            mla: Some(MlaSpec {
                q_lora_rank: Some(rung.q_lora),
                kv_lora_rank: rung.kv_lora,
                qk_nope_head_dim: rung.head,
                qk_rope_head_dim: rope,
                v_head_dim: rung.head,
                rope_interleave: true,
            }),
            moe: Some(MoeSpec {
                n_routed_experts: rung.experts,
                shared_expert_intermediate_size: rung.expert,
                num_experts_per_tok: rung.chosen,
                moe_intermediate_size: rung.expert,
                first_k_dense_replace: 1,
                mlp_only_layers: Vec::new(),
                decoder_sparse_step: 1,
                n_group: rung.groups,
                topk_group: rung.kept,
                routed_scaling_factor: 2.5,
                norm_topk_prob: true,
                scoring: Scoring::Sigmoid,
            }),
            num_nextn_predict_layers: 1,
        }
    }

    /// The dense student of a rung, Qwen2-shaped, with about as many active parameters as the rung's V3.
    pub fn student(scale: Scale, vocab_size: usize) -> Self {
        let rung = scale.rung();
        Self {
            family: Family::Qwen2,
            intermediate_size: 2 * rung.d,
            num_key_value_heads: rung.heads / 2,
            head_dim: rung.d / rung.heads,
            attention_bias: true,
            mla: None,
            moe: None,
            num_nextn_predict_layers: 0,
            ..Self::ladder(scale, vocab_size)
        }
    }

    /// The same model stretched by YaRN to `factor` times its length.
    pub fn extended(&self, factor: usize) -> Self {
        let original = match &self.rope_scaling {
            RopeScaling::Yarn { original_max_position_embeddings, .. } => *original_max_position_embeddings,
            _ => self.max_position_embeddings,
        };
        Self {
            max_position_embeddings: original * factor,
            rope_scaling: RopeScaling::Yarn {
                factor: factor as f64,
                original_max_position_embeddings: original,
                beta_fast: 32.0,
                beta_slow: 1.0,
                mscale: 1.0,
                mscale_all_dim: 1.0,
                attention_factor: None,
                truncate: true,
            },
            ..self.clone()
        }
    }
}
