//! Reinforcement learning in three nouns: a [`rollout`] (prompts, samples, named rewards), an [`algorithm`] (advantage × ratio × term ×
//! reduction) and an [`update`] of the policy, in small files that mirror the formulas.
//!
//! On-policy is checked, not corrected: before the first update from samples of its own the trainer must find the log-probabilities of
//! the distribution that was sampled from, temperature included (ratio 1), and no distance to a reference copied just now (KL 0).

#![deny(missing_docs)]

pub mod algorithm;
mod dynamic;
mod minibatch;
mod report;
mod reward_model;
pub mod rewards;
mod rollout;
mod update;

pub use dynamic::{Drawn, draw, stage_of_round};
pub use report::{RolloutReport, UpdateReport};
pub use reward_model::{Pair, PairReport, RewardModel};
pub use rollout::{Rewards, Rollout, Sample, StepName, rollout};
pub use update::{ON_POLICY_TOLERANCE, UpdateSettings, advantages, update};

use reseek_engine::EngineError;
use reseek_spec::{RlRecipe, nearest};
use reseek_train::TrainError;

/// Holds the names in a recipe, of its algorithm and of its rewards, against the tables, and its settings against the algorithm.
///
/// # Errors
/// The first name that there is not, or the first setting that cannot be.
pub fn check(recipe: &RlRecipe) -> Result<(), RlError> {
    algorithm::check(algorithm::of(recipe)?, recipe)?;
    rewards::check(&recipe.rewards)
}

/// Why a step of reinforcement learning failed.
#[derive(Debug, thiserror::Error)]
pub enum RlError {
    /// Sampling failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The update failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A recipe names what there is not.
    #[error("no {what} is called {name}. The nearest is {nearest}; known are: {known}.")]
    Unknown {
        /// An algorithm or a reward.
        what: &'static str,
        /// The name.
        name: String,
        /// The known name that is most like it.
        nearest: &'static str,
        /// All names.
        known: String,
    },
    /// A setting does not fit the algorithm or its neighbours.
    #[error("{key} = {value}: it must be {allowed}. {mend}.")]
    Setting {
        /// Its key within the stage's section.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
        /// What to do, without its full stop.
        mend: String,
    },
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

impl RlError {
    fn unknown(what: &'static str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> Self {
        let nearest = nearest(name, known.clone()).expect("a table has lines");
        Self::Unknown { what, name: name.to_string(), nearest, known: known.collect::<Vec<_>>().join(", ") }
    }
}
