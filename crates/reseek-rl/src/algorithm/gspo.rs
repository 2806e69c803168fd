//! Group Sequence Policy Optimization (Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7).

use super::{Algorithm, Ratio, advantage, reduction, term};

pub(super) const GSPO: Algorithm = Algorithm {
    name: "gspo",
    advantages: advantage::relative_to_the_group,
    ratio: Ratio::OfSequence(likelihood_per_token),
    term: term::clipped,
    reduction: reduction::mean_of_sequence_means,
};

/// s = (π(y)/π_old(y))^(1/|y|): the geometric mean of the tokens' ratios. The clip then keeps or drops whole sequences, so its ε is far
/// smaller than a token's: the paper has 3e-4 below and 4e-4 above.
fn likelihood_per_token(logprobs: &[f32], old: &[f32]) -> f32 {
    let sum: f32 = logprobs.iter().zip(old).map(|(logp, old)| logp - old).sum();
    (sum / logprobs.len() as f32).exp()
}

#[cfg(test)]
mod tests {
    use super::super::{Known, TermSettings};
    use super::*;

    /// Equation 5 by hand: two tokens of ratios 1.2 and 0.8 have s = √0.96; the clip at ε = 0.01 holds the gain of a good sequence that
    /// has become likelier, token by token it would not have.
    #[test]
    fn a_sequence_has_one_ratio_and_is_clipped_as_a_whole() {
        let terms = |ratios: [f32; 2], advantage: f32| {
            let known = [-1.0f32, -2.0].map(|old| Known { old, reference: old, advantage, share: 0.25 });
            let logprobs = [ratios[0].ln() - 1.0, ratios[1].ln() - 2.0];
            GSPO.sequence(&logprobs, &known, &TermSettings { clip_epsilon: 0.01, kl_beta: 0.0 })
        };
        for term in terms([1.2, 0.8], 1.0) {
            let s = 0.96f32.sqrt();
            assert!((term.ratio - s).abs() < 1e-6 && !term.clipped, "{term:?}");
            assert!((term.loss + 0.25 * s).abs() < 1e-6 && (term.gradient + 0.25 * s).abs() < 1e-6, "{term:?}");
        }
        for term in terms([1.3, 0.9], 1.0) {
            assert!(term.clipped && term.gradient == 0.0 && (term.loss + 0.25 * 1.01).abs() < 1e-6, "{term:?}");
        }
        assert!(terms([1.3, 0.9], -1.0).iter().all(|term| !term.clipped && term.gradient > 0.25));
    }
}
