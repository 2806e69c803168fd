//! From (family, level, language, split, seed, index) to a problem; mixtures of families; sets to measure on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::families::{self, Drawn};
use crate::family::{Family, LEVELS};
use crate::language::Language;
use crate::problem::{Problem, Split};
use crate::stream::Stream;

/// Share of problems in Chinese where nothing else is said.
pub const CHINESE_SHARE: f64 = 0.3;

/// Draws after which a generator is taken to have no problem in the asked split. One draw in eight belongs to the
/// smallest, so a family that has any there misses all of them with a probability below 1e-500.
const DRAWS_MAX: usize = 10_000;

/// Makes the problem `index` of a family, a level, a language and a side of the split under `seed`. It depends on these
/// six alone: no other item is made, and none is remembered.
///
/// Parameters are drawn again, from the item's own stream, until they lie in the asked split (see [`Split::of`]).
/// Small levels have few parameters ([`space`](crate::space()) counts them: `chain_sum` level 1 has 165 sums of three
/// digits), so different indices repeat parameters, in other wordings or the same, and about an eighth of a level's
/// parameters is all that its test problems can be.
///
/// # Panics
/// If `level` is not in `1..=LEVELS`.
pub fn generate(family: Family, level: u8, language: Language, split: Split, seed: u64, index: u64) -> Problem {
    made((family, level, language), split, seed, "", index).1
}

/// Problem `index` of `purpose` with its key: every purpose has streams of its own, and its name in the problems' ids.
fn made(
    (family, level, language): (Family, u8, Language),
    split: Split,
    seed: u64,
    purpose: &str,
    index: u64,
) -> (String, Problem) {
    assert!((1..=LEVELS).contains(&level), "{family} has the levels 1 to {LEVELS}, not {level}");
    let mut name = format!("{family}/{level}/{}/{}", language.code(), split.name());
    if !purpose.is_empty() {
        name = format!("{name}/{purpose}");
    }
    let mut stream = Stream::new(seed, &name, index);
    for _ in 0..DRAWS_MAX {
        let drawn = families::draw(family, level, &mut stream);
        if Split::of(family.name(), &drawn.key) == split {
            let wording = stream.pick(drawn.questions.wordings(language));
            let problem = worded(&drawn, wording, family, level, language, split, format!("{name}/{index}"));
            return (drawn.key, problem);
        }
    }
    panic!("{family} at level {level} has no problem in the {} split", split.name())
}

/// The drawn problem in one of its wordings.
fn worded(
    drawn: &Drawn,
    wording: &str,
    family: Family,
    level: u8,
    language: Language,
    split: Split,
    id: String,
) -> Problem {
    let named = |text: &str| drawn.named(text, language);
    // The answer is what the question asks for, so it stays in the question's language whatever the chain's is.
    let answer = named(drawn.answer.get(language));
    let solution = |chain: Language| {
        let steps = named(drawn.steps.get(chain));
        match chain {
            Language::English => format!("{steps} So the answer is {answer}."),
            Language::Chinese => format!("{steps}所以答案为{answer}。"),
        }
    };
    Problem {
        id,
        family: family.name().to_string(),
        level,
        language,
        question: named(wording),
        answer_kind: drawn.kind,
        solution: solution(language),
        solution_other: Some(solution(language.other())),
        check: Some(named(drawn.check.get(language))),
        answer,
        split,
    }
}

/// Which problems a run draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskMix {
    /// Drawn with equal probability; one that is listed twice is drawn twice as often.
    pub families: Vec<Family>,
    /// Weights of the levels 1, 2, 3.
    pub levels: [f64; LEVELS as usize],
    /// Share of problems in Chinese, in [0, 1].
    pub chinese_share: f64,
}

impl Default for TaskMix {
    fn default() -> TaskMix {
        TaskMix { families: Family::ALL.to_vec(), levels: [0.6, 0.3, 0.1], chinese_share: CHINESE_SHARE }
    }
}

/// A mixture from which nothing can be drawn.
#[derive(Clone, Debug, PartialEq, Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum MixError {
    #[error("the task mix has no family. List at least one in families, or leave the key out for all of them.")]
    NoFamily,
    #[error("level weights {levels:?} cannot be drawn by. Give non-negative weights, at least one above 0.")]
    Levels { levels: [f64; LEVELS as usize] },
    #[error("chinese_share is {share}, outside 0 to 1. 0.3 makes three problems in ten Chinese.")]
    ChineseShare { share: f64 },
}

