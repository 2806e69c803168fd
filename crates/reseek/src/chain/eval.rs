//! Every model of the run on the same held-out problems and text.

use std::collections::BTreeMap;
use std::time::Instant;

use reseek_data::Heldout;
use reseek_engine::Sampling;
use reseek_eval::{
    EvalSettings, ProblemResult, bits_per_byte, judge, language_share_of, majority_gains, pass_at_k, sample, score,
};
use reseek_spec::stages::examined;
use reseek_spec::{EvalRecipe, EvalSplit};
use reseek_store::summary::{PassAtK, TaskScore};
use reseek_store::{DirWriter, chain_hash};
use reseek_tasks::{Problem, Split, extraction};
use reseek_text::Special;
use reseek_train::Usage;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Chain, context_fit};
use crate::error::{Outcome, fail};
use crate::opened::load;
use crate::post::score::verdict;
use crate::style::{prompt, style_of};

/// What evaluation found of a model: its scores, and per problem what comparisons need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    pub tasks: BTreeMap<String, TaskScore>,
    /// For k from 1 to the samples of a problem.
    pub pass_at_k: Vec<PassAtK>,
    pub bits_per_byte: f64,
    pub language_match: f64,
    /// Share of correct samples of each problem; nothing where none could be judged.
    pub passes: Vec<Option<f64>>,
    /// Share of the question's language of each problem.
    pub languages: Vec<Option<f64>>,
    /// What the majority of a problem's answers gains over the mean answer.
    #[serde(default)]
    pub majority_gains: Vec<f64>,
}

/// Samples and scores all models.
pub fn eval(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("eval")? else { return Ok(()) };
    let recipe = chain.recipe.eval.clone();
    let start = Instant::now();
    let split = split(&recipe);
    let problems = heldout_problems(chain);
    if problems.is_empty() {
        return fail(no_problems(split));
    }
    let (problems, left_out) = context_fit::asked_of_all(chain, &*chain.tokenizer()?, problems)?;
    if left_out > 0 {
        chain.ui.line(&format!(
            "  {left_out} {} problems are longer than the student's context and left out",
            split.name()
        ));
    }
    // The models share a tokenizer. Windows of the length of pre-training, so that a longer context gives no model an advantage.
    let text = Heldout::new(&chain.corpus, &*chain.tokenizer()?, chain.recipe.pretrain.seq_len, recipe.text_bytes)?;
    if text.bytes() == 0 {
        return fail("eval: the corpus has no held-out text. Give it more documents.");
    }
    let mut usage = Usage::default();
    let mut folder = DirWriter::create(work.dir.path())?;
    let mut samples = String::new();
    for (model, stage) in examined() {
        let name = model.name;
        if chain.ui.stopped() {
            return Err(crate::error::Failure::Interrupted("stopped in eval".to_string()));
        }
        let (card, results, flops) = examine(chain, name, stage.name, &problems, &text)?;
        usage.flops += flops;
        let tokens: usize = results.iter().flat_map(|r| &r.answers).map(|a| a.tokens).sum();
        usage.tokens += tokens as u64;
        let heldout = &card.tasks["heldout"];
        chain.ui.line(&format!(
            "  {name:<11} pass@1 {:.3} ({:.3}–{:.3}){}  cons@{} {:.3}  {:.3} bits/byte  language {:.3}",
            heldout.pass_at_1,
            heldout.ci_low,
            heldout.ci_high,
            later(&card.pass_at_k),
            heldout.k,
            heldout.cons_at_k,
            card.bits_per_byte,
            card.language_match,
        ));
        folder.write(&format!("{name}.json"), &serde_json::to_vec_pretty(&card)?)?;
        show(name, &problems, &results, &mut samples)?;
    }
    folder.write("samples.jsonl", samples.as_bytes())?;
    // Two runs that were asked the same can be compared problem by problem.
    let asked: Vec<&str> = problems.iter().map(|problem| problem.question.as_str()).collect();
    let questions = chain_hash(&asked);
    folder.finish(json!({"split": split.name(), "problems": problems.len(), "k": recipe.k, "questions": questions}))?;
    usage.seconds = start.elapsed().as_secs_f64();
    chain.finish(work, &["."], usage)
}

