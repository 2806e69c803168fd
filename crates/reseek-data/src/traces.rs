//! Answers to learn from: conversations, one a line.
//!
//! `{"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}`, or a question and an answer under the names that
//! data sets give them. Other fields are left alone.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A conversation to learn the assistant's turns of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// In order; one at least is the assistant's.
    pub turns: Vec<Turn>,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// What a file of traces held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traces {
    /// What can be learnt from.
    pub traces: Vec<Trace>,
    /// Lines that say the same as one before them.
    pub copies: usize,
    /// Lines that cannot be read, with the reason; empty unless these were to be passed over.
    pub bad: Vec<(usize, String)>,
}

/// What is wrong with a file of traces. Lines count from 1.
#[derive(Debug, thiserror::Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum TraceError {
    #[error(
        "{file}:{line}: {reason}. Each line is {EXAMPLE}, or has a question and an answer; mend it, or pass bad lines over with --skip-bad."
    )]
    Line { file: String, line: usize, reason: String },
    #[error("{file}: no conversation in the file. Each line is {EXAMPLE}.")]
    Empty { file: String },
}

const EXAMPLE: &str = r#"{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}"#;

/// Names of the two fields of a question and its answer, the fuller answer first.
const QUESTIONS: [&str; 5] = ["question", "problem", "prompt", "instruction", "input"];
const ANSWERS: [&str; 6] = ["completion", "response", "solution", "output", "answer", "generation"];

/// Bytes of a line at most: what is longer is no conversation.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Reads the conversations of a JSON lines file; `file` is its name for messages. Blank lines, a byte order mark and CRLF are allowed.
///
/// # Errors
/// The first line that cannot be read, unless bad lines are passed over; a file without any conversation.
pub fn parse_traces(bytes: &[u8], file: &str, skip_bad: bool) -> Result<Traces, TraceError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Traces::default();
    let mut seen: HashSet<Vec<Turn>> = HashSet::new();
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match turns(line) {
            Ok(turns) if seen.insert(turns.clone()) => found.traces.push(Trace { turns, line: i + 1 }),
            Ok(_) => found.copies += 1,
            Err(reason) if skip_bad => found.bad.push((i + 1, reason)),
            Err(reason) => return Err(TraceError::Line { file: file.to_string(), line: i + 1, reason }),
        }
    }
    match found.traces.is_empty() {
        true => Err(TraceError::Empty { file: file.to_string() }),
        false => Ok(found),
    }
}

fn turns(line: &[u8]) -> Result<Vec<Turn>, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line has {} bytes, more than {LINE_BYTES_MAX}", line.len()));
    }
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_string())?;
    let fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("the line is no JSON object ({error})"))?;
    let turns = match fields.get("messages").or_else(|| fields.get("conversations")) {
        Some(Value::Array(messages)) => messages.iter().map(turn).collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err("messages is no list".to_string()),
        None => {
            let text = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str());
            let (question, answer) = (text(&QUESTIONS), text(&ANSWERS));
            let (Some(question), Some(answer)) = (question, answer) else {
                let keys: Vec<&str> = fields.keys().take(8).map(String::as_str).collect();
                return Err(format!(
                    "neither messages nor a question with an answer among its fields {}",
                    keys.join(", ")
                ));
            };
            vec![said("user", question), said("assistant", answer)]
        }
    };
    match turns.iter().find(|turn| !["system", "user", "assistant"].contains(&turn.role.as_str())) {
        Some(turn) => return Err(format!("the role {:?} is none of system, user and assistant", turn.role)),
        None if !turns.iter().any(|turn| turn.role == "assistant") => {
            return Err("no turn is the assistant's".to_string());
        }
        None => {}
    }
    match turns.iter().any(|turn| turn.role == "assistant" && turn.content.trim().is_empty()) {
        true => Err("a turn of the assistant is blank".to_string()),
        false => Ok(turns),
    }
}

fn said(role: &str, content: &str) -> Turn {
    Turn { role: role.to_string(), content: content.to_string() }
}

/// A message, also under the names of ShareGPT.
fn turn(message: &Value) -> Result<Turn, String> {
    let text = |names: [&str; 2]| names.iter().find_map(|name| message.get(name)?.as_str());
    let (Some(role), Some(content)) = (text(["role", "from"]), text(["content", "value"])) else {
        return Err("a message has no role or no content".to_string());
    };
    let role = match role {
        "human" => "user",
        "gpt" => "assistant",
        other => other,
    };
    Ok(said(role, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Traces, TraceError> {
        parse_traces(text.as_bytes(), "t.jsonl", false)
    }

    #[test]
    fn conversations_are_read_under_the_names_that_data_sets_have() {
        let expect = vec![said("user", "What?"), said("assistant", "That.")];
        for line in [
            r#"{"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]}"#,
            r#"{"conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]}"#,
            r#"{"problem": "What?", "solution": "That.", "answer": "x"}"#,
            "\u{feff}{\"question\": \"What?\", \"answer\": \"That.\"}\r\n\n",
        ] {
            assert_eq!(of(line).unwrap().traces[0].turns, expect, "{line}");
        }
        let twice =
            of("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}").unwrap();
        assert_eq!((twice.traces.len(), twice.copies), (1, 1));
    }

    #[test]
    fn bad_lines_are_named_or_counted() {
        let good = r#"{"prompt": "a", "completion": "b"}"#;
        for (bad, says) in [
            ("[1]", "no JSON object"),
            ("{\"a\": 1}", "among its fields a"),
            ("{\"messages\": 3}", "messages is no list"),
            ("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "no turn is the assistant's"),
            ("{\"messages\": [{\"role\": \"robot\", \"content\": \"a\"}]}", "role \"robot\""),
            ("{\"messages\": [{\"role\": \"assistant\", \"content\": \" \"}]}", "is blank"),
            ("{\"messages\": [7]}", "no role"),
        ] {
            let text = format!("{good}\n{bad}\n");
            let error = of(&text).unwrap_err().to_string();
            assert!(error.starts_with("t.jsonl:2: ") && error.contains(says), "{error}");
            let read = parse_traces(text.as_bytes(), "t.jsonl", true).unwrap();
            assert_eq!((read.traces.len(), read.bad[0].0), (1, 2));
        }
        assert!(of("").unwrap_err().to_string().contains("no conversation"));
        assert!(parse_traces(b"{\"prompt\": \"\xff\"}", "t", false).unwrap_err().to_string().contains("not UTF-8"));
    }
}
