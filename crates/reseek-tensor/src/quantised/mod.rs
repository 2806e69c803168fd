//! Products with quantised weights, for sampling: blocks of 32 values along k that share a scale and a least value, in 4 or 8 bits.
//! A quarter or an eighth of f32's way from memory, which is what a decoded token waits for.
//!
//! With w = d·q + m (q unsigned) in a block, and the activations of the block rounded to 16 bits, x ≈ s·a (s = max|x| / 32512, a signed):
//! Σ w·x ≈ d·s·Σ q·a + m·s·Σ a. The sums inside of a block are whole numbers, hence exact in any order.
//!
//! **Bit rule.** Each element of y is a chain over the blocks of k, two fused multiply-adds each: `y = fma(Σqa, d·s, y)`, then
//! `y = fma(m, s·Σa, y)`. So rows depend neither on each other nor on threads, and instruction sets with fused multiply-add agree.

mod activations;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

pub use half::f16;

use crate::aligned::Line;
use crate::pool;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};
use activations::{Activations, with_activations};

/// Values of a block.
pub const BLOCK: usize = 32;

/// Bytes of a panel's weights from which two threads share a product of few rows.
const PARALLEL_BYTES: usize = 96 << 10;

/// Width of the whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 0 to 15.
    Four,
    /// 0 to 255.
    Eight,
}

impl Bits {
    /// Lines of weights of a block of a panel.
    fn lines(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// 32 weights w = scale·q + least.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// d, which f16 must hold.
    pub scale: f16,
    /// m; with eight bits it is −128·d whatever stands here.
    pub least: f16,
    /// q.
    pub q: [u8; BLOCK],
}

/// W `[n, k]`, right operand of y = x·Wᵀ.
///
/// Panels of 16 rows of W; for each block of k a panel has a line of 64 bytes for each 4 values of k (8 with four bits: the first 4 in the
/// low halves), 4 bytes a row of W, and a line with the rows' scales and least values in f16.
#[derive(Clone, Debug)]
pub struct Quantised {
    n: usize,
    k: usize,
    bits: Bits,
    lines: Vec<Line>,
}

impl Quantised {
    /// Packs `block(row, index)` of all rows.
    ///
    /// # Panics
    /// If k is not whole blocks, or with four bits a q is above 15.
    pub fn pack(bits: Bits, n: usize, k: usize, block: impl Fn(usize, usize) -> Block) -> Self {
        assert!(k.is_multiple_of(BLOCK), "k is {k}, not whole blocks of {BLOCK}");
        let (blocks, lines_of_block) = (k / BLOCK, bits.lines() + 1);
        let n_lines = n.div_ceil(LANES) * blocks * lines_of_block;
        let mut packed = Self { n, k, bits, lines: Line::zeros(n_lines * Line::VALUES) };
        let bytes = Line::bytes_mut(&mut packed.lines);
        for row in 0..n {
            for index in 0..blocks {
                let Block { scale, least, q } = block(row, index);
                let place = (row / LANES * blocks + index) * lines_of_block * LINE;
                let lane = row % LANES;
                let (weights, scales) = bytes[place..place + lines_of_block * LINE].split_at_mut(bits.lines() * LINE);
                match bits {
                    Bits::Four => {
                        assert!(q.iter().all(|&q| q < 16), "a weight of four bits is above 15");
                        for (j, eight) in q.chunks_exact(8).enumerate() {
                            for i in 0..4 {
                                weights[j * LINE + 4 * lane + i] = eight[i] | eight[4 + i] << 4;
                            }
                        }
                    }
                    Bits::Eight => {
                        for (j, four) in q.chunks_exact(4).enumerate() {
                            weights[j * LINE + 4 * lane..][..4].copy_from_slice(four);
                        }
                    }
                }
                scales[2 * lane..][..2].copy_from_slice(&scale.to_le_bytes());
                scales[LINE / 2 + 2 * lane..][..2].copy_from_slice(&least.to_le_bytes());
            }
        }
        packed
    }

    /// Values of a row of x.
    pub fn in_features(&self) -> usize {
        self.k
    }

    /// Values of a row of y.
    pub fn out_features(&self) -> usize {
        self.n
    }

    fn blocks(&self) -> usize {
        self.k / BLOCK
    }

    /// Lines of a panel.
    fn panel_lines(&self) -> usize {
        self.blocks() * (self.bits.lines() + 1)
    }

