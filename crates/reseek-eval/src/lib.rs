//! Evaluation: samples of a model on problems, and what they come to: pass@1 as the mean of n samples, pass@k for k up to n, cons@n, the share of answers in
//! the question's language, bits per byte of held-out text, each mean with its interval.

#![deny(missing_docs)]

mod interval;
mod position;
mod run;
mod score;

pub use interval::{Interval, mean_of, mean_of_shares, paired_difference, share_of, unpaired_difference};
pub use position::{Window, nats_by_position, nats_in_short_context};
pub use run::{Answer, EvalSettings, ProblemResult, Sampled, bits_per_byte, judge, sample};
pub use score::{language_share_of, majority_gains, pass_at_k, score};
