//! Reinforcement learning: problems → rollouts → rewards → advantages → loss → update, in small files that mirror the formulas.
//!
//! On-policy is checked, not corrected: before the first update of a batch the trainer must find the log-probabilities of the
//! distribution that was sampled from, temperature included (ratio 1), and no distance to a reference copied just now (KL 0).

pub mod advantage;
pub mod loss;
mod reward_model;
mod step;

pub use reward_model::{Pair, PairReport, RewardModel};
pub use step::{Grade, ON_POLICY_TOLERANCE, StepName, StepReport, grpo_step};

use reseek_engine::EngineError;
use reseek_train::TrainError;

/// Why a step of reinforcement learning failed.
#[derive(Debug, thiserror::Error)]
pub enum RlError {
    /// A question could not be turned into a prompt.
    #[error("{message}")]
    Prompt {
        /// Why.
        message: String,
    },
    /// Sampling failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The update failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The sampler's policy is not the trainer's.
    #[error(
        "step {step}: before any update a token's probability ratio is off 1 by {gap}, allowed is 1e-5. Sampler and trainer compute different models, which is a defect: run the parity tests."
    )]
    OffPolicy {
        /// The step.
        step: u64,
        /// |π/π_old − 1|.
        gap: f32,
    },
    /// A reference copied from the policy differs from it.
    #[error(
        "step {step}: KL to a reference copied just now is {kl}, it must be 0. Reference and policy compute different models, which is a defect."
    )]
    StaleReference {
        /// The step.
        step: u64,
        /// The largest k3 of a token.
        kl: f32,
    },
}
