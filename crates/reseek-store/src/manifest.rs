//! A folder whose files are known by their SHA-256.
//!
//! `manifest.json` is `{"files": {NAME: {"bytes", "sha256"}}, "meta": …, "sha256": …}` and is written last, so
//! a folder without one was never finished. Its own `sha256` covers the rest of it: a flipped byte in the
//! manifest is found like one in any other file. Names come from disk and are treated as hostile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StoreError;
use crate::atomic::{self, AtomicFile, FileEntry};
use crate::regular;

/// Name of the manifest in its folder.
pub const MANIFEST: &str = "manifest.json";

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Relative name, `/` between its parts, to size and hash.
    pub files: BTreeMap<String, FileEntry>,
    /// What the writer wants to say about the folder.
    pub meta: Value,
}

/// A folder that was found whole.
#[derive(Debug)]
pub struct Verified {
    /// What the folder says of itself.
    pub manifest: Manifest,
    /// Files directly in the folder that the manifest does not vouch for, sorted. Rows that still grow
    /// (metrics.jsonl) are such; who reads one by a fixed name asks [`Verified::vouches_for`] first.
    pub unlisted: Vec<String>,
}

impl Verified {
    /// Whether `name` was checked.
    pub fn vouches_for(&self, name: &str) -> bool {
        self.manifest.files.contains_key(name)
    }
}

/// Checks every file of `dir` against its manifest.
///
/// # Errors
/// If there is no manifest, it is damaged, it names a file outside `dir`, or a file is missing or has other
/// bytes. The first such file in name order is named with both hashes.
pub fn verify_dir(dir: &Path) -> Result<Verified, StoreError> {
    let manifest = Manifest::read(&dir.join(MANIFEST))?;
    manifest.verify_files(dir)?;
    let mut unlisted = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let listed = name == MANIFEST || manifest.files.contains_key(&name);
        if !listed && !entry.path().is_dir() && !atomic::is_temporary(&name) {
            unlisted.push(name);
        }
    }
    unlisted.sort();
    Ok(Verified { manifest, unlisted })
}

/// Writes the files of one folder and at the end the manifest that vouches for them.
#[derive(Debug)]
pub struct DirWriter {
    dir: PathBuf,
    files: BTreeMap<String, FileEntry>,
}

impl DirWriter {
    /// Makes or reopens `dir`. A manifest that is there already is removed first, so that a kill between two
    /// files leaves an unfinished folder, not one that looks damaged.
    ///
    /// # Errors
    /// If the folder cannot be made or written to.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        atomic::create_folder(dir)?;
        atomic::sweep_temporaries(dir)?;
        atomic::remove_file_if_present(&dir.join(MANIFEST))?;
        atomic::sync_folder(dir)?;
        Ok(Self { dir: dir.to_path_buf(), files: BTreeMap::new() })
    }

    /// Writes one file.
    ///
    /// # Errors
    /// If the name leads out of the folder or the disk refuses.
    ///
    /// # Panics
    /// If the name is [`MANIFEST`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_with(name, |file| file.write(bytes))
    }

    /// Writes one file piece by piece.
    ///
    /// # Errors
    /// If the name leads out of the folder, `fill` fails or the disk refuses.
    ///
    /// # Panics
    /// If the name is [`MANIFEST`].
    pub fn write_with(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut AtomicFile) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        check_name(name, &self.dir)?;
        assert_ne!(name, MANIFEST, "the manifest is written by finish()");
        let path = self.dir.join(name);
        if let Some(parent) = path.parent() {
            atomic::create_folder(parent)?;
        }
        let mut file = AtomicFile::create(&path)?;
        fill(&mut file)?;
        let entry = file.commit()?;
        self.files.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Writes the manifest: from here on the folder is whole.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self, meta: Value) -> Result<Manifest, StoreError> {
        let manifest = Manifest { files: self.files, meta };
        manifest.write(&self.dir.join(MANIFEST))?;
        Ok(manifest)
    }
}

/// The manifest as it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    files: BTreeMap<String, FileEntry>,
    meta: Value,
    sha256: String,
}

