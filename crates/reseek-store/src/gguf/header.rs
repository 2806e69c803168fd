//! What stands before the values of a GGUF file: metadata and the list of tensors (version 2 and 3, little-endian).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::metadata::{Metadata, Value};
use super::source::{Place, Source};
use super::{BlockKind, damaged};
use crate::StoreError;

/// Dimensions that a tensor may have.
const DIMENSIONS_MAX: u32 = 4;
/// Bytes that a tensor's description takes at the least: an empty name, one dimension, kind and place.
const INFO_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;
/// Bytes of a name at the most; llama.cpp's are below 64.
const NAME_BYTES_MAX: usize = 256;
/// Bytes before the values that are read at most. The largest vocabularies take twenty million, tables of tensors a tenth of it.
const HEADER_BYTES_MAX: u64 = 256 << 20;
/// Where values begin in a file that does not say so.
pub(super) const ALIGNMENT: u64 = 32;

/// Where a tensor lies and how.
#[derive(Debug)]
pub(super) struct TensorInfo {
    pub name: String,
    /// Outermost dimension first, as Hugging Face has it.
    pub shape: Vec<usize>,
    pub kind: BlockKind,
    pub bytes: u64,
    at: u64,
    place: Arc<Place>,
}

impl TensorInfo {
    /// The blocks of rows `from..to`, where a row is one of the innermost dimension.
    pub fn read_rows(&self, from: usize, to: usize) -> Result<Vec<u8>, StoreError> {
        let row = self.row_bytes();
        self.place.read(self.at + from as u64 * row, (to - from) * row as usize)
    }

    /// The file that it lies in, with its length.
    pub fn file(&self) -> (PathBuf, u64) {
        (self.place.path.clone(), self.place.len)
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.bytes / self.rows() as u64
    }

    /// Rows of all outer dimensions.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len() - 1].iter().product()
    }

    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }
}

/// The beginning of one file.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

impl Header {
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let place = Arc::new(Place::open(path)?);
        let mut source = place.from(0).within(HEADER_BYTES_MAX);
        if source.array()? != *b"GGUF" {
            return Err(damaged(path, "the file does not begin with GGUF"));
        }
        let version = source.u32()?;
        if version.swap_bytes() <= 3 {
            return Err(StoreError::malformed(path, "the file is big-endian", "convert it on a little-endian machine"));
        }
        if !(2..=3).contains(&version) {
            return Err(damaged(path, format!("version {version}, read are 2 and 3")));
        }
        let (n_tensors, n_values) = (source.u64()?, source.u64()?);
        let mut values = BTreeMap::new();
        for _ in 0..n_values {
            let key = source.text()?;
            let value = Value::read(&mut source, path)?;
            if values.contains_key(&key) {
                return Err(damaged(path, format!("the key {} is given twice", key.escape_default())));
            }
            values.insert(key, value);
        }
        let metadata = Metadata::new(Arc::clone(&place), values);
        source.check_room(n_tensors, INFO_BYTES_MIN)?;
        let mut tensors = (0..n_tensors).map(|_| tensor(&mut source, &place)).collect::<Result<Vec<_>, _>>()?;
        let alignment = metadata.optional_count("general.alignment")?.map_or(ALIGNMENT, |n| n as u64);
        if !alignment.is_power_of_two() {
            return Err(metadata.wrong("general.alignment", alignment, "a power of 2"));
        }
        place_tensors(&mut tensors, source.at.next_multiple_of(alignment), alignment, &place)?;
        Ok(Self { metadata, tensors })
    }
}

/// One description. Its place is still counted from where the values begin.
fn tensor(source: &mut Source<'_>, place: &Arc<Place>) -> Result<TensorInfo, StoreError> {
    let name = source.text()?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        let shown: String = name.chars().take(40).collect();
        return Err(damaged(&place.path, format!("a tensor cannot be called {shown:?}")));
    }
    let dimensions = source.u32()?;
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(damaged(&place.path, format!("tensor {name} has {dimensions} dimensions")));
    }
    let mut shape = (0..dimensions).map(|_| source.u64()).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let number = source.u32()?;
    let kind = BlockKind::of_number(number).ok_or_else(|| StoreError::TensorKind {
        path: place.path.clone(),
        name: name.clone(),
        number,
    })?;
    let at = source.u64()?;
    let values = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    let columns = *shape.last().expect("at least one dimension");
    let block = kind.values_per_block() as u64;
    let bytes = values.and_then(|values| (values / block).checked_mul(kind.bytes_per_block() as u64));
    match bytes {
        Some(bytes) if bytes > 0 && columns.is_multiple_of(block) && bytes <= place.len => {
            let shape = shape.into_iter().map(|size| size as usize).collect();
            Ok(TensorInfo { name, shape, kind, bytes, at, place: Arc::clone(place) })
        }
        _ => Err(damaged(&place.path, format!("tensor {name} of shape {shape:?} is no {kind} in this file"))),
    }
}

