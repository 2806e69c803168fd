//! What a run came to: summary.json, for people's scripts and for the report.
//!
//! Maps are ordered by name, so equal results give equal bytes; only seconds, rates and memory differ between
//! two runs of one configuration and seed. Values are checked on the way out and on the way in: JSON has no
//! NaN, and a share of 1.3 or an interval without its own estimate is a mistake upstream.

use std::collections::BTreeMap;
use std::path::Path;

use reseek_spec::stages::{TABLE, examined};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::atomic;
use crate::machine::Machine;

/// File name in the run directory.
pub const SUMMARY: &str = "summary.json";
/// File name of what was predicted of the stages' seconds before the run began.
pub const PREDICTION: &str = "prediction.json";
/// The task that covers all families; every evaluated model has it.
pub const HELDOUT: &str = "heldout";

/// summary.json.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// SHA-256 of the run's recipe, in hexadecimal.
    pub config_hash: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Finished stages that were made from others than those that are there now, or with other settings than the recipe's, each in a
    /// sentence: what follows does not belong together then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out_of_date: Vec<String>,
    /// On which the run was begun.
    pub machine: Machine,
    /// Most memory that the process held at once, over all stages.
    pub peak_memory_bytes: u64,
    /// Billions of operations a second, beside the peak that the machine showed when the run was begun, in the format that it computed in.
    pub gflops: Gflops,
    /// In the order in which they ran.
    pub stages: Vec<Stage>,
    /// The split of the problems that the models were asked: `test`, or `development` while settings are chosen. Summaries of earlier
    /// versions have none: what they held out is the development split of today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// By the name that evaluation has for each, as [`reseek_spec::stages::examined`] lists them.
    pub models: BTreeMap<String, Model>,
    /// Differences between two models, by a name such as `zero-base`.
    pub comparisons: BTreeMap<String, Comparison>,
    /// What the extension of the context came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
}

/// One stage's cost. A stage that was skipped keeps the numbers of the run that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// As in the table of stages.
    pub name: String,
    /// Time that it took, over all processes that worked on it.
    pub seconds: f64,
    /// Tokens that went through the model; 0 of a stage without one.
    pub tokens: u64,
    /// Both divided.
    pub tokens_per_s: f64,
    /// Operations of the matrix products, causal attention.
    pub flops: f64,
}

/// One model's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// [`HELDOUT`] and each family.
    pub tasks: BTreeMap<String, TaskScore>,
    /// pass@k over all families, for k from 1 to the samples of a problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_at_k: Vec<PassAtK>,
    /// On held-out text.
    pub bits_per_byte: f64,
    /// Share of answers in their question's language.
    pub language_match: f64,
}

/// A model's scores on one task, with a 95 % interval of `pass_at_1`, clustered by problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskScore {
    /// Mean over problems of the share of `k` samples that are right.
    pub pass_at_1: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Share of problems of whose `k` samples the most frequent answer is right; of a tie the share of right ones.
    pub cons_at_k: f64,
    /// Samples a problem.
    pub k: u64,
    /// Problems that could be judged.
    pub n: u64,
    /// Mean tokens of an answer.
    pub mean_tokens: f64,
}

/// The chance that one of `k` samples is right, with its 95 % interval, clustered by problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassAtK {
    /// Samples among which one must be right.
    pub k: u64,
    /// The estimate.
    pub mean: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
}

/// A difference of two scores with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The first less the second.
    pub difference: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// In words, such as "zero is above base".
    pub verdict: String,
}

/// The model before and after its context was extended, on the same needles and the same held-out text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Tokens of the context before.
    pub old_length: u64,
    /// In a sentence.
    pub verdict: String,
    /// By length, the shortest first.
    pub needles: Vec<NeedleRow>,
    /// Held-out documents that fill the new context.
    pub windows: u64,
    /// Loss on them by position; empty if there is none.
    pub text: Vec<PositionRow>,
    /// After the extension, on the last `old_length` tokens: nats a token with only that many tokens of context, minus those
    /// with all. Nothing where fewer than two documents are long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_context: Option<Comparison>,
}

