//! The number format of a product's operands, and rounding to bfloat16.
//!
//! A bf16 operand is stored as *pairs*: two values that are neighbours along k share 32 bits, the even one in the low half.
//! A pair takes the place of one f32 value, so packing, tiles and caches are the same for both formats with half the steps.

use std::fmt;
use std::ops::Range;

pub use half::bf16;

use crate::simd::{Lanes, multiversion};

/// The format in which a product's operands meet. Sums, activations, gradients and master weights are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    #[default]
    F32,
    /// bfloat16: the upper half of an f32, rounded to nearest even.
    Bf16,
}

impl Dtype {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Whether every value is one of this format, so that none is rounded.
    pub fn holds(self, values: &[f32]) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => values.iter().all(|value| value.to_bits() & 0xffff == 0),
        }
    }

    /// Steps of a chain over `k` products: one for each value, or one for each pair.
    pub(crate) fn steps(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Bf16 => k.div_ceil(2),
        }
    }

    /// The places of k that `steps` of `k` places cover.
    pub(crate) fn values(self, steps: &Range<usize>, k: usize) -> Range<usize> {
        match self {
            Self::F32 => steps.clone(),
            Self::Bf16 => 2 * steps.start..k.min(2 * steps.end),
        }
    }

    /// Whether this machine multiplies bf16 pairs in one instruction; elsewhere they are widened, at the speed of f32.
    pub fn is_native(self) -> bool {
        match self {
            Self::F32 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Bf16 => false,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// The 16 bits of `x` rounded to nearest even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if x.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}

#[inline(always)]
pub(crate) fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(bf16_bits(even) | bf16_bits(odd) << 16)
}

/// `to[i]` = the pair of `from[2i]` and `from[2i + 1]`; an odd last value is paired with 0.
///
/// # Panics
/// If `to` is not half as long.
pub(crate) fn pair_neighbours(to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len().div_ceil(2), "pairs of {} values", from.len());
    #[cfg(target_arch = "x86_64")]
    if x86::is_supported() {
        // SAFETY: the machine has the instructions.
        return unsafe { x86::pair_neighbours(to, from) };
    }
    pair_neighbours_plain(to, from);
}

/// Pairs of neighbours in each row of `rows: [_, width]`: `to [_, width / 2]`, rounded up.
///
/// # Panics
/// If `to` is not half as long.
pub(crate) fn pair_within_rows(to: &mut [f32], rows: &[f32], width: usize) {
    if width.is_multiple_of(2) {
        return pair_neighbours(to, rows);
    }
    for (to, row) in to.chunks_exact_mut(width.div_ceil(2)).zip(rows.chunks_exact(width)) {
        pair_neighbours(to, row);
    }
}

/// Two rows of pairs of neighbours, turned into pairs of the rows' values: as [`pair_rows`] with `even` and `odd` rounded already.
///
/// # Panics
/// As [`pair_rows`].
pub(crate) fn interleave_rows(
    to: &mut [f32],
    even: &[f32],
    odd: Option<&[f32]>,
    places: impl Iterator<Item = (Range<usize>, usize)>,
) {
    assert!(odd.is_none_or(|odd| odd.len() == even.len()), "rows of different lengths");
    let (even, odd) = (halves(even), odd.map(halves));
    #[cfg(target_arch = "x86_64")]
    if let Some(odd) = odd.filter(|_| x86::is_supported()) {
        // SAFETY: the machine has the instructions.
        return unsafe { x86::interleave_places(to, even, odd, places) };
    }
    for (columns, start) in places {
        let to = &mut to[start..][..columns.len()];
        let even = &even[columns.clone()];
        let Some(odd) = odd.map(|odd| &odd[columns]) else {
            to.iter_mut().zip(even).for_each(|(to, &even)| *to = f32::from_bits(even.into()));
            continue;
        };
        let pairs = even.iter().zip(odd).map(|(&even, &odd)| u32::from(even) | u32::from(odd) << 16);
        to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = f32::from_bits(pair));
    }
}

/// The bf16 values of pairs, the even one of each first.
fn halves(pairs: &[f32]) -> &[u16] {
    const { assert!(cfg!(target_endian = "little"), "pairs have the even value in the low half, so in front") };
    // SAFETY: the same bytes; u16 has no stricter alignment and any bits are a value.
    unsafe { std::slice::from_raw_parts(pairs.as_ptr().cast(), 2 * pairs.len()) }
}

