//! Training: losses over fixed lanes, AdamW, V3's schedules, and the loops of pre-training, context extension and fine-tuning.

#![deny(missing_docs)]

mod deal;
mod lanes;
mod objective;
mod optimizer;
pub mod profile;
mod schedule;
mod session;
mod sft;
mod step;

pub use deal::{Chunk, Group, Sequence, deal, deal_groups, deal_whole, mtp_targets};
pub use lanes::{Gradients, LaneStats, OwnTerms};
pub use objective::{Objective, Outputs, SequenceLogprobs, SequenceLoss, TokenLoss};
pub use optimizer::{Hyper, Moments, Optimizer};
pub use schedule::{PretrainSchedule, cosine};
pub use session::{Control, Length, Observer, Progress, Saved, SessionError, StepRow, Steps, Usage, run};
pub use sft::{Example, sft_batch, sft_settings, sft_steps};
pub use step::{Learner, StepReport, StepSettings, expert_load_max};

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A number that is not finite.
    #[error(
        "step {step}: the {what} is {value}. Lower the learning rate; the last saved state is whole and the run continues from it."
    )]
    Diverged {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The optimizer step that was to be taken.
        step: u64,
    },
}
