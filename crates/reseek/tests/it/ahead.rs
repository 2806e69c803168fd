//! Before work begins: what is said, what is refused and what is asked; and that the prediction counts what the engine computes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reseek_model::Weights;
use reseek_sim::laptop::product_flops;
use reseek_spec::{ModelSpec, Scale};
use reseek_tensor::profile::{Op, record};
use reseek_train::{Hyper, Learner, Sequence, StepSettings};

use crate::common::{Scratch, copy, finished, reseek, stage, stderr, succeed};

/// What a command said that ended as a mistake of the user does, with every one of `parts`.
fn refused(command: &mut Command, parts: &[&str]) -> String {
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{command:?}: no {part:?} in\n{message}");
    }
    message
}

/// A command of the tiny recipe that is not quiet.
fn loud(scratch: &Scratch, name: &str, data: &Path, out: &Path) -> Output {
    let mut command = reseek();
    command.args([name, "--scale", "smoke", "--recipe"]).arg(scratch.join("tiny.toml"));
    let output = command.arg("--data").arg(data).arg("--out").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

#[test]
fn problems_without_solutions_are_found_before_anything_is_made() {
    let scratch = Scratch::new();
    let (data, out) = (scratch.text(), scratch.join("run"));
    let lines: String =
        (0..40).map(|i| format!("{{\"question\": \"What is 3 times {i}?\", \"answer\": {}}}\n", 3 * i)).collect();
    fs::write(data.join("problems.jsonl"), lines).unwrap();
    let message =
        refused(&mut stage(&scratch, "replicate", &data, &out), &["r1_cold_start", "worked solution", "####"]);
    assert!(message.trim_end().ends_with('.') && !out.exists(), "{message}");
    // The stages before R1 need none.
    succeed(&mut stage(&scratch, "tokenizer", &data, &out));
    fs::remove_file(data.join("problems.jsonl")).unwrap();
    let nothing = ["--set", "r1.rejection_questions=0", "--set", "r1.general_samples=0"];
    let other = scratch.join("other");
    refused(stage(&scratch, "replicate", &data, &other).args(nothing), &["r1.rejection_questions", "both 0"]);
}

#[test]
fn more_than_an_hour_is_not_begun_unasked() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    let long = ["--set", "pretrain.tokens=10000000000"];
    let message = refused(stage(&scratch, "replicate", &text, &out).args(long), &["predicted to take", "--yes"]);
    assert!(!out.exists(), "{message}");
    // A stage that takes seconds is not asked for, whatever comes after it, and --yes asks for all.
    succeed(stage(&scratch, "tokenizer", &text, &out).args(long));
    refused(stage(&scratch, "pretrain", &text, &out).args(long), &["--yes"]);
    assert!(!out.join("pretrain").exists());
    let mut begun = stage(&scratch, "pretrain", &text, &out).args(long).arg("--yes").spawn().unwrap();
    while !out.join("pretrain/begun.json").exists() {
        assert!(begun.try_wait().unwrap().is_none(), "--yes did not begin");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    begun.kill().unwrap();
    begun.wait().unwrap();
}

#[test]
fn the_help_says_how_long_a_scale_takes() {
    let help = succeed(reseek().args(["replicate", "--help"]));
    let line: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(line.contains("nano (minutes), micro (an evening) or mini (a night) on two cores"), "{help}");
    // What takes years is no rung.
    refused(reseek().args(["config", "--scale", "small"]), &["smoke, nano, micro, mini"]);
}

#[test]
fn time_memory_and_disk_are_said_of_what_is_still_to_be_done() {
    let scratch = Scratch::new();
    let run = finished();
    let out = scratch.join("again");
    copy(&run.out, &out);
    let nothing = stderr(&loud(&scratch, "replicate", &run.text, &out));
    assert!(!nothing.contains("predicted"), "{nothing}");
    fs::remove_dir_all(out.join("eval")).unwrap();
    let eval = stderr(&loud(&scratch, "replicate", &run.text, &out));
    let line = eval.lines().find(|line| line.starts_with("predicted")).unwrap();
    for part in ["MiB of memory", "MiB of disk"] {
        assert!(line.contains(part), "{line}");
    }
    // The rates are those that the run began with.
    let prediction = fs::read_to_string(out.join("prediction.json")).unwrap();
    assert_eq!(prediction, fs::read_to_string(run.out.join("prediction.json")).unwrap());
}

#[test]
fn what_was_read_is_said_with_its_side() {
    let scratch = Scratch::new();
    let (data, out) = (scratch.text(), scratch.join("run"));
    let line = |i: u64| {
        let solution = format!("{i} + {i} = <<{i}+{i}={0}>>{0}", 2 * i);
        serde_json::json!({"question": format!("What is 2 times {i}?"), "answer": format!("{solution}\n#### {}", 2 * i)}).to_string()
    };
    fs::write(data.join("train.jsonl"), (0..40).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    fs::write(data.join("test.jsonl"), (38..60).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    fs::write(data.join("LICENSE"), "MIT").unwrap();
    let said = stderr(&loud(&scratch, "tokenizer", &data, &out));
    for part in [
        "documents to train on",
        "38 to train on, 0 to choose settings by, 22 to test by",
        "train.jsonl",
        "40 problems, to train on, as its name says",
        "22 problems, to test by, as its name says",
        "2 problems to train on whose question is one to test by",
        "LICENSE",
        "60 files of text with 60 texts",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

/// The prediction charges for each product once forward and twice backward. Should the engine compute one again, or no longer keep one,
/// its own record of a step has other operations than these.
#[test]
fn the_prediction_counts_the_products_that_the_engine_computes() {
    let rows = |i: u32| -> Sequence {
        let tokens: Vec<u32> = (0..65).map(|j| (7 * i + 11 * j) % 256).collect();
        (tokens[..64].to_vec(), tokens[1..].to_vec())
    };
    let batch: Vec<Sequence> = (0..8).map(rows).collect();
    for model in [ModelSpec::ladder(Scale::Smoke, 256), ModelSpec::student(Scale::Smoke, 256)] {
        for mtp_lambda in [0.0, 0.3] {
            let share = f64::from(u8::from(mtp_lambda > 0.0));
            let mut learner = Learner::new(Weights::init(model.clone(), 1).unwrap());
            let hyper = Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.95, weight_decay: 0.0, clip: 1.0 };
            let settings =
                StepSettings { hyper, mtp_lambda, mtp_share: 1.0, balance_alpha: 0.0, bias_speed: 0.0, lanes: 2 };
            let (_, events) = record(|| learner.step(&batch, &settings).unwrap());
            let is_product = |op| matches!(op, Op::Matmul | Op::MatmulFewRows | Op::MatmulTransposed);
            let counted: u64 = events.iter().filter(|e| is_product(e.op)).map(|e| e.flops).sum();
            let expected = 8.0 * 64.0 * product_flops(&model, share);
            // The MTP module's head leaves out the last row of a sequence, which has no second next token.
            let off = counted as f64 / expected - 1.0;
            assert!(off.abs() < 0.01, "{:?}, MTP {share}: {:+.1} %", model.family, 100.0 * off);
        }
    }
}
