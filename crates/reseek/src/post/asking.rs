//! A question as a model of anyone's is asked it, and its answer as text.

use std::path::Path;
use std::sync::Arc;

use reseek_spec::{AskForm, AskRecipe};
use reseek_text::{ChatTemplate, GenerationPrompt, Message, Tokenizer};

use crate::error::{Outcome, fail};
use crate::opened::{Opened, render};

/// A recipe's form with the tokenizer and the template that it needs.
pub struct Asking {
    recipe: AskRecipe,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    /// What the prompt has already written of the answer.
    begun: &'static str,
}

/// What a template may end its prompt with, so that the answer begins inside of it.
const THINK: &str = "<think>";

impl Asking {
    /// How `opened` is asked by `recipe`.
    ///
    /// # Errors
    /// A recipe that asks by a chat template, where the model has none.
    pub fn new(recipe: &AskRecipe, opened: &Opened, tokenizer: Arc<Tokenizer>) -> Outcome<Self> {
        let template = match recipe.form {
            AskForm::Text => None,
            AskForm::R1Zero => Some(ChatTemplate::r1_zero()),
            AskForm::Chat => Some(own_template(opened)?),
        };
        let mut asking = Self { recipe: recipe.clone(), tokenizer, template, begun: "" };
        asking.begun = asking.what_is_begun()?;
        Ok(asking)
    }

    /// The tokens of a question, ready for the answer.
    pub fn prompt(&self, question: &str) -> Outcome<Vec<u32>> {
        match &self.template {
            None => Ok(self.tokenizer.encode_framed(&self.text(question))?),
            Some(template) => {
                let messages = self.messages(question);
                Ok(render(|| template.encode(&self.tokenizer, &messages, GenerationPrompt::Assistant))?)
            }
        }
    }

    /// A completion as text, from where the template began it to where the recipe ends it.
    pub fn answer(&self, tokens: &[u32]) -> String {
        let text = self.tokenizer.decode_visible(tokens);
        let end = self.recipe.stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
        self.begun.to_string() + &text[..end.unwrap_or(text.len())]
    }

    fn messages(&self, question: &str) -> Vec<Message> {
        let AskRecipe { form, system, shots, .. } = &self.recipe;
        let system = (*form == AskForm::Chat && !system.is_empty()).then(|| Message::system(system));
        let shots = shots.iter().flat_map(|shot| {
            [Message::user(self.recipe.asked(&shot.question)), Message::assistant(shot.answer.clone())]
        });
        system.into_iter().chain(shots).chain([Message::user(self.recipe.asked(question))]).collect()
    }

    /// Parts of a text are divided by a blank line, as benchmarks have it.
    fn text(&self, question: &str) -> String {
        let AskRecipe { system, shots, .. } = &self.recipe;
        let system = (!system.is_empty()).then(|| system.clone());
        let shots = shots.iter().map(|shot| format!("{} {}", self.recipe.asked(&shot.question), shot.answer));
        system.into_iter().chain(shots).chain([self.recipe.asked(question)]).collect::<Vec<_>>().join("\n\n")
    }

    /// Templates of R1's kind open the reasoning themselves; without it the answer would lack its opening tag.
    fn what_is_begun(&self) -> Outcome<&'static str> {
        let Some(template) = &self.template else { return Ok("") };
        let messages = self.messages("1");
        let prompt = render(|| template.render(&self.tokenizer, &messages, GenerationPrompt::Assistant))?;
        Ok(if prompt.trim_end().ends_with(THINK) { THINK } else { "" })
    }
}

fn own_template(opened: &Opened) -> Outcome<ChatTemplate> {
    match opened.template()? {
        Some(template) => Ok(template),
        None => fail(no_template(&opened.path)),
    }
}

fn no_template(model: &Path) -> String {
    format!(
        "{} has no chat template, and ask.form is \"chat\". A base model is asked in a text: set ask.form = \"text\" (with ask.shots and \
         ask.stop), or \"r1_zero\".",
        model.display()
    )
}
