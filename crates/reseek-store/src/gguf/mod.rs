//! GGUF files, llama.cpp's form of a model: configuration, tokenizer, template and weights in one file.
//!
//! Read are models of the architecture `llama` with weights in F32, F16, Q8_0, Q4_0 and Q4_1. A quantised tensor is handed out as it is,
//! for kernels that multiply with it, and as the f32 values that it stands for. Names and the order of the rows are Hugging Face's in the
//! result: the file's names are its own, and the rows of q and k are put back where `rotate_half` has them.
//!
//! A file may be hostile: each count and length is held against what is left of the file before anything of that size is made.

mod blocks;
mod header;

use std::path::Path;

use reseek_spec::ModelSpec;
use serde_json::json;

use crate::StoreError;
use crate::model_files::NamedTensor;
pub use blocks::{BlockKind, CodeBlock, CodeForm, ScaleForm};
use header::{Header, Metadata, TensorInfo};

/// A tensor in the file's own blocks of 32 values along a row.
#[derive(Clone, Debug)]
pub struct QuantisedTensor {
    /// Hugging Face's name.
    pub name: String,
    /// [rows, columns].
    pub shape: [usize; 2],
    /// The form of the blocks.
    pub kind: BlockKind,
    /// The blocks of all rows, in row order.
    pub bytes: Vec<u8>,
}

/// The tokenizer inside of the file.
#[derive(Clone, Debug)]
pub struct GgufTokenizer {
    /// Spellings by id, in byte-level characters.
    pub tokens: Vec<String>,
    /// Whether an id is a control token.
    pub control: Vec<bool>,
    /// Pairs in order, with a space between their halves.
    pub merges: Vec<String>,
    /// The name of the pre-tokenizer, for example `smollm`.
    pub pre: String,
    /// Ids of the begin, end and padding tokens, where the file names them.
    pub bos: Option<usize>,
    /// Id of the end token.
    pub eos: Option<usize>,
    /// Id of the padding token.
    pub pad: Option<usize>,
    /// Whether a text begins with the begin token, and ends with the end token.
    pub add_bos: bool,
    /// Whether the end token stands behind a text.
    pub add_eos: bool,
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct GgufModel {
    /// The model.
    pub spec: ModelSpec,
    /// All weights in f32, in the order of [`ModelSpec::tensors`].
    pub tensors: Vec<NamedTensor>,
    /// Those that the file holds quantised, once more as they are.
    pub quantised: Vec<QuantisedTensor>,
    /// The tokenizer.
    pub tokenizer: GgufTokenizer,
    /// The chat template (Jinja), where there is one.
    pub chat_template: Option<String>,
}

/// Reads the model in `path`.
///
/// # Errors
/// If the file is cut short or damaged, of another architecture, with a kind of block that is not read, or without a tensor that its
/// configuration asks for.
pub fn load_gguf(path: &Path) -> Result<GgufModel, StoreError> {
    let header = Header::read(path)?;
    let spec = spec_of(path, &header)?;
    let mut reader = Reader { path, header: &header, spec: &spec, used: Vec::new() };
    let (mut tensors, mut quantised) = (Vec::new(), Vec::new());
    for expected in spec.tensors() {
        let (info, bytes) = reader.read(&expected.name, &expected.shape)?;
        let values = info.kind.values(&bytes);
        if let (true, &[rows, columns]) = (info.kind.is_quantised(), &expected.shape[..]) {
            let shape = [rows, columns];
            quantised.push(QuantisedTensor { name: expected.name.clone(), shape, kind: info.kind, bytes });
        }
        tensors.push((expected.name, expected.shape, values));
    }
    reader.check_all_used()?;
    let tokenizer = tokenizer_of(&header.metadata)?;
    if tokenizer.tokens.len() != spec.vocab_size {
        return Err(StoreError::malformed(
            path,
            format!("{} tokens for an embedding of {} rows", tokenizer.tokens.len(), spec.vocab_size),
            "the file is damaged, fetch it again",
        ));
    }
    let chat_template = header.metadata.optional_text("tokenizer.chat_template")?.map(str::to_owned);
    Ok(GgufModel { spec, tensors, quantised, tokenizer, chat_template })
}

/// The configuration, checked as a config.json of Hugging Face is.
fn spec_of(path: &Path, header: &Header) -> Result<ModelSpec, StoreError> {
    let meta = &header.metadata;
    let architecture = meta.text("general.architecture")?;
    if architecture != "llama" {
        return Err(StoreError::malformed(
            path,
            format!("the architecture is {architecture:?}, read is \"llama\""),
            "take the model's Hugging Face folder with safetensors instead",
        ));
    }
    let count = |key: &str| meta.count(&format!("llama.{key}"));
    let heads = count("attention.head_count")?;
    let hidden = count("embedding_length")?;
    let embedding = header.tensor(path, "token_embd.weight")?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": embedding.shape.first(), "hidden_size": hidden,
        "intermediate_size": count("feed_forward_length")?,
        "num_hidden_layers": count("block_count")?, "num_attention_heads": heads,
        "num_key_value_heads": meta.optional_count("llama.attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": meta.optional_count("llama.attention.key_length")?.unwrap_or(hidden / heads.max(1)),
        "max_position_embeddings": count("context_length")?,
        "rms_norm_eps": meta.number("llama.attention.layer_norm_rms_epsilon")?,
        "rope_theta": meta.optional_number("llama.rope.freq_base")?.unwrap_or(10_000.0),
        "tie_word_embeddings": header.tensor(path, "output.weight").is_err(),
        "bos_token_id": meta.optional_count("tokenizer.ggml.bos_token_id")?.unwrap_or(1),
        "eos_token_id": meta.optional_count("tokenizer.ggml.eos_token_id")?.unwrap_or(2),
        "hidden_act": "silu", "attention_bias": false, "mlp_bias": false,
    });
    ModelSpec::from_hf_json(&config.to_string()).map_err(|source| StoreError::Spec { path: path.to_path_buf(), source })
}

