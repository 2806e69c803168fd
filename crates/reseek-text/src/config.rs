//! tokenizer_config.json: which tokens have a name, and the flags of added ones, as transformers 5 reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::TextError;
use crate::file::read_if_there;

/// What a folder says of its tokenizer besides tokenizer.json.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// `bos_token`, `eos_token` and the like, with the spellings.
    names: BTreeMap<String, String>,
    /// Tokens whose flags stand in the configuration, in the order of their ids.
    decoder: Vec<AddedToken>,
    /// Tokens that are special because they have a name.
    special: Vec<AddedToken>,
}

impl Config {
    /// Begin, end and padding token, and nothing else.
    pub(crate) fn named(control: [Option<String>; 3]) -> Self {
        let keys = ["bos_token", "eos_token", "pad_token"].map(str::to_owned);
        let names = keys.into_iter().zip(control).filter_map(|(key, token)| Some((key, token?))).collect();
        Self { names, ..Self::default() }
    }

    /// The configuration of a folder; `None` without a tokenizer_config.json.
    pub(crate) fn from_folder(folder: &Path) -> Result<Option<Self>, TextError> {
        let Some(mut keys) = read_json(folder, "tokenizer_config.json")? else { return Ok(None) };
        if !keys.contains_key("added_tokens_decoder")
            && let Some(map) = read_json(folder, "special_tokens_map.json")?
        {
            // Files from before the decoder: their names of tokens come first.
            keys.extend(map);
        }
        Self::from_keys(&keys).map(Some).map_err(|reason| TextError::Malformed {
            place: folder.join("tokenizer_config.json").display().to_string(),
            reason,
        })
    }

    fn from_keys(keys: &Map<String, Value>) -> Result<Self, String> {
        let mut config = Self::default();
        if let Some(decoder) = keys.get("added_tokens_decoder").and_then(Value::as_object) {
            let mut tokens = Vec::new();
            for (id, value) in decoder {
                let id: u32 = id.parse().map_err(|_| format!("added_tokens_decoder has {id:?} for an id"))?;
                let token = token(value).ok_or_else(|| format!("token {id} of added_tokens_decoder has no content"))?;
                tokens.push((id, token));
            }
            tokens.sort_by_key(|(id, _)| *id);
            config.decoder = tokens.into_iter().map(|(_, token)| token).collect();
        }
        for (key, value) in keys.iter().filter(|(key, _)| key.ends_with("_token")) {
            if let Some(token) = token(value) {
                config.names.insert(key.clone(), token.content.clone());
                config.special.push(token);
            }
        }
        for key in ["extra_special_tokens", "additional_special_tokens"] {
            match keys.get(key) {
                Some(Value::Array(tokens)) => config.special.extend(tokens.iter().filter_map(token)),
                Some(Value::Object(tokens)) => {
                    for (name, value) in tokens {
                        if let Some(token) = token(value) {
                            config.names.insert(name.clone(), token.content.clone());
                            config.special.push(token);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(config)
    }

    /// The spelling of the token with this name.
    pub(crate) fn name(&self, key: &str) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }

    /// All names with their spellings.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().map(|(name, token)| (name.as_str(), token.as_str()))
    }

    /// The added tokens of tokenizer.json with the flags of the configuration, and behind them those named tokens that
    /// stand in the vocabulary only. (transformers also makes new ids for named tokens that stand nowhere: a model has
    /// no rows for such.)
    pub(crate) fn over(&self, mut added: Vec<AddedToken>, is_known: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        added.extend(self.decoder.iter().cloned());
        let known: BTreeSet<String> = added.iter().map(|token| token.content.clone()).collect();
        let named = self.special.iter().filter(|token| !known.contains(&token.content) && is_known(&token.content));
        added.extend(named.cloned().map(|token| token.special(true)));
        added
    }
}

/// An object of a folder's JSON file, if the file is there.
pub(crate) fn read_json(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>, TextError> {
    let path = folder.join(name);
    let Some(json) = read_if_there(&path)? else { return Ok(None) };
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(|error| TextError::Malformed { place: path.display().to_string(), reason: error.to_string() })
}

/// A token that is written as its spelling, or as an object with its flags.
fn token(value: &Value) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return Some(AddedToken::from(content, true));
    }
    let content = value["content"].as_str()?;
    let flag = |name: &str, otherwise: bool| value[name].as_bool().unwrap_or(otherwise);
    let special = flag("special", false);
    Some(
        AddedToken::from(content, special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !special)),
    )
}
