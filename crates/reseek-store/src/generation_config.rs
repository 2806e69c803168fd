//! generation_config.json: how a model is meant to be sampled, and which tokens end its answers.

use std::path::Path;

use serde_json::{Map, Value};

use crate::StoreError;
use crate::regular::{self, CONFIG_BYTES_MAX};

/// Its name in a model's folder.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// Most tokens that end an answer. Llama 3.2 has three.
const ENDS_MAX: usize = 1000;

/// The file. What it does not say is nothing; what is not read here is kept and written back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end an answer, each of them. None where the file is silent: then the tokenizer's or the model's end token does.
    pub eos_token_ids: Vec<u32>,
    /// Token before a text.
    pub bos_token_id: Option<u32>,
    /// Token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// Whether tokens are drawn; the likeliest is taken where it is false.
    pub do_sample: Option<bool>,
    /// Divisor of the logits.
    pub temperature: Option<f64>,
    /// Share of the probability that is drawn from.
    pub top_p: Option<f64>,
    /// Number of tokens that are drawn from; 0 for all of them.
    pub top_k: Option<usize>,
    /// Share of the likeliest token's probability below which none is drawn.
    pub min_p: Option<f64>,
    /// Divisor of the positive logits of tokens that were there before.
    pub repetition_penalty: Option<f64>,
    keys: Map<String, Value>,
}

impl GenerationConfig {
    /// Reads the file of the model folder `dir`; none where there is none.
    ///
    /// # Errors
    /// If it is no file, too long, or [`GenerationConfig::parse`] refuses it.
    pub fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(GENERATION_CONFIG);
        match path.symlink_metadata() {
            Ok(_) => Self::parse(&regular::read_regular(&path, CONFIG_BYTES_MAX)?, &path).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Reads the text of such a file; `path` is what errors point at.
    ///
    /// # Errors
    /// If it is no JSON object, or a key that is read has a value that it cannot have.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let keys: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| {
            StoreError::malformed(path, e, "fetch the file again, or remove it to sample without its advice")
        })?;
        let keys = Keys { keys, path };
        Ok(Self {
            eos_token_ids: keys.tokens("eos_token_id")?,
            bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
            pad_token_id: keys.tokens("pad_token_id")?.first().copied(),
            do_sample: keys.get("do_sample", "true or false", Value::as_bool)?,
            temperature: keys.number("temperature", 1e6)?,
            top_p: keys.number("top_p", 1.0)?,
            // Some write -1 for no cut.
            top_k: keys
                .get("top_k", "a whole number", |value| value.as_i64().map(|k| usize::try_from(k).unwrap_or(0)))?,
            min_p: keys.number("min_p", 1.0)?,
            repetition_penalty: keys.number("repetition_penalty", 1e6)?,
            keys: keys.keys,
        })
    }

    /// The file as it was read, for a copy of the model.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(&self.keys).expect("a map with string keys is JSON");
        bytes.push(b'\n');
        bytes
    }
}

struct Keys<'a> {
    keys: Map<String, Value>,
    path: &'a Path,
}

impl Keys<'_> {
    /// The value of a key; null is none.
    fn get<T>(&self, key: &str, allowed: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, StoreError> {
        let value = match self.keys.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        read(value).map(Some).ok_or_else(|| {
            let value: String = value.to_string().chars().take(60).collect();
            let reason = format!("{key} is {value}, and it must be {allowed}");
            StoreError::malformed(self.path, reason, "mend the value, or remove its line")
        })
    }

    fn number(&self, key: &str, greatest: f64) -> Result<Option<f64>, StoreError> {
        let allowed = format!("a number from 0 to {greatest}");
        self.get(key, &allowed, |value| value.as_f64().filter(|number| (0.0..=greatest).contains(number)))
    }

    /// One token or a list of them.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, StoreError> {
        let token = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let tokens = self.get(key, "a token's number or a list of such", |value| match value {
            Value::Array(list) if list.len() <= ENDS_MAX => list.iter().map(token).collect::<Option<Vec<u32>>>(),
            value => token(value).map(|id| vec![id]),
        })?;
        Ok(tokens.unwrap_or_default())
    }
}
