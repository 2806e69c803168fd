//! The language-model head with its softmax: log-probabilities of the targets, and the gradients
//! of any loss that is a function of them, in chunks of rows. Logits live only in a chunk's
//! scratch, so that rows × vocabulary never exists.
//!
//! **Invariant:** a row's log-probability has the same bits in [`lm_loss`], [`lm_logprobs`] and
//! [`log_softmax_row`] of the logits that [`crate::linear::linear_forward`] gives and [`temper`]
//! divides, whatever the other rows are: sums run over 16 lanes in the order of the vocabulary and then a tree.

use std::cell::Cell;

use crate::buffer::{View, ViewMut};
use crate::exp::{exp, ln};
use crate::linear::{Linear, linear_dgrad, linear_forward, linear_wgrad};
use crate::matmul::Accumulate;
use crate::operand::Operand;
use crate::permute::gather_rows;
use crate::profile::{Op, span};
use crate::scratch::Scratch;
use crate::simd::{LANES, Lanes, multiversion};

/// Target of a row that has none: the row costs nothing and its gradient is 0.
pub const IGNORE: u32 = u32::MAX;

/// Rows whose logits are held at once.
const CHUNK_ROWS: usize = 256;

/// Where [`lm_loss`] puts gradients.
pub struct LmGrads<'a> {
    /// `[rows, hidden_size]`, overwritten.
    pub dhidden: ViewMut<'a>,
    /// `[vocab_size, hidden_size]`, added to.
    pub dhead: &'a mut [f32],
}

/// Divides logits by `temperature`. Trainer and sampler both do it by this function, before the softmax, so that both see the same bits;
/// 1 changes none.
///
/// # Panics
/// If `temperature` is not above 0.
pub fn temper(logits: &mut [f32], temperature: f32) {
    assert!(temperature > 0.0, "a softmax at temperature {temperature}");
    if temperature != 1.0 {
        let factor = 1.0 / temperature;
        logits.iter_mut().for_each(|logit| *logit *= factor);
    }
}

/// For every row with a target, in order: computes `logp`, the log-probability of its target under
/// softmax(logits / `temperature`), and the entropy of that distribution (both natural), and calls
/// `dlogp(row, logp, entropy)`, which returns the derivative of the loss by `logp`. With `grads`,
/// goes on to the gradients of `hidden [rows, hidden_size]` and of the head.
///
/// Mean cross-entropy is `dlogp = |_, logp, _| { loss -= logp / n; -1.0 / n }` at temperature 1.
/// Values that are not finite come out as NaN.
///
/// # Panics
/// If a target is neither in the vocabulary nor [`IGNORE`], if `temperature` is not above 0, or if
/// lengths do not fit.
pub fn lm_loss<'v>(
    hidden: impl Into<View<'v>>,
    head: &Linear,
    targets: &[u32],
    temperature: f32,
    dlogp: &mut dyn FnMut(usize, f32, f32) -> f32,
    mut grads: Option<LmGrads<'_>>,
) {
    let hidden = hidden.into().0;
    check(hidden, head, targets, grads.as_ref());
    let (width, vocab) = (head.in_features(), head.out_features());
    let passes = if grads.is_some() { 3 } else { 2 };
    let _span = span(Op::CrossEntropy, 6 * targets.len() * vocab, 2 * passes * targets.len() * vocab);
    if let Some(grads) = &mut grads {
        grads.dhidden.0.fill(0.0);
    }
    let mut scratch = SCRATCH.take();
    let [hidden_chunk, logits_chunk, dhidden_chunk] = &mut scratch;
    let dtype = head.input_dtype();
    let with_target = |row: &u32| targets[*row as usize] != IGNORE;
    let mut rows = (0..targets.len() as u32).filter(with_target);
    loop {
        let mut chunk = [0; CHUNK_ROWS];
        let n = chunk.iter_mut().zip(&mut rows).map(|(slot, row)| *slot = row).count();
        let chunk = &chunk[..n];
        if chunk.is_empty() {
            break;
        }
        let x = hidden_chunk.floats(n * width);
        let logits = logits_chunk.floats(n * vocab);
        gather_rows(&mut *x, hidden, chunk, width);
        let x = Operand::of(&*x, width, dtype);
        linear_forward(&mut *logits, &x, head);
        temper(logits, temperature);
        let mut softmax_of = |row: u32, logits: &mut [f32]| {
            let softmax = Softmax::of(logits, targets[row as usize] as usize);
            let slope = dlogp(row as usize, softmax.logp, softmax.entropy);
            (softmax, slope)
        };
        let Some(grads) = &mut grads else {
            let rows = chunk.iter().zip(logits.chunks_exact_mut(vocab));
            rows.for_each(|(&row, logits)| {
                softmax_of(row, logits);
            });
            continue;
        };
        let dlogits = Operand::by_blocks(n, vocab, dtype, |rows, out| {
            let logits = logits[rows.start * vocab..rows.end * vocab].chunks_exact_mut(vocab);
            for ((&row, logits), out) in chunk[rows].iter().zip(logits).zip(out.chunks_exact_mut(vocab)) {
                let (softmax, slope) = softmax_of(row, logits);
                // dlogp/dlogits = (onehot − softmax) / temperature
                let slope = slope / temperature;
                scale(out, logits, -slope / softmax.sum);
                out[targets[row as usize] as usize] += slope;
            }
        });
        let dx = dhidden_chunk.floats(n * width);
        linear_dgrad(&mut *dx, &dlogits, head, Accumulate::Set);
        for (&row, dx) in chunk.iter().zip(dx.chunks_exact(width)) {
            grads.dhidden.0[row as usize * width..][..width].copy_from_slice(dx);
        }
        linear_wgrad(grads.dhead, &dlogits, &x, head);
    }
    SCRATCH.set(scratch);
}

