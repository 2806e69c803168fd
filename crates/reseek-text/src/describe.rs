//! What a tokenizer and a template are, in words, and what is odd about them.

use tokenizers::ModelWrapper;

use crate::chat::{ChatTemplate, GenerationPrompt, Message};
use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// An added token of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedTokenInfo {
    /// Its id.
    pub id: u32,
    /// Its spelling.
    pub token: String,
    /// Whether it has Hugging Face's `special` flag: hidden in answers, and text where a user writes it.
    pub special: bool,
    /// Its names in tokenizer_config.json: `bos_token`, `eos_token`, ….
    pub names: Vec<String>,
}

/// What a template makes of an example, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateCheck {
    /// A conversation of two questions, with the opening of the second answer.
    pub example: String,
    /// Whether the opening of an answer ends in `<think>`, so that an answer doesn't write it.
    pub opens_think: bool,
    /// Spellings of the end tokens that stand nowhere behind an answer: a model that has learnt from this template
    /// does not write them.
    pub unwritten: Vec<String>,
}

impl Tokenizer {
    /// The kind in words: `byte-level BPE`, `BPE with byte fallback`, `Unigram`.
    pub fn kind(&self) -> &'static str {
        match &self.model {
            ModelWrapper::BPE(_) if self.steps.is_byte_level() => "byte-level BPE",
            ModelWrapper::BPE(model) if model.byte_fallback => "BPE with byte fallback",
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::Unigram(model) if model.byte_fallback() => "Unigram with byte fallback",
            ModelWrapper::Unigram(_) => "Unigram",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
        }
    }

    /// The added tokens in the order of their ids.
    pub fn added_tokens(&self) -> Vec<AddedTokenInfo> {
        let info = |(id, token): (u32, &tokenizers::AddedToken)| AddedTokenInfo {
            id,
            token: token.content.clone(),
            special: token.special,
            names: self.names().filter(|(_, name)| *name == token.content).map(|(key, _)| key.to_owned()).collect(),
        };
        self.added.iter().map(info).collect()
    }

    /// The tokens that stand before and behind a text that is scored.
    ///
    /// # Errors
    /// None with a post-processor that the tokenizer was read with.
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>), TextError> {
        self.frame().map_err(|reason| TextError::Encode { bytes: 0, reason })
    }
}

impl ChatTemplate {
    /// Renders an example, with a system text where the template takes one, and looks for what is odd. `ends` are the
    /// tokens at which the model stops.
    ///
    /// # Errors
    /// Those of [`render`](Self::render).
    pub fn check(&self, tokenizer: &Tokenizer, ends: &[u32]) -> Result<TemplateCheck, TextError> {
        let turns = [Message::user("What is 1 + 1?"), Message::assistant("2"), Message::user("And 2 + 2?")];
        let system = [Message::system("Be brief.")];
        let render = |prompt| {
            let whole = self.render(tokenizer, &[&system[..], &turns].concat(), prompt);
            whole.or_else(|_| self.render(tokenizer, &turns, prompt))
        };
        let example = render(GenerationPrompt::Assistant)?;
        let answered = self.render(tokenizer, &turns[..2], GenerationPrompt::None)?;
        // What is behind the answer; a template that changes it is looked at as a whole.
        let behind = answered.rsplit_once('2').map_or(answered.as_str(), |(_, behind)| behind);
        let spellings = ends.iter().filter_map(|&id| tokenizer.token(id));
        let unwritten = spellings.filter(|end| !behind.contains(end.as_str())).collect();
        Ok(TemplateCheck { opens_think: example.trim_end().ends_with("<think>"), example, unwritten })
    }
}
