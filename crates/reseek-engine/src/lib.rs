//! From prompts to completions: batched sampling with a KV cache, and the log-probabilities of given texts.
//!
//! Sequences are decoded in continuous batches: a finished one leaves its slot to the next, and the samples of one prompt share its
//! prefill. A row's bits depend on its own sequence alone, so neither the batch nor the number of threads changes a result.

#![deny(missing_docs)]

mod generate;
mod sample;
mod score;

pub use generate::{Completion, Finish, GenerateOptions, Request, StreamName, generate};
pub use sample::Sampling;
pub use score::{logprobs, score};

/// Why a request cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A prompt fills the model's context, so that no token can follow.
    #[error(
        "request {request}: a prompt of {prompt} tokens leaves no room in a context of {context}. Shorten the prompt or extend the model."
    )]
    PromptTooLong {
        /// Which request.
        request: usize,
        /// Its tokens.
        prompt: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// A prompt without a token.
    #[error("request {request}: the prompt is empty. Begin with the begin-of-sentence token.")]
    EmptyPrompt {
        /// Which request.
        request: usize,
    },
    /// A token that the model does not know.
    #[error("token {token} is outside of the vocabulary of {vocab}. The text was tokenised for another model.")]
    UnknownToken {
        /// The token.
        token: u32,
        /// The model's vocabulary.
        vocab: usize,
    },
    /// A sampling setting outside of its range.
    #[error("{key} {value} will not do: it takes {allowed}. {hint}")]
    Setting {
        /// Which setting.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Its range.
        allowed: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The model's output is not a number.
    #[error(
        "the model gives a probability that is not a number at position {position}. Its weights are damaged or its training diverged."
    )]
    NotFinite {
        /// Position in the sequence.
        position: usize,
    },
}
