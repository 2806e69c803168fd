//! An open GGUF file, from which tensors are read one by one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use reseek_spec::{ModelSpec, TensorSpec};

use super::architecture::{Architecture, check_keys};
use super::config::{Keys, spec_of};
use super::header::{TensorInfo, read_all};
use super::names::{Part, halves_apart, site};
use super::tokenizer::{GgufTemplates, GgufTokenizer};
use super::{BlockKind, QuantisedTensor, rope};
use crate::StoreError;

/// Values decoded at a time.
const CHUNK_VALUES: usize = 1 << 16;
/// Bytes of an expert's matrix at the least, on average: a header may not ask for more names than there are weights.
const EXPERT_BYTES_MIN: u64 = 64;

/// The tensors of a file by its own names.
#[derive(Debug)]
pub(super) struct Tensors {
    path: PathBuf,
    by_name: HashMap<String, TensorInfo>,
}

impl Tensors {
    /// # Errors
    /// If the file has no such tensor.
    pub fn get(&self, name: &str) -> Result<&TensorInfo, StoreError> {
        self.by_name.get(name).ok_or_else(|| super::damaged(&self.path, format!("there is no tensor {name}")))
    }

    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// [experts, width, hidden] of every layer that has experts.
    pub fn expert_shapes(&self) -> Vec<[usize; 3]> {
        let shapes = self.by_name.values().filter(|tensor| tensor.name.ends_with(".ffn_down_exps.weight"));
        shapes
            .filter_map(|tensor| match tensor.shape[..] {
                [experts, hidden, width] => Some([experts, width, hidden]),
                _ => None,
            })
            .collect()
    }

    fn bytes(&self) -> u64 {
        self.by_name.values().map(|tensor| tensor.bytes).sum()
    }
}

/// How a tensor of Hugging Face's lies in the file.
#[derive(Debug)]
enum Stored {
    /// Rows of a tensor.
    Rows {
        own: String,
        from: usize,
        rows: usize,
        /// Rows of a head, whose halves the file has in turn.
        head: Option<usize>,
        /// What the file's values are larger by.
        more: f32,
    },
    /// MLA's map of keys, turned so that queries absorb it, and that of values.
    KeysAndValues { keys: String, values: String },
}

/// One tensor of a file, as [`GgufFile::entries`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufEntry {
    /// Hugging Face's name.
    pub name: String,
    /// The file's name of the tensor that it is or is in.
    pub file_name: String,
    /// Its shape, outputs first.
    pub shape: Vec<usize>,
    /// The form of its blocks.
    pub kind: BlockKind,
    /// Bytes that it takes in the file.
    pub bytes: u64,
}

/// A GGUF file whose header has been read and checked. Opening it takes memory for the header alone.
#[derive(Debug)]
pub struct GgufFile {
    spec: ModelSpec,
    tensors: Tensors,
    list: Vec<TensorSpec>,
    stored: HashMap<String, Stored>,
    tokenizer: GgufTokenizer,
    templates: GgufTemplates,
}

