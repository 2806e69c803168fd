//! config.json and weights the way Hugging Face lays them out: ours out, anyone's in.
//!
//! Read are `model.safetensors` or the shards that `model.safetensors.index.json` names. The model that config.json
//! describes decides what must be there; what real folders hold beside it is known by name:
//!
//! | in the folder | what happens |
//! |---|---|
//! | `lm_head.weight` of a model with tied embeddings | ignored, the embedding is the head |
//! | `…rotary_emb.inv_freq` (old Llama files) | ignored, it follows from config.json |
//! | MTP layer's `embed_tokens` and `shared_head.head` (DeepSeek-V3) | ignored, copies of the model's own |
//! | an MTP layer though `num_nextn_predict_layers` is 0 | ignored, as transformers does |
//! | no MTP layer though it is more (saved by transformers) | read as a model with `num_nextn_predict_layers` 0 |
//! | no `e_score_correction_bias` at all | the biases are left out of the result; a model without them starts at 0 |
//! | any other tensor more or fewer | an error that names it |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use reseek_spec::{ModelSpec, TensorSpec};
use serde::Deserialize;

use crate::StoreError;
use crate::atomic;
use crate::manifest::{self, DirWriter, MANIFEST};
use crate::safetensors_io::{self, TensorFile, TensorRef};

/// One tensor read: name, shape, values in row-major order.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

pub(crate) const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Writes config.json and model.safetensors into a folder that gets more files before its manifest.
pub(crate) fn write_model(
    folder: &mut DirWriter,
    spec: &ModelSpec,
    tensors: &[TensorRef<'_>],
) -> Result<(), StoreError> {
    let mut config = serde_json::to_vec_pretty(&spec.to_hf_json()).expect("a configuration is JSON");
    config.push(b'\n');
    folder.write(CONFIG, &config)?;
    folder.write_with(WEIGHTS, |file| safetensors_io::write_tensors(file, tensors))
}

/// Puts `tensors` in the specification's order and checks names and shapes.
pub(crate) fn expected_tensors<'a>(
    dir: &Path,
    spec: &ModelSpec,
    tensors: impl IntoIterator<Item = TensorRef<'a>>,
) -> Result<Vec<TensorRef<'a>>, StoreError> {
    let path = dir.join(WEIGHTS);
    let mut given: BTreeMap<&str, TensorRef<'a>> = BTreeMap::new();
    for tensor in tensors {
        if given.insert(tensor.0, tensor).is_some() {
            let name = tensor.0.to_owned();
            return Err(StoreError::DuplicateTensor { path, name });
        }
    }
    let mut listed = Vec::with_capacity(given.len());
    for expected in spec.tensors() {
        let found = given.remove(expected.name.as_str());
        check_shape(&path, &expected, found.map(|(_, shape, _)| shape))?;
        listed.extend(found);
    }
    match given.into_values().next() {
        Some((name, shape, _)) => Err(extra(&path, name, shape)),
        None => Ok(listed),
    }
}

/// Reads the model in `dir`. Where the folder has a manifest of ours, every byte is checked against it first.
///
/// The tensors come in the order of [`ModelSpec::tensors`], converted to f32. See the table above for what is
/// tolerated; `num_nextn_predict_layers` of the result is what the weights hold.
///
/// # Errors
/// If the folder is damaged, config.json is not understood, weights are absent, or a tensor is missing,
/// unknown, of another shape or of a number format that is not read.
pub fn load_model(dir: &Path) -> Result<(ModelSpec, Vec<NamedTensor>), StoreError> {
    if dir.join(MANIFEST).exists() {
        check_vouched(dir, &manifest::verify_dir(dir)?)?;
    }
    read_model(dir)
}

/// In a verified folder an unlisted file must not decide what is read.
fn check_vouched(dir: &Path, verified: &manifest::Verified) -> Result<(), StoreError> {
    for name in [CONFIG, WEIGHTS, INDEX] {
        if dir.join(name).exists() && !verified.vouches_for(name) {
            return Err(StoreError::UnlistedFile { path: dir.join(name) });
        }
    }
    Ok(())
}

/// [`load_model`] without looking for a manifest.
pub(crate) fn read_model(dir: &Path) -> Result<(ModelSpec, Vec<NamedTensor>), StoreError> {
    let mut spec = read_spec(dir)?;
    let mut shards = Shards::open(dir)?;
    let layers = spec.num_hidden_layers;
    let has_mtp = shards.names().any(|name| layer_of(name).is_some_and(|layer| layer >= layers));
    if spec.num_nextn_predict_layers > 0 && !has_mtp {
        spec.num_nextn_predict_layers = 0;
    }
    check_size(&spec, &shards)?;
    let expected = spec.tensors();
    let has_buffers = expected.iter().any(|t| !t.is_trained() && shards.shape(&t.name).is_some());
    let mut tensors = Vec::with_capacity(expected.len());
    let mut known = BTreeSet::new();
    for tensor in expected {
        if !tensor.is_trained() && !has_buffers {
            continue;
        }
        check_shape(&shards.place, &tensor, shards.shape(&tensor.name))?;
        let values = shards.read_f32(&tensor.name)?;
        known.insert(tensor.name.clone());
        tensors.push((tensor.name, tensor.shape, values));
    }
    for name in shards.names() {
        if !known.contains(name) && !is_redundant(name, &spec, &shards) {
            let shape = shards.shape(name).unwrap_or_default();
            return Err(extra(&shards.place, name, shape));
        }
    }
    Ok((spec, tensors))
}

