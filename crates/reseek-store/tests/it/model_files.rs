use std::fs;
use std::path::Path;

use reseek_spec::ModelSpec;
use reseek_store::{StoreError, save_checkpoint};
use serde_json::{Value, json};

use crate::common::{
    DEEPSEEK_V3, LLAMA, NamedTensor, QWEN2_TIED, Scratch, assert_names, borrowed, foreign, load_model, sidecars, spec,
    tensors, tree,
};

fn save<'a>(
    dir: &Path,
    spec: &ModelSpec,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<(), StoreError> {
    save_checkpoint(dir, spec, tensors, &sidecars(), json!({})).map(drop)
}

#[test]
fn every_family_comes_back_the_same_and_with_the_same_bytes() {
    for config in [DEEPSEEK_V3, LLAMA, QWEN2_TIED] {
        let scratch = Scratch::new();
        let spec = spec(config);
        let tensors = tensors(&spec);
        save(&scratch.join("a"), &spec, borrowed(&tensors)).unwrap();
        let (spec_back, back) = load_model(&scratch.join("a")).unwrap();
        assert_eq!(spec_back, spec);
        assert_eq!(back, tensors);
        let mut reversed: Vec<_> = borrowed(&tensors).collect();
        reversed.reverse();
        save(&scratch.join("b"), &spec, reversed).unwrap();
        assert_eq!(tree(&scratch.join("a")), tree(&scratch.join("b")));
    }
}

#[test]
fn folders_of_others_are_read_in_every_format() {
    for (config, dtype) in [(DEEPSEEK_V3, "BF16"), (LLAMA, "F16"), (QWEN2_TIED, "F32")] {
        let scratch = Scratch::new();
        let spec = spec(config);
        let tensors = tensors(&spec);
        foreign(scratch.path(), config, "model.safetensors", &tensors, dtype);
        assert_eq!(load_model(scratch.path()).unwrap(), (spec, tensors));
    }
}

#[test]
fn shards_are_put_together() {
    let scratch = Scratch::new();
    let spec = spec(DEEPSEEK_V3);
    let tensors = tensors(&spec);
    let (first, second) = tensors.split_at(tensors.len() / 2);
    foreign(scratch.path(), DEEPSEEK_V3, "model-00001-of-000002.safetensors", first, "BF16");
    foreign(scratch.path(), DEEPSEEK_V3, "model-00002-of-000002.safetensors", second, "F32");
    let mut map = serde_json::Map::new();
    for (part, file) in [(first, "model-00001-of-000002.safetensors"), (second, "model-00002-of-000002.safetensors")] {
        map.extend(part.iter().map(|(name, ..)| (name.clone(), json!(file))));
    }
    let index = |map: &serde_json::Map<String, Value>| {
        let text = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        fs::write(scratch.join("model.safetensors.index.json"), text).unwrap();
    };
    index(&map);
    assert_eq!(load_model(scratch.path()).unwrap(), (spec, tensors.clone()));

    let last = &tensors[tensors.len() - 1].0;
    map[last] = json!("model-00001-of-000002.safetensors");
    index(&map);
    assert_names(&load_model(scratch.path()).unwrap_err(), &["index.json", last, "model-00001", "lacks it", ". "]);
    map[last] = json!("model-00003-of-000002.safetensors");
    index(&map);
    assert_names(&load_model(scratch.path()).unwrap_err(), &["model-00003-of-000002.safetensors", "No such file"]);
    for hostile in ["../model.safetensors", "/etc/hostname"] {
        map[last] = json!(hostile);
        index(&map);
        assert!(matches!(load_model(scratch.path()).unwrap_err(), StoreError::Name { .. }));
    }
    // What is in the files counts, as in transformers.
    map.remove(last);
    index(&map);
    assert_eq!(load_model(scratch.path()).unwrap().1, tensors);
    fs::write(scratch.join("model.safetensors.index.json"), "{\"weight_map\": 3}").unwrap();
    assert_names(&load_model(scratch.path()).unwrap_err(), &["index.json", "The index is cut short"]);
}

