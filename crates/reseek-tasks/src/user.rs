//! A user's own problems: JSON lines with `question` and `answer`, and optionally `solution`, `family`, `language`
//! (`en` or `zh`) and `level`. Other fields are left alone, so common data sets can be read as they are.
//!
//! Other data sets' names of these fields are known too: `problem`, `Problem` and `Question`; `Answer`, `expected_answer`, `final_answer`; `solution`
//! alone, whose last `\\boxed{…}` is the answer, as MATH has it; and DAPO's `prompt` with its instruction around the problem and
//! `reward_model.ground_truth`.
//!
//! GSM8K's convention is understood: without a `solution`, an answer that ends in `#### 72` is a solution and its
//! answer, and `<<48/2=24>>` notes in it are dropped.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::answer::{AnswerKind, normalise};
use crate::language::Language;
use crate::problem::{Problem, Split};

/// Family of a problem that names none.
const FAMILY: &str = "user";

/// What is wrong with a file of problems. Lines count from 1.
#[derive(Debug, Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum UserProblemError {
    #[error("{file}:{line}: the line is not UTF-8. Save the file as UTF-8.")]
    NotUtf8 { file: String, line: usize },
    #[error("{file}:{line}: the line is no JSON object: {message}. Each line is {EXAMPLE}.")]
    NotAnObject { file: String, line: usize, message: String },
    #[error("{file}:{line}: field `{field}` is missing. Each line is {EXAMPLE}.")]
    Missing { file: String, line: usize, field: &'static str },
    #[error("{file}:{line}: field `{field}` is {found}, which is not {expected}. Each line is {EXAMPLE}.")]
    Invalid { file: String, line: usize, field: &'static str, found: String, expected: &'static str },
    #[error("{file}: no problem in the file. Each line is {EXAMPLE}.")]
    Empty { file: String },
}

const EXAMPLE: &str = r#"{"question": "What is 2+3?", "answer": "5"}"#;

/// Reads the problems of a JSON lines file; `file` is its name for messages. Blank lines, a byte order mark and CRLF are
/// allowed. The split is decided by the question alone, as for generated problems.
///
/// # Errors
/// The first line and field that is wrong. A problem without an answer is an error, not a problem that scores 0.
pub fn parse_problems(bytes: &[u8], file: &str) -> Result<Vec<Problem>, UserProblemError> {
    parse_problems_in(bytes, file, None)
}

/// [`parse_problems`] of a file whose problems are all in `split`, as an official test file's are; None lets each question
/// decide.
///
/// # Errors
/// As [`parse_problems`].
pub fn parse_problems_in(bytes: &[u8], file: &str, split: Option<Split>) -> Result<Vec<Problem>, UserProblemError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut problems = Vec::new();
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let place = Place { file, line: i + 1 };
        let text = std::str::from_utf8(line)
            .map_err(|_| UserProblemError::NotUtf8 { file: file.to_string(), line: place.line })?;
        if !text.trim().is_empty() {
            problems.push(problem(text, &place, split)?);
        }
    }
    if problems.is_empty() {
        return Err(UserProblemError::Empty { file: file.to_string() });
    }
    Ok(problems)
}

/// A question without what makes no other question of it: spaces, letter case, full-width forms.
pub fn question_key(question: &str) -> String {
    normalise(question).to_lowercase()
}

struct Place<'a> {
    file: &'a str,
    line: usize,
}

fn problem(line: &str, place: &Place, split: Option<Split>) -> Result<Problem, UserProblemError> {
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| UserProblemError::NotAnObject {
        file: place.file.to_string(),
        line: place.line,
        message: error.to_string(),
    })?;
    let question = question(&fields, place)?;
    let solution = place.text(&fields, "solution")?;
    let answer = answer(&fields, solution.as_deref(), place)?;
    let (answer, solution) = match solution {
        Some(solution) => (answer, solution),
        None => match answer.rsplit_once("####") {
            Some((solution, answer)) => (answer.trim().to_string(), without_notes(solution.trim())),
            None => (answer, String::new()),
        },
    };
    if answer.is_empty() {
        return Err(place.invalid("answer", "\"#### \" and nothing after it", "an answer"));
    }
    let language = match place.text(&fields, "language")?.as_deref() {
        None => Language::of(&question),
        Some("en") => Language::English,
        Some("zh") => Language::Chinese,
        Some(other) => {
            return Err(place.invalid("language", &format!("{other:?}"), "\"en\" or \"zh\""));
        }
    };
    let level = match fields.get("level") {
        None | Some(Value::Null) => 1,
        // MATH has levels from 1 to 5, and two problems of none.
        Some(Value::String(text)) if text.trim() == "Level ?" => 1,
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_str()?.trim().strip_prefix("Level ")?.parse().ok())
            .and_then(|level| u8::try_from(level).ok())
            .filter(|&level| level > 0)
            .ok_or_else(|| place.invalid("level", &value.to_string(), "a whole number from 1 to 255"))?,
    };
    let family = place.text(&fields, "family")?.unwrap_or_else(|| FAMILY.to_string());
    // The family is left out, so that one question under two family names is in one split.
    let split = split.unwrap_or_else(|| Split::of(FAMILY, &question_key(&question)));
    Ok(Problem {
        id: format!("{family}/{level}/{}/{}/{}:{}", language.code(), split.name(), place.file, place.line),
        answer_kind: AnswerKind::infer(&answer),
        family,
        level,
        language,
        question,
        answer,
        solution,
        solution_other: None,
        check: None,
        split,
    })
}

