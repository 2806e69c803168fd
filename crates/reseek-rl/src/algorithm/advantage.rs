//! Advantages: how much better an answer was than what it is held against.
//!
//! They are taken of a whole step's rewards, group after group, before the step is cut into mini-batches. A sample without a reward (its
//! answer could not be verified, or the verifier itself failed) stays out of every statistic and gets advantage 0, so that an outage never
//! becomes a gradient. A group of one, or of equal rewards, has advantages of 0 and never a division by 0.

use reseek_spec::ScaleRewards;

/// The rewards of a step, group after group.
pub type Groups<'a> = &'a [Vec<Option<f64>>];

/// TRL's, added to every standard deviation.
const EPSILON: f64 = 1e-4;

/// A = (r − mean of the group) / (standard deviation + 1e-4), of the group (DeepSeekMath, 4.1.2) or of the step's rewards; or the distance
/// from the mean alone (Dr. GRPO).
pub fn relative_to_the_group(groups: Groups, scale: ScaleRewards) -> Vec<f32> {
    let (_, std_of_all) = mean_std(&groups.concat());
    let of_group = |rewards: &Vec<Option<f64>>| {
        let (mean, std) = mean_std(rewards);
        let divisor = match scale {
            ScaleRewards::Group => std + EPSILON,
            ScaleRewards::Batch => std_of_all + EPSILON,
            ScaleRewards::None | ScaleRewards::Auto => 1.0,
        };
        of_each(rewards, |r| (r - mean) / divisor)
    };
    groups.iter().flat_map(of_group).collect()
}

/// A = r − mean of the group's other rewards (RLOO: Ahmadian et al. 2024, arXiv 2402.14740): unlike the mean of all, it does
/// not depend on the sample that it is held against.
pub fn leave_one_out(groups: Groups, _: ScaleRewards) -> Vec<f32> {
    let of_group = |rewards: &Vec<Option<f64>>| {
        let (sum, known) = (rewards.iter().flatten().sum::<f64>(), rewards.iter().flatten().count());
        let others = known.saturating_sub(1) as f64;
        of_each(rewards, |r| if known > 1 { r - (sum - r) / others } else { 0.0 })
    };
    groups.iter().flat_map(of_group).collect()
}

/// A = (r − mean of the step) / (standard deviation of the step + 1e-4) (REINFORCE++: Hu et al. 2025, arXiv 2501.03262).
pub fn normalised_by_the_batch(groups: Groups, _: ScaleRewards) -> Vec<f32> {
    normalised(&groups.concat())
}

/// A′ = r − mean of the group, then A = (A′ − mean of the step's A′) / (their standard deviation + 1e-4) (the same, "REINFORCE++ w/
/// baseline").
pub fn centred_then_normalised_by_the_batch(groups: Groups, _: ScaleRewards) -> Vec<f32> {
    let centred = |rewards: &Vec<Option<f64>>| {
        let (mean, _) = mean_std(rewards);
        rewards.iter().map(|r| r.map(|r| r - mean)).collect::<Vec<_>>()
    };
    normalised(&groups.iter().flat_map(centred).collect::<Vec<_>>())
}

fn normalised(values: &[Option<f64>]) -> Vec<f32> {
    let (mean, std) = mean_std(values);
    of_each(values, |r| (r - mean) / (std + EPSILON))
}

