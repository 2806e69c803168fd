//! Group Sequence Policy Optimization (Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7). The clip keeps or drops whole sequences, so
//! its ε is far smaller than a token's: the paper has 3e-4 below and 4e-4 above.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, advantage, ratio, reduction, term};

pub(super) const GSPO: Algorithm = Algorithm {
    name: "gspo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: ratio::OF_MEAN_TOKEN,
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_sequence_means,
};

#[cfg(test)]
mod tests {
    use super::super::term::tests::SETTINGS;
    use super::super::{Known, TermSettings};
    use super::*;

    /// Equation 5 by hand: two tokens of ratios 1.2 and 0.8 have s = √0.96; the clip at ε = 0.01 holds the gain of a good sequence that
    /// has become likelier, token by token it would not have.
    #[test]
    fn a_sequence_has_one_ratio_and_is_clipped_as_a_whole() {
        let terms = |ratios: [f32; 2], advantage: f32| {
            let known = [-1.0f32, -2.0].map(|old| Known { old, reference: old, advantage, share: 0.25 });
            let logprobs = [ratios[0].ln() - 1.0, ratios[1].ln() - 2.0];
            let settings = TermSettings { clip_epsilon: 0.01, clip_epsilon_high: 0.01, kl_beta: 0.0, ..SETTINGS };
            GSPO.sequence(&logprobs, &known, &settings)
        };
        for term in terms([1.2, 0.8], 1.0) {
            let s = 0.96f32.sqrt();
            assert!((term.ratio - s).abs() < 1e-6 && term.clipped.is_none(), "{term:?}");
            assert!((term.loss + 0.25 * s).abs() < 1e-6 && (term.gradient + 0.25 * s).abs() < 1e-6, "{term:?}");
        }
        for term in terms([1.3, 0.9], 1.0) {
            assert!(
                term.clipped.is_some() && term.gradient == 0.0 && (term.loss + 0.25 * 1.01).abs() < 1e-6,
                "{term:?}"
            );
        }
        assert!(terms([1.3, 0.9], -1.0).iter().all(|term| term.clipped.is_none() && term.gradient > 0.25));
    }
}
