//! The registers of AVX2: `vpmaddwd` adds two products of 16 bits for each of 8 sums, first of the even bytes of a word of codes, then of the odd.
//! (`vpmaddubsw` would saturate with codes of 8 bits.)
//!
//! SAFETY of every block here: as in `vnni.rs`.

use std::arch::x86_64::*;

use super::BLOCK;
use super::activations::Order;
use super::kernel::{Vector, kernel};

pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

kernel!(Avx2, by_codes, "avx2,fma,f16c");

pub(super) struct Avx2;

impl Vector for Avx2 {
    const LANES: usize = 8;
    const ORDER: Order = Order::Words;
    type Codes = __m256i;
    type Dots = __m256i;
    type Floats = __m256;

    #[inline(always)]
    fn load(bytes: &[u8]) -> __m256i {
        let bytes: &[u8; 32] = bytes.first_chunk().expect("a whole register");
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(codes: __m256i, bytes: &mut [u8]) {
        let bytes: &mut [u8; 32] = bytes.first_chunk_mut().expect("a whole register");
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), codes) }
    }

    #[inline(always)]
    fn prefetch(bytes: &[u8], ahead: usize) {
        // A hint, which any address may be given.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) }
    }

    #[inline(always)]
    fn moved(codes: __m256i, by: i32, mask: u8) -> __m256i {
        unsafe {
            let moved = match by {
                4 => _mm256_slli_epi16::<4>(codes),
                3 => _mm256_slli_epi16::<3>(codes),
                2 => _mm256_slli_epi16::<2>(codes),
                1 => _mm256_slli_epi16::<1>(codes),
                0 => codes,
                _ => _mm256_srl_epi16(codes, _mm_cvtsi32_si128(-by)),
            };
            _mm256_and_si256(moved, _mm256_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn or(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn look_up(codes: __m256i, table: &[u8; 16]) -> __m256i {
        unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), codes) }
    }

    #[inline(always)]
    fn dots(start: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(start) }
    }

    #[inline(always)]
    fn add(dots: __m256i, codes: __m256i, q: &[i16; BLOCK], word: usize) -> __m256i {
        let pair = |index: usize| i32::from(q[2 * index] as u16) | i32::from(q[2 * index + 1]) << 16;
        unsafe {
            let even = _mm256_and_si256(codes, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(codes);
            let even = _mm256_madd_epi16(even, _mm256_set1_epi32(pair(2 * word)));
            let odd = _mm256_madd_epi16(odd, _mm256_set1_epi32(pair(2 * word + 1)));
            _mm256_add_epi32(_mm256_add_epi32(dots, even), odd)
        }
    }

    #[inline(always)]
    fn to_floats(dots: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(dots) }
    }

    #[inline(always)]
    fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8]) -> __m256 {
        let bytes: &[u8; 16] = bytes.first_chunk().expect("8 values");
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn from_bytes(bytes: &[u8]) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight(bytes))) }
    }

    #[inline(always)]
    fn from_low_nibbles(bytes: &[u8]) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_cvtepu8_epi32(eight(bytes)), _mm256_set1_epi32(15))) }
    }

    #[inline(always)]
    fn from_high_nibbles(bytes: &[u8]) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(_mm256_cvtepu8_epi32(eight(bytes)))) }
    }

    #[inline(always)]
    fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn store_floats(x: __m256, to: &mut [f32]) {
        let to: &mut [f32; 8] = to.first_chunk_mut().expect("8 values");
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
    }
}

#[inline(always)]
fn eight(bytes: &[u8]) -> __m128i {
    let bytes: &[u8; 8] = bytes.first_chunk().expect("8 values");
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }
}
