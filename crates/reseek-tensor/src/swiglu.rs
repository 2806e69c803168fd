//! SwiGLU (Shazeer 2020): `y = silu(gate) * up`, `silu(x) = x * sigmoid(x)`, elementwise, with gate and up side
//! by side as one product gives them. The backward pass needs both, which the caller keeps.

use crate::buffer::{View, ViewMut};
use crate::dtype::Dtype;
use crate::exp::sigmoid;
use crate::operand::Operand;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// `y = silu(gate) * up` for rows of `gate_up [n, 2·width]`, a gate followed by its up: the operand of products in `dtype`.
///
/// # Panics
/// If `gate_up` is not whole rows.
pub fn swiglu_forward<'v>(gate_up: impl Into<View<'v>>, width: usize, dtype: Dtype) -> Operand<'static> {
    let gate_up = gate_up.into().0;
    let len = gate_up.len() / 2;
    check(len, gate_up, width);
    let _span = span(Op::SwiGlu, 5 * len, 3 * len);
    Operand::by_blocks(len.checked_div(width).unwrap_or(0), width, dtype, |rows, y| {
        forward(y, &gate_up[2 * rows.start * width..2 * rows.end * width], width);
    })
}

/// Factors of the rows of a result, as a mixture's gate gives them: [n] each.
#[derive(Debug)]
pub struct RowWeights<'a> {
    /// One a row.
    pub weights: View<'a>,
    /// Their gradients, overwritten.
    pub dweights: ViewMut<'a>,
}

/// What [`swiglu_backward`] gives, as operands of products in one format.
#[derive(Debug)]
pub struct SwiGluBackward {
    /// The result once more, `y = w * silu(gate) * up`, `[n, width]`: the next matrix's gradient needs it.
    pub y: Operand<'static>,
    /// Gradients of both inputs, `[n, 2·width]` as they lie.
    pub dgate_up: Operand<'static>,
}

/// The backward pass of `y = w * silu(gate) * up`, where w is a weight for each row, 1 without: `dup = dy * w * silu(gate)` and, with
/// `s = sigmoid(gate)`, `dgate = dy * w * up * s * (1 + gate * (1 − s))`; `dw = ⟨dy, silu(gate) * up⟩` goes to `weights`.
///
/// # Panics
/// If `gate_up` is not twice as long as `dy`, `dy` is not whole rows, or there are not as many weights.
pub fn swiglu_backward<'v>(
    dy: impl Into<View<'v>>,
    gate_up: impl Into<View<'v>>,
    width: usize,
    dtype: Dtype,
    weights: Option<RowWeights>,
) -> SwiGluBackward {
    let (dy, gate_up) = (dy.into().0, gate_up.into().0);
    check(dy.len(), gate_up, width);
    let n = dy.len().checked_div(width).unwrap_or(0);
    let (weights, mut dweights) = weights.map(|rows| (rows.weights.0, rows.dweights.0)).unzip();
    for (name, len) in [("weights", weights.map(<[f32]>::len)), ("dweights", dweights.as_ref().map(|d| d.len()))] {
        assert!(len.is_none_or(|len| len == n), "{len:?} {name} for {n} rows");
    }
    let _span = span(Op::SwiGlu, 14 * dy.len(), 6 * dy.len());
    let [y, dgate_up] = Operand::several_by_blocks(n, [width, 2 * width], dtype, |rows, [y, d]| {
        let part = rows.start * width..rows.end * width;
        let (dy, gate_up) = (&dy[part.clone()], &gate_up[2 * part.start..2 * part.end]);
        let (weights, dweights) = (weights.map(|w| &w[rows.clone()]), dweights.as_deref_mut().map(|d| &mut d[rows]));
        backward(y, d, dweights.unwrap_or_default(), dy, gate_up, weights, width);
    });
    SwiGluBackward { y, dgate_up }
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
    fn backward(
        y: &mut [f32],
        d: &mut [f32],
        dweights: &mut [f32],
        dy: &[f32],
        gate_up: &[f32],
        weights: Option<&[f32]>,
        width: usize,
    ) = backward_body
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
fn backward_body<V: Lanes>(
    y: &mut [f32],
    d: &mut [f32],
    dweights: &mut [f32],
    dy: &[f32],
    gate_up: &[f32],
    weights: Option<&[f32]>,
    width: usize,
) {
    let one = V::splat(1.0);
    let results = y.chunks_exact_mut(width).zip(d.chunks_exact_mut(2 * width));
    for (row, ((y, d), gate_up)) in results.zip(gate_up.chunks_exact(2 * width)).enumerate() {
        let ((dgate, dup), (gate, up)) = (d.split_at_mut(width), gate_up.split_at(width));
        let dy = &dy[row * width..(row + 1) * width];
        // A factor of 1 changes no bit.
        let weight = V::splat(weights.map_or(1.0, |weights| weights[row]));
        let mut product = V::splat(0.0);
        for at in (0..width).step_by(LANES) {
            let (gate, up) = (V::load_at(gate, at, 0.0), V::load_at(up, at, 0.0));
            let dy = V::load_at(dy, at, 0.0);
            let s = sigmoid(gate);
            let silu = gate.mul(s);
            let result = silu.mul(up);
            product = result.mul_add(dy, product);
            result.mul(weight).store_at(y, at);
            let dy = dy.mul(weight);
            dy.mul(silu).store_at(dup, at);
            let slope = s.mul(gate.mul_add(one.sub(s), one));
            dy.mul(up).mul(slope).store_at(dgate, at);
        }
        if let Some(dweight) = dweights.get_mut(row) {
            *dweight = product.reduce_add();
        }
    }
}
