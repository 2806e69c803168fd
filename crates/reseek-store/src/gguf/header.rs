//! The first part of a GGUF file: metadata and the list of tensors (version 2 and 3, little-endian).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{BlockKind, damaged};
use crate::StoreError;

/// Dimensions that a tensor may have.
const DIMENSIONS_MAX: u32 = 4;
/// Bytes that a tensor's description takes at the least: an empty name, one dimension, kind and place.
const INFO_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;

/// A value of the metadata. Numbers of all widths are one of two.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Integer(i64),
    Float(f64),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    /// A list of something that no key of ours is.
    OtherList(u64),
}

/// Keys and values of the file.
#[derive(Debug)]
pub(super) struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

/// Where a tensor lies and how.
#[derive(Debug)]
pub(super) struct TensorInfo {
    pub name: String,
    /// Outermost dimension first, as Hugging Face has it.
    pub shape: Vec<usize>,
    pub kind: BlockKind,
    place: u64,
    bytes: u64,
}

/// What stands before the values.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

impl Header {
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let len = file.metadata().map_err(StoreError::io("read", path))?.len();
        let mut source = Source { reader: BufReader::new(file), path, at: 0, len };
        if source.bytes(4)? != b"GGUF" {
            return Err(damaged(path, "the file does not begin with GGUF"));
        }
        let version = source.u32()?;
        if !(2..=3).contains(&version) {
            return Err(damaged(path, format!("version {version}, read are 2 and 3")));
        }
        let (n_tensors, n_values) = (source.u64()?, source.u64()?);
        let mut values = BTreeMap::new();
        for _ in 0..n_values {
            let key = source.text()?;
            let kind = source.u32()?;
            let value = source.value(kind)?;
            values.insert(key, value);
        }
        let metadata = Metadata { path: path.to_path_buf(), values };
        source.check_room(n_tensors, INFO_BYTES_MIN)?;
        let mut tensors = (0..n_tensors).map(|_| source.tensor()).collect::<Result<Vec<_>, _>>()?;
        let alignment = metadata.optional_count("general.alignment")?.unwrap_or(32).max(1) as u64;
        let first = source.at.next_multiple_of(alignment);
        for tensor in &mut tensors {
            let end = first.checked_add(tensor.place).and_then(|place| Some((place, place.checked_add(tensor.bytes)?)));
            match end {
                Some((place, end)) if end <= len => tensor.place = place,
                _ => {
                    let (name, place) = (&tensor.name, tensor.place);
                    return Err(damaged(path, format!("tensor {name} at {place} ends behind the file of {len} bytes")));
                }
            }
        }
        Ok(Self { metadata, tensors })
    }

    /// # Errors
    /// If the file has no such tensor.
    pub fn tensor(&self, path: &Path, name: &str) -> Result<&TensorInfo, StoreError> {
        self.tensors
            .iter()
            .find(|tensor| tensor.name == name)
            .ok_or_else(|| damaged(path, format!("there is no tensor {name}")))
    }
}

impl TensorInfo {
    /// Its blocks.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let mut file = File::open(path).map_err(StoreError::io("open", path))?;
        let mut bytes = vec![0; self.bytes as usize];
        file.seek(SeekFrom::Start(self.place)).map_err(StoreError::io("read", path))?;
        file.read_exact(&mut bytes).map_err(StoreError::io("read", path))?;
        Ok(bytes)
    }
}

impl Metadata {
    /// An error about the value of a key.
    pub fn wrong(&self, key: &str, found: impl Display, expected: &str) -> StoreError {
        damaged(&self.path, format!("{key} is {found}, and it must be {expected}"))
    }

