//! config.json, as Hugging Face's transformers (4 and 5) read and write it.
//!
//! Each family is read as transformers 5 reads it, its defaults for absent keys included; sizes have no default. Every key is obeyed, or
//! known to be without effect (`keys.rs` says why), or refused by its name: a key of which nobody knows what it does could make another
//! model of the same weights.

mod config;
mod keys;
mod layers;
mod mixture;
mod quantisation;
mod rope;
#[cfg(test)]
mod walk;
mod write;

use serde_json::Value;

use config::Config;
use keys::Defaults;
pub use quantisation::Fp8Blocks;

use crate::model::LAYERS_MAX;
use crate::{Activation, Family, MlaSpec, ModelSpec, SpecError};

/// Bytes of a config.json that are read at most: the published ones have some thousand.
const BYTES_MAX: usize = 1 << 22;

impl ModelSpec {
    /// Reads a config.json.
    ///
    /// # Errors
    /// Text that is not JSON, an architecture whose layers are not known, with what is missing; a missing or mistyped key; sizes that clash;
    /// a key that is neither obeyed nor known to be without effect; tensors in a format that is not known.
    pub fn from_hf_json(text: &str) -> Result<Self, SpecError> {
        let value = parse(text)?;
        let config = Config::new(&value)?;
        let spec = Self::read(&config)?;
        quantisation::read(&config)?;
        config.only_known(spec.family)?;
        Ok(spec)
    }

    /// [`ModelSpec::from_hf_json`] for counting and simulation alone, which a key that nobody knows does not keep from it: neither that nor
    /// the tensors' format changes a count.
    ///
    /// # Errors
    /// As [`ModelSpec::from_hf_json`], unknown keys and formats excepted.
    pub fn counted_from_hf_json(text: &str) -> Result<Self, SpecError> {
        let value = parse(text)?;
        Self::read(&Config::new(&value)?)
    }

    fn read(config: &Config) -> Result<Self, SpecError> {
        let family = config.family()?;
        let defaults = Defaults::of(family);
        let mla = family.has_mla().then(|| config.mla(family)).transpose()?;
        let (num_attention_heads, hidden_size) = (config.size("num_attention_heads")?, config.size("hidden_size")?);
        let num_hidden_layers = config.layers()?;
        let max_position_embeddings = config.size("max_position_embeddings")?;
        let sliding_window = config.sliding_window(family, num_hidden_layers)?;
        let ropes = config.ropes(family, max_position_embeddings, sliding_window.is_some())?;
        let (eos_token_id, other_eos_token_ids) = config.ends(defaults.eos_token_id)?;
        let spec = Self {
            family,
            vocab_size: config.size("vocab_size")?,
            hidden_size,
            intermediate_size: config.size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: config.heads_of_keys(defaults.num_key_value_heads, num_attention_heads)?,
            head_dim: match &mla {
                Some(mla) => mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim),
                None => config.head_dim(defaults.head_dim, hidden_size, num_attention_heads)?,
            },
            max_position_embeddings,
            rms_norm_eps: config.number_or("rms_norm_eps", defaults.rms_norm_eps)?,
            hidden_act: config.activation(family)?,
            rope_theta: ropes.main.theta,
            rope_scaling: ropes.main.scaling,
            partial_rotary_factor: ropes.partial_rotary_factor,
            local_rope: ropes.local,
            no_rope_layers: config.no_rope_layers(family, num_hidden_layers)?,
            llama_4_scaling_beta: ropes.llama_4_scaling_beta,
            query_pre_attn_scalar: match family {
                Family::Gemma3 => Some(config.number_or("query_pre_attn_scalar", 256.0)?),
                _ => None,
            },
            tie_word_embeddings: config.flag_or("tie_word_embeddings", defaults.tie_word_embeddings)?,
            attention_bias: config.has_attention_bias(family)?,
            mlp_bias: match family {
                Family::Llama | Family::Smollm3 | Family::DeepseekV2 => config.flag_or("mlp_bias", false)?,
                _ => false,
            },
            qk_norm: config.has_qk_norm(family)?,
            initializer_range: config.number_or("initializer_range", 0.02)?,
            bos_token_id: config.token_or("bos_token_id", defaults.bos_token_id)?,
            eos_token_id,
            other_eos_token_ids,
            moe: config.moe(family, num_hidden_layers)?,
            num_nextn_predict_layers: match family {
                Family::DeepseekV3 | Family::Glm4Moe => {
                    config.either_size(["num_nextn_predict_layers", "num_mtp_layers"])?.unwrap_or(0)
                }
                _ => 0,
            },
            sliding_window,
            mla,
        };
        spec.validate()?;
        Ok(spec)
    }
}

