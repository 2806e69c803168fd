//! A model written for others: a Hugging Face folder in f32, bf16 or DeepSeek's FP8 form, in shards, tensor by tensor.
//!
//! The folder is built under another name beside its place and takes its name when it is whole. Each value is rounded once, to the nearest
//! and of two to the even: what came from bf16 is the same again in bf16, and so is FP8. Correction biases of gates stay f32, as in
//! DeepSeek's files. In a shard tensors of 4 bytes a value come first, so that all are aligned.

use std::borrow::Cow;
use std::path::Path;

use half::bf16;
use reseek_spec::{Fp8Blocks, ModelSpec, Role, TensorSpec};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use crate::StoreError;
use crate::atomic::{self, AtomicFile};
use crate::claim::Building;
use crate::copy::refuse_inside;
use crate::fp8;
use crate::manifest::{self, DirWriter, MANIFEST, Manifest};
use crate::model_config::CONFIG;
use crate::model_names::scale_name;
use crate::safetensors_io::{self, CHUNK_VALUES};
use crate::shards::{INDEX, WEIGHTS};

/// Bytes of a shard at most, where nothing else is asked for: transformers 4's limit (transformers 5 has ten times as much).
pub const SHARD_BYTES_MAX: u64 = 5_000_000_000;

/// What weights are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// 4 bytes a value.
    F32,
    /// 2 bytes a value.
    Bf16,
    /// DeepSeek-V3's: projections of attention, dense networks and experts in E4M3 with a scale for each block of 128 × 128, the rest in
    /// bf16.
    Fp8,
}

/// How a folder is written, and what stands in it beside the weights.
#[derive(Clone, Debug)]
pub struct FolderOptions<'a> {
    /// Of the weights.
    pub format: WeightFormat,
    /// Bytes of a shard at most; a larger tensor has one of its own.
    pub shard_bytes_max: u64,
    /// The config.json whose keys are kept, where the model had one. Its formats are replaced, and `auto_map` goes, which names programs
    /// that are not in the folder.
    pub config: Option<&'a Value>,
    /// Further files by name: generation_config.json, tokenizer, template, README.md.
    pub files: &'a [(String, Vec<u8>)],
    /// What the tensors are read from: nothing is written into it.
    pub source: Option<&'a Path>,
    /// Where the model comes from, for the manifest.
    pub meta: Value,
}

/// Writes the model `spec` into the new folder `dir`. `read` gives a tensor's values when its turn comes, in any order, each once.
///
/// # Errors
/// If `dir` is there or in the source, its disk has too little room, config.json would describe another model, `read` fails, a value has no
/// place in the format, or the disk refuses. Then nothing is left of the folder.
///
/// # Panics
/// If `read` gives another number of values than the tensor has.
pub fn write_folder<'a>(
    dir: &Path,
    spec: &ModelSpec,
    mut read: impl FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, StoreError>,
    options: &FolderOptions<'_>,
) -> Result<Manifest, StoreError> {
    if dir.symlink_metadata().is_ok() {
        return Err(StoreError::TargetIsThere { path: dir.to_path_buf() });
    }
    if let Some(source) = options.source {
        refuse_inside(source, dir)?;
    }
    let pieces: Vec<Piece> = spec.tensors().into_iter().map(|tensor| Piece::new(tensor, options.format)).collect();
    let config = config_of(dir, spec, &pieces, options)?;
    check_names(dir, options)?;
    check_aligned(dir, &pieces)?;
    let parameters = pieces.iter().filter(|piece| piece.tensor.is_trained()).map(Piece::len).sum();
    let shards = shards_of(pieces, options.shard_bytes_max);
    check_room(dir, &shards, options)?;

    let building = Building::of(dir)?;
    let mut read = |tensor: &TensorSpec| {
        let values = read(tensor)?;
        let must_be_finite = options.format == WeightFormat::Fp8 && is_in_fp8(tensor);
        if must_be_finite { check_finite(dir, tensor, values) } else { Ok(values) }
    };
    let written = build(building.path(), &config, &shards, parameters, &mut read, options)?;
    building.publish()?;
    Ok(written)
}

/// Fills the folder that has its final name later.
fn build<'a>(
    building: &Path,
    config: &Value,
    shards: &[Vec<Piece>],
    parameters: u64,
    read: &mut impl FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, StoreError>,
    options: &FolderOptions<'_>,
) -> Result<Manifest, StoreError> {
    let mut folder = DirWriter::create(building)?;
    for (name, bytes) in options.files {
        folder.write(name, bytes)?;
    }
    folder.write(CONFIG, &pretty(config))?;
    let mut map = Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = shard_name(number, shards.len());
        folder.write_with(&name, |file| {
            file.write(&safetensors_io::header_of(shard.iter().flat_map(Piece::stored)))?;
            shard.iter().try_for_each(|piece| piece.write(file, &read(&piece.tensor)?))
        })?;
        map.extend(shard.iter().flat_map(Piece::stored).map(|(tensor, ..)| (tensor, json!(name))));
    }
    if shards.len() > 1 {
        map.sort_keys();
        let total_size: u64 = shards.iter().flatten().map(Piece::bytes).sum();
        let metadata = json!({"total_parameters": parameters, "total_size": total_size});
        folder.write(INDEX, &pretty(&json!({"metadata": metadata, "weight_map": map})))?;
    }
    folder.finish(options.meta.clone())
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("a value is JSON");
    bytes.push(b'\n');
    bytes
}

