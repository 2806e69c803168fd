//! tokenizer.json as it stands in a file, read with its sizes bounded.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::models::bpe::BpeBuilder;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedToken, ModelWrapper};

use crate::error::TextError;

/// Largest file that is read: the largest tokenizer.json of a published model has a fifth of it.
const FILE_BYTES_MAX: u64 = 200 << 20;
/// Most entries of a vocabulary, or merges, that are read.
const ENTRIES_MAX: usize = 4 << 20;
/// Longest piece of a word that WordPiece looks at: it tries every piece of a word.
const WORD_CHARS_MAX: usize = 1000;

/// The bytes of a regular file of at most [`FILE_BYTES_MAX`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TextError> {
    let read = || {
        // A pipe would be waited for, a device has no end.
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Err(std::io::Error::other("this is no regular file"));
        }
        if meta.len() > FILE_BYTES_MAX {
            let reason = format!("the file has {} bytes, at most {FILE_BYTES_MAX} are read", meta.len());
            return Err(std::io::Error::other(reason));
        }
        std::fs::read(path)
    };
    read().map_err(|source| TextError::Read { path: path.to_owned(), source })
}

/// [`read`], or `None` where there is no such file, nor a link that leads nowhere.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, TextError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(TextError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound && path.symlink_metadata().is_err() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// tokenizer.json. Truncation and padding are left out: texts come one at a time and whole.
#[derive(serde::Deserialize)]
pub(crate) struct File<'a> {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    pub added_tokens: Bounded<AddedToken>,
    #[serde(borrow, default)]
    pub normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub decoder: Option<&'a RawValue>,
    pub model: Model,
}

impl<'a> File<'a> {
    /// Parses the file.
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, String> {
        let file: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        match file.version.as_deref() {
            None | Some("1.0") => Ok(file),
            Some(other) => Err(format!("version is {other:?}, 1.0 is known")),
        }
    }
}

/// A list of at most [`ENTRIES_MAX`] entries.
pub(crate) struct Bounded<T>(pub Vec<T>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    list.push(entry);
                    check_entries(list.len())?;
                }
                Ok(Bounded(list))
            }
        }
        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

fn check_entries<E: Error>(n: usize) -> Result<(), E> {
    if n <= ENTRIES_MAX { Ok(()) } else { Err(E::custom(format!("a list has more than {ENTRIES_MAX} entries"))) }
}

/// A vocabulary: ids by spelling, or scored pieces in the order of their ids.
enum Vocab {
    Ids(Vec<(String, u32)>),
    Pieces(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocab;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a vocabulary")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut ids = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    ids.push(entry);
                    check_entries(ids.len())?;
                }
                Ok(Vocab::Ids(ids))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
                let mut pieces = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    pieces.push(entry);
                    check_entries(pieces.len())?;
                }
                Ok(Vocab::Pieces(pieces))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Two tokens that become one: a list of two, or both in a string with a space between them.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                split_merge(text)
                    .map(|(left, right)| Merge(left.to_owned(), right.to_owned()))
                    .ok_or_else(|| E::custom(format!("the merge {text:?} is not of two tokens")))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                let two = (seq.next_element()?, seq.next_element()?, seq.next_element::<serde::de::IgnoredAny>()?);
                match two {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("a merge is not of two tokens")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The halves of a merge that is written as one string.
pub(crate) fn split_merge(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(_, right)| !right.contains(' '))
}

/// The `model` of tokenizer.json, of any type.
#[derive(serde::Deserialize)]
pub(crate) struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocab,
    merges: Option<Bounded<Merge>>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
    max_input_chars_per_word: Option<usize>,
}

impl Model {
    /// The type, guessed as the tokenizers crate guesses it where the file does not name it.
    fn kind(&self) -> &str {
        match &self.kind {
            Some(kind) => kind,
            None if self.merges.is_some() => "BPE",
            None if matches!(self.vocab, Vocab::Pieces(_)) => "Unigram",
            None if self.max_input_chars_per_word.is_some() => "WordPiece",
            None => "WordLevel",
        }
    }

