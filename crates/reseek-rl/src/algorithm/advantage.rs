//! Group-relative advantages (DeepSeekMath, 4.1.2): A = (r − mean of the group) / (standard deviation of the group + 1e-4).

/// Advantages of one group's rewards. A sample without a reward (its answer could not be verified, or the verifier itself failed)
/// stays out of the statistics and gets advantage 0, so that an outage never becomes a gradient.
pub fn relative_to_the_group(rewards: &[Option<f64>]) -> Vec<f32> {
    let (mean, std) = mean_std(rewards);
    rewards.iter().map(|r| r.map_or(0.0, |r| ((r - mean) / (std + 1e-4)) as f32)).collect()
}

/// Mean and sample standard deviation (n − 1, as TRL and torch have it) of the rewards that exist; 0 where there are too few.
pub fn mean_std(rewards: &[Option<f64>]) -> (f64, f64) {
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    let n = known.len() as f64;
    if known.is_empty() {
        return (0.0, 0.0);
    }
    let mean = known.iter().sum::<f64>() / n;
    if known.len() == 1 {
        return (mean, 0.0);
    }
    let variance = known.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_are_relative_to_the_group() {
        let check = |rewards: &[Option<f64>], expect: &[f32]| {
            for (a, e) in relative_to_the_group(rewards).iter().zip(expect) {
                assert!((a - e).abs() < 1e-5, "{rewards:?}: {a} for {e}");
            }
        };
        // TRL: (r − mean)/(std + 1e-4) with torch's std of [1, 0, 0, 0] = 0.5.
        check(&[Some(1.0), Some(0.0), Some(0.0), Some(0.0)], &[1.4997, -0.4999, -0.4999, -0.4999]);
        check(&[Some(2.0); 3], &[0.0; 3]);
        check(&[Some(1.0), None, Some(0.0)], &[0.707_006_8, 0.0, -0.707_006_8]);
        check(&[None, None], &[0.0, 0.0]);
        check(&[Some(1.0), None], &[0.0, 0.0]);
    }
}
