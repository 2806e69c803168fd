//! Tasks that models are measured by: a file of problems, how they are asked, where the answer is looked for, and what others published.

use serde::{Deserialize, Serialize};

use crate::{AskRecipe, SpecError};

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Its name.
    pub name: String,
    /// What it is, with its paper.
    pub about: String,
    /// Where its problems lie under the folder of data sets.
    pub file: String,
    /// Who has that file.
    pub from: String,
    /// Problems in it; 0 where any number will do.
    pub problems: usize,
    /// Samples of a problem.
    pub k: usize,
    /// Temperature of the samples; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only the likeliest tokens that together reach this probability are drawn; 1 for all.
    pub top_p: f64,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// How it is asked.
    pub ask: AskRecipe,
    /// What others measured.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// A score that others published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The model.
    pub model: String,
    /// pass@1, from 0 to 1.
    pub score: f64,
    /// Settings, as far as they are known.
    pub how: String,
    /// Where it stands.
    pub source: String,
}

/// The tasks that are compiled in, by name.
pub const TASKS: [(&str, &str); 1] = [("gsm8k", include_str!("../tasks/gsm8k.toml"))];

impl TaskSpec {
    /// The compiled-in task of that name.
    ///
    /// # Errors
    /// If there is none; the names that there are.
    pub fn named(name: &str) -> Result<Self, SpecError> {
        match TASKS.iter().find(|(known, _)| *known == name) {
            Some((known, text)) => Self::parse(text, known),
            None => {
                let known: Vec<&str> = TASKS.iter().map(|(known, _)| *known).collect();
                Err(SpecError::Recipe {
                    layer: "--task".to_string(),
                    message: format!("no task is called {name:?}; there are {}", known.join(", ")),
                    mend: "Name one of these, or a task of your own as a file that ends in .toml.".to_string(),
                })
            }
        }
    }

    /// Reads a task; `place` is where the text comes from.
    ///
    /// # Errors
    /// Text that is no task, or one that cannot be asked.
    pub fn parse(text: &str, place: &str) -> Result<Self, SpecError> {
        let wrong = |message: String, mend: &str| SpecError::Recipe {
            layer: place.to_string(),
            message,
            mend: mend.to_string(),
        };
        let task: TaskSpec = toml::from_str(text).map_err(|error| {
            wrong(error.to_string().trim_end().to_string(), "Compare with what `reseek eval --show-task gsm8k` prints.")
        })?;
        task.ask.check(place)?;
        let range = |name: &str, value: f64, is_in: bool, allowed: &str| match is_in {
            true => Ok(()),
            false => Err(wrong(format!("{name} = {value} is not {allowed}"), "Correct it.")),
        };
        range("k", task.k as f64, (1..=4096).contains(&task.k), "from 1 to 4096")?;
        range("temperature", task.temperature, (0.0..=100.0).contains(&task.temperature), "from 0 to 100")?;
        range("top_p", task.top_p, task.top_p > 0.0 && task.top_p <= 1.0, "above 0 and at most 1")?;
        range("max_new_tokens", task.max_new_tokens as f64, task.max_new_tokens > 0, "1 or more")?;
        Ok(task)
    }

    /// The task as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a task is TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_are_read_and_say_who_they_are() {
        for (name, text) in TASKS {
            let task = TaskSpec::named(name).unwrap();
            assert_eq!(task.name, name);
            assert_eq!(TaskSpec::parse(&task.to_toml(), name).unwrap(), task);
            assert!(!text.contains('\t') && !task.about.is_empty() && !task.from.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_its_place() {
        let good = TASKS[0].1;
        for (from, to, says) in [
            ("{question}", "", "has {question} 0 times"),
            ("k = 1\n", "k = 0\n", "k = 0 is not from 1 to 4096"),
            ("form = \"chat\"", "form = \"r1_zero\"\nshots = [{question = \"a\", answer = \"b\"}]", "of its own"),
            ("stop = []", "stop = [\"\"]", "ask.stop[0] is the empty text"),
            ("about =", "abuot =", "abuot"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = TaskSpec::parse(&text, "mine.toml").unwrap_err().to_string();
            assert!(error.starts_with("mine.toml: ") && error.contains(says), "{error}");
        }
        let error = TaskSpec::named("gsm9k").unwrap_err().to_string();
        assert!(error.contains("no task is called \"gsm9k\"; there are gsm8k"), "{error}");
    }
}
