//! Named tensors in a safetensors file: written as F32 or BF16 in the given order, read as f32 from F32, BF16 and F16.
//!
//! Tensors are streamed past the header, so that neither writing nor reading holds the file in memory beside the
//! values. Writing is a function of the values alone: equal tensors give equal bytes. Reading is by place: a file that
//! becomes shorter meanwhile is an error, where one mapped into memory would end the process.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::StoreError;
use crate::atomic::AtomicFile;
use crate::fp8;
use crate::regular::{open_regular, read_exact_at};
use crate::safetensors_header::{self, Stored};

/// Largest header that is read, the limit of the safetensors crate itself.
pub(crate) const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Values moved between disk and f32 at a time.
pub(crate) const CHUNK_VALUES: usize = 1 << 16;

/// Fills values from the bytes that stand for them.
type Decode<T> = fn(&[u8], &mut [T]);

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
    let checked = tensors.iter().map(|&(name, shape, values)| {
        let expected: usize = shape.iter().product();
        assert_eq!(values.len(), expected, "tensor {name} of shape {shape:?} came with {} values", values.len());
        (name.to_owned(), values.dtype(), shape.to_vec())
    });
    header_of(checked)
}

/// The header of tensors of the given names, formats and shapes that lie one behind the other.
pub(crate) fn header_of(tensors: impl Iterator<Item = (String, Dtype, Vec<usize>)>) -> Vec<u8> {
    let mut offset = 0;
    let infos = tensors.map(|(name, dtype, shape)| {
        let start = offset;
        offset += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorInfo { dtype, shape, data_offsets: (start, offset) })
    });
    let infos = infos.collect();
    // transformers refuses files that do not say which framework's layout they have.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos).expect("offsets follow each other by construction");
    let mut json = serde_json::to_vec(&metadata).expect("names and numbers are JSON");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    bytes
}

/// An open safetensors file whose header has been checked. Several threads may read from one.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, Stored>,
    data_start: u64,
}