/// Pairs of two rows that are neighbours along k: for each place (columns, start), `to[start + i]` = the pair of the rows' values in the
/// i-th of these columns. `odd` may be absent.
///
/// # Panics
/// If a place is outside of `to` or of the rows, or the rows differ in length.
pub(crate) fn pair_rows(
    to: &mut [f32],
    even: &[f32],
    odd: Option<&[f32]>,
    places: impl Iterator<Item = (Range<usize>, usize)>,
) {
    assert!(odd.is_none_or(|odd| odd.len() == even.len()), "rows of different lengths");
    let Some(odd) = odd else {
        for (columns, start) in places {
            let to = &mut to[start..][..columns.len()];
            to.iter_mut().zip(&even[columns]).for_each(|(to, &even)| *to = pair(even, 0.0));
        }
        return;
    };
    #[cfg(target_arch = "x86_64")]
    if x86::is_supported() {
        for (columns, start) in places {
            let to = &mut to[start..][..columns.len()];
            // SAFETY: the machine has the instructions.
            unsafe { x86::pair_rows(to, &even[columns.clone()], &odd[columns]) };
        }
        return;
    }
    for (columns, start) in places {
        pair_rows_plain(&mut to[start..][..columns.len()], &even[columns.clone()], &odd[columns]);
    }
}

/// Puts `odd` into the odd places of pairs.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn set_odd_of_pairs(pairs: &mut [f32], odd: &[f32]) {
    assert_eq!(pairs.len(), odd.len(), "odd places of pairs");
    for (pair, &odd) in pairs.iter_mut().zip(odd) {
        *pair = f32::from_bits(pair.to_bits() & 0xffff | bf16_bits(odd) << 16);
    }
}

/// `out` becomes `pairs` with 0 in the even places.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn odd_of_pairs(out: &mut [f32], pairs: &[f32]) {
    assert_eq!(out.len(), pairs.len(), "odd places of pairs");
    out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = f32::from_bits(pair.to_bits() & 0xffff_0000));
}

multiversion! {
    fn pair_neighbours_plain(to: &mut [f32], from: &[f32]) = pair_neighbours_body
}

multiversion! {
    fn pair_rows_plain(to: &mut [f32], even: &[f32], odd: &[f32]) = pair_rows_body
}

#[inline(always)]
fn pair_neighbours_body<V: Lanes>(to: &mut [f32], from: &[f32]) {
    let (pairs, rest) = from.as_chunks::<2>();
    to.iter_mut().zip(pairs).for_each(|(to, &[even, odd])| *to = pair(even, odd));
    if let (Some(to), Some(&even)) = (to.get_mut(pairs.len()), rest.first()) {
        *to = pair(even, 0.0);
    }
}

