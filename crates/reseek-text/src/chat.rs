//! Chat templates: Hugging Face's `chat_template` strings (Jinja), rendered as transformers renders them.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::{Environment, Value, context};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::config::read_json;
use crate::error::TextError;
use crate::file::read_if_there;
use crate::jinja::{self, environment};
use crate::special::Special;
use crate::tokenizer::Tokenizer;

/// DeepSeek-R1's template, without tool calls.
const DEEPSEEK_R1: &str = include_str!("../templates/deepseek_r1.jinja");
/// The R1-Zero prompt as a chat template.
const R1_ZERO: &str = include_str!("../templates/r1_zero.jinja");

/// Most files that are looked at for further templates.
const TEMPLATES_MAX: usize = 100;

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
    /// What the caller has set, by name.
    variables: Map<String, Json>,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The place of the first mistake in it.
    pub fn new(source: &str) -> Result<Self, TextError> {
        Ok(Self { source: source.to_owned(), environment: environment(source, None)?, variables: Map::new() })
    }

    /// DeepSeek-R1's: `bos system ｜User｜ question ｜Assistant｜ answer eos …`, and of earlier answers the reasoning is dropped.
    pub fn deepseek_r1() -> Self {
        Self::new(DEEPSEEK_R1).expect("the template parses: a test renders it")
    }

    /// The R1-Zero prompt: for one question exactly the text that the model was trained and is evaluated with.
    pub fn r1_zero() -> Self {
        Self::new(R1_ZERO).expect("the template parses: a test renders it")
    }

    /// The template of a model folder for plain conversations, where it has one: see [`sources`](Self::sources).
    ///
    /// # Errors
    /// Files that cannot be read or parsed; templates of which none is the default.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, TextError> {
        let sources = Self::sources(folder)?;
        match sources.get("default") {
            Some(source) => Self::new(source).map(Some),
            None if sources.is_empty() => Ok(None),
            None => {
                let names: Vec<&str> = sources.keys().map(String::as_str).collect();
                let reason = format!("{} has templates named {}, and no default", folder.display(), names.join(", "));
                Err(TextError::Template { reason })
            }
        }
    }

    /// The templates of a model folder by name (`default`, `tool_use`, `rag`), from where transformers 5 takes them:
    /// chat_template.jinja and additional_chat_templates/*.jinja; without any of these `chat_template` in
    /// tokenizer_config.json, a string or a list with names; without it the one of chat_template.json, where
    /// transformers 4 kept that of processors.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn sources(folder: &Path) -> Result<BTreeMap<String, String>, TextError> {
        let files = template_files(folder)?;
        if !files.is_empty() {
            return Ok(files);
        }
        for name in ["tokenizer_config.json", "chat_template.json"] {
            let keys = read_json(folder, name)?;
            match keys.and_then(|mut keys| keys.remove("chat_template")) {
                Some(Json::String(source)) => return Ok(BTreeMap::from([("default".to_owned(), source)])),
                Some(Json::Array(list)) => {
                    let entry = |entry: &Json| {
                        Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()))
                    };
                    let named = list.iter().map(entry).collect::<Option<_>>();
                    return named.ok_or_else(|| TextError::Malformed {
                        place: folder.join(name).display().to_string(),
                        reason: "an entry of chat_template lacks name or template".into(),
                    });
                }
                _ => {}
            }
        }
        Ok(BTreeMap::new())
    }

    /// The same with a variable that the template may look at: `enable_thinking`, `tools`, `documents`, `date_string`.
    /// Values that users wrote don't belong here: in [`encode`](Self::encode) control tokens in them are tokens.
    pub fn with(mut self, name: &str, value: Json) -> Self {
        self.variables.insert(name.to_owned(), value);
        self
    }

    /// The same at a moment in seconds since 1970 (UTC), which `strftime_now` tells instead of the clock's.
    ///
    /// # Errors
    /// None that [`new`](Self::new) hadn't.
    pub fn dated(mut self, unix_seconds: i64) -> Result<Self, TextError> {
        self.environment = environment(&self.source, Some(unix_seconds))?;
        Ok(self)
    }

    /// The template itself, as it goes into chat_template.jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text, as transformers' `apply_chat_template(tokenize=False)` gives it. `strftime_now` tells
    /// the time in UTC.
    ///
    /// # Errors
    /// What the template objects to: an unknown role, turns in the wrong order.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        prompt: GenerationPrompt,
    ) -> Result<String, TextError> {
        self.render_values(tokenizer, Value::from_serialize(messages), prompt)
    }

    /// [`render`](Self::render) of messages that hold more than text: tool calls, reasoning, lists of parts.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_json(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Json],
        prompt: GenerationPrompt,
    ) -> Result<String, TextError> {
        let messages: Vec<Json> = messages.iter().map(message_for_template).collect();
        self.render_values(tokenizer, Value::from_serialize(&messages), prompt)
    }

    fn render_values(
        &self,
        tokenizer: &Tokenizer,
        messages: Value,
        prompt: GenerationPrompt,
    ) -> Result<String, TextError> {
        let set = Map::from_iter([("tools".to_owned(), Json::Null), ("documents".to_owned(), Json::Null)]);
        // As in transformers, a token that the tokenizer does not have is undefined, not empty.
        let names = tokenizer.names().map(|(name, token)| (name.to_owned(), Json::from(token)));
        let set: Map<String, Json> = set.into_iter().chain(names).chain(self.variables.clone()).collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => prompt != GenerationPrompt::None,
            prefill_think => prompt == GenerationPrompt::AssistantThink,
            ..Value::from_serialize(&set)
        };
        jinja::render(&self.environment, values)
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

