//! Rotary frequencies and the scale of the scores.

use std::f64::consts::PI;

use crate::{ModelSpec, RopeScaling};

impl ModelSpec {
    /// Rotary frequencies in radians a position, one a pair: θ^(−2i/d), stretched by YaRN (Peng et al. 2023, "NTK-by-parts") or by
    /// Llama 3's rule where the model asks for it.
    pub fn inv_freq(&self) -> Vec<f64> {
        let d = self.rope_dim();
        let plain = (0..d / 2).map(|i| self.rope_theta.powf(-2.0 * i as f64 / d as f64));
        match &self.rope_scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, .. } => {
                let (low, high) = self.yarn_range(*beta_fast, *beta_slow, *original_max_position_embeddings as f64);
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

    /// Factor on the cosines and sines: mscale over mscale_all_dim of YaRN, else 1.
    pub fn attention_mscale(&self) -> f64 {
        match &self.rope_scaling {
            RopeScaling::Yarn { factor, mscale, mscale_all_dim, .. } => {
                yarn_mscale(*factor, *mscale) / yarn_mscale(*factor, *mscale_all_dim)
            }
            _ => 1.0,
        }
    }

    /// Factor on the scores: d^−½, with MLA under YaRN times mscale².
    pub fn softmax_scale(&self) -> f64 {
        let scale = (self.head_dim as f64).powf(-0.5);
        match (&self.mla, &self.rope_scaling) {
            (Some(_), RopeScaling::Yarn { factor, mscale_all_dim, .. }) => {
                scale * yarn_mscale(*factor, *mscale_all_dim).powi(2)
            }
            _ => scale,
        }
    }

    /// The pairs between which YaRN blends from kept to stretched frequencies.
    fn yarn_range(&self, beta_fast: f64, beta_slow: f64, original: f64) -> (f64, f64) {
        let d = self.rope_dim() as f64;
        let pair = |turns: f64| d * (original / (turns * 2.0 * PI)).ln() / (2.0 * self.rope_theta.ln());
        let low = pair(beta_fast).floor().max(0.0);
        let high = pair(beta_slow).ceil().min(d - 1.0);
        // Equal ends would divide by zero; transformers moves them apart in the same way.
        (low, if high == low { high + 0.001 } else { high })
    }
}

/// YaRN's attention factor 0.1·m·ln(factor) + 1.
fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 || mscale == 0.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}
