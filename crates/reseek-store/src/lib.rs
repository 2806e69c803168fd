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
//! | [`regular`] | files that others made, read only if they are files |
//! | [`safetensors_io`] | named f32 tensors in a safetensors file |
//! | [`model_source`] | a model of anyone's, opened: a Hugging Face folder or a GGUF file, tensor by tensor |
//! | [`model_files`] | a model of ours as Hugging Face lays it out |
//! | [`write_folder`] | a model for others: sharded, in f32, bf16 or DeepSeek's FP8 |
//! | [`generation_config`] | how a model is meant to be sampled |
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
mod claim;
mod copy;
mod error;
mod fp8;
pub mod generation_config;
mod gguf;
pub mod machine;
pub mod manifest;
pub mod metrics;
mod model_config;
mod model_files;
mod model_folder;
mod model_names;
pub mod model_source;
mod pieces;
pub mod regular;
pub mod run_dir;
mod safetensors_header;
pub mod safetensors_io;
mod shards;
pub mod stage;
pub mod summary;
pub mod train_state;
pub mod write_folder;

pub use atomic::{AtomicFile, FileEntry, sha256_file, sha256_hex, sweep_temporaries, write_atomic};
pub use checkpoint::{Sidecars, save_checkpoint};
pub use copy::Copied;
pub use error::StoreError;
pub use generation_config::GenerationConfig;
pub use gguf::{
    BlockKind, CodeBlock, CodeForm, GgufContents, GgufEntry, GgufFile, GgufSource, GgufTemplates, GgufTokenizer,
    GgufWritten, QuantisedTensor, ScaleForm, TokenKind, TokenizerModel, write_gguf,
};
pub use machine::{Machine, peak_memory_bytes};
pub use manifest::{DirWriter, Manifest, Verified, verify_dir};
pub use metrics::{StepLog, read_metrics};
pub use model_source::{ModelSource, TensorEntry, is_gguf_name};
pub use pieces::Pieces;
pub use run_dir::{REDO, RunDir, RunInfo};
pub use stage::{PROFILE, StageDir, StageFacts, chain_hash};
pub use summary::Summary;
pub use train_state::{LoadedState, Moment, StateDir, TrainState};
pub use write_folder::{FolderOptions, SHARD_BYTES_MAX, WeightFormat, write_folder};
