//! What a model is: its family, its sizes, and the tensors that follow from them.

use crate::{Family, SpecError};

/// How rotary frequencies are stretched beyond the length of pre-training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// YaRN (Peng et al. 2023): low frequencies are divided by `factor`, high ones stay, and scores are scaled.
    Yarn {
        /// New context over old.
        factor: f64,
        /// Context of pre-training, in tokens.
        original_max_position_embeddings: usize,
        /// A frequency with more turns than this over the old context stays.
        beta_fast: f64,
        /// One with fewer turns than this is divided in full.
        beta_slow: f64,
        /// m in the numerator of the factor on cosines and sines; both of its sides are 0.1 · m · ln(`factor`) + 1.
        mscale: f64,
        /// m in its denominator; with MLA the square of that side scales the scores.
        mscale_all_dim: f64,
    },
    /// Llama 3.1's: low frequencies are divided by `factor`, high ones stay.
    Llama3 {
        /// New context over old.
        factor: f64,
        /// Frequencies whose wavelength is above the old context over this are divided in full.
        low_freq_factor: f64,
        /// Those below the old context over this stay.
        high_freq_factor: f64,
        /// Context of pre-training, in tokens.
        original_max_position_embeddings: usize,
    },
}

/// Multi-head latent attention (DeepSeek-V2 report, 2.1).
#[derive(Clone, Debug, PartialEq)]
pub struct MlaSpec {
    /// Width of the latent that queries come from; nothing where they come straight from the hidden row.
    pub q_lora_rank: Option<usize>,
    /// Width of the latent that keys and values come from, which the cache holds.
    pub kv_lora_rank: usize,
    /// Width of a head's query and key without position.
    pub qk_nope_head_dim: usize,
    /// Width of its part with rotary position; the key's is shared by all heads.
    pub qk_rope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Rotary pairs are neighbours (2i, 2i + 1), not halves.
    pub rope_interleave: bool,
}

/// Layers that attend to the last tokens only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Tokens that such a layer sees.
    pub tokens: usize,
    /// Layers that see everything all the same.
    pub full_layers: usize,
}

/// What turns a gate's logits into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Over all experts.
    Softmax,
    /// Of each alone; V3's.
    Sigmoid,
}

/// DeepSeekMoE (V3 report, 2.1.2).
#[derive(Clone, Debug, PartialEq)]
pub struct MoeSpec {
    /// Experts to choose from in a layer.
    pub n_routed_experts: usize,
    /// Experts that every token uses, computed as one of their joint width.
    pub n_shared_experts: usize,
    /// Routed experts of a token.
    pub num_experts_per_tok: usize,
    /// Width of an expert.
    pub moe_intermediate_size: usize,
    /// Layers at the bottom with a dense MLP in the mixture's place.
    pub first_k_dense_replace: usize,
    /// Groups that the experts are in.
    pub n_group: usize,
    /// Groups that a token may choose experts from.
    pub topk_group: usize,
    /// Factor on the routed experts' sum.
    pub routed_scaling_factor: f64,
    /// Whether the chosen experts' weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// How logits become scores.
    pub scoring: Scoring,
}

/// A model by its Hugging Face configuration; the names are those of config.json.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Which tensors there are, and their names.
    pub family: Family,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of a dense MLP.
    pub intermediate_size: usize,
    /// Layers, those of the MTP module not counted.
    pub num_hidden_layers: usize,
    /// Heads of queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values; with MLA as many as of queries.
    pub num_key_value_heads: usize,
    /// Width of a query; with MLA nope + rope.
    pub head_dim: usize,
    /// Context, in tokens.
    pub max_position_embeddings: usize,
    /// What RMSNorm adds to the mean square.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How these are stretched.
    pub rope_scaling: RopeScaling,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases on q, k and v (Qwen2, GLM 4.5).
    pub attention_bias: bool,
    /// Norms on q and k: of each head (Qwen3, GLM 4.5), of all heads together in OLMo 2 and 3.
    pub qk_norm: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Token before a text.
    pub bos_token_id: u32,
    /// Token behind one.
    pub eos_token_id: u32,
    /// Layers that see the last tokens only, if there are any.
    pub sliding_window: Option<SlidingWindow>,
    /// Latent attention in grouped-query attention's place.
    pub mla: Option<MlaSpec>,
    /// The mixture of experts, of a model that has one.
    pub moe: Option<MoeSpec>,
    /// Layers of the multi-token prediction module: 1 in V3, 0 in others.
    pub num_nextn_predict_layers: usize,
}

