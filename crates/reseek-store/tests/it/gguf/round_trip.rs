//! What is written is read again: the same model, the same values, the same blocks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use reseek_spec::{Family, ModelSpec};
use reseek_store::{
    BlockKind, GgufContents, GgufFile, GgufSource, GgufTemplates, GgufTokenizer, StoreError, TokenKind, TokenizerModel,
    write_gguf,
};
use serde_json::{Value, json};

use super::builder;
use crate::common::{Scratch, values};

/// A model in memory.
struct Memory(BTreeMap<String, Vec<f32>>);

impl Memory {
    /// Values that are whole in F16, and in Q8_0's and Q4_0's blocks no more than near.
    fn of(spec: &ModelSpec) -> Self {
        let tensors = spec.tensors().into_iter().enumerate();
        Self(tensors.map(|(i, t)| (t.name, values(t.shape.iter().product(), i as u64))).collect())
    }
}

impl GgufSource for Memory {
    fn values(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        Ok(self.0[name].clone())
    }
}

/// A tokenizer of 30 tokens, for 32 rows.
fn tokenizer() -> GgufTokenizer {
    let tokens: Vec<String> = (0..30).map(|i| format!("t{i}")).collect();
    GgufTokenizer {
        model: TokenizerModel::BytePairs,
        kinds: (0..30).map(|i| if i < 2 { TokenKind::Control } else { TokenKind::Normal }).collect(),
        control: (0..30).map(|i| i < 2).collect(),
        scores: Vec::new(),
        merges: vec!["t t2".to_owned()],
        pre: "gpt-2".to_owned(),
        bos: Some(0),
        eos: Some(1),
        eot: None,
        eog: vec![1],
        pad: Some(1),
        unk: None,
        add_bos: true,
        add_eos: false,
        add_space_prefix: false,
        tokens,
    }
}

fn merged(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

/// Small models of the families that are written.
fn models() -> Vec<ModelSpec> {
    let base = json!({
        "vocab_size": 32, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
    });
    let yarn = |more: Value| {
        let base = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32});
        json!({"rope_scaling": merged(base, more)})
    };
    let llama3 = json!({"rope_scaling": {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }});
    let latent = json!({
        "q_lora_rank": 48, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24,
        "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
    });
    let latent = |more: Value| merged(latent.clone(), more);
    let v3 = latent(json!({"model_type": "deepseek_v3", "scoring_func": "sigmoid", "topk_method": "noaux_tc"}));
    let lite = json!({"model_type": "deepseek_v2", "scoring_func": "softmax", "q_lora_rank": null, "topk_method": "greedy",
                      "n_group": 1, "topk_group": 1, "norm_topk_prob": false, "routed_scaling_factor": 1.0});
    let mscale = |m: f64| yarn(json!({"mscale": m, "mscale_all_dim": m, "beta_fast": 32, "beta_slow": 1}));
    let mixture = json!({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32});
    let gemma = |more: Value| {
        let base = json!({
            "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 24,
            "tie_word_embeddings": true,
        });
        merged(base, more)
    };
    let families = [
        json!({"model_type": "llama", "tie_word_embeddings": true}),
        merged(json!({"model_type": "llama"}), llama3),
        json!({"model_type": "qwen2", "tie_word_embeddings": true}),
        merged(json!({"model_type": "qwen2"}), yarn(json!({}))),
        json!({"model_type": "qwen3"}),
        v3.clone(),
        merged(merged(v3.clone(), mscale(1.0)), json!({"num_nextn_predict_layers": 1})),
        merged(latent(lite), mscale(0.707)),
        json!({"model_type": "llama", "attention_bias": true, "mlp_bias": true, "rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
        json!({"model_type": "mistral", "sliding_window": 24}),
        json!({"model_type": "mixtral", "sliding_window": null, "num_local_experts": 4, "num_experts_per_tok": 2}),
        merged(
            mixture.clone(),
            json!({"model_type": "qwen2_moe", "shared_expert_intermediate_size": 96, "norm_topk_prob": false}),
        ),
        merged(mixture, json!({"model_type": "qwen3_moe", "norm_topk_prob": true})),
        gemma(json!({"num_hidden_layers": 7, "rope_scaling": {"rope_type": "linear", "factor": 8.0}})),
        gemma(json!({"layer_types": ["full_attention", "sliding_attention"], "rope_local_base_freq": 5000.0})),
    ];
    let spec = |more: Value| ModelSpec::from_hf_json(&merged(base.clone(), more).to_string()).unwrap();
    families.into_iter().map(spec).collect()
}

fn contents<'a>(spec: &'a ModelSpec, tokenizer: &'a GgufTokenizer) -> GgufContents<'a> {
    static TEMPLATES: LazyLock<GgufTemplates> = LazyLock::new(|| GgufTemplates {
        plain: Some("{{ messages }}".to_owned()),
        named: vec![("tools".to_owned(), "{{ tools }}".to_owned())],
    });
    let templates = &*TEMPLATES;
    GgufContents { spec, tokenizer, templates, metadata: &[("name", "small")] }
}

#[test]
fn a_model_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    for (i, spec) in models().iter().enumerate() {
        let source = Memory::of(spec);
        for kind in [None, Some(BlockKind::F16), Some(BlockKind::Q8_0), Some(BlockKind::Q4_0)] {
            let path = scratch.join(&format!("{i}.gguf"));
            let written = write_gguf(&path, &contents(spec, &tokenizer()), &source, kind).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), written.entry.bytes);
            let file = GgufFile::open(&path).unwrap();
            let expected = ModelSpec { num_nextn_predict_layers: 0, ..spec.clone() };
            assert_eq!(*file.spec(), expected);
            let is_special = spec.num_nextn_predict_layers > 0 || spec.family == Family::Mistral;
            assert_eq!(written.notes.len(), usize::from(is_special), "{:?}", written.notes);
            for entry in file.entries() {
                let (got, want) = (file.values(&entry.name).unwrap(), &source.0[&entry.name]);
                let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Of the two halves of kv_b_proj the list has the form of the first.
                let is_joined = kind.is_some() && entry.name.ends_with("kv_b_proj.weight");
                let allowed = match if is_joined { kind.unwrap() } else { entry.kind } {
                    BlockKind::Q8_0 => 0.005,
                    BlockKind::Q4_0 => 0.13,
                    _ => 0.0,
                };
                assert!(got.len() == want.len() && worst <= allowed, "{} {:?}: {worst}", entry.name, entry.kind);
            }
            check_tokenizer(&file);
        }
    }
}

