//! A finished stage that is made anew: at every moment the old one or the new one stands, and the same command goes on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::{Scratch, assert_same_bytes, copy, finished, refuse, reseek, succeed};
use crate::resume::{signal, spawn, wait_for};

/// `pretrain` with other settings, slow enough to be stopped in the middle.
fn changed(out: &Path) -> Command {
    let mut command = reseek();
    command.args(["pretrain", "--quiet", "--redo", "--set", "pretrain.tokens=60000", "--out"]).arg(out);
    command
}

#[test]
fn stopped_in_the_middle_it_leaves_the_old_model_and_goes_on() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    let mut child = spawn(changed(&out));
    wait_for(&mut child, &out, "redo/pretrain/metrics.jsonl");
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", crate::common::stderr(&output));
    // All that was there is there, and the run goes on as if nothing had been asked.
    for name in ["pretrain/model.safetensors", "pretrain/stage.json", "config.toml", "summary.json"] {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(run.out.join(name)).unwrap(), "{name}");
    }
    succeed(reseek().arg("score").arg(out.join("pretrain")).args(["--text", "a"]));
    let mut plain = reseek();
    plain.args(["replicate", "--out"]).arg(&out);
    let output = plain.output().unwrap();
    let said = crate::common::stderr(&output);
    assert!(
        output.status.success() && said.contains("redo/pretrain is an unfinished redo with pretrain.tokens = 60000"),
        "{said}"
    );
    let done = |line: &str| line.contains("up to date") || line.contains("unfinished redo");
    assert!(said.lines().all(done), "something was made anew: {said}");

    // The state that was saved is what the same command goes on from.
    let states = || fs::read_dir(out.join("redo/pretrain/state")).map_or(0, Iterator::count);
    assert!(states() > 0, "nothing to go on from");
    succeed(&mut changed(&out));
    assert!(!out.join("redo").exists());
    let undisturbed = scratch.join("undisturbed");
    copy(&run.out, &undisturbed);
    succeed(&mut changed(&undisturbed));
    assert_same_bytes(&out, &undisturbed);
}

#[test]
fn killed_at_any_moment_a_whole_model_stands() {
    let run = finished();
    let scratch = Scratch::new();
    let (out, undisturbed) = (scratch.join("run"), scratch.join("undisturbed"));
    copy(&run.out, &out);
    copy(&run.out, &undisturbed);
    // A small one, so that kills meet its end as well as its beginning.
    let small = |out: &Path| {
        let mut command = reseek();
        command.args(["pretrain", "--quiet", "--redo", "--set", "pretrain.lr_peak=0.003", "--out"]).arg(out);
        command
    };
    succeed(&mut small(&undisturbed));
    let model = |run: &Path| fs::read(run.join("pretrain/model.safetensors")).unwrap();
    let (old, new) = (model(&run.out), model(&undisturbed));
    assert!(old != new);
    for (file, delay) in
        [("begun.json", 1), ("metrics.jsonl", 5), ("metrics.jsonl", 40), ("manifest.json", 0), ("stage.json", 0)]
    {
        let mut child = spawn(small(&out));
        wait_for(&mut child, &out, &format!("redo/pretrain/{file}"));
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        let stands = model(&out);
        assert!(stands == old || stands == new, "neither the old model nor the new one after {file}");
        succeed(reseek().arg("score").arg(out.join("pretrain")).args(["--text", "a"]));
    }
    succeed(&mut small(&out));
    assert!(!out.join("redo").exists());
    assert_same_bytes(&out, &undisturbed);
}

#[test]
fn a_redo_that_fails_leaves_the_old_model_and_recipe() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    let wild = ["pretrain", "--quiet", "--redo", "--set", "pretrain.lr_peak=1e30", "--out"];
    refuse(reseek().args(wild).arg(&out), &["pretrain", "step "]);
    succeed(reseek().args(["replicate", "--quiet", "--out"]).arg(&out));
    fs::remove_dir_all(out.join("redo")).unwrap();
    assert_same_bytes(&out, &run.out);
}
