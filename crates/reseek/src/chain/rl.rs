//! Stages of reinforcement learning: the questions, the reference, and rollout and update in turn.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reseek_engine::{Completion, Finish};
use reseek_model::{Model, Weights};
use reseek_rl::rewards::{Answer, Question, grade};
use reseek_rl::{
    Drawn, RewardModel, Rollout, RolloutReport, StepName, UpdateReport, UpdateSettings, advantages, draw, update,
};
use reseek_spec::{ModelSpec, RlRecipe};
use reseek_tensor::random::Stream;
use reseek_text::Tokenizer;
use reseek_train::{Learner, Length, Saved, StepRow, Steps, Usage, run};
use serde_json::{Map, Value, json};

use super::asker::{Asker, OwnForm};
use super::step::StepError;
use super::{Chain, Work, ended};
use crate::error::Outcome;
use crate::folder::answer;
use crate::style::{prompt, style_of};

/// R1-Zero: GRPO straight on the base model.
pub fn zero(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("zero")? else { return Ok(()) };
    let recipe = chain.recipe.zero.clone();
    let weights = chain.load_weights("extend")?;
    let (weights, usage) = reinforce(chain, &work, weights, &recipe, Extent::default())?;
    chain.finish_model(work, &weights, usage)
}

/// What a stage of RL has beside its recipe.
#[derive(Clone, Copy, Default)]
pub struct Extent<'a> {
    /// The judge of general answers.
    pub reward_model: Option<&'a RewardModel>,
    /// Operations that end it; the recipe's steps are then the most.
    pub budget: Option<f64>,
}

/// Runs a stage of RL on `weights`.
pub fn reinforce(
    chain: &mut Chain,
    work: &Work,
    weights: Weights,
    recipe: &RlRecipe,
    extent: Extent,
) -> Outcome<(Weights, Usage)> {
    let tokenizer = chain.tokenizer()?;
    let most = recipe.steps as u64;
    let length = extent.budget.map_or(Length::Steps(most), |budget| Length::Operations { budget, most });
    let form = OwnForm::new(&tokenizer, style_of(work.dir.name()))?;
    let asker = Asker {
        problems: &chain.problems.clone(),
        form: &form,
        stage: work.dir.name(),
        seed: chain.seed,
        context: weights.spec.max_position_embeddings,
    };
    let mut stage = RlStage::new(asker, recipe, extent.reward_model, chain.recipe.pretrain.lanes);
    let mut learner = chain.learner(weights);
    let usage = run(&work.dir, &mut learner, &mut stage, length, &mut chain.ui).map_err(ended)?;
    Ok((learner.weights, usage))
}

/// Rollout and update in turn, whoever the policy is.
pub struct RlStage<'a> {
    asker: Asker<'a>,
    recipe: &'a RlRecipe,
    reward_model: Option<&'a RewardModel>,
    lanes: usize,
    reference: Option<Reference>,
    /// Whether steps leave what they saw, to be read by people.
    is_watched: bool,
    seen: Value,
}

impl<'a> RlStage<'a> {
    /// A stage before its first step.
    pub fn new(asker: Asker<'a>, recipe: &'a RlRecipe, reward_model: Option<&'a RewardModel>, lanes: usize) -> Self {
        Self { asker, recipe, reward_model, lanes, reference: None, is_watched: false, seen: Value::Null }
    }

    /// The same, whose steps leave what they saw.
    pub fn watched(self) -> Self {
        Self { is_watched: true, ..self }
    }

    /// The groups of the last step of a watched stage: what was asked, and each answer with its rewards and its advantage.
    pub fn take_seen(&mut self) -> Value {
        self.seen.take()
    }
}

/// The policy of some steps ago, to which the KL term holds: its values, and the same as a model.
struct Reference {
    weights: Weights,
    model: Model,
}

const REFERENCE: &str = "reference";
const REFERENCE_BIASES: &str = "reference_biases";

