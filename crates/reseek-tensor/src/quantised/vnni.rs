//! The kernel with AVX-512 VNNI: `vpdpbusd` adds four products of an unsigned and a signed byte to each of 16 sums.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_loadu_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps,
    _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi16,
    _mm512_storeu_ps,
};
use std::ops::Range;

use super::activations::Activations;
use super::{BLOCK, Bits, LINE};
use crate::aligned::Line;
use crate::simd::LANES;

pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw")
}

/// # Safety
/// The machine has AVX-512 F, BW and VNNI.
pub(super) unsafe fn tile_product(
    sums: &mut [[f32; LANES]],
    a: &Activations,
    rows: Range<usize>,
    panel: &[Line],
    bits: Bits,
) {
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match (rows.len(), bits) {
                $(
                    // SAFETY: the caller's promise.
                    ($rows, Bits::Four) => unsafe { four_bits::<$rows>(sums, a, rows.start, panel) },
                    // SAFETY: as above.
                    ($rows, Bits::Eight) => unsafe { eight_bits::<$rows>(sums, a, rows.start, panel) },
                )*
                (count, _) => unreachable!("no kernel of {count} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8);
}

/// Sums of a block, one vector for the high and one for the low bytes of each row.
struct Dots<const ROWS: usize> {
    high: [__m512i; ROWS],
    low: [__m512i; ROWS],
}

impl<const ROWS: usize> Dots<ROWS> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zeros() -> Self {
        Self { high: [_mm512_setzero_si512(); ROWS], low: [_mm512_setzero_si512(); ROWS] }
    }

    /// Adds 4 weights of each lane times values 4·index to 4·index + 3 of each row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn add(&mut self, weights: __m512i, q: &[&[i8; 2 * BLOCK]; ROWS], index: usize) {
        for ((high, low), q) in self.high.iter_mut().zip(&mut self.low).zip(q) {
            *high = _mm512_dpbusd_epi32(*high, weights, four(q, index));
            *low = _mm512_dpbusd_epi32(*low, weights, four(q, BLOCK / 4 + index));
        }
    }

    /// Adds the block's part to the chains.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn extend(&self, chains: &mut [__m512; ROWS], d: __m512, m: __m512, a: &Activations, first: usize, index: usize) {
        for (r, (chain, (high, low))) in chains.iter_mut().zip(self.high.iter().zip(&self.low)).enumerate() {
            let (scale, sum) = a.scale_and_sum(first + r, index);
            let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(*high), *low));
            *chain = _mm512_fmadd_ps(dot, _mm512_mul_ps(d, _mm512_set1_ps(scale)), *chain);
            *chain = _mm512_fmadd_ps(m, _mm512_set1_ps(sum), *chain);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn four_bits<const ROWS: usize>(sums: &mut [[f32; LANES]], a: &Activations, first: usize, panel: &[Line]) {
    let low = _mm512_set1_epi8(15);
    let mut chains = [_mm512_setzero_ps(); ROWS];
    for (index, block) in panel.chunks_exact(Bits::Four.lines() + 1).enumerate() {
        let bytes = Line::bytes(block);
        let q: [&[i8; 2 * BLOCK]; ROWS] = std::array::from_fn(|r| a.block(first + r, index));
        let mut dots = Dots::<ROWS>::zeros();
        for j in 0..Bits::Four.lines() {
            let both = line(bytes, j);
            dots.add(_mm512_and_si512(both, low), &q, 2 * j);
            dots.add(_mm512_and_si512(_mm512_srli_epi16::<4>(both), low), &q, 2 * j + 1);
        }
        dots.extend(&mut chains, halves(bytes, 8), halves(bytes, 9), a, first, index);
    }
    store(sums, chains);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn eight_bits<const ROWS: usize>(sums: &mut [[f32; LANES]], a: &Activations, first: usize, panel: &[Line]) {
    let mut chains = [_mm512_setzero_ps(); ROWS];
    for (index, block) in panel.chunks_exact(Bits::Eight.lines() + 1).enumerate() {
        let bytes = Line::bytes(block);
        let q: [&[i8; 2 * BLOCK]; ROWS] = std::array::from_fn(|r| a.block(first + r, index));
        let mut dots = Dots::<ROWS>::zeros();
        for j in 0..Bits::Eight.lines() {
            dots.add(line(bytes, j), &q, j);
        }
        let d = halves(bytes, 16);
        dots.extend(&mut chains, d, _mm512_mul_ps(d, _mm512_set1_ps(-128.0)), a, first, index);
    }
    store(sums, chains);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn line(bytes: &[u8], index: usize) -> __m512i {
    let line: &[u8; LINE] = bytes[index * LINE..].first_chunk().expect("a whole line");
    // SAFETY: these are 64 bytes.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

/// 16 values of f16, the `index`-th half line.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bytes: &[u8], index: usize) -> __m512 {
    let half: &[u8; LINE / 2] = bytes[index * LINE / 2..].first_chunk().expect("half a line");
    // SAFETY: these are 32 bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(half.as_ptr().cast::<__m256i>()) })
}

/// Bytes 4·index to 4·index + 3 in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn four(q: &[i8; 2 * BLOCK], index: usize) -> __m512i {
    assert!(index < BLOCK / 2);
    // SAFETY: these are 4 of the 64 bytes.
    _mm512_set1_epi32(unsafe { q.as_ptr().add(4 * index).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const ROWS: usize>(sums: &mut [[f32; LANES]], chains: [__m512; ROWS]) {
    for (sum, chain) in sums.iter_mut().zip(chains) {
        // SAFETY: these are 16 values.
        unsafe { _mm512_storeu_ps(sum.as_mut_ptr(), chain) };
    }
}
