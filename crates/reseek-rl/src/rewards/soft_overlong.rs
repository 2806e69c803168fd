//! Answers that come near the limit (DAPO, arXiv 2503.14476, equation 13).

use super::{Answer, Grade, Graded, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "soft_overlong",
    about: "with M = max_new_tokens and C = M/4, as Open R1's 4,096 of 16,384: 0 up to M − C tokens, then (M − C − tokens)/C, −1 from M on",
    range: (-1.0, 0.0),
    learned: false,
    grade: Grade::Each(|answer: &Answer| Graded::Earned(of(answer.tokens.len(), answer.limit))),
};

fn of(tokens: usize, limit: usize) -> f64 {
    let punished = (limit / 4).max(1);
    let free = limit.saturating_sub(punished);
    match tokens.saturating_sub(free) {
        0 => 0.0,
        beyond => -(beyond as f64 / punished as f64).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_last_quarter_costs_more_and_more() {
        for (tokens, expect) in [(0, 0.0), (75, 0.0), (76, -0.04), (80, -0.2), (100, -1.0), (130, -1.0)] {
            assert!((of(tokens, 100) - expect).abs() < 1e-12, "{tokens}: {}", of(tokens, 100));
        }
        assert_eq!((of(1, 1), of(5, 0)), (-1.0, -1.0));
    }
}
