//! config.json as a file: read within limits, and what it says of the weights' form.

use std::fmt::Display;
use std::path::Path;

use reseek_spec::{Fp8Blocks, ModelSpec};
use serde_json::Value;

use crate::StoreError;
use crate::regular::{self, CONFIG_BYTES_MAX};

pub(crate) const CONFIG: &str = "config.json";

/// config.json of a model's folder.
pub(crate) struct Config {
    pub spec: ModelSpec,
    /// Rows and columns that share a scale, of matrices in FP8.
    pub block: [usize; 2],
    /// The file as it is.
    pub json: Value,
}

impl Config {
    /// Reads config.json in `dir`.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(CONFIG);
        let bytes = regular::read_regular(&path, CONFIG_BYTES_MAX)?;
        let damaged = |e: &dyn Display| StoreError::malformed(&path, e, "config.json is JSON in UTF-8: fetch it again");
        let text = std::str::from_utf8(&bytes).map_err(|e| damaged(&e))?;
        let refused = |source| StoreError::Spec { path: path.clone(), source };
        let spec = ModelSpec::from_hf_json(text).map_err(refused)?;
        let block = Fp8Blocks::from_hf_json(text).map_err(refused)?.unwrap_or(Fp8Blocks::V3).weight_block_size;
        Ok(Self { spec, block, json: serde_json::from_str(text).map_err(|e| damaged(&e))? })
    }
}
