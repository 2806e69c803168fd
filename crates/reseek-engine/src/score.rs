//! Log-probabilities of given tokens, by the training pass.

use reseek_model::{Model, Rows};
use reseek_tensor::cross_entropy::{IGNORE, lm_logprobs};
use reseek_tensor::pool::map_lanes;

use crate::EngineError;

/// `log p(tokens[i] | tokens[..i])` for i from 1: one value less than there are tokens.
///
/// # Errors
/// If there is no token, too many for the model's context, one outside of the vocabulary, or a probability that is not a number.
pub fn score(model: &Model, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
    let spec = model.spec();
    if tokens.is_empty() {
        return Err(EngineError::EmptyPrompt { request: 0 });
    }
    if tokens.len() > spec.max_position_embeddings {
        let context = spec.max_position_embeddings;
        return Err(EngineError::PromptTooLong { request: 0, prompt: tokens.len(), context });
    }
    if let Some(&token) = tokens.iter().find(|&&token| token as usize >= spec.vocab_size) {
        return Err(EngineError::UnknownToken { token, vocab: spec.vocab_size });
    }
    let mut targets = tokens[1..].to_vec();
    targets.push(IGNORE);
    let mut out = logprobs(model, vec![(Rows::new(tokens, &[tokens.len()]), targets)], 1.0).remove(0);
    out.pop();
    match out.iter().position(|logprob| logprob.is_nan()) {
        None => Ok(out),
        Some(before) => Err(EngineError::NotFinite { position: before + 1 }),
    }
}

/// log p of the targets of every lane's rows under softmax(logits / `temperature`), `[n]` each; 0 where the target is ignored. The bits are
/// those of training.
pub fn logprobs(model: &Model, lanes: Vec<(Rows, Vec<u32>)>, temperature: f32) -> Vec<Vec<f32>> {
    map_lanes(lanes, |(rows, targets)| {
        let mut out = vec![0.0; targets.len()];
        lm_logprobs(&model.hidden(&rows), model.head(), &targets, temperature, &mut out);
        out
    })
}
