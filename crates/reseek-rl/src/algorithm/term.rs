//! A token's part of the loss: −(what is gained) + β·KL, times the token's share. Terms differ in the gain.

use reseek_spec::KlEstimator;

use super::kl::{estimate, k3};

/// What a term is made of: three policies' views of a token, and the sample's advantage.
#[derive(Clone, Copy, Debug)]
pub struct Policies {
    /// log π of the policy that learns.
    pub logp: f32,
    /// log π_old of the distribution that the token was drawn from.
    pub old: f32,
    /// log π_ref of the reference.
    pub reference: f32,
    /// w of the token or of its sequence.
    pub ratio: f32,
    /// d(Σ of w over the tokens that share it) / d log π, in units of w: 1 where each token has its own.
    pub slope: f32,
    /// The sample's advantage A.
    pub advantage: f32,
    /// What the token counts, by the reduction.
    pub share: f32,
}

/// The settings of a term.
#[derive(Clone, Copy, Debug)]
pub struct TermSettings {
    /// ε of the clip below 1.
    pub clip_epsilon: f32,
    /// ε of the clip above 1; in cispo the cap of the ratio itself.
    pub clip_epsilon_high: f32,
    /// δ, the largest ratio of a sample with a negative advantage; infinity for none.
    pub clip_delta: f32,
    /// β of the KL term.
    pub kl_beta: f32,
    /// How the KL is estimated.
    pub kl_estimator: KlEstimator,
}

/// Which bound met a token's ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// 1 − ε, of a bad sample that has become unlikelier.
    Low,
    /// 1 + ε, of a good sample that has become likelier; in cispo its cap.
    High,
    /// δ, of a bad sample that has become far likelier.
    Delta,
}

/// A token's share of the loss and what is reported of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Its share of the loss.
    pub loss: f32,
    /// d loss / d log π.
    pub gradient: f32,
    /// The k3 estimate of KL(π ‖ π_ref) at this token, whichever is in the loss.
    pub kl: f32,
    /// w.
    pub ratio: f32,
    /// The bound that cut its gradient off, or in cispo capped it.
    pub clipped: Option<Bound>,
}

/// What a token gains: the value, its slope by log π, and the bound that it met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    pub value: f32,
    pub slope: f32,
    pub clipped: Option<Bound>,
}

/// −min(min(w, δ)·A, clip(w, 1 − ε, 1 + ε_high)·A) + β·KL (DeepSeekMath, equation 3; R1 report, equation 1; ε_high is DAPO's, δ INTELLECT-2's).
pub fn clipped(policies: &Policies, settings: &TermSettings) -> Term {
    let Policies { ratio, slope, advantage, .. } = *policies;
    let bound = ratio.clamp(1.0 - settings.clip_epsilon, 1.0 + settings.clip_epsilon_high);
    let is_beyond_delta = ratio > settings.clip_delta;
    let free = if is_beyond_delta { settings.clip_delta } else { ratio };
    let clipped = if bound * advantage < free * advantage {
        Some(if ratio < 1.0 { Bound::Low } else { Bound::High })
    } else {
        (is_beyond_delta && advantage < 0.0).then_some(Bound::Delta)
    };
    let value = if bound * advantage < free * advantage { bound * advantage } else { free * advantage };
    let slope = if clipped.is_some() { 0.0 } else { slope * ratio * advantage };
    term(policies, settings, Gain { value, slope, clipped })
}

