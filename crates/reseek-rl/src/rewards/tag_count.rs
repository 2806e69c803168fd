//! Each of the four tags of R1's form, on its way to the whole form (Open R1).

use super::{Answer, Grade, Graded, Question, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "tag_count",
    about: "a quarter for each of <think>, </think>, <answer> and </answer> that stands there exactly once",
    range: (0.0, 1.0),
    learned: false,
    grade: Grade::Each(grade),
};

fn grade(answer: &Answer) -> Graded {
    match answer.question {
        Question::Problem(_) => Graded::Earned(of(answer.text)),
        Question::General { .. } => Graded::NotAsked,
    }
}

fn of(text: &str) -> f64 {
    let once = |tag: &&str| text.matches(*tag).take(2).count() == 1;
    0.25 * ["<think>", "</think>", "<answer>", "</answer>"].iter().filter(|tag| once(tag)).count() as f64
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_tag_counts_if_it_is_there_once() {
        for (text, expect) in [
            ("<think> a </think> <answer> 1 </answer>", 1.0),
            ("<think> a </think> <answer> 1 <answer>", 0.5),
            ("<think> <think> </think>", 0.25),
            ("a", 0.0),
        ] {
            assert_eq!(of(text), expect, "{text}");
        }
    }
}
