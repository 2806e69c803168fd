//! How the terms of tokens become one number.
//!
//! Sequences are counted whether or not they are masked; tokens are those that are in the loss. TRL counts the same way.

/// Sizes of a mini-batch, of its step and of one of its sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sequences in the mini-batch.
    pub sequences: usize,
    /// Tokens of this one.
    pub tokens: usize,
    /// Tokens of the mini-batch.
    pub minibatch_tokens: usize,
    /// Tokens of all mini-batches of the step.
    pub step_tokens: usize,
    /// Mini-batches of the step.
    pub minibatches: usize,
    /// Tokens of a sequence at most.
    pub max_tokens: usize,
}

/// 1/(sequences · tokens of this sequence): a sequence's terms are averaged over its tokens, then sequences over the batch ("grpo" in TRL).
pub fn mean_of_sequence_means(sizes: &Sizes) -> f32 {
    1.0 / (sizes.sequences * sizes.tokens) as f32
}

/// 1/sequences: a sequence's terms are added up, then sequences averaged; it counts by its length ("luspo").
pub fn mean_of_sequence_sums(sizes: &Sizes) -> f32 {
    1.0 / sizes.sequences as f32
}

/// 1/(sequences · longest length allowed): a constant, so that a token counts the same in a short and in a long answer ("dr_grpo").
pub fn sum_over_constant_length(sizes: &Sizes) -> f32 {
    1.0 / (sizes.sequences * sizes.max_tokens) as f32
}

/// 1/tokens of the mini-batch ("bnpo").
pub fn mean_of_minibatch_tokens(sizes: &Sizes) -> f32 {
    1.0 / sizes.minibatch_tokens as f32
}

/// mini-batches/tokens of the step: a token counts the same in whichever mini-batch it came to lie, and mini-batches together are a
/// mean over the step's tokens ("dapo").
pub fn mean_of_step_tokens(sizes: &Sizes) -> f32 {
    sizes.minibatches as f32 / sizes.step_tokens as f32
}
