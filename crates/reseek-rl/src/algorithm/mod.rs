//! How graded samples become a gradient: advantage × ratio × term × reduction.
//!
//! For a mini-batch of sequences i with tokens t, with π = softmax(z/T) at the temperature T that the samples were drawn at:
//!
//! loss = Σᵢ Σₜ reductionᵢ · term(ratioᵢₜ, advantageᵢ, log πᵢₜ, log π_refᵢₜ)
//!
//! An algorithm names one of each. A new one is a file beside `grpo.rs`, with whatever part of it is new, and its line in [`TABLE`].

pub mod advantage;
mod bnpo;
mod cispo;
mod dapo;
mod dr_grpo;
mod grpo;
mod gspo;
pub mod kl;
mod luspo;
pub mod ratio;
pub mod reduction;
mod reinforce;
mod rloo;
mod sapo;
mod settings;
pub mod term;

use reseek_spec::{RlRecipe, ScaleRewards};

use crate::RlError;

pub use ratio::Ratio;
pub use reduction::Sizes;
pub(crate) use settings::check;
pub use term::{Bound, Policies, Term, TermSettings};

/// The parts of an algorithm.
#[derive(Debug)]
pub struct Algorithm {
    /// Its name in the recipe.
    pub name: &'static str,
    /// Advantage A of each sample of a step, from their rewards, group after group; 0 for a sample that has none.
    pub advantages: fn(advantage::Groups, ScaleRewards) -> Vec<f32>,
    /// What its paper divides advantages by; `Auto` where no choice is left to the recipe.
    pub scale: ScaleRewards,
    /// How far the policy has moved from the one that sampled.
    pub ratio: Ratio,
    /// A token's part of the loss and its slope.
    pub term: fn(&Policies, &TermSettings) -> Term,
    /// The settings that bound the ratio in the term.
    pub bounds: Bounds,
    /// What each token of a sequence counts in the sum.
    pub reduction: fn(&Sizes) -> f32,
}

/// What bounds a ratio, so which settings a term reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// `clip_epsilon` below 1, `clip_epsilon_high` above it, and `clip_delta`.
    AroundOne,
    /// `clip_epsilon_high` as the largest ratio.
    Cap,
    /// None of them: a function that flattens out.
    Soft,
}

/// Every algorithm that a recipe may name.
pub const TABLE: [&Algorithm; 11] = [
    &grpo::GRPO,
    &dr_grpo::DR_GRPO,
    &bnpo::BNPO,
    &dapo::DAPO,
    &gspo::GSPO,
    &luspo::LUSPO,
    &cispo::CISPO,
    &sapo::SAPO,
    &rloo::RLOO,
    &reinforce::REINFORCE_PP,
    &reinforce::REINFORCE_PP_BASELINE,
];

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
    /// The term of a token with the policy's log-probability `logp`, whose ratio is its own.
    pub fn token(&self, logp: f32, known: &Known, ratio: f32, settings: &TermSettings) -> Term {
        self.term_of(logp, known, (ratio, 1.0), settings)
    }

    /// The terms of a sequence's tokens, from the policy's log-probabilities of them.
    pub fn sequence(&self, logprobs: &[f32], known: &[Known], settings: &TermSettings) -> Vec<Term> {
        let tokens = logprobs.iter().zip(known);
        match self.ratio {
            Ratio::OfToken(ratio) => {
                tokens.map(|(&logp, known)| self.token(logp, known, ratio(logp, known.old), settings)).collect()
            }
            Ratio::OfSequence { of, slope } => {
                let old: Vec<f32> = known.iter().map(|known| known.old).collect();
                let ratio = (of(logprobs, &old), slope(old.len()));
                tokens.map(|(&logp, known)| self.term_of(logp, known, ratio, settings)).collect()
            }
        }
    }

    fn term_of(&self, logp: f32, known: &Known, (ratio, slope): (f32, f32), settings: &TermSettings) -> Term {
        let Known { old, reference, advantage, share } = *known;
        (self.term)(&Policies { logp, old, reference, ratio, slope, advantage, share }, settings)
    }
}

#[cfg(test)]
mod tests {
    use reseek_spec::KlEstimator;

    use super::term::tests::SETTINGS;
    use super::*;

    const ESTIMATORS: [KlEstimator; 4] = [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3, KlEstimator::K3Corrected];

    /// The slope that a loss says it has is that of its value, for every algorithm and on both sides of the clip. What weighs a slope in
    /// cispo has none itself: its value is that of the weights held.
    #[test]
    fn gradients_are_derivatives() {
        let logprobs = [-0.5f32, -2.0, -0.1, -3.0, -1.0];
        for (algorithm, kl_estimator) in TABLE.into_iter().flat_map(|a| ESTIMATORS.map(|estimator| (a, estimator))) {
            let settings = TermSettings { kl_estimator, clip_epsilon_high: 1.5, ..SETTINGS };
            for (advantage, old) in
                [(-1.3, [-0.6, -1.9, -0.2, -3.2, -1.1]), (0.4, [-0.6, -1.9, -1.0, -1.0, -1.1]), (0.7, [-2.0; 5])]
            {
                let known = old.map(|old| Known { old, reference: old - 0.3, advantage, share: 0.125 });
                let terms = algorithm.sequence(&logprobs, &known, &settings);
                let loss = |logprobs: &[f32]| {
                    let moved = algorithm.sequence(logprobs, &known, &settings);
                    let held = || logprobs.iter().zip(&known).zip(&terms);
                    let values: Vec<f32> = match algorithm.bounds {
                        Bounds::Cap => held()
                            .map(|((&logp, known), term)| algorithm.token(logp, known, term.ratio, &settings).loss)
                            .collect(),
                        _ => moved.iter().map(|term| term.loss).collect(),
                    };
                    values.into_iter().map(f64::from).sum::<f64>()
                };
                for (i, term) in terms.iter().enumerate() {
                    let moved = |by: f32| {
                        let mut moved = logprobs;
                        moved[i] += by;
                        loss(&moved)
                    };
                    let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                    let gap = (term.gradient as f64 - slope).abs();
                    assert!(
                        gap < 4e-4 * (1.0 + slope.abs()),
                        "{}, {kl_estimator:?}, A {advantage}, token {i}: {} for {slope}",
                        algorithm.name,
                        term.gradient
                    );
                }
            }
        }
    }

    /// A mean over tokens is one over the same tokens however they are cut: the shares of all of a step's tokens come to the number of its
    /// mini-batches, for every reduction that is a mean.
    #[test]
    fn shares_add_up() {
        let cut = [vec![3, 5, 1], vec![7, 2]];
        let step_tokens = cut.concat().iter().sum::<usize>();
        for algorithm in TABLE {
            let shares = |minibatch: &Vec<usize>| {
                let of = |&tokens: &usize| {
                    let sizes = Sizes {
                        sequences: minibatch.len(),
                        tokens,
                        minibatch_tokens: minibatch.iter().sum(),
                        step_tokens,
                        minibatches: 2,
                        max_tokens: 10,
                    };
                    tokens as f32 * (algorithm.reduction)(&sizes)
                };
                minibatch.iter().map(of).sum::<f32>()
            };
            let (sum, expected) = (
                cut.iter().map(shares).sum::<f32>(),
                match algorithm.name {
                    "luspo" => 3.0 + 4.5,
                    "dr_grpo" => 0.3 + 0.45,
                    _ => 2.0,
                },
            );
            assert!((sum - expected).abs() < 1e-6, "{}: {sum}", algorithm.name);
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
