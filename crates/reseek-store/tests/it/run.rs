use std::fs;

use reseek_store::{DirWriter, RunDir, StageFacts, StepLog, StoreError, chain_hash};
use serde_json::{Value, json};

use crate::common::{Scratch, assert_names, tree};

#[test]
fn a_run_is_made_reopened_and_told_apart_from_others() {
    let scratch = Scratch::new();
    let path = scratch.join("runs/one");
    let run = RunDir::create_or_open(&path, "aaaa", 7).unwrap();
    run.write("config.toml", b"scale = 'nano'").unwrap();
    run.write("report/index.html", b"<html>").unwrap();
    drop(run);
    let run = RunDir::create_or_open(&path, "aaaa", 7).unwrap();
    assert_eq!((run.info().seed, run.path()), (7, path.as_path()));
    drop(run);
    let error = RunDir::create_or_open(&path, "bbbb", 7).unwrap_err();
    assert_names(&error, &["runs/one", "configuration aaaa", "configuration bbbb", "Choose another folder"]);
    let error = RunDir::create_or_open(&path, "aaaa", 8).unwrap_err();
    assert_names(&error, &["seed 7", "seed 8"]);
    assert_eq!(RunDir::inspect(&path).unwrap().config_hash, "aaaa");
    assert_eq!(fs::read(path.join("report/index.html")).unwrap(), b"<html>");
}

#[test]
fn two_at_once_are_refused_and_a_lock_left_behind_is_not() {
    let scratch = Scratch::new();
    let path = scratch.join("run");
    let first = RunDir::create_or_open(&path, "a", 1).unwrap();
    let stage = first.stage("pretrain").unwrap();
    let error = RunDir::create_or_open(&path, "a", 1).unwrap_err();
    assert_names(&error, &["in use by process", &std::process::id().to_string(), "Wait for it"]);
    // A reader needs no lock, and a stage holds it as long as the run.
    RunDir::inspect(&path).unwrap();
    drop(first);
    assert!(matches!(RunDir::create_or_open(&path, "a", 1), Err(StoreError::Locked { .. })));
    drop(stage);
    fs::write(path.join("lock"), "4194305 and some more").unwrap();
    RunDir::create_or_open(&path, "a", 1).unwrap();
    assert_eq!(fs::read_to_string(path.join("lock")).unwrap(), format!("{}\n", std::process::id()));
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let scratch = Scratch::new();
    fs::write(scratch.join("thesis.tex"), b"x").unwrap();
    let error = RunDir::create_or_open(scratch.path(), "a", 1).unwrap_err();
    assert_names(&error, &["thesis.tex", "not a run", "Choose a new or empty folder"]);
    assert_eq!(tree(scratch.path()).len(), 1);
    let error = RunDir::create_or_open(&scratch.join("thesis.tex"), "a", 1).unwrap_err();
    assert_names(&error, &["thesis.tex", "A file stands where a folder is needed"]);
    let error = RunDir::create_or_open(&scratch.join("thesis.tex/run"), "a", 1).unwrap_err();
    assert_names(&error, &["thesis.tex/run", "Not a directory"]);
}

#[test]
fn a_kill_before_the_manifest_leaves_a_folder_to_begin_in() {
    let scratch = Scratch::new();
    fs::write(scratch.join("lock"), b"1").unwrap();
    fs::write(scratch.join(".manifest.json.reseek-tmp"), b"{").unwrap();
    drop(RunDir::create_or_open(scratch.path(), "a", 1).unwrap());
    assert_eq!(tree(scratch.path()).into_keys().collect::<Vec<_>>(), ["lock", "manifest.json"]);
}

#[test]
fn a_damaged_or_foreign_manifest_is_not_overwritten() {
    let scratch = Scratch::new();
    drop(RunDir::create_or_open(scratch.path(), "aaaa", 1).unwrap());
    let manifest = scratch.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("aaaa", "aaab")).unwrap();
    assert_names(&RunDir::create_or_open(scratch.path(), "aaaa", 1).unwrap_err(), &["manifest.json", "damaged"]);
    let model = scratch.join("model");
    DirWriter::create(&model).unwrap().finish(Value::Null).unwrap();
    assert_names(&RunDir::create_or_open(&model, "a", 1).unwrap_err(), &["model", "not a run's"]);
}

#[test]
fn names_do_not_lead_out_of_the_run() {
    let scratch = Scratch::new();
    let run = RunDir::create_or_open(&scratch.join("run"), "a", 1).unwrap();
    for name in ["../out", "/out", ""] {
        assert!(matches!(run.stage(name), Err(StoreError::Name { .. })));
        assert!(matches!(run.write(name, b""), Err(StoreError::Name { .. })));
    }
}

