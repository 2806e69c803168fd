//! A disk that takes no more bytes, by real means: a child process under a file-size limit (`ulimit -f`), whose
//! writes fail the way they do on a full disk. The child is this test binary again, told by an environment
//! variable what to do.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reseek_spec::TensorSpec;
use reseek_store::{
    FolderOptions, Moment, SHARD_BYTES_MAX, StateDir, StepLog, TrainState, WeightFormat, save_checkpoint, verify_dir,
    write_atomic, write_folder,
};
use serde_json::{Value, json};

use crate::common::{LLAMA, Scratch, assert_names, borrowed, sidecars, spec, tensors, tree, values};

const CHILD: &str = "RESEEK_STORE_TEST_LIMITED";
/// In units of 512 bytes, as POSIX has it; some shells count 1024.
const LIMIT: &str = "16";
const LIMIT_BYTES_MAX: usize = 16 * 1024;

fn state(step: u64, len: usize) -> TrainState<'static> {
    TrainState {
        step,
        weights: values(len, step).into(),
        m: Moment::F32(values(len, step + 1).into()),
        v: Moment::F32(values(len, step + 2).into()),
        buffers: BTreeMap::new(),
        cursor: Value::Null,
        counters: BTreeMap::new(),
        extra: Value::Null,
    }
}

/// Runs only as the child: does what it is told and prints the error.
#[test]
fn child_under_a_limit() {
    let Ok(task) = env::var(CHILD) else { return };
    let (task, dir) = task.split_once(' ').unwrap();
    let dir = Path::new(dir);
    let error = match task {
        "file" => write_atomic(&dir.join("file"), &vec![7; 4 * LIMIT_BYTES_MAX]).unwrap_err(),
        "state" => StateDir::open(&dir.join("state")).unwrap().save(&state(2, LIMIT_BYTES_MAX)).unwrap_err(),
        "model" => {
            let mut spec = spec(LLAMA);
            spec.vocab_size = 4096;
            let tensors = tensors(&spec);
            save_checkpoint(&dir.join("model"), &spec, borrowed(&tensors), &sidecars(), Value::Null).unwrap_err()
        }
        "folder" => {
            let mut spec = spec(LLAMA);
            spec.vocab_size = 4096;
            let options = FolderOptions {
                format: WeightFormat::Bf16,
                shard_bytes_max: SHARD_BYTES_MAX,
                config: None,
                files: &[],
                source: None,
                meta: Value::Null,
            };
            let read = |tensor: &TensorSpec| Ok(vec![0.5; tensor.shape.iter().product()].into());
            write_folder(&dir.join("new/model"), &spec, read, &options).unwrap_err()
        }
        "rows" => {
            let mut log = StepLog::open(&dir.join("metrics.jsonl"), 1).unwrap();
            (1..).find_map(|step| log.append(step, &json!({"loss": 1.0})).err()).unwrap()
        }
        other => panic!("unknown task {other}"),
    };
    println!("ERROR {error}");
}

fn run_limited(task: &str, dir: &Path) -> Output {
    // XFSZ is ignored so that the write returns an error instead of ending the process.
    let script =
        format!("trap '' XFSZ; ulimit -f {LIMIT}; exec \"$0\" limits::child_under_a_limit --exact --nocapture");
    Command::new("sh")
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .env(CHILD, format!("{task} {}", dir.display()))
        .output()
        .unwrap()
}

/// What the child reported.
fn error_of(task: &str, dir: &Path) -> String {
    let output = run_limited(task, dir);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = stdout.lines().find_map(|line| line.split_once("ERROR ").map(|(_, error)| error.to_owned()));
    error.unwrap_or_else(|| panic!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_refused_write_keeps_the_old_file_and_frees_its_room() {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), b"old").unwrap();
    let error = error_of("file", scratch.path());
    assert_names(&error, &["cannot write", "/file", "File too large", ". ", "nothing finished is lost"]);
    assert_eq!(tree(scratch.path()), BTreeMap::from([("file".to_owned(), b"old".to_vec())]));
}

#[test]
fn a_refused_state_keeps_the_one_before() {
    let scratch = Scratch::new();
    let states = StateDir::open(&scratch.join("state")).unwrap();
    states.save(&state(1, 5)).unwrap();
    let before = tree(scratch.path());
    let error = error_of("state", scratch.path());
    assert_names(&error, &["cannot write", "state.safetensors", "File too large"]);
    assert_eq!(tree(scratch.path()), before);
    assert_eq!(states.load().unwrap().unwrap().state, state(1, 5));
}

#[test]
fn a_refused_model_is_no_model() {
    let scratch = Scratch::new();
    let error = error_of("model", scratch.path());
    assert_names(&error, &["cannot write", "model.safetensors", "File too large"]);
    assert_names(&verify_dir(&scratch.join("model")).unwrap_err(), &["no manifest.json", "never finished"]);
}

#[test]
fn a_refused_folder_is_not_there() {
    let scratch = Scratch::new();
    let error = error_of("folder", scratch.path());
    assert_names(&error, &["cannot write", "model.safetensors", "File too large"]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_torn_row_is_cut_when_the_run_goes_on() {
    let scratch = Scratch::new();
    let path = scratch.join("metrics.jsonl");
    StepLog::open(&path, 0).unwrap().append(0, &json!({"loss": 2.0})).unwrap();
    let error = error_of("rows", scratch.path());
    assert_names(&error, &["cannot append to", "metrics.jsonl", "File too large"]);
    StepLog::open(&path, 2).unwrap().append(2, &json!({"loss": 0.5})).unwrap();
    let expected = "{\"step\":0,\"loss\":2.0}\n{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"loss\":0.5}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}
