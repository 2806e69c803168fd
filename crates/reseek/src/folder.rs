//! Model folders: weights with their tokenizer and chat template, in and out.

use std::path::Path;
use std::sync::Arc;

use reseek_model::{Model, Weights};
use reseek_spec::ModelSpec;
use reseek_store::{
    BlockKind, GgufTokenizer, QuantisedTensor, Sidecars, is_gguf, load_gguf, load_model, save_checkpoint,
};
use reseek_tensor::compute::Compute;
use reseek_tensor::quantised::{Bits, Block, Quantised};
use reseek_text::{ChatTemplate, PartsModel, Special, TokenKind, Tokenizer, TokenizerParts};
use serde_json::{Value, json};

use crate::error::Outcome;
use crate::inside::refuse_run;
use crate::style::{Style, template};

/// A model and what turns text into its tokens.
pub struct Loaded {
    pub model: Model,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
}

/// Reads any Hugging Face folder of a known family, or a GGUF file, to compute in `dtype`; without one in f32, or with a file's quantised
/// matrices as they are.
pub fn load(path: &Path, dtype: Option<Compute>) -> Outcome<Loaded> {
    refuse_run(path)?;
    if is_gguf(path) {
        return load_file(path, dtype);
    }
    let weights = load_weights(path)?.computing_in(dtype.unwrap_or_default());
    let tokenizer = Arc::new(Tokenizer::from_folder(path)?);
    let template = ChatTemplate::from_folder(path)?;
    Ok(Loaded { model: Model::forward_only(&weights), tokenizer, template })
}

fn load_file(path: &Path, dtype: Option<Compute>) -> Outcome<Loaded> {
    let file = load_gguf(path)?;
    let mut weights = Weights::from_tensors(file.spec, file.tensors)?.computing_in(dtype.unwrap_or_default());
    if dtype.is_none() {
        weights.quantised = file.quantised.iter().map(|tensor| (tensor.name.clone(), quantised(tensor))).collect();
    }
    let tokenizer = Arc::new(tokenizer_of(&file.tokenizer, path)?);
    let template = file.chat_template.as_deref().map(ChatTemplate::new).transpose()?;
    Ok(Loaded { model: Model::forward_only(&weights), tokenizer, template })
}

fn tokenizer_of(parts: &GgufTokenizer, path: &Path) -> Outcome<Tokenizer> {
    let kind = |&is_control: &bool| if is_control { TokenKind::Control } else { TokenKind::Normal };
    let parts = TokenizerParts {
        model: PartsModel::BytePairs,
        tokens: parts.tokens.clone(),
        kinds: parts.control.iter().map(kind).collect(),
        scores: Vec::new(),
        merges: parts.merges.clone(),
        pre: parts.pre.clone(),
        bos: parts.bos,
        eos: parts.eos,
        pad: parts.pad,
        add_bos: Some(parts.add_bos),
        add_eos: Some(parts.add_eos),
        add_space_prefix: None,
    };
    Ok(Tokenizer::from_parts(&parts, &path.display().to_string())?)
}

fn quantised(tensor: &QuantisedTensor) -> Quantised {
    let bits = if tensor.kind == BlockKind::Q8_0 { Bits::Eight } else { Bits::Four };
    let [n, k] = tensor.shape;
    Quantised::pack(bits, n, k, |row, index| {
        let (scale, least, q) = tensor.block(row, index);
        Block { scale, least, q }
    })
}

/// The weights of a folder, or of a GGUF file, dequantised.
pub fn load_weights(path: &Path) -> Outcome<Weights> {
    refuse_run(path)?;
    let (spec, tensors) = if is_gguf(path) {
        let file = load_gguf(path)?;
        (file.spec, file.tensors)
    } else {
        load_model(path)?
    };
    Ok(Weights::from_tensors(spec, tensors)?)
}

/// [`load_weights`] with the tokenizer, where the folder has one.
pub fn load_to_train(path: &Path) -> Outcome<(Weights, Option<Tokenizer>)> {
    refuse_run(path)?;
    if is_gguf(path) {
        let file = load_gguf(path)?;
        let tokenizer = tokenizer_of(&file.tokenizer, path)?;
        return Ok((Weights::from_tensors(file.spec, file.tensors)?, Some(tokenizer)));
    }
    let tokenizer = path.join("tokenizer.json").exists().then(|| Tokenizer::from_folder(path)).transpose()?;
    Ok((load_weights(path)?, tokenizer))
}

/// Writes a model folder that transformers loads, with the template of `style` where that has one.
pub fn save(path: &Path, weights: &Weights, tokenizer: &Tokenizer, style: Style, meta: Value) -> Outcome<()> {
    let template = template(style).map(ChatTemplate::source);
    let spec = &weights.spec;
    let generation = json!({
        "bos_token_id": spec.bos_token_id, "eos_token_id": spec.eos_token_id, "pad_token_id": 2,
        "do_sample": true, "temperature": 0.6, "top_p": 0.95,
    });
    let sidecars = Sidecars {
        generation_config: serde_json::to_vec_pretty(&generation)?,
        tokenizer: tokenizer.to_json().to_vec(),
        tokenizer_config: tokenizer.to_config_json(template, spec.max_position_embeddings),
        chat_template: template.map(|source| source.as_bytes().to_vec()),
    };
    let tensors = weights.entries().map(|(t, values)| (t.name.as_str(), t.shape.as_slice(), values));
    save_checkpoint(path, spec, tensors, &sidecars, meta)?;
    Ok(())
}

/// The specification of a model for its own vocabulary and end token.
pub fn with_vocabulary(mut spec: ModelSpec, tokenizer: &Tokenizer) -> Outcome<ModelSpec> {
    spec.vocab_size = tokenizer.vocab_size();
    spec.bos_token_id = tokenizer.special(Special::Bos)?;
    spec.eos_token_id = tokenizer.special(Special::Eos)?;
    Ok(spec)
}

/// The tokens of an answer, with the end token.
pub fn answer(tokenizer: &Tokenizer, text: &str) -> Outcome<Vec<u32>> {
    let mut ids = tokenizer.encode_with_special(text)?;
    ids.push(tokenizer.special(Special::Eos)?);
    Ok(ids)
}
