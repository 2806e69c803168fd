//! Means with their 95 % intervals, clustered by problem.
//!
//! The k samples of a problem are not independent of each other, so the problem is the unit: its mean over samples is one value, and
//! the standard error comes from the spread of these values (Miller 2024, "Adding Error Bars to Evals", section 2.2).

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_985;

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// The mean of shares in [0, 1], one a problem. Where all shares are equal the spread says nothing, and Wilson's interval for that
/// many problems stands in.
pub fn mean_of_shares(shares: &[f64]) -> Interval {
    let Interval { mean, low, high } = mean_of(shares);
    if low < high {
        return Interval { mean, low: low.max(0.0), high: high.min(1.0) };
    }
    wilson(mean, shares.len())
}

/// The share of ones among zeros and ones, with Wilson's interval: it holds near 0 and 1 too, where the normal one is too short.
pub fn share_of(outcomes: &[f64]) -> Interval {
    wilson(mean_of(outcomes).mean, outcomes.len())
}

fn wilson(mean: f64, n: usize) -> Interval {
    let n = n.max(1) as f64;
    let centre = (mean + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (mean * (1.0 - mean) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At 0 and 1 an end is the mean itself but for rounding.
    Interval { mean, low: (centre - half).clamp(0.0, mean), high: (centre + half).clamp(mean, 1.0) }
}

/// The mean of a − b over problems that both were given, so that the problems' difficulty cancels. A problem that could not be judged of
/// one of them says nothing of the difference and stays out.
///
/// # Panics
/// If the two have different lengths.
pub fn paired_difference(a: &[Option<f64>], b: &[Option<f64>]) -> Interval {
    assert_eq!(a.len(), b.len(), "{} problems against {}", a.len(), b.len());
    mean_of(&a.iter().zip(b).filter_map(|(a, b)| Some((*a)? - (*b)?)).collect::<Vec<_>>())
}

/// The mean of a less that of b, each over problems of its own: how hard these were is part of the interval.
pub fn unpaired_difference(a: &[f64], b: &[f64]) -> Interval {
    let (a, b) = (mean_of(a), mean_of(b));
    let half = (a.high - a.mean).hypot(b.high - b.mean);
    let mean = a.mean - b.mean;
    Interval { mean, low: mean - half, high: mean + half }
}

/// The mean of values that may be below 0, such as differences of pairs, one a problem.
pub fn mean_of(values: &[f64]) -> Interval {
    let n = values.len() as f64;
    if values.is_empty() {
        return Interval { mean: 0.0, low: 0.0, high: 0.0 };
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = Z * (variance / n).sqrt();
    Interval { mean, low: mean - half, high: mean + half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_problems_not_of_the_samples() {
        let shares: Vec<f64> = (0..100).map(|i| f64::from(i % 2 == 0)).collect();
        let got = mean_of_shares(&shares);
        let half = Z * (0.25 * 100.0 / 99.0 / 100.0f64).sqrt();
        assert!((got.mean - 0.5).abs() < 1e-12 && (got.high - 0.5 - half).abs() < 1e-12);
    }

    #[test]
    fn equal_shares_still_have_an_interval() {
        let got = mean_of_shares(&[0.0; 50]);
        assert!(got.low == 0.0 && (got.high - 0.0713).abs() < 1e-3, "{got:?}");
        assert!(mean_of_shares(&[1.0; 50]).low > 0.92);
        assert_eq!(mean_of_shares(&[]).low, 0.0);
    }

    /// The interval of 3 in 64, as R's `binom::binom.wilson(3, 64)` has it.
    #[test]
    fn a_share_of_few_has_wilsons_interval() {
        let outcomes: Vec<f64> = (0..64).map(|i| f64::from(u8::from(i % 25 == 0))).collect();
        let got = share_of(&outcomes);
        assert!((got.mean - 3.0 / 64.0).abs() < 1e-12, "{got:?}");
        assert!((got.low - 0.0161).abs() < 1e-3 && (got.high - 0.1290).abs() < 1e-3, "{got:?}");
    }

    #[test]
    fn pairing_cancels_difficulty() {
        let hard: Vec<Option<f64>> = (0..60).map(|i| Some((i % 10) as f64 / 10.0)).collect();
        let easier: Vec<Option<f64>> = hard.iter().map(|s| s.map(|s| s + 0.05)).collect();
        let got = paired_difference(&easier, &hard);
        assert!((got.mean - 0.05).abs() < 1e-9 && got.high - got.low < 1e-6);
    }

    #[test]
    fn what_could_not_be_judged_of_one_is_in_no_pair() {
        let a = [Some(1.0), None, Some(0.5), Some(1.0)];
        let b = [Some(0.5), Some(1.0), None, Some(0.5)];
        let got = paired_difference(&a, &b);
        assert_eq!((got.mean, got.low, got.high), (0.5, 0.5, 0.5), "an outage looks like a wrong answer");
        assert_eq!(paired_difference(&a, &[None; 4]).mean, 0.0);
    }

    #[test]
    fn without_pairing_difficulty_stays_in_the_interval() {
        let hard: Vec<f64> = (0..60).map(|i| (i % 10) as f64 / 10.0).collect();
        let easier: Vec<f64> = hard.iter().take(40).map(|s| s + 0.05).collect();
        let got = unpaired_difference(&easier, &hard);
        // The variance of ten equal steps of a tenth is 0.0825.
        let half = Z * (0.0825f64 * (60.0 / 59.0) / 60.0 + 0.0825 * (40.0 / 39.0) / 40.0).sqrt();
        assert!((got.mean - 0.05).abs() < 1e-9 && (got.high - got.mean - half).abs() < 1e-9, "{got:?}");
    }

    /// The interval holds the truth in about 95 of 100 draws.
    #[test]
    fn coverage() {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let trials = 1000;
        let held = (0..trials)
            .filter(|_| {
                let shares: Vec<f64> = (0..80)
                    .map(|_| {
                        let p = uniform();
                        (0..4).filter(|_| uniform() < p).count() as f64 / 4.0
                    })
                    .collect();
                let Interval { low, high, .. } = mean_of_shares(&shares);
                low <= 0.5 && 0.5 <= high
            })
            .count();
        assert!((920..=975).contains(&held), "{held} of {trials}");
    }
}
