//! How the terms of tokens become one number.

/// Sizes of a mini-batch, and of one of its sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sequences in the mini-batch.
    pub sequences: usize,
    /// Tokens of this one.
    pub tokens: usize,
}

/// 1/(sequences · tokens of this sequence): a sequence's terms are averaged over its tokens, then sequences over the batch ("grpo" in TRL).
pub fn mean_of_sequence_means(sizes: &Sizes) -> f32 {
    1.0 / (sizes.sequences * sizes.tokens) as f32
}
