//! The keys of a config.json that nothing reads, each with why; and what a family assumes of keys that are absent.

use std::fmt::{self, Display};

use serde_json::Value;

use crate::Family;

/// What is known of a key that nothing reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Without effect on what is computed, because of this.
    Idle(&'static str),
    /// Without effect at this value alone; with others it would need what the sentence says.
    Only(Plain, &'static str),
}

/// A value that means that there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plain {
    False,
    True,
    Number(f64),
    Text(&'static str),
    /// None but null.
    Null,
}

impl Plain {
    pub fn is(self, value: &Value) -> bool {
        match self {
            Plain::False => value.as_bool() == Some(false),
            Plain::True => value.as_bool() == Some(true),
            Plain::Number(n) => value.as_f64() == Some(n),
            Plain::Text(text) => value.as_str() == Some(text),
            Plain::Null => value.is_null(),
        }
    }
}

impl Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Plain::False => f.write_str("false"),
            Plain::True => f.write_str("true"),
            Plain::Number(n) => write!(f, "{n}"),
            Plain::Text(text) => f.write_str(text),
            Plain::Null => f.write_str("null"),
        }
    }
}

use Plain::{False, Null, Number, Text, True};
use Rule::{Idle, Only};

/// Sizes that every known family gives.
pub(crate) const SIZES: [&str; 6] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
];

/// Other keys that most families have.
const COMMON: [&str; 16] = [
    "model_type",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "sliding_window",
];

/// Of every family.
const EVERYWHERE: [(&str, Rule); 46] = [
    ("architectures", Idle("model_type says it")),
    ("auto_map", Idle("it names code for transformers")),
    ("transformers_version", Idle("it names a writer")),
    ("transformers.js_config", Idle("it is for another program")),
    ("unsloth_version", Idle("it names a writer")),
    ("unsloth_fixed", Idle("it names a writer")),
    ("name_or_path", Idle("it names a place")),
    ("dtype", Idle("each tensor's format stands in its file")),
    ("torch_dtype", Idle("each tensor's format stands in its file")),
    ("use_cache", Idle("decoding has a cache, training has none")),
    ("cache_implementation", Idle("what the cache holds is the same")),
    ("attn_implementation", Idle("it is the same attention")),
    ("experts_implementation", Idle("they are the same experts")),
    ("pad_token_id", Idle("rows are not padded")),
    ("sep_token_id", Idle("the tokenizer knows its tokens")),
    ("unk_token_id", Idle("the tokenizer knows its tokens")),
    ("mask_token_id", Idle("the tokenizer knows its tokens")),
    ("cls_token_id", Idle("the tokenizer knows its tokens")),
    ("decoder_start_token_id", Idle("it is for encoders with decoders")),
    ("tokenizer_class", Idle("tokenizer.json says it")),
    ("attention_dropout", Idle("passes are those of evaluation, in training too: nothing is dropped")),
    ("output_attentions", Idle("it asks for more outputs")),
    ("output_hidden_states", Idle("it asks for more outputs")),
    ("output_router_logits", Idle("it asks for more outputs")),
    ("return_dict", Idle("it is a form of outputs")),
    ("torchscript", Idle("it is a form of programs")),
    ("router_aux_loss_coef", Idle("the recipe has the weight of the balance loss")),
    ("pretraining_tp", Idle("it cuts the same sums in slices")),
    ("chunk_size_feed_forward", Idle("it cuts the same rows in slices")),
    ("id2label", Idle("it is for classifiers")),
    ("label2id", Idle("it is for classifiers")),
    ("num_labels", Idle("it is for classifiers")),
    ("problem_type", Idle("it is for classifiers")),
    ("finetuning_task", Idle("it is for classifiers")),
    ("task_specific_params", Idle("it is for other tasks")),
    ("prefix", Idle("texts come as they are")),
    ("is_decoder", Idle("every model here is one")),
    ("pruned_heads", Idle("the tensors' shapes are checked")),
    ("tie_encoder_decoder", Idle("there is no encoder")),
    ("cross_attention_hidden_size", Idle("there is no encoder")),
    ("use_bfloat16", Idle("the format is chosen by whoever computes")),
    ("is_encoder_decoder", Only(False, "an encoder is not known here")),
    ("add_cross_attention", Only(False, "attention to an encoder is not known here")),
    ("mlp_bias", Only(False, "biases in feed-forward networks are known of llama, smollm3 and deepseek_v2")),
    ("attention_bias", Only(False, "the family has no biases in its attention")),
    ("partial_rotary_factor", Only(Number(1.0), "heads rotated in part are known of glm4_moe")),
];

