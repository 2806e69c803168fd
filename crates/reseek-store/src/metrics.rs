//! Rows of JSON, one a line, that grow with a run and end in the same bytes whether it was killed or not.
//!
//! `metrics.jsonl` (one row a step) and `samples.jsonl` (several) hold only what follows from configuration and
//! seed. The clock goes to `timing.jsonl`, written by the same [`StepLog`] but never the same twice.
//!
//! Rows reach the operating system as they are appended, so a kill loses none; [`StepLog::sync`] before a state
//! is saved makes those below its step survive a power cut too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::StoreError;
use crate::atomic;

/// An open file of rows.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
    file: File,
    step: u64,
}

/// `step` first, then the caller's fields in their order.
#[derive(Serialize)]
struct Row<'a, T> {
    step: u64,
    #[serde(flatten)]
    fields: &'a T,
}

impl StepLog {
    /// Opens the file at `path` to go on with `step` (0 begins anew): rows of `step` and later are cut off, as
    /// the run is about to write them again, and so is a last line that a kill tore.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a whole line before the cut is not a row.
    pub fn open(path: &Path, step: u64) -> Result<Self, StoreError> {
        let kept = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            other => bytes_before(path, &other.map_err(StoreError::io("read", path))?, step)?,
        };
        let file = File::options().append(true).create(true).open(path).map_err(StoreError::io("open", path))?;
        file.set_len(kept).map_err(StoreError::io("cut", path))?;
        file.sync_all().map_err(StoreError::io("fsync", path))?;
        if let Some(parent) = path.parent() {
            atomic::sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        Ok(Self { path: path.to_path_buf(), file, step })
    }

    /// Appends a row: `{"step": step, …fields}`. A NaN or infinity is written as null. On an error the row may
    /// be there in part; opening the file again cuts it off.
    ///
    /// # Errors
    /// If the disk refuses.
    ///
    /// # Panics
    /// If `fields` is not a map or a structure or has a `step` of its own, or `step` is lower than the last
    /// one: rows must rise to be cut by step.
    pub fn append(&mut self, step: u64, fields: &impl Serialize) -> Result<(), StoreError> {
        assert!(step >= self.step, "{}: step {step} after step {}", self.path.display(), self.step);
        let named = serde_json::to_value(fields).is_ok_and(|v| v.is_object() && v.get("step").is_none());
        assert!(named, "{}: the fields of step {step} must be a map without `step`", self.path.display());
        self.step = step;
        let mut line = serde_json::to_vec(&Row { step, fields }).expect("fields are a map with string keys");
        line.push(b'\n');
        self.file.write_all(&line).map_err(StoreError::io("append to", &self.path))
    }

    /// Makes the rows durable.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("fsync", &self.path))
    }
}

/// All whole rows of a file that may still be growing; an unfinished last line is left out.
///
/// # Errors
/// If the file cannot be read, or a line is not a row.
pub fn read_metrics(path: &Path) -> Result<Vec<Map<String, Value>>, StoreError> {
    let bytes = atomic::read(path)?;
    whole_lines(&bytes).enumerate().map(|(i, line)| row(path, i + 1, line).map(|(_, row)| row)).collect()
}

/// Length of the part of `bytes` that holds whole rows of steps below `step`.
fn bytes_before(path: &Path, bytes: &[u8], step: u64) -> Result<u64, StoreError> {
    let mut kept = 0;
    if step > 0 {
        for (i, line) in whole_lines(bytes).enumerate() {
            if row(path, i + 1, line)?.0 >= step {
                break;
            }
            kept += line.len() as u64;
        }
    }
    Ok(kept)
}

/// Lines with their line feed; what follows the last one is not whole.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&b| b == b'\n').filter(|line| line.ends_with(b"\n"))
}

fn row(path: &Path, number: usize, line: &[u8]) -> Result<(u64, Map<String, Value>), StoreError> {
    let malformed = |reason: String| {
        let mend = "the file is damaged: restore it from a copy, or remove the stage's folder and run again";
        StoreError::malformed(path, format!("line {number}: {reason}"), mend)
    };
    let row: Map<String, Value> = serde_json::from_slice(line).map_err(|e| malformed(e.to_string()))?;
    match row.get("step").and_then(Value::as_u64) {
        Some(step) => Ok((step, row)),
        None => Err(malformed("it has no whole number called step".into())),
    }
}
