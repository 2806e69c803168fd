//! One GRPO step: rollouts → rewards → advantages → loss → update.

use reseek_engine::{Completion, Finish, GenerateOptions, Request, Sampling, StreamName, generate, logprobs};
use reseek_model::{CacheMode, Model, Rows};
use reseek_spec::RlRecipe;
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::pool::map_lanes;
use reseek_tensor::random::Stream;
use reseek_train::{Chunk, Group, Hyper, Learner, LossParts, Sequence, deal_groups};

use crate::RlError;
use crate::advantage::{advantages, mean_std};
use crate::loss::{LossSettings, TokenContext, TokenLoss, token_loss};

/// Largest difference between the log-probability of a token under what it was drawn from and under the trainer's policy at the rollout's
/// temperature that still is the same policy.
pub const ON_POLICY_TOLERANCE: f32 = 1e-5;

/// What a verifier says of one completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Grade {
    /// The weighted sum of the rewards; nothing where the answer could not be verified.
    pub reward: Option<f64>,
    /// 1 for a correct answer, 0 for a wrong one; nothing where it could not be verified, or where a reward model graded it.
    pub accuracy: Option<f64>,
    /// 1 if the completion has the asked-for form.
    pub format: f64,
    /// Share of the words that are in the question's language.
    pub language: f64,
}

/// Where a step stands in its run.
#[derive(Clone, Debug)]
pub struct StepName<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The stage, which names the random streams.
    pub stage: &'a str,
    /// The step, from 0.
    pub step: u64,
    /// Whether the reference was copied from the policy just now, so that their KL must be 0.
    pub fresh_reference: bool,
    /// The learning rate of this step.
    pub lr: f64,
    /// Lanes of the gradient.
    pub lanes: usize,
}

/// What a step reports; the names are TRL's and DeepSeek's.
#[derive(Clone, Debug, Default)]
pub struct StepReport {
    pub reward: f64,
    /// Mean reward of the samples that a rule graded, and of those that a reward model did; nothing where there are none. A batch of both has
    /// a mean that moves with their shares.
    pub reward_verified: Option<f64>,
    pub reward_learned: Option<f64>,
    pub reward_std: f64,
    pub accuracy: f64,
    pub format: f64,
    pub language: f64,
    pub response_length: f64,
    pub truncated: f64,
    pub frac_reward_zero_std: f64,
    pub entropy: f64,
    pub kl: f64,
    pub clip_fraction: f64,
    /// Largest |π/π_old − 1| of the first mini-batch, before any update: 0 where the sampler has the trainer's bits.
    pub first_ratio_gap: f64,
    pub loss: f64,
    pub grad_norm: f64,
    /// Tokens sampled.
    pub sampled_tokens: usize,
    /// Rows that went through a training pass, those of prompts included: once for all completions of a prompt in a chunk.
    pub trained_rows: usize,
}

struct Sample {
    prompt: usize,
    completion: Completion,
    grade: Grade,
    advantage: f32,
}

/// Runs one step on `prompts`; `grade(prompt, completion)` is called once for every sample, from several threads.
///
/// # Errors
/// If sampling fails, the sampler and the trainer disagree on what the policy is, or the update diverges.
pub fn grpo_step<G>(
    policy: &mut Learner,
    reference: Option<&Model>,
    prompts: &[Vec<u32>],
    grade: G,
    stop: u32,
    recipe: &RlRecipe,
    name: &StepName,
) -> Result<StepReport, RlError>
where
    G: Fn(usize, &Completion) -> Grade + Sync + Send,
{
    let mut samples = rollout(&policy.model, prompts, grade, stop, recipe, name)?;
    for group in samples.chunks_mut(recipe.group) {
        let rewards: Vec<Option<f64>> = group.iter().map(|s| s.grade.reward).collect();
        group.iter_mut().zip(advantages(&rewards)).for_each(|(sample, a)| sample.advantage = a);
    }
    let mut report = describe(&samples, recipe.group);

    Stream::new(name.seed, &format!("{}/minibatches", name.stage), name.step, 0).shuffle(&mut samples);
    let size = samples.len().div_ceil(recipe.minibatches.max(1));
    let mut sums = Sums::default();
    for (i, minibatch) in samples.chunks_mut(size).enumerate() {
        // Completions of a prompt side by side: they share its rows.
        minibatch.sort_by_key(|sample| sample.prompt);
        let terms = update(policy, reference, prompts, minibatch, recipe, name, i == 0, &mut report)?;
        sums.add(&terms);
    }
    sums.finish(&mut report, samples.chunks(size).len());
    Ok(report)
}