impl TensorFile {
    /// Opens a file and checks its header against its length. No tensor is read.
    ///
    /// # Errors
    /// If there is no such regular file, it is cut short, or its header is not one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, HEADER_BYTES_MAX)
    }

    /// [`TensorFile::open`] with a limit of the header's own: what takes much memory is refused before it does.
    pub(crate) fn open_with(path: &Path, header_bytes_max: u64) -> Result<Self, StoreError> {
        let (file, length) = open_regular(path)?;
        let malformed = |reason: String| {
            StoreError::malformed(path, reason, "the file is cut short or damaged: fetch or make it again")
        };
        if length < 8 {
            return Err(malformed(format!("{length} bytes are too few for a safetensors file")));
        }
        let mut prefix = [0; 8];
        read_exact_at(&file, &mut prefix, 0).map_err(StoreError::io("read", path))?;
        let header_bytes = u64::from_le_bytes(prefix);
        if header_bytes > length - 8 {
            return Err(malformed(format!("a header of {header_bytes} bytes in a file of {length}")));
        }
        let header_bytes_max = header_bytes_max.min(HEADER_BYTES_MAX);
        if header_bytes > header_bytes_max {
            let reason =
                format!("a header of {header_bytes} bytes, more than the {header_bytes_max} that such a model needs");
            let mend = "the file belongs to another model or is damaged: take all files from the same folder";
            return Err(StoreError::malformed(path, reason, mend));
        }
        let mut json = vec![0; header_bytes as usize];
        read_exact_at(&file, &mut json, 8).map_err(StoreError::io("read", path))?;
        let data_start = 8 + header_bytes;
        let tensors = safetensors_header::parse(&json, length - data_start).map_err(malformed)?;
        Ok(Self { path: path.to_path_buf(), file, tensors, data_start })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names in the order in which the tensors lie in the file.
    pub fn names(&self) -> Vec<String> {
        let mut by_place: Vec<(&String, &Stored)> = self.tensors.iter().collect();
        by_place.sort_by_key(|(_, stored)| stored.data_offsets);
        by_place.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// A tensor's shape, if the file has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }

    /// Whether a tensor is stored in bf16.
    pub fn is_bf16(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|stored| stored.dtype == Dtype::BF16)
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }

    /// The file's length.
    pub(crate) fn bytes(&self) -> u64 {
        self.data_start + self.tensors.values().map(Stored::bytes).sum::<u64>()
    }

    /// A tensor's values as f32, row-major.
    ///
    /// # Errors
    /// If the file lacks it, stores it in a format other than F32, BF16 or F16, or cannot be read.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        let stored = self.stored(name)?;
        // Before memory is taken for values that no code would fill.
        self.decoder(name, stored)?;
        let mut values = vec![0.0; stored.len()];
        self.read_f32_into(name, 0, &mut values)?;
        Ok(values)
    }

    /// Fills `out` with a tensor's values from the value `from` on.
    ///
    /// # Errors
    /// As [`TensorFile::read_f32`].
    ///
    /// # Panics
    /// If the tensor has fewer values.
    pub(crate) fn read_f32_into(&self, name: &str, from: usize, out: &mut [f32]) -> Result<(), StoreError> {
        let stored = self.stored(name)?;
        let decode = self.decoder(name, stored)?;
        self.read(stored, from, out, decode)
    }

    /// Fills `out` with the values of a tensor in E4M3, without any scale.
    ///
    /// # Errors
    /// If the file lacks it or cannot be read.
    ///
    /// # Panics
    /// If the tensor is stored in another format or has fewer values.
    pub(crate) fn read_e4m3_into(&self, name: &str, from: usize, out: &mut [f32]) -> Result<(), StoreError> {
        let stored = self.stored(name)?;
        assert_eq!(stored.dtype, Dtype::F8_E4M3, "tensor {name}");
        self.read(stored, from, out, |bytes, out| {
            out.iter_mut().zip(bytes).for_each(|(v, &code)| *v = fp8::decode_e4m3(code));
        })
    }

    /// The values of a tensor that [is in bf16](Self::is_bf16), as they are.
    ///
    /// # Errors
    /// If the file lacks it, stores it in another format, or cannot be read.
    pub fn read_bf16(&self, name: &str) -> Result<Vec<bf16>, StoreError> {
        let stored = self.stored(name)?;
        if stored.dtype != Dtype::BF16 {
            return Err(self.wrong_dtype(name, stored));
        }
        let mut values = vec![bf16::ZERO; stored.len()];
        self.read(stored, 0, &mut values, |bytes, out| {
            out.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(v, &b)| *v = bf16::from_le_bytes(b));
        })?;
        Ok(values)
    }

    fn stored(&self, name: &str) -> Result<&Stored, StoreError> {
        self.tensors.get(name).ok_or_else(|| StoreError::MissingTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            shape: Vec::new(),
        })
    }

    fn wrong_dtype(&self, name: &str, stored: &Stored) -> StoreError {
        let dtype = format!("{:?}", stored.dtype);
        StoreError::TensorDtype { path: self.path.clone(), name: name.to_owned(), dtype }
    }

    fn decoder(&self, name: &str, stored: &Stored) -> Result<Decode<f32>, StoreError> {
        match stored.dtype {
            Dtype::F32 => Ok(|bytes, out| {
                out.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(v, &b)| *v = f32::from_le_bytes(b));
            }),
            Dtype::BF16 => Ok(|bytes, out| {
                out.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(v, &b)| *v = bf16::from_le_bytes(b).to_f32());
            }),
            Dtype::F16 => Ok(|bytes, out| {
                out.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(v, &b)| *v = f16::from_le_bytes(b).to_f32());
            }),
            _ => Err(self.wrong_dtype(name, stored)),
        }
    }

    /// Reads and decodes piece by piece.
    fn read<T>(&self, stored: &Stored, from: usize, out: &mut [T], decode: Decode<T>) -> Result<(), StoreError> {
        assert!(from + out.len() <= stored.len(), "values {from} to {} of {stored:?}", from + out.len());
        let value_bytes = stored.dtype.bitsize() / 8;
        let mut place = self.data_start + stored.data_offsets.0 + (from * value_bytes) as u64;
        let mut buffer = vec![0; CHUNK_VALUES.min(out.len()) * value_bytes];
        for values in out.chunks_mut(CHUNK_VALUES) {
            let bytes = &mut buffer[..values.len() * value_bytes];
            read_exact_at(&self.file, bytes, place).map_err(StoreError::io("read", &self.path))?;
            decode(bytes, values);
            place += bytes.len() as u64;
        }
        Ok(())
    }
}
