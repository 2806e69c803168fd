//! R1's stages (R1 report, 2.3): cold start → reasoning RL → rejection sampling and general data → fine-tuning of the base → RL over all
//! scenarios. Each is a stage of its own, the last one's model is `r1` itself.

use std::time::Instant;

use reseek_data::Problems;
use reseek_engine::{GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_model::{CacheMode, Weights};
use reseek_rl::{Pair, RewardModel};
use reseek_spec::SftRecipe;
use reseek_store::DirWriter;
use reseek_tasks::{
    Problem, accuracy, format, general, language_share_quoting, long_readable, preference_pair, reasoning,
    zero_completion,
};
use reseek_text::{Special, Tokenizer};
use reseek_train::{Example, Hyper, Learner, Length, Usage, run, sft_batch, sft_settings, sft_steps};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rl::{Extent, pair_tokens, reinforce};
use super::text::sft_row;
use super::{Chain, Work, context_fit, ended};
use crate::error::{Outcome, fail};
use crate::folder::answer;
use crate::opened::load;
use crate::style::{Style, prompt, style_of};

/// A question and an answer to learn from it, as they lie in samples.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lesson {
    pub question: String,
    pub answer: String,
}

/// Few long, readable chains on the base model.
pub fn cold_start(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("r1_cold_start")? else { return Ok(()) };
    let r = chain.recipe.r1.clone();
    let lessons = cold_start_lessons(&chain.problems, chain.seed, r.cold_start_samples);
    let recipe = SftRecipe {
        epochs: r.cold_start_epochs,
        lr: r.cold_start_lr,
        lr_final: r.cold_start_lr * r.cold_start_final_fraction,
        ..r.sft
    };
    let weights = chain.load_weights("extend")?;
    let (weights, usage) = fine_tune(chain, &work, weights, &lessons, &recipe)?;
    chain.finish_model(work, &weights, usage)
}

/// The worked solutions of `samples` problems, or of as many of them as have one. A run that has none is not begun.
pub fn cold_start_lessons(problems: &Problems, seed: u64, samples: usize) -> Vec<Lesson> {
    let lesson = |i| {
        let problem = problems.train(seed, "r1_cold_start", i);
        let answer = completion(&problem)?;
        Some(Lesson { question: problem.question, answer })
    };
    (0..samples as u64).filter_map(lesson).collect()
}

/// A cold-start answer: the long chain, then the answer. One line, as blanks between blocks are free of meaning.
fn completion(problem: &Problem) -> Option<String> {
    Some(zero_completion(&long_readable(problem)?, &problem.answer).trim_start().to_string())
}

/// RL with the language-consistency reward.
pub fn reasoning_rl(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("r1_rl")? else { return Ok(()) };
    let recipe = chain.recipe.r1.rl.clone();
    let weights = chain.load_weights("r1_cold_start")?;
    let (weights, usage) = reinforce(chain, &work, weights, &recipe, Extent::default())?;
    chain.finish_model(work, &weights, usage)
}

/// Samples of the RL model that are correct, well formed and in the question's language, and general data beside them.
pub fn rejection(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("r1_rejection")? else { return Ok(()) };
    let r = chain.recipe.r1.clone();
    let start = Instant::now();
    let teacher = load(&chain.path("r1_rl"), Some(chain.compute()))?;
    let mut problems: Vec<Problem> = Vec::new();
    let mut requests = Vec::new();
    for i in 0..r.rejection_questions as u64 {
        let problem = chain.problems.train(chain.seed, "r1_rejection", i);
        let prompt = prompt(&teacher.tokenizer, style_of("r1_rl"), &problem.question)?;
        // A question that fills the context cannot be answered.
        if prompt.len() < teacher.model.spec().max_position_embeddings {
            requests.push(Request { prompt, samples: r.rejection_samples });
            problems.push(problem);
        }
    }
    let eos = teacher.tokenizer.special(Special::Eos)?;
    let sampling = Sampling::on_policy(vec![eos], r.rl.max_new_tokens);
    let stream = StreamName { seed: chain.seed, purpose: "r1_rejection".to_string(), step: 0 };
    let progress = chain.ui.sampling("r1_rejection", problems.len());
    let options =
        GenerateOptions { mode: CacheMode::Expanded, on_token: Some(&progress), ..GenerateOptions::default() };
    let groups = generate(&teacher.model, &requests, &sampling, &stream, options)?;
    let sampled: usize = groups.iter().flatten().map(|c| c.tokens.len()).sum();

    let mut lessons = Vec::new();
    for (problem, group) in problems.iter().zip(&groups) {
        let mut kept: Vec<String> = Vec::new();
        for completion in group {
            let text = teacher.tokenizer.decode_visible(&completion.tokens).trim().to_string();
            let language = language_share_quoting(reasoning(&text), problem.language, &problem.question);
            if accuracy(&text, problem).is_correct()
                && format(&text)
                && language > r.rejection_language
                && !kept.contains(&text)
            {
                kept.push(text);
            }
        }
        // A question that is always answered would crowd out the others.
        kept.truncate(r.rejection_kept);
        lessons.extend(kept.into_iter().map(|answer| Lesson { question: problem.question.clone(), answer }));
    }
    let reasoning_lessons = lessons.len();
    lessons.extend((0..r.general_samples as u64).map(|i| {
        let exchange = general(chain.seed, "r1_rejection", i);
        Lesson { question: exchange.prompt, answer: exchange.response }
    }));
    if lessons.is_empty() {
        return fail(
            "r1_rejection: no sample was good enough and general_samples is 0. Sample more, or train r1_rl longer.",
        );
    }
    let rows: Vec<String> = lessons.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    let mut folder = DirWriter::create(work.dir.path())?;
    folder.write(LESSONS, (rows.join("\n") + "\n").as_bytes())?;
    folder.finish(json!({"reasoning": reasoning_lessons, "general": r.general_samples, "sampled": requests.len() * r.rejection_samples}))?;
    chain.ui.line(&format!(
        "  kept {reasoning_lessons} of {} samples, and {} general answers",
        requests.len() * r.rejection_samples,
        r.general_samples
    ));
    let usage = Usage {
        seconds: start.elapsed().as_secs_f64(),
        tokens: sampled as u64,
        flops: sampled as f64 * teacher.model.spec().forward_flops_per_token(64.0),
    };
    chain.finish(work, &["."], usage)
}

