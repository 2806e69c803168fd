//! Figures of DeepSeek's reports that more than one place quotes, each once with where it is from. The table of published runs, the recipes, the
//! ledger's inputs and claims, and sentences about them read it here; a figure that a single check or row starts from stands there, with its source.

use serde::Serialize;

/// Where something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Report {
    /// DeepSeek-V3 technical report, arXiv 2412.19437.
    V3,
    /// R1, arXiv 2501.12948 and its version in Nature.
    R1,
    /// Insights into DeepSeek-V3, ISCA 2025, arXiv 2505.09343.
    Insights,
    /// DeepSeek's public repositories.
    #[serde(rename = "repos")]
    Repos,
}

/// A figure as it was printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quoted {
    /// In `unit`.
    pub value: f64,
    /// Such as "s" or "GPU-hours".
    pub unit: &'static str,
    /// Who printed it.
    pub report: Report,
    /// Section, table or file.
    pub place: &'static str,
}

impl Quoted {
    /// The value with its unit.
    pub const fn number(self) -> (f64, &'static str) {
        (self.value, self.unit)
    }

    /// The report with the place in it.
    pub const fn at(self) -> (Report, &'static str) {
        (self.report, self.place)
    }
}

const fn quoted(value: f64, unit: &'static str, (report, place): (Report, &'static str)) -> Quoted {
    Quoted { value, unit, report, place }
}

const TABLE_4: (Report, &str) = (Report::Insights, "table 4");
const TABLE_1: (Report, &str) = (Report::V3, "section 1, table 1");
const NATURE_COST: (Report, &str) = (Report::R1, "version in Nature, supplement: training cost");
const NATURE_ZERO: (Report, &str) = (Report::R1, "version in Nature, methods: R1-Zero's training");
const TRACE: (Report, &str) = (Report::Repos, "profile-data, the training trace (EP64, 4 layers)");
const DAY_6: (Report, &str) = (Report::Repos, "open-infra-index, 202502OpenSourceWeek, day 6");

/// A step of V3's pre-training on 2,048 H800.
pub const STEP: Quoted = quoted(19.926, "s", TABLE_4);
/// Of it: forward passes alone (1F).
pub const STEP_FORWARD: Quoted = quoted(1.13, "s", TABLE_4);
/// Waiting.
pub const STEP_BUBBLE: Quoted = quoted(2.06, "s", TABLE_4);
/// Backward passes alone (1B).
pub const STEP_BACKWARD: Quoted = quoted(1.99, "s", TABLE_4);
/// Weight gradients alone (1W).
pub const STEP_WEIGHT: Quoted = quoted(0.48, "s", TABLE_4);
/// Forward and backward passes in pairs (1F1B).
pub const STEP_PAIRS: Quoted = quoted(13.95, "s", TABLE_4);
/// The optimizer.
pub const STEP_OPTIMIZER: Quoted = quoted(0.29, "s", TABLE_4);
/// All passes, alone and in pairs: 1F, 1B, 1W and 1F1B added up.
pub const STEP_PASSES: Quoted = quoted(17.55, "s", TABLE_4);

/// One overlapped pair of [`TRACE_LAYERS`] layers.
pub const TRACE_PAIR: Quoted = quoted(129.0, "ms", TRACE);
/// Of it, communication that no computation hides.
pub const TRACE_EXPOSED: Quoted = quoted(3.3, "%", TRACE);
/// Layers of the trace's pair.
pub const TRACE_LAYERS: usize = 4;

/// Tokens of V3's pre-training.
pub const TOKENS: Quoted = quoted(14.8e12, "tokens", (Report::V3, "section 4.2"));
/// A trillion tokens of it.
pub const HOURS_PER_T: Quoted = quoted(180e3, "GPU-hours", (Report::V3, "section 1"));
/// All of it.
pub const PRE_TRAINING: Quoted = quoted(2_664e3, "GPU-hours", TABLE_1);
/// Both extensions of the context.
pub const EXTENSION: Quoted = quoted(119e3, "GPU-hours", TABLE_1);
/// Fine-tuning and reinforcement learning of V3.
pub const POST_TRAINING: Quoted = quoted(5e3, "GPU-hours", TABLE_1);
/// The three together.
pub const TRAINING: Quoted = quoted(2_788e3, "GPU-hours", TABLE_1);
/// Their rent.
pub const TRAINING_USD: Quoted = quoted(5.576e6, "USD", TABLE_1);
/// The rent of an H800 hour, which the report assumes.
pub const GPU_HOUR_USD: Quoted = quoted(2.0, "USD", TABLE_1);

/// R1-Zero's training.
pub const R1_ZERO: Quoted = quoted(101e3, "GPU-hours", NATURE_COST);
/// The answers that R1 was fine-tuned on.
pub const R1_DATA: Quoted = quoted(5e3, "GPU-hours", NATURE_COST);
/// R1's own stages.
pub const R1: Quoted = quoted(41e3, "GPU-hours", NATURE_COST);
/// GPUs of R1-Zero's and R1's training.
pub const R1_GPUS: Quoted = quoted(512.0, "GPUs", NATURE_COST);
/// Steps of R1-Zero.
pub const R1_ZERO_STEPS: Quoted = quoted(10_400.0, "steps", NATURE_ZERO);
/// Questions of a step, with [`R1_ANSWERS_A_QUESTION`] answers each.
pub const R1_QUESTIONS_A_STEP: Quoted = quoted(32.0, "questions", NATURE_ZERO);
/// Answers to a question.
pub const R1_ANSWERS_A_QUESTION: Quoted = quoted(16.0, "answers", NATURE_ZERO);
/// Answers that R1 and the distilled models were fine-tuned on: 600K of reasoning and 200K others.
pub const R1_LESSONS: Quoted = quoted(800e3, "answers", (Report::R1, "section 2.3.3"));
/// Epochs of R1's fine-tuning on them.
pub const R1_EPOCHS: Quoted = quoted(2.0, "epochs", (Report::R1, "section 2.3.3"));

/// Nodes that serve V3 and R1, in the mean of a day.
pub const SERVING_NODES: Quoted = quoted(226.75, "nodes", DAY_6);
/// What a day's tokens would bring at R1's prices.
pub const SERVING_REVENUE: Quoted = quoted(562_027.0, "USD", DAY_6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_printed_figures_are_their_parts() {
        let near = |sum: f64, whole: Quoted, by: f64| assert!((sum - whole.value).abs() <= by, "{sum} {whole:?}");
        let passes = [STEP_FORWARD, STEP_BACKWARD, STEP_WEIGHT, STEP_PAIRS].map(|part| part.value);
        near(passes.iter().sum(), STEP_PASSES, 1e-9);
        // Six parts printed to 10 ms.
        near(STEP_PASSES.value + STEP_BUBBLE.value + STEP_OPTIMIZER.value, STEP, 0.03);
        near(PRE_TRAINING.value + EXTENSION.value + POST_TRAINING.value, TRAINING, 0.5);
        near(HOURS_PER_T.value * TOKENS.value / 1e12, PRE_TRAINING, 0.5);
        near(TRAINING.value * GPU_HOUR_USD.value, TRAINING_USD, 0.5);
    }
}