impl Manifest {
    /// Writes the manifest to `path`, usually [`MANIFEST`] in the folder that it describes.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        atomic::write_atomic(path, &self.to_bytes()).map(|_| ())
    }

    /// Reads a manifest and checks it against its own hash; the files are not looked at.
    ///
    /// # Errors
    /// If it is absent, damaged, or lists a name that leads out of its folder.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = match regular::read_regular(path, regular::INDEX_BYTES_MAX) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let path = path.parent().unwrap_or(path).to_path_buf();
                return Err(StoreError::NoManifest { path });
            }
            other => other?,
        };
        let damaged = |reason: String| {
            let folder = path.parent().unwrap_or(path).display();
            let mend = format!("restore it from a copy, or remove the folder {folder} and run the same command again");
            StoreError::malformed(path, reason, mend)
        };
        let on_disk: OnDisk =
            serde_json::from_slice(&bytes).map_err(|e| damaged(format!("the manifest is damaged: {e}")))?;
        let manifest = Self { files: on_disk.files, meta: on_disk.meta };
        let expected = manifest.sha256();
        if on_disk.sha256 != expected {
            let found = on_disk.sha256;
            return Err(damaged(format!(
                "the manifest is damaged: it gives its own sha256 as {found}, its content has {expected}"
            )));
        }
        // White space is the one thing that the hash does not cover.
        if bytes != manifest.to_bytes() {
            return Err(damaged("the manifest is damaged: its layout is not the one it was written in".into()));
        }
        for name in manifest.files.keys() {
            check_name(name, path)?;
        }
        Ok(manifest)
    }

    /// SHA-256 of the content, which depends on nothing but names, sizes, hashes and meta.
    pub fn sha256(&self) -> String {
        let content = serde_json::to_vec(&(&self.files, &self.meta)).expect("maps with string keys are JSON");
        atomic::sha256_hex(&content)
    }

    /// Checks each listed file under `dir`.
    pub(crate) fn verify_files(&self, dir: &Path) -> Result<(), StoreError> {
        for (name, expected) in &self.files {
            let path = dir.join(name);
            check_is_inside(dir, &path, name, expected)?;
            let found = atomic::sha256_file(&path)?;
            if found != *expected {
                return Err(StoreError::Damaged {
                    path,
                    expected_bytes: expected.bytes,
                    expected: expected.sha256.clone(),
                    found_bytes: found.bytes,
                    found: found.sha256,
                });
            }
        }
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let on_disk = OnDisk { files: self.files.clone(), meta: self.meta.clone(), sha256: self.sha256() };
        let mut bytes = serde_json::to_vec_pretty(&on_disk).expect("maps with string keys are JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// Refuses names that lead out of a folder: absolute ones, `..`, other systems' separators and drive letters.
pub(crate) fn check_name(name: &str, place: &Path) -> Result<(), StoreError> {
    let refuse = |reason| Err(StoreError::Name { path: place.to_path_buf(), name: name.to_owned(), reason });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.contains(['\\', ':', '\0']) {
        return refuse("it holds a character that means something else on another system");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | ".."))
        || !Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
    {
        return refuse("it could lead out of its folder");
    }
    if name.split('/').any(atomic::is_temporary) {
        return refuse("its ending marks files that are not whole");
    }
    Ok(())
}

/// Follows links, so that neither a linked file nor a linked folder leads out of `dir`, and never opens a pipe
/// or device.
fn check_is_inside(dir: &Path, path: &Path, name: &str, expected: &FileEntry) -> Result<(), StoreError> {
    let real = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::MissingFile { path: path.to_path_buf(), expected: expected.sha256.clone() });
        }
        other => other.map_err(StoreError::io("resolve", path))?,
    };
    let home = dir.canonicalize().map_err(StoreError::io("resolve", dir))?;
    if !real.starts_with(&home) || !real.is_file() {
        return Err(StoreError::Name {
            path: dir.join(MANIFEST),
            name: name.to_owned(),
            reason: "it is a link out of the folder, or no plain file",
        });
    }
    Ok(())
}
