//! Families: what is written is read again, what differs by layer, and the published configurations' odd keys.

use reseek_spec::{
    Activation, Family, Fp8Blocks, MlaSpec, ModelSpec, MoeSpec, Rope, RopeScaling, Scale, Scoring, SlidingWindow,
};
use serde_json::{Value, json};

/// Numbers that depend on their seed alone.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn flag(&mut self) -> bool {
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
fn drawn(family: Family, seed: u64) -> ModelSpec {
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
    let spec = ModelSpec {
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
    spec.validate().unwrap_or_else(|error| panic!("{family:?}: {error} {spec:?}"));
    spec
}

#[test]
fn what_is_written_is_read_again() {
    for family in Family::ALL {
        for seed in 0..300 {
            let spec = drawn(family, seed);
            let text = spec.to_hf_json().to_string();
            let read = ModelSpec::from_hf_json(&text).unwrap_or_else(|error| panic!("{family:?}: {error} {text}"));
            assert_eq!(read, spec, "{text}");
        }
    }
}

#[test]
fn counts_by_kind_are_sums_over_all_tensors() {
    for family in Family::ALL {
        for seed in 0..40 {
            let spec = drawn(family, seed);
            let tensors = spec.tensors();
            let names: std::collections::BTreeSet<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
            assert_eq!(names.len(), tensors.len());
            let size = |mtp| -> u64 {
                let of_part = tensors.iter().filter(|t| t.mtp == mtp);
                of_part.map(|t| t.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
            };
            assert_eq!((spec.params().total, spec.params().mtp), (size(false), size(true)), "{spec:?}");
        }
    }
}

fn read(config: &Value) -> ModelSpec {
    ModelSpec::from_hf_json(&config.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn error(config: &Value) -> String {
    ModelSpec::from_hf_json(&config.to_string()).unwrap_err().to_string()
}

/// The published config.json of Gemma 3 1B, SmolLM3 3B, GLM 4.5 Air, Qwen3 30B-A3B and a distilled Qwen, shortened to what differs.
#[test]
fn published_configurations_are_read_with_their_odd_keys() {
    let gemma = read(&json!({
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "attn_logit_softcapping": null,
        "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": null,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "initializer_range": 0.02,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
        "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": 512,
        "sliding_window_pattern": 6, "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0", "use_cache": true,
        "vocab_size": 262144,
    }));
    assert_eq!(gemma.params().total, 999_885_952);
    assert!(gemma.tie_word_embeddings && gemma.qk_norm && gemma.hidden_act == Activation::GeluTanh);
    assert_eq!(gemma.eos_token_ids(), [1, 106]);
    assert_eq!((gemma.window_of(0), gemma.window_of(5), gemma.window_of(25)), (Some(512), None, Some(512)));
    assert_eq!((gemma.rotary_of(0), gemma.rotary_of(5)), (Some(1), Some(0)));
    let tables = gemma.rotary_tables();
    assert!((tables[0].inv_freq[1] / 1e6f64.powf(-1.0 / 128.0) - 1.0).abs() < 1e-12);
    assert!((tables[1].inv_freq[1] / 1e4f64.powf(-1.0 / 128.0) - 1.0).abs() < 1e-12);
    assert_eq!((gemma.softmax_scale(), gemma.embedding_scale()), (0.0625, 1152f32.sqrt()));

    let smollm3 = read(&json!({
        "architectures": ["SmolLM3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
        "eos_token_id": 128012, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 11008,
        "max_position_embeddings": 65536, "max_window_layers": 28, "mlp_bias": false, "model_type": "smollm3",
        "no_rope_layer_interval": 4, "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 4,
        "pretraining_tp": 2, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 5000000.0, "sliding_window": null,
        "use_cache": false, "use_sliding_window": false, "vocab_size": 128256, "_flash_attn_2_enabled": true,
    }));
    assert_eq!(smollm3.params().total, 3_075_098_624);
    assert_eq!(smollm3.no_rope_layers, [3, 7, 11, 15, 19, 23, 27, 31, 35]);
    assert_eq!((smollm3.rotary_of(2), smollm3.rotary_of(3), smollm3.sliding_window), (Some(0), None, None));

    let glm = read(&json!({
        "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "attention_bias": true, "attention_dropout": 0.0,
        "pad_token_id": 151329, "eos_token_id": [151329, 151336, 151338], "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 4096, "partial_rotary_factor": 0.5, "initializer_range": 0.02, "intermediate_size": 10944,
        "max_position_embeddings": 131072, "moe_intermediate_size": 1408, "norm_topk_prob": true, "num_attention_heads": 96,
        "n_group": 1, "topk_group": 1, "n_routed_experts": 128, "n_shared_experts": 1, "routed_scaling_factor": 1.0,
        "num_experts_per_tok": 8, "first_k_dense_replace": 1, "num_hidden_layers": 46, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 1000000, "num_nextn_predict_layers": 1,
        "tie_word_embeddings": false, "use_qk_norm": false, "vocab_size": 151552,
    }));
    assert!((glm.params().total as f64 / 1e9 - 106.85).abs() < 0.01, "{}", glm.params().total);
    assert_eq!((glm.rope_dim(), glm.inv_freq().len(), glm.has_output_bias()), (64, 32, false));

    let distilled = read(&json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
        "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960,
        "max_position_embeddings": 131072, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 12,
        "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "use_mrope": false,
        "use_sliding_window": false, "vocab_size": 151936,
    }));
    assert_eq!((distilled.params().total, distilled.sliding_window), (1_777_088_000, None));
}

#[test]
fn families_fill_in_what_is_absent_as_transformers_does() {
    let base = |model_type: &str| {
        json!({
            "model_type": model_type, "vocab_size": 512, "hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 8,
            "num_attention_heads": 16, "max_position_embeddings": 256, "num_experts": 8, "num_experts_per_tok": 2,
        })
    };
    let without_experts = |model_type| {
        let mut config = base(model_type);
        config.as_object_mut().unwrap().retain(|key, _| !key.starts_with("num_experts"));
        config
    };
    let mistral = read(&without_experts("mistral"));
    assert_eq!((mistral.num_key_value_heads, mistral.head_dim, mistral.rms_norm_eps), (8, 8, 1e-6));
    assert_eq!(mistral.sliding_window, Some(SlidingWindow::everywhere(4096)));
    let mixtral = read(&base("mixtral"));
    assert_eq!((mixtral.rms_norm_eps, mixtral.rope_theta, mixtral.sliding_window), (1e-5, 1e6, None));
    let llama = read(&without_experts("llama"));
    assert_eq!((llama.num_key_value_heads, llama.rope_theta, llama.bos_token_id, llama.eos_token_id), (16, 1e4, 1, 2));
    let gemma = read(&without_experts("gemma3_text"));
    assert_eq!((gemma.head_dim, gemma.num_key_value_heads, gemma.tie_word_embeddings), (256, 4, true));
    assert_eq!(gemma.local_rope, Some(Rope { theta: 1e4, scaling: RopeScaling::None }));
    let ministral3 = read(&without_experts("ministral3"));
    assert!(matches!(ministral3.rope_scaling, RopeScaling::Yarn { factor: 16.0, .. }));
    assert_eq!(ministral3.query_scale(16_383), 1.0);
    assert!((ministral3.query_scale(40_000) - (1.0 + 0.1 * 3f64.ln())).abs() < 1e-15);
    let olmo3 = read(&without_experts("olmo3"));
    assert_eq!(olmo3.sliding_window, Some(SlidingWindow { tokens: 4096, full_layers: vec![3, 7] }));
}

#[test]
fn layers_with_and_without_mixtures() {
    let config = json!({
        "model_type": "qwen3_moe", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 256, "num_local_experts": 8,
        "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 2, "mlp_only_layers": [5, 0],
    });
    let spec = read(&config);
    let mixtures: Vec<usize> = (0..6).filter(|&layer| spec.is_mixture(layer)).collect();
    assert_eq!((mixtures, spec.mixture_layers()), (vec![1, 3], 2));
    assert!(spec.tensors().iter().any(|t| t.name == "model.layers.0.mlp.down_proj.weight"));
    assert!(spec.tensors().iter().any(|t| t.name == "model.layers.1.mlp.gate.weight"));
}

#[test]
fn stretched_tables_are_those_of_transformers() {
    let rope = |scaling| Rope { theta: 1e4, scaling };
    let plain = rope(RopeScaling::None).inv_freq(64);
    assert_eq!(rope(RopeScaling::Dynamic { factor: 4.0 }).inv_freq(64), plain);
    assert_eq!(rope(RopeScaling::Linear { factor: 4.0 }).inv_freq(64)[3], plain[3] / 4.0);
    let config = |rope: Value| {
        json!({
            "model_type": "llama", "vocab_size": 512, "hidden_size": 512, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 8, "max_position_embeddings": 4096, "rope_parameters": rope,
        })
    };
    // attention_factor alone; without it 0.1·ln(factor) + 1; mscale counts beside mscale_all_dim alone.
    let mscale = |rope: Value| read(&config(rope)).attention_mscale();
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024});
    let with = |extra: Value| {
        let mut rope = yarn.clone();
        rope.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        mscale(rope)
    };
    let usual = 0.1 * 4f64.ln() + 1.0;
    assert_eq!(with(json!({})), usual);
    assert_eq!(with(json!({"attention_factor": 1.5})), 1.5);
    assert_eq!(with(json!({"mscale": 0.707})), usual);
    assert_eq!(with(json!({"mscale_all_dim": 0.707})), usual);
    assert_eq!(with(json!({"mscale": 0.707, "mscale_all_dim": 0.707})), 1.0);
    // Without the old length it is max_position_embeddings.
    let spec = read(&config(json!({"rope_type": "yarn", "factor": 4.0})));
    let RopeScaling::Yarn { original_max_position_embeddings, .. } = spec.rope_scaling else { panic!("no yarn") };
    assert_eq!(original_max_position_embeddings, 4096);
}

#[test]
fn contradictions_name_both_sides() {
    let llama = json!({
        "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 8, "max_position_embeddings": 4096,
    });
    let changed = |changes: Value| {
        let mut config = llama.clone();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        error(&config)
    };
    let check = |changes: Value, parts: &[&str]| {
        let error = changed(changes);
        parts.iter().for_each(|part| assert!(error.contains(part), "{error} lacks {part}"));
    };
    check(
        json!({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"type": "linear", "factor": 4.0}}),
        &["rope_parameters", "rope_scaling", "Linear"],
    );
    check(json!({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 1e4}), &["rope_theta = 5", "10000"]);
    check(json!({"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 4.0}}), &["linear", "yarn"]);
    check(json!({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}), &["longrope", "llama3"]);
    check(json!({"hidden_act": "gelu"}), &["hidden_act = gelu", "silu", "gelu_pytorch_tanh"]);
    check(json!({"layer_types": vec!["full_attention"; 3]}), &["layer_types with 3", "num_hidden_layers = 4"]);
    check(json!({"layer_types": vec!["chunked_attention"; 4]}), &["chunked_attention", "full_attention"]);
    check(json!({"layer_types": vec!["sliding_attention"; 4]}), &["4 of sliding_attention", "sliding_window"]);
    check(json!({"sliding_window": 64}), &["sliding_window = 64", "llama"]);
    check(json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor = 0.5", "glm4_moe"]);
    check(json!({"attention_multiplier": 0.1}), &["attention_multiplier = 0.1", "llama"]);
    check(json!({"text_config": {}, "model_type": "gemma3"}), &["gemma3", "text_config"]);
    check(json!({"model_type": "deepseek_v2", "kv_lora_rank": 8}), &["lacks qk_nope_head_dim"]);
}

#[test]
fn formats_of_tensors_are_known_or_refused() {
    let with = |form: Value| {
        let mut config = ModelSpec::ladder(Scale::Smoke, 512).to_hf_json();
        config["quantization_config"] = form;
        config
    };
    let fp8 = with(Fp8Blocks::V3.to_hf_json());
    assert_eq!(read(&fp8), ModelSpec::ladder(Scale::Smoke, 512));
    assert_eq!(Fp8Blocks::from_hf_json(&fp8.to_string()).unwrap(), Some(Fp8Blocks::V3));
    assert_eq!(Fp8Blocks::from_hf_json(&with(Value::Null).to_string()).unwrap(), None);
    let bare = with(json!({"quant_method": "fp8"})).to_string();
    assert_eq!(Fp8Blocks::from_hf_json(&bare).unwrap(), Some(Fp8Blocks::V3));
    for (form, part) in [
        (json!({"quant_method": "gptq", "bits": 4}), "quant_method = gptq"),
        (json!({"quant_method": "fp8", "weight_block_size": [128]}), "[128]"),
        (json!({"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e5m2"}), "fmt = e5m2"),
        (json!({"quant_method": "fp8", "weight_block_size": [128, 128], "zero": 1}), "zero = 1"),
        (json!({"bits": 4}), "quantization_config.quant_method"),
    ] {
        assert!(error(&with(form.clone())).contains(part), "{}", error(&with(form)));
    }
    let counted = ModelSpec::counted_from_hf_json(&with(json!({"quant_method": "gptq"})).to_string());
    assert!(counted.is_ok());
}

/// Some value of any kind, most often one that means something somewhere.
fn any_value(draw: &mut Draw, depth: usize) -> Value {
    const TEXTS: [&str; 12] = [
        "silu",
        "gelu_pytorch_tanh",
        "yarn",
        "linear",
        "default",
        "llama3",
        "greedy",
        "group_limited_greedy",
        "full_attention",
        "sliding_attention",
        "fp8",
        "",
    ];
    match draw.below(9) {
        0 => Value::Null,
        1 => json!(draw.flag()),
        2 => json!(draw.below(9)),
        3 => json!(1u64 << draw.below(40)),
        4 => json!((draw.below(1 << 30) as f64).exp2().min(1e300) / 3.0),
        5 => json!(draw.below(1 << 30) as f64 / 7e8),
        6 => json!(TEXTS[draw.below(TEXTS.len())]),
        7 if depth > 0 => (0..draw.below(9)).map(|_| any_value(draw, depth - 1)).collect(),
        _ => json!(-1.0 / (1 + draw.below(1000)) as f64),
    }
}

#[test]
fn altered_configurations_are_refused_or_written_as_they_are_read() {
    let mut draw = Draw(7);
    let mut read = 0;
    for family in Family::ALL {
        for seed in 0..1500 {
            let mut config = drawn(family, seed % 40).to_hf_json();
            for _ in 0..=draw.below(3) {
                let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
                let key = &keys[draw.below(keys.len())];
                if draw.below(4) == 0 {
                    config.as_object_mut().unwrap().shift_remove(key);
                    continue;
                }
                let target = match &mut config[key.as_str()] {
                    Value::Object(inner) if draw.flag() => {
                        let keys: Vec<String> = inner.keys().cloned().collect();
                        &mut inner[keys[draw.below(keys.len())].as_str()]
                    }
                    target => target,
                };
                *target = any_value(&mut draw, 2);
            }
            let text = config.to_string();
            let _ = ModelSpec::counted_from_hf_json(&text).map(|spec| spec.params());
            let Ok(spec) = ModelSpec::from_hf_json(&text) else { continue };
            let again = spec.to_hf_json().to_string();
            assert_eq!(ModelSpec::from_hf_json(&again).unwrap_or_else(|error| panic!("{error} {text} {again}")), spec);
            read += 1;
        }
    }
    assert!(read > 2000, "{read} of the altered configurations are read");
}

#[test]
fn hostile_configurations_are_answered_at_once() {
    let base = drawn(Family::Smollm3, 3).to_hf_json();
    let mut cases: Vec<String> = Vec::new();
    for (key, value) in base.as_object().unwrap() {
        for wrong in [json!(0), json!(-1), json!(0.5), json!(1e300), json!(u64::MAX), json!("x"), json!([]), json!({})]
        {
            let mut config = base.clone();
            config[key] = wrong;
            cases.push(config.to_string());
        }
        assert!(value.is_null() || !key.is_empty());
    }
    for (key, value) in [
        ("num_hidden_layers", json!(1_000_000_000)),
        ("eos_token_id", json!(vec![1; 100_000])),
        ("layer_types", json!(vec!["full_attention"; 200_000])),
        ("no_rope_layers", json!(vec![1; 500_000])),
    ] {
        let mut config = base.clone();
        config[key] = value;
        assert!(ModelSpec::from_hf_json(&config.to_string()).is_err(), "{key}");
    }
    cases.push(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    cases.push(format!("{{\"model_type\": {}1{}}}", "{\"a\":".repeat(1000), "}".repeat(1000)));
    cases.push(" ".repeat(5 << 20));
    for case in cases {
        // Some of these are a model: a bias more, another base.
        if let Ok(spec) = ModelSpec::from_hf_json(&case) {
            spec.validate().unwrap();
        }
    }
}
