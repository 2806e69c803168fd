//! Whether questions and answers fit into the models' contexts. Generated problems are short; a user's may be of any length.

use reseek_tasks::Problem;
use reseek_text::Tokenizer;
use reseek_train::Example;

use super::Chain;
use super::eval::heldout_problems;
use super::r1::{cold_start_lessons, examples};
use crate::error::{Outcome, fail};
use crate::style::{Style, prompt, style_of};

/// Problems that are looked at before the first model is trained.
const LOOKED_AT: u64 = 100;

/// Of these, the share that must leave room for an answer: with fewer, hours would pass before the models that see least of them failed.
const SHARE_NEEDED: f64 = 0.25;

/// Refuses a context that is too short for most of the run's problems. The student's is the shortest: it is not extended.
pub fn check_problems(chain: &Chain, tokenizer: &Tokenizer) -> Outcome<()> {
    let context = chain.recipe.pretrain.seq_len;
    let mut lengths = (0..LOOKED_AT)
        .map(|i| longest_prompt(tokenizer, &chain.problems.train(chain.seed, "room", i).question))
        .collect::<Outcome<Vec<usize>>>()?;
    lengths.sort_unstable();
    let fitting = lengths.iter().filter(|length| **length < context).count();
    if fitting as f64 >= SHARE_NEEDED * lengths.len() as f64 {
        return Ok(());
    }
    let needed = lengths[lengths.len() * 9 / 10];
    fail(format!(
        "pretrain.seq_len = {context}, but only {fitting} of {} problems leave room for an answer in {context} tokens, and one in ten needs \
         {needed} or more with its template. Use --set pretrain.seq_len={}, or give shorter problems.",
        lengths.len(),
        (needed + needed / 2).next_power_of_two(),
    ))
}

/// Refuses, before the first model is trained, problems that would leave a later stage with nothing: no lesson of the cold start that fits
/// into the long context, no held-out problem that fits into the student's.
pub fn check_later_stages(chain: &Chain, tokenizer: &Tokenizer) -> Outcome<()> {
    // The stage that asks sees its own keys alone.
    let recipe = &chain.whole;
    asked_of_all(chain, tokenizer, heldout_problems(chain))?;
    let context = recipe.pretrain.seq_len * recipe.extend.factor;
    let lessons = cold_start_lessons(&chain.problems, chain.seed, recipe.r1.cold_start_samples);
    let lengths =
        examples(tokenizer, style_of("r1_cold_start"), &lessons)?.into_iter().map(|e| e.prompt.len() + e.answer.len());
    match lengths.min() {
        Some(shortest) if shortest > context + 1 => fail(format!(
            "The shortest of {} worked solutions has {shortest} tokens with its question, and R1's context is {context} \
             (pretrain.seq_len × extend.factor). Raise pretrain.seq_len, or give problems with shorter solutions.",
            lessons.len()
        )),
        _ => Ok(()),
    }
}

/// The problems that every model of the run can be asked, and how many are left out.
pub fn asked_of_all(chain: &Chain, tokenizer: &Tokenizer, problems: Vec<Problem>) -> Outcome<(Vec<Problem>, usize)> {
    let (all, context) = (problems.len(), chain.recipe.pretrain.seq_len);
    let mut fitting = Vec::new();
    for problem in problems {
        if longest_prompt(tokenizer, &problem.question)? < context {
            fitting.push(problem);
        }
    }
    if fitting.is_empty() {
        return fail(format!(
            "none of {all} held-out problems fits into the student's context of {context} tokens. Raise pretrain.seq_len, or give \
             shorter problems."
        ));
    }
    let left_out = all - fitting.len();
    Ok((fitting, left_out))
}

/// Tokens of a question in the longer of both styles.
fn longest_prompt(tokenizer: &Tokenizer, question: &str) -> Outcome<usize> {
    Ok(prompt(tokenizer, Style::Zero, question)?.len().max(prompt(tokenizer, Style::Chat, question)?.len()))
}

/// The examples that fit into a context of `context` tokens: the last token of an answer is only a target.
pub fn fitting_examples(chain: &mut Chain, examples: Vec<Example>, context: usize) -> Outcome<Vec<Example>> {
    let all = examples.len();
    let fits = |example: &Example| example.prompt.len() + example.answer.len() <= context + 1;
    let fitting: Vec<Example> = examples.into_iter().filter(fits).collect();
    if fitting.is_empty() {
        return fail(format!(
            "none of {all} lessons fits into the model's context of {context} tokens. Raise pretrain.seq_len, or give problems with \
             shorter solutions."
        ));
    }
    if fitting.len() < all {
        chain.ui.line(&format!(
            "  {} of {all} lessons are longer than the model's {context} tokens and left out",
            all - fitting.len()
        ));
    }
    Ok(fitting)
}
