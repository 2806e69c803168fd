//! A run copied: to try another setting on, or to keep. The copy appears whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::atomic::{self, AtomicFile};
use crate::claim::Building;
use crate::manifest;
use crate::run_dir::{LOCK, RunDir};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl RunDir {
    /// Copies the run at `from` to `to`, which must not be there. Each file is read back and compared with what was read of its
    /// original, and each folder of a stage with its manifest. The original is held as by a command that works on it, so that nothing
    /// changes meanwhile. After a kill `to` is absent, and the next copy to it removes what was left beside it.
    ///
    /// # Errors
    /// If `from` is no run or in use, `to` is there, a file is damaged or is a link, or the disk refuses.
    pub fn copy(from: &Path, to: &Path) -> Result<Copied, StoreError> {
        let info = Self::inspect(from)?;
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::TargetIsThere { path: to.to_path_buf() });
        }
        refuse_inside(from, to)?;
        let _held = Self::create_or_open(from, &info.config_hash, info.seed)?;
        let building = Building::of(to)?;
        let copied = copy_folder(from, building.path())?;
        check_stages(building.path())?;
        building.publish()?;
        Ok(copied)
    }
}

/// A copy inside of its original would be part of it.
pub(crate) fn refuse_inside(from: &Path, to: &Path) -> Result<(), StoreError> {
    let home = from.canonicalize().map_err(StoreError::io("resolve", from))?;
    // The first folder above the copy that is there already.
    let above = to.ancestors().skip(1).find_map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new(".").canonicalize().ok(),
        false => folder.canonicalize().ok(),
    });
    if above.is_some_and(|above| above.starts_with(&home)) {
        return Err(StoreError::malformed(to, "the copy would lie in its original", "choose a folder outside of it"));
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<Copied, StoreError> {
    atomic::create_folder(to)?;
    let mut all = Copied::default();
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(from).map_err(StoreError::io("list", from))? {
        names.push(entry.map_err(StoreError::io("list", from))?.path());
    }
    names.sort();
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Who holds the original does not hold the copy.
        if name == LOCK || atomic::is_temporary(&name) {
            continue;
        }
        let target = to.join(&name);
        let kind = path.symlink_metadata().map_err(StoreError::io("inspect", &path))?;
        let copied = if kind.is_dir() {
            copy_folder(&path, &target)?
        } else if kind.is_file() {
            Copied { files: 1, bytes: copy_file(&path, &target)? }
        } else {
            return Err(StoreError::Name { path: from.to_path_buf(), name, reason: "it is a link, or no plain file" });
        };
        all = Copied { files: all.files + copied.files, bytes: all.bytes + copied.bytes };
    }
    atomic::sync_folder(to)?;
    Ok(all)
}

fn copy_file(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let mut file = AtomicFile::create(to)?;
    atomic::read_pieces(from, |piece| file.write(piece))?;
    let meant = file.commit()?;
    let found = atomic::sha256_file(to)?;
    if found != meant {
        return Err(StoreError::Damaged {
            path: to.to_path_buf(),
            expected_bytes: meant.bytes,
            expected: meant.sha256,
            found_bytes: found.bytes,
            found: found.sha256,
        });
    }
    Ok(meant.bytes)
}

/// A damaged original must not go on as a copy that looks sound.
fn check_stages(run: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(run).map_err(StoreError::io("list", run))? {
        let folder = entry.map_err(StoreError::io("list", run))?.path();
        if folder.join(manifest::MANIFEST).is_file() {
            manifest::verify_dir(&folder)?;
        }
    }
    Ok(())
}
