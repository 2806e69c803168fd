//! Any model measured on a task, and trained by rules: `eval MODEL --task` and `rl`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Scratch, assert_equal_folders, finished, refuse, reseek, succeed};

/// A task of four sums for the chain's own R1-Zero.
const TASK: &str = r#"
name = "sums"
about = "four sums"
file = "sums.jsonl"
from = "this test"
problems = 4
k = 2
temperature = 1.0
top_p = 1.0
max_new_tokens = 8

[ask]
form = "r1_zero"
system = ""
question = "{question}"
stop = []
extract = "tags"

[[published]]
model = "another"
score = 0.5
how = "greedy"
source = "a table"
"#;

fn problems(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.join("data");
    fs::create_dir_all(&folder).unwrap();
    let line = |i: u64| format!("{{\"question\": \"What is {i}+{}?\", \"answer\": \"{}\"}}\n", i + 1, 2 * i + 1);
    fs::write(folder.join("sums.jsonl"), (1..5).map(line).collect::<String>()).unwrap();
    fs::write(scratch.join("sums.toml"), TASK).unwrap();
    folder
}

fn eval(scratch: &Scratch, model: &Path, more: &[&str]) -> Command {
    let mut command = reseek();
    command.arg("eval").arg(model).arg("--task").arg(scratch.join("sums.toml")).arg("--data").arg(scratch.join("data"));
    command.arg("--out").arg(scratch.join("measured")).args(more);
    command
}

/// The only folder that a measurement made.
fn measured(scratch: &Scratch) -> std::path::PathBuf {
    let folders = fs::read_dir(scratch.join("measured")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.remove(0)
}

#[test]
fn a_model_is_measured_and_another_look_draws_no_sample() {
    let (run, scratch) = (finished(), Scratch::new());
    problems(&scratch);
    let model = run.out.join("zero");
    let said = succeed(&mut eval(&scratch, &model, &["--json", "--quiet"]));
    let row: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (row["task"].as_str(), row["extract"].as_str(), row["n"].as_u64()),
        (Some("sums"), Some("tags"), Some(4))
    );
    assert_eq!(row["pass_at_k"].as_array().unwrap().len(), 2);
    let samples = measured(&scratch).join("samples.jsonl");
    let before = (fs::read(&samples).unwrap(), fs::metadata(&samples).unwrap().modified().unwrap());
    assert_eq!(String::from_utf8_lossy(&before.0).lines().count(), 4);
    let again = succeed(&mut eval(&scratch, &model, &["--extract", "last_number,tags", "--quiet"]));
    assert!(
        again.contains("by last_number") && again.contains("by tags") && again.contains("0.500 published"),
        "{again}"
    );
    assert_eq!((fs::read(&samples).unwrap(), fs::metadata(&samples).unwrap().modified().unwrap()), before);
    // Elsewhere, the same bytes.
    let folder = measured(&scratch);
    fs::rename(scratch.join("measured"), scratch.join("first")).unwrap();
    succeed(&mut eval(&scratch, &model, &["--extract", "last_number,tags", "--quiet"]));
    assert_equal_folders(&scratch.join("measured"), &scratch.join("first"));
    // A verdict for each sample.
    let verdicts = fs::read_to_string(folder.join("verdicts-tags.jsonl")).unwrap();
    assert_eq!(verdicts.lines().count(), 8);
    // A model against itself.
    let mut both = reseek();
    both.arg("eval").args([&model, &model]).arg("--task").arg(scratch.join("sums.toml"));
    both.arg("--data").arg(scratch.join("data")).arg("--out").arg(scratch.join("measured")).arg("--quiet");
    assert!(succeed(&mut both).contains("+0.000 (+0.000 to +0.000) above the first"));
}

#[test]
fn what_cannot_be_measured_says_why() {
    let (run, scratch) = (finished(), Scratch::new());
    let data = problems(&scratch);
    let model = run.out.join("zero");
    refuse(&mut eval(&scratch, &model, &["--extract", "boxes"]), &["no extraction called \"boxes\"", "last_number"]);
    refuse(&mut eval(&scratch, &model, &["--temperature", "0"]), &["2 samples of a problem at temperature 0"]);
    refuse(&mut eval(&scratch, &run.out, &[]), &["is a run, not a model"]);
    fs::write(data.join("sums.jsonl"), "{\"question\": \"a\", \"answer\": \"1\"}\n").unwrap();
    refuse(&mut eval(&scratch, &model, &[]), &["has 1 problems", "is measured on 4"]);
    fs::remove_file(data.join("sums.jsonl")).unwrap();
    refuse(&mut eval(&scratch, &model, &[]), &["sums needs", "sums.jsonl", "--data"]);
    problems(&scratch);
    let chat = TASK.replace("r1_zero", "chat");
    fs::write(scratch.join("sums.toml"), chat).unwrap();
    refuse(&mut eval(&scratch, &run.out.join("extend"), &[]), &["has no chat template", "ask.form = \"text\""]);
    assert!(!scratch.join("measured").exists(), "a refused command made a folder");
}

