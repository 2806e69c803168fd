//! A stage's folder, and the record by which it is skipped when nothing that it was made from has changed.
//!
//! `begun.json` says for which inputs the files in the folder are, from before the first of them; `stage.json`
//! is written last and says which files came out, with their hashes. Hashes form a chain:
//! [`StageDir::outputs_hash`] of one stage goes into [`chain_hash`] for the inputs of the next, so a change
//! anywhere reaches what follows it, and a stage that is made again with the same bytes changes nothing after
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::atomic;
use crate::manifest::{self, MANIFEST, Manifest};
use crate::run_dir::{Lock, RunInfo};
use crate::train_state::StateDir;

/// File name, in a stage's folder, of where the time of one of its steps went, by op: clocks, so no part of what came out.
pub const PROFILE: &str = "profile.json";

const BEGUN: &str = "begun.json";
const DONE: &str = "stage.json";

/// The hash of several things in order, as lower-case hexadecimal. Lengths are hashed too: ("ab", "c") is not
/// ("a", "bc").
pub fn chain_hash<T: AsRef<[u8]>>(parts: &[T]) -> String {
    let mut hash = Sha256::new();
    for part in parts.iter().map(AsRef::as_ref) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    atomic::hex(&hash.finalize())
}

/// Whether the run at `run` has a finished stage of this name, from whatever inputs. Opens nothing and needs no lock.
pub fn is_finished(run: &Path, stage: &str) -> bool {
    run.join(stage).join(DONE).is_file()
}

/// The folder of one stage of an open run; it holds the run's lock too.
#[derive(Debug)]
pub struct StageDir {
    path: PathBuf,
    name: String,
    info: RunInfo,
    _lock: Arc<Lock>,
}

impl StageDir {
    pub(crate) fn open(path: PathBuf, name: &str, info: &RunInfo, lock: Arc<Lock>) -> Result<Self, StoreError> {
        atomic::create_folder(&path)?;
        atomic::sweep_temporaries(&path)?;
        Ok(Self { path, name: name.to_owned(), info: info.clone(), _lock: lock })
    }

    /// Where the stage is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name within the run.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the stage was finished from these inputs, with this run's configuration and seed. Every output
    /// is read and checked, so that what follows can rely on it.
    ///
    /// # Errors
    /// If it was finished but an output is missing or damaged.
    pub fn is_done(&self, inputs_hash: &str) -> Result<bool, StoreError> {
        let Some(record) = self.record(DONE)? else {
            return Ok(false);
        };
        if record.meta != self.meta(inputs_hash) {
            return Ok(false);
        }
        record.verify_files(&self.path)?;
        for name in record.files.keys().filter(|name| is_manifest(name)) {
            manifest::verify_dir(self.path.join(name).parent().unwrap_or(&self.path))?;
        }
        Ok(true)
    }

    /// Makes the folder ready for work on these inputs: what is there for the same inputs stays, to go on from;
    /// what is there for others is removed, as a state of other inputs must not be resumed.
    ///
    /// # Errors
    /// If the folder cannot be cleared or written to.
    pub fn begin(&self, inputs_hash: &str) -> Result<(), StoreError> {
        let meta = self.meta(inputs_hash);
        if self.record(BEGUN)?.is_some_and(|begun| begun.meta == meta) {
            return Ok(());
        }
        // First the name that makes the rest count, so that a kill in between leads here again.
        atomic::remove_file_if_present(&self.path.join(BEGUN))?;
        atomic::sync_folder(&self.path)?;
        for entry in fs::read_dir(&self.path).map_err(StoreError::io("list", &self.path))? {
            let path = entry.map_err(StoreError::io("list", &self.path))?.path();
            // A link to a folder is removed as the file that it is.
            if path.is_dir() && !path.is_symlink() {
                atomic::remove_folder_if_present(&path)?;
            } else {
                atomic::remove_file_if_present(&path)?;
            }
        }
        let begun = Manifest { files: BTreeMap::new(), meta };
        begun.write(&self.path.join(BEGUN))
    }

    /// Records that the stage is finished and what came out, and returns [`StageDir::outputs_hash`]. An output
    /// is a file, or a folder with a manifest, whose manifest then stands for all of it; `.` is the stage's own
    /// folder.
    ///
    /// # Errors
    /// If an output is missing, a folder among them is not whole, or the disk refuses.
    pub fn mark_done(&self, inputs_hash: &str, outputs: &[&str]) -> Result<String, StoreError> {
        let mut files = BTreeMap::new();
        for &output in outputs {
            let path = self.path.join(output);
            let name = match output {
                "." => MANIFEST.to_owned(),
                _ if path.is_dir() => format!("{output}/{MANIFEST}"),
                _ => output.to_owned(),
            };
            manifest::check_name(&name, &self.path)?;
            let path = self.path.join(&name);
            if is_manifest(&name) {
                manifest::verify_dir(path.parent().unwrap_or(&self.path))?;
            }
            files.insert(name, atomic::sha256_file(&path)?);
        }
        let hash = hash_of(&files);
        let done = Manifest { files, meta: self.meta(inputs_hash) };
        done.write(&self.path.join(DONE))?;
        Ok(hash)
    }

    /// The hash of what came out: names and bytes, nothing else. For [`chain_hash`] of the next stage's inputs.
    ///
    /// # Errors
    /// If the stage is not finished or its record is damaged.
    pub fn outputs_hash(&self) -> Result<String, StoreError> {
        Manifest::read(&self.path.join(DONE)).map(|done| hash_of(&done.files))
    }

    /// The states from which the stage goes on after a kill, in `state/`.
    ///
    /// # Errors
    /// If the folder cannot be made or cleaned.
    pub fn state(&self) -> Result<StateDir, StoreError> {
        StateDir::open(&self.path.join("state"))
    }

    fn record(&self, name: &str) -> Result<Option<Manifest>, StoreError> {
        match Manifest::read(&self.path.join(name)) {
            Err(StoreError::NoManifest { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    fn meta(&self, inputs_hash: &str) -> Value {
        json!({
            "kind": "stage",
            "stage": self.name,
            "inputs_hash": inputs_hash,
            "config_hash": self.info.config_hash,
            "seed": self.info.seed,
        })
    }
}

fn is_manifest(name: &str) -> bool {
    name == MANIFEST || name.ends_with("/manifest.json")
}

fn hash_of(files: &BTreeMap<String, crate::FileEntry>) -> String {
    let files = serde_json::to_vec(files).expect("maps with string keys are JSON");
    atomic::sha256_hex(&files)
}
