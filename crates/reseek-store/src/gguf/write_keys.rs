//! The keys and values of a file that is written.

use std::collections::HashSet;
use std::path::Path;

use reseek_spec::{MlaSpec, ModelSpec, MoeSpec, RopeScaling, Scoring, SlidingWindow};

use super::architecture::Architecture;
use super::rope::Llama3;
use super::tokenizer::{GgufTokenizer, TokenKind, TokenizerModel, is_end};
use super::write::GgufContents;
use super::{BlockKind, rope};
use crate::StoreError;

/// Keys and values as they lie in a file.
#[derive(Debug, Default)]
pub(super) struct KeyValues {
    pub bytes: Vec<u8>,
    pub count: u64,
}

impl KeyValues {
    fn key(&mut self, key: &str, kind: u32) {
        put_text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        self.count += 1;
    }

    fn count(&mut self, key: &str, value: usize) {
        self.key(key, 4);
        let value = u32::try_from(value).expect("sizes of a specification are below 2^24");
        self.bytes.extend(value.to_le_bytes());
    }

    fn number(&mut self, key: &str, value: f64) {
        self.key(key, 6);
        self.bytes.extend((value as f32).to_le_bytes());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.bytes.push(value.into());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        put_text(&mut self.bytes, value);
    }

    fn list(&mut self, key: &str, kind: u32, n: usize) {
        self.key(key, 9);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((n as u64).to_le_bytes());
    }

    fn texts<'a>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        self.list(key, 8, values.len());
        values.for_each(|value| put_text(&mut self.bytes, value));
    }
}

pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// All keys of a file.
pub(super) fn keys_of(
    path: &Path,
    contents: &GgufContents<'_>,
    architecture: Architecture,
    kind: Option<BlockKind>,
) -> Result<KeyValues, StoreError> {
    let mut keys = KeyValues::default();
    keys.text("general.architecture", architecture.name());
    keys.text("general.type", "model");
    for (key, value) in contents.metadata {
        keys.text(&format!("general.{key}"), value);
    }
    keys.count("general.quantization_version", 2);
    if let Some(number) = kind.and_then(file_type) {
        keys.count("general.file_type", number);
    }
    put_model(&mut keys, architecture, contents.spec);
    put_tokenizer(&mut keys, path, contents.tokenizer, contents.spec)?;
    let templates = contents.templates;
    if let Some(template) = &templates.plain {
        keys.text("tokenizer.chat_template", template);
    }
    for (name, template) in &templates.named {
        keys.text(&format!("tokenizer.chat_template.{name}"), template);
    }
    if !templates.named.is_empty() {
        keys.texts("tokenizer.chat_templates", templates.named.iter().map(|(name, _)| name.as_str()));
    }
    Ok(keys)
}

/// llama.cpp's number of a file whose matrices are mostly of a kind.
fn file_type(kind: BlockKind) -> Option<usize> {
    match kind {
        BlockKind::F32 => Some(0),
        BlockKind::F16 => Some(1),
        BlockKind::Q4_0 => Some(2),
        BlockKind::Q4_1 => Some(3),
        BlockKind::Q8_0 => Some(7),
        BlockKind::Q5_0 => Some(8),
        BlockKind::Q5_1 => Some(9),
        BlockKind::Q2K => Some(10),
        BlockKind::Q3K => Some(11),
        BlockKind::Q4K => Some(14),
        BlockKind::Q5K => Some(16),
        BlockKind::Q6K => Some(18),
        BlockKind::Iq4Nl => Some(25),
        BlockKind::Iq4Xs => Some(30),
        BlockKind::Bf16 => Some(32),
    }
}

fn put_model(keys: &mut KeyValues, architecture: Architecture, spec: &ModelSpec) {
    let key = |rest: &str| format!("{}.{rest}", architecture.name());
    keys.count(&key("block_count"), spec.num_hidden_layers);
    keys.count(&key("context_length"), spec.max_position_embeddings);
    keys.count(&key("embedding_length"), spec.hidden_size);
    keys.count(&key("feed_forward_length"), spec.intermediate_size);
    keys.count(&key("vocab_size"), spec.vocab_size);
    keys.count(&key("attention.head_count"), spec.num_attention_heads);
    keys.number(&key("attention.layer_norm_rms_epsilon"), spec.rms_norm_eps);
    keys.number(&key("rope.freq_base"), spec.rope_theta);
    keys.count(&key("rope.dimension_count"), spec.rope_dim());
    match &spec.mla {
        Some(mla) => put_latents(keys, &key, mla),
        None => {
            keys.count(&key("attention.head_count_kv"), spec.num_key_value_heads);
            keys.count(&key("attention.key_length"), spec.head_dim);
            keys.count(&key("attention.value_length"), spec.head_dim);
        }
    }
    if let Some(window) = &spec.sliding_window {
        put_window(keys, &key, architecture, spec, window);
    }
    if let Some(moe) = &spec.moe {
        put_mixture(keys, &key, architecture, moe);
    }
    put_rope(keys, &key, spec);
}

