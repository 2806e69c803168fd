//! Keys and values of a GGUF file, typed, with a record of those that were asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::damaged;
use super::source::{Place, Source};
use crate::StoreError;

const TEXT: u32 = 8;
const LIST: u32 = 9;

/// A value. Numbers of all widths are one of two; lists stay in the file until somebody asks for them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
    Text(String),
    List { kind: u32, count: u64, at: u64 },
}

impl Value {
    pub fn read(source: &mut Source<'_>, path: &Path) -> Result<Self, StoreError> {
        match source.u32()? {
            TEXT => source.text().map(Self::Text),
            LIST => {
                let (kind, count) = (source.u32()?, source.u64()?);
                let at = source.at;
                match (kind, width(kind)) {
                    (LIST, _) => return Err(damaged(path, "lists of lists are not read")),
                    (TEXT, _) => {
                        source.check_room(count, 8)?;
                        for _ in 0..count {
                            let len = source.u64()?;
                            source.skip(len)?;
                        }
                    }
                    (_, Some(width)) => {
                        source.check_room(count, width)?;
                        source.skip(count * width)?;
                    }
                    (_, None) => return Err(unknown(kind, at, path)),
                }
                Ok(Self::List { kind, count, at })
            }
            kind => Self::scalar(kind, source, path),
        }
    }

    fn scalar(kind: u32, source: &mut Source<'_>, path: &Path) -> Result<Self, StoreError> {
        Ok(match kind {
            0 | 7 => Self::Integer(source.array::<1>()?[0].into()),
            1 => Self::Integer((source.array::<1>()?[0] as i8).into()),
            2 => Self::Integer(u16::from_le_bytes(source.array()?).into()),
            3 => Self::Integer(i16::from_le_bytes(source.array()?).into()),
            4 => Self::Integer(source.u32()?.into()),
            5 => Self::Integer(i32::from_le_bytes(source.array()?).into()),
            6 => Self::Float(shortest(f32::from_le_bytes(source.array()?))),
            10 => Self::Integer(i64::try_from(source.u64()?).unwrap_or(i64::MAX)),
            11 => Self::Integer(i64::from_le_bytes(source.array()?)),
            12 => Self::Float(f64::from_le_bytes(source.array()?)),
            other => return Err(unknown(other, source.at, path)),
        })
    }
}

/// Bytes of a scalar.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn unknown(kind: u32, at: u64, path: &Path) -> StoreError {
    damaged(path, format!("value of unknown kind {kind} at byte {at}"))
}

/// The number that was meant where a configuration's f64 was stored as f32: its shortest decimal.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Keys and values of a file.
#[derive(Debug)]
pub(super) struct Metadata {
    place: Arc<Place>,
    values: BTreeMap<String, Value>,
    asked: RefCell<BTreeSet<String>>,
}

impl Metadata {
    pub fn new(place: Arc<Place>, values: BTreeMap<String, Value>) -> Self {
        Self { place, values, asked: RefCell::default() }
    }

    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether somebody has asked for the key.
    pub fn was_asked(&self, key: &str) -> bool {
        self.asked.borrow().contains(key)
    }

    /// An error about the value of a key.
    pub fn wrong(&self, key: &str, found: impl Display, expected: &str) -> StoreError {
        damaged(self.path(), format!("{key} is {found}, and it must be {expected}"))
    }

    /// An error about a key that is not obeyed.
    pub fn refused(&self, key: &str, found: impl Display, known: &str) -> StoreError {
        let mend = "take the model's Hugging Face folder with safetensors instead";
        StoreError::malformed(self.path(), format!("{key} is {found}, and known here is {known}"), mend)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        let value = self.values.get(key);
        if value.is_some() {
            self.asked.borrow_mut().insert(key.to_owned());
        }
        value
    }

    pub fn text(&self, key: &str) -> Result<&str, StoreError> {
        self.optional_text(key)?.ok_or_else(|| self.wrong(key, "absent", "a text"))
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<&str>, StoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "no text", "a text")),
        }
    }

    pub fn count(&self, key: &str) -> Result<usize, StoreError> {
        self.optional_count(key)?.ok_or_else(|| self.wrong(key, "absent", "a number"))
    }

    pub fn optional_count(&self, key: &str) -> Result<Option<usize>, StoreError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) if u32::try_from(*n).is_ok() => Ok(Some(*n as usize)),
            Some(_) => Err(self.wrong(key, "something else", "a whole number below 2^32")),
        }
    }

    /// A count for every layer: one number, or a list of equal ones.
    pub fn optional_layers(&self, key: &str) -> Result<Option<usize>, StoreError> {
        if !matches!(self.get(key), Some(Value::List { .. })) {
            return self.optional_count(key);
        }
        let counts = self.integers(key)?;
        match counts.first().map(|&first| (first, usize::try_from(first))) {
            Some((first, Ok(count))) if counts.iter().all(|&n| n == first) => Ok(Some(count)),
            _ => Err(self.refused(key, "a list of different numbers", "the same number in every layer")),
        }
    }

    pub fn number(&self, key: &str) -> Result<f64, StoreError> {
        self.optional_number(key)?.ok_or_else(|| self.wrong(key, "absent", "a number"))
    }

    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, StoreError> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::Float(x)) => *x,
            Some(Value::Integer(n)) => *n as f64,
            Some(_) => return Err(self.wrong(key, "no number", "a number")),
        };
        if number.is_finite() { Ok(Some(number)) } else { Err(self.wrong(key, number, "finite")) }
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, StoreError> {
        Ok(self.optional_count(key)?.map(|flag| flag != 0))
    }

    pub fn texts(&self, key: &str) -> Result<Vec<String>, StoreError> {
        match self.get(key) {
            Some(&Value::List { kind: TEXT, count, at }) => {
                let mut source = self.place.from(at);
                (0..count).map(|_| source.text()).collect()
            }
            _ => Err(self.wrong(key, "absent or something else", "a list of texts")),
        }
    }

    pub fn integers(&self, key: &str) -> Result<Vec<i64>, StoreError> {
        let integer = |value| if let Value::Integer(n) = value { Some(n) } else { None };
        self.list(key, integer)?.ok_or_else(|| self.wrong(key, "absent or something else", "a list of whole numbers"))
    }

    pub fn numbers(&self, key: &str) -> Result<Vec<f64>, StoreError> {
        let number = |value| match value {
            Value::Float(x) => Some(x),
            Value::Integer(n) => Some(n as f64),
            _ => None,
        };
        self.list(key, number)?.ok_or_else(|| self.wrong(key, "absent or something else", "a list of numbers"))
    }

    fn list<T>(&self, key: &str, take: impl Fn(Value) -> Option<T>) -> Result<Option<Vec<T>>, StoreError> {
        let Some(&Value::List { kind, count, at }) = self.get(key) else { return Ok(None) };
        if kind == TEXT {
            return Ok(None);
        }
        let mut source = self.place.from(at);
        (0..count).map(|_| Value::scalar(kind, &mut source, self.path()).map(&take)).collect()
    }
}
