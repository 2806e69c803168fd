//! Chat templates: Hugging Face's `chat_template` strings (Jinja), rendered as transformers renders them.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::config::read_json;
use crate::error::TextError;
use crate::special::Special;
use crate::tokenizer::Tokenizer;

/// DeepSeek-R1's template, without tool calls.
const DEEPSEEK_R1: &str = include_str!("../templates/deepseek_r1.jinja");
/// The R1-Zero prompt as a chat template.
const R1_ZERO: &str = include_str!("../templates/r1_zero.jinja");

/// Steps a template may take before it is stopped: a template from elsewhere may loop.
const TEMPLATE_FUEL: u64 = 10_000_000;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }

    /// A turn of the assistant.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".into(), content: content.into() }
    }

    /// The system text.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system".into(), content: content.into() }
    }
}

/// What stands behind the last turn of a rendered conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// Nothing: the conversation is complete.
    None,
    /// The token that opens the assistant's turn.
    Assistant,
    /// That token and `<think>\n`, so that the answer begins with its reasoning. A template that does not know
    /// `prefill_think` renders it as [`Assistant`](Self::Assistant).
    AssistantThink,
}

/// A parsed chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The place of the first mistake in it.
    pub fn new(source: &str) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        // As transformers sets up Jinja: blocks swallow their line, unknown methods are Python's.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(TEMPLATE_FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_template_owned("chat", source.to_owned()).map_err(template_error)?;
        Ok(Self { source: source.to_owned(), environment })
    }

    /// DeepSeek-R1's: `bos system ｜User｜ question ｜Assistant｜ answer eos …`, and of earlier answers the reasoning is dropped.
    pub fn deepseek_r1() -> Self {
        Self::new(DEEPSEEK_R1).expect("the template parses: a test renders it")
    }

    /// The R1-Zero prompt: for one question exactly the text that the model was trained and is evaluated with.
    pub fn r1_zero() -> Self {
        Self::new(R1_ZERO).expect("the template parses: a test renders it")
    }

    /// The template of a model folder: chat_template.jinja, or `chat_template` in tokenizer_config.json.
    ///
    /// # Errors
    /// Files that cannot be read or parsed.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, TextError> {
        let path = folder.join("chat_template.jinja");
        match std::fs::read_to_string(&path) {
            Ok(source) => return Self::new(&source).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(TextError::Read { path, source }),
        }
        let config = read_json(folder, "tokenizer_config.json")?;
        let source = config.as_ref().and_then(|config| config.get("chat_template")?.as_str());
        source.map(Self::new).transpose()
    }

    /// The template itself, as it goes into chat_template.jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text, as transformers' `apply_chat_template(tokenize=False)` gives it.
    ///
    /// # Errors
    /// What the template objects to: an unknown role, turns in the wrong order.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        prompt: GenerationPrompt,
    ) -> Result<String, TextError> {
        // As in transformers, a token that the tokenizer does not have is undefined, not empty.
        let control = [("bos_token", Special::Bos), ("eos_token", Special::Eos), ("pad_token", Special::Pad)];
        let control: BTreeMap<&str, &str> =
            control.into_iter().filter_map(|(name, special)| Some((name, tokenizer.special_text(special)?))).collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => prompt != GenerationPrompt::None,
            prefill_think => prompt == GenerationPrompt::AssistantThink,
            ..Value::from_serialize(&control)
        };
        let template = self.environment.get_template("chat").map_err(template_error)?;
        template.render(values).map_err(template_error)
    }

    /// The conversation as tokens. Unlike transformers, what users wrote stays plain text even where it spells control
    /// tokens, so a question cannot forge a turn; in the assistant's own turns `<think>` and `</think>` are tokens.
    ///
    /// # Errors
    /// Those of [`render`](Self::render) and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        prompt: GenerationPrompt,
    ) -> Result<Vec<u32>, TextError> {
        let marked: Vec<Message> = messages
            .iter()
            .map(|message| Message { role: message.role.clone(), content: mark(tokenizer, message) })
            .collect();
        tokenizer.encode_with_special(&self.render(tokenizer, &marked, prompt)?)
    }
}

/// The content of a message with everything marked plain that must not become a control token.
fn mark(tokenizer: &Tokenizer, message: &Message) -> String {
    if message.role != "assistant" {
        return tokenizer.mark_plain(&message.content);
    }
    let [open, close] = [Special::ThinkOpen, Special::ThinkClose].map(Special::text);
    let reasoning = message.content.split(close).map(|part| {
        let pieces: Vec<String> = part.split(open).map(|piece| tokenizer.mark_plain(piece)).collect();
        pieces.join(open)
    });
    reasoning.collect::<Vec<_>>().join(close)
}

fn template_error(error: Error) -> TextError {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    TextError::Template { reason: format!("{reason}{line}") }
}
