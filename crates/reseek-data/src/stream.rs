//! Named random streams: a draw is a function of (seed, purpose, index) and of nothing else.
//!
//! ChaCha8 keyed with SHA-256 of the name, as in the room of tasks; the prefix keeps the two rooms' streams apart.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// One stream of random draws.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of item `index` for `purpose` under `seed`.
    pub(crate) fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"reseek-data/1\0");
        hash.update(purpose.as_bytes());
        hash.update([0]);
        hash.update(seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// Uniform in `0..n`; the bias of the multiply-and-shift is below n/2⁶⁴.
    ///
    /// # Panics
    /// If `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0): there is no value to draw");
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Every order of `items` is equally likely (Fisher–Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The numbers `0..n` in the order of epoch `epoch`.
pub(crate) fn permutation(seed: u64, purpose: &str, epoch: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Stream::new(seed, purpose, epoch).shuffle(&mut order);
    order
}
