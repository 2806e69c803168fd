//! What is under construction belongs to one writer, who holds the operating system's lock on it. A killed writer's lock is gone, so what it
//! left is told from what another process still writes, and only the holder of its lock removes or renames it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::atomic::{self, temporary_beside};

/// How often a name is tried that others take and leave at the same time.
const TRIES: usize = 100;

/// A file without contents at `place`, for writing, to become `target`.
///
/// # Errors
/// If another process is at it, or the folder is missing or not writable.
pub(crate) fn claim_file(place: &Path, target: &Path) -> Result<File, StoreError> {
    // What was left is removed, not reopened, for it could be a link to somewhere else.
    let made = claim(place, target, || File::create_new(place).map(Some))?;
    Ok(made.expect("a file that was made is open"))
}

/// A folder under construction beside its place. Dropped before [`Building::publish`], it vanishes with the folders that were made for it.
#[derive(Debug)]
pub(crate) struct Building {
    target: PathBuf,
    at: PathBuf,
    parents: Parents,
    is_published: bool,
    // Given back last, when the name is gone.
    _held: Option<File>,
}

impl Building {
    /// An empty folder that is to become `target`; those above are made.
    ///
    /// # Errors
    /// If `target` is there, another process is at it, or the disk refuses.
    pub(crate) fn of(target: &Path) -> Result<Self, StoreError> {
        let parents = Parents::make(target)?;
        let at = temporary_beside(target)?;
        let held = claim(&at, target, || fs::create_dir(&at).and_then(|()| open_left(&at)))?;
        let building = Self { target: target.to_path_buf(), at, parents, is_published: false, _held: held };
        // It may have come while this process was on its way to the lock.
        match target.symlink_metadata() {
            Ok(_) => Err(StoreError::TargetIsThere { path: target.to_path_buf() }),
            Err(_) => Ok(building),
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn publish(mut self) -> Result<(), StoreError> {
        fs::rename(&self.at, &self.target).map_err(StoreError::io("rename into", &self.target))?;
        self.is_published = true;
        self.parents.keep();
        atomic::sync_folder_of(&self.target)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // With its name it has left its place, where another may build by now.
        if !self.is_published {
            // The error that counts is on its way already.
            let _ = fs::remove_dir_all(&self.at);
        }
    }
}

/// Folders that were made above something new; dropped before [`Parents::keep`], those that are still empty go again.
#[derive(Debug)]
pub(crate) struct Parents(Vec<PathBuf>);

impl Parents {
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn make(target: &Path) -> Result<Self, StoreError> {
        let missing = |folder: &&Path| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_err();
        let folders = Self(target.ancestors().skip(1).take_while(missing).map(Path::to_path_buf).collect());
        atomic::create_folder(atomic::folder_of(target))?;
        Ok(folders)
    }

    pub(crate) fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        self.0.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

fn claim(place: &Path, target: &Path, make: impl Fn() -> io::Result<Option<File>>) -> Result<Option<File>, StoreError> {
    for _ in 0..TRIES {
        match make() {
            // Between the two steps another may have taken it for something left.
            Ok(made) if try_lock(made.as_ref(), place)? && is_at(made.as_ref(), place) => return Ok(made),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match open_left(place) {
                Ok(left) if !try_lock(left.as_ref(), place)? => break,
                Ok(left) if is_at(left.as_ref(), place) => remove(place)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A link, a pipe or what else nobody can hold.
                Err(_) => remove(place)?,
            },
            Err(error) => return Err(StoreError::io("create", target)(error)),
        }
    }
    Err(StoreError::BeingWritten { path: target.to_path_buf() })
}

/// Whether the lock is this process's now.
fn try_lock(file: Option<&File>, place: &Path) -> Result<bool, StoreError> {
    let Some(file) = file else { return Ok(true) };
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        // Some disks have no locks. One writer alone is as safe on them.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", place)(error)),
    }
}

fn remove(place: &Path) -> Result<(), StoreError> {
    match place.symlink_metadata() {
        Ok(there) if there.is_dir() => atomic::remove_folder_if_present(place),
        _ => atomic::remove_file_if_present(place),
    }
}

/// A folder or file as it lies there, not what it leads to. Only Unix opens folders and locks them; elsewhere they have no lock.
fn open_left(place: &Path) -> io::Result<Option<File>> {
    let kind = place.symlink_metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if kind.is_dir() && !cfg!(unix) {
        return Ok(None);
    }
    let mut options = File::options();
    options.read(true);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::fcntl::OFlag;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    }
    options.open(place).map(Some)
}

/// Whether `place` is still the name of the open file.
fn is_at(file: Option<&File>, place: &Path) -> bool {
    let Some(file) = file else { return true };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(open), Ok(there)) = (file.metadata(), place.symlink_metadata()) else { return false };
        (open.dev(), open.ino()) == (there.dev(), there.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        place.symlink_metadata().is_ok()
    }
}
