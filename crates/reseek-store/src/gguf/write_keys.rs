//! The keys and values of a file that is written.

use std::collections::HashSet;
use std::path::Path;

use reseek_spec::{Family, MlaSpec, ModelSpec, MoeSpec, RopeScaling, Scoring};

use super::architecture::Architecture;
use super::rope::Llama3;
use super::tokenizer::{GgufTokenizer, TokenKind, TokenizerModel};
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

/// The architecture whose graph computes the model.
///
/// # Errors
/// If llama.cpp has none, or its loader cannot be told what is special about this one.
pub(super) fn architecture_of(path: &Path, spec: &ModelSpec) -> Result<Architecture, StoreError> {
    let refused = |what: String| {
        let mend = "write a Hugging Face folder instead";
        StoreError::malformed(path, format!("llama.cpp cannot compute {what}"), mend)
    };
    let refuse = |what: String| Err(refused(what));
    let family = spec.family.names().1;
    let architecture = match spec.family {
        Family::Llama | Family::Mistral | Family::Mixtral => Architecture::Llama,
        Family::Qwen2 => Architecture::Qwen2,
        Family::Qwen2Moe => Architecture::Qwen2Moe,
        Family::Qwen3 => Architecture::Qwen3,
        Family::Qwen3Moe => Architecture::Qwen3Moe,
        Family::DeepseekV2 | Family::DeepseekV3 => Architecture::Deepseek2,
        _ => return refuse(format!("{family} by any of the architectures that are written here")),
    };
    if spec.sliding_window.is_some() && architecture != Architecture::Llama {
        return refuse(format!("{family} with a sliding window"));
    }
    if let Some(moe) = &spec.moe {
        let norms = match spec.family {
            Family::Mixtral | Family::Qwen3Moe => true,
            Family::Qwen2Moe => false,
            _ => moe.norm_topk_prob,
        };
        if norms != moe.norm_topk_prob {
            return refuse(format!("{family} with norm_topk_prob = {}", moe.norm_topk_prob));
        }
    }
    if let Some(mla) = &spec.mla {
        check_latent(spec, mla).map_err(refused)?;
    }
    check_rope(spec).map_err(refused)?;
    if spec.family == Family::Qwen2Moe && spec.tie_word_embeddings {
        return refuse("qwen2_moe with tied embeddings".to_owned());
    }
    Ok(architecture)
}

/// What llama.cpp has built into its `deepseek2`.
fn check_latent(spec: &ModelSpec, mla: &MlaSpec) -> Result<(), String> {
    /// Depths whose models are taken to have no latent of queries.
    const LITE: [usize; 2] = [26, 27];
    if !mla.rope_interleave {
        return Err("MLA whose rotary pairs are halves (rope_interleave = false)".to_owned());
    }
    if mla.q_lora_rank.is_some() && LITE.contains(&spec.num_hidden_layers) {
        return Err(format!("{} layers with q_lora_rank, which it takes for a lite model", spec.num_hidden_layers));
    }
    match &spec.moe {
        Some(moe) if moe.n_shared_experts > 0 => Ok(()),
        _ => Err("MLA without shared experts".to_owned()),
    }
}

fn check_rope(spec: &ModelSpec) -> Result<(), String> {
    match &spec.rope_scaling {
        RopeScaling::Yarn { beta_fast, beta_slow, mscale, mscale_all_dim, .. } => {
            if (*beta_fast, *beta_slow) != (32.0, 1.0) {
                return Err(format!(
                    "YaRN with beta_fast = {beta_fast} and beta_slow = {beta_slow}, only with 32 and 1"
                ));
            }
            let is_one = mscale == mscale_all_dim && *mscale != 0.0;
            match spec.mla.is_some() && !is_one {
                true => Err(format!("MLA under YaRN with mscale = {mscale} and mscale_all_dim = {mscale_all_dim}")),
                false => Ok(()),
            }
        }
        RopeScaling::Llama3 { .. } if spec.family != Family::Llama => {
            Err(format!("{} with Llama 3's rotary frequencies", spec.family.names().1))
        }
        _ => Ok(()),
    }
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
    put_tokenizer(&mut keys, path, contents.tokenizer, contents.spec.vocab_size)?;
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
        keys.count(&key("attention.sliding_window"), window.tokens);
    }
    if let Some(moe) = &spec.moe {
        put_mixture(keys, &key, architecture, moe);
    }
    put_rope(keys, &key, spec);
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
            keys.count(&key("expert_shared_feed_forward_length"), moe.n_shared_experts * moe.moe_intermediate_size);
        }
        Architecture::Deepseek2 => {
            keys.count(&key("expert_shared_count"), moe.n_shared_experts);
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
    if let RopeScaling::Yarn { factor, original_max_position_embeddings, mscale_all_dim, .. } = &spec.rope_scaling {
        keys.text(&key("rope.scaling.type"), "yarn");
        keys.number(&key("rope.scaling.factor"), *factor);
        keys.count(&key("rope.scaling.original_context_length"), *original_max_position_embeddings);
        if spec.mla.is_some() {
            keys.number(&key("rope.scaling.yarn_log_multiplier"), 0.1 * mscale_all_dim);
            return;
        }
        // llama.cpp multiplies by what follows from the factor, and by this.
        let further = spec.attention_mscale() / (0.1 * factor.ln() + 1.0);
        if (further - 1.0).abs() > 1e-9 {
            keys.number(&key("rope.scaling.attn_factor"), further);
        }
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
    vocab_size: usize,
) -> Result<(), StoreError> {
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
    let ids = [
        ("bos", tokenizer.bos),
        ("eos", tokenizer.eos),
        ("eot", tokenizer.eot),
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
