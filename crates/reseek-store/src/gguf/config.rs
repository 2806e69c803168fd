//! The configuration of a file as config.json of Hugging Face has it, which [`ModelSpec::from_hf_json`] then checks.

use reseek_spec::ModelSpec;
use serde_json::{Map, Value as Json, json};

use super::architecture::Architecture;
use super::file::Tensors;
use super::fits::gemma_scalar_of;
use super::metadata::Metadata;
use super::rope;
use super::tokenizer::GgufTokenizer;
use crate::StoreError;

/// Keys of one architecture.
pub(super) struct Keys<'a> {
    pub meta: &'a Metadata,
    pub architecture: Architecture,
}

impl Keys<'_> {
    pub fn key(&self, rest: &str) -> String {
        format!("{}.{rest}", self.architecture.name())
    }

    pub fn count(&self, rest: &str) -> Result<usize, StoreError> {
        self.meta.count(&self.key(rest))
    }

    pub fn optional_count(&self, rest: &str) -> Result<Option<usize>, StoreError> {
        self.meta.optional_count(&self.key(rest))
    }

    pub fn optional_number(&self, rest: &str) -> Result<Option<f64>, StoreError> {
        self.meta.optional_number(&self.key(rest))
    }

    fn layers(&self, rest: &str) -> Result<usize, StoreError> {
        let key = self.key(rest);
        self.meta.optional_layers(&key)?.ok_or_else(|| self.meta.wrong(&key, "absent", "a number"))
    }

    /// That a key, if it is there, has the one value that follows from the others.
    pub fn must_be(&self, rest: &str, value: usize, why: &str) -> Result<(), StoreError> {
        match self.optional_count(rest)? {
            Some(found) if found != value => Err(self.meta.refused(&self.key(rest), found, &format!("{value}, {why}"))),
            _ => Ok(()),
        }
    }

    fn must_be_flag(&self, rest: &str, value: bool) -> Result<(), StoreError> {
        match self.meta.flag(&self.key(rest))? {
            Some(found) if found != value => Err(self.meta.refused(&self.key(rest), found, &value.to_string())),
            _ => Ok(()),
        }
    }
}

/// The model that keys and tensors describe.
pub(super) fn spec_of(keys: &Keys<'_>, tensors: &Tensors, tokenizer: &GgufTokenizer) -> Result<ModelSpec, StoreError> {
    let layers = keys.count("block_count")?;
    if layers > tensors.len() {
        return Err(keys.meta.wrong(&keys.key("block_count"), layers, "no more than there are tensors"));
    }
    let mut config = common(keys, tensors, layers, tokenizer)?;
    match keys.architecture {
        Architecture::Llama => llama(keys, tensors, &mut config)?,
        Architecture::Qwen2 => name(&mut config, "qwen2", "Qwen2ForCausalLM"),
        Architecture::Qwen3 => name(&mut config, "qwen3", "Qwen3ForCausalLM"),
        Architecture::Qwen2Moe => qwen_moe(keys, tensors, &mut config, false)?,
        Architecture::Qwen3Moe => qwen_moe(keys, tensors, &mut config, true)?,
        Architecture::Deepseek2 => deepseek(keys, tensors, &mut config)?,
        Architecture::Gemma3 => gemma(keys, layers, &mut config)?,
    }
    let full = config["max_position_embeddings"].as_u64().unwrap_or(0);
    if let Some(window) = keys.optional_count("attention.sliding_window")?
        && keys.architecture != Architecture::Gemma3
        && window > 0
        && (window as u64) < full
        && config["model_type"] != "mistral"
    {
        let key = keys.key("attention.sliding_window");
        return Err(keys.meta.refused(&key, window, &format!("one of the context's {full} tokens or more")));
    }
    let text = Json::Object(config).to_string();
    ModelSpec::from_hf_json(&text).map_err(|source| StoreError::Spec { path: keys.meta.path().to_path_buf(), source })
}

fn name(config: &mut Map<String, Json>, model_type: &str, class: &str) {
    config.insert("model_type".into(), json!(model_type));
    config.insert("architectures".into(), json!([class]));
}

