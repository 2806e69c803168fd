//! Every key of a header is obeyed, without effect, or refused by name.

use reseek_spec::{ModelSpec, RopeScaling};
use reseek_store::{GgufFile, StoreError, TokenKind, write_gguf};

use serde_json::Value;

use super::builder::{self, Builder, F32, count, flag, json, list, llama, number, text, texts};
use super::models::{Memory, contents, models, tokenizer};
use crate::common::Scratch;

/// Keys below an architecture's name that llama.cpp knows (gguf-py/gguf/constants.py).
const KNOWN: [&str; 62] = [
    "vocab_size",
    "context_length",
    "embedding_length",
    "embedding_length_out",
    "features_length",
    "block_count",
    "leading_dense_block_count",
    "feed_forward_length",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "use_parallel_residual",
    "tensor_data_layout",
    "expert_count",
    "expert_used_count",
    "expert_shared_count",
    "expert_group_count",
    "expert_group_used_count",
    "expert_weights_scale",
    "expert_weights_norm",
    "expert_gating_func",
    "expert_group_scale",
    "experts_per_group",
    "moe_every_n_layers",
    "nextn_predict_layers",
    "pooling_type",
    "logit_scale",
    "attn_logit_softcapping",
    "router_logit_softcapping",
    "final_logit_softcapping",
    "residual_scale",
    "embedding_scale",
    "interleave_moe_layer_step",
    "swiglu_clamp_exp",
    "hidden_activation",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.max_alibi_bias",
    "attention.clamp_kqv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.causal",
    "attention.q_lora_rank",
    "attention.kv_lora_rank",
    "attention.sliding_window",
    "attention.scale",
    "attention.output_scale",
    "attention.temperature_length",
    "attention.temperature_scale",
    "attention.key_length_mla",
    "attention.shared_kv_layers",
    "attention.sliding_window_pattern",
    "rope.dimension_count",
    "rope.dimension_sections",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_ext_factor",
];

/// Of these, the ones that change nothing whatever they are.
const IDLE: [&str; 2] = ["tensor_data_layout", "attention.layer_norm_epsilon"];

/// And those of which one of two values is the model's.
const FLAGS: [&str; 3] = ["attention.causal", "expert_weights_norm", "use_parallel_residual"];

fn open(file: &Builder) -> Result<GgufFile, StoreError> {
    let scratch = Scratch::new();
    GgufFile::open(&file.write(&scratch.join("a.gguf")))
}

fn spec(file: &Builder) -> ModelSpec {
    open(file).unwrap().spec().clone()
}

fn refusal(file: &Builder) -> String {
    open(file).map(|_| ()).unwrap_err().to_string()
}

/// A file of every architecture, some of them twice: in the order of [`models`].
fn files() -> Vec<(String, Builder)> {
    let scratch = Scratch::new();
    let path = scratch.join("a.gguf");
    let file = |spec: &ModelSpec| {
        write_gguf(&path, &contents(spec, &tokenizer()), &Memory::of(spec), None).unwrap();
        let file = builder::read(&path);
        let (_, name) = file.keys.iter().find(|(key, _)| key == "general.architecture").unwrap();
        (String::from_utf8(name[12..].to_vec()).unwrap(), file)
    };
    models().iter().map(file).collect()
}

/// Whether a value changes the model or is refused, by the name of the key or of what it contradicts.
fn has_effect(file: &mut Builder, plain: &Value, key: &str, value: Vec<u8>) -> bool {
    let before = file.keys.clone();
    let opened = open(file.set(key, value));
    file.keys = before;
    match opened {
        Ok(file) => json(file.spec()) != *plain,
        // Some sizes are refused by the specification, under Hugging Face's name.
        Err(StoreError::Spec { .. } | StoreError::TensorShape { .. } | StoreError::ExtraTensor { .. }) => true,
        Err(error) => {
            let message = error.to_string();
            let architecture = &key[..key.find('.').unwrap() + 1];
            let parts = [architecture, "no tensor", "rope_freqs.weight"];
            assert!(parts.iter().any(|part| message.contains(part)), "{key}: {message}");
            true
        }
    }
}

#[test]
fn no_key_of_an_architecture_is_passed_over() {
    for (architecture, file) in &mut files() {
        let plain = json(&spec(file));
        for rest in KNOWN.into_iter().filter(|key| !IDLE.contains(key)) {
            let key = format!("{architecture}.{rest}");
            let mut effect = |value| has_effect(file, &plain, &key, value);
            if FLAGS.contains(&rest) {
                assert!(effect(flag(true)) || effect(flag(false)), "{key} has no effect");
                continue;
            }
            for value in [count(5), number(0.37), text("odd"), list(5, &[[5, 0, 0, 0]])] {
                assert!(effect(value), "{key} has no effect");
            }
        }
    }
}

