//! What a rollout does to the policy: advantages, mini-batches, and one optimizer step on each.

use reseek_engine::Finish;
use reseek_model::Model;
use reseek_spec::{RlRecipe, ScaleRewards};
use reseek_tensor::random::Stream;
use reseek_train::{Hyper, Learner, OwnTerms};

use crate::algorithm::{self, Algorithm, TermSettings};
use crate::minibatch::{Advantaged, Minibatch, OfStep};
use crate::report::UpdateReport;
use crate::{RlError, Rollout, Sample, StepName};

/// Largest difference between the log-probability of a token under what it was drawn from and under the trainer's policy at the rollout's
/// temperature that still is the same policy.
pub const ON_POLICY_TOLERANCE: f32 = 1e-5;

/// The settings of an update.
#[derive(Clone, Copy, Debug)]
pub struct UpdateSettings {
    /// What is minimised.
    pub algorithm: &'static Algorithm,
    /// What advantages are divided by.
    pub scale: ScaleRewards,
    /// ε, δ and β.
    pub term: TermSettings,
    /// Whether completions that were cut off are left out of the loss.
    pub mask_truncated: bool,
    /// Tokens of a completion at most.
    pub max_tokens: usize,
    /// Parts into which the samples are cut, each with a step of its own.
    pub minibatches: usize,
    /// Passes over these parts.
    pub num_iterations: usize,
    /// AdamW and the clip.
    pub hyper: Hyper,
    /// Lanes of the gradient.
    pub lanes: usize,
    /// Whether the reference was copied from the policy just now, so that their KL must be 0.
    pub fresh_reference: bool,
}

impl UpdateSettings {
    /// Those of `recipe` at a learning rate.
    ///
    /// # Errors
    /// If the recipe names an algorithm that there is not, or settings that do not fit it.
    pub fn new(recipe: &RlRecipe, lr: f64, lanes: usize, fresh_reference: bool) -> Result<Self, RlError> {
        let RlRecipe { beta1, beta2, weight_decay, clip, minibatches, .. } = *recipe;
        let algorithm = algorithm::of(recipe)?;
        algorithm::check(algorithm, recipe)?;
        Ok(Self {
            algorithm,
            scale: algorithm.scale(recipe.scale_rewards),
            term: TermSettings::new(recipe),
            mask_truncated: recipe.mask_truncated,
            max_tokens: recipe.max_new_tokens,
            minibatches,
            num_iterations: recipe.num_iterations,
            hyper: Hyper { lr, beta1, beta2, weight_decay, clip },
            lanes,
            fresh_reference,
        })
    }

    /// Whether a sample is in the loss: by how it ended, never by which tokens it has.
    fn learns_from(&self, sample: &Sample) -> bool {
        !(self.mask_truncated && sample.completion.finish == Finish::Length)
    }
}

/// Learns from `rollout`. Where the policy itself drew it, no step ago, the first mini-batch is taken only if the trainer finds the
/// probabilities that were sampled from; an older rollout is a replay, whose ratios are what they are.
///
/// # Errors
/// If the sampler and the trainer disagree on what the policy is, or a step diverges.
///
/// # Panics
/// If a sample has no token, or its prompt is not among the prompts.
pub fn update(
    policy: &mut Learner,
    reference: Option<&Model>,
    rollout: &Rollout,
    settings: &UpdateSettings,
    name: &StepName,
) -> Result<UpdateReport, RlError> {
    let is_own = rollout.sampled_at == policy.optimizer.step;
    let minibatches = cut(rollout, reference, settings, name);
    let mut report = UpdateReport::default();
    for pass in 0..settings.num_iterations.max(1) {
        for (i, minibatch) in minibatches.iter().enumerate() {
            let objective = minibatch.objective();
            let own = OwnTerms::default();
            let (grads, stats) = policy.gradients.compute(&policy.model, minibatch.lanes(), own, &*objective);
            let terms = minibatch.terms(&stats);
            if (pass, i) == (0, 0) && is_own {
                report.first_ratio_gap = minibatch.check_on_policy(&stats, &terms, name)?;
            }
            let norm = policy.optimizer.update(&mut policy.weights, grads, &settings.hyper)?;
            policy.model.repack(&policy.weights);
            report.add(&stats, &terms, norm);
            report.batch_rows += if pass == 0 { stats.rows } else { 0 };
        }
    }
    Ok(report.mean())
}

/// The advantage of each sample of a rollout.
pub fn advantages(rollout: &Rollout, settings: &UpdateSettings) -> Vec<f32> {
    let rewards = |group: &[Sample]| group.iter().map(|sample| sample.rewards.total).collect();
    let groups: Vec<Vec<Option<f64>>> = rollout.groups().map(rewards).collect();
    (settings.algorithm.advantages)(&groups, settings.scale)
}

/// The samples of a rollout with their advantages, shuffled and cut. What is masked had its part in the advantages, and counts as a
/// sequence where sequences are counted; none of its rows is computed.
fn cut<'a>(
    rollout: &'a Rollout,
    reference: Option<&'a Model>,
    settings: &'a UpdateSettings,
    name: &StepName,
) -> Vec<Minibatch<'a>> {
    let mut samples: Vec<Advantaged> = rollout.samples.iter().zip(advantages(rollout, settings)).collect();
    Stream::new(name.seed, &format!("{}/minibatches", name.stage), name.step, 0).shuffle(&mut samples);
    let size = samples.len().div_ceil(settings.minibatches.max(1)).max(1);
    let learnt = rollout.samples.iter().filter(|sample| settings.learns_from(sample));
    let step = OfStep {
        prompts: &rollout.prompts,
        reference,
        temperature: rollout.temperature,
        settings,
        tokens: learnt.map(|sample| sample.completion.tokens.len()).sum(),
        minibatches: samples.len().div_ceil(size),
    };
    let minibatch = |samples: &[Advantaged<'a>]| {
        let mut learnt: Vec<Advantaged> =
            samples.iter().copied().filter(|(sample, _)| settings.learns_from(sample)).collect();
        // Completions of a prompt side by side: they share its rows.
        learnt.sort_by_key(|(sample, _)| sample.prompt);
        Minibatch::new(&step, &learnt, samples.len())
    };
    samples.chunks(size).map(minibatch).collect()
}
