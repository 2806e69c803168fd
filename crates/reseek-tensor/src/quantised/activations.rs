//! Activations rounded to 16 bits, block by block, in two bytes: x ≈ scale·(256·high + low), both signed.
//!
//! With 8 bits the log-probabilities of a 135M model moved by 0.08 (root mean square): some channels are a hundred times the others.

use std::cell::Cell;

use super::BLOCK;
use crate::simd::{Lanes, multiversion};

/// The greatest q: 127·256, so that no high byte overflows.
const GREATEST: f32 = 32_512.0;

/// Rows of activations: x ≈ scale·q in each block of 32, q = 256·high + low.
pub(super) struct Activations<'a> {
    pub rows: usize,
    blocks: usize,
    /// `[rows, blocks, 2, 32]`: the high bytes of a block, then the low ones.
    q: &'a [i8],
    /// `[rows, blocks]` of (scale, scale·Σq).
    scales: &'a [(f32, f32)],
}

impl Activations<'_> {
    /// High bytes, then low ones.
    pub fn block(&self, row: usize, index: usize) -> &[i8; 2 * BLOCK] {
        self.q[(row * self.blocks + index) * 2 * BLOCK..].first_chunk().expect("a whole block")
    }

    /// scale and scale·Σq.
    pub fn scale_and_sum(&self, row: usize, index: usize) -> (f32, f32) {
        self.scales[row * self.blocks + index]
    }
}

#[derive(Default)]
struct Memory {
    q: Vec<i8>,
    scales: Vec<(f32, f32)>,
}

/// Rounds `x: [_, k]` and hands it to `f`, in this thread's working memory.
pub(super) fn with_activations<R>(x: &[f32], k: usize, f: impl FnOnce(Activations) -> R) -> R {
    thread_local! {
        static KEPT: Cell<Memory> = const { Cell::new(Memory { q: Vec::new(), scales: Vec::new() }) };
    }
    let Memory { mut q, mut scales } = KEPT.take();
    q.resize(2 * x.len(), 0);
    scales.resize(x.len() / BLOCK, (0.0, 0.0));
    round(&mut q, &mut scales, x);
    let result = f(Activations { rows: x.len() / k, blocks: k / BLOCK, q: &q, scales: &scales });
    KEPT.set(Memory { q, scales });
    result
}

multiversion! {
    fn round(q: &mut [i8], scales: &mut [(f32, f32)], x: &[f32]) = round_body
}

#[inline(always)]
fn round_body<V: Lanes>(q: &mut [i8], scales: &mut [(f32, f32)], x: &[f32]) {
    let blocks = x.as_chunks::<BLOCK>().0.iter().zip(q.as_chunks_mut::<{ 2 * BLOCK }>().0);
    for ((x, q), scale) in blocks.zip(scales) {
        let (mut greatest, mut not_finite) = (0.0_f32, 0.0_f32);
        for &x in x {
            greatest = if x.abs() > greatest { x.abs() } else { greatest };
            // 0 for what is finite and NaN for the rest, so that no error is rounded away.
            not_finite += x * 0.0;
        }
        // A block of zeros counts as 0, and so does one below 1e-34, whose inverse is beyond f32: its whole numbers would overflow.
        let inverse = GREATEST / greatest;
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let (high, low) = q.split_at_mut(BLOCK);
        let mut sum = 0;
        for ((high, low), &x) in high.iter_mut().zip(low).zip(x) {
            let whole = (x * inverse).round_ties_even() as i32;
            // To the nearest multiple of 256, so that both parts are signed bytes.
            *high = ((whole + 128) >> 8) as i8;
            *low = whole as i8;
            sum += whole;
        }
        let s = greatest / GREATEST + not_finite;
        *scale = (s, s * sum as f32);
    }
}
