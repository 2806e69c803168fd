//! SwiGLU (Shazeer 2020): `y = silu(gate) * up`, `silu(x) = x * sigmoid(x)`, elementwise.
//! The backward pass needs gate and up, which the caller keeps or computes again.

use crate::exp::sigmoid;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// `y = silu(gate) * up`.
///
/// # Panics
/// If the three lengths differ.
pub fn swiglu_forward(y: &mut [f32], gate: &[f32], up: &[f32]) {
    check(gate, &[("y", y.len()), ("up", up.len())]);
    let _span = span(Op::SwiGlu, 5 * y.len(), 3 * y.len());
    forward(y, gate, up);
}

/// Gradients of both inputs, overwritten: `dup = dy * silu(gate)` and, with `s = sigmoid(gate)`,
/// `dgate = dy * up * s * (1 + gate * (1 − s))`.
///
/// # Panics
/// If the five lengths differ.
pub fn swiglu_backward(dgate: &mut [f32], dup: &mut [f32], dy: &[f32], gate: &[f32], up: &[f32]) {
    check(gate, &[("dgate", dgate.len()), ("dup", dup.len()), ("dy", dy.len()), ("up", up.len())]);
    let _span = span(Op::SwiGlu, 10 * dy.len(), 5 * dy.len());
    backward(dgate, dup, dy, gate, up);
}

fn check(gate: &[f32], others: &[(&str, usize)]) {
    for (name, len) in others {
        assert_eq!(*len, gate.len(), "{name} has {len} values, gate {}", gate.len());
    }
}

multiversion! {
    fn forward(y: &mut [f32], gate: &[f32], up: &[f32]) = forward_body
}

multiversion! {
    fn backward(
        dgate: &mut [f32],
        dup: &mut [f32],
        dy: &[f32],
        gate: &[f32],
        up: &[f32],
    ) = backward_body
}

#[inline(always)]
fn forward_body<V: Lanes>(y: &mut [f32], gate: &[f32], up: &[f32]) {
    let n = gate.len();
    let (y, up) = (&mut y[..n], &up[..n]);
    for at in (0..n).step_by(LANES) {
        let gate = V::load_at(gate, at, 0.0);
        gate.mul(sigmoid(gate)).mul(V::load_at(up, at, 0.0)).store_at(y, at);
    }
}

#[inline(always)]
fn backward_body<V: Lanes>(dgate: &mut [f32], dup: &mut [f32], dy: &[f32], gate: &[f32], up: &[f32]) {
    let n = gate.len();
    let (dgate, dup, dy, up) = (&mut dgate[..n], &mut dup[..n], &dy[..n], &up[..n]);
    let one = V::splat(1.0);
    for at in (0..n).step_by(LANES) {
        let (gate, dy) = (V::load_at(gate, at, 0.0), V::load_at(dy, at, 0.0));
        let s = sigmoid(gate);
        dy.mul(gate.mul(s)).store_at(dup, at);
        let slope = s.mul(gate.mul_add(one.sub(s), one));
        dy.mul(V::load_at(up, at, 0.0)).mul(slope).store_at(dgate, at);
    }
}
