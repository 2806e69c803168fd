//! What an answer earns: named rewards, whose weights are in the recipe (`[zero.rewards]` and its neighbours).
//!
//! A new reward is a file beside these and its line in [`TABLE`]; a recipe switches it on by giving it a weight.

mod accuracy;
mod format;
mod language;
mod preference;

use std::collections::BTreeMap;

use reseek_tasks::{Language, Problem};

use crate::{RewardModel, Rewards, RlError};

/// One reward.
#[derive(Debug)]
pub struct Reward {
    /// Its name in the recipe, in metrics and on pages.
    pub name: &'static str,
    /// Whether a learned judge gives it, and no rule.
    pub learned: bool,
    /// What an answer earns by it, before its weight.
    pub grade: fn(&Answer) -> Graded,
}

/// Every reward that a recipe may weigh, in the order in which they are added up.
pub const TABLE: [Reward; 4] = [accuracy::REWARD, format::REWARD, language::REWARD, preference::REWARD];

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

/// Grades `answer` by every reward; their sum is weighted by `weights`, a reward that is not among them counts nothing.
pub fn grade(answer: &Answer, weights: &BTreeMap<String, f64>) -> Rewards {
    let mut rewards = Rewards { named: Vec::new(), total: Some(0.0), learned: false };
    for Reward { name, learned, grade } in &TABLE {
        let graded = grade(answer);
        if let Graded::Earned(value) = graded {
            let weight = weights.get(*name).copied().unwrap_or(0.0);
            rewards.total = rewards.total.map(|total| total + weight * value);
            rewards.learned |= learned;
        }
        if graded == Graded::Unjudged {
            rewards.total = None;
        }
        rewards.named.push((name, graded.earned()));
    }
    rewards
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