impl Steps for RlStage<'_> {
    type Error = StepError;

    fn step(&mut self, learner: &mut Learner, step: u64) -> Result<StepRow, StepError> {
        let recipe = self.recipe;
        let fresh = step.is_multiple_of(recipe.reference_interval as u64) && self.move_reference(&learner.weights);
        let mut asked: Vec<Question> = Vec::new();
        let ask = |round: u64, places: &[usize]| {
            let questions = self.asker.questions(recipe, step, round, places)?;
            if self.is_watched {
                asked.extend(questions.iter().map(|(question, _)| question.clone()));
            }
            Ok::<_, StepError>(questions)
        };
        let grade = |i: usize, question: &Question, prompt: &[u32], completions: &[Completion]| {
            let texts: Vec<String> = completions.iter().map(|c| self.asker.form.text(&c.tokens)).collect();
            let mut lots = Stream::new(self.asker.seed, &format!("{}/lots", self.asker.stage), step, i as u64);
            let answers = completions.iter().zip(&texts).map(|(completion, text)| Answer {
                question,
                prompt,
                tokens: &completion.tokens,
                text,
                limit: recipe.max_new_tokens,
                lot: lots.uniform(),
                extraction: self.asker.form.extraction(),
                reward_model: self.reward_model,
            });
            grade(&answers.collect::<Vec<_>>(), &recipe.rewards)
        };
        let name = StepName { seed: self.asker.seed, stage: self.asker.stage, step };
        let drawn = draw(learner, self.asker.form.stops(), recipe, &name, ask, grade)?;

        let lr = recipe.lr * ((step + 1) as f64 / recipe.warmup_steps.max(1) as f64).min(1.0);
        let settings = UpdateSettings::new(recipe, lr, self.lanes, fresh)?;
        let reference = self.reference.as_ref().map(|reference| &reference.model);
        let taken = drawn.taken();
        if self.is_watched {
            self.seen = self.groups(&drawn, &taken, &asked, &settings);
        }
        let updated = update(learner, reference, &taken, &settings, &name)?;
        let mut row = row(&drawn, &updated, lr, &learner.weights.spec);
        if recipe.dynamic_sampling > 0 {
            row.metrics.insert("prompts_drawn".into(), json!(drawn.all.prompts.len()));
            row.metrics.insert("frac_prompts_mixed".into(), json!(drawn.share_mixed()));
        }
        Ok(row)
    }

    fn save(&self) -> Saved<'_> {
        let buffers = self
            .reference
            .iter()
            .flat_map(|Reference { weights, .. }| [(REFERENCE, &weights.data), (REFERENCE_BIASES, &weights.buffers)]);
        let buffers = buffers.map(|(name, values)| (name.to_string(), Cow::Borrowed(values.as_slice()))).collect();
        Saved { buffers, ..Saved::default() }
    }

    fn restore(&mut self, learner: &Learner, mut saved: Saved<'static>) -> Result<(), StepError> {
        if !self.needs_reference() {
            return Ok(());
        }
        let mut weights = learner.weights.clone();
        for (name, values) in [(REFERENCE, &mut weights.data), (REFERENCE_BIASES, &mut weights.buffers)] {
            match saved.buffers.remove(name) {
                Some(saved) if saved.len() == values.len() => values.copy_from_slice(&saved),
                _ => return Err(StepError::Reference),
            }
        }
        self.reference = Some(Reference::new(weights));
        Ok(())
    }
}

impl RlStage<'_> {
    /// What a step learns from, group by group.
    fn groups(&self, drawn: &Drawn, taken: &Rollout, asked: &[Question], settings: &UpdateSettings) -> Value {
        let mut advantages = advantages(taken, settings).into_iter();
        let groups = taken.groups().zip(&drawn.taken).map(|(group, &prompt)| {
            let samples: Vec<Value> = group
                .iter()
                .map(|sample| {
                    json!({
                        "answer": self.asker.form.text(&sample.completion.tokens), "tokens": sample.completion.tokens.len(),
                        "truncated": sample.completion.finish == Finish::Length, "reward": sample.rewards.total,
                        "rewards": sample.rewards.named.iter().filter(|(_, value)| value.is_some()).cloned().collect::<BTreeMap<_, _>>(),
                        "advantage": advantages.next(),
                    })
                })
                .collect();
            let question = &asked[prompt];
            let gold = match question {
                Question::Problem(problem) => Some(&problem.answer),
                Question::General { .. } => None,
            };
            json!({"question": question.text(), "gold": gold, "samples": samples})
        });
        groups.collect()
    }

    /// Without a KL term nothing looks at it, and it takes as much memory as a model.
    fn needs_reference(&self) -> bool {
        self.recipe.kl_beta > 0.0
    }

    /// Moves the reference to the policy; whether it is now its copy. The first one always is.
    fn move_reference(&mut self, policy: &Weights) -> bool {
        if !self.needs_reference() {
            return false;
        }
        let alpha = self.recipe.reference_mixup_alpha;
        let old = self.reference.take().filter(|_| alpha < 1.0);
        let is_copy = old.is_none();
        let weights = old.map_or_else(|| policy.clone(), |old| mixed(old.weights, policy, alpha as f32));
        self.reference = Some(Reference::new(weights));
        is_copy
    }
}

/// α·π + (1 − α)·π_ref (TR-DPO, arXiv 2404.09656), in the form that leaves equal values as they are.
fn mixed(mut reference: Weights, policy: &Weights, alpha: f32) -> Weights {
    let mix = |(old, new): (&mut f32, &f32)| *old += alpha * (new - *old);
    reference.data.iter_mut().zip(&policy.data).for_each(mix);
    reference.buffers.iter_mut().zip(&policy.buffers).for_each(mix);
    reference
}

