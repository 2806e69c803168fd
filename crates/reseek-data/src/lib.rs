//! Documents to packed batches: the embedded corpus or a user's own folder, worked problems mixed in, FIM, packing with
//! a cursor that resumes exactly, held-out text for bits per byte, and needle documents for long contexts.
//!
//! Everything is a function of a seed and an index: item `i` of a mixture is the same whether or not the items before
//! it were made, so a cursor is two numbers.
//!
//! ```
//! use std::sync::Arc;
//! use reseek_data::{Corpus, Cursor, Mixture, MixtureSpec, PackedBatches, Problems, TokenizedCorpus};
//! use reseek_text::Tokenizer;
//!
//! let text = "Once there was a house by the river, and in it lived a miller with three sons.";
//! let corpus = Arc::new(Corpus::from_texts([(text, "tale/1"), ("A cat has four legs; two cats have eight.", "tale/2")])?);
//! let tokenizer = Arc::new(Tokenizer::train(&[text], 300, 1)?);
//! let documents = Arc::new(TokenizedCorpus::new(corpus, &tokenizer)?);
//! let mixture = Mixture::new(documents, Arc::new(Problems::default()), tokenizer, MixtureSpec::default(), 1)?;
//! let mut batches = PackedBatches::new(mixture, 16, Cursor::default())?;
//! let batch = batches.next_batch(2)?;
//! assert_eq!(batch.tokens[1..16], batch.targets[..15]);
//! # Ok::<(), reseek_data::DataError>(())
//! ```

#![deny(missing_docs)]

mod clean;
mod corpus;
mod embedded;
mod error;
mod fim;
mod folder;
mod heldout;
mod interleave;
mod mixture;
mod needle;
mod packing;
mod problems;
mod reading;
mod stream;
mod tokenized;
mod traces;

pub use corpus::{Corpus, Document};
pub use error::DataError;
pub use heldout::{Heldout, HeldoutWindow, long_windows};
pub use mixture::{ItemKind, Mixture, MixtureSpec, NeedleSpec, tokenizer_texts};
pub use needle::{Haystack, Needle};
pub use packing::{Batch, Cursor, PackedBatches};
pub use problems::Problems;
pub use reading::{FileReading, Holds, Reading, Side};
pub use tokenized::TokenizedCorpus;
pub use traces::{Trace, TraceError, Traces, Turn, parse_traces};