/// Settings of sampling that older files hold; generation_config.json has them now.
const GENERATION: [&str; 30] = [
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_new_tokens",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "output_scores",
    "return_dict_in_generate",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
];

const LLAMA: &[(&str, Rule)] = &[
    ("is_llama_config", Idle("model_type says it")),
    ("rope_interleaved", Only(False, "Llama rotates halves, not neighbours")),
    ("max_sequence_length", Idle("max_position_embeddings says it")),
    ("use_sliding_window", Only(False, "Llama has no window")),
];
const QWEN: &[(&str, Rule)] = &[
    ("attention_bias", Idle("Qwen2 has biases on q, k and v whatever it says")),
    ("use_mrope", Only(False, "rotation by places in images is not known here")),
    ("max_window_layers", Idle("there is no window, or layer_types says where")),
];
const QWEN3: &[(&str, Rule)] = &[("max_window_layers", Idle("there is no window, or layer_types says where"))];
const SMOLLM3: &[(&str, Rule)] = &[("max_window_layers", Idle("layer_types or the layers without rotation say it"))];
const MIXTRAL: &[(&str, Rule)] = &[
    ("router_jitter_noise", Idle("it is noise of training, and passes are without")),
    ("moe_intermediate_size", Idle("Mixtral's experts are as wide as intermediate_size says")),
];
const GEMMA: &[(&str, Rule)] = &[
    ("hidden_act", Idle("hidden_activation says it")),
    ("sliding_window_pattern", Idle("there is no window, or layer_types says where")),
    ("final_logit_softcapping", Only(Null, "logits are not bent here: without it, it is Gemma 3")),
    ("attn_logit_softcapping", Only(Null, "scores are not bent here: without it, it is Gemma 3")),
    ("use_bidirectional_attention", Only(False, "every token sees what is before it alone")),
];
const GLM: &[(&str, Rule)] = &[
    ("scoring_func", Only(Text("sigmoid"), "GLM 4.5's gate is a sigmoid")),
    ("topk_method", Only(Text("noaux_tc"), "GLM 4.5's gate has a correction bias")),
];
const DEEPSEEK_V3: &[(&str, Rule)] = &[
    ("ep_size", Idle("it says where experts lie")),
    ("aux_loss_alpha", Idle("the recipe has the weight of the balance loss")),
    ("seq_aux", Idle("the balance loss here is one of sequences")),
    ("moe_layer_freq", Only(Number(1.0), "every layer after the dense ones is a mixture")),
    ("scoring_func", Only(Text("sigmoid"), "V3's gate is a sigmoid")),
    ("topk_method", Only(Text("noaux_tc"), "V3's gate has a correction bias")),
];
const DEEPSEEK_V2: &[(&str, Rule)] = &[
    ("ep_size", Idle("it says where experts lie")),
    ("aux_loss_alpha", Idle("the recipe has the weight of the balance loss")),
    ("seq_aux", Idle("the balance loss here is one of sequences")),
    ("moe_layer_freq", Only(Number(1.0), "every layer after the dense ones is a mixture")),
    ("scoring_func", Only(Text("softmax"), "V2's gate is a softmax")),
    ("norm_topk_prob", Only(False, "transformers does not divide V2's weights by their sum, DeepSeek's own code does")),
    ("rope_interleave", Only(True, "V2 rotates neighbours")),
    ("num_nextn_predict_layers", Only(Number(0.0), "V2 predicts one token")),
];

/// What is known of `key`, which nothing has read, in a config.json of `family`. The family's own rules come first.
pub(crate) fn rule(family: Family, key: &str) -> Option<Rule> {
    let of = |rules: &[(&str, Rule)]| rules.iter().find(|(name, _)| *name == key).map(|&(_, rule)| rule);
    let generation = GENERATION.contains(&key).then_some(Idle("whoever samples sets it"));
    of(rules(family)).or_else(|| of(&EVERYWHERE)).or(generation)
}

