//! Language consistency (R1 report, 2.3.2).

use reseek_tasks::{language_share_quoting, reasoning};

use super::{Answer, Grade, Graded, Question, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "language",
    about: "share of the reasoning's words that are in the question's language",
    range: (0.0, 1.0),
    learned: false,
    grade: Grade::Each(grade),
};

/// Share of the words that are in the question's language: of a chain of thought, or of a general answer.
fn grade(answer: &Answer) -> Graded {
    let words = match answer.question {
        Question::Problem(_) => reasoning(answer.text),
        Question::General { .. } => answer.text,
    };
    Graded::Earned(language_share_quoting(words, answer.question.language(), answer.question.text()))
}