#[test]
fn a_stage_is_skipped_only_for_the_same_inputs() {
    let scratch = Scratch::new();
    let run = RunDir::create_or_open(&scratch.join("run"), "a", 1).unwrap();
    let stage = run.stage("tokenizer").unwrap();
    assert!(!stage.is_done("in").unwrap());
    assert_names(&stage.outputs_hash().unwrap_err(), &["tokenizer", "never finished"]);
    stage.begin("in").unwrap();
    fs::write(stage.path().join("tokenizer.json"), b"{}").unwrap();
    assert!(!stage.is_done("in").unwrap());
    let hash = stage.mark_done("in", &["tokenizer.json"]).unwrap();
    assert!(stage.is_done("in").unwrap() && !stage.is_done("other").unwrap());
    assert_eq!(stage.outputs_hash().unwrap(), hash);
    stage.begin("in").unwrap();
    assert!(stage.is_done("in").unwrap());

    // Other inputs: what was made of the old ones goes. The same bytes come out, so nothing after it changes.
    stage.begin("other").unwrap();
    assert!(!stage.path().join("tokenizer.json").exists() && !stage.is_done("in").unwrap());
    fs::write(stage.path().join("tokenizer.json"), b"{}").unwrap();
    assert_eq!(stage.mark_done("other", &["tokenizer.json"]).unwrap(), hash);
}

#[test]
fn work_on_the_same_inputs_goes_on_and_on_others_begins_anew() {
    let scratch = Scratch::new();
    let run = RunDir::create_or_open(&scratch.join("run"), "a", 1).unwrap();
    let stage = run.stage("r1/reasoning").unwrap();
    stage.begin("in").unwrap();
    StepLog::open(&stage.path().join("metrics.jsonl"), 0).unwrap().append(0, &json!({})).unwrap();
    stage.state().unwrap();
    stage.begin("in").unwrap();
    assert!(stage.path().join("metrics.jsonl").exists() && stage.path().join("state").is_dir());
    stage.begin("changed").unwrap();
    assert_eq!(tree(stage.path()).into_keys().collect::<Vec<_>>(), ["begun.json"]);
}

#[test]
fn a_damaged_output_of_a_finished_stage_is_found() {
    let scratch = Scratch::new();
    let run = RunDir::create_or_open(&scratch.join("run"), "a", 1).unwrap();
    let stage = run.stage("pretrain").unwrap();
    stage.begin("in").unwrap();
    let mut model = DirWriter::create(stage.path()).unwrap();
    model.write("model.safetensors", b"weights").unwrap();
    model.finish(Value::Null).unwrap();
    let mut inner = DirWriter::create(&stage.path().join("reference")).unwrap();
    inner.write("notes", b"n").unwrap();
    inner.finish(Value::Null).unwrap();
    fs::write(stage.path().join("metrics.jsonl"), b"{\"step\":0}\n").unwrap();
    stage.mark_done("in", &[".", "reference", "metrics.jsonl"]).unwrap();
    for name in ["model.safetensors", "reference/notes", "metrics.jsonl", "manifest.json", "stage.json"] {
        let path = stage.path().join(name);
        let bytes = fs::read(&path).unwrap();
        let mut other = bytes.clone();
        other[bytes.len() / 2] ^= 1;
        fs::write(&path, other).unwrap();
        assert_names(&stage.is_done("in").unwrap_err(), &[name, "damaged", ". "]);
        fs::write(&path, bytes).unwrap();
    }
    assert!(stage.is_done("in").unwrap());
    assert_names(&stage.mark_done("in", &["absent.txt"]).unwrap_err(), &["absent.txt", "No such file"]);
    fs::remove_file(stage.path().join("reference/notes")).unwrap();
    assert_names(&stage.mark_done("in", &["reference"]).unwrap_err(), &["reference/notes", "missing"]);
}

#[test]
fn a_chain_hash_knows_where_its_parts_end() {
    assert_eq!(chain_hash(&["ab", "c"]), chain_hash(&["ab", "c"]));
    assert_ne!(chain_hash(&["ab", "c"]), chain_hash(&["a", "bc"]));
    assert_ne!(chain_hash(&["ab", "c"]), chain_hash(&["c", "ab"]));
    assert_ne!(chain_hash::<&str>(&[]), chain_hash(&[""]));
}

/// A finished stage of one file.
fn finish(stage: &reseek_store::StageDir, inputs: &str, text: &str) {
    stage.begin(inputs).unwrap();
    stage.write("out.txt", text.as_bytes()).unwrap();
    stage.mark_done(inputs, &["out.txt"]).unwrap();
}

