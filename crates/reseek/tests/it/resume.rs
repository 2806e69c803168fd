//! A run that was cut down or stopped goes on and ends in the bytes of an undisturbed one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Scratch, assert_same_bytes, finished, stage, stderr, succeed};

#[test]
fn killed_at_several_moments_it_ends_in_the_same_bytes() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("killed");
    // Milliseconds after the stage has begun: early, in the middle of a step, while something is being written.
    let moments = [
        ("tokenizer", 2),
        ("pretrain", 31),
        ("extend", 55),
        ("zero", 17),
        ("r1_cold_start", 9),
        ("r1_rl", 26),
        ("r1", 44),
        ("student_rl", 13),
        ("eval", 21),
    ];
    let mut cut = 0;
    for (name, delay) in moments {
        let mut child = spawn(stage(&scratch, "replicate", &run.text, &out));
        wait_for(&mut child, &out, &format!("{name}/begun.json"));
        std::thread::sleep(Duration::from_millis(delay));
        // Child::kill is SIGKILL: nothing gets to tidy up.
        child.kill().unwrap();
        cut += usize::from(!child.wait().unwrap().success());
    }
    assert!(cut >= 4, "only {cut} of {} kills met a running process", moments.len());
    succeed(&mut stage(&scratch, "replicate", &run.text, &out));
    assert_same_bytes(&out, &run.out);
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("stopped");
    let mut within = 0;
    for name in ["pretrain", "extend", "zero", "r1_rl", "r1", "student_rl"] {
        let mut child = spawn(stage(&scratch, "replicate", &run.text, &out));
        wait_for(&mut child, &out, &format!("{name}/metrics.jsonl"));
        signal(&child, "INT");
        let output = child.wait_with_output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{name}: {message}");
        assert!(message.contains("The same command again goes on"), "{name}: {message}");
        if message.contains("the state is saved") {
            within += 1;
            // A kill right after the stop must not cost the saved state.
            let mut child = spawn(stage(&scratch, "replicate", &run.text, &out));
            std::thread::sleep(Duration::from_millis(60));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert!(within >= 2, "only {within} stops met a stage between two steps");
    succeed(&mut stage(&scratch, "replicate", &run.text, &out));
    assert_same_bytes(&out, &run.out);
}

#[test]
fn one_thread_gives_the_bytes_of_two() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("one");
    succeed(stage(&scratch, "replicate", &run.text, &out).env("RESEEK_THREADS", "1"));
    assert_same_bytes(&out, &run.out);
}

#[test]
fn stage_by_stage_gives_the_bytes_of_replicate() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("stages");
    for name in ["tokenizer", "pretrain", "extend", "zero", "r1", "distil", "eval", "report"] {
        succeed(&mut stage(&scratch, name, &run.text, &out));
    }
    assert_same_bytes(&out, &run.out);
}

pub fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until this process works in the run and `file` is there, or it has ended by itself.
pub fn wait_for(child: &mut Child, run: &Path, file: &str) {
    let start = Instant::now();
    let works = |id: u32| fs::read_to_string(run.join("lock")).is_ok_and(|text| text.trim() == id.to_string());
    while !(works(child.id()) && run.join(file).exists()) && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "{file} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}
