//! Writing a GGUF file: the header from the specification alone, then tensor by tensor.

use std::collections::HashMap;
use std::path::Path;

use reseek_spec::{Family, LATENT_NORM_EPS, ModelSpec, TensorSpec};

use super::architecture::Architecture;
use super::fits::architecture_of;
use super::header::ALIGNMENT;
use super::names::{Part, halves_in_turn, site};
use super::tokenizer::{GgufTemplates, GgufTokenizer};
use super::write_keys::{FACTORS, factors_of, keys_of, put_text};
use super::{BlockKind, GgufFile, QuantisedTensor};
use crate::StoreError;
use crate::atomic::{AtomicFile, FileEntry};
use crate::claim::Parents;

/// What a file says beside its values.
#[derive(Clone, Copy, Debug)]
pub struct GgufContents<'a> {
    /// The model.
    pub spec: &'a ModelSpec,
    /// Its tokenizer, with the name of llama.cpp's pre-tokenizer.
    pub tokenizer: &'a GgufTokenizer,
    /// Its chat templates.
    pub templates: &'a GgufTemplates,
    /// Keys below `general.` and their texts: `name`, `license` and the like.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// Where the values of a file that is written come from, by Hugging Face's names.
pub trait GgufSource {
    /// A tensor in f32.
    ///
    /// # Errors
    /// If it cannot be read.
    fn values(&self, name: &str) -> Result<Vec<f32>, StoreError>;

    /// The blocks that the source has of a matrix, if it has any.
    ///
    /// # Errors
    /// If they cannot be read.
    fn blocks(&self, _name: &str) -> Result<Option<QuantisedTensor>, StoreError> {
        Ok(None)
    }

    /// The form in which the source has a tensor, where it is one of these.
    fn kind(&self, _name: &str) -> Option<BlockKind> {
        None
    }

    /// Whether the source has a tensor. It may lack correction biases, all of them, but nothing else.
    fn has(&self, _name: &str) -> bool {
        true
    }
}

impl GgufSource for GgufFile {
    fn values(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        GgufFile::values(self, name)
    }

    fn blocks(&self, name: &str) -> Result<Option<QuantisedTensor>, StoreError> {
        GgufFile::blocks(self, name)
    }

    fn kind(&self, name: &str) -> Option<BlockKind> {
        GgufFile::kind(self, name)
    }

