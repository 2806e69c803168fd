//! Model folders that the chain writes: weights with their tokenizer and chat template.

use std::path::Path;

use reseek_model::Weights;
use reseek_spec::ModelSpec;
use reseek_store::{Sidecars, save_checkpoint};
use reseek_text::{ChatTemplate, Special, Tokenizer};
use serde_json::{Value, json};

use crate::error::Outcome;
use crate::style::{Style, template};

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
