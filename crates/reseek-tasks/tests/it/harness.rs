//! Extractions beside lm-evaluation-harness's filters of gsm8k, on the same completions (fixtures/make_harness.py).

use reseek_tasks::{Outcome, extraction, parse_problems};
use serde_json::Value;

#[test]
fn completions_are_judged_as_the_harness_judges_them() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../fixtures/harness_gsm8k.json")).unwrap();
    assert!(cases.len() >= 300);
    for (ours, theirs) in [("hashes", "strict-match"), ("last_number", "flexible-extract")] {
        let (mut equal, mut right, mut padded) = (0, 0, 0);
        for case in &cases {
            let (completion, gold) = (case["completion"].as_str().unwrap(), case["gold"].as_str().unwrap());
            let line = format!("{{\"question\": \"How many?\", \"answer\": \"{gold}\"}}");
            let problem = parse_problems(line.as_bytes(), "test").unwrap().remove(0);
            let got = extraction(ours).unwrap().judge(completion, &problem).outcome == Outcome::Correct;
            let expect = case[theirs]["right"].as_bool().unwrap();
            right += usize::from(expect);
            // They compare text: a number with zeros before it is another one.
            let found = case[theirs]["found"].as_str().unwrap();
            if got && !expect && found.trim_start_matches('0').trim_end_matches('.') == gold {
                padded += 1;
                continue;
            }
            assert_eq!(got, expect, "{ours} of {completion:?}, gold {gold}: they found {found:?}");
            equal += 1;
        }
        assert!(right > 20 && equal + padded == cases.len() && padded < 30, "{ours}: {equal} equal, {padded} padded");
    }
}
