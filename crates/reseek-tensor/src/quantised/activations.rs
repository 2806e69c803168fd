//! Activations rounded to 16 bits, block by block: x ≈ scale·q.
//!
//! With 8 bits the log-probabilities of a 135M model moved by 0.08 (root mean square): some channels are a hundred times the others.

use std::cell::Cell;

use super::{BLOCK, Form};
use crate::simd::{Lanes, multiversion};

/// The greatest q: 127·256, so that no high byte overflows.
const GREATEST: f32 = 32_512.0;

/// How the q of a block lie in its 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The high bytes of all, then the low ones, both signed: q = 256·high + low.
    Bytes,
    /// Of each four the first, the third, the second and the last: pairs that meet the even and the odd bytes of a word of codes.
    Words,
}

/// Rows that lie together, block by block.
const TILE: usize = 8;

/// Rows of activations: x ≈ scale·q in each block of 32. Of each eight rows, and of those that are left: block after block, row after row.
pub(super) struct Activations<'a> {
    pub rows: usize,
    blocks: usize,
    q: &'a [Whole],
    of: &'a [OfBlock],
}

/// The q of a block in one of the orders.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Whole(pub [i16; BLOCK]);

/// What a block of activations has but its q.
#[derive(Clone, Copy, Default)]
pub(super) struct OfBlock {
    pub scale: f32,
    /// −z·Σq of each group.
    pub starts: [i32; 2],
    /// scale·Σq of each group.
    pub sums: [f32; 2],
}

impl Activations<'_> {
    /// Where the first block of a row lies, and how far it is to its next.
    pub fn place(&self, row: usize) -> (usize, usize) {
        place(self.rows, self.blocks, row)
    }

    /// A block of the row for which it lies at `place`, and of those behind it.
    #[inline(always)]
    pub fn blocks<const ROWS: usize>(&self, place: usize) -> (&[Whole; ROWS], &[OfBlock; ROWS]) {
        let rows = "rows of one tile";
        (self.q[place..].first_chunk().expect(rows), self.of[place..].first_chunk().expect(rows))
    }
}

fn place(rows: usize, blocks: usize, row: usize) -> (usize, usize) {
    let first = row / TILE * TILE;
    (first * blocks + row - first, TILE.min(rows - first))
}

#[derive(Default)]
struct Memory {
    q: Vec<Whole>,
    of: Vec<OfBlock>,
}

/// Rounds `x: [_, k]` for products with a matrix of a form and hands it to `f`, in this thread's working memory.
pub(super) fn with_activations<R>(
    x: &[f32],
    k: usize,
    form: &Form,
    order: Order,
    f: impl FnOnce(Activations) -> R,
) -> R {
    thread_local! {
        static KEPT: Cell<Memory> = const { Cell::new(Memory { q: Vec::new(), of: Vec::new() }) };
    }
    let Memory { mut q, mut of } = KEPT.take();
    let (rows, blocks) = (x.len() / k, k / BLOCK);
    q.resize(rows * blocks, Whole([0; BLOCK]));
    of.resize(rows * blocks, OfBlock::default());
    for (row, x) in x.chunks_exact(k).enumerate() {
        let (first, step) = place(rows, blocks, row);
        round(&mut q[first..], &mut of[first..], step, x, form, order);
    }
    let result = f(Activations { rows, blocks, q: &q, of: &of });
    KEPT.set(Memory { q, of });
    result
}

multiversion! {
    /// A row to every `step`-th place.
    fn round(q: &mut [Whole], of: &mut [OfBlock], step: usize, x: &[f32], form: &Form, order: Order) = round_body
}

/// The whole number nearest to x, and of two the even one, for |x| up to 2²¹: the sum with 1.5 · 2²³ has it in its last bits. An instruction
/// that rounds is a call where the compiler does not know that the machine has it.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

#[inline(always)]
fn round_body<V: Lanes>(q: &mut [Whole], of: &mut [OfBlock], step: usize, x: &[f32], form: &Form, order: Order) {
    let (zero, groups) = (form.zero(), form.groups());
    for ((x, q), of) in x.as_chunks::<BLOCK>().0.iter().zip(q.iter_mut().step_by(step)).zip(of.iter_mut().step_by(step))
    {
        let (mut greatest, mut not_finite) = (0.0_f32, 0.0_f32);
        for &x in x {
            greatest = if x.abs() > greatest { x.abs() } else { greatest };
            // 0 for what is finite and NaN for the rest, so that no error is rounded away.
            not_finite += x * 0.0;
        }
        // A block of zeros counts as 0, and so does one below 1e-34, whose inverse is beyond f32: its whole numbers would overflow.
        let inverse = GREATEST / greatest;
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut whole = [0; BLOCK];
        for (whole, x) in whole.iter_mut().zip(x) {
            *whole = nearest(x * inverse);
        }
        if not_finite.is_nan() {
            // The scale says it.
            whole = [0; BLOCK];
        }
        let scale = greatest / GREATEST + not_finite;
        let [first, second] = [0, BLOCK / 2].map(|start| whole[start..start + BLOCK / 2].iter().sum::<i32>());
        let sums = if groups == 1 { [first + second; 2] } else { [first, second] };
        *of = OfBlock { scale, starts: sums.map(|sum| -zero * sum), sums: sums.map(|sum| scale * sum as f32) };
        match order {
            // To the nearest multiple of 256, so that both parts are signed bytes.
            Order::Bytes => {
                let high = |i: usize| ((whole[i] + 128) >> 8) as u8;
                for i in 0..BLOCK / 2 {
                    q.0[i] = i16::from_le_bytes([high(2 * i), high(2 * i + 1)]);
                    q.0[BLOCK / 2 + i] = i16::from_le_bytes([whole[2 * i] as u8, whole[2 * i + 1] as u8]);
                }
            }
            Order::Words => {
                for (q, whole) in q.0.as_chunks_mut::<4>().0.iter_mut().zip(whole.as_chunks::<4>().0) {
                    *q = [0, 2, 1, 3].map(|i| whole[i] as i16);
                }
            }
        }
    }
}
