//! A run: a folder that belongs to one configuration, one seed and, while it is open, one process.
//!
//! ```text
//! runs/NAME/
//!   manifest.json     configuration hash and seed, written when the run is created
//!   lock              process id of the one that works here; the operating system's lock on it is what counts
//!   config.toml, summary.json, report/index.html …    through RunDir::write
//!   STAGE/            one folder a stage, see `stage`
//!   redo/STAGE/       a finished stage that is being made anew, until it takes the old one's place
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::StoreError;
use crate::atomic;
use crate::manifest::{self, MANIFEST, Manifest};
use crate::stage::{DONE, StageDir};

pub(crate) const LOCK: &str = "lock";

/// Folder of the stages that are being made anew.
pub const REDO: &str = "redo";

/// What a run was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// What the run is for ever, as a hash: its scale and its text.
    pub config_hash: String,
    /// Seed of every random stream.
    pub seed: u64,
}

/// An open run directory. The lock is released when this and all its stages are dropped, or when the process
/// dies in whatever way: the operating system sees to it, so a lock file that a kill left behind never blocks.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    info: RunInfo,
    lock: Arc<Lock>,
}

/// The operating system's lock on the run's lock file.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it locked as long as a process that is just being started holds a copy of
        // the handle.
        let _ = self.0.unlock();
    }
}

impl RunDir {
    /// Opens the run at `path`, or begins one there.
    ///
    /// # Errors
    /// If another process works there, the folder belongs to a run with another configuration or seed or is no
    /// run at all, its manifest is damaged, or it cannot be written to.
    pub fn create_or_open(path: &Path, config_hash: &str, seed: u64) -> Result<Self, StoreError> {
        atomic::create_folder(path)?;
        refuse_foreign(path)?;
        let lock = acquire(path)?;
        atomic::sweep_temporaries(path)?;
        recover(path)?;
        let wanted = RunInfo { config_hash: config_hash.to_owned(), seed };
        if path.join(MANIFEST).exists() {
            refuse_other(path, &Self::inspect(path)?, &wanted)?;
        } else {
            let manifest = Manifest {
                files: BTreeMap::new(),
                meta: json!({"kind": "run", "config_hash": config_hash, "seed": seed}),
            };
            manifest.write(&path.join(MANIFEST))?;
        }
        Ok(Self { path: path.to_path_buf(), info: wanted, lock: Arc::new(lock) })
    }

    /// What the run at `path` was made from. Takes no lock: a report may be read while the run goes on.
    ///
    /// # Errors
    /// If there is no run, or its manifest is damaged.
    pub fn inspect(path: &Path) -> Result<RunInfo, StoreError> {
        let manifest = Manifest::read(&path.join(MANIFEST))?;
        let config_hash = manifest.meta.get("config_hash").and_then(Value::as_str);
        let seed = manifest.meta.get("seed").and_then(Value::as_u64);
        match (config_hash, seed) {
            (Some(config_hash), Some(seed)) => Ok(RunInfo { config_hash: config_hash.to_owned(), seed }),
            _ => Err(StoreError::malformed(
                &path.join(MANIFEST),
                "the manifest is not a run's",
                "name the run's own folder, not one inside it",
            )),
        }
    }