fn tokenizer_of(meta: &Metadata) -> Result<GgufTokenizer, StoreError> {
    const CONTROL: i64 = 3;
    let model = meta.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(meta.wrong("tokenizer.ggml.model", model, "\"gpt2\": byte-level pairs"));
    }
    let tokens = meta.texts("tokenizer.ggml.tokens")?;
    let kinds = meta.integers("tokenizer.ggml.token_type")?;
    if kinds.len() != tokens.len() {
        return Err(meta.wrong("tokenizer.ggml.token_type", kinds.len(), &format!("{} of them", tokens.len())));
    }
    let id = |name: &str| -> Result<Option<usize>, StoreError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match meta.optional_count(&key)? {
            Some(id) if id >= tokens.len() => Err(meta.wrong(&key, id, &format!("below {}", tokens.len()))),
            id => Ok(id),
        }
    };
    // llama.cpp and transformers add nothing to byte-level pairs where the file does not say so.
    let flag = |key: &str| Ok::<bool, StoreError>(meta.optional_count(key)?.is_some_and(|flag| flag != 0));
    let (bos, eos, pad) = (id("bos")?, id("eos")?, id("padding")?);
    Ok(GgufTokenizer {
        control: kinds.iter().map(|&kind| kind == CONTROL).collect(),
        merges: meta.texts("tokenizer.ggml.merges")?,
        pre: meta.optional_text("tokenizer.ggml.pre")?.unwrap_or("default").to_owned(),
        add_bos: flag("tokenizer.ggml.add_bos_token")?,
        add_eos: flag("tokenizer.ggml.add_eos_token")?,
        tokens,
        bos,
        eos,
        pad,
    })
}

/// Tensors by Hugging Face's names.
struct Reader<'a> {
    path: &'a Path,
    header: &'a Header,
    spec: &'a ModelSpec,
    used: Vec<String>,
}

impl Reader<'_> {
    /// The bytes of a tensor with its rows in Hugging Face's order.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<(&TensorInfo, Vec<u8>), StoreError> {
        let own_name = own_name(name);
        let info = self.header.tensor(self.path, &own_name)?;
        if info.shape != shape {
            let (path, found) = (self.path.to_path_buf(), info.shape.clone());
            return Err(StoreError::TensorShape { path, name: own_name, expected: shape.to_vec(), found });
        }
        let mut bytes = info.read(self.path)?;
        let head = self.spec.head_dim;
        if own_name.ends_with("attn_q.weight") || own_name.ends_with("attn_k.weight") {
            bytes = halves_apart(&bytes, shape[0], head);
        }
        self.used.push(own_name);
        Ok((info, bytes))
    }

    fn check_all_used(&self) -> Result<(), StoreError> {
        match self.header.tensors.iter().find(|tensor| !self.used.contains(&tensor.name)) {
            None => Ok(()),
            Some(tensor) => Err(StoreError::ExtraTensor {
                path: self.path.to_path_buf(),
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
            }),
        }
    }
}

/// The file's name of a tensor.
fn own_name(name: &str) -> String {
    const PARTS: [(&str, &str); 9] = [
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        "lm_head.weight" => return "output.weight".to_owned(),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')).unwrap_or(("", name));
    let known = PARTS.iter().find_map(|(ours, own)| part.strip_prefix(ours).map(|rest| format!("{own}{rest}")));
    format!("blk.{layer}.{}", known.unwrap_or_else(|| part.to_owned()))
}

/// Rows of q or k as Hugging Face has them, (head, half, pair), from the file's (head, pair, half): llama.cpp turns neighbours.
fn halves_apart(bytes: &[u8], rows: usize, head: usize) -> Vec<u8> {
    let row = bytes.len() / rows.max(1);
    let mut out = Vec::with_capacity(bytes.len());
    for target in 0..rows {
        let (first, within) = (target / head * head, target % head);
        let (half, pair) = (within / (head / 2), within % (head / 2));
        let source = first + 2 * pair + half;
        out.extend_from_slice(&bytes[source * row..(source + 1) * row]);
    }
    out
}

/// Whether `path` is to be read as a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

fn damaged(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::malformed(path, reason, "the file is cut short or damaged, fetch it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_file() {
        assert_eq!(own_name("model.layers.12.self_attn.o_proj.weight"), "blk.12.attn_output.weight");
        assert_eq!(own_name("model.layers.0.post_attention_layernorm.weight"), "blk.0.ffn_norm.weight");
        assert_eq!(own_name("model.embed_tokens.weight"), "token_embd.weight");
    }

    #[test]
    fn rows_go_back_to_their_halves() {
        // Two heads of four rows; the file's row of (head, pair, half) is named by the place where it belongs.
        let file = [0, 2, 1, 3, 4, 6, 5, 7];
        assert_eq!(halves_apart(&file, 8, 4), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