impl Reference {
    fn new(weights: Weights) -> Self {
        Self { model: Model::forward_only(&weights), weights }
    }
}

fn row(drawn: &Drawn, updated: &UpdateReport, lr: f64, spec: &ModelSpec) -> StepRow {
    let rollout = drawn.all.report();
    let tokens = rollout.sampled_tokens + updated.trained_rows;
    let mut metrics = Map::from_iter([("tokens".to_string(), json!(tokens))]);
    let before = [("lr", lr), ("loss", updated.loss), ("reward", rollout.reward), ("reward_std", rollout.reward_std)];
    let after = [
        ("response_length", rollout.response_length),
        ("truncated", rollout.truncated),
        ("entropy", updated.entropy),
        ("kl", updated.kl),
        ("clip_fraction", updated.clip_fraction),
        ("ratio_max_first", 1.0 + updated.first_ratio_gap),
        ("frac_reward_zero_std", rollout.frac_reward_zero_std),
        ("grad_norm", updated.grad_norm),
    ];
    let numbers = before.into_iter().chain(rollout.rewards.iter().copied()).chain(after);
    numbers.for_each(|(key, value)| {
        metrics.insert(key.into(), json!(value));
    });
    metrics.extend(under_trls_names(&rollout, updated));
    // Where a reward model grades a part, the mean moves with that part's share: each kind is a curve of its own.
    if let Some(learned) = rollout.reward_learned {
        metrics.insert("reward_learned".into(), json!(learned));
        metrics.insert("reward_verified".into(), json!(rollout.reward_verified));
    }
    // Sampling and the reference are one forward pass each, an update is three.
    let forward = spec.forward_flops_per_token(64.0);
    let prompt_tokens = drawn.all.prompts.iter().map(Vec::len).sum::<usize>();
    let rows = rollout.sampled_tokens + prompt_tokens + updated.batch_rows + 3 * updated.trained_rows;
    StepRow { metrics, tokens: tokens as u64, flops: forward * rows as f64 }
}

/// Figures that TRL has too and that we have under no name or another, as it calls them.
fn under_trls_names(rollout: &RolloutReport, updated: &UpdateReport) -> Map<String, Value> {
    let (shortest, longest) = rollout.response_lengths;
    let own = [
        ("completions/mean_length", rollout.response_length),
        ("completions/min_length", shortest as f64),
        ("completions/max_length", longest as f64),
        ("completions/clipped_ratio", rollout.truncated),
        ("clip_ratio/low_mean", updated.clip_low),
        ("clip_ratio/high_mean", updated.clip_high),
        ("clip_ratio/region_mean", updated.clip_fraction),
    ];
    let of_rewards = |figure: &'static str, rewards: &[(&'static str, f64)]| -> Vec<(String, f64)> {
        rewards.iter().map(|(name, value)| (format!("rewards/{name}/{figure}"), *value)).collect()
    };
    let own = own.into_iter().map(|(name, value)| (name.to_string(), value));
    let all = own.chain(of_rewards("mean", &rollout.rewards)).chain(of_rewards("std", &rollout.rewards_std));
    all.map(|(name, value)| (name, json!(value))).collect()
}

/// The tokens of a pair's answers, for the reward model.
pub fn pair_tokens(tokenizer: &Tokenizer, question: &str, text: &str) -> Outcome<Vec<u32>> {
    // The reward model grades R1's last stage.
    let mut ids = prompt(tokenizer, style_of("r1"), question)?;
    ids.extend(answer(tokenizer, text)?);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use reseek_spec::Scale;

    use super::*;

    #[test]
    fn a_mixed_reference_lies_between_and_equal_values_stay() {
        let weights = |seed| Weights::init(ModelSpec::ladder(Scale::Smoke, 64), seed).unwrap();
        let (old, mut policy) = (weights(1), weights(2));
        policy.buffers.iter_mut().for_each(|bias| *bias += 0.5);
        let got = mixed(old.clone(), &policy, 0.6);
        let check = |got: &[f32], old: &[f32], new: &[f32]| {
            for (i, got) in got.iter().enumerate() {
                let expected = 0.6 * f64::from(new[i]) + 0.4 * f64::from(old[i]);
                assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} for {expected}");
            }
        };
        check(&got.data, &old.data, &policy.data);
        check(&got.buffers, &old.buffers, &policy.buffers);
        let same = mixed(policy.clone(), &policy, 0.6);
        assert!(same.data == policy.data && same.buffers == policy.buffers);
    }
}