fn rollout<G>(
    model: &Model,
    prompts: &[Vec<u32>],
    grade: G,
    stop: u32,
    recipe: &RlRecipe,
    name: &StepName,
) -> Result<Vec<Sample>, RlError>
where
    G: Fn(usize, &Completion) -> Grade + Sync + Send,
{
    let requests: Vec<Request> =
        prompts.iter().map(|prompt| Request { prompt: prompt.clone(), samples: recipe.group }).collect();
    let mut sampling = Sampling::on_policy(vec![stop], recipe.max_new_tokens);
    sampling.temperature = recipe.temperature as f32;
    let stream = StreamName { seed: name.seed, purpose: format!("{}/sample", name.stage), step: name.step };
    let options = GenerateOptions { mode: CacheMode::Expanded, ..GenerateOptions::default() };
    let completions = generate(model, &requests, &sampling, &stream, options)?;
    let all: Vec<(usize, Completion)> =
        completions.into_iter().enumerate().flat_map(|(i, group)| group.into_iter().map(move |c| (i, c))).collect();
    Ok(map_lanes(all, |(prompt, completion)| {
        let grade = grade(prompt, &completion);
        Sample { prompt, completion, grade, advantage: 0.0 }
    }))
}

/// The rows of a mini-batch in lanes. The loss is on the completions alone, so all but the last token of a prompt serve its completions
/// together; each of those begins with the prompt's last token, the row that predicts its first.
fn lanes(prompts: &[Vec<u32>], minibatch: &[Sample], lanes: usize) -> Vec<Vec<Chunk>> {
    let sequence = |sample: &Sample| -> Sequence {
        let completion = &sample.completion.tokens;
        let last = prompts[sample.prompt].last().expect("a prompt has a token");
        let tokens = std::iter::once(last).chain(&completion[..completion.len() - 1]);
        (tokens.copied().collect(), completion.clone())
    };
    let sequences: Vec<Sequence> = minibatch.iter().map(sequence).collect();
    let mut rest = &sequences[..];
    let groups = minibatch.chunk_by(|a, b| a.prompt == b.prompt).map(|group| {
        let prompt = &prompts[group[0].prompt];
        let sequences = rest.split_off(..group.len()).expect("a sequence for each sample");
        Group { prefix: &prompt[..prompt.len() - 1], sequences }
    });
    deal_groups(&groups.collect::<Vec<_>>(), lanes)
}

/// One optimizer step on a mini-batch; the loss terms of its tokens, as they were before the step. The `first` of a batch is taken only
/// where the samples are the policy's own.
fn update(
    policy: &mut Learner,
    reference: Option<&Model>,
    prompts: &[Vec<u32>],
    minibatch: &[Sample],
    recipe: &RlRecipe,
    name: &StepName,
    first: bool,
    report: &mut StepReport,
) -> Result<Vec<TokenLoss>, RlError> {
    let lanes = lanes(prompts, minibatch, name.lanes);
    let reference: Option<Vec<f32>> = reference.map(|model| {
        let chunks: Vec<(Rows, Vec<u32>)> =
            lanes.iter().flatten().map(|chunk| (chunk.rows.clone(), chunk.targets.clone())).collect();
        logprobs(model, chunks, recipe.temperature as f32).concat()
    });
    let contexts = contexts(&lanes, minibatch, reference.as_deref());
    let settings = LossSettings { clip_epsilon: recipe.clip_epsilon as f32, kl_beta: recipe.kl_beta as f32 };
    let parts = LossParts { temperature: recipe.temperature as f32, ..LossParts::default() };
    let (grads, stats) = policy
        .gradients
        .compute(&policy.model, lanes, parts, |row, logp| token_loss(logp, &contexts[row], &settings).gradient);
    let terms: Vec<TokenLoss> =
        stats.logprobs.iter().map(|&(row, logp)| token_loss(logp, &contexts[row], &settings)).collect();
    if first {
        check_on_policy(&terms, name, report)?;
    }
    let RlRecipe { beta1, beta2, weight_decay, clip, .. } = *recipe;
    let hyper = Hyper { lr: name.lr, beta1, beta2, weight_decay, clip };
    report.grad_norm += policy.optimizer.update(&mut policy.weights, grads, &hyper)?;
    policy.model.repack(&policy.weights);
    report.entropy += stats.entropy / stats.targets.max(1) as f64;
    report.trained_rows += stats.rows;
    Ok(terms)
}

/// What the loss needs at each row of the lanes, whose targets are the completions in order; rows of prompts have no share.
fn contexts(lanes: &[Vec<Chunk>], minibatch: &[Sample], reference: Option<&[f32]>) -> Vec<TokenContext> {
    let mut tokens = minibatch.iter().flat_map(|sample| {
        let share = 1.0 / (minibatch.len() * sample.completion.tokens.len()) as f32;
        sample.completion.behaviour_logprobs.iter().map(move |&old| (old, sample.advantage, share))
    });
    let targets = lanes.iter().flatten().flat_map(|chunk| &chunk.targets);
    let context = |(row, &target): (usize, &u32)| {
        if target == IGNORE {
            return TokenContext { old: 0.0, reference: 0.0, advantage: 0.0, share: 0.0 };
        }
        let (old, advantage, share) = tokens.next().expect("a target is a token of a completion");
        TokenContext { old, reference: reference.map_or(old, |r| r[row]), advantage, share }
    };
    targets.enumerate().map(context).collect()
}

