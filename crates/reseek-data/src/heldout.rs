//! Held-out text for bits per byte.

use reseek_text::{Special, Tokenizer};

use crate::corpus::Corpus;
use crate::error::DataError;

/// A piece of a held-out document that fits a context. Bits per byte of a set of windows are
/// −Σ log₂ p(target) / Σ bytes; they compare models with different tokenizers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldoutWindow {
    /// `[T]`, T at most the context length.
    pub tokens: Vec<u32>,
    /// `[T]`: the token after each. All are text: the end token is not scored.
    pub targets: Vec<u32>,
    /// Bytes that the targets stand for.
    pub bytes: usize,
    /// Index into [`Corpus::heldout`].
    pub document: usize,
}

/// The windows of a corpus's held-out documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heldout {
    /// In the order of the documents. The targets of a document's windows, put together, are its text.
    pub windows: Vec<HeldoutWindow>,
}

/// The first `length` tokens of every held-out document that has as many and one more, from the begin token on: text that goes
/// on for a whole long context, for the loss at its far end.
///
/// # Errors
/// A text that the tokenizer refuses, a tokenizer without a begin token.
pub fn long_windows(corpus: &Corpus, tokenizer: &Tokenizer, length: usize) -> Result<Vec<HeldoutWindow>, DataError> {
    let bos = tokenizer.special(Special::Bos)?;
    let mut windows = Vec::new();
    for (document, text) in corpus.heldout.iter().enumerate() {
        let mut ids = vec![bos];
        ids.extend(tokenizer.encode(&text.text)?);
        if ids.len() > length {
            let targets = ids[1..=length].to_vec();
            let bytes = targets.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
            ids.truncate(length);
            windows.push(HeldoutWindow { tokens: ids, targets, bytes, document });
        }
    }
    Ok(windows)
}

impl Heldout {
    /// Cuts held-out documents into windows of at most `seq_len` tokens, each with a context of its own: a long
    /// document's later windows begin without what came before, so the measure is a little pessimistic.
    ///
    /// At most about `bytes_max` bytes of text are taken, spread evenly over the documents.
    ///
    /// # Errors
    /// A text that the tokenizer refuses, a tokenizer without a begin token.
    ///
    /// # Panics
    /// If `seq_len` is 0.
    pub fn new(corpus: &Corpus, tokenizer: &Tokenizer, seq_len: usize, bytes_max: usize) -> Result<Self, DataError> {
        assert!(seq_len > 0, "seq_len is 0: a window holds at least one token");
        let bos = tokenizer.special(Special::Bos)?;
        let all: usize = corpus.heldout.iter().map(|document| document.text.len()).sum();
        let every = all.div_ceil(bytes_max.max(1)).max(1);
        let mut windows = Vec::new();
        for (document, text) in corpus.heldout.iter().enumerate().step_by(every) {
            let mut ids = vec![bos];
            ids.extend(tokenizer.encode(&text.text)?);
            let mut start = 0;
            while start + 1 < ids.len() {
                let end = (start + seq_len).min(ids.len() - 1);
                let targets = ids[start + 1..=end].to_vec();
                let bytes = targets.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
                windows.push(HeldoutWindow { tokens: ids[start..end].to_vec(), targets, bytes, document });
                start = end;
            }
        }
        Ok(Self { windows })
    }

    /// Bytes of all windows.
    pub fn bytes(&self) -> usize {
        self.windows.iter().map(|window| window.bytes).sum()
    }
}
