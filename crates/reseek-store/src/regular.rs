//! Files that somebody else made: opened only if they are files, and read no further than such a file is long.
//!
//! A named pipe in a file's place would hold the program for ever, and a device would never end.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::StoreError;

/// Largest config.json or generation_config.json that is read. Those of all known models have a few kilobytes, or some hundred where a
/// list of modules stands in them.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Largest model.safetensors.index.json that is read. DeepSeek-V3's has 9 MB.
pub const INDEX_BYTES_MAX: u64 = 64 << 20;
/// Largest tokenizer.json and other file beside the weights. Gemma 3's has 33 MB.
pub const SIDECAR_BYTES_MAX: u64 = 128 << 20;

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// If it is absent, no regular file (links are followed), or longer.
pub fn read_regular(path: &Path, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let (file, bytes) = open_regular(path)?;
    let too_long = |bytes| StoreError::TooLarge { path: path.to_path_buf(), bytes, bytes_max };
    if bytes > bytes_max {
        return Err(too_long(bytes));
    }
    let mut contents = Vec::with_capacity(bytes as usize);
    // It may grow while it is read.
    let read = file.take(bytes_max + 1).read_to_end(&mut contents).map_err(StoreError::io("read", path))? as u64;
    if read > bytes_max { Err(too_long(read)) } else { Ok(contents) }
}

/// Opens a regular file (links are followed) and says how long it is.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), StoreError> {
    let refuse_others = |kind: FileType| match kind.is_file() {
        true => Ok(()),
        false => Err(StoreError::NoFile { path: path.to_path_buf(), kind: name_of(kind) }),
    };
    // Asked before as well: to open a device can do something already.
    refuse_others(fs::metadata(path).map_err(StoreError::io("open", path))?.file_type())?;
    let file = without_waiting().open(path).map_err(StoreError::io("open", path))?;
    let metadata = file.metadata().map_err(StoreError::io("inspect", path))?;
    refuse_others(metadata.file_type())?;
    Ok((file, metadata.len()))
}

/// For reading. A pipe that took the file's place between question and answer is opened without waiting for its writer.
fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::fcntl::OFlag::O_NONBLOCK.bits());
    options
}

fn name_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}

/// Fills `buffer` from byte `place` on, without moving anything that other readers of the file share.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, place)
}

/// Fills `buffer` from byte `place` on; each piece is read at its own place, so several readers may share the file.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut place: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, place) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => (buffer, place) = (&mut buffer[read..], place + read as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