/// Log-probabilities of the targets under softmax(logits / `temperature`), 0 for rows with [`IGNORE`].
///
/// # Panics
/// As [`lm_loss`], and if `out` has not one value a row.
pub fn lm_logprobs<'v>(hidden: impl Into<View<'v>>, head: &Linear, targets: &[u32], temperature: f32, out: &mut [f32]) {
    let hidden = hidden.into().0;
    assert_eq!(out.len(), targets.len(), "out has {} values for {} rows", out.len(), targets.len());
    out.fill(0.0);
    let mut keep = |row: usize, logp, _| {
        out[row] = logp;
        0.0
    };
    lm_loss(hidden, head, targets, temperature, &mut keep, None);
}

/// Turns one row of logits into log-probabilities, and leaves in `weights` the probabilities divided by the greatest. Returns the
/// greatest log-probability, NaN where a logit is. Logits of −∞ are impossible tokens.
///
/// # Panics
/// If the row is empty, or `weights` of another length.
pub fn log_softmax_row(logits: &mut [f32], weights: &mut [f32]) -> f32 {
    assert!(!logits.is_empty(), "softmax of no logits");
    assert_eq!(weights.len(), logits.len(), "weights and logits of a row");
    let max = max_of(logits);
    let ln_sum = ln(weights_of(weights, logits, max));
    subtract(logits, max, ln_sum);
    -ln_sum
}

/// What a row's logits give.
struct Softmax {
    /// Of the target.
    logp: f32,
    entropy: f32,
    /// Σ exp(logit − greatest).
    sum: f32,
}

impl Softmax {
    /// Leaves exp(logit − greatest) in `logits`.
    fn of(logits: &mut [f32], target: usize) -> Self {
        let max = max_of(logits);
        let target_logit = logits[target];
        let (sum, weighted) = replace_by_exp(logits, max);
        let ln_sum = ln(sum);
        Self { logp: target_logit - max - ln_sum, entropy: ln_sum - weighted / sum, sum }
    }
}