/// A window, and where it is not in five of six layers as in Gemma, in which.
fn put_window(
    keys: &mut KeyValues,
    key: &impl Fn(&str) -> String,
    architecture: Architecture,
    spec: &ModelSpec,
    window: &SlidingWindow,
) {
    keys.count(&key("attention.sliding_window"), window.tokens);
    if architecture != Architecture::Gemma3 {
        return;
    }
    if let Some(rope) = &spec.local_rope {
        keys.number(&key("rope.freq_base_swa"), rope.theta);
    }
    if *window != SlidingWindow::but_every(6, window.tokens, spec.num_hidden_layers) {
        let layers = 0..spec.num_hidden_layers;
        keys.list(&key("attention.sliding_window_pattern"), 7, layers.len());
        keys.bytes.extend(layers.map(|layer| u8::from(spec.window_of(layer).is_some())));
    }
}

/// MLA as llama.cpp computes it: all heads' keys are absorbed into queries, which leaves one key of the latent's and the rotary width.
fn put_latents(keys: &mut KeyValues, key: &impl Fn(&str) -> String, mla: &MlaSpec) {
    keys.count(&key("attention.head_count_kv"), 1);
    keys.count(&key("attention.key_length"), mla.kv_lora_rank + mla.qk_rope_head_dim);
    keys.count(&key("attention.value_length"), mla.kv_lora_rank);
    keys.count(&key("attention.key_length_mla"), mla.qk_nope_head_dim + mla.qk_rope_head_dim);
    keys.count(&key("attention.value_length_mla"), mla.v_head_dim);
    keys.count(&key("attention.q_lora_rank"), mla.q_lora_rank.unwrap_or(0));
    keys.count(&key("attention.kv_lora_rank"), mla.kv_lora_rank);
}

fn put_mixture(keys: &mut KeyValues, key: &impl Fn(&str) -> String, architecture: Architecture, moe: &MoeSpec) {
    keys.count(&key("expert_count"), moe.n_routed_experts);
    keys.count(&key("expert_used_count"), moe.num_experts_per_tok);
    keys.count(&key("expert_feed_forward_length"), moe.moe_intermediate_size);
    match architecture {
        Architecture::Qwen2Moe => {
            keys.count(&key("expert_shared_feed_forward_length"), moe.shared_expert_intermediate_size);
        }
        Architecture::Deepseek2 => {
            let shared = moe.shared_expert_intermediate_size / moe.moe_intermediate_size;
            keys.count(&key("expert_shared_count"), shared);
            keys.count(&key("leading_dense_block_count"), moe.first_k_dense_replace);
            keys.number(&key("expert_weights_scale"), moe.routed_scaling_factor);
            keys.flag(&key("expert_weights_norm"), moe.norm_topk_prob);
            keys.count(&key("expert_gating_func"), if moe.scoring == Scoring::Sigmoid { 2 } else { 1 });
            // To keep all groups is to have none, which is how the loader wants it said.
            if moe.topk_group < moe.n_group {
                keys.count(&key("expert_group_count"), moe.n_group);
                keys.count(&key("expert_group_used_count"), moe.topk_group);
            }
        }
        _ => {}
    }
}

fn put_rope(keys: &mut KeyValues, key: &impl Fn(&str) -> String, spec: &ModelSpec) {
    match &spec.rope_scaling {
        RopeScaling::Linear { factor } => {
            keys.text(&key("rope.scaling.type"), "linear");
            keys.number(&key("rope.scaling.factor"), *factor);
        }
        RopeScaling::Yarn { factor, original_max_position_embeddings, mscale_all_dim, .. } => {
            keys.text(&key("rope.scaling.type"), "yarn");
            keys.number(&key("rope.scaling.factor"), *factor);
            keys.count(&key("rope.scaling.original_context_length"), *original_max_position_embeddings);
            if spec.mla.is_some() {
                keys.number(&key("rope.scaling.yarn_log_multiplier"), 0.1 * mscale_all_dim);
                return;
            }
            // llama.cpp multiplies by what follows from the factor, and by this.
            let further = spec.rope().mscale() / (0.1 * factor.ln() + 1.0);
            if (further - 1.0).abs() > 1e-9 {
                keys.number(&key("rope.scaling.attn_factor"), further);
            }
        }
        // Llama 3's are a tensor, and dynamic ones are none up to the context.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Dynamic { .. } => {}
    }
}

