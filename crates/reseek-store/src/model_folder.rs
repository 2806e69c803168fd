//! A Hugging Face folder from anyone, opened: config.json understood, every tensor that the model needs found in the weight files, none read.
//!
//! The model that config.json describes decides what must be there; what real folders hold beside it is known by name:
//!
//! | in the folder | what happens |
//! |---|---|
//! | `lm_head.weight` equal to the embedding, of a model with tied embeddings | left out |
//! | the same with other values | the model is read as one whose embeddings are not tied, as transformers 5 does |
//! | `lm_head.weight` and no embedding, tied | the head is the embedding, as there |
//! | `…rotary_emb.inv_freq` (old Llama files) | left out, it follows from config.json |
//! | MTP layer's `embed_tokens` and `shared_head.head` (DeepSeek-V3) | left out, copies of the model's own |
//! | an MTP layer though `num_nextn_predict_layers` is 0 | left out, as transformers does |
//! | no MTP layer though it is more (saved by transformers) | read as a model with `num_nextn_predict_layers` 0 |
//! | no `e_score_correction_bias` at all | the biases are 0 |
//! | all experts of a layer in one tensor (transformers 5, `save_original_format=False`) | read in parts |
//! | F8_E4M3 with `…_scale_inv` of its blocks | code × scale |
//! | any other tensor more or fewer, F8_E4M3 without scales | an error that names it |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_spec::{ModelSpec, TensorSpec};
use safetensors::tensor::Dtype;
use serde_json::Value;

use crate::StoreError;
use crate::fp8;
use crate::gguf::BlockKind;
use crate::manifest::{self, MANIFEST};
use crate::model_config::{CONFIG, Config};
use crate::model_names::{EMBEDDING, HEAD, Part, SCALE, converted, fused, layer_of, scale_name};
use crate::model_source::TensorEntry;
use crate::safetensors_header::Stored;
use crate::shards::{INDEX, Shards, WEIGHTS};

/// The open folder.
#[derive(Debug)]
pub(crate) struct ModelFolder {
    pub spec: ModelSpec,
    /// config.json as it is.
    pub config: Value,
    /// What was found otherwise than config.json says, in sentences.
    pub remarks: Vec<String>,
    shards: Shards,
    /// Where each tensor of the model lies, by its name.
    places: BTreeMap<String, Place>,
    /// Tensors of the files that are not the model's, and why.
    left_out: BTreeMap<String, &'static str>,
    /// Rows and columns that share a scale.
    block: [usize; 2],
}

/// Where a tensor's values come from.
#[derive(Debug)]
enum Place {
    /// Values from `from` on of a tensor in the files.
    Stored { name: String, from: usize, len: usize },
    /// The codes of a whole matrix of `columns`, with scales in another tensor.
    Scaled { name: String, columns: usize, len: usize },
    /// A correction bias that nobody saved.
    Zeros { len: usize },
}

impl ModelFolder {
    /// Opens the folder. Where it has a manifest of ours that must vouch for what is read, and with `verify` all files are held against it.
    pub fn open(dir: &Path, verify: bool) -> Result<Self, StoreError> {
        if dir.join(MANIFEST).exists() {
            check_vouched(dir, verify)?;
        }
        let Config { spec, block, json: config } = Config::read(dir)?;
        let shards = Shards::open(dir, header_bytes_max(&spec))?;
        let (places, left_out, remarks) = Default::default();
        let mut folder = Self { spec, config, remarks, shards, places, left_out, block };
        folder.fit_mtp();
        folder.check_size()?;
        folder.fit_ties()?;
        folder.find_all()?;
        Ok(folder)
    }

    /// Whether the files hold a tensor of the model.
    pub fn has(&self, name: &str) -> bool {
        matches!(self.places.get(name), Some(Place::Stored { .. } | Place::Scaled { .. }))
    }

    /// The form in which the files have a tensor, where GGUF has it too.
    pub fn kind(&self, name: &str) -> Option<BlockKind> {
        let Place::Stored { name, .. } = self.places.get(name)? else { return None };
        match self.shards.get(name)?.1.dtype {
            Dtype::F32 => Some(BlockKind::F32),
            Dtype::F16 => Some(BlockKind::F16),
            Dtype::BF16 => Some(BlockKind::Bf16),
            _ => None,
        }
    }

    /// Number of values of a tensor of the model.
    pub fn len(&self, name: &str) -> Option<usize> {
        self.places.get(name).map(|place| match place {
            Place::Stored { len, .. } | Place::Scaled { len, .. } | Place::Zeros { len } => *len,
        })
    }

