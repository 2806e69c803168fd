//! What the tests share: a folder that cleans up after itself, tiny models, and values that depend on nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use half::{bf16, f16};
use reseek_spec::ModelSpec;
use reseek_store::{ModelSource, Sidecars, StoreError};
use serde_json::{Value, json};

/// One tensor read: name, shape, values in row-major order.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

/// The whole model in `dir` in the order of its specification, without correction biases that the files do not have.
pub fn load_model(dir: &Path) -> Result<(ModelSpec, Vec<NamedTensor>), StoreError> {
    let source = ModelSource::open(dir)?;
    let mut tensors = Vec::new();
    for tensor in source.spec().tensors().into_iter().filter(|tensor| source.has(&tensor.name)) {
        let values = source.values(&tensor.name)?;
        tensors.push((tensor.name, tensor.shape, values));
    }
    Ok((source.spec().clone(), tensors))
}

/// A new folder under the system's temporary one, removed at the end of the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reseek-store-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// SplitMix64 (Steele et al. 2014): the tests' only source of arbitrary numbers.
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// `len` values in (-1, 1) that are exact in bf16 and f16 too (multiples of 1/64).
pub fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix(seed);
    (0..len).map(|_| (random.below(127) as f32 - 63.0) / 64.0).collect()
}

pub fn spec(config: &str) -> ModelSpec {
    ModelSpec::from_hf_json(config).unwrap()
}

/// Values for each tensor of `spec`.
pub fn tensors(spec: &ModelSpec) -> Vec<NamedTensor> {
    let with_values = |(i, t): (usize, reseek_spec::TensorSpec)| {
        let len = t.shape.iter().product();
        (t.name, t.shape, values(len, i as u64))
    };
    spec.tensors().into_iter().enumerate().map(with_values).collect()
}

/// As [`reseek_store::save_checkpoint`] takes them.
pub fn borrowed(tensors: &[NamedTensor]) -> impl Iterator<Item = (&str, &[usize], &[f32])> {
    tensors.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice()))
}

pub fn sidecars() -> Sidecars {
    Sidecars {
        generation_config: br#"{"temperature": 0.6}"#.to_vec(),
        tokenizer: br#"{"model": {}}"#.to_vec(),
        tokenizer_config: br#"{"eos_token": "e"}"#.to_vec(),
        chat_template: Some(b"{{ messages }}".to_vec()),
    }
}

/// A tensor's bytes as they stand in a file.
pub struct Raw {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Raw {
    /// `tensor` in `dtype`.
    pub fn of((name, shape, values): &NamedTensor, dtype: &'static str) -> Self {
        let bytes = match dtype {
            "F32" => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            "BF16" => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
            "F16" => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            other => panic!("{other}"),
        };
        Self { name: name.clone(), dtype, shape: shape.clone(), bytes }
    }
}

/// Writes a safetensors file with the tensors one behind the other.
pub fn write_raw(path: &Path, tensors: &[Raw]) {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for Raw { name, dtype, shape, bytes } in tensors {
        let start = data.len();
        data.extend(bytes);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
}

/// Writes a folder as others do: config.json and weights of any format, no manifest.
pub fn foreign(dir: &Path, config: &str, file: &str, tensors: &[NamedTensor], dtype: &'static str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config).unwrap();
    // Hugging Face's writer sorts by name.
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let raw: Vec<Raw> = sorted.into_iter().map(|tensor| Raw::of(tensor, dtype)).collect();
    write_raw(&dir.join(file), &raw);
}

/// Writes the index of `shards`, each a file with the names of its tensors.
pub fn write_index(dir: &Path, shards: &[(&str, &[NamedTensor])]) {
    let map: serde_json::Map<String, Value> = shards
        .iter()
        .flat_map(|(file, tensors)| tensors.iter().map(move |(name, ..)| (name.clone(), json!(file))))
        .collect();
    let text = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    fs::write(dir.join("model.safetensors.index.json"), text).unwrap();
}

/// Every file under `dir` by relative name, with its bytes.
pub fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Asserts that a message names all of `parts`.
#[track_caller]
pub fn assert_names(error: &dyn std::fmt::Display, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

pub const DEEPSEEK_V3: &str = r#"{
  "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 40, "hidden_size": 16,
  "intermediate_size": 24, "moe_intermediate_size": 8, "num_hidden_layers": 2, "num_nextn_predict_layers": 1,
  "num_attention_heads": 2, "num_key_value_heads": 2, "n_shared_experts": 1, "n_routed_experts": 4,
  "routed_scaling_factor": 2.5, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 4,
  "qk_nope_head_dim": 4, "topk_method": "noaux_tc", "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
  "moe_layer_freq": 1, "first_k_dense_replace": 1, "norm_topk_prob": true, "scoring_func": "sigmoid",
  "hidden_act": "silu", "max_position_embeddings": 64, "initializer_range": 0.02, "rms_norm_eps": 1e-06,
  "rope_theta": 10000, "rope_scaling": null, "attention_bias": false, "tie_word_embeddings": false,
  "bos_token_id": 0, "eos_token_id": 1
}"#;

pub const LLAMA: &str = r#"{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 40, "hidden_size": 16,
  "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
  "hidden_act": "silu", "max_position_embeddings": 64, "initializer_range": 0.02, "rms_norm_eps": 1e-05,
  "rope_theta": 10000.0, "rope_scaling": null, "attention_bias": false, "mlp_bias": false,
  "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1
}"#;

pub const QWEN2_TIED: &str = r#"{
  "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 40, "hidden_size": 16,
  "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "hidden_act": "silu", "max_position_embeddings": 64, "initializer_range": 0.02, "rms_norm_eps": 1e-06,
  "rope_theta": 10000.0, "use_sliding_window": false, "sliding_window": 64, "max_window_layers": 2,
  "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1
}"#;
