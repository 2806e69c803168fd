//! Named random streams: every draw is a function of (room, seed, purpose, index) and of nothing else, so that item
//! `i` can be made again without the items before it.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// One stream of random draws: ChaCha8 under the SHA-256 of its name.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// This room's stream of item `index` for `purpose` under `seed`.
    pub(crate) fn new(seed: u64, purpose: &str, index: u64) -> Stream {
        Self::of_room("reseek-tasks/1", seed, purpose, index)
    }

    /// The stream of item `index` for `purpose` under `seed`, in the room called `room`: other rooms' streams are others, whatever their
    /// purposes are called.
    pub fn of_room(room: &str, seed: u64, purpose: &str, index: u64) -> Stream {
        let mut hash = Sha256::new();
        hash.update(room.as_bytes());
        hash.update([0]);
        hash.update(purpose.as_bytes());
        hash.update([0]);
        hash.update(seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// A whole number in `0..n`. The bias of the multiply-and-shift is below n/2⁶⁴.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a draw from nothing");
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// A whole number in `low..=high`.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// A real number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `items`, all alike.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An index into `weights`, with probability proportional to the weight there.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (i, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return i;
            }
        }
        // Rounding can leave a hair over: it belongs to the last index that can be drawn at all.
        weights.iter().rposition(|&w| w > 0.0).unwrap_or(0)
    }

    /// `n` different whole numbers in `low..=high`, in the order drawn.
    pub(crate) fn distinct(&mut self, n: usize, low: i64, high: i64) -> Vec<i64> {
        let mut drawn = Vec::with_capacity(n);
        while drawn.len() < n {
            let x = self.range(low, high);
            if !drawn.contains(&x) {
                drawn.push(x);
            }
        }
        drawn
    }

    /// Puts `items` into a random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
