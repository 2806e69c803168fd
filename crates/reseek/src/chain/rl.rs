//! Stages of reinforcement learning: the prompts, the rewards and the loop around the GRPO step.

use reseek_engine::Completion;
use reseek_model::{Model, Weights};
use reseek_rl::{Grade, RewardModel, RlError, StepName, StepReport, grpo_step};
use reseek_spec::{ModelSpec, RlRecipe};
use reseek_tasks::{Language, Problem, accuracy, format, general, language_share_quoting, reasoning};
use reseek_tensor::random::Stream;
use reseek_text::{Special, Tokenizer};
use reseek_train::{Extra, Learner, Length, StepRow, Usage, run};
use serde_json::{Map, json};

use super::{Chain, Work, ended};
use crate::error::{Outcome, fail};
use crate::folder::answer;
use crate::style::{prompt, style_of};

/// What a question asks for, and so how an answer is graded.
enum Ask {
    /// Verified by rule.
    Reasoning(Box<Problem>),
    /// Graded by the learned reward model.
    General { prompt: String, language: Language },
}

/// R1-Zero: GRPO straight on the base model.
pub fn zero(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("zero")? else { return Ok(()) };
    let recipe = chain.recipe.zero.clone();
    let weights = chain.load_weights("extend")?;
    let (weights, usage) = reinforce(chain, &work, weights, &recipe, None, None)?;
    chain.finish_model(work, &weights, usage)
}

/// Runs a stage of RL on `weights`; with `budget`, for that many operations and the recipe's steps at most.
pub fn reinforce(
    chain: &mut Chain,
    work: &Work,
    weights: Weights,
    recipe: &RlRecipe,
    reward_model: Option<&RewardModel>,
    budget: Option<f64>,
) -> Outcome<(Weights, Usage)> {
    let tokenizer = chain.tokenizer()?;
    let eos = tokenizer.special(Special::Eos)?;
    let stage = work.dir.name().to_string();
    let style = style_of(&stage);
    let (seed, lanes, problems) = (chain.seed, chain.recipe.pretrain.lanes, chain.problems.clone());
    let spec = weights.spec.clone();
    let most = recipe.steps as u64;
    let length = budget.map_or(Length::Steps(most), |budget| Length::Operations { budget, most });
    let mut learner = chain.learner(weights);
    let mut extra = Extra::default();
    let mut reference: Option<Model> = None;
    let usage = run(&work.dir, &mut learner, &mut extra, length, &mut chain.ui, |learner, extra, step| {
        let fresh = step.is_multiple_of(recipe.reference_interval as u64);
        if fresh {
            extra.buffers.insert(REFERENCE.to_string(), learner.weights.data.clone());
            extra.buffers.insert(REFERENCE_BIASES.to_string(), learner.weights.buffers.clone());
        }
        if fresh || reference.is_none() {
            reference = Some(reference_model(learner, extra));
        }
        let draw = |i: u64| {
            let mut attempts = (0..ATTEMPTS).map(|attempt| {
                let ask = ask(&problems, seed, &stage, recipe, step, i, attempt);
                prompt(&tokenizer, style, ask.text()).map(|prompt| (ask, prompt))
            });
            // A question that fills the context gives way to another one.
            let fits = |drawn: &Outcome<(Ask, Vec<u32>)>| {
                drawn.as_ref().map_or(true, |(_, prompt)| prompt.len() < spec.max_position_embeddings)
            };
            attempts.find(fits).unwrap_or_else(|| fail(format!(
                "no problem of {ATTEMPTS} fits into the model's context of {} tokens. Raise pretrain.seq_len, or give shorter \
                 problems.",
                spec.max_position_embeddings
            )))
        };
        let drawn: Vec<(Ask, Vec<u32>)> =
            (0..recipe.questions as u64).map(draw).collect::<Outcome<_>>().map_err(text_error)?;
        let (asks, prompts): (Vec<Ask>, Vec<Vec<u32>>) = drawn.into_iter().unzip();
        let name = StepName {
            seed,
            stage: &stage,
            step,
            fresh_reference: fresh,
            lr: recipe.lr * ((step + 1) as f64 / recipe.warmup_steps.max(1) as f64).min(1.0),
            lanes,
        };
        let grade = |i: usize, completion: &Completion| {
            grade(&asks[i], completion, &tokenizer, recipe, &prompts[i], reward_model)
        };
        let reference = (recipe.kl_beta > 0.0).then_some(reference.as_ref()).flatten();
        let report = grpo_step(learner, reference, &prompts, grade, eos, recipe, &name)?;
        Ok::<_, RlError>(row(&report, &name, &spec, prompts.iter().map(Vec::len).sum::<usize>()))
    })
    .map_err(ended)?;
    Ok((learner.weights, usage))
}

/// Problems that are tried for one question before the stage gives up.
const ATTEMPTS: u64 = 1000;

