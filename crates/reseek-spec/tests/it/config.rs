//! Configurations that must be refused, with the two values that clash and a mend.

use reseek_spec::{ModelSpec, PRESETS, preset};
use serde_json::{Value, json};

fn refused(change: &[(&str, Value)], expect: &[&str]) {
    let (_, text) = PRESETS.iter().find(|(name, _)| *name == "v3-671b").unwrap();
    let mut config: Value = serde_json::from_str(text).unwrap();
    for (key, value) in change {
        match value {
            Value::Null => config.as_object_mut().unwrap().shift_remove(*key),
            value => config.as_object_mut().unwrap().insert(key.to_string(), value.clone()),
        };
    }
    let error = ModelSpec::from_hf_json(&config.to_string()).unwrap_err().to_string();
    for part in expect {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

#[test]
fn impossible_shapes_name_both_values_and_a_mend() {
    refused(&[("num_attention_heads", json!(127))], &["= 127 will not do: it takes", "128"]);
    refused(&[("n_group", json!(7))], &["256", "7", "nearest n_group that divides is 8"]);
    refused(&[("topk_group", json!(9))], &["topk_group = 9", "n_group = 8"]);
    refused(&[("num_experts_per_tok", json!(200))], &["200", "128 experts"]);
    refused(&[("qk_rope_head_dim", json!(63))], &["63", "even"]);
    refused(&[("hidden_size", json!(0))], &["hidden_size = 0"]);
    refused(&[("hidden_size", json!(u64::MAX))], &["hidden_size"]);
    refused(&[("first_k_dense_replace", json!(99))], &["99", "61"]);
    refused(&[("rope_theta", json!(-1.0))], &["rope_theta = -1"]);
}

#[test]
fn unreadable_configurations_say_what_is_missing() {
    refused(&[("model_type", json!("mamba"))], &["mamba", "deepseek_v3", "nothing here reads its", "moe_layer_freq"]);
    refused(&[("model_type", json!("mamba")), ("vocab_size", Value::Null)], &["config.json lacks vocab_size"]);
    refused(&[("model_type", Value::Null)], &["lacks model_type"]);
    refused(&[("kv_lora_rank", Value::Null)], &["lacks kv_lora_rank"]);
    refused(&[("vocab_size", json!("many"))], &["vocab_size", "many", "whole number"]);
    refused(&[("rope_scaling", json!({"type": "longrope"}))], &["longrope", "yarn"]);
    refused(&[("scoring_func", json!("tanh"))], &["tanh", "sigmoid"]);
    for text in ["", "[]", "{", "null", "\u{0}"] {
        assert!(ModelSpec::from_hf_json(text).is_err());
    }
    assert!(preset("v4").unwrap_err().to_string().contains("v3-671b"));
}

#[test]
fn transformers_5_rope_parameters_are_read() {
    let mut config = preset("llama-3.1-8b").unwrap().to_hf_json();
    let object = config.as_object_mut().unwrap();
    object.shift_remove("rope_scaling");
    object.shift_remove("rope_theta");
    assert_eq!(ModelSpec::from_hf_json(&config.to_string()).unwrap(), preset("llama-3.1-8b").unwrap());
}

#[test]
fn mixtures_that_are_not_known_are_refused() {
    let base = json!({
        "model_type": "qwen2_moe", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 40, "max_position_embeddings": 128,
    });
    for (key, value, part) in [
        ("decoder_sparse_step", json!(0), "decoder_sparse_step = 0"),
        ("mlp_only_layers", json!([4]), "mlp_only_layers"),
        ("mlp_only_layers", json!(vec![1; 5]), "5 entries"),
        ("num_experts", json!("8"), "whole number"),
        ("num_local_experts", json!(4), "num_local_experts = 4"),
        ("mlp_bias", json!(true), "mlp_bias"),
    ] {
        let mut config = base.clone();
        config[key] = value;
        let error = ModelSpec::from_hf_json(&config.to_string()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let mut some = base;
    some["mlp_only_layers"] = json!([3, 1]);
    let spec = ModelSpec::from_hf_json(&some.to_string()).unwrap();
    assert_eq!(spec.mixture_layers(), 2);
    assert_eq!(spec.moe.unwrap().mlp_only_layers, [1, 3]);
}
