//! What a learned judge thinks of an answer that no rule can verify (R1 report, 2.3.4).

use super::{Answer, Grade, Graded, Question, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "preference",
    about: "tanh of a learned judge's score, of general answers alone",
    range: (-1.0, 1.0),
    learned: true,
    grade: Grade::Each(grade),
};

/// tanh of the reward model's score, so that no answer outweighs its group.
fn grade(answer: &Answer) -> Graded {
    match (answer.question, answer.reward_model) {
        (Question::Problem(_), _) => Graded::NotAsked,
        (Question::General { .. }, None) => Graded::Unjudged,
        (Question::General { .. }, Some(model)) => {
            Graded::Earned(model.score(&[answer.prompt, answer.tokens].concat()).tanh() as f64)
        }
    }
}