    fn panel(&self, index: usize) -> &[Line] {
        &self.lines[index * self.panel_lines()..(index + 1) * self.panel_lines()]
    }
}

/// `y[m, n] = x[m, k]·Wᵀ`.
///
/// # Panics
/// If the lengths are not those of m rows for one m.
pub fn quantised_matmul(y: &mut [f32], x: &[f32], w: &Quantised) {
    let rows = x.len().checked_div(w.k).unwrap_or(0);
    assert!(
        x.len() == rows * w.k && y.len() == rows * w.n,
        "quantised_matmul with W [{}, {}]: x has {} values, y {} (x = m*{}, y = m*{})",
        w.n,
        w.k,
        x.len(),
        y.len(),
        w.k,
        w.n
    );
    if y.is_empty() {
        return;
    }
    with_activations(x, w.k, |activations| {
        let panels = w.n.div_ceil(LANES);
        let target = Target { first: y.as_mut_ptr(), row: w.n };
        if pool::has_awake_threads() && w.lines.len() * LINE >= PARALLEL_BYTES {
            pool::share(panels, |part| {
                // SAFETY: y is borrowed, and every part has its own columns.
                unsafe { panels_product(target, &activations, w, part) }
            });
        } else {
            // SAFETY: y is borrowed.
            unsafe { panels_product(target, &activations, w, 0..panels) };
        }
    });
}

/// Rows of y, of which parts write different columns, which no safe slice can express.
#[derive(Clone, Copy)]
struct Target {
    first: *mut f32,
    row: usize,
}

// SAFETY: the pointer is used for disjoint elements only, while y stays borrowed.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// # Safety
    /// The row and the columns exist, and no one else uses them.
    unsafe fn write(self, row: usize, columns: Range<usize>, values: &[f32; LANES]) {
        // SAFETY: the caller's promise.
        let target =
            unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.row + columns.start), columns.len()) };
        target.copy_from_slice(&values[..columns.len()]);
    }
}

/// The columns of the given panels.
///
/// # Safety
/// `target` has `activations.rows` rows of `w.n` values, of which no one else uses these columns.
unsafe fn panels_product(target: Target, activations: &Activations, w: &Quantised, panels: Range<usize>) {
    let rows = activations.rows;
    let columns = panels.len() * LANES;
    let _span = span(Op::MatmulFewRows, 2 * rows * w.k * columns, panels.len() * w.panel_lines() * 16 + rows * columns);
    let mut sums = [[0.0; LANES]; ROWS];
    for panel in panels {
        let columns = panel * LANES..w.n.min((panel + 1) * LANES);
        for first in (0..rows).step_by(ROWS) {
            let tile = first..rows.min(first + ROWS);
            let sums = &mut sums[..tile.len()];
            tile_product(sums, activations, tile.clone(), w.panel(panel), w.bits);
            for (row, sums) in tile.zip(sums) {
                // SAFETY: the caller's promise.
                unsafe { target.write(row, columns.clone(), sums) };
            }
        }
    }
}

/// Rows of x that a kernel takes at once.
const ROWS: usize = 8;
/// Bytes of a line.
const LINE: usize = 64;

fn tile_product(sums: &mut [[f32; LANES]], a: &Activations, rows: Range<usize>, panel: &[Line], bits: Bits) {
    #[cfg(target_arch = "x86_64")]
    if crate::dispatch::level() == crate::dispatch::SimdLevel::Avx512 && vnni::is_supported() {
        // SAFETY: the machine has the instructions.
        return unsafe { vnni::tile_product(sums, a, rows, panel, bits) };
    }
    plain_tile_product(sums, a, rows, panel, bits);
}

multiversion! {
    fn plain_tile_product(
        sums: &mut [[f32; LANES]],
        a: &Activations<'_>,
        rows: Range<usize>,
        panel: &[Line],
        bits: Bits,
    ) = tile_product_body
}

#[inline(always)]
fn tile_product_body<V: Lanes>(
    sums: &mut [[f32; LANES]],
    a: &Activations,
    rows: Range<usize>,
    panel: &[Line],
    bits: Bits,
) {
    let lines = bits.lines();
    for (row, sum) in rows.zip(sums) {
        let mut chain = V::splat(0.0);
        for (index, block) in panel.chunks_exact(lines + 1).enumerate() {
            let bytes = Line::bytes(block);
            let planes = a.block(row, index);
            let q: [i32; BLOCK] = std::array::from_fn(|i| 256 * i32::from(planes[i]) + i32::from(planes[BLOCK + i]));
            let mut dots = [0_i32; LANES];
            for j in 0..lines {
                let line = &bytes[j * LINE..(j + 1) * LINE];
                for (lane, dot) in dots.iter_mut().enumerate() {
                    let four = &line[4 * lane..][..4];
                    for i in 0..4 {
                        *dot += match bits {
                            Bits::Four => {
                                i32::from(four[i] & 15) * q[8 * j + i] + i32::from(four[i] >> 4) * q[8 * j + 4 + i]
                            }
                            Bits::Eight => i32::from(four[i]) * q[4 * j + i],
                        };
                    }
                }
            }
            let scales = &bytes[lines * LINE..];
            let half = |place: usize| f16::from_le_bytes([scales[place], scales[place + 1]]).to_f32();
            let d = V::load(&std::array::from_fn(|lane| half(2 * lane)));
            let m = match bits {
                Bits::Four => V::load(&std::array::from_fn(|lane| half(LINE / 2 + 2 * lane))),
                Bits::Eight => d.mul(V::splat(-128.0)),
            };
            let dots = V::load(&dots.map(|dot| dot as f32));
            let (scale, sum) = a.scale_and_sum(row, index);
            chain = dots.mul_add(d.mul(V::splat(scale)), chain);
            chain = m.mul_add(V::splat(sum), chain);
        }
        chain.store(sum);
    }
}
