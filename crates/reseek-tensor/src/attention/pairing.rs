//! Vectors of weights rounded to pairs of bf16 in registers, on their way to the products that read them.

use crate::dtype::pair;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::{LANES, Lanes};

/// How two vectors become one of pairs, the bits as in [`crate::dtype`].
pub(super) trait Pairing<V: Lanes> {
    /// Lane i: values 2i and 2i + 1 of `low` followed by `high`.
    ///
    /// # Safety
    /// Inlined into a function that has the instructions enabled.
    unsafe fn neighbours(low: V, high: V) -> V;

    /// Lane i: lane i of `even` and of `odd`.
    ///
    /// # Safety
    /// As [`Pairing::neighbours`].
    unsafe fn rows(even: V, odd: V) -> V;
}

/// Value by value.
pub(super) struct Plain;

impl<V: Lanes> Pairing<V> for Plain {
    #[inline(always)]
    unsafe fn neighbours(low: V, high: V) -> V {
        let mut values = [0.0; 2 * LANES];
        let (first, second) = values.split_at_mut(LANES);
        low.store_at(first, 0);
        high.store_at(second, 0);
        V::load(&std::array::from_fn(|i| pair(values[2 * i], values[2 * i + 1])))
    }

    #[inline(always)]
    unsafe fn rows(even: V, odd: V) -> V {
        let (mut evens, mut odds) = ([0.0; LANES], [0.0; LANES]);
        even.store(&mut evens);
        odd.store(&mut odds);
        V::load(&std::array::from_fn(|i| pair(evens[i], odds[i])))
    }
}

/// With AVX-512 BF16 and BW.
#[cfg(target_arch = "x86_64")]
pub(super) struct Native;

#[cfg(target_arch = "x86_64")]
impl Pairing<Avx512> for Native {
    #[inline(always)]
    unsafe fn neighbours(low: Avx512, high: Avx512) -> Avx512 {
        // SAFETY: the caller's promise.
        unsafe { Avx512::pair_neighbours(low, high) }
    }

    #[inline(always)]
    unsafe fn rows(even: Avx512, odd: Avx512) -> Avx512 {
        // SAFETY: the caller's promise.
        unsafe { Avx512::pair_rows(even, odd) }
    }
}
