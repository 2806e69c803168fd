//! Rotary frequencies and the scale of the scores.

use std::f64::consts::PI;

use crate::{Family, ModelSpec, SpecError};

/// How rotary frequencies are stretched beyond the length of pre-training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency is divided by `factor` (Chen et al. 2023).
    Linear {
        /// New context over old.
        factor: f64,
    },
    /// The base grows with sequences longer than `max_position_embeddings` ("dynamic NTK"). No position here lies beyond it, and up to it
    /// the table is the unstretched one, as transformers computes it too.
    Dynamic {
        /// New context over old.
        factor: f64,
    },
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
        /// The factor on cosines and sines itself, where it is not to follow from the two.
        attention_factor: Option<f64>,
        /// The ends of the blend are rounded outwards to whole pairs.
        truncate: bool,
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

/// What a rotary table is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How these are stretched.
    pub scaling: RopeScaling,
}

/// A rotary table: what [`ModelSpec::rotary_tables`] says of each.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryTable {
    /// Radians a position, one a pair.
    pub inv_freq: Vec<f64>,
    /// Factor on the cosines and sines.
    pub mscale: f64,
}

impl ModelSpec {
    /// The model's rotary tables: that of layers that see everything, then that of windowed layers where these have their own.
    pub fn rotary_tables(&self) -> Vec<RotaryTable> {
        let table = |rope: &Rope| RotaryTable { inv_freq: rope.inv_freq(self.rope_dim()), mscale: rope.mscale() };
        [Some(&self.rope()), self.local_rope.as_ref()].into_iter().flatten().map(table).collect()
    }

    /// Which of [`ModelSpec::rotary_tables`] layer `layer` rotates its queries and keys by, if it does.
    pub fn rotary_of(&self, layer: usize) -> Option<usize> {
        if self.no_rope_layers.binary_search(&layer).is_ok() {
            return None;
        }
        Some(usize::from(self.local_rope.is_some() && self.window_of(layer).is_some()))
    }

    /// The rotary table of layers that see everything.
    pub fn rope(&self) -> Rope {
        Rope { theta: self.rope_theta, scaling: self.rope_scaling.clone() }
    }

    /// Rotary frequencies of layers that see everything, in radians a position, one a pair: θ^(−2i/d), stretched where the model asks for it.
    pub fn inv_freq(&self) -> Vec<f64> {
        self.rope().inv_freq(self.rope_dim())
    }

    /// Factor on the cosines and sines of the same: mscale over mscale_all_dim of YaRN, else 1.
    pub fn attention_mscale(&self) -> f64 {
        self.rope().mscale()
    }

    /// Factor on the scores: d^−½, with MLA under YaRN times mscale²; of Gemma q^−½ with a q of its own.
    pub fn softmax_scale(&self) -> f64 {
        let scale = self.query_pre_attn_scalar.unwrap_or(self.head_dim as f64).powf(-0.5);
        match (&self.mla, &self.rope_scaling) {
            (Some(_), RopeScaling::Yarn { factor, mscale_all_dim, .. }) => {
                scale * yarn_mscale(*factor, *mscale_all_dim).powi(2)
            }
            _ => scale,
        }
    }

    /// Factor on the embeddings in f32: the root of their width (Gemma), else 1.
    pub fn embedding_scale(&self) -> f32 {
        if self.family.scales_embedding() { (self.hidden_size as f64).sqrt() as f32 } else { 1.0 }
    }

    pub(crate) fn validate_rope(&self) -> Result<(), SpecError> {
        let rope_dim = self.rope_dim();
        if rope_dim == 0 || !rope_dim.is_multiple_of(2) {
            let what = format!("rotary width {rope_dim}");
            return Err(SpecError::clash(what, "an even number", "rotation works on pairs: use an even head width"));
        }
        self.rope().validate()?;
        self.local_rope.iter().try_for_each(Rope::validate)?;
        let has_table = self.local_rope.is_none() || self.sliding_window.is_some();
        if !(has_table && (self.local_rope.is_none() || self.family.has_local_rope())) {
            let what = format!("a rotary table of sliding windows in {:?}", self.family);
            return Err(SpecError::clash(what, "a model of OLMo 3 or Gemma 3 with a window", "leave it out"));
        }
        if self.llama_4_scaling_beta != 0.0 {
            let is_yarn = matches!(self.rope_scaling, RopeScaling::Yarn { .. });
            if !(self.family == Family::Ministral3 && is_yarn && self.llama_4_scaling_beta.is_finite()) {
                let what = format!("llama_4_scaling_beta = {}", self.llama_4_scaling_beta);
                return Err(SpecError::clash(what, "a number, and only in ministral3 under yarn", "leave it out"));
            }
        }
        Ok(())
    }
}

