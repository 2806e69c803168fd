//! The lanes as AVX2 and AVX-512 registers.
//!
//! SAFETY of every block here: the types are used only inside functions that
//! [`super::multiversion!`] made, which have the instruction set enabled and run only where the
//! machine has it. Loads and stores add their own condition, stated in the trait.

use std::arch::x86_64::*;

use super::Lanes;

/// Two 256-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// One 512-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl Avx512 {
    /// even·even + (odd·odd + sum) of pairs of bf16, in one instruction.
    ///
    /// # Safety
    /// Inlined into a function with AVX-512 BF16 enabled.
    #[inline(always)]
    pub(crate) unsafe fn dot_pairs(self, other: Self, sum: Self) -> Self {
        unsafe {
            let [a, b] = [self.0, other.0].map(|x| std::mem::transmute::<__m512, __m512bh>(x));
            Self(_mm512_dpbf16_ps(sum.0, a, b))
        }
    }

    /// The values of `low` followed by those of `high`, rounded to bf16, two a lane.
    ///
    /// # Safety
    /// Inlined into a function with AVX-512 BF16 enabled.
    #[inline(always)]
    pub(crate) unsafe fn pair_neighbours(low: Self, high: Self) -> Self {
        unsafe { Self(pair_neighbouring_lanes(low.0, high.0)) }
    }

    /// The lanes of both rounded to bf16, that of `even` in the low half.
    ///
    /// # Safety
    /// Inlined into a function with AVX-512 BF16 and BW enabled.
    #[inline(always)]
    pub(crate) unsafe fn pair_rows(even: Self, odd: Self) -> Self {
        unsafe { Self(pair_lanes(even.0, odd.0)) }
    }
}

/// The values of `low` followed by those of `high`, rounded to bf16, two a lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn pair_neighbouring_lanes(low: __m512, high: __m512) -> __m512 {
    unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The lanes of both rounded to bf16, that of `even` in the low half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) fn pair_lanes(even: __m512, odd: __m512) -> __m512 {
    // Word 2i of the result is word i, word 2i + 1 is word 16 + i.
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0,
    );
    let halves = unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even)) };
    _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves))
}

/// Methods of two operands that are one intrinsic a register.
macro_rules! binary {
    (Avx2: $($method:ident = $intrinsic:ident),*) => {$(
        #[inline(always)]
        fn $method(self, other: Self) -> Self {
            unsafe { Self($intrinsic(self.0, other.0), $intrinsic(self.1, other.1)) }
        }
    )*};
    (Avx512: $($method:ident = $intrinsic:ident),*) => {$(
        #[inline(always)]
        fn $method(self, other: Self) -> Self {
            unsafe { Self($intrinsic(self.0, other.0)) }
        }
    )*};
}

impl Lanes for Avx2 {
    const MANY_REGISTERS: bool = false;

    binary! {
        Avx2: add = _mm256_add_ps,
        sub = _mm256_sub_ps,
        mul = _mm256_mul_ps,
        div = _mm256_div_ps,
        max = _mm256_max_ps
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        let half = unsafe { _mm256_set1_ps(x) };
        Self(half, half)
    }

    #[inline(always)]
    unsafe fn load_from(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        unsafe { Self(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, summand.0), _mm256_fmadd_ps(self.1, factor.1, summand.1)) }
    }

    #[inline(always)]
    fn select_lt(self, bound: Self, yes: Self, no: Self) -> Self {
        unsafe {
            Self(
                _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, bound.0)),
                _mm256_blendv_ps(no.1, yes.1, _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, bound.1)),
            )
        }
    }

    #[inline(always)]
    fn mantissa_to_exponent(self) -> Self {
        unsafe {
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.1))),
            )
        }
    }

    #[inline(always)]
    fn even_of_pair(self) -> Self {
        unsafe {
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(self.0))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(self.1))),
            )
        }
    }

    #[inline(always)]
    fn odd_of_pair(self) -> Self {
        unsafe {
            let upper = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32));
            Self(_mm256_and_ps(self.0, upper), _mm256_and_ps(self.1, upper))
        }
    }

    #[inline(always)]
    fn pair_without_odd(self) -> Self {
        unsafe {
            let lower = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff));
            Self(_mm256_and_ps(self.0, lower), _mm256_and_ps(self.1, lower))
        }
    }

    #[inline(always)]
    fn reduce_add(self) -> f32 {
        unsafe { reduce_add_8(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        unsafe { reduce_max_8(_mm256_max_ps(self.0, self.1)) }
    }
}

impl Lanes for Avx512 {
    const MANY_REGISTERS: bool = true;

    binary! {
        Avx512: add = _mm512_add_ps,
        sub = _mm512_sub_ps,
        mul = _mm512_mul_ps,
        div = _mm512_div_ps,
        max = _mm512_max_ps
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load_from(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        unsafe { Self(_mm512_sqrt_ps(self.0)) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, summand.0)) }
    }

    #[inline(always)]
    fn select_lt(self, bound: Self, yes: Self, no: Self) -> Self {
        unsafe {
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, bound.0);
            Self(_mm512_mask_blend_ps(below, no.0, yes.0))
        }
    }

    #[inline(always)]
    fn mantissa_to_exponent(self) -> Self {
        unsafe { Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(self.0)))) }
    }

    #[inline(always)]
    fn even_of_pair(self) -> Self {
        unsafe { Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(self.0)))) }
    }

    #[inline(always)]
    fn odd_of_pair(self) -> Self {
        unsafe {
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            Self(_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(self.0), upper)))
        }
    }

    #[inline(always)]
    fn pair_without_odd(self) -> Self {
        unsafe {
            let lower = _mm512_set1_epi32(0xffff);
            Self(_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(self.0), lower)))
        }
    }

    #[inline(always)]
    fn reduce_add(self) -> f32 {
        unsafe {
            let (low, high) = halves(self.0);
            reduce_add_8(_mm256_add_ps(low, high))
        }
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        unsafe {
            let (low, high) = halves(self.0);
            reduce_max_8(_mm256_max_ps(low, high))
        }
    }
}

/// The transposed block; SSE, which every x86-64 processor has.
#[inline(always)]
pub(super) fn transpose_4x4(rows: [&[f32; 4]; 4]) -> [[f32; 4]; 4] {
    // SAFETY: loads of four values from references to four, and a vector has the layout of them.
    unsafe {
        let [a, b, c, d] = rows.map(|row| _mm_loadu_ps(row.as_ptr()));
        let (ab_low, cd_low) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        let columns = [
            _mm_movelh_ps(ab_low, cd_low),
            _mm_movehl_ps(cd_low, ab_low),
            _mm_movelh_ps(ab_high, cd_high),
            _mm_movehl_ps(cd_high, ab_high),
        ];
        std::mem::transmute::<[__m128; 4], [[f32; 4]; 4]>(columns)
    }
}

#[inline(always)]
unsafe fn halves(x: __m512) -> (__m256, __m256) {
    unsafe {
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
        (_mm512_castps512_ps256(x), high)
    }
}

#[inline(always)]
unsafe fn reduce_add_8(x: __m256) -> f32 {
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

#[inline(always)]
unsafe fn reduce_max_8(x: __m256) -> f32 {
    unsafe {
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}