/// A config.json that asks for far more than there is must not be answered with a list of all of it.
fn check_size(spec: &ModelSpec, shards: &Shards) -> Result<(), StoreError> {
    let layers = spec.num_hidden_layers.saturating_add(spec.num_nextn_predict_layers);
    let experts = spec
        .moe
        .as_ref()
        .map_or(0, |moe| layers.saturating_sub(moe.first_k_dense_replace).saturating_mul(moe.n_routed_experts));
    if layers.max(experts) <= shards.names.len() {
        return Ok(());
    }
    Err(StoreError::malformed(
        &shards.place,
        format!(
            "{} tensors cannot be the {layers} layers and {experts} experts that config.json asks for",
            shards.names.len()
        ),
        "weights and config.json belong to different models, take both from the same folder",
    ))
}

fn read_spec(dir: &Path) -> Result<ModelSpec, StoreError> {
    let path = dir.join(CONFIG);
    let bytes = atomic::read(&path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| StoreError::malformed(&path, e, "config.json is UTF-8 text: fetch it again"))?;
    ModelSpec::from_hf_json(text).map_err(|source| StoreError::Spec { path, source })
}

/// Tensors that repeat what the model has already, or that belong to parts that it was asked to go without.
fn is_redundant(name: &str, spec: &ModelSpec, shards: &Shards) -> bool {
    if name.ends_with(".rotary_emb.inv_freq") || (spec.tie_word_embeddings && name == "lm_head.weight") {
        return true;
    }
    let Some(layer) = layer_of(name).filter(|&layer| layer >= spec.num_hidden_layers) else {
        return false;
    };
    if layer < spec.num_hidden_layers + spec.num_nextn_predict_layers {
        return name.ends_with(".embed_tokens.weight") || name.ends_with(".shared_head.head.weight");
    }
    // eh_proj is what makes a layer past the last one an MTP module; without it config.json has the wrong depth.
    spec.num_nextn_predict_layers == 0 && shards.shape(&format!("model.layers.{layer}.eh_proj.weight")).is_some()
}

/// N of `model.layers.N.…`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split_once('.')?.0.parse().ok()
}

fn check_shape(path: &Path, expected: &TensorSpec, found: Option<&[usize]>) -> Result<(), StoreError> {
    let path = path.to_path_buf();
    let name = expected.name.clone();
    match found {
        None => Err(StoreError::MissingTensor { path, name, shape: expected.shape.clone() }),
        Some(found) if found != expected.shape => {
            Err(StoreError::TensorShape { path, name, expected: expected.shape.clone(), found: found.to_vec() })
        }
        Some(_) => Ok(()),
    }
}

fn extra(path: &Path, name: &str, shape: &[usize]) -> StoreError {
    StoreError::ExtraTensor { path: path.to_path_buf(), name: name.to_owned(), shape: shape.to_vec() }
}

/// The weight files of a folder as one name space.
struct Shards {
    /// What errors point at: the one file, or the index.
    place: std::path::PathBuf,
    files: Vec<TensorFile>,
    /// Tensor name to the file that has it.
    names: BTreeMap<String, usize>,
}

/// model.safetensors.index.json. `metadata` holds a total size that nothing here depends on.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Opens model.safetensors, or all shards of the index; the single file wins, as in transformers.
    fn open(dir: &Path) -> Result<Self, StoreError> {
        let single = dir.join(WEIGHTS);
        let index = dir.join(INDEX);
        if single.exists() || !index.exists() {
            let file = TensorFile::open(&single)?;
            let names = file.names().into_iter().map(|name| (name, 0)).collect();
            return Ok(Self { place: single, files: vec![file], names });
        }
        let parsed: Index = serde_json::from_slice(&atomic::read(&index)?)
            .map_err(|e| StoreError::malformed(&index, e, "the index is cut short or damaged: fetch it again"))?;
        let mut files: Vec<TensorFile> = Vec::new();
        let mut opened: HashMap<String, usize> = HashMap::new();
        let mut names = BTreeMap::new();
        for (tensor, shard) in parsed.weight_map {
            let at = match opened.get(&shard) {
                Some(&at) => at,
                None => {
                    manifest::check_name(&shard, &index)?;
                    files.push(TensorFile::open(&dir.join(&shard))?);
                    opened.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            if files[at].shape(&tensor).is_none() {
                return Err(StoreError::malformed(
                    &index,
                    format!("tensor {tensor} should be in {}, which lacks it", files[at].path().display()),
                    "index and shards belong to different models: fetch them together",
                ));
            }
            names.insert(tensor, at);
        }
        Ok(Self { place: index, files, names })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.names.get(name).and_then(|&at| self.files[at].shape(name))
    }

    fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, StoreError> {
        self.files[self.names[name]].read_f32(name)
    }
}
