//! Training: documents to a tokenizer.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use tokenizers::PreTokenizerWrapper;
use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::added::split_at;
use crate::bpe;
use crate::bytes::byte_to_char;
use crate::encode::whitespace_cuts;
use crate::error::TextError;
use crate::layout;
use crate::special::{Special, between_specials};
use crate::tokenizer::Tokenizer;

impl Tokenizer {
    /// Trains a tokenizer of `vocab_size` entries, special tokens and the 256 bytes included. Fewer come out if the
    /// text has too few pairs that occur twice. At `digit_group` 1 each digit is a token of its own, at 3 up to three
    /// digits share one, as in DeepSeek-V3.
    ///
    /// The same documents give the same bytes, in any order and on any number of threads.
    ///
    /// # Errors
    /// A vocabulary too small for its fixed part, a digit group outside 1..=3, no text.
    pub fn train<S: AsRef<str> + Sync>(
        documents: &[S],
        vocab_size: usize,
        digit_group: usize,
    ) -> Result<Self, TextError> {
        let fixed = Special::ALL.len() + 256;
        if vocab_size < fixed {
            return Err(TextError::VocabTooSmall { vocab_size, fixed });
        }
        if !(1..=3).contains(&digit_group) {
            return Err(TextError::DigitGroup(digit_group));
        }
        if documents.iter().all(|document| document.as_ref().trim().is_empty()) {
            return Err(TextError::EmptyCorpus);
        }
        let counts = count_words(documents, digit_group)?;
        let words: BTreeMap<&str, u64> = counts.iter().map(|(word, &count)| (word.as_str(), count)).collect();
        let mut alphabet: [u8; 256] = std::array::from_fn(|byte| byte as u8);
        let table = byte_to_char();
        alphabet.sort_by_key(|&byte| table[usize::from(byte)]);
        let trained = bpe::train(&words, vocab_size - Special::ALL.len(), &alphabet);
        let json = serde_json::to_vec_pretty(&layout::tokenizer_json(&trained, digit_group))
            .expect("a JSON value can be written");
        Self::from_bytes(&json, "the trained tokenizer")
    }
}

/// How often each word of V3's pre-tokenizer occurs in the documents.
fn count_words<S: AsRef<str> + Sync>(documents: &[S], digit_group: usize) -> Result<HashMap<String, u64>, TextError> {
    let splits = serde_json::json!({"type": "Sequence", "pretokenizers": layout::splits(digit_group)});
    let splits: PreTokenizerWrapper = serde_json::from_value(splits).expect("the pre-tokenizer is valid");
    let count = |mut counts: HashMap<String, u64>, document: &S| {
        let parts = between_specials(document.as_ref()).into_iter();
        for piece in parts.flat_map(|part| split_at(part, &whitespace_cuts(part))) {
            let mut text = PreTokenizedString::from(piece);
            splits
                .pre_tokenize(&mut text)
                .map_err(|error| TextError::Encode { bytes: piece.len(), reason: error.to_string() })?;
            for (word, ..) in text.get_splits(OffsetReferential::Original, OffsetType::None) {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(word.to_owned(), 1)),
                }
            }
        }
        Ok(counts)
    };
    documents.par_iter().try_fold(HashMap::new, count).try_reduce(HashMap::new, |mut left, right| {
        for (word, count) in right {
            *left.entry(word).or_insert(0) += count;
        }
        Ok(left)
    })
}
