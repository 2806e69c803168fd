//! The unit of work of all products: `rows` × `width` elements of C, each one chain over k.
//! Every kernel family computes it from the same description.

#[cfg(target_arch = "aarch64")]
use super::kernel_neon;
use super::kernel_portable;
#[cfg(target_arch = "x86_64")]
use super::{kernel_avx2, kernel_avx512};
use crate::dispatch::SimdLevel;
use crate::dtype::Dtype;

/// Columns of a full panel of a packed operand, in values.
pub(super) const PANEL: usize = 32;
/// Columns of the narrow panel that ends an operand whose last columns fit in it.
pub(super) const HALF_PANEL: usize = 16;
/// Most rows of a tile in any family.
pub(super) const ROWS_MAX: usize = 12;
/// Most columns of a tile in any family: two panels.
pub(super) const WIDTH_MAX: usize = 2 * PANEL;

/// What a kernel computes, with strides in values:
///
/// ```text
/// chain[r][j] = from[r][j] (0 without from), then for kk in 0..k: fma(a[r][kk], b[kk][j], ·)
/// to[r][j]    = chain[r][j], or to[r][j] + chain[r][j] with add
/// a[r][kk] = *(a + r·a_row + kk·a_k),  b[kk][j] = *(b + (j / 32)·b_panel + kk·min(width, 32) + j % 32)
/// ```
///
/// With bf16 a value is a pair of neighbours along the chain, and `fma(a, b, ·)` is
/// `fma(even a, even b, fma(odd a, odd b, ·))`: what the dot product of AVX-512 BF16 computes.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub rows: usize,
    /// 16, 32 or 64.
    pub width: usize,
    pub k: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_k: usize,
    pub b: *const f32,
    pub b_panel: usize,
    /// Null to start from zero.
    pub from: *const f32,
    pub from_row: usize,
    pub to: *mut f32,
    pub to_row: usize,
    pub add: bool,
    pub dtype: Dtype,
}

/// Most rows of a tile that keeps all its sums in registers.
pub(super) fn rows_max(level: SimdLevel) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => kernel_avx512::ROWS,
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => kernel_avx2::ROWS,
        #[cfg(target_arch = "aarch64")]
        SimdLevel::Neon => kernel_neon::ROWS,
        _ => kernel_portable::ROWS,
    }
}

/// Full panels that a tile of `rows` rows takes at once: with few rows one panel has too few
/// chains to hide the latency of an FMA.
pub(super) fn panels_max(level: SimdLevel, rows: usize) -> usize {
    let rows_of_two_panels = match level {
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => kernel_avx512::ROWS_OF_TWO_PANELS,
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => kernel_avx2::ROWS_OF_TWO_PANELS,
        #[cfg(target_arch = "aarch64")]
        SimdLevel::Neon => kernel_neon::ROWS_OF_TWO_PANELS,
        _ => kernel_portable::ROWS_OF_TWO_PANELS,
    };
    if rows <= rows_of_two_panels { 2 } else { 1 }
}

/// Computes `tile`, of which only the first `valid` columns exist in `from` and `to`.
///
/// # Safety
/// The machine supports `level`; `1 <= tile.rows <= rows_max(level)`; `tile.width` is 64 only
/// where `panels_max(level, tile.rows)` is 2; all elements that the description names are
/// readable in `a` and `b` (full width), and in `from` and `to` (first `valid` columns; `to` also
/// writable). `to` overlaps none of the others, except that `from` may be `to`.
pub(super) unsafe fn compute(level: SimdLevel, tile: &Tile, valid: usize) {
    debug_assert!((1..=rows_max(level)).contains(&tile.rows) && valid <= tile.width);
    if valid == tile.width {
        // SAFETY: the caller's promises are those that the kernel asks for.
        unsafe { run_kernel(level, tile) }
    } else {
        // SAFETY: as above.
        unsafe { compute_ragged(level, tile, valid) }
    }
}

/// [`compute`] by way of a full tile on the stack.
///
/// # Safety
/// As [`compute`].
#[inline(never)]
unsafe fn compute_ragged(level: SimdLevel, tile: &Tile, valid: usize) {
    let mut full = [0.0_f32; ROWS_MAX * WIDTH_MAX];
    let full_row = tile.width;
    if !tile.from.is_null() {
        for r in 0..tile.rows {
            // SAFETY: `from` has `valid` readable columns in each of `rows` rows.
            let source = unsafe { std::slice::from_raw_parts(tile.from.add(r * tile.from_row), valid) };
            full[r * full_row..][..valid].copy_from_slice(source);
        }
    }
    let sums = full.as_mut_ptr();
    let on_stack = Tile {
        from: if tile.from.is_null() { tile.from } else { sums.cast_const() },
        from_row: full_row,
        to: sums,
        to_row: full_row,
        add: false,
        ..*tile
    };
    // SAFETY: `a` and `b` are the caller's; `from` and `to` are the array, which has rows × width.
    unsafe { run_kernel(level, &on_stack) };
    for r in 0..tile.rows {
        // SAFETY: `to` has `valid` writable columns in each of `rows` rows.
        let target = unsafe { std::slice::from_raw_parts_mut(tile.to.add(r * tile.to_row), valid) };
        let row = &full[r * full_row..][..valid];
        if tile.add {
            target.iter_mut().zip(row).for_each(|(t, sum)| *t += sum);
        } else {
            target.copy_from_slice(row);
        }
    }
}

/// # Safety
/// As [`compute`] with all columns valid.
#[inline]
unsafe fn run_kernel(level: SimdLevel, tile: &Tile) {
    // SAFETY: the machine supports `level`; the rest are the caller's promises.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => kernel_avx512::run(tile),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => kernel_avx2::run(tile),
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => kernel_neon::run(tile),
            _ => kernel_portable::run(tile),
        }
    }
}