/// The error of loading `config`'s model after `change`.
fn changed(config: &str, change: impl FnOnce(&mut Vec<NamedTensor>)) -> Result<usize, StoreError> {
    let scratch = Scratch::new();
    let mut list = tensors(&spec(config));
    change(&mut list);
    foreign(scratch.path(), config, "model.safetensors", &list, "F32");
    load_model(scratch.path()).map(|(_, tensors)| tensors.len())
}

fn remove(list: &mut Vec<NamedTensor>, part: &str) -> Vec<NamedTensor> {
    let (gone, left) = std::mem::take(list).into_iter().partition(|(name, ..)| name.contains(part));
    *list = left;
    gone
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named_with_their_shapes() {
    let error = changed(LLAMA, |t| drop(remove(t, "layers.1.mlp.up_proj"))).unwrap_err();
    assert_names(&error, &["model.safetensors", "model.layers.1.mlp.up_proj.weight", "[24, 16]", "missing", ". "]);

    let error =
        changed(LLAMA, |t| t.push(("model.layers.2.mlp.up_proj.weight".into(), vec![1], vec![0.0]))).unwrap_err();
    assert_names(&error, &["model.layers.2.mlp.up_proj.weight", "[1]", "not part of the model", "num_hidden_layers"]);

    let error = changed(LLAMA, |t| t[0].1.reverse()).unwrap_err();
    assert_names(&error, &["model.embed_tokens.weight", "[16, 40]", "[40, 16]", "Weights and config.json"]);

    let error = changed(LLAMA, |t| drop(remove(t, "lm_head"))).unwrap_err();
    assert_names(&error, &["lm_head.weight", "set tie_word_embeddings"]);
}

#[test]
fn what_real_folders_hold_beside_the_model_is_ignored() {
    let add = |name: &'static str, shape: Vec<usize>| {
        let len = shape.iter().product();
        move |list: &mut Vec<NamedTensor>| list.push((name.to_owned(), shape, vec![0.5; len]))
    };
    let count = |config| tensors(&spec(config)).len();
    let old = changed(LLAMA, add("model.layers.0.self_attn.rotary_emb.inv_freq", vec![2]));
    assert_eq!(old.unwrap(), count(LLAMA));
    for copy in ["model.layers.2.embed_tokens.weight", "model.layers.2.shared_head.head.weight"] {
        assert_eq!(changed(DEEPSEEK_V3, add(copy, vec![40, 16])).unwrap(), count(DEEPSEEK_V3));
    }
}

#[test]
fn the_mtp_module_may_be_absent_or_unasked_for_but_not_in_part() {
    let scratch = Scratch::new();
    let full = spec(DEEPSEEK_V3);
    let all = tensors(&full);
    let without_key = DEEPSEEK_V3.replace("\"num_nextn_predict_layers\": 1", "\"num_nextn_predict_layers\": 0");
    let bare = spec(&without_key);
    let main: Vec<NamedTensor> = all.iter().filter(|t| !t.0.starts_with("model.layers.2.")).cloned().collect();
    assert!(main.len() < all.len());

    // As transformers saves it: the key stays, the tensors go.
    foreign(&scratch.join("saved"), DEEPSEEK_V3, "model.safetensors", &main, "F32");
    let (loaded, tensors) = load_model(&scratch.join("saved")).unwrap();
    assert_eq!((loaded.num_nextn_predict_layers, tensors.len()), (0, main.len()));

    foreign(&scratch.join("unasked"), &without_key, "model.safetensors", &all, "F32");
    assert_eq!(load_model(&scratch.join("unasked")).unwrap(), (bare, main));

    let error = changed(DEEPSEEK_V3, |t| drop(remove(t, "layers.2.eh_proj"))).unwrap_err();
    assert_names(&error, &["model.layers.2.eh_proj.weight", "[16, 32]", "missing"]);
}

