//! The models of every family of [`reseek_spec::Family`], built from the same parts: grouped-query attention and MLA, dense networks and
//! mixtures of experts, multi-token prediction. What differs, from layer to layer too, is read from the specification.
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
mod mlp;
mod moe;
mod mtp;
mod norm;
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

use reseek_spec::{ModelSpec, SpecError};

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
    if spec.num_nextn_predict_layers > 1 {
        let what = format!("multi-token prediction of depth {}", spec.num_nextn_predict_layers);
        return Err(ModelError::Unsupported { what, hint: "Set num_nextn_predict_layers to 1 or 0." });
    }
    Ok(())
}
