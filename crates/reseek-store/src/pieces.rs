//! Work that is done in pieces, each kept as soon as it is there: what was stopped goes on behind the last of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::manifest::{MANIFEST, Manifest};
use crate::{StageDir, StoreError, atomic};

/// The pieces of a stage, in a folder of its own under the stage's. Each is a file that holds the hash of itself.
#[derive(Debug)]
pub struct Pieces {
    folder: PathBuf,
}

impl StageDir {
    /// The pieces that this stage has kept.
    ///
    /// # Errors
    /// If their folder cannot be made.
    pub fn pieces(&self) -> Result<Pieces, StoreError> {
        let folder = self.path().join("pieces");
        atomic::create_folder(&folder)?;
        atomic::sweep_temporaries(&folder)?;
        Ok(Pieces { folder })
    }
}

impl Pieces {
    /// Piece `i`, if it is there and whole: a damaged one is to be made again.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn get(&self, i: usize) -> Result<Option<Value>, StoreError> {
        match Manifest::read(&self.path(i)) {
            Ok(kept) => Ok(Some(kept.meta)),
            Err(error @ StoreError::Io { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Keeps piece `i`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn keep(&self, i: usize, piece: Value) -> Result<(), StoreError> {
        Manifest { files: BTreeMap::new(), meta: piece }.write(&self.path(i))
    }

    /// Removes them all: what they led to is written.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn clear(self) -> Result<(), StoreError> {
        atomic::remove_folder_if_present(&self.folder)
    }

    fn path(&self, i: usize) -> PathBuf {
        self.folder.join(format!("{i:05}-{MANIFEST}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::RunDir;

    #[test]
    fn pieces_stay_until_they_are_cleared_and_a_damaged_one_is_made_again() {
        let folder = std::env::temp_dir().join(format!("reseek-pieces-{}", std::process::id()));
        let run = RunDir::create_or_open(&folder, "a", 1).unwrap();
        let stage = run.stage("measured").unwrap();
        let pieces = stage.pieces().unwrap();
        assert_eq!(pieces.get(0).unwrap(), None);
        pieces.keep(0, json!([1, "two"])).unwrap();
        pieces.keep(1, json!(null)).unwrap();
        let again = stage.pieces().unwrap();
        assert_eq!((again.get(0).unwrap(), again.get(1).unwrap()), (Some(json!([1, "two"])), Some(json!(null))));
        let path = again.path(0);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, String::from_utf8(bytes).unwrap().replace("two", "too")).unwrap();
        assert_eq!(again.get(0).unwrap(), None);
        again.clear().unwrap();
        assert!(!stage.path().join("pieces").exists());
        drop((stage, run));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
