//! Gated linear units (Shazeer 2020): `y = act(gate) * up`, elementwise, with gate and up side
//! by side as one product gives them. The backward pass needs both, which the caller keeps.
//!
//! Both activations are `act(x) = x * s` with `s = sigmoid(h(x))`, and so `act'(x) = s * (1 + x * h'(x) * (1 − s))`.

use crate::buffer::{View, ViewMut};
use crate::dtype::Dtype;
use crate::exp::sigmoid;
use crate::operand::Operand;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// What a gate passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`: SwiGLU, of Llama, Qwen and DeepSeek (Hugging Face's `silu`).
    Silu,
    /// `0.5 * x * (1 + tanh(√(2/π) * (x + 0.044715 * x³)))`: GEGLU, of Gemma (`gelu_pytorch_tanh`). As `(1 + tanh(u)) / 2 = sigmoid(2u)`, no digits
    /// cancel where x is far below 0.
    GeluTanh,
}

/// `y = act(gate) * up` for rows of `gate_up [n, 2·width]`, a gate followed by its up: the operand of products in `dtype`.
///
/// # Panics
/// If `gate_up` is not whole rows.
pub fn glu_forward<'v>(
    gate_up: impl Into<View<'v>>,
    width: usize,
    activation: Activation,
    dtype: Dtype,
) -> Operand<'static> {
    let gate_up = gate_up.into().0;
    let len = gate_up.len() / 2;
    check(len, gate_up, width);
    let _span = span(Op::Glu, 5 * len, 3 * len);
    Operand::by_blocks(len.checked_div(width).unwrap_or(0), width, dtype, |rows, y| {
        forward(y, &gate_up[2 * rows.start * width..2 * rows.end * width], width, activation);
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

/// What [`glu_backward`] gives, as operands of products in one format.
#[derive(Debug)]
pub struct GluBackward {
    /// The result once more, `y = w * act(gate) * up`, `[n, width]`: the next matrix's gradient needs it.
    pub y: Operand<'static>,
    /// Gradients of both inputs, `[n, 2·width]` as they lie.
    pub dgate_up: Operand<'static>,
}

/// The backward pass of `y = w * act(gate) * up`, where w is a weight for each row, 1 without: `dup = dy * w * act(gate)` and
/// `dgate = dy * w * up * act'(gate)`; `dw = ⟨dy, act(gate) * up⟩` goes to `weights`.
///
/// # Panics
/// If `gate_up` is not twice as long as `dy`, `dy` is not whole rows, or there are not as many weights.
pub fn glu_backward<'v>(
    dy: impl Into<View<'v>>,
    gate_up: impl Into<View<'v>>,
    width: usize,
    activation: Activation,
    dtype: Dtype,
    weights: Option<RowWeights>,
) -> GluBackward {
    let (dy, gate_up) = (dy.into().0, gate_up.into().0);
    check(dy.len(), gate_up, width);
    let n = dy.len().checked_div(width).unwrap_or(0);
    let (weights, mut dweights) = weights.map(|rows| (rows.weights.0, rows.dweights.0)).unzip();
    for (name, len) in [("weights", weights.map(<[f32]>::len)), ("dweights", dweights.as_ref().map(|d| d.len()))] {
        assert!(len.is_none_or(|len| len == n), "{len:?} {name} for {n} rows");
    }
    let _span = span(Op::Glu, 14 * dy.len(), 6 * dy.len());
    let [y, dgate_up] = Operand::several_by_blocks(n, [width, 2 * width], dtype, |rows, [y, d]| {
        let part = rows.start * width..rows.end * width;
        let (dy, gate_up) = (&dy[part.clone()], &gate_up[2 * part.start..2 * part.end]);
        let (weights, dweights) = (weights.map(|w| &w[rows.clone()]), dweights.as_deref_mut().map(|d| &mut d[rows]));
        let results = Results { y, d, dweights: dweights.unwrap_or_default() };
        backward(results, dy, gate_up, weights, width, activation);
    });
    GluBackward { y, dgate_up }
}

#[track_caller]
fn check(len: usize, gate_up: &[f32], width: usize) {
    assert_eq!(gate_up.len(), 2 * len, "gate and up have {} values beside {len} results", gate_up.len());
    assert_eq!(len, len.checked_div(width).unwrap_or(0) * width, "{len} values are not whole rows of {width}");
}

/// Where the backward pass writes: results, the gradients of gate and up, and those of the weights if there are any.
struct Results<'a> {
    y: &'a mut [f32],
    d: &'a mut [f32],
    dweights: &'a mut [f32],
}

