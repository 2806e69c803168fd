//! A token's part of the loss.

/// What a term is made of: three policies' views of a token, and the sample's advantage.
#[derive(Clone, Copy, Debug)]
pub struct Policies {
    /// log π of the policy that learns.
    pub logp: f32,
    /// log π_ref of the reference.
    pub reference: f32,
    /// w of the token or of its sequence.
    pub ratio: f32,
    /// The sample's advantage A.
    pub advantage: f32,
    /// What the token counts, by the reduction.
    pub share: f32,
}

/// The settings of a term.
#[derive(Clone, Copy, Debug)]
pub struct TermSettings {
    /// ε of the clip.
    pub clip_epsilon: f32,
    /// β of the KL term.
    pub kl_beta: f32,
}

/// A token's share of the loss and what is reported of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Its share of the loss.
    pub loss: f32,
    /// d loss / d log π.
    pub gradient: f32,
    /// The k3 estimate of KL(π ‖ π_ref) at this token.
    pub kl: f32,
    /// w.
    pub ratio: f32,
    /// Whether the clip cut the gradient off.
    pub clipped: bool,
}

/// −min(w·A, clip(w, 1 − ε, 1 + ε)·A) + β·k3 (DeepSeekMath, equation 3; R1 report, equation 1), times the share.
pub fn clipped(policies: &Policies, settings: &TermSettings) -> Term {
    let Policies { logp, reference, ratio, advantage, share } = *policies;
    let bound = ratio.clamp(1.0 - settings.clip_epsilon, 1.0 + settings.clip_epsilon);
    let clipped = bound * advantage < ratio * advantage;
    let gain = if clipped { bound * advantage } else { ratio * advantage };
    let gain_gradient = if clipped { 0.0 } else { ratio * advantage };
    let (kl, kl_gradient) = k3(logp, reference);
    Term {
        loss: share * (settings.kl_beta * kl - gain),
        gradient: share * (settings.kl_beta * kl_gradient - gain_gradient),
        kl,
        ratio,
        clipped,
    }
}

/// Schulman's k3 estimator of KL(π ‖ π_ref) from one token, exp(log π_ref − log π) − (log π_ref − log π) − 1, and its derivative by log π.
/// Never negative.
pub fn k3(logp: f32, reference: f32) -> (f32, f32) {
    let difference = reference - logp;
    let gap = difference.exp_m1();
    ((gap - difference).max(0.0), -gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::algorithm::ratio::of_token;

    const SETTINGS: TermSettings = TermSettings { clip_epsilon: 0.2, kl_beta: 0.04 };

    fn of(logp: f32, old: f32, reference: f32, advantage: f32, settings: &TermSettings) -> Term {
        clipped(&Policies { logp, reference, ratio: of_token(logp, old), advantage, share: 0.125 }, settings)
    }

    #[test]
    fn on_policy_the_ratio_is_one_and_the_kl_zero() {
        let got = of(-1.5, -1.5, -1.5, 0.7, &SETTINGS);
        let expect = Term { loss: -0.0875, gradient: -0.0875, kl: 0.0, ratio: 1.0, clipped: false };
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
        assert_eq!(gradient(0.0, 1.0), (0.0, true));
        assert_eq!(gradient(-2.0, -1.0), (0.0, true));
        assert!(gradient(0.0, -1.0).0 > 0.3 && !gradient(0.0, -1.0).1);
        assert!(gradient(-2.0, 1.0).0 < 0.0 && !gradient(-2.0, 1.0).1);
    }

    #[test]
    fn k3_is_not_negative_and_unbiased() {
        let p = [0.2f64, 0.5, 0.3];
        let q = [0.4f64, 0.25, 0.35];
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let estimate: f64 = p.iter().zip(&q).map(|(p, q)| p * k3(p.ln() as f32, q.ln() as f32).0 as f64).sum();
        assert!((kl - estimate).abs() < 1e-6, "{estimate} for {kl}");
        (-50..50).for_each(|i| assert!(k3(-1.0, -1.0 + i as f32 * 0.1).0 >= 0.0));
    }
}