/// Names of the question's field, ours first.
const QUESTIONS: [&str; 4] = ["question", "problem", "Problem", "Question"];
/// Names of the answer's.
const ANSWERS: [&str; 5] = ["answer", "Answer", "expected_answer", "final_answer", "Correct Answer"];
/// What DAPO-Math-17k puts around every problem.
const DAPO: (&str, &str) = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without quotes) where \
     $Answer is the answer to the problem.",
    "Remember to put your answer on its own line after \"Answer:\".",
);

fn question(fields: &Map<String, Value>, place: &Place) -> Result<String, UserProblemError> {
    for name in QUESTIONS {
        if let Some(text) = place.text(fields, name)? {
            return Ok(text);
        }
    }
    // A conversation of one turn.
    let asked = match fields.get("prompt") {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(Value::Array(turns)) => turns.iter().rev().find_map(|turn| turn.get("content")?.as_str()),
        _ => None,
    };
    let asked = asked.map(str::trim).filter(|text| !text.is_empty()).ok_or_else(|| place.missing("question"))?;
    let asked = asked.strip_prefix(DAPO.0).unwrap_or(asked);
    Ok(asked.strip_suffix(DAPO.1).unwrap_or(asked).trim().to_string())
}

fn answer(fields: &Map<String, Value>, solution: Option<&str>, place: &Place) -> Result<String, UserProblemError> {
    for name in ANSWERS {
        if let Some(text) = place.text(fields, name)? {
            return Ok(text);
        }
    }
    if let Some(text) = fields.get("reward_model").and_then(|model| model.get("ground_truth")?.as_str()) {
        return Ok(text.trim().to_string());
    }
    solution.and_then(last_box).map(str::to_string).ok_or_else(|| place.missing("answer"))
}

/// What stands in the last `\boxed{…}`; nothing where that has no end.
fn last_box(text: &str) -> Option<&str> {
    let (at, open) = text.rmatch_indices("\\boxed{").next()?;
    let inside = &text[at + open.len()..];
    let mut depth = 1;
    for (end, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(inside[..end].trim()).filter(|inside| !inside.is_empty());
        }
    }
    None
}

impl Place<'_> {
    /// A field that is text (or, for an answer, a number); None where it is absent or null. Blank text is an error.
    fn text(&self, fields: &Map<String, Value>, field: &'static str) -> Result<Option<String>, UserProblemError> {
        let text = match fields.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.trim().to_string(),
            Some(Value::Number(number)) if ANSWERS.contains(&field) => number.to_string(),
            Some(other) => return Err(self.invalid(field, &shown(other), "text")),
        };
        if text.is_empty() {
            return Err(self.invalid(field, "blank", "text"));
        }
        Ok(Some(text))
    }

    fn missing(&self, field: &'static str) -> UserProblemError {
        UserProblemError::Missing { file: self.file.to_string(), line: self.line, field }
    }

    fn invalid(&self, field: &'static str, found: &str, expected: &'static str) -> UserProblemError {
        let (file, found) = (self.file.to_string(), found.to_string());
        UserProblemError::Invalid { file, line: self.line, field, found, expected }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(_) => "true or false".to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::Array(_) => "a list".to_string(),
        Value::Object(_) => "an object".to_string(),
        Value::Null | Value::String(_) => value.to_string(),
    }
}

/// `text` without its `<<…>>` notes.
fn without_notes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        let Some((_, tail)) = after.split_once(">>") else {
            break;
        };
        kept.push_str(before);
        rest = tail;
    }
    kept.push_str(rest);
    kept
}