const REFERENCE: &str = "reference";
const REFERENCE_BIASES: &str = "reference_biases";

fn reference_model(learner: &Learner, extra: &Extra) -> Model {
    let mut weights = learner.weights.clone();
    if let (Some(data), Some(biases)) = (extra.buffers.get(REFERENCE), extra.buffers.get(REFERENCE_BIASES)) {
        weights.data.copy_from_slice(data);
        weights.buffers.copy_from_slice(biases);
    }
    Model::forward_only(&weights)
}

fn ask(
    problems: &reseek_data::Problems,
    seed: u64,
    stage: &str,
    recipe: &RlRecipe,
    step: u64,
    i: u64,
    attempt: u64,
) -> Ask {
    let index = step * recipe.questions as u64 + i;
    let general_turn = step as usize + recipe.preference_steps >= recipe.steps;
    let mut stream = Stream::new(seed, &format!("{stage}/ask"), step, i);
    if general_turn && stream.uniform() < recipe.general_share {
        let exchange = general(seed, stage, index);
        return Ask::General { prompt: exchange.prompt, language: exchange.language };
    }
    Ask::Reasoning(Box::new(problems.train(seed, &format!("{stage}/{attempt}"), index)))
}

impl Ask {
    fn text(&self) -> &str {
        match self {
            Ask::Reasoning(problem) => &problem.question,
            Ask::General { prompt, .. } => prompt,
        }
    }
}

fn grade(
    ask: &Ask,
    completion: &Completion,
    tokenizer: &Tokenizer,
    recipe: &RlRecipe,
    prompt: &[u32],
    reward_model: Option<&RewardModel>,
) -> Grade {
    let text = tokenizer.decode_visible(&completion.tokens);
    match ask {
        Ask::Reasoning(problem) => {
            let language = language_share_quoting(reasoning(&text), problem.language, &problem.question);
            let accuracy = accuracy(&text, problem).reward().map(f64::from);
            let format = f64::from(u8::from(format(&text)));
            let reward = accuracy.map(|accuracy| {
                recipe.accuracy_weight * accuracy + recipe.format_weight * format + recipe.language_weight * language
            });
            Grade { reward, accuracy, format, language }
        }
        Ask::General { prompt: question, language } => {
            let language = language_share_quoting(&text, *language, question);
            let score = reward_model.map(|model| model.score(&[prompt, &completion.tokens].concat()).tanh() as f64);
            let reward = score.map(|score| recipe.preference_weight * score + recipe.language_weight * language);
            Grade { reward, accuracy: None, format: 1.0, language }
        }
    }
}

fn row(report: &StepReport, name: &StepName, spec: &ModelSpec, prompt_tokens: usize) -> StepRow {
    let mut metrics = Map::new();
    let numbers = [
        ("lr", name.lr),
        ("loss", report.loss),
        ("reward", report.reward),
        ("reward_std", report.reward_std),
        ("accuracy", report.accuracy),
        ("format", report.format),
        ("language", report.language),
        ("response_length", report.response_length),
        ("truncated", report.truncated),
        ("entropy", report.entropy),
        ("kl", report.kl),
        ("clip_fraction", report.clip_fraction),
        ("ratio_max_first", 1.0 + report.first_ratio_gap),
        ("frac_reward_zero_std", report.frac_reward_zero_std),
        ("grad_norm", report.grad_norm),
    ];
    metrics.insert("tokens".into(), json!(report.sampled_tokens + report.trained_rows));
    numbers.into_iter().for_each(|(key, value)| {
        metrics.insert(key.into(), json!(value));
    });
    // Where a reward model grades a part, the mean moves with that part's share: each kind is a curve of its own.
    if let Some(learned) = report.reward_learned {
        metrics.insert("reward_learned".into(), json!(learned));
        metrics.insert("reward_verified".into(), json!(report.reward_verified));
    }
    // Sampling and the reference are one forward pass each, an update is three.
    let forward = spec.forward_flops_per_token(64.0);
    let flops = forward * (report.sampled_tokens + prompt_tokens + 4 * report.trained_rows) as f64;
    StepRow { metrics, tokens: (report.sampled_tokens + report.trained_rows) as u64, flops }
}

fn text_error(failure: crate::error::Failure) -> RlError {
    let message = match failure {
        crate::error::Failure::Error(message) | crate::error::Failure::Interrupted(message) => message,
        crate::error::Failure::No => "refused".to_string(),
    };
    RlError::Prompt { message }
}

/// The tokens of a pair's answers, for the reward model.
pub fn pair_tokens(tokenizer: &Tokenizer, question: &str, text: &str) -> Outcome<Vec<u32>> {
    // The reward model grades R1's last stage.
    let mut ids = prompt(tokenizer, style_of("r1"), question)?;
    ids.extend(answer(tokenizer, text)?);
    Ok(ids)
}
