//! A corpus with its tokens.

use std::sync::Arc;

use rayon::prelude::*;
use reseek_text::Tokenizer;

use crate::corpus::Corpus;
use crate::error::DataError;

/// A corpus and the tokens of each training document, encoded once.
#[derive(Clone, Debug)]
pub struct TokenizedCorpus {
    corpus: Arc<Corpus>,
    tokens: Vec<Vec<u32>>,
}

impl TokenizedCorpus {
    /// Encodes every training document, on all threads; the result does not depend on their number.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub fn new(corpus: Arc<Corpus>, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let encoded: Result<_, _> =
            corpus.documents.par_iter().map(|document| tokenizer.encode(&document.text)).collect();
        Ok(Self { tokens: encoded?, corpus })
    }

    /// The corpus itself.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// The tokens of training document `index`, without begin and end.
    pub fn document(&self, index: usize) -> &[u32] {
        &self.tokens[index]
    }

    /// Number of training documents.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of all training documents together.
    pub fn n_tokens(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }
}