fn check(hidden: &[f32], head: &Linear, targets: &[u32], grads: Option<&LmGrads>) {
    let (width, vocab, rows) = (head.in_features(), head.out_features(), targets.len());
    assert_eq!(hidden.len(), rows * width, "hidden has {} values, which are not {rows} rows of {width}", hidden.len());
    if let Some(target) = targets.iter().find(|&&target| target != IGNORE && target as usize >= vocab) {
        panic!("target {target} is outside the vocabulary of {vocab}");
    }
    if let Some(LmGrads { dhidden, dhead }) = grads {
        assert_eq!(dhidden.0.len(), hidden.len(), "dhidden has {} values, hidden {}", dhidden.0.len(), hidden.len());
        assert_eq!(dhead.len(), vocab * width, "dhead has {} values, the head is {vocab} x {width}", dhead.len());
    }
}

multiversion! {
    fn max_of(logits: &[f32]) -> f32 = max_body
}

multiversion! {
    /// weights = exp(logit − max), and their sum.
    fn weights_of(weights: &mut [f32], logits: &[f32], max: f32) -> f32 = weights_body
}

multiversion! {
    /// The same sum, and Σ exp(logit − max) · (logit − max); keeps the exponentials.
    fn replace_by_exp(logits: &mut [f32], max: f32) -> (f32, f32) = replace_by_exp_body
}

multiversion! {
    fn subtract(logits: &mut [f32], max: f32, ln_sum: f32) = subtract_body
}

multiversion! {
    fn scale(y: &mut [f32], x: &[f32], factor: f32) = scale_body
}

#[inline(always)]
fn max_body<V: Lanes>(logits: &[f32]) -> f32 {
    let mut greatest = V::splat(f32::NEG_INFINITY);
    for at in (0..logits.len()).step_by(LANES) {
        greatest = V::load_at(logits, at, f32::NEG_INFINITY).max(greatest);
    }
    greatest.reduce_max()
}

#[inline(always)]
fn weights_body<V: Lanes>(weights: &mut [f32], logits: &[f32], max: f32) -> f32 {
    let mut sum = V::splat(0.0);
    for at in (0..logits.len()).step_by(LANES) {
        let below = V::load_at(logits, at, f32::NEG_INFINITY).sub(V::splat(max));
        let weight = exp(below);
        sum = sum.add(weight);
        weight.store_at(weights, at);
    }
    sum.reduce_add()
}

#[inline(always)]
fn replace_by_exp_body<V: Lanes>(logits: &mut [f32], max: f32) -> (f32, f32) {
    /// Where exp is 0 already; keeps 0 · −∞ out of the weighted sum.
    const FLOOR: f32 = -200.0;
    let (mut sum, mut weighted) = (V::splat(0.0), V::splat(0.0));
    for at in (0..logits.len()).step_by(LANES) {
        let below = V::load_at(logits, at, f32::NEG_INFINITY).sub(V::splat(max));
        let weight = exp(below);
        sum = sum.add(weight);
        weighted = weight.mul_add(below.max(V::splat(FLOOR)), weighted);
        weight.store_at(logits, at);
    }
    (sum.reduce_add(), weighted.reduce_add())
}

#[inline(always)]
fn subtract_body<V: Lanes>(logits: &mut [f32], max: f32, ln_sum: f32) {
    for at in (0..logits.len()).step_by(LANES) {
        let below = V::load_at(logits, at, 0.0).sub(V::splat(max));
        below.sub(V::splat(ln_sum)).store_at(logits, at);
    }
}

#[inline(always)]
fn scale_body<V: Lanes>(y: &mut [f32], x: &[f32], factor: f32) {
    for at in (0..x.len()).step_by(LANES) {
        V::load_at(x, at, 0.0).mul(V::splat(factor)).store_at(y, at);
    }
}

thread_local! {
    /// Hidden rows, logits and gradients of hidden rows of a chunk; taken while in use, so that
    /// `dlogp` may call back into this module.
    static SCRATCH: Cell<[Scratch; 3]> = const { Cell::new([const { Scratch::new() }; 3]) };
}
