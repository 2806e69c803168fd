//! Any model in, any model out: `inspect`, `convert`, names on the Hub, end tokens, and what stands in the way of each.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{Scratch, copy, finished, refuse, reseek, succeed};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf/tiny.gguf")
}

fn tokens_of(text: &Value) -> String {
    let ids: Vec<String> = text.as_array().unwrap().iter().map(Value::to_string).collect();
    ids.join(",")
}

fn score(model: &Path, tokens: &str) -> Vec<f64> {
    let mut command = reseek();
    command.arg("score").arg(model).args(["--dtype", "f32", "--tokens", tokens, "--json"]);
    let answer: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
    answer["logprobs"].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

fn inspect(model: &Path) -> Value {
    serde_json::from_str(&succeed(reseek().arg("inspect").arg(model).arg("--json"))).unwrap()
}

fn convert(from: &Path, to: &Path, dtype: &str) -> Value {
    let mut command = reseek();
    command.arg("convert").arg(from).arg(to).arg("--json");
    if !dtype.is_empty() {
        command.args(["--dtype", dtype]);
    }
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_model_of_ours_goes_through_every_form() {
    let scratch = Scratch::new();
    let (run, text) = (finished(), "The miller carries 12 heavy sacks. 你好");
    for name in ["extend", "student"] {
        let folder = run.out.join(name);
        let answer = succeed(reseek().arg("score").arg(&folder).args(["--text", text, "--json"]));
        let tokens = tokens_of(&serde_json::from_str::<Value>(&answer).unwrap()["tokens"]);
        let expected = score(&folder, &tokens);
        let to = |form: &str| scratch.join(&format!("{name}-{form}"));

        // Without a format nothing is lost, whatever the way.
        convert(&folder, &to("f32.gguf"), "");
        convert(&to("f32.gguf"), &to("back"), "");
        convert(&folder, &to("sharded"), "");
        for form in ["f32.gguf", "back", "sharded"] {
            assert_eq!(score(&to(form), &tokens), expected, "{name} as {form}");
            let seen = inspect(&to(form));
            // The layer of multi-token prediction, which GGUF has no place for, is in no total.
            assert_eq!(seen["parameters"]["total"], inspect(&folder)["parameters"]["total"], "{name} as {form}");
            // The text has the same tokens there.
            let again = succeed(reseek().arg("score").arg(to(form)).args(["--text", text, "--json"]));
            assert_eq!(
                tokens_of(&serde_json::from_str::<Value>(&again).unwrap()["tokens"]),
                tokens,
                "{name} as {form}"
            );
        }
        for (form, dtype, bound) in [
            ("bf16", "bf16", 0.1),
            ("fp8", "fp8", 0.6),
            ("bf16.gguf", "bf16", 0.1),
            ("f16.gguf", "f16", 0.02),
            ("q8.gguf", "q8_0", 0.4),
            ("q4.gguf", "q4_0", 1.5),
        ] {
            convert(&folder, &to(form), dtype);
            let off = worst(&score(&to(form), &tokens), &expected);
            println!("{name} as {form}: {off:.4}");
            assert!(off > 0.0 && off < bound, "{name} as {form} is off by {off}");
        }
        // What is rounded once stays: the second way is exact.
        convert(&to("bf16"), &to("bf16-again"), "");
        assert_eq!(
            fs::read(to("bf16").join("model.safetensors")).unwrap(),
            fs::read(to("bf16-again").join("model.safetensors")).unwrap()
        );
        convert(&to("fp8"), &to("fp8-again"), "fp8");
        assert_eq!(score(&to("fp8"), &tokens), score(&to("fp8-again"), &tokens));
    }
}

#[test]
fn a_folder_from_a_gguf_file_has_the_files_own_tokens() {
    let scratch = Scratch::new();
    let to = scratch.join("tiny");
    convert(&tiny(), &to, "");
    let (file, folder) = (inspect(&tiny()), inspect(&to));
    for part in ["tokenizer", "stops", "template", "parameters", "config"] {
        assert_eq!(folder[part], file[part], "{part}");
    }
}

#[test]
fn the_generation_config_says_how_to_sample_where_the_command_does_not() {
    let (run, scratch) = (finished(), Scratch::new());
    let folder = scratch.join("model");
    copy(&run.out.join("extend"), &folder);
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let generate = |more: &[&str]| {
        let mut command = reseek();
        succeed(
            command.arg("generate").arg(&folder).args(["The miller", "--max-new-tokens", "12", "--json"]).args(more),
        )
    };
    let (drawn, likeliest) = (generate(&[]), generate(&["--temperature", "0"]));
    assert_ne!(drawn, likeliest);
    let advise = |config: Value| fs::write(folder.join("generation_config.json"), config.to_string()).unwrap();
    for greedy in [json!({"do_sample": false, "temperature": 0.6}), json!({"top_k": 1}), json!({"temperature": 0.0})] {
        advise(greedy);
        let tokens = |line: &str| serde_json::from_str::<Value>(line).unwrap()["tokens"].clone();
        assert_eq!(tokens(&generate(&[])), tokens(&likeliest));
        assert_eq!(generate(&["--temperature", "0.6", "--top-k", "0"]), drawn);
    }
    advise(json!({"repetition_penalty": 1.1, "eos_token_id": 9999}));
    refuse(reseek().arg("generate").arg(&folder).arg("a"), &["end token 9999", "eos_token_id"]);
    let odd = inspect(&folder)["odd"].to_string();
    assert!(odd.contains("repetition_penalty") && odd.contains("9999"), "{odd}");
}

#[test]
fn shards_are_as_small_as_asked() {
    let (run, scratch) = (finished(), Scratch::new());
    let (folder, to) = (run.out.join("student"), scratch.join("sharded"));
    succeed(reseek().arg("convert").arg(&folder).arg(&to).args(["--shard-size", "100K"]));
    let index: Value = serde_json::from_slice(&fs::read(to.join("model.safetensors.index.json")).unwrap()).unwrap();
    let shards: std::collections::BTreeSet<&str> =
        index["weight_map"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    assert!(shards.len() > 1 && shards.iter().all(|shard| to.join(shard).is_file()), "{shards:?}");
    assert_eq!(score(&to, "0,5,6,7"), score(&folder, "0,5,6,7"));
    fs::remove_file(to.join("manifest.json")).unwrap();
    let gone = to.join(shards.first().unwrap());
    fs::remove_file(&gone).unwrap();
    refuse(reseek().arg("inspect").arg(&to), &[gone.file_name().unwrap().to_str().unwrap()]);
}

#[test]
fn inspect_says_what_a_model_is_and_what_is_odd() {
    let (run, scratch) = (finished(), Scratch::new());
    let seen = inspect(&tiny());
    assert_eq!(seen["config"]["model_type"], "llama");
    assert_eq!(seen["tokenizer"]["kind"], "byte-level BPE");
    assert!(seen["formats"].as_array().unwrap().len() > 1, "{seen}");
    let shown = succeed(reseek().arg("inspect").arg(tiny()).arg("--tensors"));
    for part in ["family", "tokenizer", "ends at", "model.layers.0.self_attn.q_proj.weight"] {
        assert!(shown.contains(part), "{shown}");
    }

    // A template that never writes an end token, and one that opens <think>.
    let folder = scratch.join("model");
    copy(&run.out.join("r1"), &folder);
    fs::remove_file(folder.join("manifest.json")).unwrap();
    assert_eq!(inspect(&folder)["template"]["opens_think"], false);
    let template =
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}";
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
    let odd = inspect(&folder)["odd"].to_string();
    assert!(odd.contains("ends no answer") && odd.contains("<think>"), "{odd}");
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert!(inspect(&folder)["odd"].to_string().contains("no tokenizer"));
}

#[test]
fn every_end_token_of_the_generation_config_ends_an_answer() {
    let (run, scratch) = (finished(), Scratch::new());
    let folder = scratch.join("model");
    copy(&run.out.join("extend"), &folder);
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let generate = || {
        let mut command = reseek();
        command.arg("generate").arg(&folder).args([
            "The miller",
            "--temperature",
            "0",
            "--max-new-tokens",
            "12",
            "--json",
        ]);
        serde_json::from_str::<Value>(&succeed(&mut command)).unwrap()
    };
    let free = generate();
    let ids = free["tokens"].as_array().unwrap().clone();
    // The greedy answer's fourth token, where it is no repetition of an earlier one.
    let stop = ids
        .iter()
        .enumerate()
        .skip(1)
        .find(|(at, id)| !ids[..*at].contains(id))
        .expect("an answer of different tokens");
    let config = json!({"eos_token_id": [1, stop.1]});
    fs::write(folder.join("generation_config.json"), config.to_string()).unwrap();
    let stopped = generate();
    assert_eq!(stopped["finish"], "stop");
    assert_eq!(stopped["tokens"].as_array().unwrap().last(), Some(stop.1));
    assert_eq!(stopped["tokens"].as_array().unwrap().len(), stop.0 + 1);
    fs::write(folder.join("generation_config.json"), "{\"eos_token_id\": -1}").unwrap();
    refuse(reseek().arg("generate").arg(&folder).arg("a"), &["generation_config.json", "eos_token_id"]);
}

#[test]
fn a_name_on_the_hub_is_found_in_its_cache() {
    let (run, scratch) = (finished(), Scratch::new());
    let (home, commit) = (scratch.join("hf"), "0123456789abcdef0123456789abcdef01234567");
    let folder = home.join("hub/models--someone--tiny");
    copy(&run.out.join("student"), &folder.join("snapshots").join(commit));
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), commit).unwrap();
    let named = |name: &str| {
        let mut command = reseek();
        command.env("HF_HOME", &home).env_remove("HF_HUB_CACHE").args(["score", name, "--text", "a", "--json"]);
        command
    };
    let direct = succeed(reseek().arg("score").arg(run.out.join("student")).args(["--text", "a", "--json"]));
    assert_eq!(succeed(&mut named("hf://someone/tiny")), direct);
    assert_eq!(succeed(&mut named(&format!("hf://someone/tiny@{commit}"))), direct);
    refuse(
        named("hf://someone/other").env("HF_HUB_OFFLINE", "1"),
        &["hf://someone/other@main", "refs/main", "models--someone--other"],
    );
    refuse(&mut named("hf://../tiny"), &["hf://organisation/model"]);
}