/// R1-Zero of the chain, trained further.
const RECIPE: &str = r#"
lanes = 2

[tasks]
families = ["addition"]

[ask]
form = "r1_zero"
question = "{question}"
extract = "tags"
shots = []

[rl]
steps = 4
questions = 2
group = 4
lr = 0.001
max_new_tokens = 8

[rl.rewards]
accuracy = 1.0
language = 1.0

[eval]
problems = 4
k = 2
max_new_tokens = 8
"#;

fn rl(scratch: &Scratch, model: &Path, out: &str, more: &[&str]) -> Command {
    fs::write(scratch.join("mine.toml"), RECIPE).unwrap();
    let mut command = reseek();
    command.args(["rl", "--quiet", "--model"]).arg(model).arg("--recipe").arg(scratch.join("mine.toml"));
    command.arg("--out").arg(scratch.join(out)).args(more);
    command
}

/// Starts a command until it comes to its end, and kills it a little later each time: within steps, while something is written, between two
/// writes.
fn killed_again_and_again(command: impl Fn() -> Command) {
    let mut kills = 0;
    for delay in (20..).step_by(7) {
        let mut child = command().stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 3, "only {kills} kills met a running process");
}

#[test]
fn a_model_is_trained_to_the_same_bytes_however_often_it_was_stopped() {
    let (run, scratch) = (finished(), Scratch::new());
    let model = run.out.join("zero");
    let said = succeed(&mut rl(&scratch, &model, "whole", &["--json"]));
    let row: Value = serde_json::from_str(&said).unwrap();
    for part in ["before", "after"] {
        assert_eq!(row[part]["n"].as_u64(), Some(4), "{part}");
    }
    assert_eq!(fs::read_to_string(scratch.join("whole/rl/metrics.jsonl")).unwrap().lines().count(), 4);
    killed_again_and_again(|| rl(&scratch, &model, "cut", &[]));
    succeed(&mut rl(&scratch, &model, "cut", &[]));
    assert_equal_folders(&scratch.join("cut"), &scratch.join("whole"));
    // The same command again changes nothing.
    succeed(&mut rl(&scratch, &model, "cut", &[]));
    assert_equal_folders(&scratch.join("cut"), &scratch.join("whole"));
    let why = succeed(reseek().arg("why").arg(scratch.join("whole")).args(["--step", "2", "--json"]));
    let why: Value = serde_json::from_str(&why).unwrap();
    assert_eq!((why["step"].as_u64(), why["groups"].as_array().unwrap().len()), (Some(2), 2));
    let samples = why["groups"][0]["samples"].as_array().unwrap();
    let advantages: f64 = samples.iter().map(|sample| sample["advantage"].as_f64().unwrap()).sum();
    assert!(samples.len() == 4 && advantages.abs() < 1e-3, "{samples:?}");
    refuse(reseek().arg("why").arg(scratch.join("whole")).args(["--step", "4"]), &["has the steps 0 to 3"]);
    refuse(reseek().arg("why").arg(&run.out), &["was not made by `reseek rl`"]);
    // It is a model like any other, and another one than before.
    let score = |model: &Path| succeed(reseek().arg("score").arg(model).args(["--text", "What is 3+4?"]));
    assert_ne!(score(&scratch.join("whole/model")), score(&model));
}

#[test]
fn what_cannot_be_trained_says_why_and_makes_nothing() {
    let (run, scratch) = (finished(), Scratch::new());
    let model = run.out.join("zero");
    let refused = |more: &[&str], parts: &[&str]| {
        refuse(&mut rl(&scratch, &model, "none", more), parts);
        assert!(!scratch.join("none").exists(), "{more:?} made a folder");
    };
    refused(&["--set", "rl.algorithm=gpro"], &["no algorithm is called gpro"]);
    refused(&["--set", "rl.rewards.acuracy=1"], &["no reward is called acuracy"]);
    refused(&["--set", "tasks.families=[\"adition\"]"], &["adition"]);
    refused(&["--set", "ask.extract=boxes"], &["no extraction called \"boxes\""]);
    refused(&["--set", "rl.max_new_tokens=100000"], &["rl.max_new_tokens = 100000", "context"]);
    refused(&["--recipe", "zero-arithmatic"], &["nearest is zero-arithmetic"]);
    let empty = scratch.join("empty");
    fs::create_dir_all(&empty).unwrap();
    for name in ["a.txt", "b.txt"] {
        fs::write(empty.join(name), format!("Nothing to solve here, but a text that is long enough: {name}.")).unwrap();
    }
    refused(&["--data", empty.to_str().unwrap()], &["has no problems"]);
    succeed(&mut rl(&scratch, &model, "kept", &["--set", "rl.steps=1"]));
    let other = ["--set", "rl.steps=1", "--set", "rl.lr=0.1", "--seed", "2"];
    refuse(&mut rl(&scratch, &model, "kept", &other), &["rl.lr", "0.1 in this command", "seed 1 in the run, 2"]);
    let r1 = run.out.join("r1");
    refuse(&mut rl(&scratch, &r1, "kept", &["--set", "rl.steps=1"]), &["another model"]);
    refuse(reseek().arg("chat").arg(scratch.join("kept")), &["is a run, not a model", "kept/model"]);
}

