//! Packing of a mixture into sequences of one length, and the cursor with which it resumes.

use std::collections::VecDeque;

use reseek_text::Special;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::mixture::{ItemKind, Mixture};

/// Items that are made at once, on all threads: about those of a small batch.
const AHEAD: u64 = 32;

/// A place in the stream of a mixture: the next sequence begins at token `offset` of item `item`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Item of the mixture.
    pub item: u64,
    /// Token within it.
    pub offset: u64,
}

/// Sequences of one length. Shapes: B sequences, T tokens each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[B, T]`.
    pub tokens: Vec<u32>,
    /// `[B, T]`: the token after each.
    pub targets: Vec<u32>,
    /// T.
    pub seq_len: usize,
    /// Bytes of text that the targets stand for; control tokens stand for none.
    pub bytes: usize,
}

/// The mixture as one stream of tokens, cut every `seq_len` of them. As in DeepSeek-V3, documents follow each other in
/// a sequence without a mask between them, and go on in the next one. Neighbouring sequences share one token, which is
/// the last target of one and the first token of the other, so every token but the first is a target exactly once.
#[derive(Debug)]
pub struct PackedBatches {
    mixture: Mixture,
    seq_len: usize,
    cursor: Cursor,
    /// The tokens of item `cursor.item`, and those of items behind it.
    current: Vec<u32>,
    ahead: VecDeque<Result<(ItemKind, Vec<u32>), DataError>>,
    /// Bytes of text of each token id.
    text_bytes: Vec<usize>,
}

impl PackedBatches {
    /// Begins at `cursor`: the default one is the beginning, one from [`cursor`](Self::cursor) goes on from there.
    /// Corpus, tokenizer, seed and mixture must be the same; the sequence length may differ.
    ///
    /// # Errors
    /// A sequence length of 0, a cursor that does not fit the mixture.
    pub fn new(mut mixture: Mixture, seq_len: usize, cursor: Cursor) -> Result<Self, DataError> {
        if seq_len == 0 {
            return Err(DataError::Setting {
                key: "seq_len",
                value: "0".into(),
                expected: "at least 1",
                hint: "The nano scale has 256.",
            });
        }
        let (_, current) = mixture.item(cursor.item)?;
        if cursor.offset >= current.len() as u64 {
            let Cursor { item, offset } = cursor;
            return Err(DataError::Cursor { item, offset, tokens: current.len() });
        }
        let tokenizer = mixture.tokenizer();
        let mut text_bytes: Vec<usize> =
            (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token_bytes(id).len()).collect();
        for id in Special::ALL.into_iter().filter_map(|special| tokenizer.special(special).ok()) {
            text_bytes[id as usize] = 0;
        }
        Ok(Self { mixture, seq_len, cursor, current, ahead: VecDeque::new(), text_bytes })
    }

    /// Where the next batch begins.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The tokens of item `i`, the next; with it come some behind it.
    fn take(&mut self, i: u64) -> Result<Vec<u32>, DataError> {
        if self.ahead.is_empty() {
            self.ahead = self.mixture.items(i..i + AHEAD).into();
        }
        // An item's error is that of whoever comes to it.
        Ok(self.ahead.pop_front().expect("items were just made")?.1)
    }

    /// The next `n_sequences` sequences.
    ///
    /// # Errors
    /// Those of [`Mixture::item`].
    pub fn next_batch(&mut self, n_sequences: usize) -> Result<Batch, DataError> {
        let n_tokens = n_sequences * self.seq_len;
        let mut stream = Vec::with_capacity(n_tokens + 1);
        while stream.len() < n_tokens {
            let rest = &self.current[self.cursor.offset as usize..];
            let taken = rest.len().min(n_tokens - stream.len());
            stream.extend_from_slice(&rest[..taken]);
            self.cursor.offset += taken as u64;
            if self.cursor.offset == self.current.len() as u64 {
                self.cursor = Cursor { item: self.cursor.item + 1, offset: 0 };
                self.current = self.take(self.cursor.item)?;
            }
        }
        // The token under the cursor is the last target; the next batch begins with it.
        stream.push(self.current[self.cursor.offset as usize]);
        let targets = stream[1..].to_vec();
        stream.truncate(n_tokens);
        let bytes = targets.iter().map(|&id| self.text_bytes[id as usize]).sum();
        Ok(Batch { tokens: stream, targets, seq_len: self.seq_len, bytes })
    }
}
