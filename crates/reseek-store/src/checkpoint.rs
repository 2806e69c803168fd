//! A complete model folder: what transformers loads, and a manifest over every byte of it.
//!
//! `config.json`, `model.safetensors`, `generation_config.json`, `tokenizer.json`, `tokenizer_config.json`,
//! `chat_template.jinja`, `manifest.json`. The MTP module lies in the same file as the rest, as in DeepSeek's
//! releases; transformers ignores it.

use std::path::Path;

use reseek_spec::ModelSpec;
use serde_json::Value;

use crate::StoreError;
use crate::atomic;
use crate::manifest::{DirWriter, Manifest};
use crate::model_files;

/// The files beside the weights, as bytes: this room does not look into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecars {
    /// generation_config.json.
    pub generation_config: Vec<u8>,
    /// tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// tokenizer_config.json.
    pub tokenizer_config: Vec<u8>,
    /// None for a model that has learnt no conversation.
    pub chat_template: Option<Vec<u8>>,
}

impl Sidecars {
    /// File names, in the order of the fields.
    const NAMES: [&str; 4] =
        ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
}

/// Writes a model folder; `meta` (where the model comes from) goes into its manifest. The order of `tensors` does not matter: they are written
/// in that of [`ModelSpec::tensors`], so equal models give equal bytes.
///
/// # Errors
/// If a tensor is missing, unknown, given twice or of another shape, or the disk refuses.
///
/// # Panics
/// If a tensor has another number of values than its shape says.
pub fn save_checkpoint<'a>(
    dir: &Path,
    spec: &ModelSpec,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    sidecars: &Sidecars,
    meta: Value,
) -> Result<Manifest, StoreError> {
    let listed = model_files::expected_tensors(dir, spec, tensors)?;
    let mut folder = DirWriter::create(dir)?;
    model_files::write_model(&mut folder, spec, &listed)?;
    let Sidecars { generation_config, tokenizer, tokenizer_config, chat_template } = sidecars;
    let contents = [Some(generation_config), Some(tokenizer), Some(tokenizer_config), chat_template.as_ref()];
    for (name, bytes) in Sidecars::NAMES.into_iter().zip(contents) {
        match bytes {
            Some(bytes) => folder.write(name, bytes)?,
            // One that an earlier model left here would be taken for this one's.
            None => atomic::remove_file_if_present(&dir.join(name))?,
        }
    }
    folder.finish(meta)
}
