//! Thoughts and answer each between their tags (R1 report, 2.2.2).

use reseek_tasks::format;

use super::{Answer, Grade, Graded, Question, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "format",
    about: "1 where the whole answer is a think block and an answer block, each tag once and neither blank, else 0",
    range: (0.0, 1.0),
    learned: false,
    grade: Grade::Each(grade),
};

/// 1 for the form that is asked for, 0 for any other.
fn grade(answer: &Answer) -> Graded {
    match answer.question {
        Question::Problem(_) => Graded::Earned(f64::from(u8::from(format(answer.text)))),
        Question::General { .. } => Graded::NotAsked,
    }
}
