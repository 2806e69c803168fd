//! AVX-512 tiles: 12 rows × 32 columns is 24 of the 32 registers for sums, two for B, and A as
//! a broadcast memory operand. The same kernel three times: fused multiply-add of f32, the dot
//! product of bf16 pairs, and that one from f32 instructions for processors without it.

use std::arch::x86_64::{
    __m512, __m512bh, _MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
};
use std::mem::transmute;

use super::tile::{PANEL, Tile};
use crate::dtype::Dtype;

pub(super) const ROWS: usize = 12;
/// Up to this many rows two panels at once fit.
pub(super) const ROWS_OF_TWO_PANELS: usize = 6;

const LANES: usize = 16;
/// Tiles of so few rows pass over weights that lie beyond the L2 cache, and over each once.
const ROWS_OF_DECODING: usize = 8;
/// How far ahead they ask for B, in values: the hardware's own prefetcher begins anew at each panel. Took a third off the time of
/// four rows times 256 x 128.
const AHEAD: usize = 24 * PANEL;

/// # Safety
/// As [`super::tile::compute`] with all columns valid; the machine has AVX-512F.
pub(super) unsafe fn run(tile: &Tile) {
    macro_rules! by_rows {
        ($kernel:ident, $vectors:literal: $($rows:literal)*) => {
            match tile.rows {
                // SAFETY: rows and width are the tile's; the rest are the caller's promises.
                $($rows => unsafe { $kernel::<$rows, $vectors>(tile) },)*
                rows => unreachable!("no AVX-512 tile of {rows} rows x {} columns", tile.width),
            }
        };
    }
    macro_rules! by_width {
        ($kernel:ident) => {
            match tile.width / LANES {
                1 => by_rows!($kernel, 1: 1 2 3 4 5 6 7 8 9 10 11 12),
                2 => by_rows!($kernel, 2: 1 2 3 4 5 6 7 8 9 10 11 12),
                _ => by_rows!($kernel, 4: 1 2 3 4 5 6),
            }
        };
    }
    match tile.dtype {
        Dtype::F32 => by_width!(of_values),
        Dtype::Bf16 if Dtype::Bf16.is_native() => by_width!(of_pairs),
        Dtype::Bf16 => by_width!(of_widened_pairs),
    }
}

/// a·b + sum.
#[inline]
#[target_feature(enable = "avx512f")]
fn fused(a: __m512, b: __m512, sum: __m512) -> __m512 {
    _mm512_fmadd_ps(a, b, sum)
}

/// even·even + (odd·odd + sum), each addition rounded once.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_product(a: __m512, b: __m512, sum: __m512) -> __m512 {
    // SAFETY: both types are 512 bits without meaning of their own.
    let (a, b) = unsafe { (transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) };
    _mm512_dpbf16_ps(sum, a, b)
}

/// The bits of [`dot_product`] from two fused multiply-adds, except that it takes subnormal values for 0.
#[inline]
#[target_feature(enable = "avx512f")]
fn dot_product_widened(a: __m512, b: __m512, sum: __m512) -> __m512 {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let odd = |x: __m512| _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), upper));
    let even = |x: __m512| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(x)));
    _mm512_fmadd_ps(even(a), even(b), _mm512_fmadd_ps(odd(a), odd(b), sum))
}

