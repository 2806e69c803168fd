use std::fs;

use reseek_store::{StepLog, read_metrics};
use serde::Serialize;
use serde_json::json;

use crate::common::{Scratch, assert_names};

#[derive(Serialize)]
struct Fields {
    tokens: u64,
    loss: f32,
    kl: f64,
}

fn write(path: &std::path::Path, steps: std::ops::Range<u64>) {
    let mut log = StepLog::open(path, steps.start).unwrap();
    for step in steps {
        let fields = Fields { tokens: 256 * step, loss: 1.0 / (step as f32 + 3.0), kl: 1e-300 };
        log.append(step, &fields).unwrap();
        log.append(step, &json!({"sample": "a\nb"})).unwrap();
    }
    log.sync().unwrap();
}

#[test]
fn a_row_is_one_line_with_the_step_first_and_f32_in_its_own_digits() {
    let scratch = Scratch::new();
    let path = scratch.join("metrics.jsonl");
    write(&path, 0..1);
    let expected = "{\"step\":0,\"tokens\":0,\"loss\":0.33333334,\"kl\":1e-300}\n{\"step\":0,\"sample\":\"a\\nb\"}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    let rows = read_metrics(&path).unwrap();
    assert_eq!(rows[0]["kl"], json!(1e-300));
    assert_eq!(rows[1]["sample"], json!("a\nb"));
}

#[test]
fn a_cut_at_any_byte_and_a_resume_at_any_whole_step_give_the_same_file() {
    let scratch = Scratch::new();
    let path = scratch.join("metrics.jsonl");
    write(&path, 0..4);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        let rows = whole[..length].iter().filter(|&&b| b == b'\n').count() as u64;
        // The rows of `step` are there in full, so a state of any step up to it may have been saved.
        for step in 0..=rows / 2 {
            fs::write(&path, &whole[..length]).unwrap();
            write(&path, step..4);
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {length}, resumed at {step}");
        }
    }
}

#[test]
fn a_reader_beside_the_writer_sees_whole_rows_only() {
    let scratch = Scratch::new();
    let path = scratch.join("metrics.jsonl");
    fs::write(&path, "{\"step\":1}\n{\"step\":2}\n{\"st").unwrap();
    assert_eq!(read_metrics(&path).unwrap().len(), 2);
}

#[test]
fn a_damaged_row_is_named_by_its_line() {
    let scratch = Scratch::new();
    let path = scratch.join("metrics.jsonl");
    for damaged in ["nonsense", "{\"loss\":1}", "{\"step\":-1}", "{\"step\":1.5}", "[1]", "\u{0}"] {
        fs::write(&path, format!("{{\"step\":0}}\n{damaged}\n{{\"step\":9}}\n")).unwrap();
        assert_names(&read_metrics(&path).unwrap_err(), &["metrics.jsonl", "line 2", ". "]);
        assert_names(&StepLog::open(&path, 5).unwrap_err(), &["metrics.jsonl", "line 2"]);
    }
    fs::write(&path, b"{\"step\":0}\n\xff\xff\n").unwrap();
    assert_names(&read_metrics(&path).unwrap_err(), &["line 2"]);
}

#[test]
fn absent_files_and_folders() {
    let scratch = Scratch::new();
    assert_names(&read_metrics(&scratch.join("none.jsonl")).unwrap_err(), &["none.jsonl", "No such file"]);
    assert_names(&StepLog::open(&scratch.join("no/m.jsonl"), 0).unwrap_err(), &["no/m.jsonl", "cannot open"]);
}

#[test]
#[should_panic(expected = "step 3 after step 4")]
fn steps_must_rise() {
    let scratch = Scratch::new();
    let mut log = StepLog::open(&scratch.join("m.jsonl"), 0).unwrap();
    log.append(4, &json!({})).unwrap();
    let _ = log.append(3, &json!({}));
}

#[test]
#[should_panic(expected = "a map without `step`")]
fn a_row_has_one_step() {
    let scratch = Scratch::new();
    let mut log = StepLog::open(&scratch.join("m.jsonl"), 0).unwrap();
    let _ = log.append(4, &json!({"step": 5}));
}