/// The tokens of an assistant's turn as a model writes it, without what ends it: `<think>` and `</think>` are tokens, other spellings of
/// control tokens are text. Templates cut reasoning out of turns that are over, so what is to be learnt does not go through one.
///
/// # Errors
/// Those of [`Tokenizer::encode`].
pub fn encode_turn(tokenizer: &Tokenizer, content: &str) -> Result<Vec<u32>, TextError> {
    tokenizer.encode_with_special(&mark(tokenizer, &Message::assistant(content)))
}

/// chat_template.jinja and additional_chat_templates/*.jinja of a folder, by name.
fn template_files(folder: &Path) -> Result<BTreeMap<String, String>, TextError> {
    let mut files = BTreeMap::new();
    let mut take = |name: &str, path: &Path| -> Result<(), TextError> {
        if let Some(bytes) = read_if_there(path)? {
            let source = String::from_utf8(bytes).map_err(|_| TextError::Malformed {
                place: path.display().to_string(),
                reason: "the template is not UTF-8".into(),
            })?;
            files.insert(name.to_owned(), source);
        }
        Ok(())
    };
    take("default", &folder.join("chat_template.jinja"))?;
    let more = folder.join("additional_chat_templates");
    let entries = match std::fs::read_dir(&more) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(TextError::Read { path: more, source }),
    };
    for entry in entries.take(TEMPLATES_MAX) {
        let path = entry.map_err(|source| TextError::Read { path: more.clone(), source })?.path();
        if path.extension().is_some_and(|extension| extension == "jinja")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            take(name, &path)?;
        }
    }
    Ok(files)
}

/// A message as transformers shows it to a template: keys without a value are left out, and reasoning stands under
/// each of its names.
fn message_for_template(message: &Json) -> Json {
    let Some(keys) = message.as_object() else { return message.clone() };
    let mut keys: Map<String, Json> = keys.clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
    let reasoning = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| keys.get(*name)).cloned();
    if let Some(reasoning) = reasoning {
        keys.entry("thinking").or_insert_with(|| reasoning.clone());
        keys.insert("reasoning_content".into(), reasoning);
    }
    Json::Object(keys)
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