fn of_each(rewards: &[Option<f64>], advantage: impl Fn(f64) -> f64) -> Vec<f32> {
    rewards.iter().map(|r| r.map_or(0.0, |r| advantage(r) as f32)).collect()
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

    type Advantages = fn(Groups, ScaleRewards) -> Vec<f32>;

    #[track_caller]
    fn check(advantages: Advantages, scale: ScaleRewards, groups: &[&[Option<f64>]], expect: &[f32]) {
        let groups: Vec<Vec<Option<f64>>> = groups.iter().map(|group| group.to_vec()).collect();
        let got = advantages(&groups, scale);
        assert_eq!(got.len(), expect.len());
        let near = |(a, e): (&f32, &f32)| (a - e).abs() < 1e-5;
        assert!(got.iter().zip(expect).all(near), "{groups:?}: {got:?} for {expect:?}");
    }

    #[test]
    fn advantages_are_relative_to_the_group() {
        let check = |rewards: &[Option<f64>], expect: &[f32]| {
            check(relative_to_the_group, ScaleRewards::Group, &[rewards], expect);
        };
        // TRL: (r − mean)/(std + 1e-4) with torch's std of [1, 0, 0, 0] = 0.5.
        check(&[Some(1.0), Some(0.0), Some(0.0), Some(0.0)], &[1.4997, -0.4999, -0.4999, -0.4999]);
        check(&[Some(2.0); 3], &[0.0; 3]);
        check(&[Some(1.0), None, Some(0.0)], &[0.707_006_8, 0.0, -0.707_006_8]);
        check(&[None, None], &[0.0, 0.0]);
        check(&[Some(1.0), None], &[0.0, 0.0]);
    }

    /// Groups [1, 0] and [3, 3]: the step's rewards 1, 0, 3, 3 have the mean 7/4 and the variance 2.25.
    #[test]
    fn the_step_can_be_the_measure() {
        let groups: [&[Option<f64>]; 2] = [&[Some(1.0), Some(0.0)], &[Some(3.0), Some(3.0)]];
        let (std, third) = (1.5001, 1.0 / 3.0);
        check(relative_to_the_group, ScaleRewards::Batch, &groups, &[0.5 / std, -0.5 / std, 0.0, 0.0]);
        check(relative_to_the_group, ScaleRewards::None, &groups, &[0.5, -0.5, 0.0, 0.0]);
        let of_step = [-0.75 / std, -1.75 / std, 1.25 / std, 1.25 / std];
        check(normalised_by_the_batch, ScaleRewards::Auto, &groups, &of_step);
        // 0.5, −0.5, 0, 0 have the mean 0 and the variance 1/6.
        let std = (0.5f32 * third).sqrt() + 1e-4;
        check(centred_then_normalised_by_the_batch, ScaleRewards::Auto, &groups, &[0.5 / std, -0.5 / std, 0.0, 0.0]);
    }

    /// The formula word by word: the mean over all others, one after the other.
    #[test]
    fn a_sample_is_held_against_the_others() {
        let groups: [&[Option<f64>]; 4] =
            [&[Some(1.0), Some(0.0), Some(0.5)], &[Some(2.0), None, Some(1.0)], &[Some(7.0)], &[None, Some(7.0)]];
        let slow = |group: &[Option<f64>], i: usize| -> f32 {
            let others: Vec<f64> = group.iter().enumerate().filter(|(j, _)| *j != i).filter_map(|(_, r)| *r).collect();
            match (group[i], others.len()) {
                (None, _) | (_, 0) => 0.0,
                (Some(r), n) => (r - others.iter().sum::<f64>() / n as f64) as f32,
            }
        };
        let expect: Vec<f32> = groups.iter().flat_map(|g| (0..g.len()).map(|i| slow(g, i))).collect();
        assert_eq!(expect, [0.75, -0.75, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0]);
        check(leave_one_out, ScaleRewards::Auto, &groups, &expect);
    }

    /// REINFORCE++'s two formulas word by word, on rewards of all kinds with outages among them.
    #[test]
    fn a_step_is_the_measure_in_reinforce_pp() {
        let groups: Vec<Vec<Option<f64>>> = (0..6u32)
            .map(|i| (0..4).map(|j| (i * j % 7 != 3).then(|| f64::from((i * 7 + j * j * 5) % 11) / 4.0)).collect())
            .collect();
        assert!(groups.concat().contains(&None));
        let slow = |centre: bool| -> Vec<f32> {
            let mut values: Vec<Option<f64>> = Vec::new();
            for group in &groups {
                let (mut sum, mut n) = (0.0, 0.0);
                group.iter().flatten().for_each(|r| (sum, n) = (sum + r, n + 1.0));
                values.extend(group.iter().map(|r| r.map(|r| if centre { r - sum / n } else { r })));
            }
            let known: Vec<f64> = values.iter().flatten().copied().collect();
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            let squares: f64 = known.iter().map(|v| (v - mean) * (v - mean)).sum();
            let std = (squares / (known.len() - 1) as f64).sqrt();
            values.into_iter().map(|v| v.map_or(0.0, |v| (v - mean) / (std + 1e-4)) as f32).collect()
        };
        let groups: Vec<&[Option<f64>]> = groups.iter().map(Vec::as_slice).collect();
        check(normalised_by_the_batch, ScaleRewards::Auto, &groups, &slow(false));
        check(centred_then_normalised_by_the_batch, ScaleRewards::Auto, &groups, &slow(true));
    }

    #[test]
    fn outages_equal_rewards_and_groups_of_one_are_0_everywhere() {
        let all: [Advantages; 4] =
            [relative_to_the_group, leave_one_out, normalised_by_the_batch, centred_then_normalised_by_the_batch];
        for scale in [ScaleRewards::Group, ScaleRewards::Batch, ScaleRewards::None] {
            for advantages in all {
                check(advantages, scale, &[], &[]);
                check(advantages, scale, &[&[None, None], &[None]], &[0.0; 3]);
                check(advantages, scale, &[&[Some(0.1); 3], &[Some(0.1)]], &[0.0; 4]);
                check(advantages, scale, &[&[Some(5.0)]], &[0.0]);
            }
        }
    }
}