multiversion! {
    fn forward(y: &mut [f32], gate_up: &[f32], width: usize, activation: Activation) = forward_body
}

multiversion! {
    fn backward(
        results: Results<'_>,
        dy: &[f32],
        gate_up: &[f32],
        weights: Option<&[f32]>,
        width: usize,
        activation: Activation,
    ) = backward_body
}

#[inline(always)]
fn forward_body<V: Lanes>(y: &mut [f32], gate_up: &[f32], width: usize, activation: Activation) {
    match activation {
        Activation::Silu => forward_rows::<V, Silu>(y, gate_up, width),
        Activation::GeluTanh => forward_rows::<V, GeluTanh>(y, gate_up, width),
    }
}

#[inline(always)]
fn backward_body<V: Lanes>(
    results: Results,
    dy: &[f32],
    gate_up: &[f32],
    weights: Option<&[f32]>,
    width: usize,
    activation: Activation,
) {
    match activation {
        Activation::Silu => backward_rows::<V, Silu>(results, dy, gate_up, weights, width),
        Activation::GeluTanh => backward_rows::<V, GeluTanh>(results, dy, gate_up, weights, width),
    }
}

/// The h of an activation.
trait Inner {
    /// h(x).
    fn of<V: Lanes>(x: V) -> V;

    /// x·h'(x).
    fn rise<V: Lanes>(x: V) -> V;
}

struct Silu;

impl Inner for Silu {
    #[inline(always)]
    fn of<V: Lanes>(x: V) -> V {
        x
    }

    #[inline(always)]
    fn rise<V: Lanes>(x: V) -> V {
        x
    }
}

struct GeluTanh;

impl GeluTanh {
    /// 2·√(2/π), and that times 0.044715.
    const FACTORS: [f32; 2] = [1.595_769, 0.071_354_814];
    /// Past it the sigmoid is 0 or 1, and no power of x overflows before.
    const MOST: f32 = 16.0;

    /// x between the ends, and x².
    #[inline(always)]
    fn bounded<V: Lanes>(x: V) -> (V, V) {
        let (least, most) = (V::splat(-Self::MOST), V::splat(Self::MOST));
        let x = x.select_lt(least, least, x);
        let x = most.select_lt(x, most, x);
        (x, x.mul(x))
    }
}

impl Inner for GeluTanh {
    #[inline(always)]
    fn of<V: Lanes>(x: V) -> V {
        let (x, square) = Self::bounded(x);
        let [first, third] = Self::FACTORS.map(V::splat);
        x.mul(square.mul_add(third, first))
    }

    #[inline(always)]
    fn rise<V: Lanes>(x: V) -> V {
        let (x, square) = Self::bounded(x);
        let [first, third] = Self::FACTORS.map(V::splat);
        x.mul(square.mul_add(third.mul(V::splat(3.0)), first))
    }
}

#[inline(always)]
fn forward_rows<V: Lanes, A: Inner>(y: &mut [f32], gate_up: &[f32], width: usize) {
    for (y, gate_up) in y.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = gate_up.split_at(width);
        for at in (0..width).step_by(LANES) {
            let gate = V::load_at(gate, at, 0.0);
            gate.mul(sigmoid(A::of(gate))).mul(V::load_at(up, at, 0.0)).store_at(y, at);
        }
    }
}

#[inline(always)]
fn backward_rows<V: Lanes, A: Inner>(
    results: Results,
    dy: &[f32],
    gate_up: &[f32],
    weights: Option<&[f32]>,
    width: usize,
) {
    let one = V::splat(1.0);
    let Results { y, d, dweights } = results;
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
            let s = sigmoid(A::of(gate));
            let active = gate.mul(s);
            let result = active.mul(up);
            product = result.mul_add(dy, product);
            result.mul(weight).store_at(y, at);
            let dy = dy.mul(weight);
            dy.mul(active).store_at(dup, at);
            let slope = s.mul(A::rise(gate).mul_add(one.sub(s), one));
            dy.mul(up).mul(slope).store_at(dgate, at);
        }
        if let Some(dweight) = dweights.get_mut(row) {
            *dweight = product.reduce_add();
        }
    }
}
