//! What can go wrong with text, each with the place and the mend.

use std::path::PathBuf;

use crate::special::Special;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum TextError {
    /// The vocabulary cannot hold its fixed part.
    #[error(
        "vocab_size {vocab_size} is too small: {fixed} entries are fixed (special tokens and 256 bytes). \
         Choose at least {fixed}, for the nano scale 2048."
    )]
    VocabTooSmall { vocab_size: usize, fixed: usize },
    /// A digit group that is not 1, 2 or 3.
    #[error("digit_group {0} is not 1, 2 or 3. 1 reads numbers digit by digit, 3 is DeepSeek-V3's.")]
    DigitGroup(usize),
    /// Training on nothing.
    #[error("there is no text to train a tokenizer on. The corpus is empty or holds only white space.")]
    EmptyCorpus,
    /// A file that cannot be read.
    #[error("{path}: {source}. {mend}", mend = mend_of(source))]
    Read { path: PathBuf, source: std::io::Error },
    /// A tokenizer.json or tokenizer_config.json that cannot be understood.
    #[error("{place}: {reason}. The file is damaged or not a Hugging Face tokenizer.")]
    Malformed { place: String, reason: String },
    /// A tokenizer with a step that is not computed.
    #[error(
        "{place}: {reason}, which is not computed here. Use a tokenizer of Llama, Mistral, Gemma, Qwen or DeepSeek."
    )]
    Unsupported { place: String, reason: String },
    /// A tokenizer that GGUF has no parts for.
    #[error(
        "the tokenizer has no form in a GGUF file: {reason}. Write the model as a folder, which keeps its tokenizer.json."
    )]
    NoParts { reason: String },
    /// A control token that this tokenizer does not have.
    #[error("the tokenizer has no token {token}. Train one with `reseek tokenizer`, or choose a model that has it.")]
    MissingSpecial { token: String },
    /// A control token that this tokenizer's configuration does not name.
    #[error(
        "The tokenizer has no {} token: its tokenizer_config.json names none. Choose a model that has one.",
        special.role()
    )]
    NoSpecial { special: Special },
    /// The tokenizers crate refused a text.
    #[error("cannot tokenize a text of {bytes} bytes: {reason}")]
    Encode { bytes: usize, reason: String },
    /// A chat template that does not parse, or that refused the messages.
    #[error("chat template: {reason}. Check the roles of the messages and chat_template.jinja.")]
    Template { reason: String },
}

/// What to do about a file that cannot be read.
fn mend_of(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => "Name a folder that holds it, or put it there.",
        Kind::PermissionDenied => "Make it readable for this user.",
        _ => "Put the model's own file in its place.",
    }
}
