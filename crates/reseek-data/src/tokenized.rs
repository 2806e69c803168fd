//! A corpus with its tokens.

use std::sync::Arc;

use rayon::prelude::*;
use reseek_text::Tokenizer;

use crate::corpus::{Corpus, Document, passages};
use crate::error::DataError;

/// A corpus and the tokens of each training document, encoded once.
#[derive(Clone, Debug)]
pub struct TokenizedCorpus {
    corpus: Arc<Corpus>,
    tokens: Vec<Vec<u32>>,
    /// Whether a document is a passage that goes on where the one before it ends.
    goes_on: Vec<bool>,
}

impl TokenizedCorpus {
    /// Encodes every training document, on all threads; the result does not depend on their number.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub fn new(corpus: Arc<Corpus>, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let encoded: Result<_, _> =
            corpus.documents.par_iter().map(|document| tokenizer.encode(&document.text)).collect();
        Ok(Self { tokens: encoded?, goes_on: vec![false; corpus.documents.len()], corpus })
    }

    /// The same of a corpus whose training documents are cut into passages of at most `bytes_max` bytes, at the end of a paragraph,
    /// line or word where there is one in the second half. Sequences do not see beyond their ends, so what is lost is little;
    /// what is won is that a batch mixes many sources as a batch of V3's thousands of sequences does, where a document of
    /// thirty thousand bytes would fill several batches of the nano scale on its own.
    ///
    /// # Errors
    /// As [`TokenizedCorpus::new`].
    pub fn in_passages(corpus: &Corpus, bytes_max: usize, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let (mut cut, mut goes_on) = (Vec::new(), Vec::new());
        for document in &corpus.documents {
            for (i, text) in passages(&document.text, bytes_max.max(4)).into_iter().enumerate() {
                cut.push(Document { text: text.to_owned(), source: document.source.clone() });
                goes_on.push(i > 0);
            }
        }
        Ok(Self { goes_on, ..Self::new(Arc::new(corpus.with_documents(cut)), tokenizer)? })
    }

    /// Neighbouring passages of one document put together while they have at most `bytes_max` bytes: longer passages, without encoding
    /// them again.
    pub fn joined(&self, bytes_max: usize) -> Self {
        let (mut documents, mut tokens, mut goes_on) = (Vec::<Document>::new(), Vec::<Vec<u32>>::new(), Vec::new());
        for ((passage, ids), &follows) in self.corpus.documents.iter().zip(&self.tokens).zip(&self.goes_on) {
            match (documents.last_mut(), tokens.last_mut()) {
                (Some(last), Some(last_ids)) if follows && last.text.len() + passage.text.len() <= bytes_max => {
                    last.text.push_str(&passage.text);
                    last_ids.extend_from_slice(ids);
                }
                _ => {
                    documents.push(passage.clone());
                    tokens.push(ids.clone());
                    goes_on.push(follows);
                }
            }
        }
        Self { corpus: Arc::new(self.corpus.with_documents(documents)), tokens, goes_on }
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