/// As transformers names them.
fn shard_name(number: usize, count: usize) -> String {
    match count {
        1 => WEIGHTS.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

/// A tensor of the model and the form that it is written in.
struct Piece {
    tensor: TensorSpec,
    form: WeightFormat,
}

impl Piece {
    fn new(tensor: TensorSpec, format: WeightFormat) -> Self {
        let form = match format {
            _ if !tensor.is_trained() => WeightFormat::F32,
            WeightFormat::Fp8 if !is_in_fp8(&tensor) => WeightFormat::Bf16,
            format => format,
        };
        Self { tensor, form }
    }

    fn len(&self) -> u64 {
        self.tensor.shape.iter().map(|&n| n as u64).product()
    }

    fn bytes(&self) -> u64 {
        match self.form {
            WeightFormat::F32 => 4 * self.len(),
            WeightFormat::Bf16 => 2 * self.len(),
            WeightFormat::Fp8 => self.len() + 4 * self.scales_shape().iter().map(|&n| n as u64).product::<u64>(),
        }
    }

    fn scales_shape(&self) -> [usize; 2] {
        fp8::blocks_of([self.tensor.shape[0], self.tensor.shape[1]], fp8::BLOCK)
    }

    /// What of it lies in the file, in order.
    fn stored(&self) -> Vec<(String, Dtype, Vec<usize>)> {
        let TensorSpec { name, shape, .. } = &self.tensor;
        let whole = |dtype| (name.clone(), dtype, shape.clone());
        match self.form {
            WeightFormat::F32 => vec![whole(Dtype::F32)],
            WeightFormat::Bf16 => vec![whole(Dtype::BF16)],
            WeightFormat::Fp8 => {
                vec![whole(Dtype::F8_E4M3), (scale_name(name), Dtype::F32, self.scales_shape().to_vec())]
            }
        }
    }

    fn write(&self, file: &mut AtomicFile, values: &[f32]) -> Result<(), StoreError> {
        let TensorSpec { name, shape, .. } = &self.tensor;
        assert_eq!(values.len() as u64, self.len(), "values of tensor {name} of shape {shape:?}");
        let mut bytes = Vec::with_capacity(4 * CHUNK_VALUES);
        let mut write_chunks = |size: usize, encode: &mut dyn FnMut(&[f32], &mut Vec<u8>)| {
            values.chunks(size).try_for_each(|chunk| {
                bytes.clear();
                encode(chunk, &mut bytes);
                file.write(&bytes)
            })
        };
        match self.form {
            WeightFormat::F32 => write_chunks(CHUNK_VALUES, &mut |values, bytes| {
                bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            }),
            WeightFormat::Bf16 => write_chunks(CHUNK_VALUES, &mut |values, bytes| {
                bytes.extend(values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()));
            }),
            WeightFormat::Fp8 => {
                let columns = shape[1];
                let scales = fp8::scales_of(values, columns);
                let rows = (CHUNK_VALUES / columns).max(1);
                let mut first = 0;
                write_chunks(rows * columns, &mut |values, bytes| {
                    fp8::encode_rows(values, columns, first, &scales, bytes);
                    first += rows;
                })?;
                scales.iter().try_for_each(|scale| file.write(&scale.to_le_bytes()))
            }
        }
    }
}

/// Whether DeepSeek-V3's files have a tensor in FP8: matrices of attention, dense networks and experts; not the embedding, head, gates and
/// norms, nor `eh_proj` of the MTP module.
fn is_in_fp8(tensor: &TensorSpec) -> bool {
    let last = tensor.name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next()).unwrap_or("");
    let is_projection = (last.ends_with("_proj") && last != "eh_proj") || last == "kv_a_proj_with_mqa";
    tensor.shape.len() == 2 && (is_projection || tensor.role == Role::RoutedExpert)
}

/// Files beside the weights have names of their own.
fn check_names(dir: &Path, options: &FolderOptions<'_>) -> Result<(), StoreError> {
    for (name, _) in options.files {
        manifest::check_name(name, dir)?;
        if [CONFIG, INDEX, MANIFEST].contains(&name.as_str()) || name.ends_with(".safetensors") {
            let reason = "it is one of those that are written from the model";
            return Err(StoreError::Name { path: dir.to_path_buf(), name: name.clone(), reason });
        }
    }
    Ok(())
}

