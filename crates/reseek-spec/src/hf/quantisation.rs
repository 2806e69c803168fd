//! `quantization_config`: the formats of tensors that are known, which are read from the files themselves.

use serde_json::Value;

use super::config::Config;
use super::parse;
use crate::{Family, SpecError};

/// DeepSeek's FP8 form: matrices in e4m3, each block of which has a factor in `weight_scale_inv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fp8Blocks {
    /// Rows and columns of a block.
    pub weight_block_size: [usize; 2],
}

impl Fp8Blocks {
    /// The format of DeepSeek-V3's files.
    pub const V3: Self = Self { weight_block_size: [128, 128] };

    /// The format that a config.json says its matrices have, if it speaks of one.
    ///
    /// # Errors
    /// Text that is not JSON, or another format.
    pub fn from_hf_json(text: &str) -> Result<Option<Self>, SpecError> {
        read(&Config::new(&parse(text)?)?)
    }

    /// What config.json has for it under `quantization_config`.
    pub fn to_hf_json(self) -> Value {
        serde_json::json!({
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": self.weight_block_size,
        })
    }
}

/// # Errors
/// A format that is not known.
pub(super) fn read(config: &Config) -> Result<Option<Fp8Blocks>, SpecError> {
    let Some(form) = config.object("quantization_config")? else { return Ok(None) };
    let only = |key: &'static str, allowed: &str| match form.text(key)? {
        Some(found) if found != allowed => {
            let what = format!("{} = {}", form.name(key), found.chars().take(60).collect::<String>());
            Err(SpecError::clash(
                what,
                allowed,
                "of quantised files in this form DeepSeek's FP8 is known, and GGUF's kinds",
            ))
        }
        found => Ok(found),
    };
    if only("quant_method", "fp8")?.is_none() {
        return Err(SpecError::Missing { key: form.name("quant_method") });
    }
    only("fmt", "e4m3")?;
    only("activation_scheme", "dynamic")?;
    let list = form.list("weight_block_size")?;
    // Factors are powers of two in some files (`scale_fmt`), and some matrices may be whole: the files themselves show both.
    let family = config.family().unwrap_or(Family::DeepseekV3);
    form.only(&["scale_fmt", "modules_to_not_convert", "ignored_layers", "dequantize"], family)?;
    // Transformers' own default is V3's.
    let Some(list) = list else { return Ok(Some(Fp8Blocks::V3)) };
    let sides: Vec<usize> = list.iter().take(3).filter_map(super::config::whole).collect();
    match sides.as_slice() {
        &[rows, columns] if (1..=1 << 16).contains(&rows) && (1..=1 << 16).contains(&columns) => {
            Ok(Some(Fp8Blocks { weight_block_size: [rows, columns] }))
        }
        _ => {
            let what = format!("{} = {}", form.name("weight_block_size"), super::config::shown(&list.into()));
            Err(SpecError::clash(what, "two numbers from 1 to 65536", "V3 has [128, 128]"))
        }
    }
}
