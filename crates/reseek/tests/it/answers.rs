//! The commands that answer from a model folder, and the help of all.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::common::{finished, refuse, reseek, succeed};

#[test]
fn every_command_has_help_with_an_example() {
    let commands = "replicate tokenizer pretrain extend zero r1 distil eval report config params sim cost claims score generate inspect convert chat bench";
    let top = succeed(reseek().arg("--help"));
    assert!(top.contains("Example"), "{top}");
    for command in commands.split(' ') {
        assert!(top.contains(command), "--help does not list {command}");
        let help = succeed(reseek().args([command, "--help"]));
        assert!(help.contains("Example") && help.contains(&format!(": reseek {command}")), "{help}");
    }
}

#[test]
fn params_counts_v3() {
    let json: Value = serde_json::from_str(&succeed(reseek().args(["params", "v3-671b", "--json"]))).unwrap();
    assert_eq!(json["parameters"]["total"], 671_026_419_200u64);
    assert_eq!(json["kv_bytes_per_token"], 70_272);
    assert!((json["train_flops_per_token"]["causal"].as_f64().unwrap() / 1e9 - 249.8).abs() < 0.1);
    assert!((json["train_flops_per_token"]["noncausal"].as_f64().unwrap() / 1e9 - 280.5).abs() < 0.1);
    assert!(succeed(reseek().args(["params", "v3-671b"])).contains("671,026,419,200"));
}

#[test]
fn every_model_loads_and_scores() {
    let run = finished();
    for name in ["pretrain", "extend", "zero", "r1_cold_start", "r1_sft", "r1", "student", "student_rl"] {
        let folder = run.out.join(name);
        assert!(succeed(reseek().arg("params").arg(&folder)).contains("parameters"));
        let mut score = reseek();
        score.arg("score").arg(&folder).args(["--text", "The miller carries the heavy sacks.", "--json"]);
        let (tokens, logprobs) = scored(&succeed(&mut score));
        assert_eq!(tokens[0], 0, "a text begins with the begin-of-sentence token");
        let mean = logprobs.iter().sum::<f64>() / logprobs.len() as f64;
        assert!(logprobs.iter().all(|&l| l < 0.0), "{logprobs:?}");
        // A base knows the text a little; RL at this size may forget that, and is no worse than drawing lots by more than a tenth.
        let slack = if ["pretrain", "extend"].contains(&name) { 1.0 } else { 1.1 };
        assert!(mean > -slack * 400f64.ln(), "{name}: {mean} a token is worse than drawing lots");
    }
}

#[test]
fn generated_logprobs_are_the_scores_of_the_tokens() {
    let run = finished();
    let folder = run.out.join("extend");
    let mut generate = reseek();
    generate.arg("generate").arg(&folder).args(["--prompt", "The miller", "-n", "3", "--json"]);
    generate.args(["--temperature", "1", "--top-p", "1", "--max-new-tokens", "12"]);
    let text = succeed(&mut generate);
    assert_eq!(text, succeed(&mut generate), "the same seed draws other tokens");
    assert_ne!(text, succeed(generate.args(["--seed", "2"])));
    let prompt = scored(&succeed(reseek().arg("score").arg(&folder).args(["--text", "The miller", "--json"]))).0;
    let completions: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(completions.len(), 3);
    for completion in completions {
        let new = ids(&completion["tokens"]);
        assert!(new.len() <= 12 && (new.len() == 12) == (completion["finish"] == "length"), "{completion}");
        let all: Vec<String> = prompt.iter().chain(&new).map(u64::to_string).collect();
        let scores =
            scored(&succeed(reseek().arg("score").arg(&folder).args(["--tokens", &all.join(","), "--json"]))).1;
        let drawn = completion["logprobs"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap());
        for (i, (drawn, scored)) in drawn.zip(&scores[prompt.len() - 1..]).enumerate() {
            assert!((drawn - scored).abs() < 1e-5, "token {i}: drawn at {drawn}, scored {scored}");
        }
    }
}

#[test]
fn chat_answers_each_line_and_stops_with_the_input() {
    let run = finished();
    let ask = |args: &[&str], input: &str| {
        let mut command = reseek();
        command.arg("chat").arg(run.out.join("r1")).args(["--max-new-tokens", "8"]).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let answers = ask(&["--json"], "Add 21 and 52.\n\nWhat is 3 + 4?\n");
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1]["question"], "What is 3 + 4?");
    assert!(answers.iter().all(|answer| answer["answer"].is_string()));
    assert!(ask(&[], "Add 21 and 52.\n").ends_with('\n'));
    assert_eq!(ask(&[], ""), "");
}

#[test]
fn impossible_questions_are_refused() {
    let run = finished();
    let folder = run.out.join("r1");
    let score = |args: &[&str], parts: &[&str]| refuse(reseek().arg("score").arg(&folder).args(args), parts);
    score(&["--tokens", "0,9999"], &["9999", "400"]);
    score(&["--text", &"word ".repeat(3000)], &["512"]);
    let generate = |args: &[&str], parts: &[&str]| {
        refuse(reseek().arg("generate").arg(&folder).args(["--prompt", "a"]).args(args), parts)
    };
    generate(&["--temperature=-1"], &["temperature", "-1"]);
    generate(&["--top-p", "1.5"], &["top_p", "1.5"]);
    generate(&["--max-new-tokens", "0"], &["max_new_tokens"]);
    refuse(reseek().args(["score", "no-such-folder", "--text", "a"]), &["no-such-folder"]);
    refuse(reseek().arg("chat").arg(run.out.join("eval")), &["eval"]);
    refuse(reseek().args(["params", "v3-672b"]), &["v3-672b", "v3-671b"]);
}

fn scored(text: &str) -> (Vec<u64>, Vec<f64>) {
    let json: Value = serde_json::from_str(text).unwrap();
    let tokens = ids(&json["tokens"]);
    let logprobs = json["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), tokens.len());
    assert!(logprobs[0].is_null());
    (tokens, logprobs[1..].iter().map(|l| l.as_f64().unwrap()).collect())
}

fn ids(json: &Value) -> Vec<u64> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}
