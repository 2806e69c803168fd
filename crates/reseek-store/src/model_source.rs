//! A model on the disk, opened: its configuration, and its tensors one at a time, whatever form they are stored in.
//!
//! To open a model is to read its headers and hold them against what its configuration asks for; no value is read. A tensor then takes its
//! own memory and a small buffer. Threads may read from one source together.

use std::path::{Path, PathBuf};

use reseek_spec::ModelSpec;
use serde_json::Value;

use crate::StoreError;
use crate::gguf::{BlockKind, GgufEntry, GgufFile, GgufSource, QuantisedTensor};
use crate::model_folder::ModelFolder;
use crate::regular::{open_regular, read_exact_at};

/// An open model.
#[derive(Debug)]
pub struct ModelSource {
    path: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Folder(Box<ModelFolder>),
    Gguf(Box<GgufFile>),
}

/// A tensor in a model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// How its values are stored, such as `BF16`, `Q4_K` or `F8_E4M3 in blocks of 128x128`.
    pub format: String,
    /// Bytes that it takes, scales included.
    pub bytes: u64,
    /// Why the model does not need it, of one that it does not.
    pub left_out: Option<&'static str>,
}

impl ModelSource {
    /// Opens a Hugging Face folder with config.json, or a GGUF file. Where a folder has a manifest of ours, every byte is checked first.
    ///
    /// # Errors
    /// If the configuration is not understood, a file is absent, damaged or none, a tensor is missing, unknown, twice there, of another
    /// shape, or stored in a way that is not read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, true)
    }

    /// [`ModelSource::open`] for a look at the headers: files that a manifest vouches for are not read to check it.
    ///
    /// # Errors
    /// As there.
    pub fn glance(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, false)
    }

    fn open_with(path: &Path, verify: bool) -> Result<Self, StoreError> {
        let facts = path.metadata().map_err(StoreError::io("open", path))?;
        let form = match facts.is_dir() {
            false => Form::Gguf(Box::new(open_file(path)?)),
            true => Form::Folder(Box::new(ModelFolder::open(path, verify)?)),
        };
        Ok(Self { path: path.to_path_buf(), form })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model, as its files have it: without the MTP module that config.json gives where there is none, and with a head of its own
    /// where that differs from the embedding.
    pub fn spec(&self) -> &ModelSpec {
        match &self.form {
            Form::Folder(folder) => &folder.spec,
            Form::Gguf(file) => file.spec(),
        }
    }

    /// config.json as it is, of a folder.
    pub fn config(&self) -> Option<&Value> {
        match &self.form {
            Form::Folder(folder) => Some(&folder.config),
            Form::Gguf(_) => None,
        }
    }

    /// The GGUF file, of a model that is one: it has its tokenizer and its templates in it.
    pub fn gguf(&self) -> Option<&GgufFile> {
        match &self.form {
            Form::Folder(_) => None,
            Form::Gguf(file) => Some(file),
        }
    }

    /// What was found otherwise than the configuration says, in sentences for a person.
    pub fn remarks(&self) -> &[String] {
        match &self.form {
            Form::Folder(folder) => &folder.remarks,
            Form::Gguf(_) => &[],
        }
    }

    /// Whether the files hold the tensor `name` of [`ModelSpec::tensors`]. What the model has and they do not is 0: a gate's correction
    /// bias.
    pub fn has(&self, name: &str) -> bool {
        match &self.form {
            Form::Folder(folder) => folder.has(name),
            Form::Gguf(file) => file.kind(name).is_some(),
        }
    }

    /// The values of the tensor `name` of [`ModelSpec::tensors`], row-major.
    ///
    /// # Errors
    /// If the model has no such tensor, or its file cannot be read.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        match &self.form {
            Form::Folder(folder) => {
                let mut values = vec![0.0; folder.len(name).ok_or_else(|| self.unknown(name))?];
                folder.read_into(name, &mut values)?;
                Ok(values)
            }
            Form::Gguf(file) if file.kind(name).is_some() => file.values(name),
            Form::Gguf(_) => self.zeros(name),
        }
    }

    /// [`ModelSource::values`] into memory that is there already.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// If `out` has another length than the tensor.
    pub fn values_into(&self, name: &str, out: &mut [f32]) -> Result<(), StoreError> {
        match &self.form {
            Form::Folder(folder) => {
                let len = folder.len(name).ok_or_else(|| self.unknown(name))?;
                assert_eq!(out.len(), len, "room for tensor {name}");
                folder.read_into(name, out)
            }
            Form::Gguf(_) => {
                out.copy_from_slice(&self.values(name)?);
                Ok(())
            }
        }
    }

    /// The blocks of a tensor that a GGUF file holds quantised; none of any other.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn blocks(&self, name: &str) -> Result<Option<QuantisedTensor>, StoreError> {
        match &self.form {
            Form::Folder(_) => Ok(None),
            Form::Gguf(file) if file.kind(name).is_some() => file.blocks(name),
            Form::Gguf(_) => Ok(None),
        }
    }

    /// The files that the weights lie in, with their lengths in bytes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        match &self.form {
            Form::Folder(folder) => folder.files(),
            Form::Gguf(file) => file.files(),
        }
    }

    /// All tensors of the files, those that the model does not need among them.
    pub fn entries(&self) -> Vec<TensorEntry> {
        match &self.form {
            Form::Folder(folder) => folder.entries(),
            Form::Gguf(file) => file.entries().map(entry).collect(),
        }
    }

    /// A correction bias that a GGUF file does not have.
    fn zeros(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        let tensor = self.spec().tensors().into_iter().find(|tensor| tensor.name == name && !tensor.is_trained());
        let tensor = tensor.ok_or_else(|| self.unknown(name))?;
        Ok(vec![0.0; tensor.shape.iter().product()])
    }

    fn unknown(&self, name: &str) -> StoreError {
        StoreError::MissingTensor { path: self.path.clone(), name: name.to_owned(), shape: Vec::new() }
    }
}

/// Whether a model that is written to `path` becomes a GGUF file: by the name's ending.
pub fn is_gguf_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// A file that is a model is in GGUF, whatever its name.
fn open_file(path: &Path) -> Result<GgufFile, StoreError> {
    let (file, bytes) = open_regular(path)?;
    let mut magic = [0; 4];
    if bytes >= 4 {
        read_exact_at(&file, &mut magic, 0).map_err(StoreError::io("read", path))?;
    }
    if &magic != b"GGUF" {
        let mend = "name a folder with config.json and safetensors, or a GGUF file";
        return Err(StoreError::malformed(path, "the file is no model: it does not begin with GGUF", mend));
    }
    GgufFile::open(path)
}

fn entry(entry: GgufEntry) -> TensorEntry {
    let GgufEntry { name, shape, kind, bytes, .. } = entry;
    TensorEntry { name, shape, format: kind.to_string(), bytes, left_out: None }
}

impl GgufSource for ModelSource {
    fn values(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        ModelSource::values(self, name)
    }

    fn blocks(&self, name: &str) -> Result<Option<QuantisedTensor>, StoreError> {
        ModelSource::blocks(self, name)
    }

    fn kind(&self, name: &str) -> Option<BlockKind> {
        match &self.form {
            Form::Folder(folder) => folder.kind(name),
            Form::Gguf(file) => file.kind(name),
        }
    }

    fn has(&self, name: &str) -> bool {
        ModelSource::has(self, name)
    }
}
