//! Tiles in plain Rust, shaped so that the compiler keeps the sums in vector registers of the
//! target's baseline (16 of 4 values on x86, 32 of 4 on AArch64).

use super::tile::{PANEL, Tile};
use crate::dispatch::multiply_add;
use crate::dtype::Dtype;

pub(super) const ROWS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };
/// One panel gives chains enough even with one row.
pub(super) const ROWS_OF_TWO_PANELS: usize = 0;

/// Columns of C computed at once.
const COLUMNS: usize = 8;

/// # Safety
/// As [`super::tile::compute`] with all columns valid.
pub(super) unsafe fn run(tile: &Tile) {
    for column in (0..tile.width).step_by(COLUMNS) {
        // SAFETY: the caller's promises; every column block lies in the tile.
        unsafe {
            match tile.rows {
                1 => kernel::<1>(tile, column),
                2 => kernel::<2>(tile, column),
                3 => kernel::<3>(tile, column),
                4 => kernel::<4>(tile, column),
                5 => kernel::<5>(tile, column),
                6 => kernel::<6>(tile, column),
                7 => kernel::<7>(tile, column),
                _ => kernel::<8>(tile, column),
            }
        }
    }
}

/// # Safety
/// As [`run`], with `tile.rows == ROWS` and `column + COLUMNS <= tile.width`.
unsafe fn kernel<const ROWS: usize>(tile: &Tile, column: usize) {
    let mut sums = [[0.0_f32; COLUMNS]; ROWS];
    if !tile.from.is_null() {
        for (r, row) in sums.iter_mut().enumerate() {
            // SAFETY: `from` has ROWS rows of `width` values.
            *row = unsafe { tile.from.add(r * tile.from_row + column).cast::<[f32; COLUMNS]>().read_unaligned() };
        }
    }
    let b = tile.b.wrapping_add(column / PANEL * tile.b_panel + column % PANEL);
    for kk in 0..tile.k {
        // SAFETY: a and b hold k steps; a step of b has COLUMNS values from `column` on.
        unsafe {
            let b = b.add(kk * tile.width.min(PANEL)).cast::<[f32; COLUMNS]>().read_unaligned();
            for (r, row) in sums.iter_mut().enumerate() {
                let a = *tile.a.add(r * tile.a_row + kk * tile.a_k);
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = match tile.dtype {
                        Dtype::F32 => multiply_add(a, b, *sum),
                        Dtype::Bf16 => dot_product(a, b, *sum),
                    };
                }
            }
        }
    }
    for (r, row) in sums.iter().enumerate() {
        // SAFETY: `to` has ROWS writable rows of `width` values; no one else refers to them.
        let to = unsafe { &mut *tile.to.add(r * tile.to_row + column).cast::<[f32; COLUMNS]>() };
        for (to, sum) in to.iter_mut().zip(row) {
            *to = if tile.add { *to + sum } else { *sum };
        }
    }
}

/// even·even + (odd·odd + sum) of two pairs of bf16.
#[inline(always)]
fn dot_product(a: f32, b: f32, sum: f32) -> f32 {
    let odd = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
    let even = |x: f32| f32::from_bits(x.to_bits() << 16);
    multiply_add(even(a), even(b), multiply_add(odd(a), odd(b), sum))
}