#[test]
fn correction_biases_may_be_absent_together_but_not_singly() {
    let count = tensors(&spec(DEEPSEEK_V3)).len();
    let mut biases = 0;
    let loaded = changed(DEEPSEEK_V3, |t| biases = remove(t, "e_score_correction_bias").len());
    assert!(biases == 2);
    assert_eq!(loaded.unwrap(), count - biases);
    let error = changed(DEEPSEEK_V3, |t| drop(remove(t, "layers.1.mlp.gate.e_score_correction_bias"))).unwrap_err();
    assert_names(&error, &["model.layers.1.mlp.gate.e_score_correction_bias", "[4]", "missing"]);
}

#[test]
fn saving_checks_the_tensors_before_it_touches_the_folder() {
    let scratch = Scratch::new();
    let dir = scratch.join("m");
    let spec = spec(LLAMA);
    let tensors = tensors(&spec);
    let missing = borrowed(&tensors).skip(1);
    assert_names(&save(&dir, &spec, missing).unwrap_err(), &["embed_tokens", "missing"]);
    let twice = borrowed(&tensors).chain(borrowed(&tensors).take(1));
    assert_names(&save(&dir, &spec, twice).unwrap_err(), &["embed_tokens", "twice"]);
    let extra = borrowed(&tensors).chain([("model.odd", &[1][..], &[0.0][..])]);
    assert_names(&save(&dir, &spec, extra).unwrap_err(), &["model.odd", "[1]", "not part"]);
    assert!(!dir.exists());
}

#[test]
fn absent_and_unreadable_configurations() {
    let scratch = Scratch::new();
    assert_names(&load_model(&scratch.join("none")).unwrap_err(), &["none", "No such file"]);
    assert_names(&load_model(scratch.path()).unwrap_err(), &["config.json", "No such file"]);
    fs::write(scratch.join("config.json"), b"\xff").unwrap();
    assert_names(&load_model(scratch.path()).unwrap_err(), &["config.json", "UTF-8"]);
    fs::write(scratch.join("config.json"), b"{}").unwrap();
    assert!(matches!(load_model(scratch.path()).unwrap_err(), StoreError::Spec { .. }));
    fs::write(scratch.join("config.json"), LLAMA).unwrap();
    assert_names(&load_model(scratch.path()).unwrap_err(), &["model.safetensors", "No such file"]);
}

#[test]
fn a_configuration_of_absurd_size_is_refused_at_once() {
    let scratch = Scratch::new();
    let tensors = tensors(&spec(DEEPSEEK_V3));
    let cases: [(&str, &str, &[&str]); 3] = [
        ("num_hidden_layers\": 2", "num_hidden_layers\": 16777216", &["config.json", "at most 16384"]),
        ("num_hidden_layers\": 2", "num_hidden_layers\": 16000", &["model.safetensors", "config.json asks for"]),
        ("n_routed_experts\": 4", "n_routed_experts\": 4096", &["model.safetensors", "config.json asks for"]),
    ];
    for (sane, absurd, named) in cases {
        assert!(DEEPSEEK_V3.contains(sane), "the configuration has no {sane}");
        foreign(scratch.path(), &DEEPSEEK_V3.replace(sane, absurd), "model.safetensors", &tensors, "F32");
        assert_names(&load_model(scratch.path()).unwrap_err(), named);
    }
}

#[test]
fn a_file_slipped_into_a_vouched_folder_is_not_read() {
    let scratch = Scratch::new();
    let spec = spec(LLAMA);
    let tensors = tensors(&spec);
    save(scratch.path(), &spec, borrowed(&tensors)).unwrap();
    fs::write(scratch.join("model.safetensors.index.json"), b"{}").unwrap();
    assert_names(&load_model(scratch.path()).unwrap_err(), &["index.json", "not listed", "Move it out"]);
}