/// The problems that every model of the run is asked.
pub fn heldout_problems(chain: &Chain) -> Vec<Problem> {
    let recipe = &chain.whole.eval;
    chain.problems.heldout(recipe.problems_seed, split(recipe), recipe.problems)
}

/// What is said where the data have nothing to measure on.
pub fn no_problems(split: Split) -> String {
    format!(
        "The data have no problems in the {0} split. Give more problems, or measure on the other split with --set eval.split=\"{1}\".",
        split.name(),
        if split == Split::Test { "development" } else { "test" },
    )
}

/// The split that a recipe measures on.
pub fn split(recipe: &EvalRecipe) -> Split {
    match recipe.split {
        EvalSplit::Development => Split::Development,
        EvalSplit::Test => Split::Test,
    }
}

/// pass@4 and pass@16, as far as there are samples.
fn later(at: &[PassAtK]) -> String {
    at.iter().filter(|at| [4, 16].contains(&at.k)).map(|at| format!("  pass@{} {:.3}", at.k, at.mean)).collect()
}

/// Problems whose samples are kept to be read.
const SHOWN: usize = 24;

/// The card of the model that `stage` left and evaluation calls `name`, its answers, and the operations that they and the held-out text took.
fn examine(
    chain: &Chain,
    name: &str,
    stage: &str,
    problems: &[Problem],
    text: &Heldout,
) -> Outcome<(Card, Vec<ProblemResult>, f64)> {
    let recipe = &chain.recipe.eval;
    let loaded = load(&chain.path(stage), Some(chain.compute()))?;
    let tokenizer = &loaded.tokenizer;
    let sampling = Sampling {
        temperature: recipe.temperature as f32,
        top_k: 0,
        top_p: recipe.top_p as f32,
        stop: vec![tokenizer.special(Special::Eos)?],
        max_new_tokens: recipe.max_new_tokens,
    };
    let prompts =
        problems.iter().map(|p| prompt(tokenizer, style_of(stage), &p.question)).collect::<Outcome<Vec<_>>>()?;
    let asked: usize = prompts.iter().map(Vec::len).sum();
    let purpose = "eval".to_string();
    let settings = EvalSettings { sampling, k: recipe.k, seed: chain.seed, purpose, part: 0 };
    let samples = sample(
        &loaded.model,
        prompts,
        |ids| tokenizer.decode_visible(ids),
        &settings,
        Some(&chain.ui.sampling(&format!("eval of {name}"), problems.len())),
    )?;
    let results = judge(problems, &samples, extraction("tags").expect("an extraction of the table"));
    let windows: Vec<_> = text.windows.iter().map(|w| (w.tokens.clone(), w.targets.clone())).collect();
    let answered: usize = results.iter().flat_map(|r| &r.answers).map(|a| a.tokens).sum();
    let read: usize = windows.iter().map(|(tokens, _): &(Vec<u32>, Vec<u32>)| tokens.len()).sum();
    let spec = loaded.model.spec();
    let flops = spec.forward_flops_per_token(64.0) * (answered + asked) as f64
        + spec.forward_flops_per_token(chain.recipe.pretrain.seq_len as f64 / 2.0) * read as f64;
    let card = Card {
        tasks: score(&results),
        pass_at_k: pass_at_k(&results),
        bits_per_byte: bits_per_byte(&loaded.model, windows, text.bytes()),
        language_match: language_share_of(&results).mean,
        majority_gains: majority_gains(&results),
        passes: results.iter().map(ProblemResult::pass).collect(),
        languages: results
            .iter()
            .map(|r| Some(r.answers.iter().map(|a| a.language_share).sum::<f64>() / r.answers.len().max(1) as f64))
            .collect(),
    };
    Ok((card, results, flops))
}

fn show(model: &str, problems: &[Problem], results: &[ProblemResult], out: &mut String) -> Outcome<()> {
    for (problem, result) in problems.iter().zip(results).take(SHOWN) {
        let answer = &result.answers[0];
        let (outcome, _) = verdict(&answer.outcome);
        let row = json!({
            "model": model, "family": problem.family, "question": problem.question, "gold": problem.answer,
            "completion": answer.completion, "outcome": outcome,
        });
        out.push_str(&serde_json::to_string(&row)?);
        out.push('\n');
    }
    Ok(())
}
