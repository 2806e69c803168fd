//! Rule-based verification: where the answer stands in a completion, and whether it is right. R1-Zero's two rewards,
//! accuracy and format, are here; nothing is learned, so there is no model to fool.
//!
//! A completion is the whole turn of the assistant, as the policy wrote it:
//! `<think> … </think> <answer> … </answer>`. Where the prompt already ends in `<think>`, the caller puts it in front.
//!
//! Everything is one pass or a fixed number of passes over the text. Not covered: LaTeX, units, symbolic equality.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::problem::Problem;

/// Longest completion, in bytes, that is searched at all. A verdict that would cost more is [`Outcome::TimeOut`]: a
/// budget in bytes is the same on every machine, which a budget in seconds is not.
pub const COMPLETION_BYTES_MAX: usize = 8 << 20;

/// Longest answer, in bytes, that is read as one.
pub const ANSWER_BYTES_MAX: usize = 4096;

/// What verification found out. Only [`Outcome::Correct`] and [`Outcome::Wrong`] say anything about the policy, so only
/// they carry a reward; an outage or an unreadable gold answer must not become a gradient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer is the gold answer.
    Correct,
    /// It is another, or there is none that counts.
    Wrong,
    /// The problem cannot be judged, whatever the completion says; the reason.
    Unverifiable(String),
    /// The machinery of verification failed; its message.
    InfrastructureError(String),
    /// The verdict would have exceeded its budget.
    TimeOut,
}

impl Outcome {
    /// 1 for correct, 0 for wrong, None for whatever must neither be rewarded nor punished.
    pub fn reward(&self) -> Option<f32> {
        match self {
            Outcome::Correct => Some(1.0),
            Outcome::Wrong => Some(0.0),
            Outcome::Unverifiable(_) | Outcome::InfrastructureError(_) | Outcome::TimeOut => None,
        }
    }

    /// Whether it is [`Outcome::Correct`].
    pub fn is_correct(&self) -> bool {
        *self == Outcome::Correct
    }
}

/// Why a judge could not come to a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum JudgeFailure {
    #[error("the gold answer cannot be read: {0}")]
    Gold(String),
    #[error("the judge failed: {0}")]
    Infrastructure(String),
    #[error("the judge ran out of its budget")]
    TimeOut,
}

/// Why a completion holds no answer that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum FormatError {
    #[error("no </think>")]
    NoThink,
    #[error("more than one </think>")]
    SeveralThinks,
    #[error("no <answer>…</answer> after </think>")]
    NoAnswer,
    #[error("more than one answer after </think>")]
    SeveralAnswers,
    #[error("text after </answer>")]
    TextAfterAnswer,
    #[error("the answer is blank")]
    BlankAnswer,
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    AnswerTooLong,
}

/// R1-Zero's accuracy: is the one answer of `completion` (see [`extract_answer`]) the gold answer of `problem`?
///
/// A completion without an answer that counts is wrong. A gold answer that cannot be read is
/// [`Outcome::Unverifiable`], whatever the completion says.
pub fn accuracy(completion: &str, problem: &Problem) -> Outcome {
    judge_completion(completion, |answer| compare(problem, answer))
}

/// Lets `judge` decide on the one answer of `completion` (see [`extract_answer`]). A judge is asked even where there is no answer (with the
/// empty text), since it may find that there is nothing to judge by.
///
/// This is the seam for judges that can fail, such as code run in a sandbox: their failures are outcomes of their own.
pub fn judge_completion(completion: &str, judge: impl FnOnce(&str) -> Result<bool, JudgeFailure>) -> Outcome {
    if completion.len() > COMPLETION_BYTES_MAX {
        return Outcome::TimeOut;
    }
    let answer = extract_answer(completion);
    match judge(answer.unwrap_or_default()) {
        Ok(fits) if fits && answer.is_ok() => Outcome::Correct,
        Ok(_) => Outcome::Wrong,
        Err(JudgeFailure::Gold(reason)) => Outcome::Unverifiable(reason),
        Err(JudgeFailure::Infrastructure(message)) => Outcome::InfrastructureError(message),
        Err(JudgeFailure::TimeOut) => Outcome::TimeOut,
    }
}

