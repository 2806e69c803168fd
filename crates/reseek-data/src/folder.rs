//! Reading a user's folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reseek_tasks::{Problem, Split, parse_problems_in, question_key};
use serde_json::Value;

use crate::corpus::Document;
use crate::error::DataError;
use crate::reading::{FileReading, Holds, Named, Reading, Side, named, sides};

/// What a folder holds, uncleaned.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    pub reading: Reading,
}

/// Files of problems, by name and text: which problem is on which side depends on all of them.
type Listed = Vec<(String, String)>;

/// Reads every `.txt`, `.md` and `.jsonl` file under `root`.
pub(crate) fn read(root: &Path) -> Result<Found, DataError> {
    let mut files = Vec::new();
    collect_files(root, &mut files)?;
    // Paths as strings sort the same on every system.
    files.sort_by_key(|path| name_in(root, path));
    let (mut found, mut listed) = (Found::default(), Listed::new());
    for path in &files {
        let name = name_in(root, path);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "txt" | "md" => {
                let text = read_utf8(path)?;
                found.documents.push(Document { text, source: name.clone() });
                found.reading.files.push(FileReading { name, holds: Holds::Texts(1) });
            }
            "jsonl" => read_lines(path, name, &mut found, &mut listed)?,
            _ => found.reading.passed_over.push(name),
        }
    }
    if found.reading.files.is_empty() && listed.is_empty() {
        return Err(DataError::NoFiles { path: root.to_owned(), ignored: found.reading.passed_over.len() });
    }
    divide(root, &listed, &mut found)?;
    Ok(found)
}

/// Reads files of problems, each on its side. A question that is held out anywhere is asked in no training.
fn divide(root: &Path, listed: &Listed, found: &mut Found) -> Result<(), DataError> {
    let names: Vec<Named> = listed.iter().map(|(name, _)| named(name)).collect();
    let mut held_out = BTreeSet::new();
    for ((name, text), side) in listed.iter().zip(sides(&names)) {
        let split = match side {
            Side::ByHash => None,
            Side::Train => Some(Split::Train),
            Side::Development => Some(Split::Development),
            Side::Test => Some(Split::Test),
        };
        let problems = parse_problems_in(text.as_bytes(), name, split)?;
        let out = problems.iter().filter(|problem| problem.split != Split::Train);
        held_out.extend(out.map(|problem| question_key(&problem.question)));
        let holds = Holds::Problems(problems.len(), side);
        found.reading.files.push(FileReading { name: name.clone(), holds });
        found.problems.extend(problems);
    }
    found.reading.files.sort_by(|a, b| a.name.cmp(&b.name));
    let before = found.problems.len();
    found.problems.retain(|p| p.split != Split::Train || !held_out.contains(&question_key(&p.question)));
    found.reading.asked_in_test = before - found.problems.len();
    if names.contains(&Named::Test) && found.problems.iter().all(|problem| problem.split != Split::Train) {
        return Err(DataError::OnlyTests { path: root.to_owned(), left_out: found.reading.asked_in_test });
    }
    Ok(())
}

/// The path under `root`, with `/` between its parts.
fn name_in(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).iter();
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// All files below a folder. Hidden files and folders (`.git`) are passed over, and links to folders are not followed,
/// so that no link can lead round in a circle.
fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let error = |source| DataError::Read { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if entry.file_type().map_err(error)?.is_dir() {
            collect_files(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn read_utf8(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes)
        .map_err(|error| DataError::NotUtf8 { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

/// A `.jsonl` file: documents if its first line has a `text`, else problems.
fn read_lines(path: &Path, name: String, found: &mut Found, listed: &mut Listed) -> Result<(), DataError> {
    let text = read_utf8(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let has_text = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|value| value.get("text").is_some());
    if !lines().next().is_some_and(|(_, line)| has_text(line)) {
        listed.push((name, text.to_owned()));
        return Ok(());
    }
    let before = found.documents.len();
    for (index, line) in lines() {
        let bad = |reason: String| DataError::BadLine { path: path.to_owned(), line: index + 1, reason };
        let value: Value = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let text = value["text"].as_str().ok_or_else(|| bad("there is no \"text\" that is a string".into()))?;
        let source = value["source"].as_str().unwrap_or(&name);
        found.documents.push(Document { text: text.to_owned(), source: source.to_owned() });
    }
    let holds = Holds::Texts(found.documents.len() - before);
    found.reading.files.push(FileReading { name, holds });
    Ok(())
}
