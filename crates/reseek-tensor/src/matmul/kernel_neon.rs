//! NEON tiles: 6 rows × 16 columns is 24 of the 32 registers for sums, four for B, one for A. Pairs
//! of bf16 take twice the registers for B and go by 8 columns.
//!
//! bf16 is widened and multiplied in f32. The dot product of Armv8.6 (`BFDOT`) rounds to odd, rounds
//! the two products' sum before it adds it, and takes subnormal values for 0: other bits than the
//! chains have. `BFMLALT` and then `BFMLALB` would keep the rule; stable Rust does not have them.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vandq_u32, vdupq_n_f32, vdupq_n_u32, vfmaq_f32, vld1q_dup_f32, vld1q_f32,
    vreinterpretq_f32_u32, vreinterpretq_u32_f32, vshlq_n_u32, vst1q_f32,
};

use super::tile::{PANEL, Tile};
use crate::dtype::Dtype;

pub(super) const ROWS: usize = 6;
/// Few rows take a whole panel at once, which is eight chains a row.
pub(super) const ROWS_OF_TWO_PANELS: usize = 0;

const LANES: usize = 4;

/// # Safety
/// As [`super::tile::compute`] with all columns valid; the machine has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run(tile: &Tile) {
    macro_rules! by_rows {
        ($kernel:ident, $vectors:literal: $($rows:literal)*) => {
            for column in (0..tile.width).step_by($vectors * LANES) {
                match tile.rows {
                    // SAFETY: the rows are the tile's, and the columns from `column` on lie in it.
                    $($rows => unsafe { $kernel::<$rows, $vectors>(tile, column) },)*
                    rows => unreachable!("no NEON tile of {rows} rows x {} columns", tile.width),
                }
            }
        };
    }
    match (tile.dtype, tile.rows) {
        (Dtype::F32, 1 | 2) if tile.width == PANEL => by_rows!(of_values, 8: 1 2),
        (Dtype::F32, _) => by_rows!(of_values, 4: 1 2 3 4 5 6),
        (Dtype::Bf16, 1 | 2) => by_rows!(of_pairs, 4: 1 2),
        (Dtype::Bf16, _) => by_rows!(of_pairs, 2: 3 4 5 6),
    }
}

/// The operand of a step: values as they are.
#[inline]
#[target_feature(enable = "neon")]
fn values(x: float32x4_t) -> float32x4_t {
    x
}

/// a·b + sum.
#[inline]
#[target_feature(enable = "neon")]
fn fused(a: float32x4_t, b: float32x4_t, sum: float32x4_t) -> float32x4_t {
    vfmaq_f32(sum, a, b)
}

/// Even and odd values of pairs.
#[inline]
#[target_feature(enable = "neon")]
fn even_and_odd(x: float32x4_t) -> [float32x4_t; 2] {
    let bits = vreinterpretq_u32_f32(x);
    let odd = vandq_u32(bits, vdupq_n_u32(0xffff_0000));
    [vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits)), vreinterpretq_f32_u32(odd)]
}

/// even·even + (odd·odd + sum), each addition rounded once: the bits of AVX-512's dot product.
#[inline]
#[target_feature(enable = "neon")]
fn dot_product(a: [float32x4_t; 2], b: [float32x4_t; 2], sum: float32x4_t) -> float32x4_t {
    vfmaq_f32(vfmaq_f32(sum, a[1], b[1]), a[0], b[0])
}

macro_rules! kernel {
    ($name:ident, $operand:ident, $multiply_add:ident) => {
        /// The columns `column..column + VECTORS * LANES` of a tile.
        ///
        /// # Safety
        /// As [`run`], with `tile.rows == ROWS`; the columns lie in one panel of the tile.
        #[target_feature(enable = "neon")]
        unsafe fn $name<const ROWS: usize, const VECTORS: usize>(tile: &Tile, column: usize) {
            let mut sums = [[vdupq_n_f32(0.0); VECTORS]; ROWS];
            if !tile.from.is_null() {
                for (r, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        // SAFETY: `from` has ROWS rows of `width` values.
                        *sum = unsafe { vld1q_f32(tile.from.add(r * tile.from_row + column + v * LANES)) };
                    }
                }
            }
            let (mut a, mut b) = (tile.a, tile.b.wrapping_add(column));
            for _ in 0..tile.k {
                // SAFETY: a and b point at step kk < k of elements that the caller vouches for.
                unsafe {
                    let b_now: [_; VECTORS] = std::array::from_fn(|v| $operand(vld1q_f32(b.add(v * LANES))));
                    for r in 0..ROWS {
                        let a_now = $operand(vld1q_dup_f32(a.add(r * tile.a_row)));
                        for v in 0..VECTORS {
                            sums[r][v] = $multiply_add(a_now, b_now[v], sums[r][v]);
                        }
                    }
                }
                a = a.wrapping_add(tile.a_k);
                b = b.wrapping_add(tile.width);
            }
            for (r, row) in sums.iter().enumerate() {
                for (v, &sum) in row.iter().enumerate() {
                    // SAFETY: `to` has ROWS writable rows of `width` values.
                    unsafe {
                        let to = tile.to.add(r * tile.to_row + column + v * LANES);
                        let value = if tile.add { vaddq_f32(vld1q_f32(to), sum) } else { sum };
                        vst1q_f32(to, value);
                    }
                }
            }
        }
    };
}

kernel!(of_values, values, fused);
kernel!(of_pairs, even_and_odd, dot_product);
