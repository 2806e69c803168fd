//! Models of every family, drawn at random.

use reseek_spec::{Activation, Family, MlaSpec, ModelSpec, MoeSpec, Rope, RopeScaling, Scale, Scoring, SlidingWindow};

/// Numbers that depend on their seed alone.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn layers(&mut self, of: usize) -> Vec<usize> {
        (0..of).filter(|_| self.flag()).collect()
    }

    fn scaling(&mut self) -> RopeScaling {
        let factor = 1.0 + self.below(8) as f64 / 2.0;
        match self.below(5) {
            0 => RopeScaling::None,
            1 => RopeScaling::Linear { factor },
            2 => RopeScaling::Dynamic { factor },
            3 => self.yarn(factor),
            _ => RopeScaling::Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor: 4.5,
                original_max_position_embeddings: 32 + self.below(99),
            },
        }
    }

    fn yarn(&mut self, factor: f64) -> RopeScaling {
        let both = self.flag();
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: 32 + self.below(99),
            beta_fast: 32.5,
            beta_slow: 1.5,
            mscale: if both { 0.707 } else { 1.0 },
            mscale_all_dim: if both { 0.5 } else { 0.0 },
            attention_factor: self.flag().then_some(1.25),
            truncate: self.flag(),
        }
    }
}

/// A model of `family` with whatever it can have.
pub fn drawn(family: Family, seed: u64) -> ModelSpec {
    let mut draw = Draw(seed);
    let layers = 1 + draw.below(9);
    let heads = 2 * (1 + draw.below(3));
    let groups = if draw.flag() { heads } else { heads / 2 };
    let (is_deepseek, is_qwen_moe) = (
        matches!(family, Family::DeepseekV2 | Family::DeepseekV3 | Family::Glm4Moe),
        matches!(family, Family::Qwen2Moe | Family::Qwen3Moe),
    );
    let has_mla = matches!(family, Family::DeepseekV2 | Family::DeepseekV3);
    let never_biased = matches!(family, Family::Mistral | Family::Ministral | Family::Ministral3 | Family::Mixtral);
    let has_bias = family == Family::Qwen2 || (!never_biased && draw.flag());
    let has_window = !has_mla && !matches!(family, Family::Llama | Family::Olmo2 | Family::Glm4Moe) && draw.flag();
    let everywhere = matches!(family, Family::Mistral | Family::Ministral3 | Family::Mixtral | Family::Qwen3Moe);
    let mut full_layers = if everywhere { Vec::new() } else { draw.layers(layers) };
    // A window that no layer has is none.
    full_layers.truncate(layers - 1);
    let has_local = matches!(family, Family::Gemma3 | Family::Olmo3) && has_window;
    let width = 8 * (1 + draw.below(4));
    let mla = has_mla.then(|| MlaSpec {
        q_lora_rank: draw.flag().then_some(24),
        kv_lora_rank: 16,
        qk_nope_head_dim: 8,
        qk_rope_head_dim: 4,
        v_head_dim: 8,
        rope_interleave: family == Family::DeepseekV2 || draw.flag(),
    });
    let moe = (is_deepseek || is_qwen_moe || family == Family::Mixtral).then(|| MoeSpec {
        n_routed_experts: 8,
        shared_expert_intermediate_size: match family {
            Family::Qwen2Moe => 20,
            _ if is_deepseek => width * draw.below(3),
            _ => 0,
        },
        num_experts_per_tok: 2,
        moe_intermediate_size: if family == Family::Mixtral { 40 } else { width },
        first_k_dense_replace: if is_deepseek { draw.below(layers + 1) } else { 0 },
        mlp_only_layers: if is_qwen_moe { draw.layers(layers) } else { Vec::new() },
        decoder_sparse_step: if is_qwen_moe { 1 + draw.below(3) } else { 1 },
        n_group: if is_deepseek { 4 } else { 1 },
        topk_group: if is_deepseek { 2 } else { 1 },
        routed_scaling_factor: if is_deepseek { 2.5 } else { 1.0 },
        norm_topk_prob: family == Family::Mixtral || (family != Family::DeepseekV2 && draw.flag()),
        scoring: match family {
            Family::DeepseekV3 | Family::Glm4Moe => Scoring::Sigmoid,
            _ => Scoring::Softmax,
        },
    });
    let rope_scaling = if family == Family::Ministral3 { draw.yarn(4.0) } else { draw.scaling() };
    let mut spec = ModelSpec {
        family,
        intermediate_size: 40,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: if has_mla { heads } else { groups },
        head_dim: if has_mla { 12 } else { 8 + 8 * draw.below(2) },
        rms_norm_eps: 1e-5,
        hidden_act: if draw.flag() { Activation::Silu } else { Activation::GeluTanh },
        rope_theta: 20_000.0,
        rope_scaling,
        partial_rotary_factor: if family == Family::Glm4Moe { 0.25 + 0.75 * draw.below(2) as f64 } else { 1.0 },
        local_rope: has_local.then(|| Rope { theta: 3000.0, scaling: draw.scaling() }),
        no_rope_layers: if family == Family::Smollm3 { draw.layers(layers) } else { Vec::new() },
        llama_4_scaling_beta: if family == Family::Ministral3 { 0.1 } else { 0.0 },
        query_pre_attn_scalar: (family == Family::Gemma3).then_some(24.0),
        tie_word_embeddings: draw.flag(),
        attention_bias: has_bias,
        mlp_bias: matches!(family, Family::Llama | Family::Smollm3 | Family::DeepseekV2) && draw.flag(),
        qk_norm: match family {
            Family::Glm4Moe => draw.flag(),
            Family::Qwen3 | Family::Qwen3Moe | Family::Olmo2 | Family::Olmo3 | Family::Gemma3 => true,
            _ => false,
        },
        bos_token_id: 5,
        other_eos_token_ids: if draw.flag() { vec![7, 9] } else { Vec::new() },
        sliding_window: has_window.then_some(SlidingWindow { tokens: 24, full_layers }),
        mla,
        moe,
        num_nextn_predict_layers: match family {
            Family::DeepseekV3 | Family::Glm4Moe => draw.below(2),
            _ => 0,
        },
        ..ModelSpec::ladder(Scale::Smoke, 512)
    };
    // Which transformers reads of tables that all layers share alone.
    if matches!(family, Family::Gemma3 | Family::Olmo3) {
        let locals = spec.local_rope.iter_mut().map(|rope| &mut rope.scaling);
        for scaling in locals.chain([&mut spec.rope_scaling]) {
            if let RopeScaling::Yarn { truncate, .. } = scaling {
                *truncate = true;
            }
        }
    }
    spec.validate().unwrap_or_else(|error| panic!("{family:?}: {error} {spec:?}"));
    spec
}
