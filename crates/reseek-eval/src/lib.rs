//! Evaluation: samples of a model on problems, and what they come to: pass@1 as the mean of k samples, cons@k, the share of answers in
//! the question's language, bits per byte of held-out text, each mean with its interval.

mod interval;
mod run;
mod score;

pub use interval::{Interval, mean_of_shares, paired_difference, unpaired_difference};
pub use run::{Answer, EvalSettings, ProblemResult, bits_per_byte, evaluate};
pub use score::{TaskScore, language_share_of, score};