impl TaskMix {
    /// # Errors
    /// The first field by which nothing can be drawn.
    pub fn validate(&self) -> Result<(), MixError> {
        if self.families.is_empty() {
            return Err(MixError::NoFamily);
        }
        let sum: f64 = self.levels.iter().sum();
        if self.levels.iter().any(|w| !(w.is_finite() && *w >= 0.0)) || !(sum.is_finite() && sum > 0.0) {
            return Err(MixError::Levels { levels: self.levels });
        }
        if !(0.0..=1.0).contains(&self.chinese_share) {
            return Err(MixError::ChineseShare { share: self.chinese_share });
        }
        Ok(())
    }

    /// The languages that the mixture has at all.
    fn languages(&self) -> &'static [Language] {
        match self.chinese_share {
            0.0 => &[Language::English],
            1.0 => &[Language::Chinese],
            _ => &Language::ALL,
        }
    }
}

/// Problem `index` of the mixture for `purpose`, a stage's name: family, level and language are drawn from the item's
/// own stream. Two purposes share no stream, so that no stage is given another one's problems but by chance.
///
/// # Panics
/// If the mixture is not valid (see [`TaskMix::validate`]).
pub fn sample(seed: u64, purpose: &str, index: u64, split: Split, mix: &TaskMix) -> Problem {
    let mut stream = Stream::new(seed, &format!("sample/{}/{purpose}", split.name()), index);
    let family = *stream.pick(&mix.families);
    let level = stream.weighted(&mix.levels) as u8 + 1;
    let language = if stream.chance(mix.chinese_share) { Language::Chinese } else { Language::English };
    made((family, level, language), split, seed, purpose, index).1
}

/// `n` problems of `split` that all ask something else, balanced: the families in turn, and within each the languages of
/// the mixture in turn (both alike, unless its Chinese share is 0 or 1); levels are drawn by their weights. What is asked
/// once is not asked again in other words or in the other language, so that each is an observation of its own.
///
/// A family that runs out of new problems leaves its turns to the others. Fewer than `n` come back only where the whole
/// mixture holds fewer.
///
/// # Panics
/// If the mixture is not valid (see [`TaskMix::validate`]).
pub fn heldout_set(seed: u64, n: usize, split: Split, mix: &TaskMix) -> Vec<Problem> {
    // Draws in vain after which a family in a language is taken to have run out.
    const MISSES_MAX: u32 = 200;
    let families: BTreeSet<Family> = mix.families.iter().copied().collect();
    let mut cells: Vec<(Family, Language, Stream, u64)> = Vec::new();
    let languages = mix.languages();
    for round in 0..languages.len() {
        for (place, &family) in families.iter().enumerate() {
            // Languages alternate from family to family too, so that a short set has both.
            let language = languages[(place + round) % languages.len()];
            let stream = Stream::new(seed, &format!("heldout/{family}/{}", language.code()), 0);
            cells.push((family, language, stream, 0));
        }
    }
    let mut seen = BTreeSet::new();
    let mut problems = Vec::with_capacity(n);
    while problems.len() < n && !cells.is_empty() {
        cells.retain_mut(|(family, language, stream, next)| {
            if problems.len() == n {
                return true;
            }
            for _ in 0..MISSES_MAX {
                let level = stream.weighted(&mix.levels) as u8 + 1;
                let (key, problem) = made((*family, level, *language), split, seed, "", *next);
                *next += 1;
                if seen.insert((*family, key)) {
                    problems.push(problem);
                    return true;
                }
            }
            false
        });
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Draws of a family over all levels, whatever their side.
    fn draws(family: Family) -> impl Iterator<Item = Drawn> {
        let mut stream = Stream::new(8, family.name(), 0);
        (0..12_000).map(move |i| families::draw(family, 1 + (i % u64::from(LEVELS)) as u8, &mut stream))
    }

    #[test]
    fn every_family_has_two_hundred_parameter_sets_to_choose_by_and_as_many_to_test_by() {
        for family in Family::ALL {
            for split in [Split::Development, Split::Test] {
                let keys: BTreeSet<String> =
                    draws(family).map(|drawn| drawn.key).filter(|key| Split::of(family.name(), key) == split).collect();
                assert!(keys.len() >= 200, "{family} has {} for {}", keys.len(), split.name());
            }
        }
    }

    #[test]
    fn a_question_has_one_key_so_one_side() {
        for family in Family::ALL {
            let mut key_of = BTreeMap::new();
            for drawn in draws(family).take(6000) {
                for language in Language::ALL {
                    for wording in drawn.questions.wordings(language) {
                        let question = drawn.named(wording, language);
                        let before = key_of.insert(question.clone(), drawn.key.clone());
                        let is_same = before.as_ref().is_none_or(|key| *key == drawn.key);
                        assert!(is_same, "{question}: {before:?} and {}", drawn.key);
                    }
                }
            }
        }
    }
}