macro_rules! kernel {
    ($name:ident, $features:literal, $multiply_add:ident) => {
        /// # Safety
        /// As [`run`], with `tile.rows == ROWS` and `tile.width == VECTORS * LANES`.
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize, const VECTORS: usize>(tile: &Tile) {
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    // C is needed at the end alone, but by then its lines should be here to be written: without asking for them now,
                    // products with a short k waited for them up to a tenth of the time.
                    _mm_prefetch::<_MM_HINT_ET0>(tile.to.wrapping_add(r * tile.to_row + v * LANES).cast());
                }
            }
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
            if !tile.from.is_null() {
                for (r, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        // SAFETY: `from` has ROWS rows of VECTORS × LANES values.
                        *sum = unsafe { _mm512_loadu_ps(tile.from.add(r * tile.from_row + v * LANES)) };
                    }
                }
            }
            // One pointer for three rows: with the row stride and its double as index, that leaves
            // enough general registers for 12 rows.
            let mut a = [tile.a; 4];
            for (i, pointer) in a.iter_mut().enumerate().take(ROWS.div_ceil(3)) {
                // SAFETY: row 3i exists.
                *pointer = unsafe { tile.a.add(3 * i * tile.a_row) };
            }
            let mut b = tile.b;
            for _ in 0..tile.k {
                // SAFETY: a and b point at step kk < k of elements that the caller vouches for.
                unsafe {
                    if ROWS <= ROWS_OF_DECODING {
                        for v in 0..VECTORS {
                            let place = (v * LANES / PANEL) * tile.b_panel + v * LANES % PANEL;
                            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(place + AHEAD).cast());
                        }
                    }
                    let b_now: [__m512; VECTORS] = std::array::from_fn(|v| {
                        _mm512_loadu_ps(b.add((v * LANES / PANEL) * tile.b_panel + v * LANES % PANEL))
                    });
                    for r in 0..ROWS {
                        let a_now = _mm512_set1_ps(*a[r / 3].add((r % 3) * tile.a_row));
                        for v in 0..VECTORS {
                            sums[r][v] = $multiply_add(a_now, b_now[v], sums[r][v]);
                        }
                    }
                    for pointer in &mut a[..ROWS.div_ceil(3)] {
                        *pointer = pointer.wrapping_add(tile.a_k);
                    }
                    b = b.wrapping_add(if VECTORS == 1 { LANES } else { PANEL });
                }
            }
            for (r, row) in sums.iter().enumerate() {
                for (v, &sum) in row.iter().enumerate() {
                    // SAFETY: `to` has ROWS writable rows of VECTORS × LANES values.
                    unsafe {
                        let to = tile.to.add(r * tile.to_row + v * LANES);
                        let value = if tile.add { _mm512_add_ps(_mm512_loadu_ps(to), sum) } else { sum };
                        _mm512_storeu_ps(to, value);
                    }
                }
            }
        }
    };
}

kernel!(of_values, "avx512f", fused);
kernel!(of_pairs, "avx512f,avx512bf16", dot_product);
kernel!(of_widened_pairs, "avx512f", dot_product_widened);

#[cfg(test)]
mod tests {
    use std::ptr::null;

    use super::*;
    use crate::dispatch::SimdLevel;
    use crate::random::Stream;

    /// Which one runs is the processor's, not the level's: with BF16 nothing else reaches the widened pairs.
    #[test]
    fn widened_pairs_have_the_bits_of_the_dot_product() {
        if !SimdLevel::Avx512.is_supported() || !Dtype::Bf16.is_native() {
            return;
        }
        const K: usize = 37;
        let mut stream = Stream::new(1, "pairs", 0, 0);
        // Pairs of bf16: both halves lie between 0.5 and 2.
        let mut pair = || f32::from_bits((stream.next_u64() as u32 & 0x80ff_80ff) | 0x3f00_3f00);
        let a: Vec<f32> = (0..3 * K).map(|_| pair()).collect();
        let b: Vec<f32> = (0..K * PANEL).map(|_| pair()).collect();
        let run = |kernel: unsafe fn(&Tile)| {
            let mut c = [0.0_f32; 3 * PANEL];
            let tile = Tile {
                rows: 3,
                width: PANEL,
                k: K,
                a: a.as_ptr(),
                a_row: K,
                a_k: 1,
                b: b.as_ptr(),
                b_panel: 0,
                from: null(),
                from_row: 0,
                to: c.as_mut_ptr(),
                to_row: PANEL,
                add: false,
                dtype: Dtype::Bf16,
            };
            // SAFETY: the machine has both instruction sets; a is 3 x K, b a panel of K steps, c 3 rows of one.
            unsafe { kernel(&tile) };
            c.map(f32::to_bits)
        };
        assert_eq!(run(of_widened_pairs::<3, 2>), run(of_pairs::<3, 2>));
    }
}
