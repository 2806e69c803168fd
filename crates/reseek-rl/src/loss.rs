//! GRPO's loss of a token (DeepSeekMath, equation 3; R1 report, equation 1).
//!
//! With w = π/π_old, the token's term is −min(w·A, clip(w, 1 − ε, 1 + ε)·A) + β·k3, k3 = exp(log π_ref − log π) − (log π_ref − log π) − 1.
//! π is softmax(z/T) at the rollout's temperature T in all three: what the samples were drawn from is what is trained, as in TRL.
//! A sequence's terms are averaged over its tokens, then sequences over the batch ("grpo" in TRL).

/// What the loss needs beside the policy's own log-probability.
#[derive(Clone, Copy, Debug)]
pub struct TokenContext {
    /// log π_old: of the distribution that the token was drawn from.
    pub old: f32,
    /// log π_ref of the reference.
    pub reference: f32,
    /// The sample's advantage A.
    pub advantage: f32,
    /// 1/(sequences · tokens of this sequence): the token's share in the mean.
    pub share: f32,
}

/// The settings of the loss.
#[derive(Clone, Copy, Debug)]
pub struct LossSettings {
    /// ε of the clip.
    pub clip_epsilon: f32,
    /// β of the KL term.
    pub kl_beta: f32,
}

/// A token's share of the loss and what is reported of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLoss {
    /// Its share of the loss.
    pub loss: f32,
    /// d loss / d log π.
    pub gradient: f32,
    /// The k3 estimate of KL(π ‖ π_ref) at this token.
    pub kl: f32,
    /// π/π_old.
    pub ratio: f32,
    /// Whether the clip cut the gradient off.
    pub clipped: bool,
}

/// The loss of a token with log-probability `logp` under the policy.
pub fn token_loss(logp: f32, context: &TokenContext, settings: &LossSettings) -> TokenLoss {
    let TokenContext { old, reference, advantage, share } = *context;
    let ratio = (logp - old).exp();
    let bound = ratio.clamp(1.0 - settings.clip_epsilon, 1.0 + settings.clip_epsilon);
    let clipped = bound * advantage < ratio * advantage;
    let gain = if clipped { bound * advantage } else { ratio * advantage };
    let gain_gradient = if clipped { 0.0 } else { ratio * advantage };
    let (kl, kl_gradient) = k3(logp, reference);
    TokenLoss {
        loss: share * (settings.kl_beta * kl - gain),
        gradient: share * (settings.kl_beta * kl_gradient - gain_gradient),
        kl,
        ratio,
        clipped,
    }
}

/// Schulman's k3 estimator of KL(π ‖ π_ref) from one token, and its derivative by log π. Never negative.
pub fn k3(logp: f32, reference: f32) -> (f32, f32) {
    let difference = reference - logp;
    let gap = difference.exp_m1();
    ((gap - difference).max(0.0), -gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LossSettings = LossSettings { clip_epsilon: 0.2, kl_beta: 0.04 };

    fn context(old: f32, reference: f32, advantage: f32) -> TokenContext {
        TokenContext { old, reference, advantage, share: 0.125 }
    }

    #[test]
    fn on_policy_the_ratio_is_one_and_the_kl_zero() {
        let got = token_loss(-1.5, &context(-1.5, -1.5, 0.7), &SETTINGS);
        let expect = TokenLoss { loss: -0.0875, gradient: -0.0875, kl: 0.0, ratio: 1.0, clipped: false };
        assert_eq!(got, expect);
    }

    #[test]
    fn the_gradient_is_the_derivative() {
        for advantage in [-1.3, 0.0, 0.4] {
            for (logp, old, reference) in
                [(-0.5, -0.6, -0.9), (-2.0, -1.9, -1.5), (-0.1, -1.0, -0.2), (-3.0, -1.0, -2.0)]
            {
                let context = context(old, reference, advantage);
                let at = |logp: f32| token_loss(logp, &context, &SETTINGS).loss as f64;
                let numeric = (at(logp + 1e-2) - at(logp - 1e-2)) / 2e-2;
                let got = token_loss(logp, &context, &SETTINGS).gradient as f64;
                assert!((got - numeric).abs() < 2e-4, "A {advantage}, logp {logp}: {got} for {numeric}");
            }
        }
    }

    #[test]
    fn the_clip_holds_gains_and_never_losses() {
        let gradient = |logp: f32, advantage: f32| {
            let settings = LossSettings { kl_beta: 0.0, ..SETTINGS };
            let got = token_loss(logp, &context(-1.0, -1.0, advantage), &settings);
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
