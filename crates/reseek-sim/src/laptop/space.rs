//! Memory and disk that stages take: what training, sampling and saving hold at once, counted.

use reseek_spec::{ComputeDtype, ModelSpec, MomentsDtype, ROWS_OF_GROUPS, RecipeSpec, chunk_rows};

use super::cost::parameters;

/// The program itself with its tables, and what each byte of text comes to: as read, cleaned, cut, joined for long sequences, and encoded.
const PROGRAM_BYTES: f64 = 40e6;
const BYTES_OF_TEXT: f64 = 20.0;
/// Saved states of a stage that lie beside each other: two whole ones, and one that is being written.
const STATES: f64 = 3.0;
/// Bytes of a step's row in metrics.jsonl and timing.jsonl.
const STEP_BYTES: f64 = 800.0;
/// Tokenizer, configuration and manifests of a model's folder.
const FOLDER_BYTES: f64 = 1.6e5;
/// Sequences that a thread samples at once, at most.
const SLOTS: f64 = 64.0;

/// What a stage does with its model.
pub(super) enum Doing {
    Training,
    /// Training beside a reference of the same size, on what it samples in a context of so many tokens.
    Reinforcing {
        context: f64,
    },
    Sampling {
        context: f64,
    },
}

/// A stage's memory while it works, and on disk what it leaves and what it needs besides until it is done. In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Space {
    pub memory: f64,
    pub left: f64,
    pub states: f64,
}

/// The space of a stage of `steps` steps of `model`, with `text_bytes` bytes of text in memory.
pub(super) fn space(
    model: &ModelSpec,
    recipe: &RecipeSpec,
    threads: usize,
    text_bytes: f64,
    doing: &Doing,
    steps: f64,
) -> Space {
    let params = parameters(model);
    let packed = if recipe.compute == ComputeDtype::F32 { 4.0 } else { 2.0 } * params;
    let (weights, lanes) = (4.0 * params, recipe.pretrain.lanes as f64);
    let moments = if recipe.moments == MomentsDtype::Bf16 { 2.0 } else { 4.0 } * 2.0 * params;
    let at_once = lanes.min(threads as f64);
    let program = PROGRAM_BYTES + BYTES_OF_TEXT * text_bytes;
    let cache = |context: f64| 4.0 * kept_for_sampling(model) * context * SLOTS * threads as f64;
    let training = |rows: usize| {
        weights + 2.0 * packed + lanes * weights + moments + at_once * rows as f64 * 4.0 * kept_for_backward(model)
    };
    let (length, chunk) = (recipe.pretrain.seq_len * recipe.extend.factor, chunk_rows(params as usize));
    let (memory, states) = match doing {
        Doing::Training => (training(chunk.max(length)), weights + moments),
        // The reference is there as values, to be saved, and packed.
        Doing::Reinforcing { context } => {
            (training(ROWS_OF_GROUPS) + weights + packed + cache(*context), 2.0 * weights + moments)
        }
        // A file's values and the model's, until the file is closed.
        Doing::Sampling { context } => (2.0 * weights + packed + cache(*context), 0.0),
    };
    let left = if states > 0.0 { weights + FOLDER_BYTES } else { 0.0 } + STEP_BYTES * steps;
    Space { memory: program + memory, left, states: STATES * states }
}

/// Values a row that a pass keeps for the way back, and those of the layer in hand: twice what it keeps, as values and as gradients.
fn kept_for_backward(model: &ModelSpec) -> f64 {
    let (d, heads) = (model.hidden_size, model.num_attention_heads);
    let attention = match &model.mla {
        Some(mla) => {
            let d_qk = mla.qk_nope_head_dim + mla.qk_rope_head_dim;
            mla.q_lora_rank.unwrap_or(0) + mla.kv_lora_rank + heads * (2 * d_qk + 2 * mla.v_head_dim + 1)
        }
        None => (2 * heads + 2 * model.num_key_value_heads) * model.head_dim + heads,
    };
    let of_layer = |layer: usize| match &model.moe {
        Some(moe) if moe.is_in(layer) => {
            2 * (moe.moe_intermediate_size * moe.num_experts_per_tok + moe.shared_expert_intermediate_size)
        }
        _ => 2 * model.intermediate_size,
    };
    let layers = model.num_hidden_layers + model.num_nextn_predict_layers;
    let kept: usize = (0..layers).map(|layer| 2 * d + attention + of_layer(layer)).sum();
    let in_hand = 2 * (2 * d + attention + of_layer(layers - 1)) + 2 * d;
    (kept + in_hand) as f64
}

/// Values a token of context that decoding keeps: keys and values of all heads, as training has them.
fn kept_for_sampling(model: &ModelSpec) -> f64 {
    let of_layer = match &model.mla {
        Some(mla) => model.num_attention_heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim),
        None => 2 * model.num_key_value_heads * model.head_dim,
    };
    (of_layer * model.num_hidden_layers) as f64
}
