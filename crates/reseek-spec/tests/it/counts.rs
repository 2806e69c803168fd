//! Parameters, operations and bytes against the reports (sections 1 and 5 of the facts that were gathered before it began).

use reseek_spec::{ClusterSpec, ModelSpec, PRESETS, Scale, SlidingWindow, preset};
use serde_json::json;

fn of(name: &str) -> ModelSpec {
    preset(name).unwrap()
}

#[test]
fn published_parameters() {
    assert_eq!(of("v3-671b").params().total, 671_026_419_200);
    assert_eq!(of("v2-236b").params().total, 235_741_434_880);
    assert_eq!(of("v2-lite-16b").params().total, 15_706_484_224);
    for (name, billions) in [("v3-671b", 37.552), ("v2-236b", 21.376), ("v2-lite-16b", 2.661)] {
        let active = of(name).params().active as f64 / 1e9;
        assert!((active - billions).abs() < 5e-4, "{name}: {active}");
    }
    assert!((of("v3-671b").params().active_without_embedding as f64 / 1e9 - 36.63).abs() < 0.01);
    assert!((of("v3-671b").params().mtp as f64 / 1e9 - 11.61).abs() < 0.005);
    let llama =
        [("llama-3.1-8b", 8_030_261_248), ("llama-3.1-70b", 70_553_706_496), ("llama-3.1-405b", 405_853_388_800)];
    for (name, total) in llama {
        assert_eq!(of(name).params().total, total, "{name}");
    }
    let qwen = [
        ("r1-distill-qwen-1.5b", 1_777_088_000),
        ("r1-distill-qwen-7b", 7_615_616_512),
        ("r1-distill-qwen-14b", 14_770_033_664),
        ("r1-distill-qwen-32b", 32_763_876_352),
    ];
    for (name, total) in qwen {
        assert_eq!(of(name).params().total, total, "{name}");
    }
}

#[test]
fn published_operations_and_utilisation() {
    let v3 = of("v3-671b");
    assert!((v3.matmul_params() as f64 / 1e9 - 36.518).abs() < 5e-4, "{}", v3.matmul_params());
    let flops = v3.train_flops_per_token(4096);
    assert!((flops.causal / 1e9 - 249.81).abs() < 0.01, "{}", flops.causal);
    assert!((flops.noncausal / 1e9 - 280.51).abs() < 0.01, "{}", flops.noncausal);
    assert!((of("v2-236b").train_flops_per_token(4096).causal / 1e9 - 155.0).abs() < 0.1);
    let cluster = ClusterSpec::h800x2048();
    let tokens = 15360.0 * 4096.0;
    assert!((100.0 * cluster.mfu(flops.causal, tokens, 19.926) - 38.94).abs() < 0.01);
    assert!((100.0 * cluster.mfu(flops.noncausal, tokens, 19.926) - 43.73).abs() < 0.01);
}

#[test]
fn published_cache() {
    assert_eq!(of("v3-671b").kv_bytes_per_token(2), 70_272);
    assert_eq!(of("llama-3.1-405b").kv_bytes_per_token(2), 516_096);
    // Qwen2.5-72B has the 14B's heads in 80 layers: 2·8·128·80 values.
    let qwen_72b = ModelSpec { num_hidden_layers: 80, ..of("r1-distill-qwen-32b") };
    assert_eq!(qwen_72b.kv_bytes_per_token(2), 327_680);
}

#[test]
fn yarn_frequencies_and_scale() {
    let v3 = of("v3-671b");
    let expected = [
        (0, 1.0),
        (10, 5.623413e-2),
        (11, 3.900693e-2),
        (16, 5.5e-3),
        (22, 1.778279e-4),
        (23, 3.333804e-5),
        (31, 3.333804e-6),
    ];
    let got = v3.inv_freq();
    for (i, f) in expected {
        assert!((got[i] / f - 1.0).abs() < 1e-6, "pair {i}: {} for {f}", got[i]);
    }
    assert!((v3.softmax_scale() - 0.135_233_778_860_880_1).abs() < 1e-15);
    assert_eq!(v3.attention_mscale(), 1.0);
    let short = ModelSpec { rope_scaling: reseek_spec::RopeScaling::None, ..v3 };
    assert!((short.softmax_scale() - 192f64.powf(-0.5)).abs() < 1e-15);
}

