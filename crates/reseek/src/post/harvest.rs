//! `reseek sample`: a model's right answers to problems, as conversations to learn from (rejection sampling: R1 report, 2.3.3), and the
//! problems that it solves sometimes.

use std::collections::BTreeSet;
use std::sync::Arc;

use reseek_engine::Sampling;
use reseek_eval::{EvalSettings, ProblemResult, judge, sample};
use reseek_model::Model;
use reseek_spec::thousands;
use reseek_store::chain_hash;
use reseek_tasks::{Language, Problem};
use serde_json::json;

use super::folder::{begin, compute};
use super::measure::hash_of;
use super::samples::{Drawing, draw};
use super::train::{Given, RealForm, recipe_of};
use crate::chain::asker::Form;
use crate::cli_eval::SampleArgs;
use crate::error::{Outcome, fail};
use crate::opened::Opened;
use crate::ui::Ui;

/// The folder of the samples, in the run's.
const SAMPLES: &str = "samples";
/// Right answers, as `reseek sft` reads them.
const TRACES: &str = "traces.jsonl";
/// Problems that are solved sometimes, as `reseek rl` reads them.
const PROBLEMS: &str = "problems.jsonl";
/// Raised when the same inputs would give other samples than before.
const VERSION: u64 = 1;

/// Samples, judges and keeps.
pub fn harvest(args: &SampleArgs) -> Outcome<()> {
    let resolved = recipe_of(&args.recipe, &args.set)?;
    let recipe = resolved.recipe;
    if args.low > args.high {
        return fail(format!("--low {} is above --high {}: no problem lies between.", args.low, args.high));
    }
    let opened = Opened::new(&args.model)?;
    let tokenizer = Arc::new(opened.needed_tokenizer()?);
    let form = RealForm::new(&recipe, &opened, tokenizer)?;
    let given = Given::read(args.data.as_deref(), &recipe)?;
    let seed = args.seed.unwrap_or(1);
    let problems = given.to_train_on(seed, "sample", args.questions);
    let made_from = json!({
        "model": hash_of(&opened.path)?, "data": given.hash, "recipe": resolved.toml, "version": VERSION, "questions": args.questions,
    });
    let folder = begin(&args.out, &made_from, seed, &resolved.toml)?;
    let mut ui = Ui::new(args.quiet);
    let eval = &recipe.eval;
    let sampling = Sampling {
        temperature: eval.temperature as f32,
        top_k: 0,
        top_p: eval.top_p as f32,
        stop: form.stops().to_vec(),
        max_new_tokens: eval.max_new_tokens,
    };
    let settings = EvalSettings { sampling, k: eval.k, seed, purpose: "sample".to_string(), part: 0 };
    let questions: Vec<&str> = problems.iter().map(|problem| problem.question.as_str()).collect();
    let inputs = json!({"made_from": made_from, "seed": seed, "questions": chain_hash(&questions)});
    let drawing = Drawing { name: "sample", problems: &problems, settings, inputs };
    let mut model: Option<Model> = None;
    let sample = |prompts, settings: &EvalSettings, seen: &(dyn Fn(usize, usize, u32) + Sync)| {
        let model = match &mut model {
            Some(model) => model,
            none => none.insert(opened.model(Some(compute(recipe.compute)))?),
        };
        Ok(sample(model, prompts, |ids| form.text(ids), settings, Some(seen))?)
    };
    let samples = draw(&folder, SAMPLES, &drawing, &mut ui, sample, &|question| form.prompt(question))?;
    let results = judge(&problems, &samples, form.extraction());

    let mut traces = Vec::new();
    for (problem, result) in problems.iter().zip(&results) {
        for answer in right_answers(result, args.keep) {
            let messages = json!([
                {"role": "user", "content": recipe.ask.asked(&problem.question)}, {"role": "assistant", "content": answer},
            ]);
            traces.push(json!({"messages": messages, "id": problem.id, "answer": problem.answer}).to_string() + "\n");
        }
    }
    let is_between = |pass: Option<f64>| pass.is_some_and(|pass| args.low <= pass && pass <= args.high);
    let rated: Vec<(&Problem, Option<f64>)> =
        problems.iter().zip(results.iter().map(ProblemResult::pass)).filter(|(_, pass)| is_between(*pass)).collect();
    let row = |(problem, pass): &(&Problem, Option<f64>)| {
        let language = if problem.language == Language::Chinese { "zh" } else { "en" };
        let row = json!({
            "question": problem.question, "answer": problem.answer, "solution": (!problem.solution.is_empty()).then_some(&problem.solution),
            "family": problem.family, "level": problem.level, "language": language, "pass_rate": pass,
        });
        row.to_string() + "\n"
    };
    folder.write(TRACES, traces.concat().as_bytes())?;
    folder.write(PROBLEMS, rated.iter().map(row).collect::<String>().as_bytes())?;
    let solved = results.iter().filter(|result| result.pass().is_some_and(|pass| pass > 0.0)).count();
    if args.json {
        let (all, kept, rated) = (problems.len(), traces.len(), rated.len());
        crate::say!(
            "{}",
            json!({"problems": all, "solved": solved, "traces": kept, "between": rated, "out": args.out})
        );
        return Ok(());
    }
    crate::say!(
        "{} of {} problems were solved at least once; {} right answers in {}",
        thousands(solved as u64),
        thousands(problems.len() as u64),
        thousands(traces.len() as u64),
        args.out.join(TRACES).display()
    );
    crate::say!(
        "{} problems are solved at a rate from {} to {}: {}",
        thousands(rated.len() as u64),
        args.low,
        args.high,
        args.out.join(PROBLEMS).display()
    );
    Ok(())
}

/// Different right answers that came to their end, `most` of them: a question that is always answered would crowd out the others.
fn right_answers(result: &ProblemResult, most: usize) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let right = result.answers.iter().filter(|answer| answer.outcome.is_correct() && !answer.truncated);
    let texts = right.map(|answer| answer.completion.trim().to_string());
    texts.filter(|text| seen.insert(text.clone())).take(most).collect()
}

#[cfg(test)]
mod tests {
    use reseek_eval::Answer;
    use reseek_tasks::Outcome as Verdict;

    use super::*;

    #[test]
    fn right_answers_that_differ_and_ended_are_kept() {
        let answer = |text: &str, outcome: Verdict, truncated| Answer {
            completion: text.to_string(),
            outcome,
            vote: None,
            tokens: 1,
            truncated,
            language_share: 1.0,
        };
        let answers = vec![
            answer("a", Verdict::Wrong, false),
            answer("b", Verdict::Correct, true),
            answer(" c", Verdict::Correct, false),
            answer("c\n", Verdict::Correct, false),
            answer("d", Verdict::Correct, false),
            answer("e", Verdict::Correct, false),
        ];
        let result = ProblemResult { problem: 0, family: "a".to_string(), answers };
        assert_eq!(right_answers(&result, 2), ["c", "d"]);
    }
}
