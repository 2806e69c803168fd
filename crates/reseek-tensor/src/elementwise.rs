//! Functions of single values, in vectors and with the same bits on every machine with fused multiply-add.

use crate::exp;
use crate::simd::{LANES, Lanes, multiversion};

/// `x[i] = 1 / (1 + e^-x[i])`.
pub fn sigmoid(x: &mut [f32]) {
    sigmoid_in_place(x);
}

multiversion! {
    fn sigmoid_in_place(x: &mut [f32]) = sigmoid_body
}

#[inline(always)]
fn sigmoid_body<V: Lanes>(x: &mut [f32]) {
    for at in (0..x.len()).step_by(LANES) {
        exp::sigmoid(V::load_at(x, at, 0.0)).store_at(x, at);
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
                    let mut s = x.clone();
                    sigmoid(&mut s);
                    for (x, s) in x.iter().zip(s) {
                        let want = 1.0 / (1.0 + (-x).exp());
                        assert!((s - want).abs() < 2e-7, "{level} at {x}: {s}");
                    }
                }
            });
        }
    }
}
