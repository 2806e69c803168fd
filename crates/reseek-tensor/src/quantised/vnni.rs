//! The registers of AVX-512 VNNI: `vpdpbusd` adds four products of an unsigned and a signed byte to each of 16 sums.
//!
//! SAFETY of every block here: the functions are inlined into those that [`kernel!`] made, which have the instructions enabled and run only
//! where the machine has them; and loads and stores go to arrays of their size.

use std::arch::x86_64::*;

use super::BLOCK;
use super::activations::Order;
use super::kernel::{Vector, kernel};
use super::panel::WORDS;

pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw")
}

kernel!(Vnni, by_codes, "avx512f,avx512bw,avx512vnni,avx2,fma");

pub(super) struct Vnni;

impl Vector for Vnni {
    const LANES: usize = 16;
    const ORDER: Order = Order::Bytes;
    type Codes = __m512i;
    /// Those with the high bytes and those with the low ones.
    type Dots = (__m512i, __m512i);
    type Floats = __m512;

    #[inline(always)]
    fn load(bytes: &[u8]) -> __m512i {
        let bytes: &[u8; 64] = bytes.first_chunk().expect("a whole register");
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(codes: __m512i, bytes: &mut [u8]) {
        let bytes: &mut [u8; 64] = bytes.first_chunk_mut().expect("a whole register");
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), codes) }
    }

    #[inline(always)]
    fn prefetch(bytes: &[u8], ahead: usize) {
        // A hint, which any address may be given.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) }
    }

    #[inline(always)]
    fn moved(codes: __m512i, by: i32, mask: u8) -> __m512i {
        unsafe {
            let moved = match by {
                4 => _mm512_slli_epi16::<4>(codes),
                3 => _mm512_slli_epi16::<3>(codes),
                2 => _mm512_slli_epi16::<2>(codes),
                1 => _mm512_slli_epi16::<1>(codes),
                0 => codes,
                _ => _mm512_srl_epi16(codes, _mm_cvtsi32_si128(-by)),
            };
            _mm512_and_si512(moved, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn look_up(codes: __m512i, table: &[u8; 16]) -> __m512i {
        unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), codes) }
    }

    #[inline(always)]
    fn dots(start: i32) -> Self::Dots {
        unsafe { (_mm512_setzero_si512(), _mm512_set1_epi32(start)) }
    }

    #[inline(always)]
    fn add((high, low): Self::Dots, codes: __m512i, q: &[i16; BLOCK], word: usize) -> Self::Dots {
        let pair = |index: usize| i32::from(q[2 * index] as u16) | i32::from(q[2 * index + 1]) << 16;
        unsafe {
            (
                _mm512_dpbusd_epi32(high, codes, _mm512_set1_epi32(pair(word))),
                _mm512_dpbusd_epi32(low, codes, _mm512_set1_epi32(pair(WORDS + word))),
            )
        }
    }

    #[inline(always)]
    fn to_floats((high, low): Self::Dots) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low)) }
    }

    #[inline(always)]
    fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8]) -> __m512 {
        let bytes: &[u8; 32] = bytes.first_chunk().expect("16 values");
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn from_bytes(bytes: &[u8]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen(bytes))) }
    }

    #[inline(always)]
    fn from_low_nibbles(bytes: &[u8]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_cvtepu8_epi32(sixteen(bytes)), _mm512_set1_epi32(15))) }
    }

    #[inline(always)]
    fn from_high_nibbles(bytes: &[u8]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(_mm512_cvtepu8_epi32(sixteen(bytes)))) }
    }

    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn store_floats(x: __m512, to: &mut [f32]) {
        let to: &mut [f32; 16] = to.first_chunk_mut().expect("16 values");
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }
}

#[inline(always)]
fn sixteen(bytes: &[u8]) -> __m128i {
    let bytes: &[u8; 16] = bytes.first_chunk().expect("16 values");
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
