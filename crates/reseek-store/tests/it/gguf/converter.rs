//! Files of llama.cpp's own converter (fixtures/make_gguf_models.py): each tensor has the values that its name asks for.

use std::path::{Path, PathBuf};

use reseek_spec::{Family, RopeScaling};
use reseek_store::{BlockKind, GgufFile, write_gguf};

use super::models::contents;
use crate::common::Scratch;

const FILES: [(&str, Family); 9] = [
    ("llama", Family::Llama),
    ("mixtral", Family::Mixtral),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("qwen2_moe", Family::Qwen2Moe),
    ("qwen3_moe", Family::Qwen3Moe),
    ("deepseek_v2", Family::DeepseekV2),
    ("deepseek_v3", Family::DeepseekV3),
    ("gemma3_text", Family::Gemma3),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/gguf/{name}.gguf"))
}

fn expected(name: &str, len: usize) -> Vec<f32> {
    let sum: usize = name.bytes().map(usize::from).sum();
    (0..len).map(|i| ((37 * i + sum) % 127) as f32 / 64.0 - 63.0 / 64.0).collect()
}

#[test]
fn tensors_are_those_that_the_converter_was_given() {
    for (name, family) in FILES {
        let file = GgufFile::open(&path(name)).unwrap();
        assert_eq!(file.spec().family, family);
        for entry in file.entries() {
            let values = file.values(&entry.name).unwrap();
            assert!(values == expected(&entry.name, entry.shape.iter().product()), "{name}: {}", entry.name);
        }
        assert_eq!(file.entries().count(), file.spec().tensors().len());
    }
}

#[test]
fn configurations_are_those_that_the_converter_was_given() {
    let spec = |name: &str| GgufFile::open(&path(name)).unwrap().spec().clone();
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!((spec("llama").rope_scaling, spec("llama").rope_theta), (llama3, 500_000.0));
    let v3 = spec("deepseek_v3");
    let RopeScaling::Yarn { factor, mscale, mscale_all_dim, original_max_position_embeddings, .. } = v3.rope_scaling
    else {
        panic!("{:?}", v3.rope_scaling)
    };
    assert_eq!((factor, mscale, mscale_all_dim, original_max_position_embeddings), (4.0, 1.0, 1.0, 16));
    let moe = v3.moe.unwrap();
    assert_eq!((moe.routed_scaling_factor, moe.norm_topk_prob, moe.first_k_dense_replace), (2.5, true, 1));
    let gemma = spec("gemma3_text");
    assert_eq!((gemma.local_rope.unwrap().theta, gemma.rope_theta, gemma.query_pre_attn_scalar), (1e4, 1e6, Some(8.0)));
    let window = gemma.sliding_window.unwrap();
    assert_eq!((window.tokens, window.full_layers), (24, vec![5]));
    assert!(spec("qwen2").tie_word_embeddings && !spec("qwen3").tie_word_embeddings);
    assert_eq!(spec("qwen2_moe").moe.unwrap().shared_expert_intermediate_size, 40);
}

#[test]
fn a_file_of_the_converter_written_anew_has_its_tensors() {
    let scratch = Scratch::new();
    for (name, _) in FILES {
        let file = GgufFile::open(&path(name)).unwrap();
        let own = contents(file.spec(), file.tokenizer());
        let copy = scratch.join(&format!("{name}.gguf"));
        let written = write_gguf(&copy, &own, &file, None).unwrap();
        assert!(written.others.is_empty(), "{:?}", written.others);
        let again = GgufFile::open(&copy).unwrap();
        assert_eq!(again.spec(), file.spec());
        for (a, b) in file.entries().zip(again.entries()) {
            assert_eq!((&a, file.values(&a.name).unwrap()), (&b, again.values(&b.name).unwrap()));
            assert!([BlockKind::F16, BlockKind::F32].contains(&a.kind));
        }
    }
}