    pub fn text(&self, key: &str) -> Result<&str, StoreError> {
        self.optional_text(key)?.ok_or_else(|| self.wrong(key, "absent", "a text"))
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<&str>, StoreError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "no text", "a text")),
        }
    }

    pub fn count(&self, key: &str) -> Result<usize, StoreError> {
        self.optional_count(key)?.ok_or_else(|| self.wrong(key, "absent", "a number"))
    }

    pub fn optional_count(&self, key: &str) -> Result<Option<usize>, StoreError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) if u32::try_from(*n).is_ok() => Ok(Some(*n as usize)),
            Some(_) => Err(self.wrong(key, "something else", "a whole number below 2^32")),
        }
    }

    pub fn number(&self, key: &str) -> Result<f64, StoreError> {
        self.optional_number(key)?.ok_or_else(|| self.wrong(key, "absent", "a number"))
    }

    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, StoreError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Integer(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(self.wrong(key, "no number", "a number")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Vec<String>, StoreError> {
        match self.values.get(key) {
            Some(Value::Texts(texts)) => Ok(texts.clone()),
            _ => Err(self.wrong(key, "absent or something else", "a list of texts")),
        }
    }

    pub fn integers(&self, key: &str) -> Result<&[i64], StoreError> {
        match self.values.get(key) {
            Some(Value::Integers(integers)) => Ok(integers),
            _ => Err(self.wrong(key, "absent or something else", "a list of whole numbers")),
        }
    }
}

/// The bytes of the file from its beginning, with what is left of it.
struct Source<'a> {
    reader: BufReader<File>,
    path: &'a Path,
    at: u64,
    len: u64,
}

impl Source<'_> {
    /// That `count` things of at least `size` bytes can still come.
    fn check_room(&self, count: u64, size: u64) -> Result<(), StoreError> {
        let left = self.len - self.at;
        match count.checked_mul(size) {
            Some(bytes) if bytes <= left => Ok(()),
            _ => Err(damaged(self.path, format!("{count} items at byte {}, but only {left} bytes are left", self.at))),
        }
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, StoreError> {
        self.check_room(count, 1)?;
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes).map_err(StoreError::io("read", self.path))?;
        self.at += count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.bytes(N as u64)?;
        Ok(bytes.try_into().expect("as many as asked for"))
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, StoreError> {
        let len = self.u64()?;
        let bytes = self.bytes(len)?;
        String::from_utf8(bytes).map_err(|_| damaged(self.path, format!("a text before byte {} is not UTF-8", self.at)))
    }

    fn value(&mut self, kind: u32) -> Result<Value, StoreError> {
        const TEXT: u32 = 8;
        const LIST: u32 = 9;
        match kind {
            TEXT => self.text().map(Value::Text),
            LIST => self.list(),
            _ => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value, StoreError> {
        Ok(match kind {
            0 | 7 => Value::Integer(self.array::<1>()?[0].into()),
            1 => Value::Integer((self.array::<1>()?[0] as i8).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            10 => Value::Integer(i64::try_from(self.u64()?).unwrap_or(i64::MAX)),
            11 => Value::Integer(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(damaged(self.path, format!("value of unknown kind {other} at byte {}", self.at))),
        })
    }

    fn list(&mut self) -> Result<Value, StoreError> {
        let (kind, count) = (self.u32()?, self.u64()?);
        match kind {
            8 => {
                self.check_room(count, 8)?;
                (0..count).map(|_| self.text()).collect::<Result<_, _>>().map(Value::Texts)
            }
            9 => Err(damaged(self.path, "lists of lists are not read")),
            _ => {
                self.check_room(count, 1)?;
                let values = (0..count).map(|_| self.scalar(kind)).collect::<Result<Vec<_>, _>>()?;
                let integer = |value: &Value| if let Value::Integer(n) = value { Some(*n) } else { None };
                Ok(match values.iter().map(integer).collect::<Option<Vec<_>>>() {
                    Some(integers) => Value::Integers(integers),
                    None => Value::OtherList(count),
                })
            }
        }
    }

    fn tensor(&mut self) -> Result<TensorInfo, StoreError> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return Err(damaged(self.path, format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut shape = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let number = self.u32()?;
        let kind = BlockKind::of_number(number).ok_or_else(|| StoreError::TensorKind {
            path: self.path.to_path_buf(),
            name: name.clone(),
            number,
        })?;
        let place = self.u64()?;
        let values = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let columns = *shape.last().expect("at least one dimension");
        let block = kind.values_per_block() as u64;
        let bytes = values.and_then(|values| (values / block).checked_mul(kind.bytes_per_block() as u64));
        match bytes {
            Some(bytes) if columns.is_multiple_of(block) && bytes <= self.len => {
                let shape = shape.into_iter().map(|size| size as usize).collect();
                Ok(TensorInfo { name, shape, kind, place, bytes })
            }
            _ => Err(damaged(self.path, format!("tensor {name} of shape {shape:?} is no {kind:?} in this file"))),
        }
    }
}