#[inline(always)]
fn pair_rows_body<V: Lanes>(to: &mut [f32], even: &[f32], odd: &[f32]) {
    to.iter_mut().zip(even).zip(odd).for_each(|((to, &even), &odd)| *to = pair(even, odd));
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use std::arch::x86_64::{
        _mm256_maskz_loadu_epi16, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_loadu_ps, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_slli_epi32, _mm512_storeu_ps,
    };
    use std::ops::Range;

    use crate::dispatch::{SimdLevel, level};
    use crate::simd::{pair_lanes, pair_neighbouring_lanes};

    const LANES: usize = 16;

    /// Whether this thread's kernels make pairs with AVX-512 BF16 and BW.
    #[inline]
    pub(crate) fn is_supported() -> bool {
        level() == SimdLevel::Avx512
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }

    /// [`interleave`] at each of the places.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn interleave_places(
        to: &mut [f32],
        even: &[u16],
        odd: &[u16],
        places: impl Iterator<Item = (Range<usize>, usize)>,
    ) {
        for (columns, start) in places {
            let to = &mut to[start..][..columns.len()];
            // SAFETY: the caller's promise; all three have the same length.
            unsafe { interleave(to, &even[columns.clone()], &odd[columns]) };
        }
    }

    /// # Safety
    /// The machine has AVX-512 F, BW and VL; all three have the same length.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn interleave(to: &mut [f32], even: &[u16], odd: &[u16]) {
        // SAFETY: the places and masks of `lanes` leave out what lies behind the end.
        lanes(to.len(), |at, mask| unsafe {
            let even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even.as_ptr().add(at).cast()));
            let odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, odd.as_ptr().add(at).cast()));
            let pairs = _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd));
            _mm512_mask_storeu_ps(to.as_mut_ptr().add(at), mask, _mm512_castsi512_ps(pairs));
        });
    }

    /// # Safety
    /// The machine has AVX-512 F, BW and BF16; `to` is half as long as `from`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn pair_neighbours(to: &mut [f32], from: &[f32]) {
        let (whole, rest) = from.as_chunks::<{ 2 * LANES }>();
        for (i, from) in whole.iter().enumerate() {
            // SAFETY: `from` has two vectors, `to` one for each of them.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(LANES)));
                _mm512_storeu_ps(to.as_mut_ptr().add(i * LANES), pair_neighbouring_lanes(low, high));
            }
        }
        if !rest.is_empty() {
            // SAFETY: the masks leave out what lies behind the end.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask(rest.len()), rest.as_ptr());
                let of_high = mask(rest.len().saturating_sub(LANES));
                let high = _mm512_maskz_loadu_ps(of_high, rest.as_ptr().wrapping_add(LANES));
                let at = whole.len() * LANES;
                _mm512_mask_storeu_ps(to.as_mut_ptr().add(at), mask(to.len() - at), pair_neighbouring_lanes(low, high));
            }
        }
    }

    /// # Safety
    /// As [`pair_neighbours`], and the lengths are the same.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn pair_rows(to: &mut [f32], even: &[f32], odd: &[f32]) {
        // SAFETY: the places and masks of `lanes` leave out what lies behind the end.
        lanes(to.len(), |at, mask| unsafe {
            let even = _mm512_maskz_loadu_ps(mask, even.as_ptr().add(at));
            let odd = _mm512_maskz_loadu_ps(mask, odd.as_ptr().add(at));
            _mm512_mask_storeu_ps(to.as_mut_ptr().add(at), mask, pair_lanes(even, odd));
        });
    }

    /// Calls `f(place, mask)` for each vector of `len` values: all lanes but for the last one's.
    #[inline(always)]
    fn lanes(len: usize, mut f: impl FnMut(usize, u16)) {
        let whole = len / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            f(at, u16::MAX);
        }
        if whole < len {
            f(whole, mask(len - whole));
        }
    }

    /// The first `left` of 16 lanes.
    #[inline(always)]
    fn mask(left: usize) -> u16 {
        if left >= LANES { u16::MAX } else { (1 << left) - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn rounds_to_nearest_even_and_keeps_what_is_not_finite() {
        let round_bf16 = |x: f32| f32::from_bits(bf16_bits(x) << 16);
        assert_eq!(round_bf16(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(round_bf16(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(round_bf16(f32::MAX), f32::INFINITY);
        assert_eq!(round_bf16(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert!(round_bf16(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn instructions_and_plain_code_make_the_same_pairs() {
        let mut stream = Stream::new(1, "pairs", 0, 0);
        for len in [0, 1, 2, 15, 16, 17, 31, 33, 64, 101] {
            let mut from: Vec<f32> = (0..2 * len).map(|_| stream.normal()).collect();
            if len > 3 {
                from[3] = f32::INFINITY;
            }
            let (even, odd) = from.split_at(len);
            let want: Vec<u32> = even.iter().zip(odd).map(|(&e, &o)| pair(e, o).to_bits()).collect();
            let mut to = vec![0.0; len];
            pair_rows(&mut to, even, Some(odd), std::iter::once((0..len, 0)));
            assert_eq!(to.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want);
            let interleaved: Vec<f32> = even.iter().zip(odd).flat_map(|(&e, &o)| [e, o]).collect();
            pair_neighbours(&mut to, &interleaved);
            assert_eq!(to.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want);
            let mut odd_length = vec![0.0; len];
            if len > 0 {
                pair_neighbours(&mut odd_length, &interleaved[..2 * len - 1]);
                assert_eq!(odd_length[len - 1].to_bits(), want[len - 1] & 0xffff);
            }
        }
    }
}