fn check_tokenizer(file: &GgufFile) {
    let (got, want) = (file.tokenizer(), tokenizer());
    assert_eq!(got.tokens[..30], want.tokens);
    assert_eq!(got.tokens[30..], ["[PAD30]", "[PAD31]"]);
    assert_eq!((got.kinds[30], got.add_bos, got.pad), (TokenKind::Unused, true, Some(1)));
    assert_eq!((&got.merges, &got.pre, &got.eog), (&want.merges, &want.pre, &want.eog));
    assert_eq!(file.templates(), contents(file.spec(), got).templates);
}

#[test]
fn a_file_written_from_a_file_is_the_same_bytes() {
    let scratch = Scratch::new();
    for (i, spec) in models().iter().enumerate() {
        for kind in [BlockKind::F16, BlockKind::Q8_0, BlockKind::Q4_0] {
            let [first, second] = ["first", "second"].map(|name| scratch.join(&format!("{name}-{i}.gguf")));
            write_gguf(&first, &contents(spec, &tokenizer()), &Memory::of(spec), Some(kind)).unwrap();
            let file = GgufFile::open(&first).unwrap();
            let again = contents(file.spec(), file.tokenizer());
            write_gguf(&second, &again, &file, Some(kind)).unwrap();
            assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "{i}, {kind:?}");
        }
    }
}

#[test]
fn blocks_that_are_only_read_are_copied() {
    let scratch = Scratch::new();
    let mut file = builder::llama();
    let q4_1: Vec<u8> = (0..64 * 20).map(|i| if i % 20 == 1 || i % 20 == 3 { 60 } else { i as u8 }).collect();
    for tensor in
        file.tensors.iter_mut().filter(|t| t.name.ends_with("attn_q.weight") || t.name.ends_with("ffn_up.weight"))
    {
        tensor.kind = 3;
        tensor.bytes = q4_1[..tensor.shape[0] as usize * 20].to_vec();
    }
    let first = GgufFile::open(&file.write(&scratch.join("first.gguf"))).unwrap();
    let again = contents(first.spec(), first.tokenizer());
    let path = scratch.join("second.gguf");
    let written = write_gguf(&path, &again, &first, None).unwrap();
    assert!(written.others.is_empty());
    let second = GgufFile::open(&path).unwrap();
    for entry in first.entries() {
        assert_eq!(first.values(&entry.name).unwrap(), second.values(&entry.name).unwrap(), "{}", entry.name);
        let blocks = |file: &GgufFile| file.blocks(&entry.name).unwrap().map(|tensor| (tensor.kind, tensor.bytes));
        assert_eq!(blocks(&first), blocks(&second), "{}", entry.name);
    }
    let eight = write_gguf(&path, &again, &first, Some(BlockKind::Q8_0)).unwrap();
    assert!(eight.others.is_empty());
    assert!(
        GgufFile::open(&path).unwrap().entries().all(|entry| entry.shape.len() == 1 || entry.kind == BlockKind::Q8_0)
    );
}

