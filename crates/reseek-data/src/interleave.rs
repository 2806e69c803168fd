//! Two sequences of items dealt into one at a fixed share, evenly.

/// Deals items between a first and a second sequence so that among any first `i` items the first sequence has had
/// ⌊share·i⌋: Bresenham's line. Unlike independent draws this tells, for any `i` at once, how many came before, and the
/// share holds in every batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interleave {
    /// The share in units of 2⁻³².
    share: u64,
}

impl Interleave {
    /// `share` of the items, in [0, 1], belong to the first sequence.
    pub(crate) fn new(share: f64) -> Self {
        Self { share: (share.clamp(0.0, 1.0) * (1_u64 << 32) as f64).round() as u64 }
    }

    /// How many of the items `0..i` belong to the first sequence.
    pub(crate) fn before(self, i: u64) -> u64 {
        ((u128::from(i) * u128::from(self.share)) >> 32) as u64
    }

    /// Item `i` as an index into the first sequence (`Ok`) or into the second (`Err`).
    pub(crate) fn place(self, i: u64) -> Result<u64, u64> {
        let first = self.before(i);
        if self.before(i + 1) > first { Ok(first) } else { Err(i - first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sequences_come_whole_and_in_order() {
        for share in [0.0, 0.001, 0.3, 0.5, 0.999, 1.0] {
            let deal = Interleave::new(share);
            let (mut first, mut second) = (0, 0);
            for i in 0..10_000 {
                match deal.place(i) {
                    Ok(at) => assert_eq!((at, first += 1).0, first - 1),
                    Err(at) => assert_eq!((at, second += 1).0, second - 1),
                }
                assert!((first as f64 - share * (i + 1) as f64).abs() <= 1.0, "share {share} at {i}");
            }
        }
        assert_eq!(Interleave::new(1.0).place(u64::MAX - 1), Ok(u64::MAX - 1));
    }
}