impl ModelSpec {
    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// The first two values that contradict each other.
    pub fn validate(&self) -> Result<(), SpecError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, value) in sizes {
            // A hostile file must not make the sums of sizes overflow.
            if value == 0 || value > 1 << 24 {
                return Err(SpecError::clash(format!("{key} = {value}"), "1 to 16777216", "give the model a size"));
            }
        }
        divides("num_attention_heads", self.num_attention_heads, "num_key_value_heads", self.num_key_value_heads)?;
        if !(self.rms_norm_eps > 0.0 && self.rope_theta > 0.0) {
            let what = format!("rms_norm_eps = {}, rope_theta = {}", self.rms_norm_eps, self.rope_theta);
            return Err(SpecError::clash(what, "both above 0", "use 1e-6 and 10000"));
        }
        let rope_dim = self.rope_dim();
        if !rope_dim.is_multiple_of(2) {
            let what = format!("rotary width {rope_dim}");
            return Err(SpecError::clash(what, "an even number", "rotation works on pairs: use an even head width"));
        }
        if let RopeScaling::Yarn { factor, .. } | RopeScaling::Llama3 { factor, .. } = &self.rope_scaling
            && !(*factor >= 1.0 && factor.is_finite())
        {
            return Err(SpecError::clash(
                format!("rope scaling factor {factor}"),
                "1 or more",
                "4 makes four times the length",
            ));
        }
        if let Some(window) = &self.sliding_window
            && (window.tokens == 0 || window.full_layers > self.num_hidden_layers)
        {
            let what = format!("a window of {} tokens, {} layers without it", window.tokens, window.full_layers);
            let allowed = format!("1 token or more, at most {} layers", self.num_hidden_layers);
            return Err(SpecError::clash(what, &allowed, "compare sliding_window and layer_types"));
        }
        if let Some(mla) = &self.mla {
            mla.validate()?;
        }
        if let Some(moe) = &self.moe {
            moe.validate(self.num_hidden_layers)?;
        }
        self.validate_total()
    }

    /// Sizes that are each in range can still have a product that no counter holds.
    fn validate_total(&self) -> Result<(), SpecError> {
        const LAYERS_MAX: usize = 1 << 14;
        let layers = self.num_hidden_layers.saturating_add(self.num_nextn_predict_layers);
        if layers > LAYERS_MAX {
            let what = format!("{layers} layers");
            return Err(SpecError::clash(what, &format!("at most {LAYERS_MAX}"), "is num_hidden_layers misread?"));
        }
        let width = self.num_attention_heads.max(self.num_key_value_heads) as f64 * self.head_dim as f64;
        let (q, kv) = self.mla.as_ref().map_or((0.0, 0.0), |m| {
            let up = m.qk_nope_head_dim + m.qk_rope_head_dim + m.v_head_dim;
            let heads = (self.num_attention_heads * up) as f64;
            ((m.q_lora_rank.unwrap_or(0) as f64) * heads, m.kv_lora_rank as f64 * heads)
        });
        let d = self.hidden_size as f64;
        let experts = self
            .moe
            .as_ref()
            .map_or(0.0, |moe| (moe.n_routed_experts + moe.n_shared_experts) as f64 * moe.moe_intermediate_size as f64);
        let layer = 4.0 * d * width + q + kv + 3.0 * d * (self.intermediate_size as f64 + experts);
        let total = layers as f64 * layer + 2.0 * d * self.vocab_size as f64;
        match total < 1e16 {
            true => Ok(()),
            false => Err(SpecError::clash(
                format!("about {total:.1e} parameters"),
                "fewer than 1e16",
                "one of the sizes is misread: compare them with the model's report",
            )),
        }
    }

    /// Width of the rotated part of a query or key.
    pub fn rope_dim(&self) -> usize {
        self.mla.as_ref().map_or(self.head_dim, |mla| mla.qk_rope_head_dim)
    }
}

impl MlaSpec {
    fn validate(&self) -> Result<(), SpecError> {
        let sizes = [
            ("q_lora_rank", self.q_lora_rank.unwrap_or(1)),
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("v_head_dim", self.v_head_dim),
        ];
        match sizes.into_iter().find(|(_, value)| !(1..=1 << 20).contains(value)) {
            None => Ok(()),
            Some((key, value)) => {
                let hint = "V3 has ranks of 1536 and 512 and heads of 128, 64 and 128";
                Err(SpecError::clash(format!("{key} = {value}"), "1 to 1048576", hint))
            }
        }
    }
}

impl MoeSpec {
    fn validate(&self, layers: usize) -> Result<(), SpecError> {
        let sizes = [
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
            // There may be none.
            ("n_shared_experts", self.n_shared_experts.max(1)),
        ];
        for (key, value) in sizes {
            if value == 0 || value > 1 << 20 {
                return Err(SpecError::clash(format!("{key} = {value}"), "1 to 1048576", "give the mixture a size"));
            }
        }
        divides("n_routed_experts", self.n_routed_experts, "n_group", self.n_group)?;
        if self.topk_group > self.n_group {
            let what = format!("topk_group = {}", self.topk_group);
            return Err(SpecError::clash(what, &format!("at most n_group = {}", self.n_group), "keep fewer groups"));
        }
        let kept = self.n_routed_experts / self.n_group * self.topk_group;
        if self.num_experts_per_tok > kept {
            let what = format!("num_experts_per_tok = {}", self.num_experts_per_tok);
            let room = format!("at most the {kept} experts of the kept groups");
            return Err(SpecError::clash(what, &room, "keep more groups or choose fewer experts"));
        }
        if self.first_k_dense_replace > layers {
            let what = format!("first_k_dense_replace = {}", self.first_k_dense_replace);
            return Err(SpecError::clash(what, &format!("at most num_hidden_layers = {layers}"), "lower it"));
        }
        Ok(())
    }
}

fn divides(key: &str, value: usize, by_key: &str, by: usize) -> Result<(), SpecError> {
    if by == 0 || !value.is_multiple_of(by) {
        let nearest = (1..=value).filter(|n| value.is_multiple_of(*n)).min_by_key(|n| n.abs_diff(by)).unwrap_or(1);
        let hint = format!("the nearest {by_key} that divides is {nearest}");
        return Err(SpecError::clash(format!("{key} = {value}"), &format!("a multiple of {by_key} = {by}"), &hint));
    }
    Ok(())
}
