//! Reading of what fixtures/make_parity.py wrote.

use std::path::PathBuf;

use reseek_model::Weights;
use reseek_spec::ModelSpec;
use reseek_tensor::cross_entropy::IGNORE;
use reseek_train::Sequence;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

/// The folders of fixtures, of every family.
pub const CASES: [&str; 28] = [
    "v3",
    "v3-yarn",
    "v3-no-q-lora",
    "llama",
    "llama-bias",
    "llama-dynamic",
    "llama-linear",
    "llama3-rope",
    "qwen2",
    "qwen2-window",
    "qwen3",
    "qwen3-yarn",
    "mistral",
    "mistral-window",
    "ministral",
    "ministral3",
    "smollm3",
    "olmo2",
    "olmo3",
    "mixtral",
    "qwen2-moe",
    "qwen2-moe-step",
    "qwen3-moe",
    "qwen3-moe-dense",
    "glm4-moe",
    "gemma3",
    "deepseek-v2",
    "deepseek-v2-groups",
];

/// A model with what transformers computed of it.
pub struct Fixture {
    pub weights: Weights,
    pub sequences: Vec<Sequence>,
    expected: Vec<u8>,
}

impl Fixture {
    pub fn load(case: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(case);
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{case}/{name}: {e}"));
        let config = String::from_utf8(read("config.json")).expect("config.json is text");
        let spec = ModelSpec::from_hf_json(&config).expect("config.json describes a model");
        let model = read("model.safetensors");
        let file = SafeTensors::deserialize(&model).expect("a safetensors file");
        let tensors = file.iter().map(|(name, view)| (name.to_string(), view.shape().to_vec(), floats(view.data())));
        let weights = Weights::from_tensors(spec, tensors).expect("the tensors of the configuration");
        let expected = read("expected.safetensors");
        let tokens = SafeTensors::deserialize(&expected).expect("a safetensors file");
        let tokens = tokens.tensor("tokens").expect("tokens");
        let length = tokens.shape()[1];
        let ids: Vec<u32> = words(tokens.data()).map(u32::from_le_bytes).collect();
        let sequences = ids.chunks_exact(length).map(with_targets).collect();
        Self { weights, sequences, expected }
    }

    /// The text of a file of a fixture, where there is one of that name.
    pub fn text(case: &str, name: &str) -> Option<String> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(case);
        std::fs::read_to_string(folder.join(name)).ok()
    }

    /// A tensor that transformers computed.
    pub fn expected(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.expected).expect("a safetensors file");
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        floats(view.data())
    }

    /// Names of all gradients.
    pub fn gradients(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.expected).expect("a safetensors file");
        let mut names: Vec<_> = file.names().iter().filter_map(|n| n.strip_prefix("grad.")).map(String::from).collect();
        names.sort();
        names
    }

    pub fn tokens(&self) -> Vec<u32> {
        self.sequences.iter().flat_map(|(tokens, _)| tokens.clone()).collect()
    }

    pub fn segments(&self) -> Vec<usize> {
        self.sequences.iter().map(|(tokens, _)| tokens.len()).collect()
    }
}

/// The sequence with the token after each, nothing after the last.
pub fn with_targets(tokens: &[u32]) -> Sequence {
    let targets = tokens[1..].iter().copied().chain([IGNORE]).collect();
    (tokens.to_vec(), targets)
}

/// ‖a − b‖ / ‖b‖, and the largest difference of an element over b's largest.
pub fn errors(a: &[f32], b: &[f32]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let (mut diff, mut norm, mut worst, mut largest) = (0.0, 0.0, 0.0f64, 0.0f64);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (a as f64, b as f64);
        diff += (a - b).powi(2);
        norm += b * b;
        // Not max(), which would lose a NaN.
        worst = if (a - b).abs() <= worst { worst } else { (a - b).abs() };
        largest = largest.max(b.abs());
    }
    let over = |x: f64, y: f64| if x == 0.0 { 0.0 } else { x / y };
    (over(diff.sqrt(), norm.sqrt()), over(worst, largest))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.chunks_exact(4).map(|b| b.try_into().expect("four bytes"))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    words(bytes).map(f32::from_le_bytes).collect()
}