#[test]
fn other_keys_are_refused_or_nobodys() {
    let plain = json(&spec(&llama()));
    for key in ["llama.something_new", "tokenizer.ggml.something_new", "tokenizer.ggml.precompiled_charsmap"] {
        assert!(refusal(llama().set(key, count(1))).contains(key));
    }
    for key in ["general.something_new", "quantize.imatrix.file", "mradermacher.quantized_by", "qwen2.block_count"] {
        assert_eq!(json(&spec(llama().set(key, count(1)))), plain, "{key}");
    }
    assert!(refusal(llama().set("general.type", text("adapter"))).contains("general.type"));
}

#[test]
fn values_that_change_nothing_are_read() {
    let plain = json(&spec(&llama()));
    let harmless = [
        ("attention.causal", flag(true)),
        ("pooling_type", count(0)),
        ("logit_scale", number(1.0)),
        ("expert_count", count(0)),
        ("expert_used_count", count(0)),
        ("attention.clamp_kqv", number(0.0)),
        ("attention.scale", number(0.25)),
        ("attention.key_length", count(16)),
        ("attention.value_length", count(16)),
        ("attention.head_count", list(5, &[[2, 0, 0, 0], [2, 0, 0, 0]])),
        ("attention.sliding_window", count(64)),
        ("rope.dimension_count", count(16)),
        ("rope.scaling.type", text("none")),
        ("rope.scaling.factor", number(1.0)),
        ("rope.scaling.attn_factor", number(1.0)),
        ("rope.scaling.finetuned", flag(true)),
        ("rope.scaling.original_context_length", count(32)),
        ("vocab_size", count(8)),
        ("hidden_activation", text("silu")),
    ];
    for (key, value) in harmless {
        assert_eq!(json(&spec(llama().set(&format!("llama.{key}"), value))), plain, "{key}");
    }
    let cases = [
        ("rope.dimension_count", count(8), "llama.rope.dimension_count is 8, and known here is 16"),
        ("vocab_size", count(9), "llama.vocab_size is 9"),
        ("attention.head_count", list(5, &[[2, 0, 0, 0], [4, 0, 0, 0]]), "list of different numbers"),
        ("attention.causal", flag(false), "llama.attention.causal is 0"),
        ("rope.scaling.type", text("longrope"), "\"longrope\""),
        ("rope.scaling.attn_factor", number(2.0), "rope.scaling.attn_factor is 2"),
        ("attention.scale", number(0.5), "attention.scale is 0.5"),
        ("hidden_activation", text("gelu"), "\"gelu\""),
    ];
    for (key, value, part) in cases {
        let error = refusal(llama().set(&format!("llama.{key}"), value));
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

#[test]
fn rotary_keys_become_what_hugging_face_calls_them() {
    let mut yarn = llama();
    yarn.set("llama.rope.scaling.type", text("yarn"))
        .set("llama.rope.scaling.factor", number(4.0))
        .set("llama.rope.scaling.original_context_length", count(16));
    let RopeScaling::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, .. } =
        spec(&yarn).rope_scaling
    else {
        panic!("no YaRN");
    };
    assert_eq!((factor, original_max_position_embeddings, beta_fast, beta_slow), (4.0, 16, 32.0, 1.0));
    assert!(refusal(yarn.set("llama.rope.scaling.yarn_log_multiplier", number(0.1))).contains("yarn_log_multiplier"));
    let factors = |values: &[f32]| {
        let mut file = llama();
        file.tensor("rope_freqs.weight", &[values.len() as u64], F32, values);
        file
    };
    assert_eq!(spec(&factors(&[1.0; 8])).rope_scaling, RopeScaling::None);
    // θ = 10,000, a head of 16, factor 8, low 1, high 4, old context 8192, by the formula of llama.cpp's converter.
    let given = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.681_482_5, 8.0];
    let found = spec(&factors(&given)).rope_scaling;
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, .. } = found else { panic!("{found:?}") };
    assert_eq!((factor, low_freq_factor, high_freq_factor), (8.0, 1.0, 4.0));
    let odd = [1.0, 3.0, 1.0, 2.0, 1.0, 1.0, 1.0, 8.0];
    assert!(refusal(&factors(&odd)).contains("rope_freqs.weight"));
    assert!(refusal(&factors(&[1.0; 4])).contains("rope_freqs.weight"));
    assert_eq!(spec(&llama()).rms_norm_eps, 1e-5, "the decimal that was meant");
}