#[test]
fn a_stage_made_anew_takes_the_old_ones_place_when_it_is_whole() {
    let scratch = Scratch::new();
    let path = scratch.join("run");
    let run = RunDir::create_or_open(&path, "a", 1).unwrap();
    let home = run.stage("zero").unwrap();
    finish(&home, "old", "old");
    let beside = run.redo("zero").unwrap();
    assert_eq!((beside.name(), beside.path()), ("zero", path.join("redo/zero").as_path()));
    beside.begin("new").unwrap();
    beside.write("out.txt", b"new").unwrap();
    assert!(home.is_done("old").unwrap(), "work beside it touched the old stage");
    beside.mark_done("new", &["out.txt"]).unwrap();
    run.replace("zero").unwrap();
    assert!(home.is_done("new").unwrap() && !path.join("redo").exists());
    assert_eq!(fs::read(path.join("zero/out.txt")).unwrap(), b"new");

    // Where names cannot change places, a kill between the two renames leaves the new one beside and no old one.
    drop(home);
    drop(beside);
    finish(&run.redo("zero").unwrap(), "newest", "newest");
    run.redo("r1").unwrap().begin("begun").unwrap();
    drop(run);
    fs::rename(path.join("zero"), path.join("redo/.zero.reseek-tmp")).unwrap();
    let run = RunDir::create_or_open(&path, "a", 1).unwrap();
    assert!(run.stage("zero").unwrap().is_done("newest").unwrap());
    // What was only begun stays where it is.
    assert_eq!(fs::read_dir(path.join("redo")).unwrap().count(), 1);
    run.drop_redo("r1").unwrap();
    assert!(!path.join("redo").exists());
}

#[test]
fn what_a_stage_was_made_from_is_read_without_making_anything() {
    let scratch = Scratch::new();
    let path = scratch.join("run");
    let run = RunDir::create_or_open(&path, "a", 1).unwrap();
    let facts = |name: &str| StageFacts::read(&path.join(name)).unwrap();
    assert_eq!(facts("zero"), StageFacts::default());
    assert!(!path.join("zero").exists());
    let stage = run.stage("zero").unwrap();
    stage.begin(json!({"zero.steps": "40"})).unwrap();
    assert!(!facts("zero").has_state && facts("zero").begun == Some(json!({"zero.steps": "40"})));
    stage.state().unwrap();
    assert!(!facts("zero").has_state, "an empty folder is no state");
    fs::create_dir(path.join("zero/state/step-00000003")).unwrap();
    assert!(facts("zero").has_state);
    stage.write("out.txt", b"x").unwrap();
    let hash = stage.mark_done(json!({"zero.steps": "40"}), &["out.txt"]).unwrap();
    assert_eq!(facts("zero").finished, Some((json!({"zero.steps": "40"}), hash)));
    fs::write(path.join("zero/stage.json"), "{").unwrap();
    assert_names(&StageFacts::read(&path.join("zero")).unwrap_err(), &["zero/stage.json", "damaged"]);
}

#[test]
fn a_copy_is_whole_or_not_there() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.join("from"), scratch.join("deep/to"));
    let run = RunDir::create_or_open(&from, "a", 7).unwrap();
    finish(&run.stage("zero").unwrap(), "in", "text");
    let mut model = DirWriter::create(&from.join("zero")).unwrap();
    model.write("model", b"weights").unwrap();
    model.finish(Value::Null).unwrap();
    assert!(matches!(RunDir::copy(&from, &to), Err(StoreError::Locked { .. })), "copied while someone works on it");
    drop(run);
    // What a killed copy left is removed by the next.
    fs::create_dir_all(scratch.join("deep/.to.reseek-tmp/zero")).unwrap();
    fs::write(scratch.join("deep/.to.reseek-tmp/zero/half"), b"x").unwrap();
    let copied = RunDir::copy(&from, &to).unwrap();
    let (mut a, b) = (tree(&from), tree(&to));
    a.remove("lock");
    assert_eq!(a, b);
    assert_eq!(copied.files as usize, b.len());
    assert_eq!(RunDir::inspect(&to).unwrap().seed, 7);
    assert_names(&RunDir::copy(&from, &to).unwrap_err(), &["to is there already"]);
    assert_names(&RunDir::copy(&from, &from.join("zero/to")).unwrap_err(), &["in its original"]);
    fs::write(from.join("zero/model"), b"weightz").unwrap();
    assert_names(&RunDir::copy(&from, &scratch.join("third")).unwrap_err(), &["zero/model", "damaged"]);
    assert!(!scratch.join("third").exists() && !scratch.join(".third.reseek-tmp").exists());
}