/// What all architectures have.
fn common(
    keys: &Keys<'_>,
    tensors: &Tensors,
    layers: usize,
    tokenizer: &GgufTokenizer,
) -> Result<Map<String, Json>, StoreError> {
    let heads = keys.layers("attention.head_count")?;
    let hidden = keys.count("embedding_length")?;
    let vocab = tensors.get("token_embd.weight")?.shape[0];
    keys.must_be("vocab_size", vocab, "the rows of the embedding")?;
    let kv_heads = keys.meta.optional_layers(&keys.key("attention.head_count_kv"))?.unwrap_or(heads);
    let mut config = json!({
        "vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": keys.count("context_length")?,
        "rms_norm_eps": keys.meta.number(&keys.key("attention.layer_norm_rms_epsilon"))?,
        "rope_theta": keys.optional_number("rope.freq_base")?.unwrap_or(10_000.0),
        "tie_word_embeddings": !tensors.has("output.weight"),
        "attention_bias": tensors.has("blk.0.attn_q.bias"), "mlp_bias": tensors.has("blk.0.ffn_gate.bias"),
    });
    let map = config.as_object_mut().expect("an object");
    let hidden_act = if keys.architecture == Architecture::Gemma3 { "gelu_pytorch_tanh" } else { "silu" };
    let act_key = keys.key("hidden_activation");
    match keys.meta.optional_text(&act_key)? {
        Some(found) if !found.starts_with(&hidden_act[..4]) => {
            return Err(keys.meta.refused(&act_key, format!("{found:?}"), &format!("{hidden_act:?}")));
        }
        _ => map.insert("hidden_act".into(), json!(hidden_act)),
    };
    if let Some(id) = tokenizer.bos {
        map.insert("bos_token_id".into(), json!(id));
    }
    // All that end a text are stops, that with the name first.
    let ends: Vec<usize> = tokenizer
        .eos
        .into_iter()
        .chain(tokenizer.eog.iter().copied().filter(|&id| Some(id) != tokenizer.eos))
        .collect();
    if !ends.is_empty() {
        map.insert("eos_token_id".into(), json!(ends));
    }
    let rotary = if keys.architecture == Architecture::Deepseek2 {
        keys.count("rope.dimension_count")?
    } else {
        let width = keys.optional_count("attention.key_length")?.unwrap_or(hidden / heads.max(1));
        map.insert("head_dim".into(), json!(width));
        keys.must_be("attention.value_length", width, "the width of a key")?;
        keys.must_be("rope.dimension_count", width, "the width of a head")?;
        check_scale(keys, width)?;
        width
    };
    // Sizes of the mixture may say it all.
    if let Some(width) = keys.meta.optional_layers(&keys.key("feed_forward_length"))? {
        map.insert("intermediate_size".into(), json!(width));
    }
    rope::write(keys, tensors, rotary, map)?;
    Ok(map.clone())
}

/// Scores are divided by the root of a head's width, and by nothing else.
fn check_scale(keys: &Keys<'_>, width: usize) -> Result<(), StoreError> {
    let plain = (width as f64).powf(-0.5);
    match keys.optional_number("attention.scale")? {
        Some(scale) if scale != 0.0 && (scale - plain).abs() > 1e-6 => {
            let known = format!("{plain}, the root of one over a head's width");
            Err(keys.meta.refused(&keys.key("attention.scale"), scale, &known))
        }
        _ => Ok(()),
    }
}

/// Llama, Mistral where a window is shorter than the context, Mixtral where there are experts.
fn llama(keys: &Keys<'_>, tensors: &Tensors, config: &mut Map<String, Json>) -> Result<(), StoreError> {
    let window = keys.optional_count("attention.sliding_window")?.filter(|&window| window > 0);
    if keys.optional_count("expert_count")?.unwrap_or(0) == 0 {
        let context = config["max_position_embeddings"].as_u64().unwrap_or(0);
        match window.filter(|&window| (window as u64) < context) {
            None => name(config, "llama", "LlamaForCausalLM"),
            Some(window) => {
                name(config, "mistral", "MistralForCausalLM");
                config.insert("sliding_window".into(), json!(window));
            }
        }
        return Ok(());
    }
    name(config, "mixtral", "MixtralForCausalLM");
    let (experts, width) = experts(keys, tensors)?;
    config.insert("num_local_experts".into(), json!(experts));
    config.insert("num_experts_per_tok".into(), json!(keys.layers("expert_used_count")?));
    keys.must_be("feed_forward_length", width, "the width of the experts' tensors")?;
    config.insert("intermediate_size".into(), json!(width));
    keys.must_be_flag("expert_weights_norm", true)
}

