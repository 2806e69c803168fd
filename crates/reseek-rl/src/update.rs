//! What a rollout does to the policy: advantages, mini-batches, and one optimizer step on each.

use std::ops::Range;

use reseek_engine::logprobs;
use reseek_model::{Model, Rows};
use reseek_spec::RlRecipe;
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::random::Stream;
use reseek_train::{
    Chunk, Group, Hyper, LaneStats, Learner, Objective, OwnTerms, Sequence, SequenceLogprobs, SequenceLoss, TokenLoss,
    deal_groups,
};

use crate::algorithm::ratio::of_token;
use crate::algorithm::{self, Algorithm, Known, Ratio, Sizes, Term, TermSettings};
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
    /// ε and β.
    pub term: TermSettings,
    /// Parts into which the samples are cut, each with a step of its own.
    pub minibatches: usize,
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
    /// If the recipe names an algorithm that there is not.
    pub fn new(recipe: &RlRecipe, lr: f64, lanes: usize, fresh_reference: bool) -> Result<Self, RlError> {
        let RlRecipe { beta1, beta2, weight_decay, clip, minibatches, .. } = *recipe;
        Ok(Self {
            algorithm: algorithm::of(recipe)?,
            term: TermSettings { clip_epsilon: recipe.clip_epsilon as f32, kl_beta: recipe.kl_beta as f32 },
            minibatches,
            hyper: Hyper { lr, beta1, beta2, weight_decay, clip },
            lanes,
            fresh_reference,
        })
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
    let advantages = rollout.groups().flat_map(|group| {
        let rewards: Vec<Option<f64>> = group.iter().map(|sample| sample.rewards.total).collect();
        (settings.algorithm.advantages)(&rewards)
    });
    let mut samples: Vec<(&Sample, f32)> = rollout.samples.iter().zip(advantages).collect();
    Stream::new(name.seed, &format!("{}/minibatches", name.stage), name.step, 0).shuffle(&mut samples);
    let size = samples.len().div_ceil(settings.minibatches.max(1)).max(1);
    let mut report = UpdateReport::default();
    for (i, samples) in samples.chunks_mut(size).enumerate() {
        // Completions of a prompt side by side: they share its rows.
        samples.sort_by_key(|(sample, _)| sample.prompt);
        let lanes = lanes(&rollout.prompts, samples, settings.lanes);
        let minibatch = Minibatch::new(&lanes, samples, reference, rollout.temperature, settings);
        let objective = minibatch.objective();
        let own = OwnTerms::default();
        let (grads, stats) = policy.gradients.compute(&policy.model, lanes, own, &*objective);
        let terms = minibatch.terms(&stats);
        if i == 0 && is_own {
            report.first_ratio_gap = minibatch.check_on_policy(&stats, &terms, name)?;
        }
        let norm = policy.optimizer.update(&mut policy.weights, grads, &settings.hyper)?;
        policy.model.repack(&policy.weights);
        report.add(&stats, &terms, norm);
    }
    Ok(report.mean())
}

/// The rows of a mini-batch in lanes. The loss is on the completions alone, so all but the last token of a prompt serve its completions
/// together; each of those begins with the prompt's last token, the row that predicts its first.
fn lanes(prompts: &[Vec<u32>], minibatch: &[(&Sample, f32)], lanes: usize) -> Vec<Vec<Chunk>> {
    let sequence = |(sample, _): &(&Sample, f32)| -> Sequence {
        let completion = &sample.completion.tokens;
        let last = prompts[sample.prompt].last().expect("a prompt has a token");
        let tokens = std::iter::once(last).chain(&completion[..completion.len() - 1]);
        (tokens.copied().collect(), completion.clone())
    };
    let sequences: Vec<Sequence> = minibatch.iter().map(sequence).collect();
    let mut rest = &sequences[..];
    let groups = minibatch.chunk_by(|(a, _), (b, _)| a.prompt == b.prompt).map(|group| {
        let prompt = &prompts[group[0].0.prompt];
        let sequences = rest.split_off(..group.len()).expect("a sequence for each sample");
        Group { prefix: &prompt[..prompt.len() - 1], sequences }
    });
    deal_groups(&groups.collect::<Vec<_>>(), lanes)
}

