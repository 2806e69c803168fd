//! The tokenizer: where it comes from, what its tokens are, and ids back to text.

use std::borrow::Cow;
use std::path::Path;

use tokenizers::{DecoderWrapper, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use crate::added::AddedTokens;
use crate::bounds::{Part, part};
use crate::bytes::token_bytes;
use crate::config::Config;
use crate::decode::Steps;
use crate::error::TextError;
use crate::file::{self, File};
use crate::layout;
use crate::special::Special;
use crate::stream::StreamDecoder;

/// A tokenizer of any kind that a tokenizer.json describes: pairs of bytes, as ours are, pairs of characters with bytes
/// for what they don't spell (Llama 2, Mistral, Gemma), Unigram (T5), WordPiece. With one that has a token for each byte
/// any text can be encoded, and byte-level ones without a normalizer give it back byte for byte.
#[derive(Debug)]
pub struct Tokenizer {
    pub(crate) normalizer: Option<NormalizerWrapper>,
    pub(crate) pre_tokenizer: Option<PreTokenizerWrapper>,
    pub(crate) model: ModelWrapper,
    pub(crate) post_processor: Option<PostProcessorWrapper>,
    pub(crate) added: AddedTokens,
    pub(crate) steps: Steps,
    /// The token of what the model cannot spell.
    pub(crate) unk: Option<u32>,
    /// tokenizer.json as it was read or made.
    json: Vec<u8>,
    /// What each id stands for; empty for an id that is not used.
    bytes: Vec<Box<[u8]>>,
    /// Names of the begin, end and padding tokens and others: V3's, or those of tokenizer_config.json, if there is one.
    pub(crate) config: Config,
}

impl Tokenizer {
    /// Reads a tokenizer.json. `place` names it in errors.
    ///
    /// # Errors
    /// Damaged or foreign JSON, a tokenizer whose steps are not computed here or would cost without bounds.
    pub fn from_bytes(json: &[u8], place: &str) -> Result<Self, TextError> {
        let named = [Special::Bos, Special::Eos, Special::Pad].map(|special| Some(special.text().to_owned()));
        Self::with_config(json, Config::named(named), place)
    }

    /// Reads tokenizer.json from a model folder, and from tokenizer_config.json, if there is one, the names of the
    /// begin, end, padding and other tokens and the flags of added ones: a token that it does not name, or names as
    /// null, is one that this tokenizer does not have. Its `add_bos_token` is not read, as transformers 5 does not read
    /// it beside a tokenizer.json: the post-processor there says what is put around a text.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes), and files that cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Self, TextError> {
        let path = folder.join("tokenizer.json");
        let json = file::read(&path)?;
        let place = path.display().to_string();
        match Config::from_folder(folder)? {
            Some(config) => Self::with_config(&json, config, &place),
            None => Self::from_bytes(&json, &place),
        }
    }

    pub(crate) fn with_config(json: &[u8], config: Config, place: &str) -> Result<Self, TextError> {
        let malformed = |reason: String| TextError::Malformed { place: place.to_owned(), reason };
        let unsupported = |reason: String| TextError::Unsupported { place: place.to_owned(), reason };
        let file = File::parse(json).map_err(malformed)?;
        let step = |name, raw| part(name, raw).map_err(malformed);
        let normalizer = part("normalizer", file.normalizer).map_err(malformed)?.map(|part| part.step);
        let pre_tokenizer = part("pre_tokenizer", file.pre_tokenizer).map_err(malformed)?.map(|part| part.step);
        let post_processor = part("post_processor", file.post_processor).map_err(malformed)?.map(|part| part.step);
        let decoder: Option<Part<DecoderWrapper>> = step("decoder", file.decoder)?;
        let steps = Steps::new(decoder.as_ref()).map_err(unsupported)?;
        let (unk, model) = file.model.build().map_err(malformed)?;
        let unk = unk.and_then(|token| model.token_to_id(&token));
        let added = config.over(file.added_tokens.0, |token| model.token_to_id(token).is_some());
        let id_of = |token: &str| model.token_to_id(token);
        let added = AddedTokens::new(added, id_of, model.get_vocab_size(), normalizer.as_ref()).map_err(malformed)?;
        let bytes = meanings(&model, &added, &steps).map_err(malformed)?;
        let json = json.to_vec();
        let tokenizer =
            Self { normalizer, pre_tokenizer, model, post_processor, added, steps, unk, json, bytes, config };
        let frame = tokenizer.framed(Vec::new()).map_err(malformed)?;
        match frame.into_iter().find(|&id| id as usize >= tokenizer.vocab_size()) {
            Some(id) => Err(malformed(format!("the post_processor puts token {id} around a text, and there is none"))),
            None => Ok(tokenizer),
        }
    }

    /// The bytes of tokenizer.json, as they were read or made.
    pub fn to_json(&self) -> &[u8] {
        &self.json
    }

    /// The bytes of tokenizer_config.json for a model with this context length in tokens; without a template for one
    /// that has learnt no conversation.
    pub fn to_config_json(&self, chat_template: Option<&str>, model_max_length: usize) -> Vec<u8> {
        let names = [Special::Bos, Special::Eos, Special::Pad].map(|special| self.special_text(special));
        let (before, after) = self.frame().unwrap_or_default();
        let added = [!before.is_empty(), !after.is_empty()];
        serde_json::to_vec_pretty(&layout::tokenizer_config_json(names, added, chat_template, model_max_length))
            .expect("a JSON value can be written")
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// The id of a token by its spelling in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.added.id(token).or_else(|| self.model.token_to_id(token))
    }

    /// The spelling of a token in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.added.get(id).map(|token| token.content.clone()).or_else(|| self.model.id_to_token(id))
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
            Special::Bos => self.config.name("bos_token"),
            Special::Eos => self.config.name("eos_token"),
            Special::Pad => self.config.name("pad_token"),
            other => Some(other.text()),
        }
    }

    /// The named tokens (`bos_token`, `eos_token`, `pad_token` and others of tokenizer_config.json) with their spellings.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.config.names()
    }

    /// The bytes that a token stands for behind others; at the front of a text some tokenizers drop its blank. An id
    /// outside the vocabulary stands for U+FFFD.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or("\u{fffd}".as_bytes(), |bytes| bytes)
    }

    /// The bytes that a token stands for at its place.
    pub(crate) fn token_bytes_at(&self, id: u32, is_first: bool) -> Cow<'_, [u8]> {
        match self.token(id) {
            Some(token) if is_first && self.steps.first_differs => Cow::Owned(self.steps.first(&token)),
            _ => Cow::Borrowed(self.token_bytes(id)),
        }
    }

    /// How many blanks decoding takes off the front of a text, where it has them.
    pub(crate) fn front_blanks(&self) -> usize {
        self.steps.blanks
    }

    /// The text of the ids, control tokens spelt out. Bytes that are not UTF-8 come out as U+FFFD: one for each
    /// unfinished character, where transformers' byte fallback has one for each byte.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.text_of(ids.iter().copied())
    }

    /// As [`decode`](Self::decode), without the tokens that Hugging Face's `skip_special_tokens` hides: begin, end,
    /// padding. `<think>` stays.
    pub fn decode_visible(&self, ids: &[u32]) -> String {
        self.text_of(ids.iter().copied().filter(|&id| self.added.get(id).is_none_or(|token| !token.special)))
    }

    fn text_of(&self, ids: impl Iterator<Item = u32>) -> String {
        let mut stream = StreamDecoder::new(self);
        ids.for_each(|id| stream.take(id));
        stream.finish()
    }
}

