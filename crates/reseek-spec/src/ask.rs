//! How a model that was trained elsewhere is asked, and where its answer is looked for.

use serde::{Deserialize, Serialize};

use crate::SpecError;

/// Where the question stands in a template.
pub const QUESTION: &str = "{question}";

/// What surrounds a question, and what of the answer counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRecipe {
    /// Whose template surrounds it.
    pub form: AskForm,
    /// The system's turn, or in a text what stands before everything; none where it is empty.
    pub system: String,
    /// The user's turn, with `{question}` once.
    pub question: String,
    /// Texts that end an answer: what follows the first of them is not looked at.
    pub stop: Vec<String>,
    /// Where the answer is looked for, by its name in reseek-tasks's table of extractions.
    pub extract: String,
    /// Questions with answers that stand before: few-shot.
    #[serde(default)]
    pub shots: Vec<Shot>,
}

/// Whose template a question is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskForm {
    /// The model's own chat template.
    Chat,
    /// None: a text that the model goes on with.
    Text,
    /// R1-Zero's (R1 report, table 1).
    R1Zero,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shot {
    /// As the template's `{question}`.
    pub question: String,
    /// As the model should give it.
    pub answer: String,
}

impl AskRecipe {
    /// The user's turn.
    pub fn asked(&self, question: &str) -> String {
        self.question.replacen(QUESTION, question, 1)
    }

    /// Refuses what cannot be asked so; `place` is where the recipe comes from.
    ///
    /// # Errors
    /// The first key that will not do.
    pub fn check(&self, place: &str) -> Result<(), SpecError> {
        let wrong = |message: String, mend: &str| {
            Err(SpecError::Recipe { layer: place.to_string(), message, mend: mend.to_string() })
        };
        let places = self.question.matches(QUESTION).count();
        if places != 1 {
            return wrong(
                format!("ask.question = {:?} has {QUESTION} {places} times", self.question),
                "It stands there once, where the problem is put in.",
            );
        }
        if self.form == AskForm::R1Zero && !(self.system.is_empty() && self.shots.is_empty()) {
            return wrong(
                "ask.form = \"r1_zero\" has a text of its own before the question, and ask.system or ask.shots are given too".to_string(),
                "Leave them out, or set ask.form = \"text\".",
            );
        }
        match self.stop.iter().position(String::is_empty) {
            Some(at) => wrong(
                format!("ask.stop[{at}] is the empty text, which ends every answer before it begins"),
                "Leave it out.",
            ),
            None => Ok(()),
        }
    }
}
