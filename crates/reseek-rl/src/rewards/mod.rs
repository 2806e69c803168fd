//! What an answer earns: named rewards, whose weights are in the recipe (`[zero.rewards]` and its neighbours).
//!
//! A new reward is a file beside these and its line in [`TABLE`]; a recipe switches it on by giving it a weight.

mod accuracy;
mod cosine;
mod format;
mod language;
mod length;
mod preference;
mod random;
mod reasoning_steps;
mod repetition_penalty;
mod soft_overlong;
mod tag_count;

use std::collections::BTreeMap;

use reseek_tasks::{Extraction, Language, Problem};

use crate::{RewardModel, Rewards, RlError};

/// One reward.
#[derive(Debug)]
pub struct Reward {
    /// Its name in the recipe, in metrics and on pages.
    pub name: &'static str,
    /// What it pays for, with its formula.
    pub about: &'static str,
    /// Its least and its greatest value, before its weight.
    pub range: (f64, f64),
    /// Whether a learned judge gives it, and no rule.
    pub learned: bool,
    /// What answers earn by it, before its weight.
    pub grade: Grade,
}

/// What a reward looks at.
#[derive(Clone, Copy, Debug)]
pub enum Grade {
    /// Each answer alone.
    Each(fn(&Answer) -> Graded),
    /// All answers to a prompt together, and no others.
    Group(fn(&[Answer]) -> Vec<Graded>),
}

/// Every reward that a recipe may weigh, in the order in which they are added up.
pub const TABLE: [Reward; 11] = [
    accuracy::REWARD,
    format::REWARD,
    language::REWARD,
    preference::REWARD,
    tag_count::REWARD,
    reasoning_steps::REWARD,
    length::REWARD,
    cosine::REWARD,
    repetition_penalty::REWARD,
    soft_overlong::REWARD,
    random::REWARD,
];

/// Those that are always reported, whatever they weigh: what a policy is for, and how it says it.
const ALWAYS: [&str; 4] = ["accuracy", "format", "language", "preference"];

/// What was asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Verified by rule.
    Problem(Box<Problem>),
    /// A general prompt, which has no right answer.
    General {
        /// Its text.
        prompt: String,
        /// Its language.
        language: Language,
    },
}

/// An answer and all that a reward may look at.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// The prompt as the policy had it.
    pub prompt: &'a [u32],
    /// The answer's tokens.
    pub tokens: &'a [u32],
    /// The same as text, without control tokens.
    pub text: &'a str,
    /// Tokens that it might have had at most.
    pub limit: usize,
    /// A number from 0 to 1 that was drawn for this answer: what a control goes by.
    pub lot: f64,
    /// Where in it a problem's answer is looked for.
    pub extraction: &'static Extraction,
    /// The learned judge, where the stage has one.
    pub reward_model: Option<&'a RewardModel>,
}

/// What a reward says of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Graded {
    /// So much.
    Earned(f64),
    /// It should have been judged and was not: the sample trains nothing.
    Unjudged,
    /// The reward is not for such questions.
    NotAsked,
}

impl Question {
    /// What the policy is asked.
    pub fn text(&self) -> &str {
        match self {
            Question::Problem(problem) => &problem.question,
            Question::General { prompt, .. } => prompt,
        }
    }

    /// The language in which it should be answered.
    pub fn language(&self) -> Language {
        match self {
            Question::Problem(problem) => problem.language,
            Question::General { language, .. } => *language,
        }
    }
}

/// Whether the answer to a problem is right; nothing where that cannot be judged, or nothing was asked that could be.
fn correctness(answer: &Answer) -> Option<bool> {
    match answer.question {
        Question::Problem(problem) => {
            answer.extraction.judge(answer.text, problem).outcome.reward().map(|reward| reward > 0.0)
        }
        Question::General { .. } => None,
    }
}

/// Grades the answers to one prompt. Each one's sum is weighted by `weights`; a reward that is not among them counts nothing.
pub fn grade(group: &[Answer], weights: &BTreeMap<String, f64>) -> Vec<Rewards> {
    let start = Rewards { named: Vec::new(), total: Some(0.0), learned: false };
    let mut all = vec![start; group.len()];
    let weight = |name: &str| weights.get(name).copied().unwrap_or(0.0);
    for Reward { name, learned, grade, .. } in
        TABLE.iter().filter(|reward| weight(reward.name) != 0.0 || ALWAYS.contains(&reward.name))
    {
        let graded = match grade {
            Grade::Each(grade) => group.iter().map(grade).collect(),
            Grade::Group(grade) => grade(group),
        };
        for (rewards, graded) in all.iter_mut().zip(graded) {
            if let Graded::Earned(value) = graded {
                rewards.total = rewards.total.map(|total| total + weight(name) * value);
                rewards.learned |= learned;
            }
            if graded == Graded::Unjudged {
                rewards.total = None;
            }
            rewards.named.push((name, graded.earned()));
        }
    }
    all
}

