//! What a step of reinforcement learning reports; the names are TRL's and DeepSeek's.

use reseek_engine::Finish;
use reseek_train::LaneStats;

use crate::algorithm::advantage::mean_std;
use crate::algorithm::{Bound, Term};
use crate::{Rollout, Sample};

/// What a rollout came to.
#[derive(Clone, Debug, Default)]
pub struct RolloutReport {
    /// Mean reward of the groups that have any.
    pub reward: f64,
    /// Mean standard deviation of these groups.
    pub reward_std: f64,
    /// Share of these groups whose rewards are all equal, so that nothing is learnt from them.
    pub frac_reward_zero_std: f64,
    /// Mean reward of the samples that rules alone graded; nothing where there are none. A batch of both kinds has a mean that moves with
    /// their shares.
    pub reward_verified: Option<f64>,
    /// Mean reward of the samples in which a reward model had a part.
    pub reward_learned: Option<f64>,
    /// Mean of each reward, unweighted, over the samples that it graded; one that graded none is not among them: an outage must not look
    /// like a policy that got worse.
    pub rewards: Vec<(&'static str, f64)>,
    /// Standard deviation of each of them over the same samples.
    pub rewards_std: Vec<(&'static str, f64)>,
    /// Mean tokens of a completion.
    pub response_length: f64,
    /// Fewest tokens of a completion, and most.
    pub response_lengths: (usize, usize),
    /// Share of the completions that ended at the length limit.
    pub truncated: f64,
    /// Tokens sampled.
    pub sampled_tokens: usize,
}

/// What an update saw, before each of its steps.
#[derive(Clone, Debug, Default)]
pub struct UpdateReport {
    /// Mean loss of the mini-batches.
    pub loss: f64,
    /// Mean entropy of the policy, in nats a token.
    pub entropy: f64,
    /// Mean norm of the gradient before the clip.
    pub grad_norm: f64,
    /// Mean over tokens of the k3 estimate of KL to the reference, in nats, whichever estimate is in the loss.
    pub kl: f64,
    /// Share of the tokens whose gradient a bound cut off (in cispo: capped).
    pub clip_fraction: f64,
    /// Of these the share that met the lower bound, as a share of all tokens.
    pub clip_low: f64,
    /// The same of the upper bound.
    pub clip_high: f64,
    /// Largest |π/π_old − 1| of the first mini-batch, before any update: 0 where the sampler has the trainer's bits.
    pub first_ratio_gap: f64,
    /// Rows that went through a training pass, those of prompts included: once for all completions of a prompt in a chunk.
    pub trained_rows: usize,
    /// The same in the first pass over the samples alone: rows that a reference passed over.
    pub batch_rows: usize,
    minibatches: f64,
    tokens: f64,
}

impl Rollout {
    /// Its figures.
    pub fn report(&self) -> RolloutReport {
        let n = self.samples.len() as f64;
        let mean = |f: &dyn Fn(&Sample) -> f64| self.samples.iter().map(f).sum::<f64>() / n;
        let total = |sample: &Sample| sample.rewards.total;
        let groups: Vec<(f64, f64)> = self
            .groups()
            .filter(|group| group.iter().any(|sample| total(sample).is_some()))
            .map(|group| mean_std(&group.iter().map(total).collect::<Vec<_>>()))
            .collect();
        let over_groups =
            |f: &dyn Fn(&(f64, f64)) -> f64| groups.iter().map(f).sum::<f64>() / groups.len().max(1) as f64;
        let rewards = |learned: bool| {
            let of = self.samples.iter().filter(|sample| sample.rewards.learned == learned);
            mean_of(of.filter_map(total).collect())
        };
        let names = self.samples.first().map_or(&[][..], |sample| &sample.rewards.named);
        let named = names.iter().filter_map(|(name, _)| {
            let graded: Vec<Option<f64>> = self.samples.iter().map(|sample| sample.rewards.get(name)).collect();
            let mean = mean_of(graded.iter().flatten().copied().collect())?;
            Some(((*name, mean), (*name, mean_std(&graded).1)))
        });
        let (rewards_mean, rewards_std) = named.unzip();
        let lengths = || self.samples.iter().map(|sample| sample.completion.tokens.len());
        RolloutReport {
            reward: over_groups(&|g| g.0),
            reward_std: over_groups(&|g| g.1),
            frac_reward_zero_std: over_groups(&|g| f64::from(g.1 == 0.0)),
            reward_verified: rewards(false),
            reward_learned: rewards(true),
            rewards: rewards_mean,
            rewards_std,
            response_length: mean(&|s| s.completion.tokens.len() as f64),
            response_lengths: (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0)),
            truncated: mean(&|s| f64::from(s.completion.finish == Finish::Length)),
            sampled_tokens: lengths().sum(),
        }
    }
}

impl RolloutReport {
    /// The mean of the reward called `name`.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.rewards.iter().find(|(known, _)| *known == name).map(|(_, mean)| *mean)
    }
}

fn mean_of(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl UpdateReport {
    /// Adds what a mini-batch saw.
    pub(crate) fn add(&mut self, stats: &LaneStats, terms: &[Term], grad_norm: f64) {
        for term in terms {
            self.kl += term.kl as f64;
            self.clip_fraction += f64::from(term.clipped.is_some());
            self.clip_low += f64::from(term.clipped == Some(Bound::Low));
            self.clip_high += f64::from(term.clipped == Some(Bound::High));
            self.loss += term.loss as f64;
        }
        self.grad_norm += grad_norm;
        self.entropy += stats.entropy / stats.targets.max(1) as f64;
        self.trained_rows += stats.rows;
        self.minibatches += 1.0;
        self.tokens += terms.len() as f64;
    }

    /// The sums of mini-batches as means.
    pub(crate) fn mean(mut self) -> Self {
        for sum in [&mut self.kl, &mut self.clip_fraction, &mut self.clip_low, &mut self.clip_high] {
            *sum /= self.tokens.max(1.0);
        }
        for sum in [&mut self.loss, &mut self.entropy, &mut self.grad_norm] {
            *sum /= self.minibatches.max(1.0);
        }
        self
    }
}
