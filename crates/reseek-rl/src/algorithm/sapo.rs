//! Soft Adaptive Policy Optimization (arXiv 2511.20347): a gate that closes gradually as the ratio leaves 1, where a clip is shut or open.

use reseek_spec::ScaleRewards;

use super::term::{Gain, Policies, Term, TermSettings, term};
use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction};

pub(super) const SAPO: Algorithm = Algorithm {
    name: "sapo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: Ratio::OfToken(ratio::of_token),
    term: gated,
    bounds: Bounds::Soft,
    reduction: reduction::mean_of_sequence_means,
};

/// The paper's τ where the advantage is positive, and where it is not: bad tokens fade a little sooner, as what they push up is any of a
/// whole vocabulary.
const TEMPERATURES: (f32, f32) = (1.0, 1.05);

/// −σ(τ(w − 1))·(4/τ)·A + β·KL. At w = 1 its slope is that of −w·A.
fn gated(policies: &Policies, settings: &TermSettings) -> Term {
    let Policies { ratio, advantage, .. } = *policies;
    let temperature = if advantage > 0.0 { TEMPERATURES.0 } else { TEMPERATURES.1 };
    let gate = 1.0 / (1.0 + (-temperature * (ratio - 1.0)).exp());
    let value = gate * 4.0 / temperature * advantage;
    let slope = 4.0 * gate * (1.0 - gate) * ratio * advantage;
    term(policies, settings, Gain { value, slope, clipped: None })
}

#[cfg(test)]
mod tests {
    use super::super::term::tests::SETTINGS;
    use super::*;

    #[test]
    fn on_policy_the_gradient_is_that_of_the_ratio_and_far_off_it_fades() {
        let settings = TermSettings { kl_beta: 0.0, ..SETTINGS };
        let of = |ratio: f32, advantage: f32| {
            let policies =
                Policies { logp: -0.5, old: -0.5, reference: -0.5, ratio, slope: 1.0, advantage, share: 1.0 };
            gated(&policies, &settings).gradient
        };
        assert_eq!((of(1.0, 2.0), of(1.0, -2.0)), (-2.0, 2.0));
        assert!(of(20.0, 1.0).abs() < 1e-5 && of(1e30, 1.0).abs() < 1e-5 && of(1e-30, 1.0).abs() < 1e-5);
        assert!(of(3.0, -1.0) < -of(3.0, 1.0));
    }
}