/// Before the first update the distribution that was sampled from, the trainer's and a fresh reference are one.
fn check_on_policy(terms: &[TokenLoss], name: &StepName, report: &mut StepReport) -> Result<(), RlError> {
    let gap = terms.iter().map(|t| (t.ratio - 1.0).abs()).fold(0.0, f32::max);
    report.first_ratio_gap = gap as f64;
    if gap > ON_POLICY_TOLERANCE {
        return Err(RlError::OffPolicy { step: name.step, gap });
    }
    let kl = terms.iter().map(|t| t.kl).fold(0.0, f32::max);
    if name.fresh_reference && kl > 0.0 {
        return Err(RlError::StaleReference { step: name.step, kl });
    }
    Ok(())
}

fn describe(samples: &[Sample], group: usize) -> StepReport {
    let n = samples.len() as f64;
    let mean = |f: &dyn Fn(&Sample) -> f64| samples.iter().map(f).sum::<f64>() / n;
    // What was not graded has no part in a mean of grades: an outage must not look like a policy that got worse.
    let graded: Vec<f64> = samples.iter().filter_map(|s| s.grade.accuracy).collect();
    let groups: Vec<(f64, f64)> = samples
        .chunks(group)
        .filter(|group| group.iter().any(|s| s.grade.reward.is_some()))
        .map(|group| mean_std(&group.iter().map(|s| s.grade.reward).collect::<Vec<_>>()))
        .collect();
    let over_groups = |f: &dyn Fn(&(f64, f64)) -> f64| groups.iter().map(f).sum::<f64>() / groups.len().max(1) as f64;
    let rewards = |verified: bool| {
        let of = samples.iter().filter(|s| s.grade.accuracy.is_some() == verified).filter_map(|s| s.grade.reward);
        let rewards: Vec<f64> = of.collect();
        (!rewards.is_empty()).then(|| rewards.iter().sum::<f64>() / rewards.len() as f64)
    };
    StepReport {
        reward: over_groups(&|g| g.0),
        reward_verified: rewards(true),
        reward_learned: rewards(false),
        reward_std: over_groups(&|g| g.1),
        frac_reward_zero_std: over_groups(&|g| f64::from(g.1 == 0.0)),
        accuracy: graded.iter().sum::<f64>() / graded.len().max(1) as f64,
        format: mean(&|s| s.grade.format),
        language: mean(&|s| s.grade.language),
        response_length: mean(&|s| s.completion.tokens.len() as f64),
        truncated: mean(&|s| f64::from(s.completion.finish == Finish::Length)),
        sampled_tokens: samples.iter().map(|s| s.completion.tokens.len()).sum(),
        ..StepReport::default()
    }
}

#[derive(Default)]
struct Sums {
    kl: f64,
    clipped: f64,
    loss: f64,
    tokens: f64,
}

impl Sums {
    fn add(&mut self, terms: &[TokenLoss]) {
        for term in terms {
            self.kl += term.kl as f64;
            self.clipped += f64::from(term.clipped);
            self.loss += term.loss as f64;
        }
        self.tokens += terms.len() as f64;
    }

    fn finish(&self, report: &mut StepReport, minibatches: usize) {
        report.kl = self.kl / self.tokens.max(1.0);
        report.clip_fraction = self.clipped / self.tokens.max(1.0);
        report.loss = self.loss / minibatches as f64;
        report.entropy /= minibatches as f64;
        report.grad_norm /= minibatches as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_that_is_not_the_trainer_stops_the_run() {
        let name = |fresh_reference| StepName { seed: 1, stage: "t", step: 3, fresh_reference, lr: 0.1, lanes: 1 };
        let check = |ratio: f32, kl: f32, fresh: bool| {
            let terms = [1.0, ratio].map(|ratio| TokenLoss { loss: 0.0, gradient: 0.0, kl, ratio, clipped: false });
            let mut report = StepReport::default();
            let result = check_on_policy(&terms, &name(fresh), &mut report);
            assert_eq!(report.first_ratio_gap, (ratio - 1.0).abs() as f64);
            result
        };
        assert!(check(1.0, 0.0, true).is_ok());
        assert!(check(1.0 + 5e-6, 0.3, false).is_ok());
        for ratio in [1.001, 0.999, 0.0, f32::INFINITY] {
            let error = check(ratio, 0.0, true).unwrap_err();
            assert!(matches!(error, RlError::OffPolicy { step: 3, .. }), "{error}");
        }
        assert!(matches!(check(1.0, 1e-9, true), Err(RlError::StaleReference { step: 3, .. })));
    }
}