fn rules(family: Family) -> &'static [(&'static str, Rule)] {
    match family {
        Family::Llama => LLAMA,
        Family::Qwen2 | Family::Qwen2Moe => QWEN,
        Family::Qwen3 | Family::Qwen3Moe => QWEN3,
        Family::Smollm3 => SMOLLM3,
        Family::Mixtral => MIXTRAL,
        Family::Gemma3 => GEMMA,
        Family::Glm4Moe => GLM,
        Family::DeepseekV2 => DEEPSEEK_V2,
        Family::DeepseekV3 => DEEPSEEK_V3,
        _ => &[],
    }
}

/// Every rule that can apply to `family`.
#[cfg(test)]
pub(crate) fn all(family: Family) -> Vec<(&'static str, Rule)> {
    let generation = GENERATION.iter().copied();
    let names = rules(family).iter().chain(&EVERYWHERE).map(|(name, _)| *name).chain(generation);
    names.map(|name| (name, rule(family, name).expect("a rule of the tables"))).collect()
}

/// Whether most families know `key`.
pub(crate) fn is_common(key: &str) -> bool {
    SIZES.contains(&key) || COMMON.contains(&key) || EVERYWHERE.iter().any(|(name, _)| *name == key)
}

/// What a family assumes of keys that are absent (transformers 5, configuration_*.py).
pub(crate) struct Defaults {
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub bos_token_id: u32,
    pub eos_token_id: u32,
    /// As many as of queries where there is none.
    pub num_key_value_heads: Option<usize>,
    /// hidden_size / num_attention_heads where there is none.
    pub head_dim: Option<usize>,
    /// Of a family whose windows need no further key.
    pub sliding_window: Option<usize>,
}

impl Defaults {
    pub fn of(family: Family) -> Self {
        let llama = Self {
            rms_norm_eps: 1e-6,
            rope_theta: 1e4,
            tie_word_embeddings: false,
            bos_token_id: 1,
            eos_token_id: 2,
            num_key_value_heads: None,
            head_dim: None,
            sliding_window: None,
        };
        // Transformers knows no begin and no end where it has none; the tokenizer does.
        let nameless = Self { bos_token_id: 0, eos_token_id: 1, ..llama };
        let mistral = Self { num_key_value_heads: Some(8), sliding_window: Some(4096), ..llama };
        let olmo = Self { rms_norm_eps: 1e-5, eos_token_id: 50_279, ..nameless };
        match family {
            Family::Llama | Family::DeepseekV2 => llama,
            Family::DeepseekV3 => Self { num_key_value_heads: Some(128), ..nameless },
            Family::Qwen2 => Self { num_key_value_heads: Some(32), ..nameless },
            Family::Qwen3 => Self { num_key_value_heads: Some(32), head_dim: Some(128), ..nameless },
            Family::Qwen2Moe => Self { num_key_value_heads: Some(16), ..nameless },
            Family::Qwen3Moe => Self { num_key_value_heads: Some(4), ..nameless },
            Family::Mistral | Family::Ministral => mistral,
            Family::Ministral3 => {
                Self { rms_norm_eps: 1e-5, rope_theta: 1e6, head_dim: Some(128), sliding_window: None, ..mistral }
            }
            Family::Mixtral => Self { rms_norm_eps: 1e-5, rope_theta: 1e6, sliding_window: None, ..mistral },
            Family::Smollm3 => Self {
                rope_theta: 2e6,
                tie_word_embeddings: true,
                bos_token_id: 128_000,
                eos_token_id: 128_001,
                num_key_value_heads: Some(4),
                ..llama
            },
            Family::Olmo2 => olmo,
            Family::Olmo3 => Self { rope_theta: 5e5, sliding_window: Some(4096), ..olmo },
            Family::Glm4Moe => Self { rms_norm_eps: 1e-5, num_key_value_heads: Some(8), ..nameless },
            Family::Gemma3 => Self {
                rope_theta: 1e6,
                tie_word_embeddings: true,
                bos_token_id: 2,
                eos_token_id: 1,
                num_key_value_heads: Some(4),
                head_dim: Some(256),
                sliding_window: Some(4096),
                ..llama
            },
        }
    }
}