    fn has(&self, name: &str) -> bool {
        GgufFile::kind(self, name).is_some()
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufWritten {
    /// The file.
    pub entry: FileEntry,
    /// Matrices that are of another kind than was asked for or than the source has, by the file's names, with their kind: their rows are no
    /// whole blocks, or their values had to be put together anew.
    pub others: Vec<(String, BlockKind)>,
    /// What the file does not have of the model or llama.cpp does not obey, in sentences.
    pub notes: Vec<String>,
}

/// Writes a model to `path`, its matrices as blocks of `kind`, or where there is none in the forms that the source has them in.
///
/// Matrices whose rows are no whole blocks become Q8_0, or F16 where they are no whole blocks of 32 either; vectors and gates of
/// mixtures stay F32, as llama.cpp leaves them. Blocks that the source has in the form asked for are not computed anew.
///
/// # Errors
/// If llama.cpp has no architecture that computes the model, the kind is none that is written, the tokenizer does not fit, or a disk
/// refuses. Nothing is then at `path` that was not before.
pub fn write_gguf(
    path: &Path,
    contents: &GgufContents<'_>,
    source: &impl GgufSource,
    kind: Option<BlockKind>,
) -> Result<GgufWritten, StoreError> {
    if let Some(kind) = kind.filter(|&kind| !BlockKind::WRITTEN.contains(&kind)) {
        let reason = format!("{kind} is not written");
        return Err(StoreError::malformed(path, reason, "choose F16, BF16, Q8_0, Q4_0 or Q4_K"));
    }
    let architecture = architecture_of(path, contents.spec)?;
    let keys = keys_of(path, contents, architecture, kind)?;
    let outputs = plan(path, contents.spec, architecture, source, kind)?;
    let mut parents = Parents::make(path)?;
    let mut file = AtomicFile::create(path)?;
    let header = header(&keys.bytes, keys.count, &outputs);
    file.write(&header)?;
    for output in &outputs {
        output.write(&mut file, contents.spec, source)?;
    }
    let others = outputs.iter().filter(|output| output.kind != output.asked);
    let others = others.map(|output| (output.name.clone(), output.kind)).collect();
    let entry = file.commit()?;
    parents.keep();
    Ok(GgufWritten { entry, others, notes: notes(contents.spec) })
}

fn notes(spec: &ModelSpec) -> Vec<String> {
    let mut notes = Vec::new();
    if spec.num_nextn_predict_layers > 0 {
        notes.push("The layer of multi-token prediction is left out.".to_owned());
    }
    if spec.mla.is_some() && spec.rms_norm_eps != LATENT_NORM_EPS {
        let eps = spec.rms_norm_eps;
        notes.push(format!(
            "llama.cpp's norms of latents add {eps} to the mean square, the model's add {LATENT_NORM_EPS}."
        ));
    }
    if let Some(window) = spec.sliding_window.as_ref().filter(|_| spec.family == Family::Mistral) {
        let tokens = window.tokens;
        notes.push(format!(
            "llama.cpp does not obey the window of {tokens} tokens, so longer texts go other ways there."
        ));
    }
    let groups = spec.moe.as_ref().map_or(1, |moe| moe.n_group);
    if spec.family == Family::DeepseekV2 && groups > 1 {
        notes.push(format!(
            "llama.cpp ranks each of the {groups} groups of experts by its best two, this model by its best: tokens may go to other experts there."
        ));
    }
    notes
}

/// A tensor of the file.
struct Output {
    name: String,
    /// Outermost dimension first.
    shape: Vec<usize>,
    kind: BlockKind,
    /// The kind that it would have if its rows were whole blocks of any.
    asked: BlockKind,
    /// Hugging Face's tensors, one under the other.
    inputs: Vec<String>,
    change: Change,
}

/// What is done to values on their way into the file.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    /// The halves of each head's rows are put in turn.
    InTurn,
    /// 1 is added.
    WholeGain,
    /// Of `kv_b_proj` each head's map of keys, turned.
    Keys,
    /// Of `kv_b_proj` each head's map of values.
    Values,
    /// The values are computed here.
    Factors,
}

impl Change {
    /// Whether rows stay what they are, so that their blocks do too.
    fn moves_rows(self) -> bool {
        matches!(self, Self::None | Self::InTurn)
    }
}

/// All tensors in the order in which they are written.
fn plan(
    path: &Path,
    spec: &ModelSpec,
    architecture: Architecture,
    source: &impl GgufSource,
    kind: Option<BlockKind>,
) -> Result<Vec<Output>, StoreError> {
    let mut outputs: Vec<Output> = Vec::new();
    let mut experts: HashMap<String, usize> = HashMap::new();
    for tensor in spec.tensors().into_iter().filter(|tensor| !tensor.mtp) {
        let TensorSpec { name, shape, .. } = &tensor;
        if !tensor.is_trained() && !source.has(name) {
            continue;
        }
        let Some(site) = site(architecture, name) else {
            let reason = format!("llama.cpp has no place for the tensor {name}");
            return Err(StoreError::malformed(path, reason, "write a Hugging Face folder instead"));
        };
        if let (Part::Expert(_), Some(&at)) = (site.part, experts.get(&site.name)) {
            outputs[at].shape[0] += 1;
            outputs[at].inputs.push(name.clone());
            continue;
        }
        if site.part == Part::KeysAndValues {
            let mla = spec.mla.as_ref().expect("only MLA has this tensor");
            let heads = spec.num_attention_heads;
            let parts = [
                ("attn_k_b", vec![heads, mla.kv_lora_rank, mla.qk_nope_head_dim], Change::Keys),
                ("attn_v_b", vec![heads, mla.v_head_dim, mla.kv_lora_rank], Change::Values),
            ];
            for (part, shape, change) in parts {
                let own = site.name.replace("attn_kv_b", part);
                outputs.push(Output::new(own, shape, change, name, source, kind));
            }
            continue;
        }
        let mut shape = shape.clone();
        if site.name.contains("ffn_gate_inp_shexp") {
            shape.remove(0);
        }
        if matches!(site.part, Part::Expert(_)) {
            shape.insert(0, 1);
            experts.insert(site.name.clone(), outputs.len());
        }
        let change = match (site.in_turn, site.whole_gain) {
            (true, _) => Change::InTurn,
            (_, true) => Change::WholeGain,
            _ => Change::None,
        };
        outputs.push(Output::new(site.name, shape, change, name, source, kind));
    }
    if factors_of(spec).is_some() {
        let shape = vec![spec.rope_dim() / 2];
        let (name, kind, change) = (FACTORS.to_owned(), BlockKind::F32, Change::Factors);
        outputs.push(Output { name, shape, kind, asked: kind, inputs: Vec::new(), change });
    }
    Ok(outputs)
}

/// Everything before the values.
fn header(keys: &[u8], n_keys: u64, outputs: &[Output]) -> Vec<u8> {
    const VERSION: u32 = 3;
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((outputs.len() as u64).to_le_bytes());
    bytes.extend(n_keys.to_le_bytes());
    bytes.extend(keys);
    let mut at = 0_u64;
    for output in outputs {
        put_text(&mut bytes, &output.name);
        bytes.extend((output.shape.len() as u32).to_le_bytes());
        for &size in output.shape.iter().rev() {
            bytes.extend((size as u64).to_le_bytes());
        }
        bytes.extend(output.kind.number().to_le_bytes());
        bytes.extend(at.to_le_bytes());
        at += output.bytes().next_multiple_of(ALIGNMENT);
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
    bytes
}

impl Output {
    /// Of one input; further experts come to it.
    fn new(
        name: String,
        shape: Vec<usize>,
        change: Change,
        input: &str,
        source: &impl GgufSource,
        kind: Option<BlockKind>,
    ) -> Self {
        let columns = shape[shape.len() - 1];
        let own = source.kind(input);
        let asked = match kind.or(own) {
            // As llama.cpp leaves vectors and gates of mixtures.
            _ if shape.len() == 1 || name.contains("ffn_gate_inp") => BlockKind::F32,
            asked => asked.unwrap_or(BlockKind::F32),
        };
        let is_there = own == Some(asked) && asked.is_quantised() && change.moves_rows();
        let fits =
            |kind: &BlockKind| BlockKind::WRITTEN.contains(kind) && columns.is_multiple_of(kind.values_per_block());
        let kind = match is_there {
            true => asked,
            false => [asked, BlockKind::Q8_0].into_iter().find(fits).unwrap_or(BlockKind::F16),
        };
        Self { name, shape, kind, asked, inputs: vec![input.to_owned()], change }
    }

    fn bytes(&self) -> u64 {
        let values: u64 = self.shape.iter().map(|&size| size as u64).product();
        values / self.kind.values_per_block() as u64 * self.kind.bytes_per_block() as u64
    }

    fn columns(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    fn write(&self, file: &mut AtomicFile, spec: &ModelSpec, source: &impl GgufSource) -> Result<(), StoreError> {
        if self.change == Change::Factors {
            let factors = factors_of(spec).expect("planned because there are some");
            let bytes = self.encoded(file.path(), &factors)?;
            file.write(&bytes)?;
        }
        for input in &self.inputs {
            match self.as_it_is(input, spec, source)? {
                Some(bytes) => file.write(&bytes)?,
                None => self.write_anew(file, input, spec, source)?,
            }
        }
        let written = self.bytes();
        file.write(&vec![0; (written.next_multiple_of(ALIGNMENT) - written) as usize])
    }

    /// The source's own blocks, where they are of the kind that is written.
    fn as_it_is(&self, input: &str, spec: &ModelSpec, source: &impl GgufSource) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.kind.is_quantised() || !self.change.moves_rows() || source.kind(input) != Some(self.kind) {
            return Ok(None);
        }
        let Some(tensor) = source.blocks(input)? else { return Ok(None) };
        let row = tensor.bytes.len() / tensor.shape[0].max(1);
        let in_turn = self.change == Change::InTurn;
        Ok(Some(if in_turn { halves_in_turn(&tensor.bytes, row, spec.head_dim) } else { tensor.bytes }))
    }

    fn write_anew(
        &self,
        file: &mut AtomicFile,
        input: &str,
        spec: &ModelSpec,
        source: &impl GgufSource,
    ) -> Result<(), StoreError> {
        let mut values = source.values(input)?;
        match self.change {
            Change::None | Change::Factors => {}
            Change::InTurn => {
                let row = if self.shape.len() == 1 { 1 } else { self.columns() };
                values = halves_in_turn(&values, row, spec.head_dim);
            }
            Change::WholeGain => values.iter_mut().for_each(|value| *value += 1.0),
            Change::Keys | Change::Values => values = self.of_keys_and_values(&values, spec),
        }
        // Rows at a time, so that a tensor is in memory in f32 and no second time.
        let rows = (1 << 16_usize).max(self.columns()) / self.columns();
        for rows in values.chunks(rows * self.columns()) {
            let bytes = self.encoded(file.path(), rows)?;
            file.write(&bytes)?;
        }
        Ok(())
    }

    /// Whole rows in the tensor's blocks.
    fn encoded(&self, path: &Path, rows: &[f32]) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.kind.encode(rows, &mut bytes).map_err(|at| {
            let kind = self.kind;
            let reason = format!("{kind} cannot hold what is near {} in {}", rows[at], self.name);
            StoreError::malformed(path, reason, "write the model in BF16 or F32")
        })?;
        Ok(bytes)
    }

    /// One of the two maps in `kv_b_proj`, whose rows are (head, keys then values).
    fn of_keys_and_values(&self, joined: &[f32], spec: &ModelSpec) -> Vec<f32> {
        let mla = spec.mla.as_ref().expect("only MLA has this tensor");
        let (latent, nope) = (mla.kv_lora_rank, mla.qk_nope_head_dim);
        let mut out = Vec::with_capacity(self.shape.iter().product());
        for head in joined.chunks((nope + mla.v_head_dim) * latent) {
            let (keys, values) = head.split_at(nope * latent);
            match self.change {
                Change::Keys => out.extend((0..latent).flat_map(|c| (0..nope).map(move |r| keys[r * latent + c]))),
                _ => out.extend(values),
            }
        }
        out
    }
}
