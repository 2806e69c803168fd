//! `--data FOLDER`: the chain on a user's own text and problems.

use std::fs;

use serde_json::Value;

use crate::common::{Scratch, prose, refuse, stage, succeed};

#[test]
fn own_text_and_problems_run_the_chain() {
    let scratch = Scratch::new();
    let data = scratch.join("mine");
    fs::create_dir_all(data.join("notes")).unwrap();
    for document in 0..20 {
        fs::write(data.join(format!("notes/{document}.md")), format!("# Note {document}\n\n{}", prose(document)))
            .unwrap();
    }
    fs::write(data.join("picture.png"), [137, 80, 78, 71, 0, 255]).unwrap();
    let mut problems: Vec<String> = (0..40).map(problem).collect();
    // Longer than any context here: left out wherever they come up, in training and among those held out.
    problems.extend((40..52).map(|i| problem(i).replace(" times", &format!(" times{}", " and so on".repeat(200)))));
    problems.extend((52..60).map(|i| problem(i).replace(" + ", &" plus ".repeat(200))));
    fs::write(data.join("problems.jsonl"), problems.join("\n")).unwrap();

    let out = scratch.join("run");
    succeed(&mut stage(&scratch, "replicate", &data, &out));
    let summary: Value = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let mut tasks: Vec<&String> = summary["models"]["r1"]["tasks"].as_object().unwrap().keys().collect();
    tasks.sort();
    assert_eq!(tasks, ["heldout", "sums"]);

    let samples = fs::read_to_string(out.join("eval/samples.jsonl")).unwrap();
    for line in samples.lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let question = sample["question"].as_str().unwrap();
        assert!(question.starts_with("What is 3 times") && question.len() < 100, "{sample}");
    }
    assert!(out.join("report/index.html").is_file());
}

#[test]
fn problems_that_fit_no_context_are_refused_before_training() {
    let scratch = Scratch::new();
    let data = scratch.text();
    let long = |i| problem(i).replace(" times", &format!(" times{}", " and so on".repeat(200)));
    fs::write(data.join("problems.jsonl"), (0..40).map(long).collect::<Vec<_>>().join("\n")).unwrap();
    let parts = ["pretrain.seq_len = 128", "0 of 100 problems", "--set pretrain.seq_len="];
    refuse(&mut stage(&scratch, "replicate", &data, &scratch.join("run")), &parts);
}

fn problem(i: u64) -> String {
    let (question, solution) = (format!("What is 3 times {i}?"), format!("{i} + {i} + {i} = {}", 3 * i));
    serde_json::json!({"question": question, "answer": 3 * i, "solution": solution, "family": "sums"}).to_string()
}
