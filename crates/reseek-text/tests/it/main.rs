//! Behaviour of the tokenizer and of the chat templates, seen from outside.

mod bombs;
mod chat;
mod frames;
mod hostile;
mod parts;
mod pieces;
mod real;
mod templates;
mod train;

use std::sync::LazyLock;

use reseek_text::{ChatTemplate, Tokenizer};

/// DeepSeek-V3's template, without tool calls.
pub fn deepseek_v3() -> ChatTemplate {
    ChatTemplate::new(include_str!("../vectors/deepseek_v3.jinja")).unwrap()
}

/// English prose, code and a little Chinese: this crate's own sources.
pub const DOCUMENTS: [&str; 7] = [
    include_str!("../../src/bpe.rs"),
    include_str!("../../src/chat.rs"),
    include_str!("../../src/error.rs"),
    include_str!("../../src/added.rs"),
    include_str!("../../src/layout.rs"),
    include_str!("../../src/tokenizer.rs"),
    include_str!("../vectors/chat.json"),
];

/// A tokenizer of 1,000 entries with single digits.
pub static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::train(&DOCUMENTS, 1000, 1).expect("trains"));