    /// The merges in order.
    pub(crate) fn merges(self) -> Vec<[String; 2]> {
        self.merges
            .map_or_else(Vec::new, |merges| merges.0.into_iter().map(|Merge(left, right)| [left, right]).collect())
    }

    /// The spelling of the token for what the model cannot spell, and the model that the tokenizers crate computes with.
    pub(crate) fn build(self) -> Result<(Option<String>, ModelWrapper), String> {
        let unk = match &self.vocab {
            Vocab::Pieces(pieces) => self.unk_id.and_then(|id| pieces.get(id)).map(|(piece, _)| piece.clone()),
            Vocab::Ids(_) => self.unk_token.clone(),
        };
        let model = match (self.kind().to_owned().as_str(), self.vocab) {
            ("BPE", Vocab::Ids(ids)) => {
                let prefix = self.continuing_subword_prefix.as_deref().map_or(0, str::len);
                let merges = self.merges.ok_or("there are no merges")?.0;
                // The crate cuts the prefix off without looking.
                if let Some(merge) = merges.iter().find(|merge| !merge.1.is_char_boundary(prefix)) {
                    return Err(format!("the right half of a merge, {:?}, lacks the continuing prefix", merge.1));
                }
                if self.dropout.is_some_and(|dropout| dropout != 0.0) {
                    return Err("dropout is set, so a text would get other tokens each time".into());
                }
                let merges = merges.into_iter().map(|Merge(left, right)| (left, right)).collect();
                let mut builder = BpeBuilder::new()
                    .vocab_and_merges(ids.into_iter().collect::<std::collections::HashMap<_, _, _>>(), merges)
                    .fuse_unk(self.fuse_unk.unwrap_or(false))
                    .byte_fallback(self.byte_fallback.unwrap_or(false))
                    .ignore_merges(self.ignore_merges.unwrap_or(false));
                if let Some(token) = self.unk_token {
                    builder = builder.unk_token(token);
                }
                if let Some(prefix) = self.continuing_subword_prefix {
                    builder = builder.continuing_subword_prefix(prefix);
                }
                if let Some(suffix) = self.end_of_word_suffix {
                    builder = builder.end_of_word_suffix(suffix);
                }
                builder.build().map(ModelWrapper::BPE).map_err(|error| error.to_string())
            }
            ("Unigram", Vocab::Pieces(pieces)) => {
                Unigram::from(pieces, self.unk_id, self.byte_fallback.unwrap_or(false))
                    .map(ModelWrapper::Unigram)
                    .map_err(|error| error.to_string())
            }
            ("WordPiece", Vocab::Ids(ids)) => {
                let chars = self.max_input_chars_per_word.unwrap_or(100);
                if chars > WORD_CHARS_MAX {
                    return Err(format!("max_input_chars_per_word is {chars}, at most {WORD_CHARS_MAX} are read"));
                }
                WordPiece::builder()
                    .vocab(ids.into_iter().collect::<std::collections::HashMap<_, _, _>>())
                    .unk_token(self.unk_token.unwrap_or_else(|| "[UNK]".into()))
                    .continuing_subword_prefix(self.continuing_subword_prefix.unwrap_or_else(|| "##".into()))
                    .max_input_chars_per_word(chars)
                    .build()
                    .map(ModelWrapper::WordPiece)
                    .map_err(|error| error.to_string())
            }
            ("WordLevel", Vocab::Ids(ids)) => WordLevel::builder()
                .vocab(ids.into_iter().collect())
                .unk_token(self.unk_token.unwrap_or_else(|| "<unk>".into()))
                .build()
                .map(ModelWrapper::WordLevel)
                .map_err(|error| error.to_string()),
            (kind, _) => {
                Err(format!("the model {kind:?} with such a vocabulary is not BPE, Unigram, WordPiece or WordLevel"))
            }
        };
        Ok((unk, model?))
    }
}