/// The term of a gain: share·(β·KL − gain).
pub(super) fn term(policies: &Policies, settings: &TermSettings, gain: Gain) -> Term {
    let Policies { logp, old, reference, ratio, share, .. } = *policies;
    let (kl, kl_slope) = estimate(settings.kl_estimator, logp, reference, old);
    Term {
        loss: share * (settings.kl_beta * kl - gain.value),
        gradient: share * (settings.kl_beta * kl_slope - gain.slope),
        kl: k3(logp, reference).0,
        ratio,
        clipped: gain.clipped,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use crate::algorithm::ratio::of_token;

    pub const SETTINGS: TermSettings = TermSettings {
        clip_epsilon: 0.2,
        clip_epsilon_high: 0.2,
        clip_delta: f32::INFINITY,
        kl_beta: 0.04,
        kl_estimator: KlEstimator::K3,
    };

    fn of(logp: f32, old: f32, reference: f32, advantage: f32, settings: &TermSettings) -> Term {
        let ratio = of_token(logp, old);
        clipped(&Policies { logp, old, reference, ratio, slope: 1.0, advantage, share: 0.125 }, settings)
    }

    #[test]
    fn on_policy_the_ratio_is_one_and_the_kl_zero() {
        let got = of(-1.5, -1.5, -1.5, 0.7, &SETTINGS);
        let expect = Term { loss: -0.0875, gradient: -0.0875, kl: 0.0, ratio: 1.0, clipped: None };
        assert_eq!(got, expect);
    }

    #[test]
    fn the_gradient_is_the_derivative() {
        for advantage in [-1.3, 0.0, 0.4] {
            for (logp, old, reference) in
                [(-0.5, -0.6, -0.9), (-2.0, -1.9, -1.5), (-0.1, -1.0, -0.2), (-3.0, -1.0, -2.0)]
            {
                let at = |logp: f32| of(logp, old, reference, advantage, &SETTINGS).loss as f64;
                let numeric = (at(logp + 1e-2) - at(logp - 1e-2)) / 2e-2;
                let got = of(logp, old, reference, advantage, &SETTINGS).gradient as f64;
                assert!((got - numeric).abs() < 2e-4, "A {advantage}, logp {logp}: {got} for {numeric}");
            }
        }
    }

    #[test]
    fn the_clip_holds_gains_and_never_losses() {
        let gradient = |logp: f32, advantage: f32| {
            let settings = TermSettings { kl_beta: 0.0, ..SETTINGS };
            let got = of(logp, -1.0, -1.0, advantage, &settings);
            (got.gradient, got.clipped)
        };
        assert_eq!(gradient(0.0, 1.0), (0.0, Some(Bound::High)));
        assert_eq!(gradient(-2.0, -1.0), (0.0, Some(Bound::Low)));
        assert!(gradient(0.0, -1.0).0 > 0.3 && gradient(0.0, -1.0).1.is_none());
        assert!(gradient(-2.0, 1.0).0 < 0.0 && gradient(-2.0, 1.0).1.is_none());
    }

    /// DAPO's bounds: w = 1.25 is beyond 1 + 0.2 and within 1 + 0.28. δ = 2 stops the one case that no clip does, e times as likely and bad.
    #[test]
    fn each_side_has_its_bound() {
        let free = TermSettings { kl_beta: 0.0, ..SETTINGS };
        let wide = TermSettings { clip_epsilon_high: 0.28, ..free };
        let at = |ratio: f32, advantage: f32, settings| of(ratio.ln() - 1.0, -1.0, -1.0, advantage, settings);
        assert_eq!(at(1.25, 1.0, &free).clipped, Some(Bound::High));
        assert_eq!(at(1.25, 1.0, &wide).clipped, None);
        assert_eq!(at(0.75, -1.0, &wide).clipped, Some(Bound::Low));
        let bounded = TermSettings { clip_delta: 2.0, ..free };
        let got = at(2.7, -1.0, &bounded);
        assert_eq!((got.clipped, got.gradient, got.loss), (Some(Bound::Delta), 0.0, 0.25));
        assert_eq!(at(2.7, 0.0, &bounded).clipped, None);
        assert_eq!(at(2.7, 1.0, &bounded).clipped, Some(Bound::High));
        assert_eq!(at(1.9, -1.0, &bounded).clipped, None);
    }

    /// No difference between rewards, and yet a pull to the reference.
    #[test]
    fn the_kl_has_its_gradient_where_the_advantage_is_0() {
        let got = of(-1.0, -1.0, -1.5, 0.0, &SETTINGS);
        assert!(got.loss > 0.0 && got.gradient > 0.0, "{got:?}");
    }

    /// Estimates of one policy differ in the loss; what is reported of it is one figure, which is never negative.
    #[test]
    fn the_kl_that_is_reported_is_k3() {
        let of = |kl_estimator| of(-1.5, -1.4, -1.0, 0.3, &TermSettings { kl_estimator, ..SETTINGS });
        let k3 = of(KlEstimator::K3);
        for other in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3Corrected].map(of) {
            assert!(other.kl == k3.kl && other.kl > 0.0 && other.loss != k3.loss, "{other:?}");
        }
    }
}
