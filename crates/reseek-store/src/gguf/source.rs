//! A regular file read at places, and its beginning read in order with what is left of it always known.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::damaged;
use crate::StoreError;
use crate::regular::{open_regular, read_exact_at};

/// An open file of known length.
#[derive(Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    pub len: u64,
    file: File,
}

impl Place {
    /// # Errors
    /// If the path is no regular file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (file, len) = open_regular(path)?;
        Ok(Self { path: path.to_path_buf(), len, file })
    }

    /// `count` bytes from `at`, which the caller has held against [`Place::len`].
    pub fn read(&self, at: u64, count: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; count];
        read_exact_at(&self.file, &mut bytes, at).map_err(StoreError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// The file from `at` on, in order.
    pub fn from(&self, at: u64) -> Source<'_> {
        let reader = BufReader::with_capacity(1 << 16, ReadAt { place: self, at });
        Source { reader, path: &self.path, at, len: self.len }
    }
}

/// A reader with a place of its own, so that readers of one file do not disturb each other.
struct ReadAt<'a> {
    place: &'a Place,
    at: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = (bytes.len() as u64).min(self.place.len.saturating_sub(self.at)) as usize;
        read_exact_at(&self.place.file, &mut bytes[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The bytes of a file in order, with what is left of it.
pub(super) struct Source<'a> {
    reader: BufReader<ReadAt<'a>>,
    path: &'a Path,
    pub at: u64,
    len: u64,
}

impl Source<'_> {
    /// Takes what is behind `max` bytes for behind the end.
    pub fn within(mut self, max: u64) -> Self {
        self.len = self.len.min(max);
        self
    }

    /// That `count` things of at least `size` bytes can still come.
    pub fn check_room(&self, count: u64, size: u64) -> Result<(), StoreError> {
        let left = self.len - self.at;
        match count.checked_mul(size) {
            Some(bytes) if bytes <= left => Ok(()),
            _ => {
                let at = self.at;
                Err(damaged(self.path, format!("{count} items at byte {at}, but only {left} bytes are left for them")))
            }
        }
    }

    pub fn bytes(&mut self, count: u64) -> Result<Vec<u8>, StoreError> {
        self.check_room(count, 1)?;
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes).map_err(StoreError::io("read", self.path))?;
        self.at += count;
        Ok(bytes)
    }

    /// Goes past `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<(), StoreError> {
        const PIECE: u64 = 1 << 16;
        self.check_room(count, 1)?;
        let mut left = count;
        while left > 0 {
            let piece = left.min(PIECE);
            self.bytes(piece)?;
            left -= piece;
        }
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.check_room(N as u64, 1)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(StoreError::io("read", self.path))?;
        self.at += N as u64;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32, StoreError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        let len = self.u64()?;
        let bytes = self.bytes(len)?;
        String::from_utf8(bytes).map_err(|_| damaged(self.path, format!("a text before byte {} is not UTF-8", self.at)))
    }
}
