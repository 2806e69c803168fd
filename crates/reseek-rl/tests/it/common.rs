//! The smallest policies, and steps on them.

use reseek_engine::Completion;
use reseek_model::{Model, Weights};
use reseek_rl::{Rewards, RlError, RolloutReport, StepName, UpdateReport, UpdateSettings, rollout, update};
use reseek_spec::{ModelSpec, RlRecipe, Scale, resolve};
use reseek_train::Learner;

pub const VOCAB: usize = 32;
/// Ends a completion.
pub const STOP: u32 = 1;

pub fn specs() -> [(&'static str, ModelSpec); 2] {
    [("v3", ModelSpec::ladder(Scale::Smoke, VOCAB)), ("student", ModelSpec::student(Scale::Smoke, VOCAB))]
}

pub fn weights(spec: ModelSpec) -> Weights {
    Weights::init(spec, 1).unwrap()
}

pub fn policy(spec: ModelSpec) -> Learner {
    Learner::new(weights(spec))
}

pub fn recipe() -> RlRecipe {
    RlRecipe {
        group: 8,
        max_new_tokens: 6,
        lr: 5e-3,
        kl_beta: 0.0,
        ..resolve(Scale::Smoke, &[], &[]).unwrap().recipe.zero
    }
}

pub const PROMPTS: usize = 4;

pub fn prompts() -> Vec<Vec<u32>> {
    (0..PROMPTS as u32).map(|i| vec![0, 9, 20 + i]).collect()
}

/// One reward, whose sum is itself.
pub fn grade(reward: Option<f64>) -> Rewards {
    Rewards { named: vec![("accuracy", reward)], total: reward, learned: false }
}

/// What a step reports.
#[derive(Debug)]
pub struct Report {
    pub rollout: RolloutReport,
    pub update: UpdateReport,
}

/// A step on [`prompts`]; the reference, if there is one, counts as copied just now.
pub fn step(
    policy: &mut Learner,
    reference: Option<&Model>,
    recipe: &RlRecipe,
    step: u64,
    grade: impl Fn(usize, &Completion) -> Rewards + Sync + Send,
) -> Result<Report, RlError> {
    let settings = UpdateSettings::new(recipe, recipe.lr, 2, reference.is_some())?;
    step_on(prompts(), STOP, policy, reference, recipe, (step, settings), grade)
}

/// A step on any prompts.
pub fn step_on(
    prompts: Vec<Vec<u32>>,
    stop: u32,
    policy: &mut Learner,
    reference: Option<&Model>,
    recipe: &RlRecipe,
    (step, settings): (u64, UpdateSettings),
    grade: impl Fn(usize, &Completion) -> Rewards + Sync + Send,
) -> Result<Report, RlError> {
    let name = StepName { seed: 1, stage: "test", step };
    let rollout =
        rollout(policy, prompts, &[stop], recipe, &name, |i, _, group| group.iter().map(|c| grade(i, c)).collect())?;
    let update = update(policy, reference, &rollout, &settings, &name)?;
    Ok(Report { rollout: rollout.report(), update })
}