#[test]
fn a_value_beyond_a_kinds_range_is_named_and_nothing_is_written() {
    let scratch = Scratch::new();
    let spec = &models()[0];
    let path = scratch.join("a.gguf");
    let mut source = Memory::of(spec);
    source.0.get_mut("model.layers.1.mlp.up_proj.weight").unwrap()[64] = 1e9;
    for kind in [BlockKind::F16, BlockKind::Q8_0] {
        let error = write_gguf(&path, &contents(spec, &tokenizer()), &source, Some(kind)).unwrap_err().to_string();
        for part in ["a.gguf", "1000000000", "blk.1.ffn_up.weight"] {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
        assert!(fs::read_dir(scratch.path()).unwrap().next().is_none());
    }
    write_gguf(&path, &contents(spec, &tokenizer()), &source, None).unwrap();
}

#[test]
fn matrices_that_fill_no_blocks_are_named() {
    let scratch = Scratch::new();
    let spec = &models()[5];
    let path = scratch.join("a.gguf");
    let written = write_gguf(&path, &contents(spec, &tokenizer()), &Memory::of(spec), Some(BlockKind::Q4_0)).unwrap();
    // Rows of 48 values: q_b_proj; of 16: the keys' part of kv_b_proj.
    let names: Vec<&str> = written.others.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"blk.0.attn_q_b.weight") && names.contains(&"blk.1.attn_k_b.weight"), "{names:?}");
    assert!(written.others.iter().all(|(_, kind)| *kind == BlockKind::F16));
    let file = GgufFile::open(&path).unwrap();
    let kind = |name: &str| file.entries().find(|entry| entry.name == name).unwrap().kind;
    assert_eq!(kind("model.layers.1.mlp.gate.weight"), BlockKind::F32);
    assert_eq!(kind("model.layers.1.mlp.experts.3.up_proj.weight"), BlockKind::Q4_0);
}

#[test]
fn a_model_that_llama_cpp_cannot_compute_is_refused_and_nothing_is_written() {
    let scratch = Scratch::new();
    let path = scratch.join("a.gguf");
    let refuse = |spec: &ModelSpec, tokenizer: &GgufTokenizer, kind: Option<BlockKind>, part: &str| {
        let error = write_gguf(&path, &contents(spec, tokenizer), &Memory::of(spec), kind).unwrap_err().to_string();
        assert!(error.contains(part), "{error:?} lacks {part:?}");
        assert!(fs::read_dir(scratch.path()).unwrap().next().is_none());
    };
    let (llama, v3) = (&models()[0], &models()[5]);
    refuse(llama, &tokenizer(), Some(BlockKind::Q4_1), "Q4_1 is not written");
    let mut halves = v3.clone();
    halves.mla.as_mut().unwrap().rope_interleave = false;
    refuse(&halves, &tokenizer(), None, "rope_interleave");
    let mut deep = v3.clone();
    deep.num_hidden_layers = 27;
    refuse(&deep, &tokenizer(), None, "27 layers and q_lora_rank");
    let mut many = tokenizer();
    many.tokens.extend((30..40).map(|i| format!("t{i}")));
    many.kinds.extend([TokenKind::Normal; 10]);
    refuse(llama, &many, None, "40 tokens");
    let mut twice = tokenizer();
    twice.tokens[9] = "t8".to_owned();
    refuse(llama, &twice, None, "\"t8\" is there twice");
    let mut outside = tokenizer();
    outside.eos = Some(30);
    refuse(llama, &outside, None, "the eos token is 30");
}

#[test]
fn older_and_newer_forms_of_latents_and_experts_are_read() {
    let scratch = Scratch::new();
    let spec = &models()[5];
    let source = Memory::of(spec);
    let path = scratch.join("a.gguf");
    write_gguf(&path, &contents(spec, &tokenizer()), &source, None).unwrap();
    let mut file = builder::read(&path);
    for layer in 0..2 {
        let joined = &source.0[&format!("model.layers.{layer}.self_attn.kv_b_proj.weight")];
        file.tensors.retain(|t| {
            t.name != format!("blk.{layer}.attn_k_b.weight") && t.name != format!("blk.{layer}.attn_v_b.weight")
        });
        file.tensor(&format!("blk.{layer}.attn_kv_b.weight"), &[160, 32], builder::F32, joined);
    }
    for key in ["key_length_mla", "value_length_mla"] {
        file.remove(&format!("deepseek2.attention.{key}"));
    }
    file.set("deepseek2.attention.key_length", builder::count(24))
        .set("deepseek2.attention.value_length", builder::count(24));
    // Gate and up of the one mixture's experts under each other.
    let take = |file: &mut builder::Builder, name: &str| {
        let at = file.tensors.iter().position(|tensor| tensor.name == name).unwrap();
        file.tensors.remove(at).bytes
    };
    let [gate, up] = ["gate", "up"].map(|part| take(&mut file, &format!("blk.1.ffn_{part}_exps.weight")));
    let one = gate.len() / 4;
    let both: Vec<u8> = (0..4).flat_map(|e| [&gate[e * one..][..one], &up[e * one..][..one]].concat()).collect();
    let (name, shape) = ("blk.1.ffn_gate_up_exps.weight".to_owned(), vec![4, 64, 64]);
    file.tensors.push(builder::Tensor { name, shape, kind: builder::F32, bytes: both });
    let older = GgufFile::open(&file.write(&scratch.join("b.gguf"))).unwrap();
    assert_eq!(older.spec(), spec);
    for entry in older.entries() {
        assert_eq!(older.values(&entry.name).unwrap(), source.0[&entry.name], "{}", entry.name);
    }
}
