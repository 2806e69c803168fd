//! Families: what is written is read again, what differs by layer, what is assumed, and what contradicts itself.

use reseek_spec::{Family, Fp8Blocks, ModelSpec, Rope, RopeScaling, Scale, SlidingWindow};
use serde_json::{Value, json};

use crate::drawn::{Draw, drawn};

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
fn numbers_are_read_to_the_last_bit() {
    let mut draw = Draw(3);
    for _ in 0..2000 {
        let mut any = || draw.below(1 << 30) as f64 + draw.below(1 << 30) as f64 / (1u64 << 31) as f64;
        let spec = ModelSpec {
            rope_theta: 1.0 + any(),
            rms_norm_eps: any() / 1e12,
            initializer_range: any() / 1e9,
            ..ModelSpec::ladder(Scale::Smoke, 512)
        };
        assert_eq!(ModelSpec::from_hf_json(&spec.to_hf_json().to_string()).unwrap(), spec);
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

/// transformers writes what the parts of DeepSeek's heads say once more.
#[test]
fn sizes_that_are_said_twice_say_the_same() {
    let spec = ModelSpec::ladder(Scale::Smoke, 512);
    let mla = spec.mla.clone().unwrap();
    let (rope, whole) = (mla.qk_rope_head_dim, mla.qk_nope_head_dim + mla.qk_rope_head_dim);
    let with = |key: &str, value: Value| {
        let mut config = spec.to_hf_json();
        config[key] = value;
        config
    };
    for (key, value) in [("head_dim", rope), ("head_dim", whole), ("qk_head_dim", whole)] {
        assert_eq!(read(&with(key, json!(value))), spec);
        assert_eq!(read(&with(key, Value::Null)), spec);
    }
    for (key, value) in [("head_dim", json!(whole + 1)), ("qk_head_dim", json!(rope)), ("qk_head_dim", json!("12"))] {
        let error = error(&with(key, value.clone()));
        assert!(error.contains(key) && error.contains(value.to_string().trim_matches('"')), "{error}");
    }
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
