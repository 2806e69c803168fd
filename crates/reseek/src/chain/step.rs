//! Why a step of a stage fails.

use reseek_data::DataError;
use reseek_rl::RlError;
use reseek_store::StoreError;
use reseek_train::TrainError;

use crate::error::Failure;

/// Whatever a step of any stage may meet.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Text or problems could not be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What a step saw could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The optimizer's step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The rollout or what was learnt from it failed.
    #[error(transparent)]
    Rl(#[from] RlError),
    /// A question could not be asked.
    #[error("{0}")]
    Question(Failure),
    /// A saved state is whole and does not say where reading stood.
    #[error("the saved place in the data cannot be read: {0}. Begin the stage anew with --redo.")]
    Place(#[from] serde_json::Error),
    /// A saved state is whole and does not hold the reference policy.
    #[error(
        "the saved state lacks the reference policy, or has that of another model. Begin the stage anew with --redo."
    )]
    Reference,
}
