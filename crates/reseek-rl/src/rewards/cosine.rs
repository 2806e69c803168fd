//! Length by a cosine (Yeo et al. 2025, arXiv 2502.03373, equation 1): right answers earn more when they are short, wrong ones lose less when
//! they are long.

use std::f64::consts::PI;

use super::{Answer, Grade, Graded, Reward, correctness};

pub(super) const REWARD: Reward = Reward {
    name: "cosine",
    about: "with p = tokens/max_new_tokens, at most 1: a right answer earns 0.75 + 0.25·cos(πp), from 1 to 0.5; a wrong one −0.75 − 0.25·cos(πp), from \
            −1 to −0.5",
    range: (-1.0, 1.0),
    learned: false,
    grade: Grade::Each(grade),
};

fn grade(answer: &Answer) -> Graded {
    match correctness(answer) {
        Some(right) => Graded::Earned(of(right, answer.tokens.len(), answer.limit)),
        None => Graded::Unjudged,
    }
}

fn of(right: bool, tokens: usize, limit: usize) -> f64 {
    // Beyond the limit a cosine would climb again.
    let p = (tokens as f64 / limit.max(1) as f64).min(1.0);
    let (short, long) = if right { (1.0, 0.5) } else { (-1.0, -0.5) };
    long + 0.5 * (short - long) * (1.0 + (PI * p).cos())
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn short_is_better_where_it_is_right_and_worse_where_it_is_wrong() {
        for (right, tokens, expect) in [
            (true, 0, 1.0),
            (true, 50, 0.75),
            (true, 100, 0.5),
            (true, 200, 0.5),
            (false, 0, -1.0),
            (false, 50, -0.75),
            (false, 100, -0.5),
            (false, 150, -0.5),
        ] {
            assert!((of(right, tokens, 100) - expect).abs() < 1e-12, "{right}, {tokens}");
        }
        let falls =
            (0..200).all(|n| of(true, n, 100) >= of(true, n + 1, 100) && of(false, n, 100) <= of(false, n + 1, 100));
        assert!(falls, "the reward turns somewhere");
    }
}
