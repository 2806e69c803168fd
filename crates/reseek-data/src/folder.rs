//! Reading a user's folder.

use std::path::{Path, PathBuf};

use reseek_tasks::{Problem, parse_problems};
use serde_json::Value;

use crate::corpus::Document;
use crate::error::DataError;

/// What a folder holds, uncleaned.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    /// Files with other endings.
    pub ignored: usize,
}

/// Reads every `.txt`, `.md` and `.jsonl` file under `root`.
pub(crate) fn read(root: &Path) -> Result<Found, DataError> {
    let mut files = Vec::new();
    collect_files(root, &mut files)?;
    // Paths as strings sort the same on every system.
    files.sort_by_key(|path| name_in(root, path));
    let mut found = Found::default();
    let mut used = 0;
    for path in &files {
        let name = name_in(root, path);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "txt" | "md" => {
                let text = read_utf8(path)?;
                found.documents.push(Document { text, source: name });
            }
            "jsonl" => read_lines(path, &name, &mut found)?,
            _ => {
                found.ignored += 1;
                continue;
            }
        }
        used += 1;
    }
    if used == 0 {
        return Err(DataError::NoFiles { path: root.to_owned(), ignored: found.ignored });
    }
    Ok(found)
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
fn read_lines(path: &Path, name: &str, found: &mut Found) -> Result<(), DataError> {
    let text = read_utf8(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let has_text = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|value| value.get("text").is_some());
    if !lines().next().is_some_and(|(_, line)| has_text(line)) {
        found.problems.extend(parse_problems(text.as_bytes(), name)?);
        return Ok(());
    }
    for (index, line) in lines() {
        let bad = |reason: String| DataError::BadLine { path: path.to_owned(), line: index + 1, reason };
        let value: Value = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let text = value["text"].as_str().ok_or_else(|| bad("there is no \"text\" that is a string".into()))?;
        let source = value["source"].as_str().unwrap_or(name);
        found.documents.push(Document { text: text.to_owned(), source: source.to_owned() });
    }
    Ok(())
}
