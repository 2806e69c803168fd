//! A right answer, by rule (R1 report, 2.2.2).

use super::{Answer, Graded, Question, Reward};

pub(super) const REWARD: Reward = Reward { name: "accuracy", learned: false, grade };

/// 1 for a right answer, 0 for a wrong one.
fn grade(answer: &Answer) -> Graded {
    match answer.question {
        Question::Problem(problem) => match answer.extraction.judge(answer.text, problem).outcome.reward() {
            Some(value) => Graded::Earned(f64::from(value)),
            None => Graded::Unjudged,
        },
        Question::General { .. } => Graded::NotAsked,
    }
}