    /// Fills `out` with a tensor's values.
    pub fn read_into(&self, name: &str, out: &mut [f32]) -> Result<(), StoreError> {
        let file_of = |stored: &str| self.shards.get(stored).expect("a place names what was found").0;
        match &self.places[name] {
            Place::Zeros { .. } => out.fill(0.0),
            Place::Stored { name, from, .. } => file_of(name).read_f32_into(name, *from, out)?,
            Place::Scaled { name, columns, .. } => {
                let scales = scale_name(name);
                let scales = file_of(&scales).read_f32(&scales)?;
                file_of(name).read_e4m3_into(name, 0, out)?;
                fp8::scale_blocks(out, *columns, self.block, &scales);
            }
        }
        Ok(())
    }

    /// The weight files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.shards.files.iter().map(|file| (file.path().to_path_buf(), file.bytes())).collect()
    }

    /// All tensors of the files; scales are a part of what they scale.
    pub fn entries(&self) -> Vec<TensorEntry> {
        let [rows, columns] = self.block;
        let is_scale = |name: &str| name.strip_suffix(SCALE).is_some_and(|of| self.shards.get(of).is_some());
        let names = self.shards.names().filter(|name| !is_scale(name));
        let entry = |name: &str| {
            let stored = self.shards.get(name)?.1;
            let scales = self.shards.get(&scale_name(name));
            let format = match scales {
                Some(_) => format!("{:?} in blocks of {rows}x{columns}", stored.dtype),
                None => format!("{:?}", stored.dtype),
            };
            Some(TensorEntry {
                name: name.to_owned(),
                shape: stored.shape.clone(),
                format,
                bytes: stored.bytes() + scales.map_or(0, |(_, scales)| scales.bytes()),
                left_out: self.left_out.get(name).copied(),
            })
        };
        names.filter_map(entry).collect()
    }

    /// The depth of the MTP module is what the files hold.
    fn fit_mtp(&mut self) {
        let layers = self.spec.num_hidden_layers;
        let has_mtp = self.shards.names().any(|name| layer_of(name).is_some_and(|layer| layer >= layers));
        if self.spec.num_nextn_predict_layers > 0 && !has_mtp {
            self.spec.num_nextn_predict_layers = 0;
            self.remarks
                .push("The MTP module that config.json gives is not in the files: transformers saves none.".into());
        }
    }

    /// A config.json that asks for far more than there is must not be answered with a list of all of it.
    fn check_size(&self) -> Result<(), StoreError> {
        let layers = self.spec.num_hidden_layers.saturating_add(self.spec.num_nextn_predict_layers);
        let experts = mixture_layers(&self.spec, layers).saturating_mul(experts_of(&self.spec));
        // A tensor that holds all experts of a layer has its values to show for each.
        let experts_of = |stored: &Stored| (stored.bytes() as usize).min(*stored.shape.first().unwrap_or(&1)).max(1);
        let fused = |name: &str| name.ends_with("_proj") && name.contains(".experts.");
        let of = |name| self.shards.get(name).map_or(1, |(_, s)| if fused(name) { experts_of(s) } else { 1 });
        let parts: usize = self.shards.names().map(of).sum();
        if layers.max(experts) <= parts {
            return Ok(());
        }
        let held = self.shards.len();
        let reason =
            format!("{held} tensors cannot be the {layers} layers and {experts} experts that config.json asks for");
        Err(StoreError::malformed(&self.shards.place, reason, OF_OTHERS))
    }

    /// Head and embedding are one if config.json says so and the files do not hold two different ones.
    fn fit_ties(&mut self) -> Result<(), StoreError> {
        let both = self.shards.get(EMBEDDING).is_some() && self.shards.get(HEAD).is_some();
        if self.spec.tie_word_embeddings && both && !self.are_equal(EMBEDDING, HEAD)? {
            self.spec.tie_word_embeddings = false;
            self.remarks.push(format!(
                "config.json ties the head to the embedding, but {HEAD} has other values than {EMBEDDING}: they are not tied, as in \
                 transformers."
            ));
        }
        Ok(())
    }

    fn are_equal(&self, one: &str, other: &str) -> Result<bool, StoreError> {
        const CHUNK: usize = 1 << 16;
        let (Some((file, stored)), Some((other_file, other_stored))) = (self.shards.get(one), self.shards.get(other))
        else {
            return Ok(false);
        };
        if stored.shape != other_stored.shape {
            return Ok(false);
        }
        let (mut a, mut b) = (vec![0.0; CHUNK], vec![0.0; CHUNK]);
        for from in (0..stored.len()).step_by(CHUNK) {
            let len = CHUNK.min(stored.len() - from);
            file.read_f32_into(one, from, &mut a[..len])?;
            other_file.read_f32_into(other, from, &mut b[..len])?;
            if a[..len] != b[..len] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds every tensor of the model, and says of every other why it is not needed.
    fn find_all(&mut self) -> Result<(), StoreError> {
        let expected = self.spec.tensors();
        let has_buffers = expected.iter().any(|t| !t.is_trained() && self.find(t).is_some());
        if !has_buffers && expected.iter().any(|t| !t.is_trained()) {
            self.remarks.push("The files have no correction bias of a gate: all are 0.".into());
        }
        for tensor in expected {
            let place = match self.find(&tensor) {
                None if !tensor.is_trained() && !has_buffers => Place::Zeros { len: tensor.shape.iter().product() },
                None => return Err(self.missing(&tensor)),
                Some(found) => self.place(&tensor, found)?,
            };
            self.places.insert(tensor.name, place);
        }
        let mut used: Vec<&str> = Vec::with_capacity(self.places.len());
        used.extend(self.places.values().filter_map(|place| match place {
            Place::Stored { name, .. } | Place::Scaled { name, .. } => Some(name.as_str()),
            Place::Zeros { .. } => None,
        }));
        used.sort_unstable();
        let is_used = |name: &str| used.binary_search(&name).is_ok();
        for name in self.shards.names() {
            let is_scale = || name.strip_suffix(SCALE).is_some_and(|of| is_used(of) && self.is_e4m3(of));
            if is_used(name) || is_scale() {
                continue;
            }
            let reason = self.why_left_out(name).ok_or_else(|| StoreError::ExtraTensor {
                path: self.shards.place.clone(),
                name: name.to_owned(),
                shape: self.shards.shape(name).unwrap_or_default().to_vec(),
            })?;
            self.left_out.insert(name.to_owned(), reason);
        }
        Ok(())
    }

    /// What holds a tensor's values: its name in the files, and of experts in one tensor which part it is.
    fn find(&self, tensor: &TensorSpec) -> Option<(String, Option<Part>)> {
        let has = |name: &String| self.shards.get(name).is_some();
        let tied_head = (self.spec.tie_word_embeddings && tensor.name == EMBEDDING).then(|| HEAD.to_owned());
        let own = [Some(tensor.name.clone()), converted(&tensor.name), tied_head];
        if let Some(name) = own.into_iter().flatten().find(has) {
            return Some((name, None));
        }
        let (name, part) = fused(&tensor.name)?;
        let name = [Some(name.clone()), converted(&name)].into_iter().flatten().find(has)?;
        Some((name, Some(part)))
    }

    fn place(&self, tensor: &TensorSpec, (name, part): (String, Option<Part>)) -> Result<Place, StoreError> {
        let (file, stored) = self.shards.get(&name).expect("it was found just now");
        let len: usize = tensor.shape.iter().product();
        let path = || file.path().to_path_buf();
        let expected = match part {
            None => tensor.shape.clone(),
            Some(Part { parts, .. }) => vec![experts_of(&self.spec), parts * tensor.shape[0], tensor.shape[1]],
        };
        if stored.shape != expected {
            return Err(StoreError::TensorShape { path: path(), name, expected, found: stored.shape.clone() });
        }
        let from = part.map_or(0, |Part { expert, part, parts }| (expert * parts + part) * len);
        match (stored.dtype, &tensor.shape[..]) {
            (Dtype::F32 | Dtype::BF16 | Dtype::F16, _) => Ok(Place::Stored { name, from, len }),
            (Dtype::F8_E4M3, &[rows, columns]) if part.is_none() => {
                self.check_scales(&name, [rows, columns])?;
                Ok(Place::Scaled { name, columns, len })
            }
            (dtype, _) => {
                let whole = if part.is_some() { " with all experts in one" } else { "" };
                Err(StoreError::TensorDtype { path: path(), name, dtype: format!("{dtype:?}{whole}") })
            }
        }
    }

    fn check_scales(&self, name: &str, shape: [usize; 2]) -> Result<(), StoreError> {
        let scales = scale_name(name);
        let expected = fp8::blocks_of(shape, self.block).to_vec();
        match self.shards.get(&scales) {
            Some((file, stored)) if stored.shape != expected => {
                let (path, found) = (file.path().to_path_buf(), stored.shape.clone());
                Err(StoreError::TensorShape { path, name: scales, expected, found })
            }
            Some((_, Stored { dtype: Dtype::F32 | Dtype::BF16 | Dtype::F16, .. })) => Ok(()),
            Some((file, stored)) => {
                let (path, dtype) = (file.path().to_path_buf(), format!("{:?}", stored.dtype));
                Err(StoreError::TensorDtype { path, name: scales, dtype })
            }
            None => Err(StoreError::malformed(
                &self.shards.place,
                format!("tensor {name} is stored as F8_E4M3, and {scales} is missing: its values are not known"),
                "take a model whose FP8 weights have scales in blocks, as DeepSeek-V3's, or its BF16 form",
            )),
        }
    }

    fn is_e4m3(&self, name: &str) -> bool {
        self.shards.get(name).is_some_and(|(_, stored)| stored.dtype == Dtype::F8_E4M3)
    }

    fn missing(&self, tensor: &TensorSpec) -> StoreError {
        const OTHER_PARTS: [&str; 4] = ["language_model.", "model.language_model.", "model.visual.", "vision_tower."];
        let path = self.shards.place.clone();
        let of_several = self.shards.names().find(|name| OTHER_PARTS.iter().any(|part| name.starts_with(part)));
        match of_several {
            Some(found) => StoreError::malformed(
                &path,
                format!("tensor {found} belongs to a model that takes more than text, and {} is missing", tensor.name),
                "take the form of the model that takes text alone",
            ),
            None => StoreError::MissingTensor { path, name: tensor.name.clone(), shape: tensor.shape.clone() },
        }
    }

    /// Why a tensor is not needed: it repeats what the model has already, or belongs to parts that it was asked to go without.
    fn why_left_out(&self, name: &str) -> Option<&'static str> {
        let spec = &self.spec;
        if name.ends_with(".rotary_emb.inv_freq") {
            return Some("the rotary table follows from config.json");
        }
        if spec.tie_word_embeddings && name == HEAD {
            return Some("the head is the embedding, and this is the same once more");
        }
        let layer = layer_of(name).filter(|&layer| layer >= spec.num_hidden_layers)?;
        if layer < spec.num_hidden_layers + spec.num_nextn_predict_layers {
            let copied = [".embed_tokens.weight", ".shared_head.head.weight"].iter().any(|part| name.ends_with(part));
            return copied.then_some("the MTP module shares the model's own");
        }
        // eh_proj is what makes a layer past the last one an MTP module; without it config.json has the wrong depth.
        let is_mtp = self.shards.get(&format!("model.layers.{layer}.eh_proj.weight")).is_some();
        let unasked = spec.num_nextn_predict_layers == 0 && is_mtp;
        unasked.then_some("of an MTP module, and config.json has num_nextn_predict_layers 0")
    }
}