/// What each id stands for.
fn meanings(model: &ModelWrapper, added: &AddedTokens, steps: &Steps) -> Result<Vec<Box<[u8]>>, String> {
    let vocab = model.get_vocab();
    let largest = vocab.values().copied().chain(added.iter().map(|(id, _)| id)).max();
    let n_ids = largest.map_or(0, |id| id as usize + 1);
    // Real vocabularies have a few holes at most; a file that claims more would only cost memory.
    let n_tokens = vocab.len() + added.iter().count();
    if n_ids > 4 * n_tokens + 1024 {
        return Err(format!("{n_tokens} tokens, but ids up to {}", n_ids - 1));
    }
    let is_byte_level = steps.is_byte_level();
    let is_foreign = |(token, id): &(&String, &u32)| added.get(**id).is_none() && token_bytes(token).is_none();
    if is_byte_level {
        // Some vocabularies hold a few tokens that no text leads to, which stand for themselves; in one of another kind
        // most are such.
        let n_foreign = vocab.iter().filter(is_foreign).count();
        if n_foreign > vocab.len() / 10
            && let Some((token, id)) = vocab.iter().filter(is_foreign).min_by_key(|(_, id)| **id)
        {
            return Err(format!(
                "{n_foreign} of {} tokens are not byte-level, the first is {id} ({token:?})",
                vocab.len()
            ));
        }
    }
    let mut spellings = vec![String::new(); n_ids];
    for (token, id) in vocab {
        spellings[id as usize] = token;
    }
    added.iter().for_each(|(id, token)| spellings[id as usize] = token.content.clone());
    let mut bytes: Vec<Box<[u8]>> = steps.later(spellings).into_iter().map(Vec::into_boxed_slice).collect();
    if is_byte_level {
        // Added tokens are written as they are.
        added.iter().for_each(|(id, token)| bytes[id as usize] = token.content.clone().into_bytes().into());
    }
    Ok(bytes)
}
