//! GGUF files byte by byte, written by nothing that the library has.

use std::path::{Path, PathBuf};

use half::f16;
use serde_json::Value;

use crate::common::SplitMix;

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q8_0: u32 = 8;

/// Bytes of a value behind its key: its kind, then itself.
pub fn count(n: u32) -> Vec<u8> {
    [4_u32.to_le_bytes(), n.to_le_bytes()].concat()
}

pub fn number(x: f32) -> Vec<u8> {
    [6_u32.to_le_bytes(), x.to_le_bytes()].concat()
}

pub fn flag(x: bool) -> Vec<u8> {
    [&7_u32.to_le_bytes()[..], &[x.into()]].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    [&8_u32.to_le_bytes()[..], &plain(text)].concat()
}

pub fn texts(texts: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = texts.iter().flat_map(|text| plain(text)).collect();
    [&9_u32.to_le_bytes()[..], &8_u32.to_le_bytes(), &(texts.len() as u64).to_le_bytes(), &list].concat()
}

/// A list of 32-bit numbers of a kind: 5 for whole ones, 6 for others.
pub fn list(kind: u32, numbers: &[[u8; 4]]) -> Vec<u8> {
    [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &(numbers.len() as u64).to_le_bytes(), &numbers.concat()].concat()
}

fn plain(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

pub struct Tensor {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

/// A file before it is written.
pub struct Builder {
    pub keys: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
}

impl Builder {
    pub fn new() -> Self {
        Self { keys: Vec::new(), tensors: Vec::new() }
    }

    /// Sets a key, in its place if it is there already.
    pub fn set(&mut self, key: &str, value: Vec<u8>) -> &mut Self {
        match self.keys.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
        self
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.keys.retain(|(name, _)| name != key);
        self
    }

    pub fn tensor(&mut self, name: &str, shape: &[u64], kind: u32, values: &[f32]) -> &mut Self {
        let bytes = match kind {
            F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Q8_0 => values.chunks(32).flat_map(eight_bits).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.tensors.push(Tensor { name: name.to_owned(), shape: shape.to_vec(), kind, bytes });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(plain(key));
            out.extend(value);
        }
        let mut at = 0_u64;
        for tensor in &self.tensors {
            out.extend(plain(&tensor.name));
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(at.to_le_bytes());
            at = (at + tensor.bytes.len() as u64).next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.bytes);
        }
        out
    }

    pub fn write(&self, path: &Path) -> PathBuf {
        std::fs::write(path, self.bytes()).unwrap();
        path.to_path_buf()
    }
}

/// 32 values as d·q with d a 64th, in which the tests' values are whole.
fn eight_bits(block: &[f32]) -> Vec<u8> {
    let q = block.iter().map(|x| (x * 64.0) as i8 as u8);
    f16::from_f32(1.0 / 64.0).to_le_bytes().into_iter().chain(q).collect()
}

/// Keys that every file has, with a tokenizer of eight tokens.
pub fn base(architecture: &str) -> Builder {
    let mut file = Builder::new();
    let kinds: Vec<[u8; 4]> = [3_i32, 3, 1, 1, 1, 1, 4, 5].iter().map(|kind| kind.to_le_bytes()).collect();
    file.set("general.architecture", text(architecture))
        .set("general.name", text("tiny"))
        .set("tokenizer.ggml.model", text("gpt2"))
        .set("tokenizer.ggml.pre", text("smollm"))
        .set("tokenizer.ggml.tokens", texts(&["<s>", "</s>", "a", "b", "c", "ab", "<mark>", "<spare>"]))
        .set("tokenizer.ggml.token_type", list(5, &kinds))
        .set("tokenizer.ggml.merges", texts(&["a b"]))
        .set("tokenizer.ggml.bos_token_id", count(0))
        .set("tokenizer.ggml.eos_token_id", count(1))
        .set("tokenizer.chat_template", text("{{ messages }}"));
    let key = |rest: &str| format!("{architecture}.{rest}");
    file.set(&key("block_count"), count(2))
        .set(&key("context_length"), count(64))
        .set(&key("embedding_length"), count(32))
        .set(&key("feed_forward_length"), count(64))
        .set(&key("attention.head_count"), count(2))
        .set(&key("attention.head_count_kv"), count(1))
        .set(&key("attention.layer_norm_rms_epsilon"), number(1e-5))
        .set(&key("rope.freq_base"), number(10_000.0));
    file
}

/// A Llama of two layers in three kinds of blocks.
pub fn llama() -> Builder {
    let mut file = base("llama");
    let mut seed = SplitMix(5);
    let mut add = |file: &mut Builder, name: &str, shape: &[u64], kind: u32| {
        let values = crate::common::values(shape.iter().product::<u64>() as usize, seed.next());
        file.tensor(name, shape, kind, &values);
    };
    add(&mut file, "token_embd.weight", &[8, 32], Q8_0);
    for layer in 0..2 {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        add(&mut file, &name("attn_norm"), &[32], F32);
        add(&mut file, &name("attn_q"), &[32, 32], Q8_0);
        add(&mut file, &name("attn_k"), &[16, 32], F16);
        add(&mut file, &name("attn_v"), &[16, 32], F16);
        add(&mut file, &name("attn_output"), &[32, 32], F32);
        add(&mut file, &name("ffn_norm"), &[32], F32);
        add(&mut file, &name("ffn_gate"), &[64, 32], Q8_0);
        add(&mut file, &name("ffn_up"), &[64, 32], Q8_0);
        add(&mut file, &name("ffn_down"), &[32, 64], Q8_0);
    }
    add(&mut file, "output_norm.weight", &[32], F32);
    file
}

/// What a specification is as config.json, for comparing field by field.
pub fn json(spec: &reseek_spec::ModelSpec) -> Value {
    spec.to_hf_json()
}

/// Takes a file of F32 and F16 apart again.
pub fn read(path: &Path) -> Builder {
    let bytes = std::fs::read(path).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (n_tensors, n_keys) = (u64_at(8), u64_at(16));
    let mut at = 24;
    let mut file = Builder::new();
    for _ in 0..n_keys {
        let len = u64_at(at) as usize;
        let key = String::from_utf8(bytes[at + 8..at + 8 + len].to_vec()).unwrap();
        let start = at + 8 + len;
        at = end_of(&bytes, u32_at(start), start + 4);
        file.keys.push((key, bytes[start..at].to_vec()));
    }
    let mut places = Vec::new();
    for _ in 0..n_tensors {
        let len = u64_at(at) as usize;
        let name = String::from_utf8(bytes[at + 8..at + 8 + len].to_vec()).unwrap();
        at += 8 + len;
        let dimensions = u32_at(at) as usize;
        let shape: Vec<u64> = (0..dimensions).rev().map(|i| u64_at(at + 4 + 8 * i)).collect();
        at += 4 + 8 * dimensions;
        places.push((name, shape, u32_at(at), u64_at(at + 4) as usize));
        at += 12;
    }
    let first = at.next_multiple_of(32);
    for (name, shape, kind, place) in places {
        let size = if kind == F16 { 2 } else { 4 };
        let len = shape.iter().product::<u64>() as usize * size;
        file.tensors.push(Tensor { name, shape, kind, bytes: bytes[first + place..][..len].to_vec() });
    }
    file
}

/// Where a value of a kind that begins at `at` ends.
fn end_of(bytes: &[u8], kind: u32, at: usize) -> usize {
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    match kind {
        7 => at + 1,
        8 => at + 8 + u64_at(at),
        9 => {
            let kind = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            (0..u64_at(at + 4)).fold(at + 12, |at, _| end_of(bytes, kind, at))
        }
        _ => at + 4,
    }
}
