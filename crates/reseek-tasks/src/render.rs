//! The forms in which a worked problem appears in text: textbook forms for the pre-training mixture, the R1-Zero
//! template, and the long readable chain of R1's cold start.

use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::problem::Problem;
use crate::stream::Stream;
use crate::verify::{ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN};

/// Number of textbook forms of each language.
pub const TEXTBOOK_FORMS: usize = 3;

/// A problem as a book prints it, in the form number `form % TEXTBOOK_FORMS` of its language, with `solution` as the
/// worked chain. Ends without a newline.
pub fn textbook(problem: &Problem, solution: &str, form: usize) -> String {
    let (question, answer) = (&problem.question, &problem.answer);
    match (problem.language, form % TEXTBOOK_FORMS) {
        (Language::English, 0) => {
            format!("Question: {question}\nSolution: {solution}\nAnswer: {answer}")
        }
        (Language::English, 1) => format!("Exercise. {question}\n{solution}\nAnswer: {answer}"),
        (Language::English, _) => format!("Q: {question}\nA: {solution}"),
        (Language::Chinese, 0) => format!("问题：{question}\n解：{solution}\n答案：{answer}"),
        (Language::Chinese, 1) => format!("练习。{question}\n{solution}\n答案：{answer}"),
        (Language::Chinese, _) => format!("问：{question}\n答：{solution}"),
    }
}

/// The R1-Zero template around a question: DeepSeek's, shortened so that it costs a nano model few tokens, the same for
/// both languages as theirs is. It says where reasoning and answer go and nothing about how to reason.
///
/// Ends with `Assistant:`; what follows begins with a space, so prompt and completion have the same tokens apart and
/// together.
pub fn zero_prompt(question: &str) -> String {
    format!(
        "A conversation between User and Assistant. Assistant first thinks in {THINK_OPEN} {THINK_CLOSE}, \
         then answers in {ANSWER_OPEN} {ANSWER_CLOSE}.\nUser: {question}\nAssistant:"
    )
}

/// What the R1-Zero template asks for: ` <think> … </think> <answer> … </answer>`, with the leading space.
pub fn zero_completion(solution: &str, answer: &str) -> String {
    format!(" {THINK_OPEN} {solution} {THINK_CLOSE} {ANSWER_OPEN} {answer} {ANSWER_CLOSE}")
}

/// Shares of the forms in the pre-training mixture, each in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormMix {
    /// Share of problems in the R1-Zero template; the rest is in textbook forms.
    pub conversation_share: f64,
    /// Share of problems whose chain is in the other language than the question.
    pub mixed_language_share: f64,
    /// Of the problems in the R1-Zero template, the share that blurts out the answer instead of working it out. People do both, so a
    /// base model does; which of the two pays is what RL can find out.
    pub direct_share: f64,
}

impl Default for FormMix {
    fn default() -> FormMix {
        FormMix { conversation_share: 0.3, mixed_language_share: 0.2, direct_share: 0.0 }
    }
}

/// A worked problem as a document of the pre-training mixture. The form is drawn from the stream of (seed, index).
/// A problem without a solution becomes its question and answer.
pub fn document(problem: &Problem, seed: u64, index: u64, forms: &FormMix) -> String {
    let mut stream = Stream::new(seed, "document", index);
    let is_mixed = stream.chance(forms.mixed_language_share);
    let is_conversation = stream.chance(forms.conversation_share);
    let form = stream.below(TEXTBOOK_FORMS);
    let solution = match problem.mixed_language_solution() {
        Some(other) if is_mixed => other,
        _ if problem.solution.is_empty() => &problem.answer,
        _ => &problem.solution,
    };
    // Drawn last, so that the other choices do not depend on this share.
    let is_direct = stream.chance(forms.direct_share);
    if is_conversation && is_direct {
        let answer = &problem.answer;
        let blurted = match problem.language {
            Language::English => format!("The answer is {answer}."),
            Language::Chinese => format!("答案是{answer}。"),
        };
        zero_prompt(&problem.question) + &zero_completion(&blurted, answer)
    } else if is_conversation {
        zero_prompt(&problem.question) + &zero_completion(solution, &problem.answer)
    } else {
        textbook(problem, solution, form)
    }
}

/// The chain of R1's cold start, in the question's language: the steps, a check, a summary. None where the problem has no worked solution; a user's problem has no check.
pub fn long_readable(problem: &Problem) -> Option<String> {
    if problem.solution.is_empty() {
        return None;
    }
    let (solution, answer) = (&problem.solution, &problem.answer);
    let check = problem.check.as_deref();
    Some(match problem.language {
        Language::English => {
            let check = check.map_or(String::new(), |check| format!("Check: {check}\n"));
            format!("{solution}\n{check}Summary: the answer is {answer}.")
        }
        Language::Chinese => {
            let check = check.map_or(String::new(), |check| format!("检查：{check}\n"));
            format!("{solution}\n{check}总结：答案为{answer}。")
        }
    })
}
