//! One file, whole or not at all: temporary file in the same folder, write, fsync, rename, fsync of the folder.
//!
//! A reader, and a run that comes back after a kill, sees the old bytes or the new ones. What a kill leaves
//! behind is a temporary file, which [`sweep_temporaries`] removes when the folder is next opened, and so does the
//! next writer of the same file. Of two writers of one path at the same time the second is refused.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::claim::claim_file;

/// Ending of names that only this room gives, to files and folders that are not whole yet.
pub(crate) const TEMPORARY: &str = ".reseek-tmp";

/// A file's size and the SHA-256 of its bytes, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its length.
    pub bytes: u64,
    /// Its contents' hash.
    pub sha256: String,
}

/// Replaces the file at `path` by `bytes`, or leaves it as it was.
///
/// # Errors
/// If the folder cannot be written to or the disk is full; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<FileEntry, StoreError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

/// A file under construction that takes its name only on [`AtomicFile::commit`]; dropped before that, it vanishes.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    renamed: bool,
}

impl AtomicFile {
    /// Opens the temporary file beside `path`, whose folder must exist.
    ///
    /// # Errors
    /// If the folder is missing or not writable, another process is writing the file, or `path` has no file name.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let temporary = temporary_beside(path)?;
        let file = claim_file(&temporary, path)?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary,
            file: BufWriter::with_capacity(1 << 18, file),
            hash: Sha256::new(),
            bytes: 0,
            renamed: false,
        })
    }

    /// The name that it takes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// If the disk refuses; the error names the final path.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("write", &self.path))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes durable and gives them their name. The entry describes the bytes that were meant, not a
    /// reading back, so that a disk that wrote others is found out by the manifest.
    ///
    /// # Errors
    /// If the disk refuses; the old file is then untouched.
    pub fn commit(mut self) -> Result<FileEntry, StoreError> {
        self.file.flush().map_err(StoreError::io("write", &self.path))?;
        self.file.get_ref().sync_all().map_err(StoreError::io("fsync", &self.path))?;
        fs::rename(&self.temporary, &self.path).map_err(StoreError::io("rename into", &self.path))?;
        self.renamed = true;
        sync_folder_of(&self.path)?;
        Ok(FileEntry { bytes: self.bytes, sha256: hex(&self.hash.finalize_reset()) })
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.renamed {
            // The write has failed already and its error is on its way; the next sweep tries again.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Removes what killed writers left in `dir` (not below it). Returns how many leftovers there were; a missing
/// folder has none.
///
/// # Errors
/// If the folder cannot be read or a leftover cannot be removed.
pub fn sweep_temporaries(dir: &Path) -> Result<usize, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(StoreError::io("list", dir))?,
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let name = entry.file_name();
        if !is_temporary(&name.to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(StoreError::io("inspect", &path))?;
        if kind.is_dir() {
            remove_folder_if_present(&path)?;
        } else {
            remove_file_if_present(&path)?;
        }
        swept += 1;
    }
    Ok(swept)
}

/// Size and SHA-256 of a file, read in pieces.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<FileEntry, StoreError> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    read_pieces(path, |piece| {
        hash.update(piece);
        bytes += piece.len() as u64;
        Ok(())
    })?;
    Ok(FileEntry { bytes, sha256: hex(&hash.finalize()) })
}

/// Reads a file piece by piece.
pub(crate) fn read_pieces(
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::io("read", path)(error)),
        }
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

/// `dir/name` becomes `dir/.name.reseek-tmp`.
pub(crate) fn temporary_beside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().ok_or_else(|| StoreError::Name {
        path: path.to_path_buf(),
        name: path.to_string_lossy().into_owned(),
        reason: "it ends in no file name",
    })?;
    Ok(path.with_file_name(format!(".{}{TEMPORARY}", name.to_string_lossy())))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(StoreError::io("read", path))
}

/// Makes a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io("create the folder", path))
}

pub(crate) fn remove_file_if_present(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::io("remove", path)),
    }
}

pub(crate) fn remove_folder_if_present(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::io("remove", path)),
    }
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_folder(dir: &Path) -> Result<(), StoreError> {
    // Only Unix opens folders as files; elsewhere the rename itself is all there is.
    if cfg!(unix) {
        let folder = File::open(dir).map_err(StoreError::io("open the folder", dir))?;
        folder.sync_all().map_err(StoreError::io("fsync the folder", dir))?;
    }
    Ok(())
}

pub(crate) fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    sync_folder(folder_of(path))
}

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Bytes that a user may still write to the disk of a folder, where the system says so.
pub(crate) fn free_bytes(folder: &Path) -> Result<Option<u64>, StoreError> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let disk = nix::sys::statvfs::statvfs(folder)
            .map_err(|error| StoreError::io("ask for the room of", folder)(error.into()))?;
        // The widths are the platform's; what a float loses of them is less than a block.
        Ok(Some((disk.blocks_available() as f64 * disk.fragment_size() as f64) as u64))
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        let _ = folder;
        Ok(None)
    }
}