/// Needles of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeedleRow {
    /// Tokens of text and question.
    pub length: u64,
    /// Needles.
    pub n: u64,
    /// Found by the base before its extension.
    pub before: Share,
    /// Found after it.
    pub after: Share,
    /// After minus before, paired by needle.
    pub difference: Comparison,
}

/// A share of the needles that were found, with Wilson's 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The estimate.
    pub mean: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
}

/// Loss on the tokens at the positions `from` to `to`, in nats a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionRow {
    /// First position, from 0.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
    /// Before the extension.
    pub before: f64,
    /// After it.
    pub after: f64,
    /// After minus before, paired by document.
    pub difference: Comparison,
}

/// Achieved over the training stages, and the machine's measured peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gflops {
    /// In GFLOP/s: operations of the training stages over their seconds.
    pub achieved: f64,
    /// In GFLOP/s: what the machine's fused multiply-adds reached.
    pub peak: f64,
}

impl Summary {
    /// Operations that distillation took (the teacher's samples and the student's fine-tuning), and those of the same student by RL alone:
    /// comparing the two students means something only beside both. Nothing where one of them never ran.
    pub fn student_flops(&self) -> Option<(f64, f64)> {
        let of = |name: &str| self.stages.iter().find(|stage| stage.name == name).map(|stage| stage.flops);
        let counting = TABLE.iter().find(|stage| !stage.costs.is_empty())?;
        let distilled = counting.costs.iter().map(|name| of(name)).sum::<Option<f64>>()?;
        Some((distilled, of(counting.name)?))
    }

    /// Writes summary.json to `path`.
    ///
    /// # Errors
    /// If a number cannot be (the field is named) or the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        self.validate(path, "it was measured wrongly, which is a defect: report it with the run's configuration")?;
        let mut bytes = serde_json::to_vec_pretty(self).expect("maps with string keys are JSON");
        bytes.push(b'\n');
        atomic::write_atomic(path, &bytes).map(|_| ())
    }

    /// Reads summary.json at `path`.
    ///
    /// # Errors
    /// If it cannot be read, a field is missing, unknown or of another kind, or a number cannot be.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = atomic::read(path)?;
        let mend = "it is damaged or of another version: run the same command again to write it anew";
        let summary: Self = serde_json::from_slice(&bytes).map_err(|e| StoreError::malformed(path, e, mend))?;
        summary.validate(path, mend)?;
        Ok(summary)
    }

    fn validate(&self, path: &Path, mend: &'static str) -> Result<(), StoreError> {
        let check = Check { path, mend };
        check.amount("gflops.achieved", self.gflops.achieved)?;
        check.amount("gflops.peak", self.gflops.peak)?;
        for (i, stage) in self.stages.iter().enumerate() {
            check.amount(&format!("stages[{i}].seconds"), stage.seconds)?;
            check.amount(&format!("stages[{i}].tokens_per_s"), stage.tokens_per_s)?;
            check.amount(&format!("stages[{i}].flops"), stage.flops)?;
        }
        for (name, model) in &self.models {
            if !examined().any(|(known, _)| known.name == name) {
                let known: Vec<&str> = examined().map(|(known, _)| known.name).collect();
                return Err(check.error("models", name, format!("one of {}", known.join(", "))));
            }
            check.model(&format!("models.{name}"), model)?;
        }
        for (name, c) in &self.comparisons {
            check.comparison(&format!("comparisons.{name}"), c)?;
        }
        self.extension.as_ref().map_or(Ok(()), |extension| check.extension(extension))
    }
}

/// Checks of single numbers, each error naming the field as a path through the JSON.
struct Check<'a> {
    path: &'a Path,
    mend: &'static str,
}