/// What is known of a mini-batch's tokens before the policy is asked.
struct Minibatch<'a> {
    settings: &'a UpdateSettings,
    temperature: f32,
    /// Of each token of its completions, in the order of the samples.
    known: Vec<Known>,
    /// The tokens of each sample among them.
    of_sample: Vec<Range<usize>>,
    /// The token that each row of the lanes predicts, among them; none for rows of prompts.
    of_row: Vec<Option<usize>>,
}

impl<'a> Minibatch<'a> {
    fn new(
        lanes: &[Vec<Chunk>],
        samples: &[(&Sample, f32)],
        reference: Option<&Model>,
        temperature: f32,
        settings: &'a UpdateSettings,
    ) -> Self {
        let chunks = || lanes.iter().flatten();
        let mut tokens = 0..;
        let mut of_target = |&target: &u32| (target != IGNORE).then(|| tokens.next()).flatten();
        let of_row: Vec<Option<usize>> = chunks().flat_map(|chunk| &chunk.targets).map(&mut of_target).collect();

        let mut known: Vec<Known> = Vec::new();
        let mut of_sample = Vec::new();
        for (sample, advantage) in samples {
            let old = &sample.completion.behaviour_logprobs;
            let share = (settings.algorithm.reduction)(&Sizes { sequences: samples.len(), tokens: old.len() });
            of_sample.push(known.len()..known.len() + old.len());
            known.extend(old.iter().map(|&old| Known { old, reference: old, advantage: *advantage, share }));
        }
        if let Some(model) = reference {
            let rows: Vec<(Rows, Vec<u32>)> =
                chunks().map(|chunk| (chunk.rows.clone(), chunk.targets.clone())).collect();
            let logprobs = logprobs(model, rows, temperature).concat();
            for (token, logp) in of_row.iter().zip(logprobs) {
                if let Some(token) = *token {
                    known[token].reference = logp;
                }
            }
        }
        Self { settings, temperature, known, of_sample, of_row }
    }

    /// The loss in the form that its ratio asks for.
    fn objective(&self) -> Box<dyn Objective + '_> {
        let UpdateSettings { algorithm, term, .. } = self.settings;
        let temperature = self.temperature;
        match algorithm.ratio {
            Ratio::OfToken(ratio) => {
                let slope = move |row: usize, logp: f32| {
                    let known = self.at(row);
                    algorithm.token(logp, known, ratio(logp, known.old), term).gradient
                };
                Box::new(TokenLoss { temperature, slope })
            }
            Ratio::OfSequence(_) => {
                let slopes = |sequences: &[SequenceLogprobs]| {
                    let of = |sequence: &SequenceLogprobs| self.sequence(sequence.sequence, sequence.logprobs);
                    sequences.iter().flat_map(of).map(|term| term.gradient).collect()
                };
                Box::new(SequenceLoss { temperature, slopes })
            }
        }
    }

    /// What is known of the token that a row predicts.
    fn at(&self, row: usize) -> &Known {
        &self.known[self.of_row[row].expect("a row with a target")]
    }

    fn sequence(&self, sample: usize, logprobs: &[f32]) -> Vec<Term> {
        let known = &self.known[self.of_sample[sample].clone()];
        self.settings.algorithm.sequence(logprobs, known, &self.settings.term)
    }

    /// The terms of all tokens, in the order of the samples, as they were before the step.
    fn terms(&self, stats: &LaneStats) -> Vec<Term> {
        let logprobs: Vec<f32> = stats.logprobs.iter().map(|&(_, logp)| logp).collect();
        let of = |(sample, tokens): (usize, &Range<usize>)| self.sequence(sample, &logprobs[tokens.clone()]);
        self.of_sample.iter().enumerate().flat_map(of).collect()
    }

    /// Before the first update the distribution that was sampled from, the trainer's and a fresh reference are one. The largest
    /// |π/π_old − 1| of a token.
    fn check_on_policy(&self, stats: &LaneStats, terms: &[Term], name: &StepName) -> Result<f64, RlError> {
        let gap_of = |&(row, logp): &(usize, f32)| (of_token(logp, self.at(row).old) - 1.0).abs();
        let gap = stats.logprobs.iter().map(gap_of).fold(0.0, f32::max);
        if gap > ON_POLICY_TOLERANCE {
            return Err(RlError::OffPolicy { step: name.step, gap });
        }
        let kl = terms.iter().map(|term| term.kl).fold(0.0, f32::max);
        if self.settings.fresh_reference && kl > 0.0 {
            return Err(RlError::StaleReference { step: name.step, kl });
        }
        Ok(gap as f64)
    }
}
