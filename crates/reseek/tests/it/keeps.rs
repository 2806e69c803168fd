//! A run keeps its recipe and its results: other settings are refused or, asked for, made beside; what no longer belongs together is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Scratch, assert_same_bytes, bytes_of, copy, finished, refuse, reseek, stage, stderr, succeed};

/// A stage's command that says nothing of the recipe.
fn bare(name: &str, out: &Path) -> Command {
    let mut command = reseek();
    command.args([name, "--quiet", "--out"]).arg(out);
    command
}

/// Every file with its bytes and its time of change: what was written again shows.
fn untouched(run: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let time = |name: &String| fs::metadata(run.join(name)).unwrap().modified().unwrap();
    bytes_of(run).into_iter().map(|(name, bytes)| (name.clone(), (bytes, time(&name)))).collect()
}

#[test]
fn a_run_goes_on_with_its_recipe_where_nothing_is_said() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    let before = untouched(&out);
    succeed(&mut bare("replicate", &out));
    succeed(&mut bare("zero", &out));
    assert!(untouched(&out) == before, "a command that says nothing changed the run");
}

#[test]
fn another_recipe_is_refused_and_named() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    let before = untouched(&out);
    let anew = "zero.steps                   6 in the run, 5 in this command\nMade anew would be zero and eval. ";
    let stay = "As they are would stay tokenizer, pretrain, extend, r1_cold_start";
    let message = refuse(bare("replicate", &out).args(["--set", "zero.steps=5"]), &[anew, stay, "--redo", "runs copy"]);
    assert!(!message.contains("zero.group"), "{message}");
    refuse(bare("zero", &out).args(["--set", "zero.steps=5"]), &[anew, stay]);
    fs::write(scratch.join("other.toml"), "[zero]\nsteps = 5\n").unwrap();
    refuse(bare("replicate", &out).arg("--recipe").arg(scratch.join("other.toml")), &[anew, stay]);
    // What follows from a stage that is made anew is made anew too.
    let all =
        ["zero.steps", "pretrain.tokens", "Made anew would be pretrain, extend, zero, r1_cold_start", "stay tokenizer"];
    refuse(bare("replicate", &out).args(["--set", "pretrain.tokens=4096", "--set", "zero.steps=5"]), &all);
    // A stage's command does not take settings of other stages alone, whether asked or not.
    let parts = ["`reseek zero` makes none of these that differ: pretrain and extend", "reseek replicate --redo"];
    refuse(bare("zero", &out).args(["--set", "pretrain.tokens=4096", "--redo"]), &parts);
    let both = ["--set", "pretrain.tokens=4096", "--set", "zero.steps=5", "--redo"];
    refuse(bare("zero", &out).args(both), &["What zero reads is out of date", "Run `reseek pretrain --out"]);
    for redo in [&[][..], &["--redo"]] {
        refuse(bare("replicate", &out).args(["--seed", "2"]).args(redo), &["seed 1", "--seed 2", "Leave --seed out"]);
        refuse(bare("replicate", &out).args(["--scale", "nano"]).args(redo), &["--scale smoke", "Leave --scale out"]);
    }
    let text = scratch.text();
    fs::write(text.join("more.txt"), "One more text, long enough to count as a document.").unwrap();
    refuse(bare("replicate", &out).arg("--data").arg(&text), &["other text and problems", "--out"]);
    assert!(untouched(&out) == before, "a refused command changed the run");
}

#[test]
fn a_refused_command_creates_nothing() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("new");
    let refused = |command: &mut Command, parts: &[&str]| {
        refuse(command, parts);
        assert!(!out.exists(), "{command:?} left a folder");
    };
    for name in ["pretrain", "extend", "zero", "r1", "distil", "eval"] {
        refused(&mut bare(name, &out), &[" needs ", "was never finished. Run `reseek "]);
    }
    refused(&mut bare("report", &out), &["has no evaluation", "reseek eval"]);
    refused(bare("replicate", &out).args(["--set", "zero.setps=4"]), &["zero.setps"]);
    refused(bare("replicate", &out).args(["--set", "tasks.families=[\"sums\"]"]), &["sums"]);
    refused(bare("replicate", &out).args(["--recipe", "nowhere.toml"]), &["nowhere.toml"]);
    refused(bare("replicate", &out).args(["--data", "nowhere"]), &["nowhere"]);
    // In a run that is there, too: a stage whose input is not there leaves no folder.
    let half = scratch.join("half");
    copy(&run.out, &half);
    for gone in ["zero", "eval", "redo"] {
        let _ = fs::remove_dir_all(half.join(gone));
    }
    refuse(&mut bare("eval", &half), &["eval needs zero", "Run `reseek zero --out"]);
    refuse(&mut bare("report", &half), &["has no evaluation"]);
    assert!(!half.join("zero").exists() && !half.join("eval").exists());
}

