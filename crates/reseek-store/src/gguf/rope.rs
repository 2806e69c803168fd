//! Rotary frequencies: the keys `rope.*` and the tensor of factors, as `rope_scaling` of config.json.

use std::f64::consts::PI;

use serde_json::{Map, Value as Json, json};

use super::architecture::Architecture;
use super::config::Keys;
use super::file::Tensors;
use crate::StoreError;

/// Factors of Llama 3's stretching, one a pair, as llama.cpp's converter computes them.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// Adds how frequencies are stretched. `rotary` is the width that is rotated.
pub(super) fn write(
    keys: &Keys<'_>,
    tensors: &Tensors,
    rotary: usize,
    config: &mut Map<String, Json>,
) -> Result<(), StoreError> {
    let linear = keys.optional_number("rope.scale_linear")?;
    let factor = keys.optional_number("rope.scaling.factor")?.or(linear).filter(|&factor| factor != 0.0);
    let attention = keys.optional_number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let context = config["max_position_embeddings"].as_u64().unwrap_or(0) as usize;
    let original = keys.optional_count("rope.scaling.original_context_length")?.unwrap_or(context);
    let type_key = keys.key("rope.scaling.type");
    let stretch = match keys.meta.optional_text(&type_key)?.unwrap_or("linear") {
        "yarn" => Some(yarn(keys, factor.unwrap_or(1.0), original, attention)?),
        "linear" => {
            factor.filter(|&factor| factor != 1.0).map(|factor| json!({"rope_type": "linear", "factor": factor}))
        }
        "none" => None,
        other => {
            let other: String = other.chars().take(60).collect();
            return Err(keys.meta.refused(&type_key, format!("{other:?}"), "none, linear and yarn"));
        }
    };
    let is_yarn = stretch.as_ref().is_some_and(|stretch| stretch["rope_type"] == "yarn");
    if attention != 1.0 && !is_yarn {
        return Err(keys.meta.refused(&keys.key("rope.scaling.attn_factor"), attention, "1 but with YaRN"));
    }
    let factors = match keys.architecture {
        Architecture::Llama if tensors.has(FACTORS) => of_factors(keys, tensors, rotary, config)?,
        _ => None,
    };
    match (stretch, factors) {
        (Some(_), Some(_)) => {
            return Err(keys.meta.refused(&type_key, "set beside a tensor of factors", "one or the other"));
        }
        (Some(stretch), None) | (None, Some(stretch)) => {
            config.insert("rope_scaling".into(), stretch);
        }
        (None, None) => {}
    }
    if keys.architecture == Architecture::Gemma3 {
        let local = keys.optional_number("rope.freq_base_swa")?.unwrap_or(10_000.0);
        config.insert("rope_local_base_freq".into(), json!(local));
    }
    Ok(())
}

/// YaRN. With MLA its two `mscale` are one number, which the file has a tenth of.
fn yarn(keys: &Keys<'_>, factor: f64, original: usize, attention: f64) -> Result<Json, StoreError> {
    let mut stretch = json!({
        "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
        "beta_fast": keys.optional_number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        "beta_slow": keys.optional_number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
    });
    let plain = 0.1 * factor.max(1.0).ln() + 1.0;
    if let Some(given) = keys.optional_number("rope.scaling.yarn_attn_factor")?
        && given != 1.0
        && (given - plain).abs() > 1e-5
    {
        let known = format!("{plain}, which follows from the factor");
        return Err(keys.meta.refused(&keys.key("rope.scaling.yarn_attn_factor"), given, &known));
    }
    let log_key = "rope.scaling.yarn_log_multiplier";
    let multiplier = keys.optional_number(log_key)?.filter(|&multiplier| multiplier != 0.0);
    match (keys.architecture, multiplier) {
        (Architecture::Deepseek2, Some(multiplier)) if attention == 1.0 => {
            // 0.0707 is 0.707, not 0.7070000000000001.
            let mscale = (multiplier * 1e7).round() / 1e6;
            stretch["mscale"] = json!(mscale);
            stretch["mscale_all_dim"] = json!(mscale);
        }
        (Architecture::Deepseek2, Some(_)) => {
            return Err(keys.meta.refused(&keys.key("rope.scaling.attn_factor"), attention, "1 with MLA"));
        }
        (Architecture::Deepseek2, None) => {
            let known = "a tenth of mscale_all_dim, 0.1 in DeepSeek-V3";
            return Err(keys.meta.refused(&keys.key(log_key), "absent", known));
        }
        (_, Some(multiplier)) => return Err(keys.meta.refused(&keys.key(log_key), multiplier, "0 without MLA")),
        (_, None) if attention != 1.0 => stretch["attention_factor"] = json!(attention * plain),
        (_, None) => {}
    }
    Ok(stretch)
}

