//! AVX2 + FMA tiles: 6 rows × 16 columns is 12 of the 16 registers for sums, two for B, one for A.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_and_si256, _mm256_broadcast_ss, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

use super::tile::{HALF_PANEL, PANEL, Tile};
use crate::dtype::Dtype;

pub(super) const ROWS: usize = 6;
/// One panel is more columns than 16 registers hold.
pub(super) const ROWS_OF_TWO_PANELS: usize = 0;

const LANES: usize = 8;

/// # Safety
/// As [`super::tile::compute`] with all columns valid; the machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(tile: &Tile) {
    macro_rules! by_rows {
        ($tile:expr, $vectors:literal: $($rows:literal)*) => {
            match tile.rows {
                // SAFETY: rows and width are the tile's; the rest are the caller's promises.
                $($rows => unsafe {
                    match tile.dtype {
                        Dtype::F32 => of_values::<$rows, $vectors>($tile, tile.width),
                        Dtype::Bf16 => of_pairs::<$rows, $vectors>($tile, tile.width),
                    }
                },)*
                rows => unreachable!("no AVX2 tile of {rows} rows x {} columns", tile.width),
            }
        };
    }
    match (tile.width, tile.rows) {
        (HALF_PANEL, _) => by_rows!(tile, 2: 1 2 3 4 5 6),
        // With few rows the whole panel at once, or there are too few chains to hide the latency.
        (PANEL, 1 | 2) => by_rows!(tile, 4: 1 2),
        _ => {
            by_rows!(tile, 2: 3 4 5 6);
            let right = right_half(tile);
            by_rows!(&right, 2: 3 4 5 6);
        }
    }
}

/// The tile of the 16 columns after the first 16.
fn right_half(tile: &Tile) -> Tile {
    Tile {
        b: tile.b.wrapping_add(HALF_PANEL),
        from: if tile.from.is_null() { tile.from } else { tile.from.wrapping_add(HALF_PANEL) },
        to: tile.to.wrapping_add(HALF_PANEL),
        ..*tile
    }
}

/// a·b + sum.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fused(a: __m256, b: __m256, sum: __m256) -> __m256 {
    _mm256_fmadd_ps(a, b, sum)
}

/// even·even + (odd·odd + sum), each addition rounded once: the bits of AVX-512's dot product.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_product(a: __m256, b: __m256, sum: __m256) -> __m256 {
    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    let odd = |x: __m256| _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(x), upper));
    let even = |x: __m256| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x)));
    _mm256_fmadd_ps(even(a), even(b), _mm256_fmadd_ps(odd(a), odd(b), sum))
}

macro_rules! kernel {
    ($name:ident, $multiply_add:ident) => {
        /// The first `VECTORS * LANES` columns of a tile in a panel of `panel` columns.
        ///
        /// # Safety
        /// As [`run`], with `tile.rows == ROWS`.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name<const ROWS: usize, const VECTORS: usize>(tile: &Tile, panel: usize) {
            let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
            if !tile.from.is_null() {
                for (r, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        // SAFETY: `from` has ROWS rows of VECTORS × LANES values.
                        *sum = unsafe { _mm256_loadu_ps(tile.from.add(r * tile.from_row + v * LANES)) };
                    }
                }
            }
            // One pointer for three rows, as in the AVX-512 kernel.
            let mut a = [tile.a; 2];
            for (i, pointer) in a.iter_mut().enumerate().take(ROWS.div_ceil(3)) {
                // SAFETY: row 3i exists.
                *pointer = unsafe { tile.a.add(3 * i * tile.a_row) };
            }
            let mut b = tile.b;
            for _ in 0..tile.k {
                // SAFETY: a and b point at step kk < k of elements that the caller vouches for.
                unsafe {
                    let b_now: [__m256; VECTORS] = std::array::from_fn(|v| _mm256_loadu_ps(b.add(v * LANES)));
                    for r in 0..ROWS {
                        let a_now = _mm256_broadcast_ss(&*a[r / 3].add((r % 3) * tile.a_row));
                        for v in 0..VECTORS {
                            sums[r][v] = $multiply_add(a_now, b_now[v], sums[r][v]);
                        }
                    }
                    for pointer in &mut a[..ROWS.div_ceil(3)] {
                        *pointer = pointer.wrapping_add(tile.a_k);
                    }
                    b = b.wrapping_add(panel);
                }
            }
            for (r, row) in sums.iter().enumerate() {
                for (v, &sum) in row.iter().enumerate() {
                    // SAFETY: `to` has ROWS writable rows of VECTORS × LANES values.
                    unsafe {
                        let to = tile.to.add(r * tile.to_row + v * LANES);
                        let value = if tile.add { _mm256_add_ps(_mm256_loadu_ps(to), sum) } else { sum };
                        _mm256_storeu_ps(to, value);
                    }
                }
            }
        }
    };
}

kernel!(of_values, fused);
kernel!(of_pairs, dot_product);