/// Infinities and NaN have no place in a block of FP8.
fn check_finite<'a>(dir: &Path, tensor: &TensorSpec, values: Cow<'a, [f32]>) -> Result<Cow<'a, [f32]>, StoreError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => {
            let reason =
                format!("value {index} of tensor {} is {}, and FP8 has no such value", tensor.name, values[index]);
            Err(StoreError::malformed(dir, reason, "write the model in bf16, or mend its training"))
        }
    }
}

/// A shard's scales lie behind codes of one byte, at multiples of 4.
fn check_aligned(dir: &Path, pieces: &[Piece]) -> Result<(), StoreError> {
    let odd = |piece: &&Piece| piece.form == WeightFormat::Fp8 && !piece.len().is_multiple_of(4);
    match pieces.iter().find(odd).map(|piece| &piece.tensor) {
        None => Ok(()),
        Some(TensorSpec { name, shape, .. }) => {
            let reason = format!("tensor {name} of shape {shape:?} has no multiple of 4 values, as FP8 needs");
            Err(StoreError::malformed(dir, reason, "write the model in bf16"))
        }
    }
}

/// The pieces in their order, cut into shards; within one by size of value.
fn shards_of(pieces: Vec<Piece>, bytes_max: u64) -> Vec<Vec<Piece>> {
    let mut shards: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut bytes = 0;
    for piece in pieces {
        let more = piece.bytes();
        if bytes > 0 && bytes + more > bytes_max {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        shards.last_mut().expect("there is one from the beginning").push(piece);
    }
    for shard in &mut shards {
        shard.sort_by_key(|piece| match piece.form {
            WeightFormat::F32 => 0,
            WeightFormat::Fp8 => 1,
            WeightFormat::Bf16 => 2,
        });
    }
    shards
}

/// config.json of the model in its format, checked to be understood as the model.
fn config_of(dir: &Path, spec: &ModelSpec, pieces: &[Piece], options: &FolderOptions<'_>) -> Result<Value, StoreError> {
    let mut config = options.config.cloned().unwrap_or_else(|| spec.to_hf_json());
    let path = dir.join(CONFIG);
    let unlike = |reason: String| StoreError::malformed(&path, reason, "give the model's own config.json");
    let keys = config.as_object_mut().ok_or_else(|| unlike("it is no object".to_owned()))?;
    let dtype = if options.format == WeightFormat::F32 { "float32" } else { "bfloat16" };
    keys.insert("dtype".to_owned(), json!(dtype));
    keys.insert("torch_dtype".to_owned(), json!(dtype));
    keys.insert("tie_word_embeddings".to_owned(), json!(spec.tie_word_embeddings));
    if keys.contains_key("num_nextn_predict_layers") {
        keys.insert("num_nextn_predict_layers".to_owned(), json!(spec.num_nextn_predict_layers));
    }
    keys.remove("auto_map");
    keys.remove("quantization_config");
    if options.format == WeightFormat::Fp8 {
        keys.insert("quantization_config".to_owned(), quantisation_of(pieces));
    }
    let described = ModelSpec::from_hf_json(&config.to_string())
        .map_err(|source| StoreError::Spec { path: path.clone(), source })?;
    if described != *spec {
        return Err(unlike("it would describe another model than the one that is written".to_owned()));
    }
    Ok(config)
}

/// As DeepSeek-V3's config.json has it. Linear layers that it has not, and that stay bf16, are named.
fn quantisation_of(pieces: &[Piece]) -> Value {
    let mut out = Fp8Blocks::V3.to_hf_json();
    let gates = pieces.iter().filter_map(|piece| piece.tensor.name.strip_suffix(".weight"));
    let gates: Vec<&str> = gates.filter(|name| name.ends_with(".shared_expert_gate")).collect();
    if !gates.is_empty() {
        out["modules_to_not_convert"] = json!([&["lm_head"][..], &gates].concat());
    }
    out
}

/// That the disk of `dir` has room, as far as the system says so.
fn check_room(dir: &Path, shards: &[Vec<Piece>], options: &FolderOptions<'_>) -> Result<(), StoreError> {
    /// Of a header for each tensor, of config.json, index and manifest.
    const SLACK: u64 = 1 << 20;
    let headers: u64 = shards.iter().flatten().map(|piece| 4 * piece.tensor.name.len() as u64 + 256).sum();
    let weights: u64 = shards.iter().flatten().map(Piece::bytes).sum();
    let files: u64 = options.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let bytes = weights + headers + files + SLACK;
    let above = dir.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    match atomic::free_bytes(above)? {
        Some(free) if free < bytes => Err(StoreError::NoRoom { path: dir.to_path_buf(), bytes, free }),
        _ => Ok(()),
    }
}
