use std::fs;

use reseek_store::{load_checkpoint, load_model, save_checkpoint};
use serde_json::json;

use crate::common::{
    DEEPSEEK_V3, QWEN2_TIED, Scratch, SplitMix, assert_names, borrowed, sidecars, spec, tensors, tree,
};

#[test]
fn a_checkpoint_comes_back_whole() {
    let scratch = Scratch::new();
    let spec = spec(DEEPSEEK_V3);
    let tensors = tensors(&spec);
    let meta = json!({"stage": "pretrain", "step": 300});
    save_checkpoint(scratch.path(), &spec, borrowed(&tensors), &sidecars(), meta.clone()).unwrap();
    let names: Vec<String> = tree(scratch.path()).into_keys().collect();
    let expected = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, expected);
    let loaded = load_checkpoint(scratch.path()).unwrap();
    assert_eq!(loaded.spec, spec);
    assert_eq!(loaded.tensors, tensors);
    assert_eq!(loaded.sidecars, sidecars());
    assert_eq!(loaded.meta, meta);
}

#[test]
fn one_flipped_bit_in_any_file_is_found_before_use() {
    let scratch = Scratch::new();
    let spec = spec(QWEN2_TIED);
    save_checkpoint(scratch.path(), &spec, borrowed(&tensors(&spec)), &sidecars(), json!({})).unwrap();
    let mut random = SplitMix(11);
    for (name, bytes) in tree(scratch.path()) {
        let path = scratch.join(&name);
        let arbitrary = (0..20).map(|_| random.below(bytes.len()));
        for at in [0, bytes.len() - 1].into_iter().chain(arbitrary.collect::<Vec<_>>()) {
            let mut other = bytes.clone();
            other[at] ^= 1 << random.below(8);
            fs::write(&path, other).unwrap();
            assert_names(&load_checkpoint(scratch.path()).unwrap_err(), &[&name, ". "]);
            assert!(load_model(scratch.path()).is_err(), "{name} at {at}");
        }
        fs::write(&path, bytes).unwrap();
    }
    load_checkpoint(scratch.path()).unwrap();
}

#[test]
fn a_folder_without_its_tokenizer_is_not_a_checkpoint() {
    let scratch = Scratch::new();
    let spec = spec(QWEN2_TIED);
    reseek_store::save_model(scratch.path(), &spec, borrowed(&tensors(&spec))).unwrap();
    assert_names(&load_checkpoint(scratch.path()).unwrap_err(), &["generation_config.json", "No such file"]);
    fs::write(scratch.join("generation_config.json"), b"{}").unwrap();
    assert_names(&load_checkpoint(scratch.path()).unwrap_err(), &["generation_config.json", "not listed"]);
}
