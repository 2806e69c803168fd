//! Text to tokens and back: a byte-level BPE tokenizer with DeepSeek-V3's pre-tokenizer and special tokens, its
//! training, and chat templates.
//!
//! The files are Hugging Face's: [`Tokenizer::to_json`] is a `tokenizer.json` that transformers loads, and
//! [`Tokenizer::from_folder`] loads any (DeepSeek, Llama, Qwen, SmolLM, Mistral, Gemma, T5); [`Tokenizer::from_parts`]
//! makes one of what a GGUF file holds, [`Tokenizer::to_parts`] goes the other way. A string of text never
//! becomes a control token by itself: [`Tokenizer::encode`] treats `<｜User｜>` in a user's text as plain characters,
//! [`Tokenizer::encode_with_special`] is for the text that templates make, and [`Tokenizer::encode_framed`] gives a text
//! to be scored the ids that transformers gives it, those of `special` tokens aside.
//!
//! ```
//! use reseek_text::{Special, Tokenizer};
//! let documents = ["the cat sat on the mat; the cat sat; the mat", "12 + 30 = 42, and the cat sat"];
//! let tokenizer = Tokenizer::train(&documents, 280, 1)?;
//! let ids = tokenizer.encode("the cat: 42")?;
//! assert_eq!(tokenizer.decode(&ids), "the cat: 42");
//! assert_eq!(tokenizer.special(Special::Bos)?, 0);
//! # Ok::<(), reseek_text::TextError>(())
//! ```

#![deny(missing_docs)]

mod added;
mod bounds;
mod bpe;
mod bytes;
mod charsmap;
mod chat;
mod clock;
mod config;
mod decode;
mod describe;
mod encode;
mod error;
mod file;
mod jinja;
mod layout;
mod parts;
mod pre;
mod python;
mod special;
mod stream;
mod to_parts;
mod to_pieces;
mod tokenizer;
mod train;

pub use chat::{ChatTemplate, GenerationPrompt, Message, encode_turn};
pub use describe::{AddedTokenInfo, TemplateCheck};
pub use error::TextError;
pub use parts::{PartsModel, TokenKind, TokenizerParts};
pub use special::Special;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
