//! SwiGLU (Shazeer 2020): `y = silu(gate) * up`, `silu(x) = x * sigmoid(x)`, elementwise, with gate and up side
//! by side as one product gives them. The backward pass needs both, which the caller keeps.

use crate::dtype::Dtype;
use crate::exp::sigmoid;
use crate::operand::Operand;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// `y = silu(gate) * up` for rows of `gate_up [n, 2·width]`: a gate followed by its up.
///
/// # Panics
/// If `gate_up` is not twice as long as `y`, or `y` is not whole rows.
pub fn swiglu_forward(y: &mut [f32], gate_up: &[f32], width: usize) {
    check(y.len(), gate_up, width);
    let _span = span(Op::SwiGlu, 5 * y.len(), 3 * y.len());
    forward(y, gate_up, width);
}

/// [`swiglu_forward`] as the operand of products in `dtype`.
///
/// # Panics
/// If `gate_up` is not whole rows.
pub fn swiglu_operand(gate_up: &[f32], width: usize, dtype: Dtype) -> Operand<'static> {
    let len = gate_up.len() / 2;
    check(len, gate_up, width);
    let _span = span(Op::SwiGlu, 5 * len, 3 * len);
    Operand::by_blocks(len.checked_div(width).unwrap_or(0), width, dtype, |rows, y| {
        forward(y, &gate_up[2 * rows.start * width..2 * rows.end * width], width);
    })
}

/// Gradients of both inputs, `[n, 2·width]` as they lie: `dup = dy * silu(gate)` and, with `s = sigmoid(gate)`,
/// `dgate = dy * up * s * (1 + gate * (1 − s))`; as the operand of products in `dtype`.
///
/// # Panics
/// If `gate_up` is not twice as long as `dy`, or `dy` is not whole rows.
pub fn swiglu_backward(dy: &[f32], gate_up: &[f32], width: usize, dtype: Dtype) -> Operand<'static> {
    check(dy.len(), gate_up, width);
    let _span = span(Op::SwiGlu, 10 * dy.len(), 5 * dy.len());
    Operand::by_blocks(dy.len().checked_div(width).unwrap_or(0), 2 * width, dtype, |rows, d| {
        let part = rows.start * width..rows.end * width;
        backward(d, &dy[part.clone()], &gate_up[2 * part.start..2 * part.end], width);
    })
}

#[track_caller]
fn check(len: usize, gate_up: &[f32], width: usize) {
    assert_eq!(gate_up.len(), 2 * len, "gate and up have {} values beside {len} results", gate_up.len());
    assert_eq!(len, len.checked_div(width).unwrap_or(0) * width, "{len} values are not whole rows of {width}");
}

multiversion! {
    fn forward(y: &mut [f32], gate_up: &[f32], width: usize) = forward_body
}

multiversion! {
    fn backward(d: &mut [f32], dy: &[f32], gate_up: &[f32], width: usize) = backward_body
}

#[inline(always)]
fn forward_body<V: Lanes>(y: &mut [f32], gate_up: &[f32], width: usize) {
    for (y, gate_up) in y.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = gate_up.split_at(width);
        for at in (0..width).step_by(LANES) {
            let gate = V::load_at(gate, at, 0.0);
            gate.mul(sigmoid(gate)).mul(V::load_at(up, at, 0.0)).store_at(y, at);
        }
    }
}

#[inline(always)]
fn backward_body<V: Lanes>(d: &mut [f32], dy: &[f32], gate_up: &[f32], width: usize) {
    let one = V::splat(1.0);
    let rows = d.chunks_exact_mut(2 * width).zip(dy.chunks_exact(width)).zip(gate_up.chunks_exact(2 * width));
    for ((d, dy), gate_up) in rows {
        let ((dgate, dup), (gate, up)) = (d.split_at_mut(width), gate_up.split_at(width));
        for at in (0..width).step_by(LANES) {
            let (gate, dy) = (V::load_at(gate, at, 0.0), V::load_at(dy, at, 0.0));
            let s = sigmoid(gate);
            dy.mul(gate.mul(s)).store_at(dup, at);
            let slope = s.mul(gate.mul_add(one.sub(s), one));
            dy.mul(V::load_at(up, at, 0.0)).mul(slope).store_at(dgate, at);
        }
    }
}
