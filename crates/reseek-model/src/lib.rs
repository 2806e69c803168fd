//! The models: DeepSeek-V3 (MLA, DeepSeekMoE, multi-token prediction) and the dense families Llama, Qwen2 and Qwen3, built from
//! the same parts.
//!
//! Architecture only: no loss, no optimizer, no file, no socket. A pass turns tokens into hidden rows and, backwards, gradients
//! of hidden rows into gradients of weights; training and decoding differ in the cache alone. A pass runs on the thread that
//! calls it: callers spread fixed lanes of sequences over the pool, so that results do not depend on the number of threads.
//!
//! ```
//! use reseek_model::{Model, Rows, Weights};
//! use reseek_spec::{ModelSpec, Scale};
//!
//! let weights = Weights::init(ModelSpec::ladder(Scale::Smoke, 512), 1)?;
//! let model = Model::new(&weights);
//! let pass = model.forward(Rows::new(&[0, 17, 4], &[3]), None);
//! assert_eq!(pass.hidden().len(), 3 * weights.spec.hidden_size);
//! # Ok::<(), reseek_model::ModelError>(())
//! ```

#![deny(missing_docs, clippy::too_many_arguments)]

mod attend;
mod block;
mod cache;
mod dispatch;
mod experts;
mod gqa;
mod mla;
mod moe;
mod mtp;
mod part;
mod pending;
mod rows;
mod source;
mod transformer;
mod weights;

pub use cache::{CacheMode, KvCache};
pub use pending::Pending;
pub use rows::Rows;
pub use source::{ReadError, Tensors};
pub use transformer::{Activations, Model, OutputGradients};
pub use weights::{Layout, Weights};

use reseek_spec::{Activation, Family, ModelSpec, SpecError};

/// Why a model cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The specification contradicts itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The specification is sound, but this crate does not compute it.
    #[error("{what} is not implemented. {hint}")]
    Unsupported {
        /// The part that is missing.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A tensor that the specification lists was not given.
    #[error("tensor {name} is missing. The file does not belong to this config.json, or it is incomplete.")]
    MissingTensor {
        /// Its Hugging Face name.
        name: String,
    },
    /// A tensor that the specification does not list was given.
    #[error("tensor {name} is not part of this model. The file does not belong to this config.json.")]
    UnknownTensor {
        /// Its Hugging Face name.
        name: String,
    },
    /// A tensor has another shape than the specification says.
    #[error(
        "tensor {name} has shape {found:?}, config.json asks for {expected:?}. One of the two is of another model."
    )]
    TensorShape {
        /// Its Hugging Face name.
        name: String,
        /// The shape by the specification.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A tensor could not be read.
    #[error(transparent)]
    Read(ReadError),
}

/// Whether this crate computes the model that `spec` describes.
pub(crate) fn check(spec: &ModelSpec) -> Result<(), ModelError> {
    spec.validate()?;
    let is_known = matches!(spec.family, Family::DeepseekV3 | Family::Llama | Family::Qwen2 | Family::Qwen3);
    let has_biases = spec.mlp_bias || (spec.attention_bias && spec.family != Family::Qwen2);
    if !is_known || has_biases || spec.sliding_window.is_some() || spec.hidden_act != Activation::Silu {
        let what = format!("{} with all that its config.json asks for", spec.family.names().1);
        return Err(ModelError::Unsupported { what, hint: "Run a plain deepseek_v3, llama, qwen2 or qwen3 model." });
    }
    if spec.num_nextn_predict_layers > 1 {
        let what = format!("multi-token prediction of depth {}", spec.num_nextn_predict_layers);
        return Err(ModelError::Unsupported { what, hint: "Set num_nextn_predict_layers to 1 or 0." });
    }
    Ok(())
}
