//! `kill -9` at many moments. A child process (this test binary again) works on a small stage; the parent kills
//! it, lets another go on, and at the end compares every byte with a run that was never disturbed.

#![cfg(unix)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reseek_store::{Moment, RunDir, StepLog, StoreError, TrainState, save_checkpoint};
use serde_json::json;

use crate::common::{LLAMA, Scratch, SplitMix, assert_names, borrowed, sidecars, spec, tensors, tree, values};

const CHILD: &str = "RESEEK_STORE_TEST_KILL";
const STEPS: u64 = 24;
const INPUTS: &str = "inputs";

/// One stage, from wherever it stands to its end. Says on stdout what it is about to do.
fn work(dir: &Path, say: &dyn Fn(&str)) {
    let run = RunDir::create_or_open(dir, "configuration", 7).unwrap();
    run.write("config.toml", b"scale = 'nano'\n").unwrap();
    let stage = run.stage("pretrain").unwrap();
    if stage.is_done(INPUTS).unwrap() {
        return;
    }
    stage.begin(INPUTS).unwrap();
    let states = stage.state().unwrap();
    let loaded = states.load().unwrap();
    // A kill leaves nothing half done, so nothing is ever found damaged.
    assert!(loaded.as_ref().is_none_or(|l| l.damaged.is_empty()));
    let mut state = loaded.map_or_else(start, |l| l.state);
    let mut metrics = StepLog::open(&stage.path().join("metrics.jsonl"), state.step).unwrap();
    let mut samples = StepLog::open(&stage.path().join("samples.jsonl"), state.step).unwrap();
    while state.step < STEPS {
        say("step");
        advance(&mut state);
        let step = state.step - 1;
        metrics.append(step, &json!({"loss": state.weights[0], "norm": state.extra["norm"]})).unwrap();
        for n in 0..2 {
            samples.append(step, &json!({"n": n, "text": format!("第{step} step")})).unwrap();
        }
        if state.step.is_multiple_of(3) {
            metrics.sync().unwrap();
            samples.sync().unwrap();
            say("save");
            states.save(&state).unwrap();
        }
    }
    say("model");
    let spec = spec(LLAMA);
    save_checkpoint(stage.path(), &spec, borrowed(&tensors(&spec)), &sidecars(), json!({})).unwrap();
    say("done");
    stage.mark_done(INPUTS, &[".", "metrics.jsonl", "samples.jsonl"]).unwrap();
}

fn start() -> TrainState<'static> {
    let flat = |seed| Cow::Owned(values(5000, seed));
    TrainState {
        step: 0,
        weights: flat(1),
        m: Moment::F32(flat(2)),
        v: Moment::F32(flat(3)),
        buffers: BTreeMap::new(),
        cursor: json!(0),
        counters: BTreeMap::new(),
        extra: json!({"norm": 1.0}),
    }
}

/// A step whose result depends on every bit of the state before it.
fn advance(state: &mut TrainState<'_>) {
    let norm = state.extra["norm"].as_f64().unwrap();
    let Moment::F32(m) = &mut state.m else { panic!("a moment in f32") };
    for (w, m) in state.weights.to_mut().iter_mut().zip(m.iter()) {
        *w = *w * 0.99 + m * norm as f32;
    }
    m.to_mut().rotate_left(1);
    state.extra = json!({"norm": (norm * 1.7).sin() / 3.0});
    state.cursor = json!(state.step * 17);
    state.step += 1;
}

/// Runs only as the child.
#[test]
fn child_at_work() {
    let Ok(dir) = env::var(CHILD) else { return };
    work(Path::new(&dir), &|what| println!("\nNOW {what}"));
}

