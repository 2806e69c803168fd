//! RMSNorm (Zhang and Sennrich 2019): `y = gamma * x / rms(x)`, `rms(x) = √(mean(x²) + eps)`, on
//! rows of `gamma.len()` values.
//!
//! Nothing is kept for the backward pass: the statistics are computed again from x, which the
//! caller has. A row's bits depend on that row alone; sums run over 16 lanes and then a tree.

use crate::buffer::{View, ViewMut};
use crate::dtype::Dtype;
use crate::matmul::Accumulate;
use crate::operand::Operand;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, dot, multiversion};

/// `y[t, d] = gamma[d] * x[t, d] / rms(x[t])`.
///
/// # Panics
/// If `gamma` is empty, if `x` is not whole rows, or if `y` and `x` differ in length.
pub fn rmsnorm_forward<'m, 'v>(y: impl Into<ViewMut<'m>>, x: impl Into<View<'v>>, gamma: &[f32], eps: f32) {
    let (y, x) = (y.into().0, x.into().0);
    check(x, gamma.len(), &[("y", y.len())]);
    let _span = span(Op::RmsNorm, 4 * x.len(), 2 * x.len());
    forward(y, x, gamma, eps);
}

/// [`rmsnorm_forward`] as the operand of products in `dtype`.
///
/// # Panics
/// If `gamma` is empty, or if `x` is not whole rows.
pub fn rmsnorm_operand<'v>(x: impl Into<View<'v>>, gamma: &[f32], eps: f32, dtype: Dtype) -> Operand<'static> {
    let x = x.into().0;
    check(x, gamma.len(), &[]);
    let _span = span(Op::RmsNorm, 4 * x.len(), 2 * x.len());
    let width = gamma.len();
    Operand::by_blocks(x.len() / width, width, dtype, |rows, y| {
        forward(y, &x[rows.start * width..rows.end * width], gamma, eps);
    })
}

/// Gradient of x: with `g = gamma ∘ dy` and `r = 1 / rms(x)`,
/// `dx (=|+=) r * (g − x * r² * mean(g ∘ x))`.
///
/// # Panics
/// As [`rmsnorm_forward`], `dx` and `dy` as long as `x`.
pub fn rmsnorm_dgrad<'m, 'v>(
    dx: impl Into<ViewMut<'m>>,
    dy: impl Into<View<'v>>,
    x: impl Into<View<'v>>,
    gamma: &[f32],
    eps: f32,
    accumulate: Accumulate,
) {
    let (dx, dy, x) = (dx.into().0, dy.into().0, x.into().0);
    check(x, gamma.len(), &[("dx", dx.len()), ("dy", dy.len())]);
    let _span = span(Op::RmsNorm, 10 * x.len(), 3 * x.len());
    dgrad(dx, dy, x, gamma, eps, accumulate);
}

/// Gradient of gamma: `dgamma[d] += Σ_t dy[t, d] * x[t, d] / rms(x[t])`, rows in order.
///
/// # Panics
/// If `dgamma` is empty, if `x` is not whole rows, or if `dy` and `x` differ in length.
pub fn rmsnorm_wgrad<'m, 'v>(
    dgamma: impl Into<ViewMut<'m>>,
    dy: impl Into<View<'v>>,
    x: impl Into<View<'v>>,
    eps: f32,
) {
    let (dgamma, dy, x) = (dgamma.into().0, dy.into().0, x.into().0);
    check(x, dgamma.len(), &[("dy", dy.len())]);
    let _span = span(Op::RmsNorm, 5 * x.len(), 2 * x.len());
    wgrad(dgamma, dy, x, eps);
}

fn check(x: &[f32], width: usize, others: &[(&str, usize)]) {
    assert!(width > 0, "gamma is empty");
    assert!(x.len().is_multiple_of(width), "x has {} values, not whole rows of {width}", x.len());
    for (name, len) in others {
        assert_eq!(*len, x.len(), "{name} has {len} values, x {} in rows of {width}", x.len());
    }
}

multiversion! {
    fn forward(y: &mut [f32], x: &[f32], gamma: &[f32], eps: f32) = forward_body
}

multiversion! {
    fn dgrad(
        dx: &mut [f32],
        dy: &[f32],
        x: &[f32],
        gamma: &[f32],
        eps: f32,
        accumulate: Accumulate,
    ) = dgrad_body
}

multiversion! {
    fn wgrad(dgamma: &mut [f32], dy: &[f32], x: &[f32], eps: f32) = wgrad_body
}

#[inline(always)]
fn forward_body<V: Lanes>(y: &mut [f32], x: &[f32], gamma: &[f32], eps: f32) {
    let width = gamma.len();
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let inverse = V::splat(inverse_rms::<V>(x, eps));
        for at in (0..width).step_by(LANES) {
            let normed = V::load_at(x, at, 0.0).mul(inverse);
            normed.mul(V::load_at(gamma, at, 0.0)).store_at(y, at);
        }
    }
}

#[inline(always)]
fn dgrad_body<V: Lanes>(dx: &mut [f32], dy: &[f32], x: &[f32], gamma: &[f32], eps: f32, accumulate: Accumulate) {
    let width = gamma.len();
    let rows = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width));
    for ((dx, dy), x) in rows {
        let inverse = inverse_rms::<V>(x, eps);
        let mut sum = V::splat(0.0);
        for at in (0..width).step_by(LANES) {
            let g = V::load_at(dy, at, 0.0).mul(V::load_at(gamma, at, 0.0));
            sum = g.mul_add(V::load_at(x, at, 0.0).mul(V::splat(inverse)), sum);
        }
        let mean = sum.reduce_add() / width as f32;
        for at in (0..width).step_by(LANES) {
            let g = V::load_at(dy, at, 0.0).mul(V::load_at(gamma, at, 0.0));
            let normed = V::load_at(x, at, 0.0).mul(V::splat(inverse));
            let gradient = normed.mul_add(V::splat(-mean), g).mul(V::splat(inverse));
            match accumulate {
                Accumulate::Set => gradient.store_at(dx, at),
                Accumulate::Add => V::load_at(dx, at, 0.0).add(gradient).store_at(dx, at),
            }
        }
    }
}

#[inline(always)]
fn wgrad_body<V: Lanes>(dgamma: &mut [f32], dy: &[f32], x: &[f32], eps: f32) {
    let width = dgamma.len();
    for (dy, x) in dy.chunks_exact(width).zip(x.chunks_exact(width)) {
        let inverse = V::splat(inverse_rms::<V>(x, eps));
        for at in (0..width).step_by(LANES) {
            let normed = V::load_at(x, at, 0.0).mul(inverse);
            let sum = V::load_at(dgamma, at, 0.0);
            V::load_at(dy, at, 0.0).mul_add(normed, sum).store_at(dgamma, at);
        }
    }
}

#[inline(always)]
fn inverse_rms<V: Lanes>(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot::<V>(x, x) / x.len() as f32 + eps).sqrt()
}
