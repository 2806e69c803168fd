//! What a policy answered to prompts, and what the answers earned.
//!
//! A [`Rollout`] is data: an update may take it at once, later or twice; several may be drawn until enough groups disagree; a sampler
//! outside of this program may fill one in.

use reseek_engine::{Completion, GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_model::CacheMode;
use reseek_spec::RlRecipe;
use reseek_tensor::pool::map_lanes;
use reseek_train::Learner;

use crate::RlError;

/// Where a step stands in its run: names its random streams.
#[derive(Clone, Copy, Debug)]
pub struct StepName<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The stage.
    pub stage: &'a str,
    /// The step, from 0.
    pub step: u64,
}

/// Graded samples of some prompts.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// The prompts, as tokens.
    pub prompts: Vec<Vec<u32>>,
    /// Samples in the order of their prompts: those of a prompt are a group.
    pub samples: Vec<Sample>,
    /// T at which they were drawn.
    pub temperature: f32,
    /// Optimizer steps that the policy had taken when it drew them.
    pub sampled_at: u64,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Number of its prompt.
    pub prompt: usize,
    /// Its tokens, and their log-probabilities under what they were drawn from.
    pub completion: Completion,
    /// What it earned.
    pub rewards: Rewards,
}

/// What a sample earned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewards {
    /// Each reward by its name; nothing where it could not be judged, or is not for this kind of question.
    pub named: Vec<(&'static str, Option<f64>)>,
    /// Their weighted sum; nothing where one that belongs to it could not be judged.
    pub total: Option<f64>,
    /// Whether a learned judge had a part in it.
    pub learned: bool,
}

impl Rewards {
    /// The reward called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.named.iter().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
    }
}

impl Rollout {
    /// The samples of each prompt that has any.
    pub fn groups(&self) -> impl Iterator<Item = &[Sample]> {
        self.samples.chunk_by(|a, b| a.prompt == b.prompt)
    }
}

/// Draws the recipe's samples of every prompt until a token of `stops`; `grade(number of the prompt, prompt, its completions)` is called
/// once for each prompt, from several threads.
///
/// # Errors
/// If sampling fails.
pub fn rollout(
    policy: &Learner,
    prompts: Vec<Vec<u32>>,
    stops: &[u32],
    recipe: &RlRecipe,
    name: &StepName,
    grade: impl Fn(usize, &[u32], &[Completion]) -> Vec<Rewards> + Sync + Send,
) -> Result<Rollout, RlError> {
    let requests: Vec<Request> =
        prompts.iter().map(|prompt| Request { prompt: prompt.clone(), samples: recipe.group }).collect();
    let temperature = recipe.temperature as f32;
    let sampling = Sampling { temperature, ..Sampling::on_policy(stops.to_vec(), recipe.max_new_tokens) };
    let stream = StreamName { seed: name.seed, purpose: format!("{}/sample", name.stage), step: name.step };
    let options = GenerateOptions { mode: CacheMode::Expanded, ..GenerateOptions::default() };
    let completions = generate(&policy.model, &requests, &sampling, &stream, options)?;
    let groups = map_lanes(completions.into_iter().enumerate().collect::<Vec<_>>(), |(prompt, completions)| {
        let rewards = grade(prompt, &prompts[prompt], &completions);
        assert_eq!(rewards.len(), completions.len(), "rewards for each completion");
        let sample = |(completion, rewards)| Sample { prompt, completion, rewards };
        completions.into_iter().zip(rewards).map(sample).collect::<Vec<_>>()
    });
    let samples = groups.concat();
    Ok(Rollout { prompts, samples, temperature, sampled_at: policy.optimizer.step })
}