fn child(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["kill::child_at_work", "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a child a moment after it has said `what` for the `count`th time; false if it ended before.
fn kill_after(dir: &Path, what: &str, count: usize, delay: Duration) -> bool {
    let mut child = child(dir);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).filter(|line| line == &format!("NOW {what}")).take(count).count();
    std::thread::sleep(delay);
    // SIGKILL on Unix.
    child.kill().unwrap();
    child.wait().unwrap();
    seen == count
}

#[test]
fn a_run_killed_again_and_again_ends_in_the_bytes_of_one_that_was_not() {
    let scratch = Scratch::new();
    let (undisturbed, disturbed) = (scratch.join("a"), scratch.join("b"));
    work(&undisturbed, &|_| ());
    let mut random = SplitMix(2);
    let mut killed = 0;
    let mut points = vec![("step", 1), ("step", 2), ("save", 1), ("save", 1), ("step", 4), ("save", 2), ("save", 1)];
    points.extend([("step", 5), ("save", 1), ("save", 2), ("save", 1), ("model", 1), ("model", 1), ("model", 1)]);
    points.extend([("model", 1), ("done", 1), ("done", 1)]);
    for (what, count) in points {
        let delay = Duration::from_micros(random.below(4000) as u64);
        killed += usize::from(kill_after(&disturbed, what, count, delay));
    }
    assert!(killed >= 8, "only {killed} children were caught at work");
    work(&disturbed, &|_| ());
    let (mut a, mut b) = (tree(&undisturbed), tree(&disturbed));
    // The lock names the process that held it last.
    a.remove("lock");
    b.remove("lock");
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

const SWAPPER: &str = "RESEEK_STORE_TEST_SWAP";

/// Runs only as the child: makes a stage anew, again and again, each time as another version of two files.
#[test]
fn child_that_makes_anew() {
    let Ok(dir) = env::var(SWAPPER) else { return };
    let run = RunDir::create_or_open(Path::new(&dir), "configuration", 7).unwrap();
    let from = run.stage("zero").unwrap();
    let first: u64 = std::fs::read_to_string(from.path().join("a")).unwrap().parse().unwrap();
    for version in first + 1.. {
        let beside = run.redo("zero").unwrap();
        beside.begin(version).unwrap();
        for name in ["a", "b"] {
            beside.write(name, version.to_string().as_bytes()).unwrap();
        }
        beside.mark_done(version, &["a", "b"]).unwrap();
        println!("\nNOW swap");
        run.replace("zero").unwrap();
    }
}

#[test]
fn a_stage_made_anew_is_the_old_one_or_the_new_one_after_every_kill() {
    let scratch = Scratch::new();
    let run = RunDir::create_or_open(scratch.path(), "configuration", 7).unwrap();
    let stage = run.stage("zero").unwrap();
    stage.begin(0).unwrap();
    stage.write("a", b"0").unwrap();
    stage.write("b", b"0").unwrap();
    stage.mark_done(0, &["a", "b"]).unwrap();
    drop((run, stage));
    let mut random = SplitMix(3);
    let mut last = 0;
    for round in 0..24 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["kill::child_that_makes_anew", "--exact", "--nocapture"])
            .env(SWAPPER, scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.map_while(Result::ok).filter(|line| line == "NOW swap").take(1 + round % 3).for_each(drop);
        std::thread::sleep(Duration::from_micros(random.below(600) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // On Linux before anyone opens the run: a reader takes no lock and mends nothing. Elsewhere names cannot change places in one
        // call, and the next opening ends what was begun.
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            drop(RunDir::create_or_open(scratch.path(), "configuration", 7).unwrap());
        }
        let read = |name: &str| std::fs::read_to_string(scratch.join(&format!("zero/{name}"))).unwrap();
        let (a, b) = (read("a"), read("b"));
        assert!(a == b && a.parse::<u64>().unwrap() >= last, "{a} beside {b} after {last}");
        last = a.parse().unwrap();
        let run = RunDir::create_or_open(scratch.path(), "configuration", 7).unwrap();
        assert!(run.stage("zero").unwrap().is_done(last).unwrap());
    }
    assert!(last > 12, "only {last} swaps");
}

#[test]
fn a_live_process_holds_the_run_and_a_killed_one_does_not() {
    let scratch = Scratch::new();
    let mut child = child(scratch.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "NOW step"));
    let while_alive = RunDir::create_or_open(scratch.path(), "configuration", 7);
    child.kill().unwrap();
    child.wait().unwrap();
    // The child may have been quick enough to finish; a refusal must name it.
    if let Err(error) = while_alive {
        assert!(matches!(error, StoreError::Locked { .. }));
        assert_names(&error, &[&child.id().to_string()]);
    }
    RunDir::create_or_open(scratch.path(), "configuration", 7).unwrap();
}
