//! Clipped IS-weight Policy Optimization (MiniMax-M1, arXiv 2506.13585, 3.1; with one bound, as in ScaleRL, arXiv 2510.13786): the ratio
//! weighs ∇log π and has no slope of its own, so that no token is dropped, and those that moved far are held to a cap.

use reseek_spec::ScaleRewards;

use super::term::{Bound, Gain, Policies, Term, TermSettings, term};
use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction};

pub(super) const CISPO: Algorithm = Algorithm {
    name: "cispo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: Ratio::OfToken(ratio::of_token),
    term: capped,
    bounds: Bounds::Cap,
    reduction: reduction::mean_of_step_tokens,
};

/// −stopgrad(min(w, ε_high))·A·log π + β·KL. ε_high is the largest ratio itself, no distance from 1.
fn capped(policies: &Policies, settings: &TermSettings) -> Term {
    let Policies { logp, ratio, advantage, .. } = *policies;
    let is_above = ratio > settings.clip_epsilon_high;
    let weight = if is_above { settings.clip_epsilon_high } else { ratio };
    let slope = weight * advantage;
    term(policies, settings, Gain { value: slope * logp, slope, clipped: is_above.then_some(Bound::High) })
}

#[cfg(test)]
mod tests {
    use super::super::term::tests::SETTINGS;
    use super::*;

    #[test]
    fn a_token_that_moved_far_keeps_a_gradient_up_to_the_cap() {
        let settings = TermSettings { clip_epsilon_high: 5.0, kl_beta: 0.0, ..SETTINGS };
        let of = |ratio: f32, advantage: f32| {
            let policies =
                Policies { logp: -0.5, old: -0.5, reference: -0.5, ratio, slope: 1.0, advantage, share: 1.0 };
            capped(&policies, &settings)
        };
        for (ratio, advantage, gradient) in [(0.3, 1.0, -0.3), (4.0, -1.0, 4.0), (9.0, 1.0, -5.0), (9.0, -1.0, 5.0)] {
            let got = of(ratio, advantage);
            assert_eq!((got.gradient, got.loss), (gradient, -0.5 * gradient));
            assert_eq!(got.clipped.is_some(), ratio > 5.0);
        }
    }
}
