//! Mistakes: each ends with exit code 2 and a message that names the place and the mend.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Scratch, copy, finished, prose, refuse, reseek, stage, succeed};

#[test]
fn an_output_folder_that_cannot_be() {
    let scratch = Scratch::new();
    let text = scratch.text();
    fs::write(scratch.join("file"), "not a folder").unwrap();
    let under = scratch.join("file/run");
    refuse(&mut stage(&scratch, "tokenizer", &text, &under), &["file"]);
    // Somebody's folder is not filled with ours.
    refuse(&mut stage(&scratch, "tokenizer", &text, &text), &["is not a run"]);
}

#[test]
fn a_flipped_byte_is_found_before_it_is_used() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("damaged");
    copy(&run.out, &out);
    let file = out.join("zero/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    refuse(&mut stage(&scratch, "replicate", &run.text, &out), &["zero/model.safetensors", "damaged"]);
    refuse(reseek().arg("score").arg(out.join("zero")).args(["--text", "a"]), &["zero/model.safetensors", "damaged"]);
    // The hint is good: without the folder the stage is made again.
    fs::remove_dir_all(out.join("zero")).unwrap();
    succeed(&mut stage(&scratch, "replicate", &run.text, &out));
    crate::common::assert_same_bytes(&out, &run.out);
}

#[test]
fn a_flipped_digit_in_what_a_stage_cost_or_scored_does_not_pass() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("digits");
    copy(&run.out, &out);
    let change = |name: &str, key: &str| {
        let file = out.join(name);
        let text = fs::read_to_string(&file).unwrap();
        let at = text.find(key).unwrap() + text[text.find(key).unwrap()..].find(|c: char| c.is_ascii_digit()).unwrap();
        let digit = if &text[at..=at] == "1" { "2" } else { "1" };
        fs::write(&file, format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
        text
    };
    // The student's cost decides how long the same student trains by RL alone.
    let sound = change("student/usage.json", "flops");
    fs::remove_dir_all(out.join("student_rl")).unwrap();
    refuse(&mut stage(&scratch, "distil", &run.text, &out), &["student/usage.json", "damaged"]);
    fs::remove_file(out.join("student/usage.json")).unwrap();
    refuse(&mut stage(&scratch, "distil", &run.text, &out), &["student/usage.json", "missing"]);
    fs::write(out.join("student/usage.json"), sound).unwrap();
    succeed(&mut stage(&scratch, "distil", &run.text, &out));
    change("eval/zero.json", "pass_at_1");
    refuse(&mut stage(&scratch, "report", &run.text, &out), &["eval/zero.json", "damaged"]);
    change("zero/metrics.jsonl", "reward");
    refuse(&mut stage(&scratch, "zero", &run.text, &out), &["zero/metrics.jsonl", "damaged"]);
}

#[test]
fn configuration_keys_that_are_not() {
    let scratch = Scratch::new();
    let config = |args: &[&str], parts: &[&str]| refuse(reseek().arg("config").args(args), parts);
    config(&["--set", "zero.setps=40"], &["--set zero.setps=40", "no key zero.setps", "Did you mean zero.steps?"]);
    config(&["--set", "zreo.steps=40"], &["no key zreo.steps", "Did you mean zero.steps?"]);
    config(&["--set", "zero.steps=many"], &["zero.steps", "string", "integer"]);
    config(&["--set", "zero.group=1"], &["zero.group"]);
    config(&["--set", "zero"], &["--set zero"]);
    let file = scratch.join("recipe.toml");
    let path = file.display().to_string();
    fs::write(&file, "[pretrain]\nlr_paek = 0.1\n").unwrap();
    config(&["--recipe", &path], &["recipe.toml", "pretrain.lr_paek", "Did you mean pretrain.lr_peak?"]);
    fs::write(&file, "[pretrain\n").unwrap();
    config(&["--recipe", &path], &["recipe.toml"]);
    config(&["--recipe", "no-such.toml"], &["no-such.toml"]);
    refuse(reseek().arg("config").env("RESEEK_THREADS", "none"), &["RESEEK_THREADS=none"]);
}

#[test]
fn shapes_that_cannot_be() {
    let run = finished();
    let scratch = Scratch::new();
    let folder = scratch.join("model");
    copy(&run.out.join("zero"), &folder);
    let file = folder.join("config.json");
    let good: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // The checksum would speak first: this is a folder from elsewhere.
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let check = |key: &str, value: Value, parts: &[&str]| {
        let mut config = good.clone();
        config[key] = value;
        fs::write(&file, config.to_string()).unwrap();
        refuse(reseek().arg("params").arg(&folder), &[&["config.json"], parts].concat());
        refuse(reseek().arg("score").arg(&folder).args(["--text", "a"]), &[&["config.json"], parts].concat());
    };
    check("n_group", json!(3), &["8", "3"]);
    check("num_experts_per_tok", json!(9), &["9"]);
    check("topk_group", json!(5), &["5", "4"]);
    check("qk_rope_head_dim", json!(15), &["15"]);
    check("num_attention_heads", json!(0), &["num_attention_heads"]);
    check("hidden_size", json!(-4), &["hidden_size"]);
    check("hidden_size", json!(1u64 << 60), &[]);
    check("vocab_size", Value::Null, &["vocab_size"]);
    fs::write(&file, "{").unwrap();
    refuse(reseek().arg("params").arg(&file), &["config.json"]);
    let dense = json!({
        "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 6, "num_key_value_heads": 4, "max_position_embeddings": 32, "rms_norm_eps": 1e-6,
    });
    fs::write(&file, dense.to_string()).unwrap();
    refuse(reseek().arg("params").arg(&file), &["config.json", "6", "4"]);
    // A sound shape that is not the weights'.
    let mut wider = good.clone();
    wider["intermediate_size"] = json!(256);
    fs::write(&file, wider.to_string()).unwrap();
    refuse(reseek().arg("score").arg(&folder).args(["--text", "a"]), &["model.safetensors", "shape", "256"]);
}

