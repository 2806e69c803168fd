//! Estimates of KL(π ‖ π_ref) from one sampled token, and their slopes by log π (Schulman 2020, "Approximating KL Divergence").
//!
//! Over samples of π itself, "unbiased" is said of two different things. The value: k1, k3 and k3_corrected have the KL as their mean, k2
//! has not. The slope, which is all that training sees: the gradient of the KL is the mean of (log π − log π_ref)·∇log π. k2 and
//! k3_corrected have it as the mean of their slopes. k3's slope, 1 − π_ref/π, is that of the other KL(π_ref ‖ π), which agrees with it to
//! first order near the reference. k1's slope is 1, whose mean is no pull at all, only noise.

use reseek_spec::KlEstimator;

use super::ratio::of_token;

/// The estimate and its slope, from log π, log π_ref and log π_old of a token.
pub fn estimate(estimator: KlEstimator, logp: f32, reference: f32, old: f32) -> (f32, f32) {
    match estimator {
        KlEstimator::K1 => k1(logp, reference),
        KlEstimator::K2 => k2(logp, reference),
        KlEstimator::K3 => k3(logp, reference),
        KlEstimator::K3Corrected => k3_corrected(logp, reference, old),
    }
}

/// log π − log π_ref.
fn k1(logp: f32, reference: f32) -> (f32, f32) {
    (logp - reference, 1.0)
}

/// (log π − log π_ref)²/2.
fn k2(logp: f32, reference: f32) -> (f32, f32) {
    let difference = logp - reference;
    (0.5 * difference * difference, difference)
}

/// exp(log π_ref − log π) − (log π_ref − log π) − 1. Never negative.
pub fn k3(logp: f32, reference: f32) -> (f32, f32) {
    let difference = reference - logp;
    let gap = difference.exp_m1();
    ((gap - difference).max(0.0), -gap)
}

/// k3 times the token's π/π_old, whose slope is part of it (DeepSeek-V3.2, arXiv 2512.02556, 3.1; TRL's use_bias_correction_kl).
fn k3_corrected(logp: f32, reference: f32, old: f32) -> (f32, f32) {
    let (ratio, (kl, slope)) = (of_token(logp, old), k3(logp, reference));
    (ratio * kl, ratio * (kl + slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [KlEstimator; 4] = [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3, KlEstimator::K3Corrected];

    #[test]
    fn k3_is_not_negative() {
        (-50..50).for_each(|i| assert!(k3(-1.0, -1.0 + i as f32 * 0.1).0 >= 0.0));
        assert_eq!(ALL.map(|estimator| estimate(estimator, -1.5, -1.5, -1.5).0), [0.0; 4]);
    }

    #[test]
    fn slopes_are_derivatives() {
        for estimator in ALL {
            for (logp, reference, old) in
                [(-0.5, -0.6, -0.9), (-2.0, -1.9, -1.5), (-0.1, -1.0, -0.2), (-3.0, -1.0, -2.0)]
            {
                let at = |logp: f32| f64::from(estimate(estimator, logp, reference, old).0);
                let numeric = (at(logp + 1e-2) - at(logp - 1e-2)) / 2e-2;
                let slope = f64::from(estimate(estimator, logp, reference, old).1);
                assert!((slope - numeric).abs() < 2e-3 * (1.0 + numeric.abs()), "{estimator:?}: {slope} for {numeric}");
            }
        }
    }

    /// Over a distribution of three tokens: what the module says of means of values and of slopes. The KL's own gradient by the logits z is
    /// Σ p·(log p/q)·∇log p, where ∇log p of token i by z_j is [i = j] − p_j.
    #[test]
    fn values_and_slopes_have_the_means_that_are_said() {
        let (p, q) = ([0.2f64, 0.5, 0.3], [0.4f64, 0.25, 0.35]);
        let pull = |slope: &dyn Fn(usize) -> f64| -> [f64; 3] {
            std::array::from_fn(|j| (0..3).map(|i| p[i] * slope(i) * (f64::from(i == j) - p[j])).sum())
        };
        let kl: f64 = (0..3).map(|i| p[i] * (p[i] / q[i]).ln()).sum();
        let right = pull(&|i| (p[i] / q[i]).ln());
        let gap = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        for (estimator, has_value, has_slope) in [
            (KlEstimator::K1, true, false),
            (KlEstimator::K2, false, true),
            (KlEstimator::K3, true, false),
            (KlEstimator::K3Corrected, true, true),
        ] {
            let of = |i: usize| estimate(estimator, p[i].ln() as f32, q[i].ln() as f32, p[i].ln() as f32);
            let value: f64 = (0..3).map(|i| p[i] * f64::from(of(i).0)).sum();
            let slope = pull(&|i| f64::from(of(i).1));
            assert_eq!((value - kl).abs() < 1e-6, has_value, "{estimator:?}: {value} for {kl}");
            assert_eq!(gap(slope, right) < 1e-6, has_slope, "{estimator:?}: {slope:?} for {right:?}");
            assert_eq!(gap(slope, [0.0; 3]) < 1e-6, estimator == KlEstimator::K1, "{estimator:?} pulls by {slope:?}");
        }
    }
}
