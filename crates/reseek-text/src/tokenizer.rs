//! The tokenizer: text to ids and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rayon::prelude::*;
use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
use tokenizers::{DecoderWrapper, Encoding, PreTokenizerWrapper, Token};

use crate::bpe;
use crate::bytes::{byte_to_char, token_bytes};
use crate::error::TextError;
use crate::guard::{CUT, Guard, split_at, whitespace_cuts};
use crate::layout;
use crate::special::{Special, between_specials};

/// A byte-level BPE tokenizer: any text can be encoded, and decoding gives it back byte for byte.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// tokenizer.json as it was read or made.
    json: Vec<u8>,
    /// What each id stands for; empty for an id that is not used.
    bytes: Vec<Box<[u8]>>,
    /// Ids with Hugging Face's `special` flag.
    hidden: BTreeSet<u32>,
    guard: Guard,
    /// Spellings of the begin, end and padding tokens: V3's, or those that tokenizer_config.json names, if it names any.
    control: [Option<String>; 3],
}

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

    /// Reads a tokenizer.json. `place` names it in errors.
    ///
    /// # Errors
    /// Damaged or foreign JSON, a tokenizer that is not byte-level BPE.
    pub fn from_bytes(json: &[u8], place: &str) -> Result<Self, TextError> {
        let malformed = |reason: String| TextError::Malformed { place: place.to_owned(), reason };
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| malformed(error.to_string()))?;
        match inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => {}
            other => {
                let decoder = format!("{other:?}").chars().take(60).collect();
                return Err(TextError::NotByteLevel { place: place.to_owned(), decoder });
            }
        }
        inner.with_truncation(None).map_err(|error| malformed(error.to_string()))?.with_padding(None);

        let vocab = inner.get_vocab(true);
        let n_ids = vocab.values().max().map_or(0, |&id| id as usize + 1);
        // Real vocabularies have a few holes at most; a file that claims more would only cost memory.
        if n_ids > 4 * vocab.len() + 1024 {
            return Err(malformed(format!("{} tokens, but ids up to {}", vocab.len(), n_ids - 1)));
        }
        let added = inner.get_added_tokens_decoder();
        let mut bytes = vec![Box::default(); n_ids];
        for (token, &id) in &vocab {
            let meaning = match added.get(&id) {
                Some(added) => Some(added.content.clone().into_bytes()),
                None => token_bytes(token),
            };
            let meaning = meaning.ok_or_else(|| malformed(format!("token {id} ({token:?}) is not byte-level")))?;
            bytes[id as usize] = meaning.into_boxed_slice();
        }
        let hidden = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let guard = Guard::new(added.values().map(|token| token.content.as_str()));
        let control = [Special::Bos, Special::Eos, Special::Pad].map(|special| Some(special.text().to_owned()));
        Ok(Self { inner, json: json.to_vec(), bytes, hidden, guard, control })
    }

    /// Reads tokenizer.json from a model folder, and the names of the begin, end and padding tokens from
    /// tokenizer_config.json if there is one: a token that it does not name, or names as null, is one that this
    /// tokenizer does not have. Its `add_bos_token` is not read, as transformers 5 does not read it beside a
    /// tokenizer.json: the post-processor there says what is put around a text.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes), and files that cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Self, TextError> {
        let path = folder.join("tokenizer.json");
        let json = std::fs::read(&path).map_err(|source| TextError::Read { path: path.clone(), source })?;
        let mut tokenizer = Self::from_bytes(&json, &path.display().to_string())?;
        if let Some(config) = read_config(folder)? {
            for (name, key) in tokenizer.control.iter_mut().zip(["bos_token", "eos_token", "pad_token"]) {
                // Either a string, or an object that holds it.
                let value = &config[key];
                *name = value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
            }
        }
        Ok(tokenizer)
    }

    /// The same with other spellings of the begin, end and padding tokens.
    pub(crate) fn with_control(mut self, control: [Option<String>; 3]) -> Self {
        self.control = control;
        self
    }

    /// The bytes of tokenizer.json, as they were read or made.
    pub fn to_json(&self) -> &[u8] {
        &self.json
    }

    /// The bytes of tokenizer_config.json for a model with this context length in tokens; without a template for one
    /// that has learnt no conversation.
    pub fn to_config_json(&self, chat_template: Option<&str>, model_max_length: usize) -> Vec<u8> {
        serde_json::to_vec_pretty(&layout::tokenizer_config_json(chat_template, model_max_length))
            .expect("a JSON value can be written")
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// The id of a token by its spelling in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of a control token.
    ///
    /// # Errors
    /// A tokenizer from elsewhere may lack it.
    pub fn special(&self, special: Special) -> Result<u32, TextError> {
        let token = self.special_text(special).ok_or(TextError::NoSpecial { special })?;
        self.token_id(token).ok_or_else(|| TextError::MissingSpecial { token: token.to_owned() })
    }

    /// The spelling of a control token: of begin, end and padding as tokenizer_config.json has it, none where that
    /// names none.
    pub fn special_text(&self, special: Special) -> Option<&str> {
        match special {
            Special::Bos => self.control[0].as_deref(),
            Special::Eos => self.control[1].as_deref(),
            Special::Pad => self.control[2].as_deref(),
            other => Some(other.text()),
        }
    }

    /// The ids of plain text. Spellings of control tokens in it stay text, and no begin token is added.
    ///
    /// # Errors
    /// A regular expression of a tokenizer from elsewhere that gives up on this text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        for piece in split_at(text, &self.guard.cuts(text)) {
            self.encode_piece(piece, &mut ids)?;
        }
        Ok(ids)
    }

    /// The ids of plain text with what the tokenizer's own post-processor puts around it, most often a begin token or
    /// nothing: what transformers' `tokenizer.encode(text)` gives, except that spellings of control tokens stay text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_framed(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let ids = self.encode(text)?;
        // Post-processors look at ids only: spellings and offsets may stay empty.
        let tokens = ids.into_iter().map(|id| Token::new(id, String::new(), (0, 0))).collect();
        let framed = self
            .inner
            .post_process(Encoding::from_tokens(tokens, 0), None, true)
            .map_err(|error| TextError::Encode { bytes: text.len(), reason: error.to_string() })?;
        Ok(framed.get_ids().to_vec())
    }

    /// The ids of text in which the spellings of control tokens mean those tokens: text that templates made. No begin
    /// token is added.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        for piece in text.split(CUT) {
            self.encode_piece(piece, &mut ids)?;
        }
        Ok(ids)
    }

    /// `text` changed invisibly so that [`encode_with_special`](Self::encode_with_special) takes it for plain text
    /// wherever it stands inside a larger one: for what users write in the slots of a template.
    pub fn mark_plain(&self, text: &str) -> String {
        self.guard.mark(text)
    }

    fn encode_piece(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TextError> {
        for piece in split_at(text, &whitespace_cuts(text)) {
            let encoding = self
                .inner
                .encode_fast(piece, false)
                .map_err(|error| TextError::Encode { bytes: piece.len(), reason: error.to_string() })?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(())
    }

    /// The bytes that a token stands for. An id outside the vocabulary stands for U+FFFD.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or("\u{fffd}".as_bytes(), |bytes| bytes)
    }

    /// The text of the ids, control tokens spelt out. Bytes that are not UTF-8 come out as U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.text_of(ids.iter().copied())
    }

    /// As [`decode`](Self::decode), without the tokens that Hugging Face's `skip_special_tokens` hides: begin, end,
    /// padding. `<think>` stays.
    pub fn decode_visible(&self, ids: &[u32]) -> String {
        self.text_of(ids.iter().copied().filter(|id| !self.hidden.contains(id)))
    }

    fn text_of(&self, ids: impl Iterator<Item = u32>) -> String {
        let bytes: Vec<u8> = ids.flat_map(|id| self.token_bytes(id).iter().copied()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// tokenizer_config.json of a model folder, if there is one.
pub(crate) fn read_config(folder: &Path) -> Result<Option<serde_json::Value>, TextError> {
    let path = folder.join("tokenizer_config.json");
    match std::fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| TextError::Malformed { place: path.display().to_string(), reason: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read { path, source }),
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
