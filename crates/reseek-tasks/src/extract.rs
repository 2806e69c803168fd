//! Where the answer of a completion is looked for, by the name that tasks and recipes give it.
//!
//! Models that were trained elsewhere do not write `<answer>`; benchmarks differ in where they look, and that difference is worth points
//! (GSM8K with Qwen2.5-1.5B-Instruct: 1.7 % where `####` is asked for, 38.3 % by the last number). So it is named beside every score.

use crate::answer::normalise;
use crate::problem::Problem;
use crate::verify::{COMPLETION_BYTES_MAX, JudgeFailure, Outcome, compare, extract_answer};

/// A way of finding the answer.
#[derive(Debug)]
pub struct Extraction {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in a sentence.
    pub about: &'static str,
    find: fn(&str) -> Option<String>,
}

/// All there are.
pub const EXTRACTIONS: [Extraction; 3] = [
    Extraction {
        name: "tags",
        about: "what stands between <answer> and </answer> after </think>, once each, and nothing behind it",
        find: |completion| extract_answer(completion).ok().map(str::to_string),
    },
    Extraction {
        name: "hashes",
        about: "the number behind the first ####, as lm-evaluation-harness's strict-match of gsm8k",
        find: after_hashes,
    },
    Extraction {
        name: "last_number",
        about: "the last number, as lm-evaluation-harness's flexible-extract of gsm8k",
        find: last_number,
    },
];

/// The extraction called `name`.
pub fn extraction(name: &str) -> Option<&'static Extraction> {
    EXTRACTIONS.iter().find(|extraction| extraction.name == name)
}

/// What became of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub outcome: Outcome,
    /// The answer that was found, in the form in which equal ones are equal: what a majority votes on.
    pub answer: Option<String>,
}

impl Extraction {
    /// Is the answer that stands where this looks for it the gold answer of `problem`? No answer is a wrong one.
    pub fn judge(&self, completion: &str, problem: &Problem) -> Judged {
        if completion.len() > COMPLETION_BYTES_MAX {
            return Judged { outcome: Outcome::TimeOut, answer: None };
        }
        let found = (self.find)(completion);
        let outcome = match compare(problem, found.as_deref().unwrap_or_default()) {
            Ok(fits) if fits && found.is_some() => Outcome::Correct,
            Ok(_) => Outcome::Wrong,
            Err(JudgeFailure::Gold(reason)) => Outcome::Unverifiable(reason),
            Err(JudgeFailure::Infrastructure(message)) => Outcome::InfrastructureError(message),
            Err(JudgeFailure::TimeOut) => Outcome::TimeOut,
        };
        Judged { outcome, answer: found.map(|found| normalise(&found)) }
    }
}

/// `#### (-?[0-9.,]+)`, the first of them.
fn after_hashes(completion: &str) -> Option<String> {
    let starts = completion.match_indices("#### ").map(|(at, mark)| &completion[at + mark.len()..]);
    starts.into_iter().find_map(|rest| {
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest[sign..].bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b',')).count();
        (digits > 0).then(|| plain_number(&rest[..sign + digits]))
    })
}

/// `(-?[$0-9.,]{2,})|(-?[0-9]+)`, the last of them.
fn last_number(completion: &str) -> Option<String> {
    let bytes = completion.as_bytes();
    let is_part = |b: u8| b.is_ascii_digit() || matches!(b, b'$' | b'.' | b',');
    let (mut at, mut last) = (0, None);
    while at < bytes.len() {
        if !is_part(bytes[at]) {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|&&b| is_part(b)).count();
        if end - at >= 2 || bytes[at].is_ascii_digit() {
            let start = at - usize::from(at > 0 && bytes[at - 1] == b'-');
            last = Some(&completion[start..end]);
        }
        at = end;
    }
    last.map(plain_number)
}

/// A number as it is compared: without its commas, its currency and the full stop behind it.
fn plain_number(found: &str) -> String {
    found.trim_end_matches(['.', ',']).replace(['$', ','], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::parse_problems;

    fn problem(answer: &str) -> Problem {
        let line = format!("{{\"question\": \"How many?\", \"answer\": {answer:?}}}");
        parse_problems(line.as_bytes(), "test").unwrap().remove(0)
    }

    fn found(name: &str, completion: &str) -> Option<String> {
        (extraction(name).unwrap().find)(completion)
    }

    #[test]
    fn answers_are_found_where_they_are_looked_for() {
        for (name, completion, expect) in [
            ("hashes", "a\n#### 42", Some("42")),
            ("hashes", "#### -1,234. So\n#### 1", Some("-1234")),
            ("hashes", "#### none, then #### 7", Some("7")),
            ("hashes", "####42", None),
            ("hashes", "42", None),
            ("last_number", "He has $18.", Some("18")),
            ("last_number", "3 apples, 4 pears", Some("4")),
            ("last_number", "x-7", Some("-7")),
            ("last_number", "1,234.50", Some("1234.50")),
            ("last_number", "Done .", None),
            ("last_number", "价格是18元。", Some("18")),
            ("last_number", "", None),
            ("tags", "<think>a</think><answer>5</answer>", Some("5")),
            ("tags", "<think>a</think><answer>5</answer> and", None),
        ] {
            assert_eq!(found(name, completion).as_deref(), expect, "{name}: {completion:?}");
        }
        // The harness takes "..." for a number; nothing is equal to it either way.
        assert_eq!(found("last_number", "5 and so on ...").as_deref(), Some(""));
        assert!(extraction("boxed").is_none());
    }

    #[test]
    fn verdicts_are_those_of_the_gold_answer() {
        let judge =
            |name: &str, completion: &str, gold: &str| extraction(name).unwrap().judge(completion, &problem(gold));
        let right = judge("last_number", "That is 1,234 dollars.", "The working.\n#### 1234");
        assert_eq!(right, Judged { outcome: Outcome::Correct, answer: Some("1234".to_string()) });
        assert_eq!(judge("hashes", "That is 1234.", "1234"), Judged { outcome: Outcome::Wrong, answer: None });
        assert_eq!(judge("hashes", "", "1234").outcome, Outcome::Wrong);
        let endless = "9".repeat(COMPLETION_BYTES_MAX + 1);
        assert_eq!(judge("last_number", &endless, "1234").outcome, Outcome::TimeOut);
    }
}
