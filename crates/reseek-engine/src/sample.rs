//! Drawing a token: temperature, then top-k, then top-p, in the order that Hugging Face applies them.

use reseek_tensor::cross_entropy::{log_softmax_row, temper};

use crate::EngineError;

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token; 1 draws from the model's own distribution.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens whose probabilities reach this; 1 for all.
    pub top_p: f32,
    /// Tokens after which a sequence ends. The stop token is part of the completion.
    pub stop: Vec<u32>,
    /// Most tokens of a completion.
    pub max_new_tokens: usize,
}

impl Sampling {
    /// The model's own distribution, as on-policy RL needs it.
    pub fn on_policy(stop: Vec<u32>, max_new_tokens: usize) -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, stop, max_new_tokens }
    }

    /// # Errors
    /// If a setting is outside of its range.
    pub fn validate(&self) -> Result<(), EngineError> {
        let wrong = |key, value, allowed, hint| Err(EngineError::Setting { key, value, allowed, hint });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong(
                "temperature",
                self.temperature as f64,
                "0 or more",
                "0 is greedy, 0.6 is what R1 was evaluated at",
            );
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", self.top_p as f64, "above 0, at most 1", "1 switches it off");
        }
        if self.max_new_tokens == 0 {
            return wrong("max_new_tokens", 0.0, "1 or more", "give the completion room");
        }
        Ok(())
    }
}

/// One token's distribution: the model's own, and at the temperature that is drawn from.
pub struct Distribution<'a> {
    /// log softmax(logits), of every token of the vocabulary.
    logprobs: &'a [f32],
    /// log softmax(logits / T), with the bits that a trainer at that temperature finds; the model's own at T = 1 and where 0 is greedy.
    tempered: &'a [f32],
    /// Probabilities at T over the greatest.
    weights: &'a [f32],
    /// The greatest of the log-probabilities; not a number where the logits are not.
    greatest: f32,
}

/// Memory for a [`Distribution`], kept from token to token.
#[derive(Default)]
pub struct DistributionScratch {
    tempered: Vec<f32>,
    weights: Vec<f32>,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// Its log-probability under the model itself.
    pub logprob: f32,
    /// Its log-probability under what it was drawn from: temperature, top-k and top-p included; 0 where that is greedy.
    pub behaviour: f32,
}

impl<'a> Distribution<'a> {
    /// Of one row of logits, which become log-probabilities.
    pub fn new(logits: &'a mut [f32], temperature: f32, scratch: &'a mut DistributionScratch) -> Self {
        let DistributionScratch { tempered, weights } = scratch;
        weights.resize(logits.len(), 0.0);
        if temperature == 0.0 || temperature == 1.0 {
            let greatest = log_softmax_row(logits, weights);
            let logprobs: &[f32] = logits;
            return Self { logprobs, tempered: logprobs, weights, greatest };
        }
        tempered.clear();
        tempered.extend_from_slice(logits);
        temper(tempered, temperature);
        log_softmax_row(logits, weights);
        let greatest = log_softmax_row(tempered, weights);
        Self { logprobs: logits, tempered, weights, greatest }
    }

    /// The token that `uniform` in [0, 1) draws, or nothing where the logits were not numbers.
    ///
    /// Without truncation the vocabulary is walked in order, so the draw costs one pass.
    pub fn pick(&self, sampling: &Sampling, uniform: f64) -> Option<Drawn> {
        if !self.greatest.is_finite() {
            return None;
        }
        let drawn = |token: usize, behaviour| Drawn { token: token as u32, logprob: self.logprobs[token], behaviour };
        if sampling.temperature == 0.0 {
            return self.logprobs.iter().position(|&l| l == self.greatest).map(|best| drawn(best, 0.0));
        }
        let whole = sampling.top_p >= 1.0 && (sampling.top_k == 0 || sampling.top_k >= self.weights.len());
        if whole {
            return walk(self.weights, uniform).map(|token| drawn(token, self.tempered[token]));
        }
        let candidates = nucleus(self.weights, sampling);
        let weights: Vec<f32> = candidates.iter().map(|&(_, w)| w).collect();
        let mass = sum(&candidates);
        walk(&weights, uniform).map(|i| drawn(candidates[i].0 as usize, (candidates[i].1 as f64 / mass).ln() as f32))
    }
}

/// The tokens that top-k and top-p leave of all, by their weights, most likely first.
fn nucleus(weights: &[f32], sampling: &Sampling) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = weights.iter().enumerate().map(|(i, &w)| (i as u32, w)).collect();
    let keep = if sampling.top_k == 0 { all.len() } else { sampling.top_k.min(all.len()) };
    // Most of the vocabulary has next to no weight: sort the likely part alone if it already holds the nucleus.
    let likely: Vec<(u32, f32)> = all.iter().copied().filter(|&(_, w)| w > 1e-4).collect();
    let (likely_mass, mass) = (sum(&likely), sum(&all));
    if sampling.top_k == 0 && likely_mass >= sampling.top_p as f64 * mass {
        all = likely;
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(keep);
    let mass = if sampling.top_k == 0 { mass } else { sum(&all) };
    let mut seen = 0.0;
    let last = all.iter().position(|&(_, w)| {
        seen += w as f64;
        seen >= sampling.top_p as f64 * mass
    });
    all.truncate(last.map_or(all.len(), |i| i + 1));
    all
}

fn sum(weights: &[(u32, f32)]) -> f64 {
    weights.iter().map(|&(_, w)| w as f64).sum()
}