const LESSONS: &str = "lessons.jsonl";

/// The lessons that rejection sampling left.
pub fn lessons(chain: &Chain) -> Outcome<Vec<Lesson>> {
    let path = chain.path("r1_rejection").join(LESSONS);
    let text = std::fs::read_to_string(&path)
        .or_else(|error| fail(format!("cannot read {}: {error}. Run `reseek r1` first.", path.display())))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Fine-tuning of the base, from the start, on what rejection sampling left.
pub fn sft(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("r1_sft")? else { return Ok(()) };
    let recipe = chain.recipe.r1.sft.clone();
    let weights = chain.load_weights("extend")?;
    let lessons = lessons(chain)?;
    let (weights, usage) = fine_tune(chain, &work, weights, &lessons, &recipe)?;
    chain.finish_model(work, &weights, usage)
}

/// RL with rules for reasoning and a learned reward model for the rest.
pub fn all_scenarios(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("r1")? else { return Ok(()) };
    let r = chain.recipe.r1.clone();
    let weights = chain.load_weights("r1_sft")?;
    let reward_model = train_reward_model(chain, weights.clone())?;
    let judged = Extent { reward_model: Some(&reward_model), budget: None };
    let (weights, usage) = reinforce(chain, &work, weights, &r.rl_all, judged)?;
    chain.finish_model(work, &weights, usage)
}

/// Trained anew on every start of the stage: it is small, and the same each time.
fn train_reward_model(chain: &mut Chain, weights: Weights) -> Outcome<RewardModel> {
    let r = chain.recipe.r1.clone();
    let tokenizer = chain.tokenizer()?;
    let pair = |index: u64| -> Outcome<Pair> {
        let pair = preference_pair(chain.seed, index);
        Ok(Pair {
            chosen: pair_tokens(&tokenizer, &pair.prompt, &pair.chosen)?,
            rejected: pair_tokens(&tokenizer, &pair.prompt, &pair.rejected)?,
        })
    };
    let pairs = (0..r.reward_model_pairs as u64).map(pair).collect::<Outcome<Vec<_>>>()?;
    let mut model = RewardModel::new(weights);
    let batch = r.reward_model_batch.min(pairs.len().max(1));
    let hyper = Hyper {
        lr: r.reward_model_lr,
        beta1: r.reward_model_beta1,
        beta2: r.reward_model_beta2,
        weight_decay: r.reward_model_weight_decay,
        clip: r.reward_model_clip,
    };
    let mut last = 0.0;
    for step in 0..r.reward_model_steps {
        let from = step * batch % pairs.len().max(1);
        let to = (from + batch).min(pairs.len());
        let report = model.train_step(&pairs[from..to], chain.recipe.pretrain.lanes, &hyper, r.reward_model_head_lr)?;
        last = report.accuracy;
    }
    chain.ui.line(&format!("  reward model: {:.0} % of the last pairs in order", 100.0 * last));
    Ok(model)
}

/// Fine-tunes `weights` on lessons in `work`.
pub fn fine_tune(
    chain: &mut Chain,
    work: &Work,
    weights: Weights,
    lessons: &[Lesson],
    recipe: &SftRecipe,
) -> Outcome<(Weights, Usage)> {
    let tokenizer = chain.tokenizer()?;
    let examples = context_fit::fitting_examples(
        chain,
        examples(&tokenizer, style_of(work.dir.name()), lessons)?,
        weights.spec.max_position_embeddings,
    )?;
    let steps = sft_steps(examples.len(), recipe);
    let (seed, lanes) = (chain.seed, chain.recipe.pretrain.lanes);
    let purpose = format!("{}/order", work.dir.name());
    let spec = weights.spec.clone();
    let mut learner = chain.learner(weights);
    let mut step = |learner: &mut Learner, step: u64| {
        let batch = sft_batch(&examples, recipe, seed, &purpose, step);
        let settings = sft_settings(recipe, step, steps, lanes);
        learner.step(&batch, &settings).map(|report| sft_row(&report, &settings, &spec))
    };
    let usage = run(&work.dir, &mut learner, &mut step, Length::Steps(steps), &mut chain.ui).map_err(ended)?;
    Ok((learner.weights, usage))
}

pub fn examples(tokenizer: &Tokenizer, style: Style, lessons: &[Lesson]) -> Outcome<Vec<Example>> {
    let example = |lesson: &Lesson| {
        Ok(Example { prompt: prompt(tokenizer, style, &lesson.question)?, answer: answer(tokenizer, &lesson.answer)? })
    };
    lessons.iter().map(example).collect()
}
