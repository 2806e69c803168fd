//! What is built, on what, and how: models, clusters and recipes, and every count that follows from them. Pure data, no I/O.
//!
//! ```
//! let v3 = reseek_spec::preset("v3-671b")?;
//! assert_eq!(v3.params().total, 671_026_419_200);
//! assert_eq!(v3.kv_bytes_per_token(2), 70_272);
//! # Ok::<(), reseek_spec::SpecError>(())
//! ```

#![deny(missing_docs)]

mod ask;
mod cluster;
mod count;
mod explain;
mod family;
mod hf;
mod model;
mod numbers;
mod parts;
mod passes;
mod presets;
mod recipe;
mod recipe_check;
mod resolve;
mod rl_run;
mod rope;
pub mod schedule;
mod sentence;
mod sft_run;
pub mod stages;
mod task;
mod tensors;

pub use ask::{AskForm, AskRecipe, Shot};
pub use cluster::{ClusterSpec, GPUS, GpuKind, GpuSpec};
pub use count::{ParamCounts, TrainFlops, TrainMemory};
pub use explain::explain;
pub use family::{Family, NormPlaces};
pub use hf::Fp8Blocks;
pub use model::{Activation, ModelSpec, SlidingWindow};
pub use numbers::{parse_count, thousands};
pub use parts::{LATENT_NORM_EPS, MlaSpec, MoeSpec, Scoring};
pub use passes::{ROWS_OF_GROUPS, chunk_rows};
pub use presets::{PRESETS, Scale, preset};
pub use recipe::{
    ComputeDtype, DistilRecipe, EvalRecipe, EvalSplit, ExtendRecipe, KlEstimator, MomentsDtype, PretrainRecipe,
    R1Recipe, RecipeSpec, RlRecipe, ScaleRewards, SftRecipe, TasksRecipe, TokenizerRecipe,
};
pub use resolve::{Layer, Resolved, nearest, resolve};
pub use rl_run::{RL_RECIPES, ResolvedRl, RlEvalRecipe, RlRunRecipe, resolve_rl};
pub use rope::{Rope, RopeScaling, RotaryTable};
pub use sentence::sentence;
pub use sft_run::{ResolvedSft, SftRunRecipe, resolve_sft};
pub use task::{Published, TASKS, TaskSpec};
pub use tensors::{Role, TensorSpec};

use sentence::sentences;

/// Why a specification is refused.
#[derive(Debug, thiserror::Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum SpecError {
    #[error("config.json cannot be read: {message}. Is it a Hugging Face configuration?")]
    Json { message: String },
    #[error("model_type \"{found}\" is not known: {missing}. Known are {known}.")]
    Architecture { found: String, known: String, missing: String },
    #[error(
        "{place} has the key {key} = {value}, which nothing here obeys for model_type \"{family}\". Ignored, it could make another model of \
         it: if it is without effect, take it out."
    )]
    UnknownKey { place: String, key: String, value: String, family: String },
    #[error("config.json lacks {key}. The model is not known without it.")]
    Missing { key: String },
    /// `what` is a key with its value, `allowed` what it may be; both are parts of one sentence.
    #[error("{what} will not do: it takes {allowed}. {}", sentence(hint))]
    Clash { what: String, allowed: String, hint: String },
    #[error("no preset is called \"{name}\". There are {known}.")]
    Preset { name: String, known: String },
    #[error("{layer}: {}", sentences(message, mend))]
    Recipe { layer: String, message: String, mend: String },
}

impl SpecError {
    pub(crate) fn clash(what: String, allowed: &str, hint: &str) -> Self {
        Self::Clash { what, allowed: allowed.to_string(), hint: hint.to_string() }
    }
}
