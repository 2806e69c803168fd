use std::fs;

use reseek_store::{Sidecars, save_checkpoint, verify_dir};
use serde_json::json;

use crate::common::{
    DEEPSEEK_V3, QWEN2_TIED, Scratch, SplitMix, assert_names, borrowed, load_model, sidecars, spec, tensors, tree,
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
    assert_eq!(load_model(scratch.path()).unwrap(), (spec.clone(), tensors.clone()));
    assert_eq!(verify_dir(scratch.path()).unwrap().manifest.meta, meta);
    let Sidecars { generation_config, tokenizer, tokenizer_config, chat_template } = sidecars();
    for (name, bytes) in [
        ("generation_config.json", generation_config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", tokenizer_config),
        ("chat_template.jinja", chat_template.unwrap()),
    ] {
        assert_eq!(fs::read(scratch.join(name)).unwrap(), bytes, "{name}");
    }

    // The next model in this folder has learnt no conversation: the template must not be taken for its own.
    let silent = Sidecars { chat_template: None, ..sidecars() };
    save_checkpoint(scratch.path(), &spec, borrowed(&tensors), &silent, meta).unwrap();
    assert!(!scratch.join("chat_template.jinja").exists());
    verify_dir(scratch.path()).unwrap();
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
            assert_names(&load_model(scratch.path()).unwrap_err(), &[&name, ". "]);
        }
        fs::write(&path, bytes).unwrap();
    }
    load_model(scratch.path()).unwrap();
}
