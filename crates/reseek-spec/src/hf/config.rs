//! Typed access to the keys of a config.json. It remembers which were asked for: all others have to be known to be without effect.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::keys::{self, Rule};
use crate::{Family, SpecError};

/// End tokens that are read at most.
const ENDS_MAX: usize = 1024;

/// A JSON object, with its place for messages.
pub(crate) struct Config<'a> {
    map: &'a Map<String, Value>,
    /// What holds it within config.json, with a dot; nothing for the file itself.
    prefix: String,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Config<'a> {
    /// The whole file.
    pub fn new(value: &'a Value) -> Result<Self, SpecError> {
        let map = value.as_object().ok_or_else(|| SpecError::Json { message: "not an object".to_string() })?;
        Ok(Self::within(map, String::new()))
    }

    fn within(map: &'a Map<String, Value>, prefix: String) -> Self {
        Self { map, prefix, asked: RefCell::default() }
    }

    /// The value of `key`, if there is one that is not null.
    pub fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there, and be it null.
    pub fn has_key(&self, key: &'static str) -> bool {
        self.asked.borrow_mut().insert(key);
        self.map.contains_key(key)
    }

    /// The keys that were asked for.
    #[cfg(test)]
    pub fn asked(&self) -> BTreeSet<&'static str> {
        self.asked.borrow().clone()
    }

    /// `key` as messages name it.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn mistyped(&self, key: &str, value: &Value, allowed: &str) -> SpecError {
        SpecError::clash(format!("{} = {}", self.name(key), shown(value)), allowed, "mend the value in config.json")
    }

    fn needed(&self, key: &'static str) -> Result<&'a Value, SpecError> {
        self.value(key).ok_or_else(|| SpecError::Missing { key: self.name(key) })
    }

    pub fn size(&self, key: &'static str) -> Result<usize, SpecError> {
        let value = self.needed(key)?;
        whole(value).ok_or_else(|| self.mistyped(key, value, "a whole number"))
    }

    pub fn size_or(&self, key: &'static str, default: usize) -> Result<usize, SpecError> {
        if self.value(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// A size that has two names, which must not contradict each other.
    pub fn either_size(&self, names: [&'static str; 2]) -> Result<Option<usize>, SpecError> {
        let [first, second] = names.map(|key| self.value(key).map(|_| self.size(key)).transpose());
        match (first?, second?) {
            (Some(first), Some(second)) if first != second => {
                let what = format!("{} = {first}", names[0]);
                Err(SpecError::clash(
                    what,
                    &format!("what {} = {second} says", names[1]),
                    "they are names of one thing",
                ))
            }
            (first, second) => Ok(first.or(second)),
        }
    }

    pub fn number(&self, key: &'static str) -> Result<f64, SpecError> {
        let value = self.needed(key)?;
        value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| self.mistyped(key, value, "a number"))
    }

    pub fn number_or(&self, key: &'static str, default: f64) -> Result<f64, SpecError> {
        if self.value(key).is_some() { self.number(key) } else { Ok(default) }
    }

    pub fn flag_or(&self, key: &'static str, default: bool) -> Result<bool, SpecError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.mistyped(key, value, "true or false"))
    }

    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, SpecError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.mistyped(key, value, "a text"))
    }

    pub fn list(&self, key: &'static str) -> Result<Option<&'a [Value]>, SpecError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_array().map(|list| Some(list.as_slice())).ok_or_else(|| self.mistyped(key, value, "a list"))
    }

    /// A list with an entry a layer.
    pub fn list_of_layers(&self, key: &'static str, layers: usize) -> Result<Option<&'a [Value]>, SpecError> {
        let list = self.list(key)?;
        if let Some(list) = list
            && list.len() != layers
        {
            let what = format!("{} with {} entries", self.name(key), list.len());
            let allowed = format!("one for each of num_hidden_layers = {layers}");
            return Err(SpecError::clash(what, &allowed, "one of the two is of another model"));
        }
        Ok(list)
    }

    pub fn object(&self, key: &'static str) -> Result<Option<Config<'a>>, SpecError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| self.mistyped(key, value, "an object"))?;
        Ok(Some(Config::within(map, format!("{}{key}.", self.prefix))))
    }

    /// A token id.
    pub fn token_or(&self, key: &'static str, default: u32) -> Result<u32, SpecError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        token(value).ok_or_else(|| self.mistyped(key, value, "a token's number"))
    }

    /// The end token, and those beside it.
    pub fn ends(&self, default: u32) -> Result<(u32, Vec<u32>), SpecError> {
        const KEY: &str = "eos_token_id";
        let Some(Value::Array(list)) = self.value(KEY) else { return Ok((self.token_or(KEY, default)?, Vec::new())) };
        let ids: Option<Vec<u32>> = list.iter().take(ENDS_MAX + 1).map(token).collect();
        match ids.as_deref() {
            Some([first, others @ ..]) if others.len() < ENDS_MAX => Ok((*first, others.to_vec())),
            _ => {
                let allowed = format!("a token's number, or a list of 1 to {ENDS_MAX}");
                Err(self.mistyped(KEY, &Value::Array(list.clone()), &allowed))
            }
        }
    }

    /// # Errors
    /// A key that nothing has asked for, unless it is known to be without effect, or has the value at which it is.
    pub fn only_known(&self, family: Family) -> Result<(), SpecError> {
        let asked = self.asked.borrow();
        let left = |key: &str, value: &Value| !(asked.contains(key) || key.starts_with('_') || value.is_null());
        for (key, value) in self.map.iter().filter(|(key, value)| left(key, value)) {
            match keys::rule(family, key) {
                Some(Rule::Idle(_)) => {}
                Some(Rule::Only(plain, _)) if plain.is(value) => {}
                Some(Rule::Only(plain, why)) => {
                    let what = format!("{key} = {}", shown(value));
                    return Err(SpecError::clash(what, &plain.to_string(), why));
                }
                None => return Err(self.unknown(key, value, family)),
            }
        }
        Ok(())
    }

    /// # Errors
    /// A key that is not among `known`.
    pub fn only(&self, known: &[&str], family: Family) -> Result<(), SpecError> {
        let left = |key: &str| !(known.contains(&key) || self.asked.borrow().contains(key));
        match self.map.iter().find(|(key, value)| !value.is_null() && left(key)) {
            Some((key, value)) => Err(self.unknown(key, value, family)),
            None => Ok(()),
        }
    }

    fn unknown(&self, key: &str, value: &Value, family: Family) -> SpecError {
        let place = match self.prefix.trim_end_matches('.') {
            "" => "config.json".to_string(),
            inner => format!("{inner} of config.json"),
        };
        let key = key.chars().take(60).collect();
        SpecError::UnknownKey { place, key, value: shown(value), family: family.names().1.to_string() }
    }

    /// What an unknown architecture would need: sizes that its config.json lacks, and a meaning for keys that nothing here reads.
    pub fn missing(&self) -> String {
        const SHOWN: usize = 8;
        let lacks: Vec<&str> = keys::SIZES.into_iter().filter(|key| !self.map.contains_key(*key)).collect();
        let unread: Vec<String> =
            self.map.keys().filter(|key| !keys::is_common(key)).map(|key| key.chars().take(40).collect()).collect();
        let mut out = "how its layers are built is missing".to_string();
        if !lacks.is_empty() {
            out += &format!(", its config.json lacks {}", lacks.join(", "));
        }
        if !unread.is_empty() {
            let more = if unread.len() > SHOWN { " and others" } else { "" };
            out += &format!(", nothing here reads its {}{more}", unread[..unread.len().min(SHOWN)].join(", "));
        }
        out
    }
}

/// A value's beginning, for messages.
pub(crate) fn shown(value: &Value) -> String {
    // A long list is not written out to be cut.
    let mut text = match value {
        Value::Array(list) => Value::Array(list.iter().take(20).cloned().collect()).to_string(),
        value => value.to_string(),
    };
    if let Some((at, _)) = text.char_indices().nth(60) {
        text.truncate(at);
        text += "…";
    }
    text
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

/// Whole numbers only: 8.0 is one to Python and none to transformers' checks.
pub(crate) fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}