/// Conversations for the chain's own R1, of which line 3 is broken where that is asked for.
fn traces(scratch: &Scratch, name: &str, is_broken: bool) -> std::path::PathBuf {
    let line = |i: u64| {
        let answer = format!("<think>\n{i} and one more.\n</think>\n\n{}", i + 1);
        serde_json::json!({"messages": [
            {"role": "user", "content": format!("What comes after {i}?")}, {"role": "assistant", "content": answer},
        ]})
        .to_string()
    };
    let mut lines: Vec<String> = (0..40).map(line).collect();
    if is_broken {
        lines[2] = "{\"messages\": 7}".to_string();
    }
    let path = scratch.join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn sft(model: &Path, data: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = reseek();
    command.args(["sft", "--quiet", "--model"]).arg(model).arg("--data").arg(data).arg("--out").arg(out);
    command.args(["--set", "sft.lr=0.003", "--set", "sft.lr_final=0.001", "--set", "example_tokens=120"]).args(more);
    command
}

#[test]
fn a_model_learns_from_conversations_to_the_same_bytes_however_often_it_was_stopped() {
    let (run, scratch) = (finished(), Scratch::new());
    let (model, data) = (run.out.join("r1"), traces(&scratch, "traces.jsonl", false));
    let whole = scratch.join("whole");
    let said: Value = serde_json::from_str(&succeed(&mut sft(&model, &data, &whole, &["--json"]))).unwrap();
    let loss = |part: &str| said[part]["mean"].as_f64().unwrap();
    assert!(loss("after") < loss("before") - 0.1, "{said}");
    killed_again_and_again(|| sft(&model, &data, &scratch.join("cut"), &[]));
    succeed(&mut sft(&model, &data, &scratch.join("cut"), &[]));
    assert_equal_folders(&scratch.join("cut"), &whole);
    // Asked again it says the same, and it is a model to train further.
    let again: Value = serde_json::from_str(&succeed(&mut sft(&model, &data, &whole, &["--json"]))).unwrap();
    assert_eq!(again, said);
    succeed(&mut sft(&whole.join("model"), &data, &scratch.join("further"), &["--set", "sft.epochs=1"]));
}

#[test]
fn what_cannot_be_learnt_says_why() {
    let (run, scratch) = (finished(), Scratch::new());
    let (model, data, out) = (run.out.join("r1"), traces(&scratch, "broken.jsonl", true), scratch.join("none"));
    refuse(&mut sft(&model, &data, &out, &[]), &["broken.jsonl:3: messages is no list", "--skip-bad"]);
    refuse(&mut sft(&run.out.join("extend"), &data, &out, &["--skip-bad"]), &["has no chat template"]);
    refuse(
        &mut sft(&model, &data, &out, &["--skip-bad", "--set", "example_tokens=5"]),
        &["at most 5 tokens", "39 are longer"],
    );
    refuse(&mut sft(&model, &scratch.join("absent"), &out, &[]), &["cannot read", "absent"]);
    assert!(!out.exists(), "a refused command made a folder");
    succeed(&mut sft(&model, &data, &out, &["--skip-bad", "--set", "sft.epochs=1"]));
    refuse(&mut sft(&model, &data, &out, &["--skip-bad", "--set", "sft.epochs=2"]), &["sft.epochs", "1 in the run, 2"]);
}

#[test]
fn right_answers_become_conversations_to_learn_from() {
    let (run, scratch) = (finished(), Scratch::new());
    fs::write(scratch.join("mine.toml"), RECIPE).unwrap();
    let sample = |out: &str, more: &[&str]| {
        let mut command = reseek();
        command.arg("sample").arg(run.out.join("zero")).arg("--recipe").arg(scratch.join("mine.toml"));
        command
            .args(["--quiet", "--questions", "6", "--low", "0", "--high", "1", "--out"])
            .arg(scratch.join(out))
            .args(more);
        command
    };
    let said: Value = serde_json::from_str(&succeed(sample("a", &[]).arg("--json"))).unwrap();
    assert_eq!((said["problems"].as_u64(), said["between"].as_u64()), (Some(6), Some(6)));
    succeed(&mut sample("b", &[]));
    assert_equal_folders(&scratch.join("a"), &scratch.join("b"));
    let problems = fs::read_to_string(scratch.join("a/problems.jsonl")).unwrap();
    let first: Value = serde_json::from_str(problems.lines().next().unwrap()).unwrap();
    assert!(first["question"].is_string() && first["pass_rate"].is_number(), "{first}");
    // They are problems like any user's.
    let folder = scratch.join("again");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("problems.jsonl"), problems).unwrap();
    succeed(&mut sample("c", &["--data", folder.to_str().unwrap()]));
    let mut turned = reseek();
    turned
        .arg("sample")
        .arg(run.out.join("zero"))
        .args(["--low", "0.9", "--high", "0.1", "--out"])
        .arg(scratch.join("d"));
    refuse(&mut turned, &["--low 0.9 is above --high 0.1"]);
}
