//! Rounding to E4M3 with scales, for the fast products. Values stay in wider formats, which hold E4M3's exactly.

use super::{Format, TILE};
use crate::simd::{Lanes, multiversion};

/// Rounds `x: [m, k]` in tiles along k: row i of `pairs`, `pair_row` values apart, gets the row's pairs of bf16, and `scales[tile * m + i]`
/// the scale of each of its tiles.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn quantise_rows(pairs: &mut [f32], pair_row: usize, scales: &mut [f32], x: &[f32], k: usize) {
    rows(pairs, pair_row, scales, x, k);
}

/// Rounds `x: [t, width]`, of which `columns` count, in tiles along t: `q: [t, columns]` gets E4M3 values and `scales: [tiles, scale_row]`
/// the scale of each tile of each column.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn quantise_columns(
    q: &mut [f32],
    scales: &mut [f32],
    scale_row: usize,
    x: &[f32],
    width: usize,
    columns: std::ops::Range<usize>,
) {
    let n = columns.len();
    for ((q, scales), x) in q.chunks_mut(TILE * n).zip(scales.chunks_mut(scale_row)).zip(x.chunks(TILE * width)) {
        column_tiles(q, &mut scales[..n], &x[columns.start..], width);
    }
}

/// Rounds `w: [_, width]` in blocks of 128 × 128: `q` of its shape gets E4M3 values, and `scale(i, j, s)` is called with the scale of each.
///
/// # Panics
/// If `q` is shorter than `w`.
pub(crate) fn quantise_blocks(q: &mut [f32], w: &[f32], width: usize, mut scale: impl FnMut(usize, usize, f32)) {
    for (i, (q, w)) in q.chunks_mut(TILE * width).zip(w.chunks(TILE * width)).enumerate() {
        for (j, first) in (0..width).step_by(TILE).enumerate() {
            scale(i, j, block(&mut q[first..], &w[first..], width, TILE.min(width - first)));
        }
    }
}

multiversion! {
    fn rows(pairs: &mut [f32], pair_row: usize, scales: &mut [f32], x: &[f32], k: usize) = rows_body
}

multiversion! {
    fn column_tiles(q: &mut [f32], scales: &mut [f32], x: &[f32], width: usize) = column_tiles_body
}

multiversion! {
    /// One block: `columns` columns of all rows, `width` values apart.
    fn block(q: &mut [f32], w: &[f32], width: usize, columns: usize) -> f32 = block_body
}

#[inline(always)]
fn rows_body<V: Lanes>(pairs: &mut [f32], pair_row: usize, scales: &mut [f32], x: &[f32], k: usize) {
    let m = x.len() / k;
    for (i, (pairs, x)) in pairs.chunks_mut(pair_row).zip(x.chunks_exact(k)).enumerate() {
        for ((tile, pairs), x) in
            pairs.chunks_mut(TILE / 2).zip(x.chunks(TILE)).enumerate().map(|(tile, (p, x))| ((tile, p), x))
        {
            let (scale, inverse) = Format::E4M3.scale_of(f32::from_bits(amax_bits(0, x)));
            scales[tile * m + i] = scale;
            let (two, last) = x.as_chunks::<2>();
            for (pair, &[even, odd]) in pairs.iter_mut().zip(two) {
                *pair = pair_of(round_e4m3(even * inverse), round_e4m3(odd * inverse));
            }
            if let (Some(pair), &[even]) = (pairs.get_mut(two.len()), last) {
                *pair = pair_of(round_e4m3(even * inverse), 0.0);
            }
        }
    }
}

#[inline(always)]
fn column_tiles_body<V: Lanes>(q: &mut [f32], scales: &mut [f32], x: &[f32], width: usize) {
    /// Columns at a time, whose maxima stay in registers.
    const COLUMNS: usize = 64;
    let n = scales.len();
    for first in (0..n).step_by(COLUMNS) {
        let columns = COLUMNS.min(n - first);
        let mut amax = [0_u32; COLUMNS];
        for x in x.chunks(width) {
            let x = &x[first..first + columns];
            amax.iter_mut().zip(x).for_each(|(amax, x)| *amax = (*amax).max(magnitude_bits(*x)));
        }
        let mut inverses = [0.0; COLUMNS];
        for ((scale, inverse), amax) in scales[first..first + columns].iter_mut().zip(&mut inverses).zip(amax) {
            (*scale, *inverse) = Format::E4M3.scale_of(f32::from_bits(amax));
        }
        for (q, x) in q.chunks_mut(n).zip(x.chunks(width)) {
            let places = q[first..first + columns].iter_mut().zip(&x[first..first + columns]);
            places.zip(&inverses).for_each(|((q, x), inverse)| *q = round_e4m3(x * inverse));
        }
    }
}

#[inline(always)]
fn block_body<V: Lanes>(q: &mut [f32], w: &[f32], width: usize, columns: usize) -> f32 {
    let amax = w.chunks(width).fold(0, |amax, w| amax_bits(amax, &w[..columns]));
    let (scale, inverse) = Format::E4M3.scale_of(f32::from_bits(amax));
    for (q, w) in q.chunks_mut(width).zip(w.chunks(width)) {
        q[..columns].iter_mut().zip(w).for_each(|(q, w)| *q = round_e4m3(w * inverse));
    }
    scale
}

/// The bits of |x|: in their order as whole numbers, infinity and then NaN are above all others.
#[inline(always)]
fn magnitude_bits(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

#[inline(always)]
fn amax_bits(start: u32, x: &[f32]) -> u32 {
    x.iter().fold(start, |amax, &x| amax.max(magnitude_bits(x)))
}

/// `x` rounded to E4M3, |x| < 464: what was multiplied by 448 / amax is at most 448 but for rounding, so nothing is left to saturate.
///
/// 1.5·2²³ times the distance of E4M3's values around x, added and taken away again, leaves a multiple of that distance.
#[inline(always)]
fn round_e4m3(x: f32) -> f32 {
    const EXPONENT: u32 = 0x7f80_0000;
    const LEAST_NORMAL: u32 = (127 - 6) << 23;
    let exponent = (x.to_bits() & EXPONENT).max(LEAST_NORMAL);
    let magic = f32::from_bits(exponent.wrapping_add(20 << 23) | 0x0040_0000);
    (x + magic) - magic
}

/// A pair of bf16 of two values that bf16 holds exactly.
#[inline(always)]
fn pair_of(even: f32, odd: f32) -> f32 {
    f32::from_bits(even.to_bits() >> 16 | odd.to_bits() & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_rounding_is_the_slow_one() {
        // All exponents that matter, 4,096 mantissas each, both signs: ties and the steps around them among them.
        for exponent in 127 - 40..127 + 9 {
            for mantissa in 0..1 << 12 {
                for x in [exponent << 23 | mantissa << 11, exponent << 23 | mantissa << 11 | 1].map(f32::from_bits) {
                    let want = Format::E4M3.round(x);
                    if x < 464.0 {
                        assert_eq!(round_e4m3(x), want, "{x:e}");
                        assert_eq!(round_e4m3(-x), -want, "-{x:e}");
                    }
                }
            }
        }
        assert_eq!(round_e4m3(0.0), 0.0);
        assert!(round_e4m3(f32::NAN).is_nan());
    }
}