#[test]
fn a_setting_that_no_finished_stage_has_read_is_taken_and_remembered() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    succeed(&mut stage(&scratch, "tokenizer", &text, &out));
    succeed(bare("pretrain", &out).args(["--set", "pretrain.tokens=2048"]));
    succeed(&mut bare("extend", &out));
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("\ntokens = 2048\n") && config.contains("vocab_size = 400"), "{config}");
    let rows = fs::read_to_string(out.join("pretrain/metrics.jsonl")).unwrap().lines().count();
    assert_eq!(rows, 3, "steps of 4, 4 and 8 sequences");
    // The run knows where its text lies, and says so when it has gone.
    fs::rename(&text, scratch.join("elsewhere")).unwrap();
    refuse(&mut bare("zero", &out), &["was made from the text in", "--data"]);
    succeed(bare("pretrain", &out).arg("--data").arg(scratch.join("elsewhere")));
    succeed(&mut bare("pretrain", &out));
}

#[test]
fn staleness_follows_every_input_and_the_page_says_so() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    succeed(bare("pretrain", &out).args(["--set", "pretrain.lr_peak=0.003", "--redo"]));
    // Stages that read the base only through others are out of date as well.
    let parts = ["What zero reads is out of date", "and was made from another pretrain", "Run `reseek extend --out"];
    refuse(&mut bare("zero", &out), &parts);
    refuse(
        &mut bare("eval", &out),
        &["What eval reads", "extend was made", "zero was made from extend, which is itself"],
    );
    succeed(&mut bare("extend", &out));
    refuse(
        &mut bare("eval", &out),
        &["zero was made from another extend", "Run `reseek zero --out", "then `reseek r1"],
    );

    let page = |out: &Path| fs::read_to_string(out.join("report/index.html")).unwrap();
    let drawn = bare("report", &out).output().unwrap();
    assert!(drawn.status.success() && stderr(&drawn).contains("do not belong together"), "{}", stderr(&drawn));
    let top = page(&out);
    let banner = top.find("do not belong together").expect("the page says nothing");
    assert!(banner < top.find("The chain").unwrap(), "not at the top");
    assert!(top.contains("zero was made from another extend"));
    let summary: Value = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert!(summary["out_of_date"].as_array().unwrap().len() > 3, "{summary}");

    // The recipe is the run's by now, so the whole command makes what follows without being asked twice.
    succeed(&mut bare("replicate", &out));
    assert!(!page(&out).contains("do not belong together"));
    let fresh = scratch.join("fresh");
    succeed(stage(&scratch, "replicate", &run.text, &fresh).args(["--set", "pretrain.lr_peak=0.003"]));
    assert_same_bytes(&out, &fresh);
}

#[test]
fn new_curves_never_stand_beside_an_old_evaluation() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    succeed(bare("zero", &out).args(["--set", "zero.steps=1", "--redo"]));
    let drawn = bare("report", &out).output().unwrap();
    assert!(stderr(&drawn).contains("eval was made from another zero"), "{}", stderr(&drawn));
    // What the student's budget counts is an input of its.
    let record: Value = serde_json::from_slice(&fs::read(out.join("student_rl/stage.json")).unwrap()).unwrap();
    let used: Value = serde_json::from_slice(&fs::read(out.join("student/usage.json")).unwrap()).unwrap();
    let counted = record["meta"]["inputs"]["flops"]["student"].as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(Some(counted), used["meta"]["flops"].as_f64());
}

#[test]
fn a_stage_of_an_older_version_is_not_thrown_away() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    // As that version wrote it: a hash in the place of the inputs.
    let record = out.join("zero/stage.json");
    let mut old: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let meta = old["meta"].as_object_mut().unwrap();
    meta.remove("inputs");
    meta.insert("inputs_hash".into(), "0123".into());
    let files = serde_json::from_value(old["files"].clone()).unwrap();
    reseek_store::Manifest { files, meta: old["meta"].clone() }.write(&record).unwrap();
    let before = untouched(&out);
    refuse(&mut bare("replicate", &out), &["made by another version", "Made anew would be zero and eval", "--redo"]);
    assert!(untouched(&out) == before);
    succeed(bare("replicate", &out).arg("--redo"));
    assert_same_bytes(&out, &run.out);
}

#[test]
fn two_reports_are_the_same_bytes() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    let drawn = |threads: &str| {
        succeed(bare("report", &out).env("RESEEK_THREADS", threads));
        ["summary.json", "report/index.html", "machine.json"].map(|name| fs::read(out.join(name)).unwrap())
    };
    let first = drawn("2");
    assert!(drawn("1") == first, "drawing the page again changed its figures");
    assert_eq!(first[0], fs::read(run.out.join("summary.json")).unwrap(), "not those of the run itself");
}

#[test]
fn a_run_where_a_model_is_needed_names_its_models() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("first");
    copy(&run.out, &out);
    let model = out.join("r1").display().to_string();
    for args in [&["chat"][..], &["score", "--text", "a"], &["generate", "--prompt", "a"], &["params"]] {
        refuse(reseek().args(args).arg(&out), &["first is a run, not a model", &model, "student_rl"]);
    }
    refuse(reseek().args(["bench", "generate", "--model"]).arg(&out), &["is a run, not a model", &model]);
    let begun = scratch.join("begun");
    succeed(&mut stage(&scratch, "tokenizer", &run.text, &begun));
    refuse(reseek().arg("chat").arg(&begun), &["none of its models is finished", "reseek replicate --out"]);
}
