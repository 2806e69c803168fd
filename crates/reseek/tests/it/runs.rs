//! `reseek runs`: what there is, two runs beside each other, copies.

use std::fs;

use serde_json::Value;

use crate::common::{Scratch, assert_same_bytes, copy, finished, refuse, reseek, stage, succeed};

#[test]
fn runs_are_listed_with_what_is_out_of_date() {
    let run = finished();
    let scratch = Scratch::new();
    let runs = scratch.join("runs");
    copy(&run.out, &runs.join("whole"));
    copy(&run.out, &runs.join("old"));
    succeed(reseek().args(["zero", "--quiet", "--redo", "--set", "zero.steps=1", "--out"]).arg(runs.join("old")));
    succeed(&mut stage(&scratch, "tokenizer", &run.text, &runs.join("begun")));
    fs::create_dir(runs.join("notes")).unwrap();

    let rows: Vec<Value> =
        serde_json::from_str(&succeed(reseek().args(["runs", "list", "--json"]).arg(&runs))).unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["run"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["begun", "old", "whole"]);
    let summary: Value = serde_json::from_slice(&fs::read(run.out.join("summary.json")).unwrap()).unwrap();
    let whole = &rows[2];
    assert_eq!((&whole["seed"], &whole["scale"]), (&Value::from(1), &Value::from("smoke")));
    assert_eq!(whole["config_hash"], summary["config_hash"]);
    assert_eq!(whole["scores"]["r1"], summary["models"]["r1"]["tasks"]["heldout"]["pass_at_1"]);
    assert_eq!((whole["finished"].as_array().unwrap().len(), whole["out_of_date"].as_array().unwrap().len()), (13, 0));
    assert_eq!(rows[0]["finished"], serde_json::json!(["tokenizer"]));
    assert_eq!(rows[1]["out_of_date"], serde_json::json!(["eval was made from another zero"]));

    let text = succeed(reseek().args(["runs", "list"]).arg(&runs));
    for part in ["13 of 13", "1 of 13", "out of date: eval was made from another zero", "student_rl"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    refuse(reseek().args(["runs", "list"]).arg(scratch.join("nowhere")), &["nowhere", "Name the folder"]);
}

#[test]
fn two_runs_are_compared_problem_by_problem() {
    let run = finished();
    let scratch = Scratch::new();
    let (same, other) = (scratch.join("same"), scratch.join("other"));
    copy(&run.out, &same);
    copy(&run.out, &other);
    let diff = |b: &std::path::Path| -> Value {
        serde_json::from_str(&succeed(reseek().args(["runs", "diff", "--json"]).arg(&run.out).arg(b))).unwrap()
    };
    let of_zero =
        |diff: &Value| diff["scores"].as_array().unwrap().iter().find(|s| s["model"] == "zero").unwrap().clone();
    let equal = diff(&same);
    assert_eq!(equal["recipe"], serde_json::json!([]));
    let zero = of_zero(&equal);
    assert_eq!((&zero["difference"], &zero["paired"]), (&Value::from(0.0), &Value::from(true)));
    assert_eq!((&zero["ci_low"], &zero["ci_high"]), (&Value::from(0.0), &Value::from(0.0)), "difficulty cancels");

    // Other problems: the interval is that of two independent means, and it is said.
    let eval = ["eval", "--quiet", "--redo", "--set", "eval.problems=5", "--out"];
    succeed(reseek().args(eval).arg(&other));
    let unequal = diff(&other);
    assert_eq!(unequal["recipe"], serde_json::json!([{"key": "eval.problems", "a": "6", "b": "5"}]));
    assert_eq!(of_zero(&unequal)["paired"], false);
    let text = succeed(reseek().args(["runs", "diff"]).arg(&run.out).arg(&other));
    assert!(text.contains("not paired") && text.contains("eval.problems"), "{text}");
    let text = succeed(reseek().args(["runs", "diff"]).arg(&run.out).arg(&same));
    assert!(text.contains("paired by problem") && text.contains("The recipes are the same."), "{text}");

    fs::write(other.join("eval/zero.json"), "{}").unwrap();
    refuse(reseek().args(["runs", "diff"]).arg(&run.out).arg(&other), &["eval/zero.json", "damaged"]);
}

#[test]
fn a_copy_is_a_run_and_never_half_of_one() {
    let run = finished();
    let scratch = Scratch::new();
    let (first, second) = (scratch.join("first"), scratch.join("deep/second"));
    copy(&run.out, &first);
    let copying = |from: &std::path::Path, to: &std::path::Path| {
        let mut command = reseek();
        command.args(["runs", "copy"]).arg(from).arg(to);
        command
    };
    let said = succeed(copying(&first, &second).arg("--json"));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["files"].as_u64().unwrap() > 60, "{said}");
    assert_same_bytes(&second, &run.out);
    succeed(reseek().args(["replicate", "--quiet", "--out"]).arg(&second));
    assert_same_bytes(&second, &run.out);

    refuse(&mut copying(&first, &second), &["second is there already"]);
    refuse(&mut copying(&scratch.join("nowhere"), &scratch.join("third")), &["nowhere", "no manifest.json"]);
    refuse(&mut copying(&first, &first.join("inside")), &["inside", "in its original"]);
    // A damaged original does not become a copy that looks sound.
    let model = first.join("r1/model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    bytes[1000] ^= 1;
    fs::write(&model, bytes).unwrap();
    refuse(&mut copying(&first, &scratch.join("third")), &["r1/model.safetensors", "damaged"]);
    assert!(!scratch.join("third").exists() && !scratch.join(".third.reseek-tmp").exists());
}