impl Config<'_> {
    fn family(&self) -> Result<Family, SpecError> {
        let Some(model_type) = self.text("model_type")? else {
            return Err(SpecError::Missing { key: "model_type".to_string() });
        };
        let refuse = |missing: String| {
            let found = model_type.chars().take(60).collect();
            SpecError::Architecture { found, known: Family::listed(), missing }
        };
        if self.value("text_config").is_some() {
            let what = "it is a model of texts and images, whose model of texts stands under text_config. Save that one by itself";
            return Err(refuse(what.to_string()));
        }
        Family::of(model_type).ok_or_else(|| refuse(self.missing()))
    }

    /// Checked before anything is said layer by layer.
    fn layers(&self) -> Result<usize, SpecError> {
        let layers = self.size("num_hidden_layers")?;
        if !(1..=LAYERS_MAX).contains(&layers) {
            let what = format!("num_hidden_layers = {layers}");
            return Err(SpecError::clash(what, &format!("1 or more, at most {LAYERS_MAX}"), "is it misread?"));
        }
        Ok(layers)
    }

    fn mla(&self, family: Family) -> Result<MlaSpec, SpecError> {
        let q_lora_rank = match self.has_key("q_lora_rank") {
            true => self.value("q_lora_rank").map(|_| self.size("q_lora_rank")).transpose()?,
            // DeepSeek's own default, in case someone left it out.
            false => Some(1536),
        };
        let rope_interleave = match family {
            Family::DeepseekV3 => self.flag_or("rope_interleave", true)?,
            _ => true,
        };
        let [nope, rope] = [self.size("qk_nope_head_dim")?, self.size("qk_rope_head_dim")?];
        // Writers mean by head_dim the part that turns, as transformers does, or the whole.
        self.said_again("qk_head_dim", &[nope.saturating_add(rope)])?;
        self.said_again("head_dim", &[rope, nope.saturating_add(rope)])?;
        Ok(MlaSpec {
            q_lora_rank,
            kv_lora_rank: self.size("kv_lora_rank")?,
            qk_nope_head_dim: nope,
            qk_rope_head_dim: rope,
            v_head_dim: self.size("v_head_dim")?,
            rope_interleave,
        })
    }

    /// That a key which says what others say already says the same.
    fn said_again(&self, key: &'static str, allowed: &[usize]) -> Result<(), SpecError> {
        let Some(_) = self.value(key) else { return Ok(()) };
        let found = self.size(key)?;
        if allowed.contains(&found) {
            return Ok(());
        }
        let allowed: Vec<String> = allowed.iter().map(usize::to_string).collect();
        let allowed = format!("{}, as qk_nope_head_dim and qk_rope_head_dim say", allowed.join(" or "));
        Err(SpecError::clash(format!("{key} = {found}"), &allowed, "correct it, or leave it out"))
    }

    /// Absent it is the family's default, null as many as of queries.
    fn heads_of_keys(&self, default: Option<usize>, heads: usize) -> Result<usize, SpecError> {
        let absent = default.filter(|_| !self.has_key("num_key_value_heads"));
        self.size_or("num_key_value_heads", absent.unwrap_or(heads))
    }

    fn head_dim(&self, default: Option<usize>, hidden: usize, heads: usize) -> Result<usize, SpecError> {
        if let Some(default) = default.filter(|_| !self.has_key("head_dim")) {
            return Ok(default);
        }
        if self.value("head_dim").is_some() {
            return self.size("head_dim");
        }
        if heads == 0 || !hidden.is_multiple_of(heads) {
            let allowed = format!("a multiple of num_attention_heads = {heads} where head_dim is not given");
            return Err(SpecError::clash(format!("hidden_size = {hidden}"), &allowed, "write head_dim"));
        }
        Ok(hidden / heads)
    }

    fn activation(&self, family: Family) -> Result<Activation, SpecError> {
        let (key, default) = match family {
            Family::Gemma3 => ("hidden_activation", Activation::GeluTanh),
            _ => ("hidden_act", Activation::Silu),
        };
        match self.text(key)? {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(other) => {
                let what = format!("{key} = {}", other.chars().take(60).collect::<String>());
                Err(SpecError::clash(what, "silu or gelu_pytorch_tanh", "no other activation is computed here"))
            }
        }
    }

    fn has_attention_bias(&self, family: Family) -> Result<bool, SpecError> {
        match family {
            Family::Qwen2 => Ok(true),
            Family::Qwen2Moe => self.flag_or("qkv_bias", true),
            Family::Mistral | Family::Ministral | Family::Ministral3 | Family::Mixtral => Ok(false),
            _ => self.flag_or("attention_bias", false),
        }
    }

    fn has_qk_norm(&self, family: Family) -> Result<bool, SpecError> {
        match family {
            Family::Glm4Moe => self.flag_or("use_qk_norm", false),
            Family::Qwen3 | Family::Qwen3Moe | Family::Olmo2 | Family::Olmo3 | Family::Gemma3 => Ok(true),
            _ => Ok(false),
        }
    }
}

fn parse(text: &str) -> Result<Value, SpecError> {
    if text.len() > BYTES_MAX {
        return Err(SpecError::Json { message: format!("{} bytes, more than {BYTES_MAX}", text.len()) });
    }
    serde_json::from_str(text).map_err(|error| SpecError::Json { message: error.to_string() })
}