/// How many experts there are, and how wide each is. The tensors say it too, so that no size is believed that has no weights.
fn experts(keys: &Keys<'_>, tensors: &Tensors) -> Result<(usize, usize), StoreError> {
    let count = keys.count("expert_count")?;
    let widths = tensors.expert_shapes();
    let Some(&[_, width, _]) = widths.first() else {
        return Err(keys.meta.wrong(&keys.key("expert_count"), count, "0 where no layer has experts"));
    };
    if let Some(other) = widths.iter().find(|shape| shape[0] != count || shape[1] != width) {
        let known = format!("{} experts of width {}, as in a layer's tensor", other[0], other[1]);
        return Err(keys.meta.wrong(&keys.key("expert_count"), count, &known));
    }
    if let Some(found) = keys.meta.optional_layers(&keys.key("expert_feed_forward_length"))?
        && found != width
    {
        let key = keys.key("expert_feed_forward_length");
        return Err(keys.meta.wrong(&key, found, &format!("{width}, the width of the experts' tensors")));
    }
    Ok((count, width))
}

fn qwen_moe(
    keys: &Keys<'_>,
    tensors: &Tensors,
    config: &mut Map<String, Json>,
    is_third: bool,
) -> Result<(), StoreError> {
    let (model_type, class) = match is_third {
        true => ("qwen3_moe", "Qwen3MoeForCausalLM"),
        false => ("qwen2_moe", "Qwen2MoeForCausalLM"),
    };
    name(config, model_type, class);
    let (experts, width) = experts(keys, tensors)?;
    config.entry("intermediate_size").or_insert(json!(width));
    config.insert("num_experts".into(), json!(experts));
    config.insert("num_experts_per_tok".into(), json!(keys.layers("expert_used_count")?));
    config.insert("moe_intermediate_size".into(), json!(width));
    // llama.cpp's graphs of the two have this built in.
    config.insert("norm_topk_prob".into(), json!(is_third));
    keys.must_be_flag("expert_weights_norm", is_third)?;
    config.insert("decoder_sparse_step".into(), json!(1));
    config.insert("mlp_only_layers".into(), json!([]));
    if !is_third {
        config.insert("qkv_bias".into(), config["attention_bias"].clone());
        let shared = tensors.get("blk.0.ffn_gate_shexp.weight")?.shape[0];
        keys.must_be("expert_shared_feed_forward_length", shared, "the width of the shared expert's tensor")?;
        config.insert("shared_expert_intermediate_size".into(), json!(shared));
    }
    Ok(())
}

/// V3 behind a sigmoid, V2 behind a softmax.
fn deepseek(keys: &Keys<'_>, tensors: &Tensors, config: &mut Map<String, Json>) -> Result<(), StoreError> {
    const SOFTMAX: usize = 1;
    const SIGMOID: usize = 2;
    let gating = match keys.optional_count("expert_gating_func")?.unwrap_or(SOFTMAX) {
        0 => SOFTMAX,
        gating => gating,
    };
    let (n_group, topk_group) =
        (keys.optional_count("expert_group_count")?, keys.optional_count("expert_group_used_count")?);
    let n_group = n_group.unwrap_or(1).max(1);
    let method = match gating {
        SIGMOID => "noaux_tc",
        SOFTMAX if n_group > 1 => "group_limited_greedy",
        SOFTMAX => "greedy",
        _ => {
            let known = "1 for a softmax and 2 for a sigmoid";
            return Err(keys.meta.refused(&keys.key("expert_gating_func"), gating, known));
        }
    };
    match gating {
        SIGMOID => name(config, "deepseek_v3", "DeepseekV3ForCausalLM"),
        _ => name(config, "deepseek_v2", "DeepseekV2ForCausalLM"),
    }
    let (experts, width) = experts(keys, tensors)?;
    let shared = keys.optional_count("expert_shared_count")?.unwrap_or(0);
    let scale = keys.optional_number("expert_weights_scale")?.filter(|&scale| scale != 0.0);
    let mixture = json!({
        "n_routed_experts": experts, "moe_intermediate_size": width, "n_shared_experts": shared,
        "num_experts_per_tok": keys.layers("expert_used_count")?,
        "first_k_dense_replace": keys.optional_count("leading_dense_block_count")?.unwrap_or(0),
        "n_group": n_group, "topk_group": topk_group.unwrap_or(1).max(1),
        "topk_method": method, "scoring_func": if gating == SIGMOID { "sigmoid" } else { "softmax" },
        "routed_scaling_factor": scale.unwrap_or(1.0),
        "norm_topk_prob": keys.meta.flag(&keys.key("expert_weights_norm"))?.unwrap_or(false),
        "num_nextn_predict_layers": 0,
    });
    config.extend(mixture.as_object().expect("an object").clone());
    config.entry("intermediate_size").or_insert(json!(width));
    latents(keys, config)
}

