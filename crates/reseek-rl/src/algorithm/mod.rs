//! How graded samples become a gradient: advantage × ratio × term × reduction.
//!
//! For a mini-batch of sequences i with tokens t, with π = softmax(z/T) at the temperature T that the samples were drawn at:
//!
//! loss = Σᵢ Σₜ reductionᵢ · term(ratioᵢₜ, advantageᵢ, log πᵢₜ, log π_refᵢₜ)
//!
//! An algorithm names one of each. A new one is a file beside `grpo.rs`, with whatever part of it is new, and its line in [`TABLE`].

pub mod advantage;
mod grpo;
mod gspo;
pub mod ratio;
pub mod reduction;
pub mod term;

use reseek_spec::RlRecipe;

use crate::RlError;

pub use ratio::Ratio;
pub use reduction::Sizes;
pub use term::{Policies, Term, TermSettings};

/// The four parts of an algorithm.
#[derive(Debug)]
pub struct Algorithm {
    /// Its name in the recipe.
    pub name: &'static str,
    /// Advantage A of each sample of a group, from their rewards; 0 for a sample that has none.
    pub advantages: fn(&[Option<f64>]) -> Vec<f32>,
    /// How far the policy has moved from the one that sampled.
    pub ratio: Ratio,
    /// A token's part of the loss and its slope.
    pub term: fn(&Policies, &TermSettings) -> Term,
    /// What each token of a sequence counts in the sum.
    pub reduction: fn(&Sizes) -> f32,
}

/// Every algorithm that a recipe may name.
pub const TABLE: [&Algorithm; 2] = [&grpo::GRPO, &gspo::GSPO];

/// The algorithm that `recipe` names.
///
/// # Errors
/// If there is none of that name.
pub fn of(recipe: &RlRecipe) -> Result<&'static Algorithm, RlError> {
    let name = &recipe.algorithm;
    let found = TABLE.into_iter().find(|algorithm| algorithm.name == name);
    found.ok_or_else(|| RlError::unknown("algorithm", name, TABLE.iter().map(|algorithm| algorithm.name)))
}

/// What is known of a sampled token before the policy is asked again.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// log π_old: of the distribution that the token was drawn from.
    pub old: f32,
    /// log π_ref of the reference.
    pub reference: f32,
    /// The sample's advantage A.
    pub advantage: f32,
    /// What the token counts, by the reduction.
    pub share: f32,
}

impl Algorithm {
    /// The term of a token with the policy's log-probability `logp`, whose ratio, or whose sequence's, is `ratio`.
    pub fn token(&self, logp: f32, known: &Known, ratio: f32, settings: &TermSettings) -> Term {
        let Known { reference, advantage, share, .. } = *known;
        (self.term)(&Policies { logp, reference, ratio, advantage, share }, settings)
    }

    /// The terms of a sequence's tokens, from the policy's log-probabilities of them.
    pub fn sequence(&self, logprobs: &[f32], known: &[Known], settings: &TermSettings) -> Vec<Term> {
        let tokens = logprobs.iter().zip(known);
        match self.ratio {
            Ratio::OfToken(ratio) => {
                tokens.map(|(&logp, known)| self.token(logp, known, ratio(logp, known.old), settings)).collect()
            }
            Ratio::OfSequence(ratio) => {
                let old: Vec<f32> = known.iter().map(|known| known.old).collect();
                let ratio = ratio(logprobs, &old);
                tokens.map(|(&logp, known)| self.token(logp, known, ratio, settings)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slope that a loss says it has is that of its value, for every algorithm and on both sides of the clip.
    #[test]
    fn gradients_are_derivatives() {
        let settings = TermSettings { clip_epsilon: 0.2, kl_beta: 0.04 };
        let logprobs = [-0.5f32, -2.0, -0.1, -3.0, -1.0];
        for algorithm in TABLE {
            for (advantage, old) in
                [(-1.3, [-0.6, -1.9, -0.2, -3.2, -1.1]), (0.4, [-0.6, -1.9, -1.0, -1.0, -1.1]), (0.7, [-2.0; 5])]
            {
                let known = old.map(|old| Known { old, reference: old - 0.3, advantage, share: 0.125 });
                let loss = |logprobs: &[f32]| {
                    algorithm.sequence(logprobs, &known, &settings).iter().map(|term| term.loss as f64).sum::<f64>()
                };
                let terms = algorithm.sequence(&logprobs, &known, &settings);
                for (i, term) in terms.iter().enumerate() {
                    let moved = |by: f32| {
                        let mut moved = logprobs;
                        moved[i] += by;
                        loss(&moved)
                    };
                    let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                    let gap = (term.gradient as f64 - slope).abs();
                    assert!(gap < 3e-4, "{}, A {advantage}, token {i}: {} for {slope}", algorithm.name, term.gradient);
                }
            }
        }
    }

    #[test]
    fn names_are_found_and_others_refused() {
        let mut recipe = reseek_spec::resolve(reseek_spec::Scale::Smoke, &[], &[]).unwrap().recipe.zero;
        for algorithm in TABLE {
            recipe.algorithm = algorithm.name.to_string();
            assert_eq!(of(&recipe).unwrap().name, algorithm.name);
        }
        recipe.algorithm = "gpro".to_string();
        let error = of(&recipe).unwrap_err().to_string();
        assert!(error.contains("no algorithm is called gpro. The nearest is grpo"), "{error}");
    }
}
