//! The weight files of a Hugging Face folder as one name space: `model.safetensors`, or the shards that
//! `model.safetensors.index.json` names.
//!
//! What decides is the files, as in transformers: a tensor that two of them have is refused, and so is an index that names another file
//! than the one which has it. Names in the index are hostile: none leads out of the folder, by itself or by a link. The links of Hugging
//! Face's cache, `models--ORG--NAME/snapshots/REVISION/FILE` → `models--ORG--NAME/blobs/HASH`, lead into its own blobs and are followed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::StoreError;
use crate::manifest;
use crate::regular::{self, INDEX_BYTES_MAX};
use crate::safetensors_header::Stored;
use crate::safetensors_io::TensorFile;

pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Most shards of a model, each an open file. DeepSeek-V3 has 163.
const SHARDS_MAX: usize = 1000;
/// Most tensors that an index names.
const TENSORS_MAX: usize = 1 << 20;

/// Open weight files.
#[derive(Debug)]
pub(crate) struct Shards {
    /// What errors point at: the one file, or the index.
    pub place: PathBuf,
    /// In the order in which the index names them first.
    pub files: Vec<TensorFile>,
    /// Tensor name to the file that has it.
    names: BTreeMap<String, usize>,
}

impl Shards {
    /// Opens model.safetensors, or all shards of the index; the single file wins, as in transformers. A header may have
    /// `header_bytes_max`.
    pub fn open(dir: &Path, header_bytes_max: u64) -> Result<Self, StoreError> {
        let single = dir.join(WEIGHTS);
        let index = dir.join(INDEX);
        if single.exists() || !index.exists() {
            refuse_pickles(dir, &single)?;
            let file = TensorFile::open_with(&single, header_bytes_max)?;
            let names = file.tensors().keys().map(|name| (name.clone(), 0)).collect();
            return Ok(Self { place: single, files: vec![file], names });
        }
        let bytes = regular::read_regular(&index, INDEX_BYTES_MAX)?;
        let Index { weight_map } = serde_json::from_slice(&bytes)
            .map_err(|e| StoreError::malformed(&index, e, "the index is cut short or damaged: fetch it again"))?;
        drop(bytes);
        let mut files = Vec::with_capacity(weight_map.shards.len());
        let mut names = BTreeMap::new();
        for shard in &weight_map.shards {
            let file = TensorFile::open_with(&resolve(dir, shard, &index)?, header_bytes_max)?;
            for name in file.tensors().keys() {
                if let Some(other) = names.insert(name.clone(), files.len()) {
                    let reason = format!("tensor {name} is in {} and in {shard}", weight_map.shards[other]);
                    return Err(StoreError::malformed(&index, reason, TOGETHER));
                }
            }
            files.push(file);
        }
        for (tensor, at) in weight_map.tensors {
            if names.get(&tensor) != Some(&at) {
                let reason = format!("tensor {tensor} should be in {}, which lacks it", files[at].path().display());
                return Err(StoreError::malformed(&index, reason, TOGETHER));
            }
        }
        Ok(Self { place: index, files, names })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The file that has a tensor, and what it says of it.
    pub fn get(&self, name: &str) -> Option<(&TensorFile, &Stored)> {
        let file = &self.files[*self.names.get(name)?];
        Some((file, file.tensors().get(name)?))
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(|(_, stored)| stored.shape.as_slice())
    }
}

const TOGETHER: &str = "index and shards belong to different models: fetch them together";

/// A folder with weights of the old kind only: to open these is to run their program.
fn refuse_pickles(dir: &Path, single: &Path) -> Result<(), StoreError> {
    let pickled =
        ["pytorch_model.bin", "pytorch_model.bin.index.json"].into_iter().find(|name| dir.join(name).exists());
    match pickled {
        Some(name) if !single.exists() => Err(StoreError::malformed(
            single,
            format!("there is no such file, only {name}"),
            "read are safetensors: load the model in transformers and save it with save_pretrained",
        )),
        _ => Ok(()),
    }
}

/// The path of a shard, which lies in the folder, or in the blobs of the cache that the folder is a snapshot of.
fn resolve(dir: &Path, shard: &str, index: &Path) -> Result<PathBuf, StoreError> {
    manifest::check_name(shard, index)?;
    let path = dir.join(shard);
    let real = path.canonicalize().map_err(StoreError::io("open", &path))?;
    let home = dir.canonicalize().map_err(StoreError::io("open", dir))?;
    if real.starts_with(&home) || blobs_of(&home).is_some_and(|blobs| real.starts_with(blobs)) {
        return Ok(path);
    }
    let reason = "it is a link out of the folder";
    Err(StoreError::Name { path: index.to_path_buf(), name: shard.to_owned(), reason })
}

/// `…/models--ORG--NAME/blobs` of `…/models--ORG--NAME/snapshots/REVISION`.
fn blobs_of(snapshot: &Path) -> Option<PathBuf> {
    let snapshots = snapshot.parent()?;
    let home = snapshots.parent()?;
    let is_cache = snapshots.file_name()? == "snapshots" && home.file_name()?.to_str()?.contains("--");
    is_cache.then(|| home.join("blobs"))
}

/// model.safetensors.index.json. `metadata` holds sums that nothing here depends on.
#[derive(Deserialize)]
struct Index {
    #[serde(deserialize_with = "weight_map")]
    weight_map: WeightMap,
}

/// Which shard has which tensor.
#[derive(Default)]
struct WeightMap {
    shards: Vec<String>,
    tensors: BTreeMap<String, usize>,
}

/// A map of at most [`SHARDS_MAX`] shards and [`TENSORS_MAX`] tensors, each named once.
fn weight_map<'de, D: Deserializer<'de>>(from: D) -> Result<WeightMap, D::Error> {
    struct Map;
    impl<'de> Visitor<'de> for Map {
        type Value = WeightMap;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object of file names by tensor")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
            let mut out = WeightMap::default();
            let mut numbers = BTreeMap::new();
            while let Some(tensor) = map.next_key::<String>()? {
                let at = map.next_value_seed(Shard { numbers: &mut numbers, shards: &mut out.shards })?;
                if out.tensors.len() == TENSORS_MAX {
                    return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
                }
                match out.tensors.entry(tensor) {
                    Entry::Vacant(place) => place.insert(at),
                    Entry::Occupied(place) => {
                        return Err(A::Error::custom(format!("tensor {} stands there twice", place.key())));
                    }
                };
            }
            Ok(out)
        }
    }
    from.deserialize_map(Map)
}

/// Reads a file name and gives its number among those seen.
struct Shard<'a> {
    numbers: &'a mut BTreeMap<String, usize>,
    shards: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Shard<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<usize, D::Error> {
        let name = String::deserialize(from)?;
        if let Some(&number) = self.numbers.get(&name) {
            return Ok(number);
        }
        if self.shards.len() == SHARDS_MAX {
            return Err(de::Error::custom(format!("more than {SHARDS_MAX} files")));
        }
        self.shards.push(name.clone());
        self.numbers.insert(name, self.shards.len() - 1);
        Ok(self.shards.len() - 1)
    }
}
