//! A user's JSON lines.

use std::collections::BTreeSet;

use reseek_tasks::{AnswerKind, Language, Outcome, Split, accuracy, parse_problems, zero_completion};

fn error(text: &str) -> String {
    parse_problems(text.as_bytes(), "mine.jsonl").expect_err("a bad file").to_string()
}

#[test]
fn full_and_bare_lines() {
    let text = "\u{feff}{\"question\": \"What is 2+3?\", \"answer\": 5}\r\n\n{\"question\":\"2加3？\",\"answer\":\"5\",\
                \"solution\":\"2+3=5。\",\"family\":\"sums\",\"level\":2,\"language\":\"zh\",\"source\":[1]}";
    let problems = parse_problems(text.as_bytes(), "mine.jsonl").expect("a good file");
    assert_eq!(problems.len(), 2);
    let (first, second) = (&problems[0], &problems[1]);
    assert_eq!((first.family.as_str(), first.level, first.language), ("user", 1, Language::English));
    assert_eq!((first.answer.as_str(), first.answer_kind), ("5", AnswerKind::Integer));
    assert!(first.id.ends_with("/mine.jsonl:1") && second.id.ends_with("/mine.jsonl:3"));
    assert_eq!((second.family.as_str(), second.level, second.language), ("sums", 2, Language::Chinese));
    assert_eq!(accuracy(&zero_completion(&second.solution, "5"), second), Outcome::Correct);
}

#[test]
fn the_answer_convention_of_gsm8k() {
    let text = r##"{"question": "Half of 48?", "answer": "It is 48/2 = <<48/2=24>>24.\n#### 1,024"}"##;
    let problem = &parse_problems(text.as_bytes(), "g").expect("a good file")[0];
    assert_eq!(problem.answer, "1,024");
    assert_eq!(problem.solution, "It is 48/2 = 24.");
    assert_eq!(accuracy(&zero_completion("a", "1024"), problem), Outcome::Correct);
}

#[test]
fn errors_name_file_line_and_field() {
    for (text, parts) in [
        ("", vec!["mine.jsonl: no problem"]),
        (
            "{\"question\": \"a\", \"answer\": \"b\"}\n{\"question\": \"a\"}",
            vec!["mine.jsonl:2", "`answer` is missing"],
        ),
        ("{\"answer\": \"b\"}", vec!["mine.jsonl:1", "`question` is missing"]),
        ("{\"question\": \"a\", \"answer\": null}", vec!["`answer` is missing"]),
        ("{\"question\": \"a\", \"answer\": \" \"}", vec!["`answer` is blank"]),
        ("{\"question\": \"a\", \"answer\": \"so\\n#### \"}", vec!["`answer`", "nothing after it"]),
        ("{\"question\": \"a\", \"answer\": [1]}", vec!["`answer` is a list, which is not text"]),
        ("{\"question\": 3, \"answer\": 1}", vec!["`question` is the number 3"]),
        ("{\"question\": \"a\", \"answer\": 1, \"level\": 0}", vec!["`level` is 0"]),
        ("{\"question\": \"a\", \"answer\": 1, \"level\": 1.5}", vec!["`level` is 1.5"]),
        ("{\"question\": \"a\", \"answer\": 1, \"language\": \"fr\"}", vec!["`language` is \"fr\""]),
        ("[1]", vec!["mine.jsonl:1", "no JSON object"]),
        ("\n\n{\"question\"", vec!["mine.jsonl:3", "no JSON object"]),
    ] {
        let message = error(text);
        for part in parts {
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }
    let message = parse_problems(b"{\"question\": \"\xff\"}", "mine.jsonl").expect_err("not UTF-8").to_string();
    assert!(message.contains("mine.jsonl:1") && message.contains("UTF-8"), "{message}");
}

#[test]
fn the_split_is_decided_by_the_question() {
    let lines: String = (0..800).map(|i| format!("{{\"question\":\"Name {i}?\",\"answer\":{i}}}\n")).collect();
    let problems = parse_problems(lines.as_bytes(), "a").expect("a good file");
    for split in Split::ALL {
        let questions: BTreeSet<&str> =
            problems.iter().filter(|p| p.split == split).map(|p| p.question.as_str()).collect();
        let eighths = if split == Split::Train { 6 } else { 1 };
        assert!((60 * eighths..150 * eighths).contains(&questions.len()), "{} of 800", questions.len());
        // Another file, other spacing, family and answer: the same split.
        for question in questions {
            let question = question.replace(' ', "  ");
            let line = format!("{{\"question\": \"  {question} \", \"answer\": \"x\", \"family\": \"f\"}}");
            assert_eq!(parse_problems(line.as_bytes(), "b").expect("a good file")[0].split, split);
        }
    }
}

#[test]
fn gsm8k_is_read_where_it_is_at_hand() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/gsm8k/test.jsonl");
    let Ok(bytes) = std::fs::read(path) else {
        eprintln!("1 skipped: no ../shared/data/gsm8k beside the project");
        return;
    };
    let problems = parse_problems(&bytes, "test.jsonl").expect("GSM8K is well formed");
    assert_eq!(problems.len(), 1319);
    for problem in &problems {
        let completion = zero_completion("a", &problem.answer);
        assert_eq!(accuracy(&completion, problem), Outcome::Correct, "{}", problem.answer);
        assert!(!problem.solution.is_empty() && !problem.solution.contains("<<"), "{}", problem.solution);
    }
}

/// Rows in the shape of data sets that people have.
#[test]
fn other_data_sets_names_of_fields_are_known() {
    let dapo = "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without \
                quotes) where $Answer is the answer to the problem.\n\nWhat is 2+3?\n\nRemember to put your answer on its own line after \"Answer:\".";
    let rows = [
        serde_json::json!({"problem": "What is 2+3?", "answer": "5", "unique_id": "a/1.json"}),
        serde_json::json!({"ID": "2024-I-1", "Problem": "What is 2+3?", "Answer": 5}),
        serde_json::json!({"problem": "What is 2+3?", "solution": "We add: $\\boxed{4}$, no, $\\boxed{5}$.", "level": null}),
        serde_json::json!({"prompt": [{"role": "user", "content": dapo}], "reward_model": {"ground_truth": "5", "style": "rule"}}),
        serde_json::json!({"problem": "What is 2+3?", "expected_answer": "5", "level": "Level 5", "type": "Algebra"}),
        serde_json::json!({"problem": "What is 2+3?", "answer": "5", "level": "Level ?"}),
    ];
    for row in rows {
        let problems = parse_problems(row.to_string().as_bytes(), "t.jsonl").unwrap();
        assert_eq!((problems[0].question.as_str(), problems[0].answer.as_str()), ("What is 2+3?", "5"), "{row}");
    }
    for (row, says) in [
        (serde_json::json!({"problem": "What?", "solution": "It is \\boxed{5"}), "`answer` is missing"),
        (serde_json::json!({"prompt": [], "answer": "5"}), "`question` is missing"),
        (serde_json::json!({"Problem": 7, "Answer": 5}), "field `Problem` is the number 7"),
    ] {
        let error = parse_problems(row.to_string().as_bytes(), "t.jsonl").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
