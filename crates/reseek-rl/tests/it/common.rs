//! The smallest policies, and steps on them.

use reseek_engine::Completion;
use reseek_model::{Model, Weights};
use reseek_rl::{Grade, RlError, StepName, StepReport, grpo_step};
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

pub fn grade(reward: Option<f64>) -> Grade {
    Grade { reward, accuracy: reward, format: 1.0, language: 1.0 }
}

/// A step on [`prompts`]; the reference, if there is one, counts as copied just now.
pub fn step(
    policy: &mut Learner,
    reference: Option<&Model>,
    recipe: &RlRecipe,
    step: u64,
    grade: impl Fn(usize, &Completion) -> Grade + Sync + Send,
) -> Result<StepReport, RlError> {
    let name = StepName { seed: 1, stage: "test", step, fresh_reference: reference.is_some(), lr: recipe.lr, lanes: 2 };
    grpo_step(policy, reference, &prompts(), grade, STOP, recipe, &name)
}
