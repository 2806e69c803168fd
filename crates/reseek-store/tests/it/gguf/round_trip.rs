//! What is written is read again: the same model, the same values, the same blocks.

use std::fs;

use reseek_spec::{Family, ModelSpec};
use reseek_store::{BlockKind, GgufFile, GgufTokenizer, TokenKind, write_gguf};

use super::builder;
use super::models::{Memory, contents, models, tokenizer};
use crate::common::Scratch;

#[test]
fn a_model_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    for (i, spec) in models().iter().enumerate() {
        let source = Memory::of(spec);
        for kind in [None].into_iter().chain(BlockKind::WRITTEN.map(Some)) {
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
                    BlockKind::Q4_0 | BlockKind::Q4K => 0.13,
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
        for kind in BlockKind::WRITTEN {
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
