//! The Hub's cache: `models--org--name/refs/REVISION` holds a commit, `models--org--name/snapshots/COMMIT` the files as links to blobs.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::{HubError, HubModel, is_plain};

/// A cache of the Hub's tools.
#[derive(Clone, Debug)]
pub struct HubCache(PathBuf);

impl HubCache {
    /// The cache in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// This machine's, as `huggingface_hub` finds it.
    ///
    /// # Errors
    /// If no variable says where it is and there is no HOME.
    pub fn from_env() -> Result<Self, HubError> {
        let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        let within = |base: Option<PathBuf>, path: &str| base.map(|base| base.join(path));
        set("HF_HUB_CACHE")
            .or_else(|| within(set("HF_HOME"), "hub"))
            .or_else(|| within(set("XDG_CACHE_HOME"), "huggingface/hub"))
            .or_else(|| within(set("HOME"), ".cache/huggingface/hub"))
            .map(Self)
            .ok_or(HubError::NoHome)
    }

    /// Where it is.
    pub fn folder(&self) -> &PathBuf {
        &self.0
    }

    /// The folder of the model's files at its revision: a commit's own, or the one that `refs` names.
    ///
    /// # Errors
    /// If it is not there, or `refs` does not hold a commit.
    pub fn snapshot(&self, model: &HubModel) -> Result<PathBuf, HubError> {
        let folder = self.0.join(model.folder());
        let named = folder.join("snapshots").join(model.revision());
        if named.is_dir() {
            return Ok(named);
        }
        let path = folder.join("refs").join(model.revision());
        // A commit has 40 letters; a file of another kind is not read to its end.
        let mut commit = String::new();
        let absent = |missing: PathBuf| HubError::Absent { model: model.clone(), missing, why: why() };
        if !path.is_file() {
            return Err(absent(path));
        }
        let read = File::open(&path).and_then(|file| file.take(200).read_to_string(&mut commit));
        let commit = commit.trim();
        let damaged = |reason: String| HubError::Damaged { path: path.clone(), reason, folder: folder.clone() };
        match read {
            Err(error) => return Err(damaged(error.to_string())),
            Ok(_) if !is_plain(commit) => return Err(damaged("it holds no commit".to_string())),
            Ok(_) => {}
        }
        let snapshot = folder.join("snapshots").join(commit);
        if snapshot.is_dir() { Ok(snapshot) } else { Err(absent(snapshot)) }
    }
}

/// Whether HF_HUB_OFFLINE forbids the network, in the spellings that `huggingface_hub` takes for true.
#[cfg(feature = "download")]
pub(crate) fn is_offline() -> bool {
    env::var("HF_HUB_OFFLINE")
        .is_ok_and(|value| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
}

fn why() -> &'static str {
    if cfg!(feature = "download") {
        "HF_HUB_OFFLINE is set, so it was not fetched."
    } else {
        "This build fetches nothing (the feature `hub` does)."
    }
}
