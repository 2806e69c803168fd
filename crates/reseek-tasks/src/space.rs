//! How many problems a family can ask.

use std::collections::BTreeMap;

use crate::families;
use crate::family::{Family, LEVELS};
use crate::stream::Stream;

/// The number of problems that a family asks at a level, all splits together. Wordings, languages and orders that ask the
/// same thing are one problem: that of a key, by which [`Split::of`](crate::Split::of) decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Each was drawn at least twice, so hardly one can be missing.
    Counted(u64),
    /// From the pairs of draws that asked the same: with `n` problems, all alike, one pair in `n` does. Where some are
    /// drawn more often than others there are more of them, which come again as often as `n` equally likely ones.
    Estimated(u64),
}

impl Space {
    /// How many different problems there are.
    pub fn problems(self) -> u64 {
        match self {
            Space::Counted(n) | Space::Estimated(n) => n,
        }
    }
}

/// Draws by which a level is counted.
const DRAWS: u64 = 40_000;

/// What `family` can ask at each level.
pub fn spaces(family: Family) -> [Space; LEVELS as usize] {
    [1, 2, 3].map(|level| space(family, level))
}

/// What `family` can ask at `level`.
///
/// # Panics
/// If `level` is not in `1..=LEVELS`.
pub fn space(family: Family, level: u8) -> Space {
    let mut stream = Stream::new(0, "space", u64::from(level));
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..DRAWS {
        *times.entry(families::draw(family, level, &mut stream).key).or_default() += 1;
    }
    if times.values().all(|&n| n > 1) {
        return Space::Counted(times.len() as u64);
    }
    let pairs: u64 = times.values().map(|n| n * (n - 1) / 2).sum();
    let estimate = (DRAWS * (DRAWS - 1) / 2) as f64 / pairs.max(1) as f64;
    Space::Estimated((estimate.round() as u64).max(times.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_what_arithmetic_says() {
        assert_eq!(space(Family::Addition, 1), Space::Counted(90 * 9));
        assert_eq!(space(Family::Remainder, 1), Space::Counted((3..=9).map(|d| 10 * d - 10).sum()));
        // 22 people in 462 pairs, the first a knight or a knave, the claim true or false.
        assert_eq!(space(Family::KnightsKnaves, 1), Space::Counted(462 * 4));
        for (family, level, exact) in [
            (Family::Addition, 2, 90.0 * 91.0 / 2.0),
            (Family::Subtraction, 3, 900.0 * 899.0 / 2.0),
            // Five in six of the draws from three letters: 36/25 of them, less a little.
            (Family::ReverseWord, 1, 36.0 / 25.0 * 26.0 * 25.0 * 24.0),
        ] {
            let Space::Estimated(n) = space(family, level) else { panic!("{family} {level} was counted") };
            let error = n as f64 / exact - 1.0;
            assert!(error.abs() < 0.15, "{family} {level}: {n} for {exact}");
        }
    }
}
