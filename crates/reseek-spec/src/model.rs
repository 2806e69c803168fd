//! What a model is: its family, its sizes, and the tensors that follow from them.

use crate::parts::{ascending, divides};
use crate::{Family, MlaSpec, MoeSpec, Rope, RopeScaling, SpecError};

/// Layers there can be at most: what is said layer by layer stays small.
pub(crate) const LAYERS_MAX: usize = 1 << 14;

/// Layers of an MTP module at most.
const MTP_MAX: usize = 16;

/// What a feed-forward network does to its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by its approximation with a hyperbolic tangent.
    GeluTanh,
}

/// Layers that attend to the last tokens only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Tokens that such a layer sees, its own among them.
    pub tokens: usize,
    /// Layers that see everything all the same, in ascending order.
    pub full_layers: Vec<usize>,
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
    /// Of a feed-forward network, experts included.
    pub hidden_act: Activation,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How these are stretched.
    pub rope_scaling: RopeScaling,
    /// Share of a head's width that is rotated, its first part; 1 in most.
    pub partial_rotary_factor: f64,
    /// The rotary table of layers with a sliding window, where it is not the others'.
    pub local_rope: Option<Rope>,
    /// Layers that rotate nothing, in ascending order (SmolLM3).
    pub no_rope_layers: Vec<usize>,
    /// β of Ministral 3, which multiplies queries at position p by 1 + β·ln(1 + ⌊p / old context⌋); 0 in others.
    pub llama_4_scaling_beta: f64,
    /// q of the factor q^−½ on Gemma's scores; in others the head's width.
    pub query_pre_attn_scalar: Option<f64>,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases on q, k and v, in most families on o too; with MLA on the maps into both latents and on o.
    pub attention_bias: bool,
    /// Biases on gate, up and down of dense networks and shared experts.
    pub mlp_bias: bool,
    /// Norms on q and k: of each head (Qwen3, GLM 4.5), of all heads together in OLMo 2 and 3.
    pub qk_norm: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Token before a text.
    pub bos_token_id: u32,
    /// Token behind one.
    pub eos_token_id: u32,
    /// Further tokens that end a text.
    pub other_eos_token_ids: Vec<u32>,
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
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            let what = format!("rms_norm_eps = {}", self.rms_norm_eps);
            return Err(SpecError::clash(what, "a number above 0 and below 1", "use 1e-6"));
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            let what = format!("initializer_range = {}", self.initializer_range);
            return Err(SpecError::clash(what, "0 or more", "use 0.02"));
        }
        if !(self.partial_rotary_factor > 0.0 && self.partial_rotary_factor <= 1.0) {
            let what = format!("partial_rotary_factor = {}", self.partial_rotary_factor);
            return Err(SpecError::clash(what, "a share above 0, at most 1", "1 rotates whole heads"));
        }
        if let Some(scalar) = self.query_pre_attn_scalar
            && !(scalar > 0.0 && scalar <= (1 << 24) as f64)
        {
            let what = format!("query_pre_attn_scalar = {scalar}");
            return Err(SpecError::clash(what, "a number above 0, at most 16777216", "use the head's width"));
        }
        self.validate_total()?;
        self.validate_rope()?;
        self.validate_layers()?;
        if let Some(mla) = &self.mla {
            mla.validate()?;
            if self.num_key_value_heads != self.num_attention_heads {
                let what = format!("num_key_value_heads = {} with latent attention", self.num_key_value_heads);
                let allowed = format!("as many as num_attention_heads = {}", self.num_attention_heads);
                return Err(SpecError::clash(what, &allowed, "every head expands keys and values of its own"));
            }
        }
        match &self.moe {
            Some(moe) => self.validate_mixture(moe),
            None => Ok(()),
        }
    }

    fn validate_layers(&self) -> Result<(), SpecError> {
        ascending("no_rope_layers", &self.no_rope_layers, self.num_hidden_layers)?;
        let Some(window) = &self.sliding_window else { return Ok(()) };
        if window.tokens == 0 {
            let hint = "leave sliding_window out for none";
            return Err(SpecError::clash("sliding_window = 0".to_string(), "1 token or more", hint));
        }
        if self.mla.is_some() {
            let what = format!("sliding_window = {} with latent attention", window.tokens);
            return Err(SpecError::clash(what, "no window", "no model with both is known"));
        }
        ascending("the layers without a window", &window.full_layers, self.num_hidden_layers)
    }

    fn validate_mixture(&self, moe: &MoeSpec) -> Result<(), SpecError> {
        moe.validate(self.num_hidden_layers)?;
        let (shared, width) = (moe.shared_expert_intermediate_size, moe.moe_intermediate_size);
        if self.family != Family::Qwen2Moe && !shared.is_multiple_of(width) {
            let what = format!("a shared expert of width {shared}");
            let allowed = format!("a multiple of moe_intermediate_size = {width}");
            return Err(SpecError::clash(what, &allowed, "it counts as whole experts side by side"));
        }
        if self.family == Family::Mixtral && self.intermediate_size != width {
            let what = format!("experts of width {width}");
            let allowed = format!("intermediate_size = {}", self.intermediate_size);
            return Err(SpecError::clash(what, &allowed, "Mixtral has no width of its own for them"));
        }
        Ok(())
    }

    /// Sizes that are each in range can still have a product that no counter holds.
    fn validate_total(&self) -> Result<(), SpecError> {
        if self.num_nextn_predict_layers > MTP_MAX {
            let what = format!("num_nextn_predict_layers = {}", self.num_nextn_predict_layers);
            return Err(SpecError::clash(what, &format!("at most {MTP_MAX}"), "V3 has 1"));
        }
        let layers = self.num_hidden_layers.saturating_add(self.num_nextn_predict_layers);
        if layers > LAYERS_MAX {
            let what = format!("{layers} layers");
            return Err(SpecError::clash(what, &format!("at most {LAYERS_MAX}"), "is num_hidden_layers misread?"));
        }
        let width = self.num_attention_heads.max(self.num_key_value_heads) as f64 * self.head_dim as f64;
        let d = self.hidden_size as f64;
        let latents = self.mla.as_ref().map_or(0.0, |m| {
            let (q, kv) = (m.q_lora_rank.unwrap_or(0) as f64, m.kv_lora_rank as f64);
            let up = m.qk_nope_head_dim as f64 + m.qk_rope_head_dim as f64 + m.v_head_dim as f64;
            (q + kv + d) * self.num_attention_heads as f64 * up + d * (q + kv + m.qk_rope_head_dim as f64)
        });
        let experts = self.moe.as_ref().map_or(0.0, |moe| {
            let (count, width) = (moe.n_routed_experts as f64, moe.moe_intermediate_size as f64);
            count * (width + 1.0) + moe.shared_expert_intermediate_size as f64
        });
        // 2·d² is the projection of an MTP module.
        let layer = (4.0 * width + 2.0 * d) * d + latents + 3.0 * d * (self.intermediate_size as f64 + experts);
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
        let whole = self.mla.as_ref().map_or(self.head_dim, |mla| mla.qk_rope_head_dim);
        // Rounded down, as transformers does it.
        (whole as f64 * self.partial_rotary_factor) as usize
    }

    /// Tokens that a query of layer `layer` sees, its own among them, where it does not see all before it. A layer behind the last, the MTP
    /// module's, sees all.
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        let window = self.sliding_window.as_ref().filter(|_| layer < self.num_hidden_layers)?;
        window.full_layers.binary_search(&layer).is_err().then_some(window.tokens)
    }

    /// Whether layer `layer` has the mixture in the dense network's place.
    pub fn is_mixture(&self, layer: usize) -> bool {
        self.moe.as_ref().is_some_and(|moe| moe.is_in(layer))
    }

    /// Layers with a mixture, those of the MTP module not counted.
    pub fn mixture_layers(&self) -> usize {
        (0..self.num_hidden_layers).filter(|&layer| self.is_mixture(layer)).count()
    }

    /// Whether attention's output has a bias.
    pub fn has_output_bias(&self) -> bool {
        self.attention_bias && self.family.has_output_bias()
    }

    /// Factor of a query at `position`, [`ModelSpec::llama_4_scaling_beta`]'s.
    pub fn query_scale(&self, position: usize) -> f64 {
        match &self.rope_scaling {
            RopeScaling::Yarn { original_max_position_embeddings, .. } if self.llama_4_scaling_beta != 0.0 => {
                1.0 + self.llama_4_scaling_beta * ((1 + position / original_max_position_embeddings) as f64).ln()
            }
            _ => 1.0,
        }
    }

    /// Every token that ends a text, `eos_token_id` first.
    pub fn eos_token_ids(&self) -> Vec<u32> {
        [self.eos_token_id].into_iter().chain(self.other_eos_token_ids.iter().copied()).collect()
    }
}

impl SlidingWindow {
    /// A window in every layer.
    pub fn everywhere(tokens: usize) -> Self {
        Self { tokens, full_layers: Vec::new() }
    }

    /// A window in all layers of `layers` but every `period`th.
    pub fn but_every(period: usize, tokens: usize, layers: usize) -> Self {
        let full_layers = (0..layers).filter(|layer| (layer + 1).is_multiple_of(period)).collect();
        Self { tokens, full_layers }
    }
}
