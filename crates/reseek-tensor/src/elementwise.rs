//! Functions of single values, in vectors and with the same bits on every machine with fused multiply-add.

use crate::exp;
use crate::simd::{LANES, Lanes, multiversion};

/// `x[i] = 1 / (1 + e^-x[i])`.
pub fn sigmoid(x: &mut [f32]) {
    sigmoid_in_place(x);
}

/// `y[i] = e^((x[i] - shift) * factor)`.
///
/// # Panics
/// If the lengths differ.
pub fn exp_scaled(y: &mut [f32], x: &[f32], shift: f32, factor: f32) {
    assert_eq!(y.len(), x.len(), "y has {} values, x has {}", y.len(), x.len());
    exp_of(y, x, shift, factor);
}

multiversion! {
    fn sigmoid_in_place(x: &mut [f32]) = sigmoid_body
}

multiversion! {
    fn exp_of(y: &mut [f32], x: &[f32], shift: f32, factor: f32) = exp_body
}

#[inline(always)]
fn sigmoid_body<V: Lanes>(x: &mut [f32]) {
    for at in (0..x.len()).step_by(LANES) {
        exp::sigmoid(V::load_at(x, at, 0.0)).store_at(x, at);
    }
}

#[inline(always)]
fn exp_body<V: Lanes>(y: &mut [f32], x: &[f32], shift: f32, factor: f32) {
    for at in (0..x.len()).step_by(LANES) {
        let value = V::load_at(x, at, 0.0).sub(V::splat(shift)).mul(V::splat(factor));
        exp::exp(value).store_at(y, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{SimdLevel, with_level};

    #[test]
    fn every_level_agrees_with_the_library() {
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_supported()) {
            with_level(level, || {
                for len in [0, 1, 15, 16, 33] {
                    let x: Vec<f32> = (0..len).map(|i| (i as f32 - 11.0) * 0.7).collect();
                    let (mut s, mut e) = (x.clone(), vec![0.0; len]);
                    sigmoid(&mut s);
                    exp_scaled(&mut e, &x, 0.5, 1.25);
                    for ((x, s), e) in x.iter().zip(s).zip(e) {
                        let (want_s, want_e) = (1.0 / (1.0 + (-x).exp()), ((x - 0.5) * 1.25).exp());
                        assert!(
                            (s - want_s).abs() < 2e-7 && (e / want_e - 1.0).abs() < 2e-6,
                            "{level} at {x}: {s}, {e}"
                        );
                    }
                }
            });
        }
    }
}