impl Check<'_> {
    fn model(&self, place: &str, model: &Model) -> Result<(), StoreError> {
        self.amount(&format!("{place}.bits_per_byte"), model.bits_per_byte)?;
        self.share(place, "language_match", model.language_match)?;
        if !model.tasks.contains_key(HELDOUT) {
            return Err(self.error(&format!("{place}.tasks.{HELDOUT}"), "absent", "there"));
        }
        for (i, at) in model.pass_at_k.iter().enumerate() {
            let place = format!("{place}.pass_at_k[{i}]");
            if at.k != i as u64 + 1 {
                return Err(self.error(&format!("{place}.k"), at.k, "one more than before, from 1"));
            }
            self.share(&place, "mean", at.mean)?;
            self.interval(&place, at.ci_low, at.mean, at.ci_high)?;
        }
        for (task, score) in &model.tasks {
            let place = format!("{place}.tasks.{task}");
            self.share(&place, "pass_at_1", score.pass_at_1)?;
            self.share(&place, "cons_at_k", score.cons_at_k)?;
            self.interval(&place, score.ci_low, score.pass_at_1, score.ci_high)?;
            self.amount(&format!("{place}.mean_tokens"), score.mean_tokens)?;
            for (field, count) in [("k", score.k), ("n", score.n)] {
                if count == 0 {
                    return Err(self.error(&format!("{place}.{field}"), "0", "at least 1"));
                }
            }
        }
        Ok(())
    }

    fn extension(&self, extension: &Extension) -> Result<(), StoreError> {
        for (i, row) in extension.needles.iter().enumerate() {
            let place = format!("extension.needles[{i}]");
            for (when, share) in [("before", &row.before), ("after", &row.after)] {
                let place = format!("{place}.{when}");
                self.share(&place, "mean", share.mean)?;
                self.interval(&place, share.ci_low, share.mean, share.ci_high)?;
            }
            self.comparison(&format!("{place}.difference"), &row.difference)?;
        }
        for (i, row) in extension.text.iter().enumerate() {
            let place = format!("extension.text[{i}]");
            self.amount(&format!("{place}.before"), row.before)?;
            self.amount(&format!("{place}.after"), row.after)?;
            self.comparison(&format!("{place}.difference"), &row.difference)?;
        }
        extension.long_context.as_ref().map_or(Ok(()), |c| self.comparison("extension.long_context", c))
    }

    fn comparison(&self, place: &str, c: &Comparison) -> Result<(), StoreError> {
        if !c.difference.is_finite() {
            return Err(self.error(&format!("{place}.difference"), c.difference, "a finite number"));
        }
        self.interval(place, c.ci_low, c.difference, c.ci_high)
    }

    fn amount(&self, field: &str, value: f64) -> Result<(), StoreError> {
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(self.error(field, value, "a finite number not below 0"))
    }

    fn share(&self, place: &str, field: &str, value: f64) -> Result<(), StoreError> {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(self.error(&format!("{place}.{field}"), value, "from 0 to 1"))
    }

    /// Rounding may put an end of the interval a hair inside the estimate.
    fn interval(&self, place: &str, low: f64, value: f64, high: f64) -> Result<(), StoreError> {
        const SLACK: f64 = 1e-9;
        if !(low.is_finite() && low <= value + SLACK) {
            return Err(self.error(&format!("{place}.ci_low"), low, "finite and not above the estimate"));
        }
        if !(high.is_finite() && high >= value - SLACK) {
            return Err(self.error(&format!("{place}.ci_high"), high, "finite and not below the estimate"));
        }
        Ok(())
    }

    fn error(&self, field: &str, value: impl ToString, expected: impl Into<String>) -> StoreError {
        StoreError::Summary {
            path: self.path.to_path_buf(),
            field: field.to_owned(),
            value: value.to_string(),
            expected: expected.into(),
            mend: self.mend,
        }
    }
}