#[test]
fn data_that_cannot_be_used() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let fresh = |name: &str, bytes: &[u8]| {
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).unwrap();
        if !name.is_empty() {
            fs::write(data.join(name), bytes).unwrap();
        }
    };
    let check = |parts: &[&str]| {
        let out = scratch.join("never");
        refuse(&mut stage(&scratch, "replicate", &data, &out), parts);
        assert!(!out.exists(), "a run was begun on data that cannot be used");
    };
    check(&["data"]);
    fresh("", b"");
    check(&["data", "no .txt, .md or .jsonl"]);
    fresh("empty.txt", b"");
    check(&["data", "0 usable documents"]);
    fresh("latin.txt", "Ein Satz \u{fc}ber nichts".chars().map(|c| c as u8).collect::<Vec<_>>().as_slice());
    check(&["latin.txt", "byte 9", "UTF-8"]);
    let good = r#"{"question": "What is 2+3?", "answer": "5"}"#;
    for bad in [
        r#"{"question": "What is 2+4?"}"#,
        r#"{"question": "What is 2+4?", "answer": null}"#,
        r#"{"question": "What is 2+4?", "answer": "  "}"#,
        r#"{"question": "What is 2+4?", "answer": "Two and four. ####"}"#,
    ] {
        fresh("mine.jsonl", format!("{good}\n{bad}\n").as_bytes());
        check(&["mine.jsonl:2", "answer"]);
    }
    fresh("mine.jsonl", format!("{good}\n{{\"question\": \n").as_bytes());
    check(&["mine.jsonl:2"]);
    fresh("texts.jsonl", b"{\"text\": \"A text that is long enough.\"}\n{\"text\": 4}\n");
    check(&["texts.jsonl:2"]);
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_stage_and_can_be_mended() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    succeed(&mut stage(&scratch, "tokenizer", &text, &out));
    let mut wild = stage(&scratch, "pretrain", &text, &out);
    wild.args(["--set", "pretrain.lr_peak=1e30"]);
    refuse(&mut wild, &["pretrain", "step ", "Lower the learning rate"]);
    refuse(&mut wild, &["pretrain", "step ", "Lower the learning rate"]);
    succeed(&mut stage(&scratch, "pretrain", &text, &out));
    succeed(&mut stage(&scratch, "extend", &text, &out));
    refuse(stage(&scratch, "r1", &text, &out).args(["--set", "r1.cold_start_lr=1e30"]), &["r1_cold_start", "step "]);
    succeed(&mut stage(&scratch, "r1", &text, &out));
}

#[test]
fn a_run_belongs_to_one_seed_and_one_text() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    succeed(&mut stage(&scratch, "tokenizer", &text, &out));
    refuse(stage(&scratch, "tokenizer", &text, &out).args(["--seed", "2"]), &["run", "seed 1", "seed 2"]);
    fs::write(text.join("more.txt"), prose(99)).unwrap();
    refuse(&mut stage(&scratch, "tokenizer", &text, &out), &["run", "was made with"]);
}

#[test]
fn a_stage_before_its_inputs_names_the_command_to_run_first() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    for (name, first) in [("pretrain", "reseek tokenizer"), ("zero", "reseek extend"), ("eval", "reseek extend")] {
        refuse(&mut stage(&scratch, name, &text, &out), &[name, first]);
    }
    refuse(&mut stage(&scratch, "report", &text, &out), &["reseek eval"]);
}

#[test]
fn a_checkpoint_from_elsewhere_that_lacks_parts() {
    let run = finished();
    let scratch = Scratch::new();
    let without = |name: &str, parts: &[&str]| {
        let folder = scratch.join(name);
        copy(&run.out.join("student"), &folder);
        fs::remove_file(folder.join(name)).unwrap();
        let score = |folder: &Path| refuse(reseek().arg("score").arg(folder).args(["--text", "a"]), parts);
        score(&folder);
        fs::remove_file(folder.join("manifest.json")).unwrap();
        score(&folder);
    };
    without("tokenizer.json", &["tokenizer.json"]);
    without("config.json", &["config.json"]);
    without("model.safetensors", &["model.safetensors"]);
}