/// MLA's widths. Where k and v come of tensors of their own, the file counts as one key's head what they are absorbed into.
fn latents(keys: &Keys<'_>, config: &mut Map<String, Json>) -> Result<(), StoreError> {
    let rope = keys.count("rope.dimension_count")?;
    let latent = keys.count("attention.kv_lora_rank")?;
    let (key, value) = match keys.optional_count("attention.key_length_mla")?.filter(|&width| width > 0) {
        Some(key) => {
            keys.must_be("attention.key_length", latent.saturating_add(rope), "the latent's and the rotary width")?;
            keys.must_be("attention.value_length", latent, "the latent's width")?;
            (key, keys.count("attention.value_length_mla")?)
        }
        None => (keys.count("attention.key_length")?, keys.count("attention.value_length")?),
    };
    let Some(nope) = key.checked_sub(rope) else {
        return Err(keys.meta.wrong(&keys.key("rope.dimension_count"), rope, &format!("at most {key}, a key's width")));
    };
    let q = keys.optional_count("attention.q_lora_rank")?.filter(|&rank| rank > 0);
    config.insert("q_lora_rank".into(), json!(q));
    config.insert("kv_lora_rank".into(), json!(latent));
    config.insert("qk_nope_head_dim".into(), json!(nope));
    config.insert("qk_rope_head_dim".into(), json!(rope));
    config.insert("v_head_dim".into(), json!(value));
    config.insert("rope_interleave".into(), json!(true));
    let heads = config["num_attention_heads"].clone();
    if config["num_key_value_heads"] != heads && config["num_key_value_heads"] != 1 {
        let found = config["num_key_value_heads"].clone();
        return Err(keys.meta.refused(&keys.key("attention.head_count_kv"), found, "1 with latents"));
    }
    config.insert("num_key_value_heads".into(), heads);
    check_scale(keys, key)
}

/// Gemma 3: five layers with a window, then one without, unless the file says otherwise.
fn gemma(keys: &Keys<'_>, layers: usize, config: &mut Map<String, Json>) -> Result<(), StoreError> {
    name(config, "gemma3_text", "Gemma3ForCausalLM");
    let size = |key: &str| config[key].as_u64().unwrap_or(0) as usize;
    let scalar = gemma_scalar_of(layers, size("hidden_size"), size("num_attention_heads"), size("head_dim"));
    config.insert("query_pre_attn_scalar".into(), json!(scalar));
    config.insert("hidden_activation".into(), config["hidden_act"].clone());
    let pattern_key = keys.key("attention.sliding_window_pattern");
    let pattern = match keys.meta.get(&pattern_key) {
        Some(super::metadata::Value::List { .. }) => {
            keys.meta.integers(&pattern_key)?.iter().map(|&n| n != 0).collect()
        }
        _ => {
            let every = keys.meta.optional_count(&pattern_key)?.unwrap_or(6);
            (0..layers).map(|layer| every == 0 || layer % every + 1 < every).collect::<Vec<_>>()
        }
    };
    if pattern.len() != layers {
        return Err(keys.meta.wrong(&pattern_key, pattern.len(), &format!("one value for each of {layers} layers")));
    }
    let window = keys.optional_count("attention.sliding_window")?.filter(|&window| window > 0);
    let kind = |is_local: &bool| if *is_local && window.is_some() { "sliding_attention" } else { "full_attention" };
    config.insert("layer_types".into(), pattern.iter().map(kind).collect());
    config.insert("sliding_window".into(), json!(window));
    Ok(())
}