/// Holds the names in a recipe's weights against the rewards that there are.
///
/// # Errors
/// The first name that no reward has.
pub fn check(weights: &BTreeMap<String, f64>) -> Result<(), RlError> {
    let names = || TABLE.iter().map(|reward| reward.name);
    match weights.keys().find(|name| names().all(|known| known != **name)) {
        Some(name) => Err(RlError::unknown("reward", name, names())),
        None => Ok(()),
    }
}

impl Graded {
    fn earned(self) -> Option<f64> {
        match self {
            Graded::Earned(value) => Some(value),
            Graded::Unjudged | Graded::NotAsked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use reseek_tasks::{Family, Split, extraction, generate, zero_completion};

    use super::*;

    const WEIGHTS: [(&str, f64); 4] = [("accuracy", 1.0), ("format", 0.5), ("language", 0.25), ("preference", 8.0)];

    fn weights() -> BTreeMap<String, f64> {
        WEIGHTS.into_iter().map(|(name, weight)| (name.to_string(), weight)).collect()
    }

    fn graded(question: &Question, text: &str, weights: &BTreeMap<String, f64>) -> Rewards {
        let extraction = extraction("tags").unwrap();
        let answer =
            Answer { question, prompt: &[0], tokens: &[1], text, limit: 8, lot: 0.25, extraction, reward_model: None };
        grade(&[answer], weights).remove(0)
    }

    #[test]
    fn each_reward_counts_by_its_weight_and_an_unjudged_one_stops_the_sum() {
        let problem = generate(Family::Addition, 1, Language::English, Split::Train, 1, 0);
        let (right, wrong) = (zero_completion("Count up.", &problem.answer), zero_completion("Count up.", "123456"));
        let question = Question::Problem(Box::new(problem.clone()));
        let of_right = graded(&question, &right, &weights());
        let named = [("accuracy", Some(1.0)), ("format", Some(1.0)), ("language", Some(1.0)), ("preference", None)];
        assert_eq!((&of_right.named[..], of_right.total, of_right.learned), (&named[..], Some(1.75), false));
        assert_eq!(graded(&question, &wrong, &weights()).total, Some(0.75));
        // No weight, no part in the sum; the reward is reported all the same.
        let none = graded(&question, &right, &BTreeMap::new());
        assert_eq!((none.total, none.get("accuracy")), (Some(0.0), Some(1.0)));
        // A gold answer that cannot be read says nothing of the answer.
        let broken = Question::Problem(Box::new(Problem { answer: "no number".to_string(), ..problem }));
        let outage = graded(&broken, &right, &weights());
        assert_eq!((outage.total, outage.get("accuracy"), outage.get("format")), (None, None, Some(1.0)));
        // A general answer is asked for no form, and without its judge it has no reward.
        let general = Question::General { prompt: "Name a colour.".to_string(), language: Language::English };
        let unjudged = graded(&general, "Red is one.", &weights());
        let named = [("accuracy", None), ("format", None), ("language", Some(1.0)), ("preference", None)];
        assert_eq!((&unjudged.named[..], unjudged.total), (&named[..], None));
    }

    /// Open R1 gives a sample whose gold answer cannot be read nothing, 1 or "correct", by the reward.
    #[test]
    fn what_cannot_be_judged_earns_nothing_by_any_reward_that_asks_whether_it_is_right() {
        let problem = generate(Family::Addition, 1, Language::English, Split::Train, 1, 0);
        let broken = Question::Problem(Box::new(Problem { answer: "no number".to_string(), ..problem }));
        for name in ["accuracy", "length", "cosine"] {
            let rewards = graded(&broken, "<answer> 5 </answer>", &BTreeMap::from([(name.to_string(), 1.0)]));
            assert_eq!((rewards.total, rewards.get(name)), (None, None), "{name}");
        }
    }

    #[test]
    fn rewards_stay_in_their_range() {
        let problem = generate(Family::Addition, 1, Language::English, Split::Train, 1, 0);
        let question = Question::Problem(Box::new(problem.clone()));
        let texts = [
            zero_completion("Count up.", &problem.answer),
            "a a a a a a".to_string(),
            String::new(),
            "<think>".repeat(9),
        ];
        for Reward { name, range: (low, high), learned, .. } in TABLE.iter().filter(|reward| !reward.learned) {
            for text in &texts {
                let rewards = graded(&question, text, &BTreeMap::from([(name.to_string(), 1.0)]));
                let value = rewards.get(name).unwrap();
                assert!((*low..=*high).contains(&value) && !learned, "{name}: {value} for {text:?}");
            }
        }
    }

    /// docs/guide/rewards.md is these cards.
    #[test]
    fn the_guide_has_every_reward_as_it_is() {
        let page = include_str!("../../../../docs/guide/rewards.md");
        for Reward { name, about, range: (low, high), .. } in TABLE {
            let line = format!("| `{name}` | {about} | {low} to {high} |");
            assert!(page.contains(&line), "docs/guide/rewards.md lacks the line\n{line}");
        }
    }

    #[test]
    fn names_without_a_reward_are_refused() {
        assert!(check(&weights()).is_ok());
        let error = check(&BTreeMap::from([("acuracy".to_string(), 1.0)])).unwrap_err().to_string();
        assert!(error.contains("no reward is called acuracy. The nearest is accuracy"), "{error}");
    }
}
