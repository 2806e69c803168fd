//! config.json as a file: read within limits, and what it says of the weights' form.

use std::path::Path;

use reseek_spec::ModelSpec;
use serde_json::Value;

use crate::StoreError;
use crate::fp8;
use crate::regular::{self, CONFIG_BYTES_MAX};

pub(crate) const CONFIG: &str = "config.json";

/// The model that config.json in `dir` describes, and the file as it is.
pub(crate) fn read(dir: &Path) -> Result<(ModelSpec, Value), StoreError> {
    let path = dir.join(CONFIG);
    let bytes = regular::read_regular(&path, CONFIG_BYTES_MAX)?;
    let damaged =
        |e: &dyn std::fmt::Display| StoreError::malformed(&path, e, "config.json is JSON in UTF-8: fetch it again");
    let text = std::str::from_utf8(&bytes).map_err(|e| damaged(&e))?;
    let spec = ModelSpec::from_hf_json(text).map_err(|source| StoreError::Spec { path: path.clone(), source })?;
    Ok((spec, serde_json::from_str(text).map_err(|e| damaged(&e))?))
}

/// Rows and columns that share a scale. Weights that are quantised in another way are not read.
pub(crate) fn weight_block(path: &Path, config: &Value) -> Result<[usize; 2], StoreError> {
    const SIDE_MAX: u64 = 1 << 20;
    let quantisation = match config.get("quantization_config") {
        None | Some(Value::Null) => return Ok(fp8::BLOCK),
        Some(quantisation) => quantisation,
    };
    let short = |value: &Value| value.to_string().chars().take(60).collect::<String>();
    let method = &quantisation["quant_method"];
    if method.as_str() != Some("fp8") {
        let reason = format!("quantization_config.quant_method is {}, read is \"fp8\"", short(method));
        return Err(StoreError::malformed(path, reason, "take the model's BF16 form, or a GGUF file of it"));
    }
    let block = &quantisation["weight_block_size"];
    let side = |i: usize| block[i].as_u64().filter(|side| (1..=SIDE_MAX).contains(side)).map(|side| side as usize);
    match (block, side(0), side(1), block.as_array().map(Vec::len)) {
        (Value::Null, ..) => Ok(fp8::BLOCK),
        (_, Some(rows), Some(columns), Some(2)) => Ok([rows, columns]),
        _ => {
            let reason = format!("quantization_config.weight_block_size is {}, and it must be two sizes", short(block));
            Err(StoreError::malformed(path, reason, "DeepSeek-V3 has [128, 128]"))
        }
    }
}