#[test]
fn rows_and_values_are_hugging_faces() {
    let file = open(&llama()).unwrap();
    let builder = llama();
    let stored = |name: &str| {
        let tensor = builder.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let halves = tensor.bytes.as_chunks::<2>().0.iter();
        halves.map(|&bytes| half::f16::from_le_bytes(bytes).to_f32()).collect::<Vec<_>>()
    };
    let own = stored("blk.0.attn_k.weight");
    let values = file.values("model.layers.0.self_attn.k_proj.weight").unwrap();
    // A head of 16 rows: the file has (pair, half), Hugging Face (half, pair).
    for half in 0..2 {
        for pair in 0..8 {
            let (row, from) = (half * 8 + pair, 2 * pair + half);
            assert_eq!(values[row * 32..][..32], own[from * 32..][..32], "{half}, {pair}");
        }
    }
    assert_eq!(file.values("model.layers.0.self_attn.v_proj.weight").unwrap(), stored("blk.0.attn_v.weight"));
    let blocks = file.blocks("model.layers.1.self_attn.q_proj.weight").unwrap().unwrap();
    assert_eq!(blocks.shape, [32, 32]);
    assert_eq!(blocks.kind.values(&blocks.bytes), file.values("model.layers.1.self_attn.q_proj.weight").unwrap());
    assert!(file.blocks("model.layers.1.self_attn.v_proj.weight").unwrap().is_none());
    assert!(file.values("model.layers.2.self_attn.v_proj.weight").is_err());
    let entry = file.entries().find(|entry| entry.name == "model.layers.1.mlp.down_proj.weight").unwrap();
    assert_eq!((entry.file_name.as_str(), entry.bytes), ("blk.1.ffn_down.weight", 32 * 2 * 34));
}

#[test]
fn a_tokenizer_is_read_with_llama_cpps_defaults() {
    let tokenizer = |file: &Builder| open(file).unwrap().tokenizer().clone();
    let plain = tokenizer(&llama());
    assert!(!plain.add_bos && !plain.add_eos, "byte-level pairs get nothing");
    assert_eq!((plain.bos, plain.eos, plain.eot, plain.pad), (Some(0), Some(1), None, None));
    assert_eq!(plain.eog, [1]);
    assert_eq!(
        (plain.kinds[0], plain.kinds[6], plain.kinds[7]),
        (TokenKind::Control, TokenKind::UserDefined, TokenKind::Unused)
    );
    let mut file = llama();
    file.remove("tokenizer.ggml.bos_token_id").set("tokenizer.ggml.eot_token_id", count(6));
    let without = tokenizer(&file);
    assert_eq!((without.bos, without.eot), (None, Some(6)));
    assert_eq!(without.eog, [1, 6]);
    let spelled = ["<s>", "x", "</s>", "<|im_end|>", "c", "ab", "<mark>", "<spare>"];
    let ends = tokenizer(llama().set("tokenizer.ggml.tokens", texts(&spelled))).eog;
    assert_eq!(ends, [1, 3], "a piece of HTML ends nothing");
    assert!(tokenizer(llama().set("tokenizer.ggml.pre", text("llama-bpe"))).add_bos);
    let said = tokenizer(
        llama().set("tokenizer.ggml.pre", text("llama-bpe")).set("tokenizer.ggml.add_bos_token", flag(false)),
    );
    assert!(!said.add_bos);
    let scores: Vec<[u8; 4]> = (0..8).map(|i| (-(i as f32)).to_le_bytes()).collect();
    let mut file = llama();
    file.set("tokenizer.ggml.model", text("llama"))
        .set("tokenizer.ggml.scores", list(6, &scores))
        .remove("tokenizer.ggml.merges")
        .remove("tokenizer.ggml.pre")
        .remove("tokenizer.ggml.bos_token_id");
    let pieces = tokenizer(&file);
    assert!(pieces.add_bos && pieces.add_space_prefix && pieces.merges.is_empty());
    assert_eq!((pieces.bos, pieces.unk, pieces.scores[3]), (Some(1), Some(0), -3.0));
    assert!(refusal(llama().set("tokenizer.ggml.model", text("t5"))).contains("\"t5\""));
    assert!(refusal(llama().remove("tokenizer.ggml.merges")).contains("tokenizer.ggml.merges"));
    let templates = open(llama().set("tokenizer.chat_template.tool_use", text("{{ tools }}"))).unwrap();
    assert_eq!(templates.chat_template(), Some("{{ messages }}"));
    assert_eq!(templates.templates().named, [("tool_use".to_owned(), "{{ tools }}".to_owned())]);
}