/// Which stretching has these factors: none, a linear one, or Llama 3's.
fn of_factors(
    keys: &Keys<'_>,
    tensors: &Tensors,
    rotary: usize,
    config: &Map<String, Json>,
) -> Result<Option<Json>, StoreError> {
    let tensor = tensors.get(FACTORS)?;
    if tensor.shape != [rotary / 2] {
        let (path, found) = (keys.meta.path().to_path_buf(), tensor.shape.clone());
        return Err(StoreError::TensorShape { path, name: FACTORS.to_owned(), expected: vec![rotary / 2], found });
    }
    let factors = tensor.kind.values(&tensor.read_rows(0, 1)?);
    if factors.iter().all(|&factor| factor == factors[0]) {
        let factor = f64::from(factors[0]);
        return Ok((factor != 1.0).then(|| json!({"rope_type": "linear", "factor": factor})));
    }
    let theta = config["rope_theta"].as_f64().unwrap_or(0.0);
    let Some(stretch) = Llama3::of(&factors, theta) else {
        let mend = "take the model's Hugging Face folder with safetensors instead";
        let reason = format!("the factors of {FACTORS} are none that Llama 3's stretching has");
        return Err(StoreError::malformed(keys.meta.path(), reason, mend));
    };
    Ok(Some(json!({
        "rope_type": "llama3", "factor": stretch.factor, "low_freq_factor": stretch.low,
        "high_freq_factor": stretch.high, "original_max_position_embeddings": stretch.original,
    })))
}

/// Llama 3's stretching (`RopeScaling::Llama3` of reseek-spec).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Llama3 {
    pub factor: f64,
    pub low: f64,
    pub high: f64,
    pub original: u64,
}

impl Llama3 {
    /// What each pair's frequency θ^(−2i/d) is divided by.
    pub fn factors(self, theta: f64, pairs: usize) -> Vec<f64> {
        let divisor = |i: usize| {
            let turns = self.original as f64 * theta.powf(-(i as f64) / pairs as f64) / (2.0 * PI);
            let smooth = ((turns - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - smooth) / self.factor + smooth)
        };
        (0..pairs).map(divisor).collect()
    }

    /// The stretching whose factors these are. Low, high and old context say one thing too much, so low is 1, as in all models known.
    fn of(factors: &[f32], theta: f64) -> Option<Self> {
        const MEETS: f64 = 1e-4;
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        let meets = |stretch: &Self| {
            let own = stretch.factors(theta, factors.len());
            own.iter().zip(factors).all(|(own, &given)| (own / f64::from(given) - 1.0).abs() < MEETS)
        };
        let known = Self { factor, low: 1.0, high: 4.0, original: 8192 };
        if meets(&known) {
            return Some(known);
        }
        // Between the two plateaus smooth is a·frequency − b with a = old / 2π(high − low) and b = low / (high − low).
        let smooth = |&given: &f32| (1.0 / f64::from(given) - 1.0 / factor) / (1.0 - 1.0 / factor);
        let frequency = |i: usize| theta.powf(-(i as f64) / factors.len() as f64);
        let slope: Vec<(f64, f64)> = (0..factors.len())
            .map(|i| (frequency(i), smooth(&factors[i])))
            .filter(|(_, smooth)| (1e-3..=1.0 - 1e-3).contains(smooth))
            .collect();
        let (&(f0, s0), &(f1, s1)) = (slope.first()?, slope.last()?);
        let (a, b) = match slope.len() {
            // One pair between them leaves one thing more open: high is 4 then, as in all models known.
            1 => ((s0 + 1.0 / 3.0) / f0, 1.0 / 3.0),
            _ => {
                let a = (s0 - s1) / (f0 - f1);
                (a, a * f0 - s0)
            }
        };
        let (high, original) = (1.0 + 1.0 / b, 2.0 * PI * a / b);
        if !(high > 1.0 && high < 1e6 && (1.0..1e9).contains(&original)) {
            return None;
        }
        let original = original.round() as u64;
        [(high * 1e3).round() / 1e3, high].map(|high| Self { factor, low: 1.0, high, original }).into_iter().find(meets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretching_is_found_again_by_its_factors() {
        let stretchings = [
            Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 },
            Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192 },
            Llama3 { factor: 16.0, low: 1.0, high: 2.5, original: 4096 },
        ];
        for stretching in stretchings {
            for (theta, pairs) in [(500_000.0, 64), (500_000.0, 32), (10_000.0, 48)] {
                let factors: Vec<f32> = stretching.factors(theta, pairs).into_iter().map(|f| f as f32).collect();
                assert_eq!(Llama3::of(&factors, theta), Some(stretching), "{theta}, {pairs}");
                let mut bent = factors.clone();
                bent[pairs / 2] *= 1.5;
                assert_eq!(Llama3::of(&bent, theta), None);
            }
        }
        // A small model's, of which one pair is between the plateaus.
        let small = Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 16 };
        let factors: Vec<f32> = small.factors(10_000.0, 6).into_iter().map(|f| f as f32).collect();
        assert_eq!(Llama3::of(&factors, 10_000.0), Some(small));
        for hostile in [[f32::NAN; 4], [f32::INFINITY; 4], [0.0; 4], [-1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 3.0]] {
            assert_eq!(Llama3::of(&hostile, 1e4), None, "{hostile:?}");
        }
    }
}
