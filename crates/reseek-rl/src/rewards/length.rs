//! Shorter answers within a group (Kimi k1.5, arXiv 2501.12599, 2.3.3).

use super::{Answer, Grade, Graded, Reward, correctness};

pub(super) const REWARD: Reward = Reward {
    name: "length",
    about: "λ = 0.5 − (tokens − fewest)/(most − fewest) over the prompt's own answers: a right answer earns λ, a wrong one min(0, λ)",
    range: (-0.5, 0.5),
    learned: false,
    grade: Grade::Group(grade),
};

fn grade(group: &[Answer]) -> Vec<Graded> {
    let lengths: Vec<usize> = group.iter().map(|answer| answer.tokens.len()).collect();
    let right: Vec<_> = group.iter().map(correctness).collect();
    right
        .iter()
        .zip(of(&lengths, &right))
        .map(|(right, value)| right.map_or(Graded::Unjudged, |_| Graded::Earned(value)))
        .collect()
}

/// λ of each, 0 where the verdict is missing.
fn of(lengths: &[usize], right: &[Option<bool>]) -> Vec<f64> {
    let (least, most) = (lengths.iter().min().copied().unwrap_or(0), lengths.iter().max().copied().unwrap_or(0));
    let lambda = |length: usize| match most - least {
        0 => 0.0,
        span => 0.5 - (length - least) as f64 / span as f64,
    };
    let value = |(&length, right): (&usize, &Option<bool>)| match right {
        Some(true) => lambda(length),
        Some(false) => lambda(length).min(0.0),
        None => 0.0,
    };
    lengths.iter().zip(right).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_shortest_right_answer_earns_most_and_a_wrong_one_nothing_for_being_short() {
        let right = [Some(true), Some(true), Some(false), Some(false), None];
        assert_eq!(of(&[10, 30, 10, 30, 20], &right), [0.5, -0.5, 0.0, -0.5, 0.0]);
        assert_eq!(of(&[7, 7], &[Some(true), Some(false)]), [0.0, 0.0]);
        assert!(of(&[], &[]).is_empty());
    }
}