    /// Where the run is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hash of the configuration, and the seed.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Writes a file of the run itself, such as `config.toml` or `report/index.html`, whole or not at all.
    ///
    /// # Errors
    /// If the name leads out of the folder or the disk refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        manifest::check_name(name, &self.path)?;
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            atomic::create_folder(parent)?;
        }
        atomic::write_atomic(&path, bytes).map(|_| ())
    }

    /// The folder of a stage, made if need be and swept of what a kill left. `name` may have parts
    /// (`r1/cold-start`).
    ///
    /// # Errors
    /// If the name leads out of the folder, or the folder cannot be made.
    pub fn stage(&self, name: &str) -> Result<StageDir, StoreError> {
        manifest::check_name(name, &self.path)?;
        StageDir::open(self.path.join(name), name, &self.info, Arc::clone(&self.lock))
    }

    /// The folder in which the finished stage `name` is made anew.
    ///
    /// # Errors
    /// As [`RunDir::stage`].
    pub fn redo(&self, name: &str) -> Result<StageDir, StoreError> {
        manifest::check_name(name, &self.path)?;
        StageDir::open(self.path.join(REDO).join(name), name, &self.info, Arc::clone(&self.lock))
    }

    /// Puts what was finished in `redo/NAME` in the place of `NAME`, whose old files go. A kill at any moment leaves one of both
    /// there: on Linux the names change places in one call, elsewhere the next opening ends what was begun.
    ///
    /// # Errors
    /// If the disk refuses; what had its place before has it still.
    pub fn replace(&self, name: &str) -> Result<(), StoreError> {
        let (new, home) = (self.path.join(REDO).join(name), self.path.join(name));
        if !exchange(&new, &home) {
            let leaving = atomic::temporary_beside(&new)?;
            atomic::remove_folder_if_present(&leaving)?;
            fs::rename(&home, &leaving).map_err(StoreError::io("rename", &home))?;
            fs::rename(&new, &home).map_err(StoreError::io("rename into", &home))?;
        }
        atomic::sync_folder(&self.path)?;
        self.drop_redo(name)
    }

    /// Removes `redo/NAME`, and `redo` itself when it was the last one there.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn drop_redo(&self, name: &str) -> Result<(), StoreError> {
        let all = self.path.join(REDO);
        let home = all.join(name);
        if home.exists() {
            // The name first: what is left of it after a kill must not pass for a stage.
            let leaving = atomic::temporary_beside(&home)?;
            atomic::remove_folder_if_present(&leaving)?;
            fs::rename(&home, &leaving).map_err(StoreError::io("rename", &home))?;
        }
        atomic::sweep_temporaries(&all)?;
        // Another stage may be at work there.
        let _ = fs::remove_dir(&all);
        Ok(())
    }
}

/// Lets two folders change places, if the system can do that in one step.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn exchange(a: &Path, b: &Path) -> bool {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE).is_ok()
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn exchange(_: &Path, _: &Path) -> bool {
    false
}

/// Ends what a kill between the two renames of [`RunDir::replace`] left: the old stage has gone, the new one has not come.
fn recover(run: &Path) -> Result<(), StoreError> {
    let all = run.join(REDO);
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        let (new, home) = (entry.path(), run.join(entry.file_name()));
        if new.join(DONE).exists() && !home.exists() {
            fs::rename(&new, &home).map_err(StoreError::io("rename into", &home))?;
            atomic::sync_folder(run)?;
        }
    }
    atomic::sweep_temporaries(&all).map(|_| ())
}

/// A folder with files but no manifest is somebody's, not ours to fill.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    if path.join(MANIFEST).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(StoreError::io("list", path))? {
        let name = entry.map_err(StoreError::io("list", path))?.file_name();
        let name = name.to_string_lossy();
        if name != LOCK && !atomic::is_temporary(&name) {
            return Err(StoreError::malformed(
                path,
                format!("the folder holds {name} but no manifest.json, so it is not a run"),
                "choose a new or empty folder with --out",
            ));
        }
    }
    Ok(())
}

fn refuse_other(path: &Path, found: &RunInfo, wanted: &RunInfo) -> Result<(), StoreError> {
    let clash = |what, found: String, wanted: String| {
        Err(StoreError::OtherRun { path: path.to_path_buf(), what, found, wanted })
    };
    if found.config_hash != wanted.config_hash {
        return clash("configuration", found.config_hash.clone(), wanted.config_hash.clone());
    }
    if found.seed != wanted.seed {
        return clash("seed", found.seed.to_string(), wanted.seed.to_string());
    }
    Ok(())
}

/// Takes the lock and notes this process in it. The file is never removed: whoever waits for it would then hold
/// a lock on a file that nobody else can see.
fn acquire(dir: &Path) -> Result<Lock, StoreError> {
    let path = dir.join(LOCK);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message; a holder that has not written its id yet is still a holder.
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(StoreError::Locked { path: dir.to_path_buf(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
    }
    file.set_len(0).map_err(StoreError::io("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(StoreError::io("write", &path))?;
    Ok(Lock(file))
}
