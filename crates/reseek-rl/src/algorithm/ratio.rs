//! w: how many times as likely the policy makes a token or a sequence as the policy that sampled it did.
//!
//! Whatever its form, Σ over a sequence's tokens of w has the slope w by each token's log π. That is all that the terms ask of it.

/// What the ratio is taken of.
#[derive(Clone, Copy, Debug)]
pub enum Ratio {
    /// Each token, from its log π and log π_old: the loss needs one token at a time.
    OfToken(fn(f32, f32) -> f32),
    /// A whole sequence, one w for all of its tokens, from their log π and log π_old.
    OfSequence(fn(&[f32], &[f32]) -> f32),
}

/// π/π_old.
pub fn of_token(logp: f32, old: f32) -> f32 {
    (logp - old).exp()
}