#[test]
fn tokens_are_scored_without_a_tokenizer() {
    let (run, scratch) = (finished(), Scratch::new());
    let (folder, bare) = (run.out.join("student"), scratch.join("above/bare"));
    convert(&folder, &bare, "");
    for name in ["tokenizer.json", "tokenizer_config.json", "manifest.json"] {
        fs::remove_file(bare.join(name)).unwrap();
    }
    assert_eq!(score(&bare, "5,6,7"), score(&folder, "5,6,7"));
    assert!(!succeed(reseek().arg("score").arg(&bare).args(["--tokens", "5,6,7"])).contains('"'));
    refuse(reseek().arg("score").arg(&bare).args(["--text", "x"]), &["no tokenizer.json", "Copy it"]);
    std::os::unix::fs::symlink(scratch.join("nowhere"), bare.join("tokenizer.json")).unwrap();
    refuse(reseek().arg("score").arg(&bare).args(["--tokens", "5,6,7"]), &["tokenizer.json", "put it there"]);
    refuse(reseek().arg("convert").arg(&bare).arg(scratch.join("to")), &["tokenizer.json", "No such file"]);
    convert(&folder, &scratch.join("made/on/the/way.gguf"), "f16");
}

/// Steps are counted, but in few of them a text doubles often.
#[test]
fn a_template_that_doubles_a_text_ends_in_bounded_memory() {
    let (run, scratch) = (finished(), Scratch::new());
    let model = scratch.join("model");
    convert(&run.out.join("student"), &model, "");
    let doublings = "{% set ns.x = ns.x ~ ns.x %}".repeat(40);
    let capture = "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(40);
    for template in
        [format!("{{% set ns = namespace(x='once') %}}{doublings}"), format!("{{% set x = 'once' %}}{capture}")]
    {
        fs::write(model.join("chat_template.jinja"), template).unwrap();
        let _ = fs::remove_file(model.join("manifest.json"));
        refuse(reseek().arg("inspect").arg(&model), &["chat template", "1 GiB"]);
        let mut chat = reseek();
        chat.arg("chat").arg(&model).stdin(fs::File::open(model.join("config.json")).unwrap());
        refuse(&mut chat, &["chat template", "1 GiB"]);
    }
}

