//! A right answer, by rule (R1 report, 2.2.2).

use super::{Answer, Grade, Graded, Question, Reward, correctness};

pub(super) const REWARD: Reward = Reward {
    name: "accuracy",
    about: "1 for the gold answer, 0 for another or none; nothing where it cannot be judged",
    range: (0.0, 1.0),
    learned: false,
    grade: Grade::Each(grade),
};

fn grade(answer: &Answer) -> Graded {
    match answer.question {
        Question::Problem(_) => match correctness(answer) {
            Some(right) => Graded::Earned(f64::from(u8::from(right))),
            None => Graded::Unjudged,
        },
        Question::General { .. } => Graded::NotAsked,
    }
}
