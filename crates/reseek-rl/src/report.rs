//! What a step of reinforcement learning reports; the names are TRL's and DeepSeek's.

use reseek_engine::Finish;
use reseek_train::LaneStats;

use crate::algorithm::Term;
use crate::algorithm::advantage::mean_std;
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
    /// Mean tokens of a completion.
    pub response_length: f64,
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
    /// Mean over tokens of the k3 estimate of KL to the reference, in nats.
    pub kl: f64,
    /// Share of the tokens whose gradient the clip cut off.
    pub clip_fraction: f64,
    /// Largest |π/π_old − 1| of the first mini-batch, before any update: 0 where the sampler has the trainer's bits.
    pub first_ratio_gap: f64,
    /// Rows that went through a training pass, those of prompts included: once for all completions of a prompt in a chunk.
    pub trained_rows: usize,
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
            let graded = self.samples.iter().filter_map(|sample| sample.rewards.get(name)).collect();
            Some((*name, mean_of(graded)?))
        });
        RolloutReport {
            reward: over_groups(&|g| g.0),
            reward_std: over_groups(&|g| g.1),
            frac_reward_zero_std: over_groups(&|g| f64::from(g.1 == 0.0)),
            reward_verified: rewards(false),
            reward_learned: rewards(true),
            rewards: named.collect(),
            response_length: mean(&|s| s.completion.tokens.len() as f64),
            truncated: mean(&|s| f64::from(s.completion.finish == Finish::Length)),
            sampled_tokens: self.samples.iter().map(|s| s.completion.tokens.len()).sum(),
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
            self.clip_fraction += f64::from(term.clipped);
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
        for sum in [&mut self.kl, &mut self.clip_fraction] {
            *sum /= self.tokens.max(1.0);
        }
        for sum in [&mut self.loss, &mut self.entropy, &mut self.grad_norm] {
            *sum /= self.minibatches.max(1.0);
        }
        self
    }
}
