//! What is built, on what, and how: models, clusters and recipes, and every count that follows from them. Pure data, no I/O.
//!
//! ```
//! let v3 = reseek_spec::preset("v3-671b")?;
//! assert_eq!(v3.params().total, 671_026_419_200);
//! assert_eq!(v3.kv_bytes_per_token(2), 70_272);
//! # Ok::<(), reseek_spec::SpecError>(())
//! ```

mod cluster;
mod count;
mod family;
mod hf;
mod hf_config;
mod model;
mod passes;
mod presets;
mod recipe;
mod recipe_check;
mod resolve;
mod rope;
pub mod schedule;
mod tensors;

pub use cluster::{ClusterSpec, GPUS, GpuSpec};
pub use count::{ParamCounts, TrainFlops, TrainMemory};
pub use family::Family;
pub use model::{MlaSpec, ModelSpec, MoeSpec, RopeScaling, Scoring, SlidingWindow};
pub use passes::{ROWS_OF_GROUPS, chunk_rows};
pub use presets::{PRESETS, Scale, preset};
pub use recipe::{
    ComputeDtype, DistilRecipe, EvalRecipe, ExtendRecipe, MomentsDtype, PretrainRecipe, R1Recipe, RecipeSpec, RlRecipe,
    SftRecipe, TasksRecipe, TokenizerRecipe,
};
pub use resolve::{Layer, Resolved, nearest, resolve};
pub use tensors::{Role, TensorSpec};

/// Why a specification is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("config.json cannot be read: {message}; hint: is it a Hugging Face configuration?")]
    Json { message: String },
    #[error("model_type \"{found}\" is not known: {missing}; hint: known are {known}")]
    Architecture { found: String, known: String, missing: String },
    #[error(
        "model_type \"{found}\" can be counted and simulated, not computed{why}; hint: `reseek params` and `reseek sim` take it, all else \
         takes {known}"
    )]
    CountedOnly { found: String, known: String, why: String },
    #[error("config.json lacks {key}; hint: the model cannot be counted without it")]
    Missing { key: String },
    #[error("{what} where {allowed} is expected; hint: {hint}")]
    Clash { what: String, allowed: String, hint: String },
    #[error("no preset is called \"{name}\"; hint: there are {known}")]
    Preset { name: String, known: String },
    #[error("{layer}: {message}; hint: {hint}")]
    Recipe { layer: String, message: String, hint: String },
}

impl SpecError {
    pub(crate) fn clash(what: String, allowed: &str, hint: &str) -> Self {
        Self::Clash { what, allowed: allowed.to_string(), hint: hint.to_string() }
    }

    pub(crate) fn mistyped(key: &str, value: &serde_json::Value, allowed: &str) -> Self {
        let value: String = value.to_string().chars().take(60).collect();
        Self::clash(format!("{key} = {value}"), allowed, "mend the value in config.json")
    }
}
