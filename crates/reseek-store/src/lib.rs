//! The only room that writes run directories.
//!
//! Everything goes to disk the same way: a temporary file in the target's own folder, fsync, rename, and a
//! manifest with checksums last. A kill at any moment leaves the old version or the new one, never half of one;
//! a flipped byte is found before anything uses it.
//!
//! | module | noun |
//! |---|---|
//! | [`atomic`] | one file, whole or not at all |
//! | [`manifest`] | a folder whose files are known by their SHA-256 |
//! | [`safetensors_io`] | named f32 tensors in a safetensors file |
//! | [`model_files`] | config.json and weights as Hugging Face lays them out, from anyone |
//! | [`checkpoint`] | a complete model folder of ours |
//! | [`train_state`] | what a stage needs to go on after a kill |
//! | [`run_dir`], [`stage`] | a run, its lock, its stages and what they were made from; its copy |
//! | [`metrics`] | step rows that end in the same bytes after a resume |
//! | [`summary`], [`machine`] | what a run came to, and on what |
//!
//! ```
//! let dir = std::env::temp_dir().join(format!("reseek-store-example-{}", std::process::id()));
//! let mut folder = reseek_store::DirWriter::create(&dir)?;
//! folder.write("notes.txt", b"four layers")?;
//! folder.finish(serde_json::json!({"purpose": "example"}))?;
//! let verified = reseek_store::verify_dir(&dir)?;
//! assert_eq!(verified.manifest.files["notes.txt"].bytes, 11);
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<(), reseek_store::StoreError>(())
//! ```

#![deny(missing_docs)]

pub mod atomic;
pub mod checkpoint;
mod copy;
mod error;
mod gguf;
pub mod machine;
pub mod manifest;
pub mod metrics;
pub mod model_files;
pub mod run_dir;
pub mod safetensors_io;
pub mod stage;
pub mod summary;
pub mod train_state;

pub use atomic::{AtomicFile, FileEntry, sha256_file, sha256_hex, sweep_temporaries, write_atomic};
pub use checkpoint::{Sidecars, save_checkpoint};
pub use copy::Copied;
pub use error::StoreError;
pub use gguf::{
    BlockKind, CodeBlock, CodeForm, GgufModel, GgufTokenizer, QuantisedTensor, ScaleForm, is_gguf, load_gguf,
};
pub use machine::{Machine, peak_memory_bytes};
pub use manifest::{DirWriter, Manifest, Verified, verify_dir};
pub use metrics::{StepLog, read_metrics};
pub use model_files::{NamedTensor, load_model};
pub use run_dir::{REDO, RunDir, RunInfo};
pub use stage::{PROFILE, StageDir, StageFacts, chain_hash};
pub use summary::Summary;
pub use train_state::{LoadedState, Moment, StateDir, TrainState};