const OF_OTHERS: &str = "weights and config.json belong to different models, take both from the same folder";
/// Of the `layers` layers those with a mixture of experts.
fn mixture_layers(spec: &ModelSpec, layers: usize) -> usize {
    (0..layers).filter(|&layer| spec.is_mixture(layer)).count()
}

fn experts_of(spec: &ModelSpec) -> usize {
    spec.moe.as_ref().map_or(0, |moe| moe.n_routed_experts)
}

/// What the header of such a model's file may take, generously: twice the tensors with half a kilobyte each, and a megabyte of remarks.
fn header_bytes_max(spec: &ModelSpec) -> u64 {
    let layers = (spec.num_hidden_layers + spec.num_nextn_predict_layers) as u64;
    let tensors = layers.saturating_mul(32 + 3 * experts_of(spec) as u64).saturating_add(16);
    tensors.saturating_mul(2 * 512).saturating_add(1 << 20)
}

/// In a folder with a manifest an unlisted file must not decide what is read; with `verify` every byte is checked.
fn check_vouched(dir: &Path, verify: bool) -> Result<(), StoreError> {
    let vouched = match verify {
        true => manifest::verify_dir(dir)?.manifest,
        false => manifest::Manifest::read(&dir.join(MANIFEST))?,
    };
    for name in [CONFIG, WEIGHTS, INDEX] {
        if dir.join(name).exists() && !vouched.files.contains_key(name) {
            return Err(StoreError::UnlistedFile { path: dir.join(name) });
        }
    }
    Ok(())
}