/// Is `answer` the gold answer of `problem`? Gold first: an unreadable gold answer is found whatever the answer is.
///
/// # Errors
/// [`JudgeFailure::Gold`] where the gold answer is no answer of the problem's kind.
pub fn compare(problem: &Problem, answer: &str) -> Result<bool, JudgeFailure> {
    let kind = problem.answer_kind;
    let gold = kind.read(&problem.answer).map_err(JudgeFailure::Gold)?;
    // Numbers are in lowest terms and lists are whole, so equality is the derived one; a prefix of a list differs from it.
    Ok(kind.read(answer).is_ok_and(|value| value == gold))
}

/// The text of the answer, strictly: exactly one `</think>`, after it exactly one `<answer>` and one `</answer>` in
/// this order, after that nothing but white space; neither blank nor longer than [`ANSWER_BYTES_MAX`].
/// Tags inside the reasoning do not count as answers (but see [`format`](fn@format)).
///
/// # Errors
/// The first rule that is broken.
pub fn extract_answer(completion: &str) -> Result<&str, FormatError> {
    let (_, after) = completion.split_once(THINK_CLOSE).ok_or(FormatError::NoThink)?;
    if after.contains(THINK_CLOSE) {
        return Err(FormatError::SeveralThinks);
    }
    let (_, inside) = after.split_once(ANSWER_OPEN).ok_or(FormatError::NoAnswer)?;
    let (answer, rest) = inside.split_once(ANSWER_CLOSE).ok_or(FormatError::NoAnswer)?;
    if after.matches(ANSWER_OPEN).nth(1).is_some() || rest.contains(ANSWER_CLOSE) {
        return Err(FormatError::SeveralAnswers);
    }
    if !rest.trim().is_empty() {
        return Err(FormatError::TextAfterAnswer);
    }
    bounded(answer)
}

/// R1-Zero's format: the whole of `completion` is a think block and an answer block, each tag once, neither block
/// blank, nothing but white space around and between them.
pub fn format(completion: &str) -> bool {
    if completion.len() > COMPLETION_BYTES_MAX {
        return false;
    }
    let tags = [THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE];
    if tags.iter().any(|tag| completion.matches(tag).take(2).count() != 1) {
        return false;
    }
    let blocks = || {
        let inside = completion.trim().strip_prefix(THINK_OPEN)?.strip_suffix(ANSWER_CLOSE)?;
        let (reasoning, after) = inside.split_once(THINK_CLOSE)?;
        let answer = after.trim_start().strip_prefix(ANSWER_OPEN)?;
        Some((reasoning, answer))
    };
    blocks().is_some_and(|(reasoning, answer)| !reasoning.trim().is_empty() && bounded(answer).is_ok())
}

/// The reasoning of a completion: what stands before the first `</think>`, without the opening tag; the whole text
/// where the tag is missing. What the language-consistency reward looks at.
pub fn reasoning(completion: &str) -> &str {
    let before = completion.split_once(THINK_CLOSE).map_or(completion, |(before, _)| before);
    before.split_once(THINK_OPEN).map_or(before, |(_, inside)| inside).trim()
}

pub(crate) const THINK_OPEN: &str = "<think>";
pub(crate) const THINK_CLOSE: &str = "</think>";
pub(crate) const ANSWER_OPEN: &str = "<answer>";
pub(crate) const ANSWER_CLOSE: &str = "</answer>";

fn bounded(answer: &str) -> Result<&str, FormatError> {
    match answer.trim() {
        "" => Err(FormatError::BlankAnswer),
        text if text.len() > ANSWER_BYTES_MAX => Err(FormatError::AnswerTooLong),
        text => Ok(text),
    }
}
