//! Supervised fine-tuning: the loss is on the answers alone, the end-of-sentence token among them; samples do not see each other.

use reseek_spec::SftRecipe;
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::random::Stream;

use crate::{Hyper, Sequence, StepSettings, cosine};

/// A prompt and the answer to learn, as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// With the begin-of-sentence token.
    pub prompt: Vec<u32>,
    /// With the end-of-sentence token.
    pub answer: Vec<u32>,
}

impl Example {
    /// Tokens and the token after each: nothing to learn within the prompt.
    ///
    /// # Panics
    /// If prompt or answer is empty.
    pub fn sequence(&self) -> Sequence {
        assert!(!self.prompt.is_empty() && !self.answer.is_empty(), "an example has a prompt and an answer");
        let mut tokens = self.prompt.clone();
        tokens.extend_from_slice(&self.answer[..self.answer.len() - 1]);
        let mut targets = vec![IGNORE; self.prompt.len() - 1];
        targets.extend_from_slice(&self.answer);
        (tokens, targets)
    }
}

/// Steps of `epochs` over `n` examples.
pub fn sft_steps(n: usize, recipe: &SftRecipe) -> u64 {
    (n.div_ceil(recipe.sequences.max(1)) * recipe.epochs) as u64
}

/// The examples of a step: every epoch goes through all of them in an order of its own.
pub fn sft_batch(examples: &[Example], recipe: &SftRecipe, seed: u64, purpose: &str, step: u64) -> Vec<Sequence> {
    let per_epoch = examples.len().div_ceil(recipe.sequences.max(1)) as u64;
    let mut order: Vec<usize> = (0..examples.len()).collect();
    Stream::new(seed, purpose, step / per_epoch, 0).shuffle(&mut order);
    let from = (step % per_epoch) as usize * recipe.sequences;
    let to = (from + recipe.sequences).min(examples.len());
    order[from..to].iter().map(|&i| examples[i].sequence()).collect()
}

/// Settings of a step: cosine from `lr` to `lr_final` after a short warm-up; no MTP and balancing at rest, as the base left it.
pub fn sft_settings(recipe: &SftRecipe, step: u64, steps: u64, lanes: usize) -> StepSettings {
    let warmup = ((steps as f64 * recipe.warmup_fraction) as u64).max(1);
    let lr = if step < warmup {
        recipe.lr * (step + 1) as f64 / warmup as f64
    } else {
        cosine(recipe.lr, recipe.lr_final, (step - warmup) as f64 / (steps - warmup).max(1) as f64)
    };
    let SftRecipe { beta1, beta2, weight_decay, clip, .. } = *recipe;
    let hyper = Hyper { lr, beta1, beta2, weight_decay, clip };
    StepSettings { hyper, mtp_lambda: 0.0, mtp_share: 0.0, balance_alpha: 0.0, bias_speed: 0.0, lanes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_on_the_answer_and_its_end() {
        let (tokens, targets) = Example { prompt: vec![0, 7, 8], answer: vec![5, 6, 1] }.sequence();
        assert_eq!(tokens, [0, 7, 8, 5, 6]);
        assert_eq!(targets, [IGNORE, IGNORE, 5, 6, 1]);
    }

    #[test]
    fn an_epoch_sees_every_example_once() {
        let examples: Vec<Example> = (0..10).map(|i| Example { prompt: vec![0], answer: vec![i, 1] }).collect();
        let recipe = SftRecipe {
            epochs: 2,
            lr: 1.0,
            lr_final: 0.1,
            sequences: 4,
            warmup_fraction: 0.05,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.0,
            clip: 1.0,
        };
        assert_eq!(sft_steps(10, &recipe), 6);
        for epoch in 0..2 {
            let mut seen: Vec<u32> = (0..3)
                .flat_map(|i| sft_batch(&examples, &recipe, 1, "test", 3 * epoch + i))
                .map(|(_, targets)| targets[0])
                .collect();
            assert_ne!(seen, (0..10).collect::<Vec<_>>());
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        assert!(sft_settings(&recipe, 5, 6, 1).hyper.lr < 0.3);
    }
}
