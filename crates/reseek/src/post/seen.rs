//! What each step of reinforcement learning saw, kept to be read by people.

use std::path::{Path, PathBuf};

use reseek_store::StepLog;
use reseek_train::{Learner, Saved, StepRow, Steps};
use serde_json::json;

use crate::chain::rl::RlStage;
use crate::chain::step::StepError;

/// A stage of reinforcement learning that writes the groups of each step into a file.
pub struct Logged<'a> {
    stage: RlStage<'a>,
    groups: PathBuf,
    log: Option<StepLog>,
}

/// The file of the groups of every step, in the stage's folder.
pub const GROUPS: &str = "groups.jsonl";

impl<'a> Logged<'a> {
    pub fn new(stage: RlStage<'a>, folder: &Path) -> Self {
        Self { stage: stage.watched(), groups: folder.join(GROUPS), log: None }
    }
}

impl Steps for Logged<'_> {
    type Error = StepError;

    fn step(&mut self, learner: &mut Learner, step: u64) -> Result<StepRow, StepError> {
        // What was written behind the state from which this goes on comes again.
        if self.log.is_none() {
            self.log = Some(StepLog::open(&self.groups, step)?);
        }
        let row = self.stage.step(learner, step)?;
        let log = self.log.as_mut().expect("opened above");
        log.append(step, &json!({"groups": self.stage.take_seen()}))?;
        log.sync()?;
        Ok(row)
    }

    fn save(&self) -> Saved<'_> {
        self.stage.save()
    }

    fn restore(&mut self, learner: &Learner, saved: Saved<'static>) -> Result<(), StepError> {
        self.stage.restore(learner, saved)
    }
}