impl GgufFile {
    /// Reads the header of a model in one file, or in parts of which `path` is the first.
    ///
    /// # Errors
    /// If the file is cut short or damaged, of another architecture, with a key or a kind of block that is not obeyed, with a tensor
    /// more, or without one that its configuration asks for.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (meta, by_name) = read_all(path)?;
        let tensors = Tensors { path: path.to_path_buf(), by_name };
        let keys = Keys { meta: &meta, architecture: Architecture::of(&meta)? };
        let tokenizer = GgufTokenizer::of(&meta)?;
        let templates = GgufTemplates::of(&meta)?;
        let spec = spec_of(&keys, &tensors, &tokenizer)?;
        check_keys(keys.architecture, &meta)?;
        if tokenizer.tokens.len() != spec.vocab_size {
            let (tokens, rows) = (tokenizer.tokens.len(), spec.vocab_size);
            return Err(super::damaged(path, format!("{tokens} tokens for an embedding of {rows} rows")));
        }
        check_size(&spec, &tensors)?;
        let mut file = Self { list: Vec::new(), stored: HashMap::new(), spec, tensors, tokenizer, templates };
        file.find_all(keys.architecture)?;
        Ok(file)
    }

    /// Finds the place of every tensor of the specification, and a tensor of the specification for every place.
    fn find_all(&mut self, architecture: Architecture) -> Result<(), StoreError> {
        let mut used: HashSet<String> = HashSet::from([rope::FACTORS.to_owned()]);
        let has_biases = self.tensors.by_name.keys().any(|name| name.ends_with(".exp_probs_b.bias"));
        for tensor in self.spec.tensors() {
            if !tensor.is_trained() && !has_biases {
                continue;
            }
            let stored = self.find(architecture, &tensor)?;
            match &stored {
                Stored::Rows { own, .. } => used.insert(own.clone()),
                Stored::KeysAndValues { keys, values } => used.insert(keys.clone()) | used.insert(values.clone()),
            };
            self.stored.insert(tensor.name.clone(), stored);
            self.list.push(tensor);
        }
        match self.tensors.by_name.values().find(|tensor| !used.contains(&tensor.name)) {
            None => Ok(()),
            Some(tensor) => Err(StoreError::ExtraTensor {
                path: self.tensors.path.clone(),
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
            }),
        }
    }

    fn find(&self, architecture: Architecture, tensor: &TensorSpec) -> Result<Stored, StoreError> {
        let path = || self.tensors.path.clone();
        let Some(site) = site(architecture, &tensor.name) else {
            return Err(StoreError::MissingTensor {
                path: path(),
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
            });
        };
        if site.part == Part::KeysAndValues && !self.tensors.has(&site.name) {
            return self.find_keys_and_values(&site.name);
        }
        let rows = if tensor.shape.len() == 1 { 1 } else { tensor.shape[0] };
        let (own, from, expected) = match site.part {
            Part::Expert(expert) => self.expert(&site.name, expert, &tensor.shape)?,
            Part::Whole | Part::KeysAndValues => (site.name, 0, tensor.shape.clone()),
        };
        let info = self.tensors.get(&own)?;
        let without_ones = |shape: &[usize]| shape.iter().copied().skip_while(|&size| size == 1).collect::<Vec<_>>();
        if without_ones(&info.shape) != without_ones(&expected) {
            return Err(StoreError::TensorShape { path: path(), name: own, expected, found: info.shape.clone() });
        }
        let head = site.in_turn.then_some(self.spec.head_dim);
        Ok(Stored::Rows { own, from, rows, head, more: if site.whole_gain { 1.0 } else { 0.0 } })
    }

    /// An expert's rows, of a tensor of its own kind or of one that has gate and up under each other: (name, first row, the shape of all).
    fn expert(&self, own: &str, expert: usize, shape: &[usize]) -> Result<(String, usize, Vec<usize>), StoreError> {
        let experts = self.spec.moe.as_ref().map_or(0, |moe| moe.n_routed_experts);
        let &[rows, columns] = shape else { unreachable!("an expert's tensor is a matrix") };
        let both = own.replace("ffn_gate_exps", "ffn_gate_up_exps").replace("ffn_up_exps", "ffn_gate_up_exps");
        if self.tensors.has(own) || !self.tensors.has(&both) {
            return Ok((own.to_owned(), expert * rows, vec![experts, rows, columns]));
        }
        let second = if own.contains("ffn_up_exps") { rows } else { 0 };
        Ok((both, 2 * expert * rows + second, vec![experts, 2 * rows, columns]))
    }

    fn find_keys_and_values(&self, own: &str) -> Result<Stored, StoreError> {
        let mla = self.spec.mla.as_ref().expect("only MLA has this tensor");
        let heads = self.spec.num_attention_heads;
        let names = ["attn_k_b", "attn_v_b"].map(|part| own.replace("attn_kv_b", part));
        let shapes = [[heads, mla.kv_lora_rank, mla.qk_nope_head_dim], [heads, mla.v_head_dim, mla.kv_lora_rank]];
        for (name, expected) in names.iter().zip(shapes) {
            let found = &self.tensors.get(name)?.shape;
            if found[..] != expected {
                let (path, expected) = (self.tensors.path.clone(), expected.to_vec());
                return Err(StoreError::TensorShape { path, name: name.clone(), expected, found: found.clone() });
            }
        }
        let [keys, values] = names;
        Ok(Stored::KeysAndValues { keys, values })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.tensors.path
    }

    /// The files that the weights lie in, one or the parts, with their lengths in bytes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let files: BTreeMap<PathBuf, u64> = self.tensors.by_name.values().map(TensorInfo::file).collect();
        files.into_iter().collect()
    }

    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &GgufTokenizer {
        &self.tokenizer
    }

    /// The chat template (Jinja), where there is one without a name.
    pub fn chat_template(&self) -> Option<&str> {
        self.templates.plain.as_deref()
    }

    /// All chat templates.
    pub fn templates(&self) -> &GgufTemplates {
        &self.templates
    }

    /// All tensors in the order of [`ModelSpec::tensors`]. Correction biases that no layer of the file has are left out.
    pub fn entries(&self) -> impl Iterator<Item = GgufEntry> + '_ {
        self.list.iter().map(|tensor| {
            let (file_name, kind, bytes) = match &self.stored[&tensor.name] {
                Stored::Rows { own, rows, .. } => {
                    let info = &self.tensors.by_name[own];
                    (own.clone(), info.kind, *rows as u64 * info.row_bytes())
                }
                Stored::KeysAndValues { keys, values } => {
                    let [k, v] = [keys, values].map(|own| &self.tensors.by_name[own]);
                    (format!("{keys}, {values}"), k.kind, k.bytes + v.bytes)
                }
            };
            GgufEntry { name: tensor.name.clone(), file_name, shape: tensor.shape.clone(), kind, bytes }
        })
    }

    /// The form in which the file has a tensor; nothing for one that it has not.
    pub fn kind(&self, name: &str) -> Option<BlockKind> {
        let own = match self.stored.get(name)? {
            Stored::Rows { own, .. } => own,
            Stored::KeysAndValues { keys, .. } => keys,
        };
        self.tensors.by_name.get(own).map(|info| info.kind)
    }

    /// A tensor's values in f32, row-major, by Hugging Face's name.
    ///
    /// # Errors
    /// If the file lacks it or cannot be read.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        match self.stored(name)? {
            Stored::Rows { own, from, rows, head, more } => {
                let info = &self.tensors.by_name[own];
                let mut out = Vec::with_capacity(rows * info.columns());
                let one_row = info.shape.len() == 1;
                let step = (CHUNK_VALUES / info.columns()).max(1).next_multiple_of(head.unwrap_or(1));
                for at in (*from..from + rows).step_by(step) {
                    let mut values = info.kind.values(&info.read_rows(at, (at + step).min(from + rows))?);
                    if let Some(head) = head {
                        values = halves_apart(&values, if one_row { 1 } else { info.columns() }, *head);
                    }
                    out.extend(values.into_iter().map(|value| value - more));
                }
                Ok(out)
            }
            Stored::KeysAndValues { keys, values } => self.keys_and_values(keys, values),
        }
    }

    /// A quantised matrix as it lies in the file, with its rows in Hugging Face's order; nothing for a tensor that is none.
    ///
    /// # Errors
    /// As [`GgufFile::values`].
    pub fn blocks(&self, name: &str) -> Result<Option<QuantisedTensor>, StoreError> {
        let Stored::Rows { own, from, rows, head, more } = self.stored(name)? else { return Ok(None) };
        let info = &self.tensors.by_name[own];
        if !info.kind.is_quantised() || info.shape.len() == 1 || *more != 0.0 {
            return Ok(None);
        }
        let mut bytes = info.read_rows(*from, from + rows)?;
        if let Some(head) = head {
            bytes = halves_apart(&bytes, info.row_bytes() as usize, *head);
        }
        Ok(Some(QuantisedTensor { name: name.to_owned(), shape: [*rows, info.columns()], kind: info.kind, bytes }))
    }

    fn stored(&self, name: &str) -> Result<&Stored, StoreError> {
        self.stored.get(name).ok_or_else(|| StoreError::MissingTensor {
            path: self.tensors.path.clone(),
            name: name.to_owned(),
            shape: Vec::new(),
        })
    }

    /// Keys' rows and values' rows of each head under each other, as in `kv_b_proj`; the file has a head's keys with their columns as rows.
    fn keys_and_values(&self, keys: &str, values: &str) -> Result<Vec<f32>, StoreError> {
        let [k, v] = [keys, values].map(|own| &self.tensors.by_name[own]);
        let &[heads, latent, nope] = &k.shape[..] else { unreachable!("checked when the file was opened") };
        let width = v.shape[1];
        let mut out = Vec::with_capacity(heads * (nope + width) * latent);
        for head in 0..heads {
            let turned = k.kind.values(&k.read_rows(head * latent, (head + 1) * latent)?);
            for row in 0..nope {
                out.extend((0..latent).map(|column| turned[column * nope + row]));
            }
            out.extend(v.kind.values(&v.read_rows(head * width, (head + 1) * width)?));
        }
        Ok(out)
    }
}

/// A header that asks for far more than there is must not be answered with a list of all of it.
fn check_size(spec: &ModelSpec, tensors: &Tensors) -> Result<(), StoreError> {
    let experts = spec.moe.as_ref().map_or(0, |moe| spec.num_hidden_layers.saturating_mul(moe.n_routed_experts) as u64);
    if experts.saturating_mul(EXPERT_BYTES_MIN) <= tensors.bytes() {
        return Ok(());
    }
    let reason = format!("{} bytes of weights cannot be {experts} experts", tensors.bytes());
    Err(super::damaged(&tensors.path, reason))
}
