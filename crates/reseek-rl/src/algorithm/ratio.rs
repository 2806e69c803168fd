//! w: how many times as likely the policy makes a token or a sequence as the policy that sampled it did.

/// What the ratio is taken of.
#[derive(Clone, Copy, Debug)]
pub enum Ratio {
    /// Each token, from its log π and log π_old: the loss needs one token at a time.
    OfToken(fn(f32, f32) -> f32),
    /// A whole sequence, one w for all of its tokens.
    OfSequence {
        /// w from the tokens' log π and log π_old.
        of: fn(&[f32], &[f32]) -> f32,
        /// For a sequence of so many tokens, d(Σ over its tokens of w) / d(log π of one of them), in units of w.
        slope: fn(usize) -> f32,
    },
}

/// s = (π(y)/π_old(y))^(1/|y|), the geometric mean of the tokens' ratios (GSPO).
pub const OF_MEAN_TOKEN: Ratio = Ratio::OfSequence { of: likelihood_per_token, slope: |_| 1.0 };

/// π(y)/π_old(y): the whole answer is one action (RLOO).
pub const OF_ANSWER: Ratio = Ratio::OfSequence { of: likelihood, slope: |tokens| tokens as f32 };

/// π/π_old.
pub fn of_token(logp: f32, old: f32) -> f32 {
    (logp - old).exp()
}

fn likelihood_per_token(logprobs: &[f32], old: &[f32]) -> f32 {
    (log_likelihood(logprobs, old) / logprobs.len() as f32).exp()
}

fn likelihood(logprobs: &[f32], old: &[f32]) -> f32 {
    log_likelihood(logprobs, old).exp()
}

fn log_likelihood(logprobs: &[f32], old: &[f32]) -> f32 {
    logprobs.iter().zip(old).map(|(logp, old)| logp - old).sum()
}
