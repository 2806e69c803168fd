//! This room's random streams.

use reseek_tasks::Stream;

/// The stream of item `index` for `purpose` under `seed`.
pub(crate) fn stream(seed: u64, purpose: &str, index: u64) -> Stream {
    Stream::of_room("reseek-data/1", seed, purpose, index)
}

/// The numbers `0..n` in the order of epoch `epoch`.
pub(crate) fn permutation(seed: u64, purpose: &str, epoch: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    stream(seed, purpose, epoch).shuffle(&mut order);
    order
}
