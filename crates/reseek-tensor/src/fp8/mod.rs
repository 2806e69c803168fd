//! V3's training in fp8, emulated bit by bit (V3 report, 3.3): operands of linear layers in E4M3, each tile with its own scale.
//!
//! | product | left operand, scaled | right operand, scaled |
//! |---|---|---|
//! | Fprop y = x·Wᵀ | x in tiles of 1 × 128 along in | W in blocks of 128 × 128 |
//! | Dgrad dx = dy·W | dy in tiles of 1 × 128 along out | W in the same blocks |
//! | Wgrad dW = dyᵀ·x | dy in tiles of 128 × 1 along tokens | x in tiles of 128 × 1 along tokens |
//!
//! In a tile with greatest magnitude amax (taken as at least [`AMAX_FLOOR`]) a value becomes q = E4M3(x·(448 / amax)), rounded to nearest
//! even, and x ≈ (amax / 448)·q: DeepSeek's own kernels, `per_token_cast_to_fp8` in DeepGEMM. Ends of less than 128 are tiles as well. A tile
//! with a value that is not finite has scale NaN, and so has every sum that it enters.
//!
//! A product sums 128 places of k, then *promotes* the sum: multiplies it by both scales and adds it to an f32 (report, 3.3.2). Here the
//! 128 places are summed in f32 too, by the bf16 kernel, as every E4M3 value is a bf16 value and products of two are exact;
//! [`accumulate`] emulates the 14 bits of the tensor cores, slowly.
//!
//! Departures from the report: x is rounded for Wgrad from its f32 values and not from its 1 × 128 tiles (one rounding less), the input
//! of the attention's output projection has no format of its own (E5M6), and kept activations stay f32. The gate and the up of a SwiGLU are one
//! product here: where they are narrower than a tile they share its scale.

pub mod accumulate;
mod format;
mod quantise;

pub use format::{Format, decode_e4m3};
pub(crate) use quantise::{quantise_blocks, quantise_columns, quantise_rows};

/// Values along k that share a scale, and rows or columns of a block of a weight.
pub const TILE: usize = 128;

/// Least amax of a tile: a tile of zeros has a scale, too.
pub const AMAX_FLOOR: f32 = 1e-4;

/// The values that the blocks of `w: [_, width]` stand for.
///
/// # Panics
/// If `w` is not whole rows.
pub fn rounded_blocks(w: &[f32], width: usize) -> Vec<f32> {
    assert!(w.is_empty() || w.len().is_multiple_of(width), "{} values in rows of {width}", w.len());
    let mut values = vec![0.0; w.len()];
    let mut scales = Vec::new();
    quantise_blocks(&mut values, w, width, |_, _, scale| scales.push(scale));
    let blocks_of_row = width.div_ceil(TILE);
    for (i, row) in values.chunks_mut(width.max(1)).enumerate() {
        for (tile, scale) in row.chunks_mut(TILE).zip(&scales[i / TILE * blocks_of_row..]) {
            tile.iter_mut().for_each(|x| *x *= scale);
        }
    }
    values
}