/// The tensor of factors that goes with Llama 3's frequencies.
pub(super) fn factors_of(spec: &ModelSpec) -> Option<Vec<f32>> {
    match &spec.rope_scaling {
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            let (factor, low, high) = (*factor, *low_freq_factor, *high_freq_factor);
            let stretch = Llama3 { factor, low, high, original: *original_max_position_embeddings as u64 };
            let factors = stretch.factors(spec.rope_theta, spec.rope_dim() / 2);
            Some(factors.into_iter().map(|factor| factor as f32).collect())
        }
        _ => None,
    }
}

fn put_tokenizer(
    keys: &mut KeyValues,
    path: &Path,
    tokenizer: &GgufTokenizer,
    spec: &ModelSpec,
) -> Result<(), StoreError> {
    let vocab_size = spec.vocab_size;
    let n = tokenizer.tokens.len();
    let refuse =
        |reason: String| Err(StoreError::malformed(path, reason, "take model and tokenizer from the same folder"));
    if n > vocab_size || tokenizer.kinds.len() != n {
        return refuse(format!("{n} tokens of {} kinds for an embedding of {vocab_size} rows", tokenizer.kinds.len()));
    }
    // Rows behind the last token get names that no text has, as llama.cpp's converter gives them.
    let padding: Vec<String> = (n..vocab_size).map(|id| format!("[PAD{id}]")).collect();
    let tokens = || tokenizer.tokens.iter().chain(&padding).map(String::as_str).collect::<Vec<_>>();
    let mut seen = HashSet::with_capacity(vocab_size);
    if let Some(twice) = tokens().into_iter().find(|token| !seen.insert(*token)) {
        return refuse(format!("the token {twice:?} is there twice, which llama.cpp does not load"));
    }
    let key = |rest: &str| format!("tokenizer.ggml.{rest}");
    keys.text(&key("model"), tokenizer.model.name());
    keys.text(&key("pre"), &tokenizer.pre);
    keys.texts(&key("tokens"), tokens().into_iter());
    keys.list(&key("token_type"), 5, vocab_size);
    let kinds = tokenizer.kinds.iter().copied().chain(padding.iter().map(|_| TokenKind::Unused));
    keys.bytes.extend(kinds.flat_map(|kind| kind.number().to_le_bytes()));
    match tokenizer.model {
        TokenizerModel::BytePairs => keys.texts(&key("merges"), tokenizer.merges.iter().map(String::as_str)),
        TokenizerModel::SentencePiece if tokenizer.scores.len() == n => {
            // Below every other, so that no text is joined into one.
            const LAST: f32 = -10_000.0;
            keys.list(&key("scores"), 6, vocab_size);
            let scores = tokenizer.scores.iter().copied().chain(padding.iter().map(|_| LAST));
            keys.bytes.extend(scores.flat_map(f32::to_le_bytes));
        }
        TokenizerModel::SentencePiece => {
            return refuse(format!("{} scores for {n} tokens", tokenizer.scores.len()));
        }
    }
    // Further ends have two keys, but for those that llama.cpp knows by their spelling.
    let others = spec.other_eos_token_ids.iter().map(|&id| id as usize);
    let mut others = others.filter(|&id| tokenizer.tokens.get(id).is_some_and(|token| !is_end(token)));
    let ids = [
        ("bos", tokenizer.bos),
        ("eos", tokenizer.eos),
        ("eot", tokenizer.eot.or_else(|| others.next())),
        ("eom", others.find(|&id| Some(id) != tokenizer.eot)),
        ("unknown", tokenizer.unk),
        ("padding", tokenizer.pad),
    ];
    for (name, id) in ids {
        match id {
            Some(id) if id >= n => return refuse(format!("the {name} token is {id}, and there are {n} tokens")),
            Some(id) => keys.count(&key(&format!("{name}_token_id")), id),
            None => {}
        }
    }
    keys.flag(&key("add_bos_token"), tokenizer.add_bos);
    keys.flag(&key("add_eos_token"), tokenizer.add_eos);
    if tokenizer.model == TokenizerModel::SentencePiece {
        keys.flag(&key("add_space_prefix"), tokenizer.add_space_prefix);
    }
    Ok(())
}

/// The name of the tensor of [`factors_of`].
pub(super) const FACTORS: &str = rope::FACTORS;