/// Counts places from the file's beginning, and checks that they are aligned, inside of the file, and each a tensor's own.
fn place_tensors(tensors: &mut [TensorInfo], first: u64, alignment: u64, place: &Place) -> Result<(), StoreError> {
    for tensor in &mut *tensors {
        let (name, at, bytes) = (&tensor.name, tensor.at, tensor.bytes);
        if !at.is_multiple_of(alignment) {
            return Err(damaged(&place.path, format!("tensor {name} lies at {at}, no multiple of {alignment}")));
        }
        match first.checked_add(at).filter(|start| start.checked_add(bytes).is_some_and(|end| end <= place.len)) {
            Some(start) => tensor.at = start,
            None => {
                let reason =
                    format!("tensor {name} of {bytes} bytes at {at} ends behind the file of {} bytes", place.len);
                return Err(damaged(&place.path, reason));
            }
        }
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.at);
    match order.windows(2).find(|pair| pair[0].at + pair[0].bytes > pair[1].at) {
        Some(pair) => {
            Err(damaged(&place.path, format!("tensors {} and {} lie over each other", pair[0].name, pair[1].name)))
        }
        None => Ok(()),
    }
}

/// All files of a model: the first one's metadata and everybody's tensors, by name.
pub(super) fn read_all(path: &Path) -> Result<(Metadata, HashMap<String, TensorInfo>), StoreError> {
    let first = Header::read(path)?;
    let count = first.metadata.optional_count("split.count")?.unwrap_or(1);
    let expected = first.metadata.optional_count("split.tensors.count")?;
    let number = first.metadata.optional_count("split.no")?.unwrap_or(0);
    if number != 0 {
        let mend = format!("name the first part, which ends in -00001-of-{count:05}.gguf");
        return Err(StoreError::malformed(path, format!("this is part {} of {count}", number + 1), mend));
    }
    let mut tensors = HashMap::new();
    add(&mut tensors, first.tensors)?;
    for part in 1..count {
        let path = sibling(path, part, count)?;
        let header = Header::read(&path)?;
        let (no, of) = (header.metadata.count("split.no")?, header.metadata.count("split.count")?);
        if (no, of) != (part, count) {
            let reason = format!("this is part {} of {of} where part {} of {count} belongs", no + 1, part + 1);
            return Err(StoreError::malformed(&path, reason, "fetch all parts of one model"));
        }
        add(&mut tensors, header.tensors)?;
    }
    match expected {
        Some(expected) if expected != tensors.len() => {
            let found = tensors.len();
            Err(first.metadata.wrong("split.tensors.count", expected, &format!("the {found} tensors of all parts")))
        }
        _ => Ok((first.metadata, tensors)),
    }
}

fn add(tensors: &mut HashMap<String, TensorInfo>, more: Vec<TensorInfo>) -> Result<(), StoreError> {
    for tensor in more {
        let path = tensor.place.path.clone();
        if let Some(twice) = tensors.insert(tensor.name.clone(), tensor) {
            return Err(StoreError::DuplicateTensor { path, name: twice.name });
        }
    }
    Ok(())
}

/// The path of another part: `name-00001-of-00003.gguf` has its number counted on.
fn sibling(path: &Path, part: usize, count: usize) -> Result<PathBuf, StoreError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_suffix(&format!("-00001-of-{count:05}.gguf")) {
        Some(stem) => Ok(path.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", part + 1))),
        None => {
            let mend = format!("name it NAME-00001-of-{count:05}.gguf, and the others likewise beside it");
            Err(StoreError::malformed(path, format!("split.count is {count}, and the other parts are not found"), mend))
        }
    }
}
