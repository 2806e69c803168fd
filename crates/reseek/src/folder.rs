//! Model folders: weights with their tokenizer and chat template, in and out.

use std::path::Path;
use std::sync::Arc;

use reseek_model::{Model, Weights};
use reseek_spec::ModelSpec;
use reseek_store::{Sidecars, load_model, save_checkpoint};
use reseek_tensor::dtype::Dtype;
use reseek_text::{ChatTemplate, GenerationPrompt, Message, Special, Tokenizer};
use serde_json::{Value, json};

use crate::error::Outcome;

/// How a model wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The R1-Zero template around a plain completion.
    Zero,
    /// The chat template.
    Chat,
}

/// A model and what turns text into its tokens.
pub struct Loaded {
    pub model: Model,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
}

/// Reads any Hugging Face folder of a known family, to compute in `dtype`.
pub fn load(path: &Path, dtype: Dtype) -> Outcome<Loaded> {
    let weights = load_weights(path)?.computing_in(dtype);
    let tokenizer = Arc::new(Tokenizer::from_folder(path)?);
    let template = ChatTemplate::from_folder(path)?;
    Ok(Loaded { model: Model::new(&weights), tokenizer, template })
}

/// The weights of a folder.
pub fn load_weights(path: &Path) -> Outcome<Weights> {
    let (spec, tensors) = load_model(path)?;
    Ok(Weights::from_tensors(spec, tensors)?)
}

/// Writes a model folder that transformers loads.
pub fn save(path: &Path, weights: &Weights, tokenizer: &Tokenizer, style: Style, meta: Value) -> Outcome<()> {
    let template = match style {
        Style::Zero => ChatTemplate::deepseek_v3(),
        Style::Chat => ChatTemplate::deepseek_r1(),
    };
    let spec = &weights.spec;
    let generation = json!({
        "bos_token_id": spec.bos_token_id, "eos_token_id": spec.eos_token_id, "pad_token_id": 2,
        "do_sample": true, "temperature": 0.6, "top_p": 0.95,
    });
    let sidecars = Sidecars {
        generation_config: serde_json::to_vec_pretty(&generation)?,
        tokenizer: tokenizer.to_json().to_vec(),
        tokenizer_config: tokenizer.to_config_json(template.source(), spec.max_position_embeddings),
        chat_template: template.source().as_bytes().to_vec(),
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

/// The tokens of a question in a model's style, ready for the answer.
pub fn prompt(tokenizer: &Tokenizer, style: Style, question: &str) -> Outcome<Vec<u32>> {
    match style {
        Style::Zero => {
            let text = reseek_tasks::zero_prompt(&tokenizer.mark_plain(question));
            let mut ids = vec![tokenizer.special(Special::Bos)?];
            ids.extend(tokenizer.encode_with_special(&text)?);
            Ok(ids)
        }
        Style::Chat => {
            let messages = [Message::user(question)];
            Ok(ChatTemplate::deepseek_r1().encode(tokenizer, &messages, GenerationPrompt::Assistant)?)
        }
    }
}

/// The tokens of an answer, with the end token.
pub fn answer(tokenizer: &Tokenizer, text: &str) -> Outcome<Vec<u32>> {
    let mut ids = tokenizer.encode_with_special(text)?;
    ids.push(tokenizer.special(Special::Eos)?);
    Ok(ids)
}
