//! Named tensors in a safetensors file: written as F32 or BF16 in the given order, read as f32 from F32, BF16 and F16.
//!
//! The header's form and its checks are the safetensors crate's; the tensors are streamed past it, so that
//! neither writing nor reading holds the file in memory beside the values. Writing is a function of the values
//! alone: equal tensors give equal bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use half::bf16;

use crate::StoreError;
use crate::atomic::AtomicFile;

/// Largest header that is read, the limit of the safetensors crate itself.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Values moved between disk and f32 at a time.
const CHUNK_VALUES: usize = 1 << 16;

/// One tensor to write: name, shape, values in row-major order.
pub type TensorRef<'a> = (&'a str, &'a [usize], &'a [f32]);

/// Values of either format that is written.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Written as F32.
    F32(&'a [f32]),
    /// Written as BF16.
    Bf16(&'a [bf16]),
}

impl Values<'_> {
    /// How many there are.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::Bf16(_) => Dtype::BF16,
        }
    }
}

/// Writes `tensors` as F32 into `file`, in the order given.
///
/// # Errors
/// If the disk refuses.
///
/// # Panics
/// If a tensor has another number of values than its shape says.
pub fn write_tensors(file: &mut AtomicFile, tensors: &[TensorRef<'_>]) -> Result<(), StoreError> {
    let tensors: Vec<_> = tensors.iter().map(|&(name, shape, values)| (name, shape, Values::F32(values))).collect();
    write_values(file, &tensors)
}

/// [`write_tensors`] of values in their own formats.
///
/// # Errors
/// As there.
///
/// # Panics
/// As there.
pub fn write_values(file: &mut AtomicFile, tensors: &[(&str, &[usize], Values<'_>)]) -> Result<(), StoreError> {
    file.write(&header(tensors))?;
    let mut bytes = Vec::with_capacity(CHUNK_VALUES * 4);
    for (_, _, values) in tensors {
        for from in (0..values.len()).step_by(CHUNK_VALUES) {
            let to = values.len().min(from + CHUNK_VALUES);
            bytes.clear();
            match values {
                Values::F32(values) => bytes.extend(values[from..to].iter().flat_map(|v| v.to_le_bytes())),
                Values::Bf16(values) => bytes.extend(values[from..to].iter().flat_map(|v| v.to_le_bytes())),
            }
            file.write(&bytes)?;
        }
    }
    Ok(())
}

/// Length prefix and JSON, padded with spaces to a multiple of 8 so that the values are aligned.
fn header(tensors: &[(&str, &[usize], Values<'_>)]) -> Vec<u8> {
    let mut offset = 0;
    let infos = tensors.iter().map(|&(name, shape, values)| {
        let expected: usize = shape.iter().product();
        assert_eq!(values.len(), expected, "tensor {name} of shape {shape:?} came with {} values", values.len());
        let start = offset;
        offset += values.len() * values.dtype().bitsize() / 8;
        let info = TensorInfo { dtype: values.dtype(), shape: shape.to_vec(), data_offsets: (start, offset) };
        (name.to_owned(), info)
    });
    // transformers refuses files that do not say which framework's layout they have.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos.collect()).expect("offsets follow each other by construction");
    let mut json = serde_json::to_vec(&metadata).expect("names and numbers are JSON");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    bytes
}

/// Adds the values that bytes stand for.
type Decode<T> = fn(&[u8], &mut Vec<T>);

/// An open safetensors file whose header has been checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl TensorFile {
    /// Opens a file and checks its header against its length. No tensor is read.
    ///
    /// # Errors
    /// If the file cannot be read, is cut short, or its header is not one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path).map_err(StoreError::io("open", path))?;
        let length = file.metadata().map_err(StoreError::io("inspect", path))?.len();
        let malformed = |reason: String| {
            StoreError::malformed(path, reason, "the file is cut short or damaged: fetch or make it again")
        };
        if length < 8 {
            return Err(malformed(format!("{length} bytes are too few for a safetensors file")));
        }
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(StoreError::io("read", path))?;
        let header_bytes = u64::from_le_bytes(prefix);
        if header_bytes > HEADER_BYTES_MAX.min(length - 8) {
            return Err(malformed(format!("a header of {header_bytes} bytes in a file of {length}")));
        }
        let mut json = vec![0; header_bytes as usize];
        file.read_exact(&mut json).map_err(StoreError::io("read", path))?;
        let metadata: Metadata =
            serde_json::from_slice(&json).map_err(|e| malformed(format!("the safetensors header: {e}")))?;
        let data_start = 8 + header_bytes;
        let expected = data_start.checked_add(metadata.data_len() as u64);
        if expected != Some(length) {
            return Err(malformed(format!(
                "the header describes {} bytes of tensors, the file has {}",
                metadata.data_len(),
                length - data_start
            )));
        }
        Ok(Self { path: path.to_path_buf(), file, metadata, data_start })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names in the order in which the tensors lie in the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// A tensor's shape, if the file has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Whether a tensor is stored in bf16.
    pub fn is_bf16(&self, name: &str) -> bool {
        self.metadata.info(name).is_some_and(|info| info.dtype == Dtype::BF16)
    }

    /// A tensor's values as f32, row-major.
    ///
    /// # Errors
    /// If the file lacks it, stores it in a format other than F32, BF16 or F16, or cannot be read.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, StoreError> {
        let info = self.metadata.info(name).ok_or_else(|| StoreError::MissingTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            shape: Vec::new(),
        })?;
        let decode: Decode<f32> = match info.dtype {
            Dtype::F32 => |bytes, out| {
                out.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)));
            },
            Dtype::BF16 => |bytes, out| {
                out.extend(bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()));
            },
            Dtype::F16 => |bytes, out| {
                out.extend(bytes.as_chunks::<2>().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()));
            },
            other => {
                return Err(StoreError::TensorDtype {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        let (place, value_bytes) = (info.data_offsets, info.dtype.bitsize() / 8);
        self.read(place, value_bytes, decode)
    }

    /// The values of a tensor that [is in bf16](Self::is_bf16), as they are.
    ///
    /// # Errors
    /// If the file lacks it, stores it in another format, or cannot be read.
    pub fn read_bf16(&mut self, name: &str) -> Result<Vec<bf16>, StoreError> {
        match self.metadata.info(name) {
            Some(info) if info.dtype == Dtype::BF16 => self.read(info.data_offsets, 2, |bytes, out| {
                out.extend(bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b)));
            }),
            info => Err(StoreError::TensorDtype {
                path: self.path.clone(),
                name: name.to_owned(),
                dtype: info.map_or("absent".to_owned(), |info| format!("{:?}", info.dtype)),
            }),
        }
    }

    fn read<T>(
        &mut self,
        (start, end): (usize, usize),
        value_bytes: usize,
        decode: Decode<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut values = Vec::with_capacity((end - start) / value_bytes);
        let mut buffer = vec![0; (CHUNK_VALUES * value_bytes).min(end - start)];
        let seek = self.data_start + start as u64;
        self.file.seek(SeekFrom::Start(seek)).map_err(StoreError::io("read", &self.path))?;
        let mut left = end - start;
        while left > 0 {
            let piece = &mut buffer[..left.min(CHUNK_VALUES * value_bytes)];
            self.file.read_exact(piece).map_err(StoreError::io("read", &self.path))?;
            decode(piece, &mut values);
            left -= piece.len();
        }
        Ok(values)
    }
}
