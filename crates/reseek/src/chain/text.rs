//! Training on text, in phases of one length each: pre-training has one, the extension of the context two.

use reseek_data::{Cursor, Mixture, PackedBatches};
use reseek_model::Weights;
use reseek_spec::{ModelSpec, PretrainRecipe};
use reseek_train::{
    Hyper, Learner, Length, Saved, StepReport, StepRow, StepSettings, Steps, Usage, expert_load_max, run,
};
use serde_json::{Map, json};

use super::step::StepError;
use super::{Chain, Work, ended};
use crate::error::Outcome;

/// Steps on sequences of one length.
pub struct Phase {
    /// Where they come from.
    pub mixture: Mixture,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// What each step does.
    pub steps: Vec<PlannedStep>,
}

/// A step that is to be taken.
#[derive(Clone, Copy)]
pub struct PlannedStep {
    /// Sequences of its batch.
    pub sequences: usize,
    /// What it does with them.
    pub settings: StepSettings,
}

/// Trains `weights` in `work` through all phases. `mtp_share` is that of the rows that the MTP module learns from.
pub fn train_on_text(
    chain: &mut Chain,
    work: &Work,
    weights: Weights,
    phases: Vec<Phase>,
    mtp_share: f64,
) -> Outcome<(Weights, Usage)> {
    let length = Length::Steps(phases.iter().map(|phase| phase.steps.len() as u64).sum());
    let mut learner = chain.learner(weights);
    let mut stage = TextStage { phases, mtp_share, open: None, cursor: Cursor::default() };
    let usage = run(&work.dir, &mut learner, &mut stage, length, &mut chain.ui).map_err(ended)?;
    Ok((learner.weights, usage))
}

struct TextStage {
    phases: Vec<Phase>,
    mtp_share: f64,
    /// The phase that is being read, and its batches.
    open: Option<(usize, PackedBatches)>,
    /// Where reading stood when the state was saved that this process goes on from.
    cursor: Cursor,
}

impl Steps for TextStage {
    type Error = StepError;

    fn step(&mut self, learner: &mut Learner, step: u64) -> Result<StepRow, StepError> {
        let (number, within) = self.phase_of(step as usize);
        let phase = &self.phases[number];
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            // A phase begins at the beginning of its mixture, and goes on where it stood.
            let cursor = if within == 0 { Cursor::default() } else { self.cursor };
            self.open = Some((number, PackedBatches::new(phase.mixture.clone(), phase.seq_len, cursor)?));
        }
        let (_, batches) = self.open.as_mut().expect("just opened");
        let PlannedStep { sequences, settings } = phase.steps[within];
        let batch = batches.next_batch(sequences)?;
        let rows = batch.tokens.chunks(batch.seq_len).zip(batch.targets.chunks(batch.seq_len));
        let report = learner.step(&rows.collect::<Vec<_>>(), &settings)?;
        let spec = &learner.weights.spec;
        let flops = spec.train_flops_per_token(phase.seq_len).causal
            + self.mtp_share * spec.mtp_train_flops_per_token(phase.seq_len);
        Ok(row(&report, &settings, step, flops))
    }

    fn save(&self) -> Saved<'_> {
        let cursor = self.open.as_ref().map_or(self.cursor, |(_, batches)| batches.cursor());
        Saved { cursor: json!(cursor), ..Saved::default() }
    }

    fn restore(&mut self, _: &Learner, saved: Saved<'static>) -> Result<(), StepError> {
        self.cursor = serde_json::from_value(saved.cursor)?;
        Ok(())
    }
}

impl TextStage {
    /// The phase of a step, and its number within it.
    fn phase_of(&self, step: usize) -> (usize, usize) {
        let mut within = step;
        for (number, phase) in self.phases.iter().enumerate() {
            if within < phase.steps.len() {
                return (number, within);
            }
            within -= phase.steps.len();
        }
        panic!("step {step} is beyond the last phase");
    }
}

/// AdamW as pre-training has it, at a learning rate.
pub fn hyper(recipe: &PretrainRecipe, lr: f64) -> Hyper {
    Hyper { lr, beta1: recipe.beta1, beta2: recipe.beta2, weight_decay: recipe.weight_decay, clip: recipe.clip }
}

/// Steps between rows that show the load of every expert.
const LOAD_EVERY: u64 = 20;

fn row(report: &StepReport, settings: &StepSettings, step: u64, flops_per_token: f64) -> StepRow {
    let mut metrics = Map::new();
    metrics.insert("tokens".into(), json!(report.rows));
    metrics.insert("lr".into(), json!(settings.hyper.lr));
    metrics.insert("loss".into(), json!(report.loss));
    metrics.insert("loss_main".into(), json!(report.loss_main));
    if settings.mtp_lambda > 0.0 && report.loss_mtp > 0.0 {
        metrics.insert("loss_mtp".into(), json!(report.loss_mtp));
        metrics.insert("mtp_lambda".into(), json!(settings.mtp_lambda));
    }
    metrics.insert("grad_norm".into(), json!(report.grad_norm));
    if let Some(load) = expert_load_max(&report.expert_counts) {
        metrics.insert("loss_balance".into(), json!(report.loss_balance));
        metrics.insert("expert_load_max".into(), json!(load));
        if step.is_multiple_of(LOAD_EVERY) {
            let shares = report.expert_counts.iter().map(|counts| {
                let total = counts.iter().sum::<u32>().max(1) as f64;
                counts.iter().map(|&c| (1e4 * c as f64 / total).round() / 1e4).collect::<Vec<f64>>()
            });
            metrics.insert("expert_load".into(), json!(shares.collect::<Vec<_>>()));
        }
    }
    StepRow { metrics, tokens: report.rows as u64, flops: report.rows as f64 * flops_per_token }
}

/// The row of a fine-tuning step.
pub fn sft_row(report: &StepReport, settings: &StepSettings, spec: &ModelSpec) -> StepRow {
    // Mixtures rest while answers are learnt, and the MTP module does not run.
    let quiet = StepReport { expert_counts: Vec::new(), ..report.clone() };
    row(&quiet, settings, 0, spec.train_flops_per_token(64).causal)
}
