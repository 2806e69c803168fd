//! The lanes as NEON registers.
//!
//! SAFETY of every block here: the types are used only inside functions that
//! [`super::multiversion!`] made, which have the instruction set enabled and run only where the
//! machine has it. Loads and stores add their own condition, stated in the trait.

use std::arch::aarch64::*;

use super::Lanes;

/// Four 128-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

impl Neon {
    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        let [a, b, c, d] = self.0;
        Self([f(a), f(b), f(c), f(d)])
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        let ([a, b, c, d], [e, g, h, i]) = (self.0, other.0);
        Self([f(a, e), f(b, g), f(c, h), f(d, i)])
    }

    /// `f` of the values' bits.
    #[inline(always)]
    fn map_bits(self, f: impl Fn(uint32x4_t) -> uint32x4_t) -> Self {
        self.map(|x| unsafe { vreinterpretq_f32_u32(f(vreinterpretq_u32_f32(x))) })
    }
}

/// Methods of two operands that are one intrinsic a register.
macro_rules! binary {
    ($($method:ident = $intrinsic:ident),*) => {$(
        #[inline(always)]
        fn $method(self, other: Self) -> Self {
            self.zip(other, |a, b| unsafe { $intrinsic(a, b) })
        }
    )*};
}

impl Lanes for Neon {
    const MANY_REGISTERS: bool = false;

    binary! {
        add = vaddq_f32,
        sub = vsubq_f32,
        mul = vmulq_f32,
        div = vdivq_f32,
        max = greater
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([unsafe { vdupq_n_f32(x) }; 4])
    }

    #[inline(always)]
    unsafe fn load_from(from: *const f32) -> Self {
        unsafe { Self([vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))]) }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32) {
        for (i, register) in self.0.into_iter().enumerate() {
            unsafe { vst1q_f32(to.add(4 * i), register) }
        }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(|x| unsafe { vsqrtq_f32(x) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        let mut result = summand;
        for i in 0..4 {
            result.0[i] = unsafe { vfmaq_f32(summand.0[i], self.0[i], factor.0[i]) };
        }
        result
    }

    #[inline(always)]
    fn select_lt(self, bound: Self, yes: Self, no: Self) -> Self {
        let mut result = no;
        for i in 0..4 {
            result.0[i] = unsafe { vbslq_f32(vcltq_f32(self.0[i], bound.0[i]), yes.0[i], no.0[i]) };
        }
        result
    }

    #[inline(always)]
    fn mantissa_to_exponent(self) -> Self {
        self.map_bits(|bits| unsafe { vshlq_n_u32::<23>(bits) })
    }

    #[inline(always)]
    fn even_of_pair(self) -> Self {
        self.map_bits(|bits| unsafe { vshlq_n_u32::<16>(bits) })
    }

    #[inline(always)]
    fn odd_of_pair(self) -> Self {
        self.map_bits(|bits| unsafe { vandq_u32(bits, vdupq_n_u32(0xffff_0000)) })
    }

    #[inline(always)]
    fn pair_without_odd(self) -> Self {
        self.map_bits(|bits| unsafe { vandq_u32(bits, vdupq_n_u32(0xffff)) })
    }

    #[inline(always)]
    fn reduce_add(self) -> f32 {
        let [a, b, c, d] = self.0;
        unsafe {
            let x = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        }
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        let [a, b, c, d] = self.0;
        unsafe {
            let x = greater(greater(a, c), greater(b, d));
            let (low, high) = (vget_low_f32(x), vget_high_f32(x));
            let x = vbsl_f32(vcgt_f32(low, high), low, high);
            super::greater(vget_lane_f32::<0>(x), vget_lane_f32::<1>(x))
        }
    }
}

/// The greater, `b` where either is NaN: `FMAX` would give NaN, and +0 of the two zeros.
#[inline(always)]
unsafe fn greater(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}
