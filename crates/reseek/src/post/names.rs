//! The figures of a step under TRL's names, which other tools read.

use std::path::{Path, PathBuf};

use reseek_rl::rewards::TABLE;
use reseek_store::StepLog;
use reseek_train::{Learner, Saved, StepRow, Steps};
use serde_json::{Map, json};

use crate::chain::rl::RlStage;
use crate::chain::step::StepError;

/// Ours and TRL's. What is not here has the same name in both, or TRL has none for it (`ratio_max_first`, `tokens` of a step).
const NAMES: [(&str, &str); 4] = [
    ("lr", "learning_rate"),
    ("response_length", "completions/mean_length"),
    ("truncated", "completions/clipped_ratio"),
    ("clip_fraction", "clip_ratio/region_mean"),
];

/// TRL's name of a figure.
fn theirs(ours: &str) -> String {
    match NAMES.iter().find(|(known, _)| *known == ours) {
        Some((_, name)) => (*name).to_string(),
        None if TABLE.iter().any(|reward| reward.name == ours) => format!("rewards/{ours}/mean"),
        None => ours.to_string(),
    }
}

/// A stage of reinforcement learning whose rows have TRL's names, and which keeps what each step saw.
pub struct Named<'a> {
    stage: RlStage<'a>,
    groups: PathBuf,
    log: Option<StepLog>,
}

/// The file of the groups of every step, in the stage's folder.
pub const GROUPS: &str = "groups.jsonl";

impl<'a> Named<'a> {
    pub fn new(stage: RlStage<'a>, folder: &Path) -> Self {
        Self { stage: stage.watched(), groups: folder.join(GROUPS), log: None }
    }
}

impl Steps for Named<'_> {
    type Error = StepError;

    fn step(&mut self, learner: &mut Learner, step: u64) -> Result<StepRow, StepError> {
        let row = self.stage.step(learner, step)?;
        let log = match &mut self.log {
            Some(log) => log,
            // What was written behind the state from which this goes on comes again.
            none => none.insert(StepLog::open(&self.groups, step)?),
        };
        log.append(step, &json!({"groups": self.stage.take_seen()}))?;
        log.sync()?;
        let metrics: Map<_, _> = row.metrics.into_iter().map(|(name, value)| (theirs(&name), value)).collect();
        Ok(StepRow { metrics, ..row })
    }

    fn save(&self) -> Saved<'_> {
        self.stage.save()
    }

    fn restore(&mut self, learner: &Learner, saved: Saved<'static>) -> Result<(), StepError> {
        self.stage.restore(learner, saved)
    }
}

#[cfg(test)]
mod tests {
    use super::theirs;

    #[test]
    fn figures_have_trls_names() {
        for (ours, name) in [
            ("accuracy", "rewards/accuracy/mean"),
            ("truncated", "completions/clipped_ratio"),
            ("frac_reward_zero_std", "frac_reward_zero_std"),
            ("reward", "reward"),
        ] {
            assert_eq!(theirs(ours), name);
        }
    }
}
