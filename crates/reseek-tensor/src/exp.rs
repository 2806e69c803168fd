//! Exponentials in vectors and the logarithm: our own, because the platforms' differ in the last
//! bit and are not vectorised.
//!
//! eˣ = 2ⁿ·eʳ with n = ⌊x·log₂e⌉ and |r| ≤ ½·ln 2; likewise 2ˣ. The polynomials are minimax fits
//! of the relative error (Remez), with the coefficients of 1 and, for eʳ, of r fixed at 1. They
//! are off by less than 3.1e-9 in exact arithmetic, and less than 1e-7 as computed.

use crate::simd::Lanes;

/// Adding this rounds to an integer n, and leaves n in the low bits of the sum: [1.5·2²³, 2²⁴)
/// has one value an integer.
const ROUND: f32 = 12_582_912.0;

/// The bias of an f32's exponent.
const BIAS: f32 = 127.0;

/// 2ˣ for x below 127; exactly 1 at 0, exactly 0 from −126.5 down and at −∞, NaN at NaN.
#[inline(always)]
pub(crate) fn exp2<V: Lanes>(x: V) -> V {
    const COEFFICIENTS: [f32; 7] =
        [1.0, std::f32::consts::LN_2, 0.240_226_5, 0.055_503_268, 0.009_618_056, 0.001_340_056_2, 0.000_154_615_61];
    let shift = V::splat(ROUND + BIAS);
    let shifted = x.add(shift);
    let r = x.sub(shifted.sub(shift));
    let result = polynomial(r, COEFFICIENTS).mul(shifted.mantissa_to_exponent());
    x.select_lt(V::splat(-126.5), V::splat(0.0), result)
}

/// eˣ; exactly 1 at 0, exactly 0 from −86.9 (just above the subnormals) down, +∞
/// from 88.722 84 up, NaN at NaN.
#[inline(always)]
pub(crate) fn exp<V: Lanes>(x: V) -> V {
    /// Twice the coefficients: the power of two below is half of 2ⁿ, so that n = 128 fits.
    const COEFFICIENTS: [f32; 7] = [2.0, 2.0, 0.999_999_9, 0.333_330_4, 0.083_336_79, 0.016_737_623, 0.002_762_880_4];
    /// ln 2 in two parts; n times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const MAX: f32 = 88.722_84;
    let shift = V::splat(ROUND + BIAS - 1.0);
    let shifted = x.mul_add(V::splat(std::f32::consts::LOG2_E), shift);
    let n = shifted.sub(shift);
    let r = n.mul_add(V::splat(-LN_2[1]), n.mul_add(V::splat(-LN_2[0]), x));
    let result = polynomial(r, COEFFICIENTS).mul(shifted.mantissa_to_exponent());
    let result = x.select_lt(V::splat(-86.9), V::splat(0.0), result);
    V::splat(MAX).select_lt(x, V::splat(f32::INFINITY), result)
}

/// 1 / (1 + e⁻ˣ): 0 at −∞, 1 at +∞, NaN at NaN.
#[inline(always)]
pub(crate) fn sigmoid<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
}

/// Natural logarithm of a sum of exponentials: a positive normal number, +∞ or NaN (the last two
/// give themselves). Computed in f64 and rounded once.
///
/// x = 2ᵉ·m with m in [√½, √2); ln m = 2·artanh(s), s = (m−1)/(m+1), |s| < 0.172, whose series
/// 2·(s + s³/3 + s⁵/5 + …) is cut where the next term is below 2⁻³³ of the first.
pub(crate) fn ln(x: f32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = f64::from(x).to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    if mantissa >= std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..=5).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    (exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series) as f32
}

/// Horner's scheme, the coefficient of 1 first.
#[inline(always)]
fn polynomial<V: Lanes>(x: V, coefficients: [f32; 7]) -> V {
    let mut sum = V::splat(coefficients[6]);
    for i in (0..6).rev() {
        sum = sum.mul_add(x, V::splat(coefficients[i]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{SimdLevel, with_level};
    use crate::simd::{LANES, multiversion};

    multiversion! {
        fn exp_all(x: &mut [f32]) = exp_all_body
    }

    multiversion! {
        fn exp2_all(x: &mut [f32]) = exp2_all_body
    }

    #[inline(always)]
    fn exp_all_body<V: Lanes>(x: &mut [f32]) {
        for at in (0..x.len()).step_by(LANES) {
            exp(V::load_at(x, at, 0.0)).store_at(x, at);
        }
    }

    #[inline(always)]
    fn exp2_all_body<V: Lanes>(x: &mut [f32]) {
        for at in (0..x.len()).step_by(LANES) {
            exp2(V::load_at(x, at, 0.0)).store_at(x, at);
        }
    }

    /// Compares on arguments in increasing order at every level: small relative error, monotone
    /// but for rounding, same bits at all fused levels.
    fn check(compute: fn(&mut [f32]), reference: fn(f64) -> f64, arguments: &[f32]) {
        let mut fused: Option<Vec<f32>> = None;
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_supported()) {
            let mut got = arguments.to_vec();
            with_level(level, || compute(&mut got));
            for (x, y) in arguments.iter().zip(&got) {
                let want = reference(f64::from(*x));
                let error = (f64::from(*y) / want - 1.0).abs();
                assert!(error < 1.2e-7, "{level}: f({x}) = {y}, expected {want}: relative error {error:e}");
            }
            let drop = got.windows(2).map(|pair| pair[0] / pair[1] - 1.0).fold(0.0, f32::max);
            assert!(drop < 2.4e-7, "{level}: falls by {drop:e} where it should rise");
            if level.is_fused() {
                assert_eq!(*fused.get_or_insert_with(|| got.clone()), got, "{level}");
            }
        }
    }

    fn evenly(from: f32, to: f32) -> Vec<f32> {
        (0..200_003_u32).map(|i| from + (to - from) * (i as f32 / 200_002.0)).collect()
    }

    #[test]
    fn exponentials_are_accurate() {
        check(exp_all, f64::exp, &evenly(-86.89, 88.722));
        check(exp_all, f64::exp, &evenly(-0.4, 0.4));
        check(exp2_all, f64::exp2, &evenly(-125.9, 126.9));
        check(exp2_all, f64::exp2, &evenly(-1.5, 0.5));
    }

    #[test]
    fn exponentials_at_the_ends() {
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_supported()) {
            with_level(level, || {
                let inf = f32::INFINITY;
                let mut x = [0.0, -0.0, -87.0, -1e30, -inf, 88.73, 1e30, inf, 1e-30, f32::from_bits(0x7fc0_1234)];
                exp_all(&mut x);
                assert_eq!(x[..9], [1.0, 1.0, 0.0, 0.0, 0.0, inf, inf, inf, 1.0], "{level}");
                assert!(x[9].is_nan(), "{level}");
                let mut x = [0.0, -0.0, -126.6, -1e30, -inf, 3.0, f32::from_bits(0xffff_ffff)];
                exp2_all(&mut x);
                assert_eq!(x[..6], [1.0, 1.0, 0.0, 0.0, 0.0, 8.0], "{level}");
                assert!(x[6].is_nan(), "{level}");
            });
        }
    }

    #[test]
    fn logarithm() {
        for i in 0..100_000 {
            let x = 0.5 * 1.000_3_f32.powi(i).min(1e37);
            let (got, want) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((got - want).abs() <= 6e-8 * want.abs() + 1e-12, "ln({x}) = {got}, expected {want}");
        }
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
        assert!(ln(f32::NAN).is_nan());
    }
}