#[test]
fn experts_of_a_projection_are_neighbours() {
    for scale in Scale::ALL {
        let spec = ModelSpec::ladder(scale, 512);
        spec.validate().unwrap();
        let tensors = spec.tensors();
        let experts = spec.moe.as_ref().unwrap().n_routed_experts;
        let first = tensors.iter().position(|t| t.name.ends_with(".experts.0.up_proj.weight")).unwrap();
        for (expert, tensor) in tensors[first..first + experts].iter().enumerate() {
            assert!(tensor.name.ends_with(&format!(".experts.{expert}.up_proj.weight")), "{}", tensor.name);
        }
        let names: std::collections::BTreeSet<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names.len(), tensors.len());
        ModelSpec::student(scale, 512).validate().unwrap();
    }
}

#[test]
fn every_preset_survives_config_json() {
    for (name, _) in PRESETS {
        let spec = of(name);
        assert_eq!(ModelSpec::from_hf_json(&spec.to_hf_json().to_string()).unwrap(), spec, "{name}");
    }
}

#[test]
fn counts_are_sums_over_the_tensors() {
    for (name, _) in PRESETS {
        let spec = of(name);
        let tensors = spec.tensors();
        let sum = |mtp: bool| -> u64 {
            let of_part = tensors.iter().filter(|t| t.mtp == mtp);
            of_part.map(|t| t.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
        };
        let counts = spec.params();
        assert_eq!((counts.total, counts.mtp), (sum(false), sum(true)), "{name}");
    }
}

/// A config.json of another family, with the keys that decide its counts, and its published number of parameters.
fn counted(config: serde_json::Value) -> ModelSpec {
    ModelSpec::counted_from_hf_json(&config.to_string()).unwrap()
}

#[test]
fn published_parameters_of_other_families() {
    let mixtral = counted(json!({
        "model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8,
        "num_experts_per_tok": 2, "max_position_embeddings": 32768, "sliding_window": null,
    }));
    assert_eq!(mixtral.params().total, 46_702_792_704);
    assert_eq!(mixtral.params().active, 12_879_925_248);
    let mistral = counted(json!({
        "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "max_position_embeddings": 32768, "sliding_window": 4096,
    }));
    assert_eq!(mistral.params().total, 7_241_732_096);
    let qwen3_moe = counted(json!({
        "model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128,
        "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "num_experts": 128,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "max_position_embeddings": 40960, "norm_topk_prob": true, "use_sliding_window": false, "sliding_window": null,
    }));
    assert_eq!(qwen3_moe.params().total, 30_532_122_624);
    assert!((qwen3_moe.params().active as f64 / 1e9 - 3.35).abs() < 0.01);
    let qwen2_moe = counted(json!({
        "model_type": "qwen2_moe", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632,
        "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 60,
        "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
        "max_position_embeddings": 8192,
    }));
    assert_eq!(qwen2_moe.params().total, 14_315_784_192);
    let smollm3 = counted(json!({
        "model_type": "smollm3", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4, "tie_word_embeddings": true,
        "max_position_embeddings": 65536, "use_sliding_window": false, "sliding_window": null,
    }));
    assert_eq!(smollm3.params().total, 3_075_098_624);
    let olmo2 = counted(json!({
        "model_type": "olmo2", "vocab_size": 100352, "hidden_size": 5120, "intermediate_size": 27648,
        "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8, "max_position_embeddings": 4096,
    }));
    assert_eq!(olmo2.params().total, 32_234_279_936);
}

#[test]
fn sliding_windows_bound_what_attention_costs() {
    let whole = of("llama-3.1-8b");
    let windowed = |tokens, full_layers: usize| ModelSpec {
        sliding_window: Some(SlidingWindow { tokens, full_layers: (0..full_layers).collect() }),
        ..whole.clone()
    };
    // Within the window nothing changes; the mean of Σ min(i, w) over a sequence beyond it.
    assert_eq!(windowed(4096, 0).train_flops_per_token(4096), whole.train_flops_per_token(4096));
    let seen: f64 = (0..16384).map(|i| f64::min(i as f64 + 0.5, 4096.0)).sum::<f64>() / 16384.0;
    assert!((windowed(4096, 0).attended(16384.0) / 2.0 - seen).abs() < 1e-6);
    assert_eq!(windowed(4096, 32).attended(16384.0), 16384.0);
    let (some, all) = (windowed(4096, 8).attended(16384.0), windowed(4096, 0).attended(16384.0));
    assert!((some - (0.25 * 16384.0 + 0.75 * all)).abs() < 1e-6);
}