#[test]
fn what_cannot_be_converted_leaves_nothing_behind() {
    let (run, scratch) = (finished(), Scratch::new());
    let folder = run.out.join("student");
    let to = |name: &str| scratch.join(name);
    fs::create_dir(to("there")).unwrap();
    let cases: [(&Path, PathBuf, &[&str], &[&str]); 10] = [
        (&folder, to("there"), &[], &["there is there already", "Name a new file or folder"]),
        (&folder, to("a.gguf"), &["--dtype", "fp8"], &["no fp8"]),
        (&folder, to("a"), &["--dtype", "q8_0"], &["no q8_0", ".gguf"]),
        (&folder, folder.join("inside"), &[], &["inside of the model"]),
        (&folder, folder.join("inside.gguf"), &[], &["inside of the model"]),
        (&folder, folder.join("inside/deep.gguf"), &[], &["inside of the model"]),
        (&folder, to("a"), &["--shard-size", "0"], &["--shard-size"]),
        (&folder, to("above/a.gguf"), &["--dtype", "fp8"], &["no fp8"]),
        (&to("none"), to("a"), &[], &["none"]),
        (&run.out, to("a"), &[], &["is a run"]),
    ];
    for (from, to, more, parts) in &cases {
        refuse(reseek().arg("convert").arg(from).arg(to).args(*more), parts);
    }
    let left: Vec<_> = fs::read_dir(scratch.join("")).unwrap().flatten().map(|file| file.file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name == "a" || name == "above" || name == "a.gguf" || name.to_string_lossy().contains("-tmp")),
        "{left:?}"
    );
    assert!(!folder.join("inside").exists());
}