/// The index at which the running sum passes `uniform` of the whole; the last that has weight where rounding leaves none.
fn walk(weights: &[f32], uniform: f64) -> Option<usize> {
    /// One running sum over a large vocabulary waits for each addition; sums of blocks do not.
    const BLOCK: usize = 64;
    let blocks: Vec<f64> = weights.chunks(BLOCK).map(|block| block.iter().map(|&w| w as f64).sum()).collect();
    let mut left = uniform * blocks.iter().sum::<f64>();
    for (block, (mass, weights)) in blocks.iter().zip(weights.chunks(BLOCK)).enumerate() {
        if left >= *mass {
            left -= mass;
            continue;
        }
        for (i, &w) in weights.iter().enumerate() {
            left -= w as f64;
            if left < 0.0 {
                return Some(block * BLOCK + i);
            }
        }
    }
    weights.iter().rposition(|&w| w > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_k: usize, top_p: f32) -> Sampling {
        Sampling { temperature, top_k, top_p, stop: vec![], max_new_tokens: 1 }
    }

    fn pick(logits: &[f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
        let (mut logits, mut scratch) = (logits.to_vec(), DistributionScratch::default());
        let drawn = Distribution::new(&mut logits, sampling.temperature, &mut scratch).pick(sampling, uniform);
        drawn.map(|drawn| drawn.token)
    }

    fn shares(logprobs: &[f32], sampling: &Sampling) -> Vec<f64> {
        let draws = 20_000;
        let mut counts = vec![0usize; logprobs.len()];
        (0..draws)
            .for_each(|i| counts[pick(logprobs, sampling, (i as f64 + 0.5) / draws as f64).unwrap() as usize] += 1);
        counts.into_iter().map(|c| c as f64 / draws as f64).collect()
    }

    #[test]
    fn draws_follow_the_settings() {
        let p = [0.1f32, 0.5, 0.25, 0.15];
        let logprobs: Vec<f32> = p.iter().map(|p| p.ln()).collect();
        let check = |settings: Sampling, expect: [f64; 4]| {
            for (share, expect) in shares(&logprobs, &settings).iter().zip(expect) {
                assert!((share - expect).abs() < 2e-4, "{settings:?}: {share} for {expect}");
            }
        };
        check(sampling(0.0, 0, 1.0), [0.0, 1.0, 0.0, 0.0]);
        check(sampling(1.0, 0, 1.0), [0.1, 0.5, 0.25, 0.15]);
        check(sampling(1.0, 2, 1.0), [0.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]);
        check(sampling(1.0, 0, 0.6), [0.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]);
        check(sampling(1.0, 1, 0.9), [0.0, 1.0, 0.0, 0.0]);
        let squares: f64 = p.iter().map(|&p| (p * p) as f64).sum();
        check(sampling(0.5, 0, 1.0), [0.01 / squares, 0.25 / squares, 0.0625 / squares, 0.0225 / squares]);
    }

    /// What is recorded beside a token is how often it is drawn, whatever the settings: an importance ratio divides by it.
    #[test]
    fn the_recorded_probability_is_that_of_the_draw() {
        let logprobs: Vec<f32> = [0.1f32, 0.5, 0.25, 0.15].iter().map(|p| p.ln()).collect();
        for settings in [
            sampling(1.0, 0, 1.0),
            sampling(0.7, 0, 1.0),
            sampling(1.4, 3, 1.0),
            sampling(0.7, 0, 0.8),
            sampling(0.0, 0, 1.0),
        ] {
            let shares = shares(&logprobs, &settings);
            for i in 0..200 {
                let (mut logits, mut scratch) = (logprobs.clone(), DistributionScratch::default());
                let distribution = Distribution::new(&mut logits, settings.temperature, &mut scratch);
                let drawn = distribution.pick(&settings, (i as f64 + 0.5) / 200.0).unwrap();
                let share = shares[drawn.token as usize];
                assert!(
                    (drawn.behaviour.exp() as f64 - share).abs() < 2e-4,
                    "{settings:?}: {drawn:?}, drawn in {share}"
                );
                assert!((drawn.logprob - logprobs[drawn.token as usize]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_likely_part_gives_the_same_nucleus_as_the_whole() {
        let logprobs: Vec<f32> = (0..500).map(|i| -0.05 * ((i * 7919) % 500) as f32).collect();
        for top_p in [0.1, 0.5, 0.9, 0.99, 0.99999] {
            let settings = sampling(0.6, 0, top_p);
            let weights: Vec<f32> = logprobs.iter().map(|l| (l / 0.6).exp()).collect();
            let nucleus = nucleus(&weights, &settings);
            let total: f64 = weights.iter().map(|&w| w as f64).sum();
            let mass = |n: usize| nucleus[..n].iter().map(|&(_, w)| w as f64).sum::<f64>() / total;
            assert!(mass(nucleus.len()) >= top_p as f64 - 1e-7);
            assert!(mass(nucleus.len() - 1) < top_p as f64);
        }
    }

    #[test]
    fn broken_numbers_draw_nothing() {
        assert_eq!(pick(&[0.0, f32::NAN], &sampling(1.0, 0, 1.0), 0.5), None);
        assert_eq!(pick(&[f32::NEG_INFINITY; 2], &sampling(1.0, 0, 1.0), 0.5), None);
        assert_eq!(pick(&[f32::NEG_INFINITY, 0.0], &sampling(1.0, 0, 1.0), 0.999_999_999), Some(1));
        assert!(sampling(f32::NAN, 0, 1.0).validate().is_err());
        assert!(sampling(1.0, 0, 0.0).validate().is_err());
    }
}
