//! What is minimised beside the model's own terms (MTP and balance): a function of a chunk's hidden rows, which gives their gradient.
//!
//! Most losses are functions of the targets' log-probabilities, and say how much of them they see. One that needs a token alone is a
//! [`TokenLoss`]: one pass through the head gives log p, takes the slope and goes on to the gradients. One that needs whole sequences
//! is a [`SequenceLoss`]: a first pass gives all log-probabilities of the chunk, a second one, with the slopes in hand, the gradients.
//! What has another head, or needs whole distributions, implements [`Objective`] itself.

use reseek_model::{Model, Rows};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::cross_entropy::{IGNORE, LmGrads, lm_loss};

use crate::LaneStats;

/// A loss of the hidden rows.
pub trait Objective: Sync {
    /// Trained values of its own, such as a scalar head. Their gradients lie behind the model's.
    fn parameters(&self) -> usize {
        0
    }

    /// The gradient of the chunk's hidden rows, [n, d]. Adds those of the head, or of its own values, to `grads`, laid out as the
    /// model's weights followed by [`Objective::parameters`], and what it saw to `stats`.
    fn backward(&self, outputs: &Outputs, grads: &mut [f32], stats: &mut LaneStats) -> Buffer;
}

/// What a pass gives to the loss.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// Whose pass it was.
    pub model: &'a Model,
    /// The rows, n of them.
    pub rows: &'a Rows,
    /// What each row should predict, or `IGNORE`, [n].
    pub targets: &'a [u32],
    /// The segments that are sequences of the batch, in order; the others are prefixes.
    pub sequences: &'a [usize],
    /// Number of the first row in the whole batch.
    pub first_row: usize,
    /// Number of the first sequence in the whole batch.
    pub first_sequence: usize,
    /// Hidden rows after the last norm, [n, d].
    pub hidden: &'a [f32],
}

/// A loss that is a sum over tokens, each term a function of its own log p: cross-entropy, GRPO.
#[derive(Clone, Copy, Debug)]
pub struct TokenLoss<F> {
    /// T of softmax(logits / T), whose log-probabilities the loss sees: 1, and in RL what the samples were drawn at.
    pub temperature: f32,
    /// d loss / d log p of the target, from the number of its row in the whole batch and its log p.
    pub slope: F,
}

impl<F: Fn(usize, f32) -> f32 + Sync> Objective for TokenLoss<F> {
    fn backward(&self, outputs: &Outputs, grads: &mut [f32], stats: &mut LaneStats) -> Buffer {
        let first = outputs.first_row;
        head_backward(outputs, self.temperature, grads, |row, logp, entropy| {
            stats.see(first + row, logp, entropy);
            (self.slope)(first + row, logp)
        })
    }
}

/// What the model says of a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceLogprobs<'a> {
    /// Its number in the whole batch.
    pub sequence: usize,
    /// log p of each of its targets, [t].
    pub logprobs: &'a [f32],
    /// Entropy of the distribution at each of them, in nats, [t].
    pub entropies: &'a [f32],
}

/// A loss whose terms see whole sequences, or several of them: GSPO, losses of pairs. A chunk holds a group whole wherever it fits, so
/// sequences that belong together are dealt as one group ([`crate::deal_whole`]).
#[derive(Clone, Copy, Debug)]
pub struct SequenceLoss<F> {
    /// As in [`TokenLoss`].
    pub temperature: f32,
    /// d loss / d log p of every target, sequence after sequence, from a chunk's sequences.
    pub slopes: F,
}

impl<F: Fn(&[SequenceLogprobs]) -> Vec<f32> + Sync> Objective for SequenceLoss<F> {
    fn backward(&self, outputs: &Outputs, grads: &mut [f32], stats: &mut LaneStats) -> Buffer {
        let (mut logprobs, mut entropies) = (Vec::new(), Vec::new());
        let mut keep = |row: usize, logp: f32, entropy: f32| {
            stats.see(outputs.first_row + row, logp, entropy);
            logprobs.push(logp);
            entropies.push(entropy);
            0.0
        };
        lm_loss(outputs.hidden, outputs.model.head(), outputs.targets, self.temperature, &mut keep, None);
        let mut from = 0;
        let seen = outputs.target_counts().into_iter().enumerate().map(|(i, targets)| {
            let of = from..from + targets;
            from = of.end;
            SequenceLogprobs {
                sequence: outputs.first_sequence + i,
                logprobs: &logprobs[of.clone()],
                entropies: &entropies[of],
            }
        });
        let slopes = (self.slopes)(&seen.collect::<Vec<_>>());
        assert_eq!(slopes.len(), logprobs.len(), "a loss gave {} slopes for {} targets", slopes.len(), logprobs.len());
        let mut slopes = slopes.into_iter();
        head_backward(outputs, self.temperature, grads, |_, _, _| slopes.next().expect("as many as targets"))
    }
}

impl Outputs<'_> {
    /// Targets of each sequence: what is learnt of a prefix would belong to none.
    fn target_counts(&self) -> Vec<usize> {
        let ends: Vec<usize> = self.rows.segments.iter().scan(0, |end, len| (*end += len, Some(*end)).1).collect();
        let count = |&segment: &usize| {
            let rows = ends[segment] - self.rows.segments[segment]..ends[segment];
            self.targets[rows].iter().filter(|&&target| target != IGNORE).count()
        };
        self.sequences.iter().map(count).collect()
    }
}

/// The language-model head's gradients, where `slope(row, log p, entropy)` is the derivative by the log p of a row's target.
fn head_backward(
    outputs: &Outputs,
    temperature: f32,
    grads: &mut [f32],
    mut slope: impl FnMut(usize, f32, f32) -> f32,
) -> Buffer {
    let Outputs { model, targets, hidden, .. } = *outputs;
    let mut dhidden = Buffer::uncleared(hidden.len());
    let head = LmGrads { dhidden: (&mut dhidden).into(), dhead: &mut grads[model.head_range()] };
    lm_loss(hidden, model.head(), targets, temperature, &mut slope, Some(head));
    dhidden
}