impl Rope {
    /// Frequencies of `d / 2` pairs, in radians a position.
    pub fn inv_freq(&self, d: usize) -> Vec<f64> {
        let plain = (0..d / 2).map(|i| self.theta.powf(-2.0 * i as f64 / d as f64));
        match &self.scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Yarn { factor, .. } => {
                let (low, high) = self.yarn_range(d as f64);
                let keep = |i: usize| 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain.enumerate().map(|(i, f)| f / factor * (1.0 - keep(i)) + f * keep(i)).collect()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let original = *original_max_position_embeddings as f64;
                let stretch = |f: f64| {
                    let turns = original * f / (2.0 * PI);
                    let smooth = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - smooth) * f / factor + smooth * f
                };
                plain.map(stretch).collect()
            }
        }
    }

    /// Factor on the cosines and sines.
    pub fn mscale(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn { attention_factor: Some(factor), .. } => *factor,
            RopeScaling::Yarn { factor, mscale, mscale_all_dim, .. } => {
                yarn_mscale(*factor, *mscale) / yarn_mscale(*factor, *mscale_all_dim)
            }
            _ => 1.0,
        }
    }

    /// The pairs between which YaRN blends from kept to stretched frequencies.
    fn yarn_range(&self, d: f64) -> (f64, f64) {
        let RopeScaling::Yarn { original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } = &self.scaling
        else {
            return (0.0, 1.0);
        };
        let original = *original_max_position_embeddings as f64;
        let pair = |turns: f64| d * (original / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
        let (low, high) = (pair(*beta_fast), pair(*beta_slow));
        let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(d - 1.0));
        // Equal ends would divide by zero; transformers moves them apart in the same way.
        (low, if high == low { high + 0.001 } else { high })
    }

    fn validate(&self) -> Result<(), SpecError> {
        if !(self.theta > 0.0 && self.theta.is_finite()) {
            let what = format!("rope_theta = {}", self.theta);
            return Err(SpecError::clash(what, "a number above 0", "use 10000"));
        }
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor } => stretches(*factor),
            RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
                stretches(*factor)?;
                is_context(*original_max_position_embeddings)?;
                self.validate_yarn()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                stretches(*factor)?;
                is_context(*original_max_position_embeddings)?;
                let (low, high) = (*low_freq_factor, *high_freq_factor);
                match low > 0.0 && low < high && high.is_finite() {
                    true => Ok(()),
                    false => {
                        let what = format!("low_freq_factor = {low} with high_freq_factor = {high}");
                        let allowed = "two numbers above 0, the second the larger";
                        Err(SpecError::clash(what, allowed, "Llama 3.1 has 1 and 4"))
                    }
                }
            }
        }
    }

    fn validate_yarn(&self) -> Result<(), SpecError> {
        let RopeScaling::Yarn { beta_fast, beta_slow, mscale, mscale_all_dim, attention_factor, .. } = &self.scaling
        else {
            return Ok(());
        };
        if self.theta <= 1.0 {
            let what = format!("rope_theta = {} under yarn", self.theta);
            return Err(SpecError::clash(what, "more than 1", "use 10000"));
        }
        if !(*beta_slow > 0.0 && beta_slow < beta_fast && beta_fast.is_finite()) {
            let what = format!("beta_fast = {beta_fast} with beta_slow = {beta_slow}");
            let allowed = "two numbers above 0, the first the larger";
            return Err(SpecError::clash(what, allowed, "32 and 1 are YaRN's own"));
        }
        let scales = [*mscale, *mscale_all_dim, attention_factor.unwrap_or(1.0)];
        match scales.iter().all(|m| (0.0..=1e3).contains(m)) && *attention_factor != Some(0.0) {
            true => Ok(()),
            false => {
                let what = format!("mscale, mscale_all_dim and attention_factor of {scales:?}");
                let allowed = "numbers from 0 to 1000, the last above 0";
                Err(SpecError::clash(what, allowed, "1, 1 and none leave scores alone"))
            }
        }
    }
}

fn stretches(factor: f64) -> Result<(), SpecError> {
    match factor >= 1.0 && factor.is_finite() {
        true => Ok(()),
        false => {
            Err(SpecError::clash(format!("rope scaling factor {factor}"), "1 or more", "4 makes four times the length"))
        }
    }
}

fn is_context(original: usize) -> Result<(), SpecError> {
    match (1..=1 << 24).contains(&original) {
        true => Ok(()),
        false => {
            let what = format!("original_max_position_embeddings = {original}");
            Err(SpecError::clash(what, "1 to 16777216", "V3 has 4096"))
        }
    }
}

/// YaRN's attention factor 0.1·m·ln(factor) + 1.
pub(crate) fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 || mscale == 0.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}
