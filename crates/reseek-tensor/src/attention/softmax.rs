//! The row-wise part of attention on one tile of scores: online softmax forward (Milakov and
//! Gimelshein 2018; FlashAttention, Dao et al. 2022, algorithm 1), and its gradient.
//!
//! Scores come in units of log₂, so that weights are powers of two.

use super::pack::Head;
use super::{KEY_TILE, ROW_BLOCK};
use crate::exp::{exp2, ln};
use crate::simd::{LANES, Lanes, dot, multiversion};

/// Scores of a block of rows with a tile of keys; aligned as [`crate::aligned::Line`] is.
#[repr(C, align(64))]
pub(super) struct Scores([[f32; KEY_TILE]; ROW_BLOCK]);

impl Scores {
    pub(super) fn new() -> Self {
        Self([[0.0; KEY_TILE]; ROW_BLOCK])
    }

    pub(super) fn flat(&self) -> &[f32] {
        self.0.as_flattened()
    }

    pub(super) fn flat_mut(&mut self) -> &mut [f32] {
        self.0.as_flattened_mut()
    }
}

/// What the online softmax knows of a block of rows after some tiles.
#[repr(C, align(64))]
pub(super) struct RowState {
    /// Greatest score so far, −∞ before the first tile; the lanes from `ROW_BLOCK` on are unused.
    max: [f32; LANES],
    /// Sum of the weights 2^(score − max) by key modulo 16.
    sums: [[f32; LANES]; ROW_BLOCK],
}

impl RowState {
    pub(super) fn new() -> Self {
        Self { max: [f32::NEG_INFINITY; LANES], sums: [[0.0; LANES]; ROW_BLOCK] }
    }
}

multiversion! {
    /// Takes one tile in: row r sees the tile's first `visible[r]` keys, where 0 leaves the row
    /// as it is. Replaces its scores by weights (0 for the other keys), and rescales its sums and
    /// its row of `o [_, width]`, which has those that exist, to the new maximum.
    pub(super) fn online_softmax(
        scores: &mut Scores,
        visible: &[usize; ROW_BLOCK],
        state: &mut RowState,
        o: &mut [f32],
        width: usize,
    ) = online_softmax_body
}

#[inline(always)]
fn online_softmax_body<V: Lanes>(
    scores: &mut Scores,
    visible: &[usize; ROW_BLOCK],
    state: &mut RowState,
    o: &mut [f32],
    width: usize,
) {
    let old_max = V::load(&state.max);
    for (r, scores) in scores.0.iter_mut().enumerate() {
        if visible[r] == 0 {
            continue;
        }
        mask::<V>(scores, visible[r], f32::NEG_INFINITY);
        let (vectors, _) = scores.as_chunks::<LANES>();
        let mut greatest = V::load(&vectors[0]);
        for vector in &vectors[1..] {
            greatest = greatest.max(V::load(vector));
        }
        let greatest = greatest.reduce_max();
        if greatest > state.max[r] {
            state.max[r] = greatest;
        }
    }
    let mut shrink = [0.0; LANES];
    exp2(old_max.sub(V::load(&state.max))).store(&mut shrink);

    for (r, (scores, o)) in scores.0.iter_mut().zip(o.chunks_exact_mut(width)).enumerate() {
        if visible[r] == 0 {
            continue;
        }
        let (max, shrink) = (V::splat(state.max[r]), V::splat(shrink[r]));
        let mut sum = V::load(&state.sums[r]).mul(shrink);
        for vector in scores.as_chunks_mut::<LANES>().0 {
            let weight = exp2(V::load(vector).sub(max));
            weight.store(vector);
            sum = sum.add(weight);
        }
        sum.store(&mut state.sums[r]);
        for vector in o.as_chunks_mut::<LANES>().0 {
            V::load(vector).mul(shrink).store(vector);
        }
    }
}

multiversion! {
    /// Divides every row of `o [_, width]` by its sum of weights, and returns the logarithms of the softmax's
    /// denominators in natural units; for rows without a key both are meaningless.
    pub(super) fn finish(state: &RowState, o: &mut [f32], width: usize) -> [f32; ROW_BLOCK] = finish_body
}

#[inline(always)]
fn finish_body<V: Lanes>(state: &RowState, o: &mut [f32], width: usize) -> [f32; ROW_BLOCK] {
    let mut lse = [0.0; ROW_BLOCK];
    for (r, o) in o.chunks_exact_mut(width).enumerate() {
        let sum = V::load(&state.sums[r]).reduce_add();
        lse[r] = state.max[r] * std::f32::consts::LN_2 + ln(sum);
        let inverse = V::splat(1.0 / sum);
        for vector in o.as_chunks_mut::<LANES>().0 {
            V::load(vector).mul(inverse).store(vector);
        }
    }
    lse
}

multiversion! {
    /// `out[i] = ⟨a[i], b[i]⟩`.
    pub(super) fn row_products(out: &mut [f32], a: Head<'_>, b: Head<'_>) = row_products_body
}

#[inline(always)]
fn row_products_body<V: Lanes>(out: &mut [f32], a: Head, b: Head) {
    for ((out, a), b) in out.iter_mut().zip(a.rows()).zip(b.rows()) {
        *out = dot::<V>(a, b);
    }
}

/// What the backward pass knows of a block of rows.
pub(super) struct RowGradient<'a> {
    /// Log-sum-exp of the scores, in log₂ units.
    pub lse: &'a [f32],
    /// Σ over the keys of weight times its gradient, = ⟨dO, O⟩.
    pub delta: &'a [f32],
}

multiversion! {
    /// Replaces scores by weights, and the weights' gradients by those of the scores in natural
    /// units, `weight * (gradient − delta)`, for the first `visible[r]` keys of row r; the other
    /// keys get 0 in both. Both are `[rows, KEY_TILE]`.
    pub(super) fn softmax_gradient(
        scores: &mut [f32],
        gradients: &mut [f32],
        rows: RowGradient<'_>,
        visible: &[usize; ROW_BLOCK],
    ) = softmax_gradient_body
}

#[inline(always)]
fn softmax_gradient_body<V: Lanes>(
    scores: &mut [f32],
    gradients: &mut [f32],
    rows: RowGradient,
    visible: &[usize; ROW_BLOCK],
) {
    let (scores, gradients) = (scores.as_chunks_mut().0, gradients.as_chunks_mut().0);
    let stats = rows.lse.iter().zip(rows.delta).zip(visible);
    for ((scores, gradients), ((&lse, &delta), &visible)) in scores.iter_mut().zip(gradients).zip(stats) {
        let vectors = scores.as_chunks_mut::<LANES>().0;
        for (score, gradient) in vectors.iter_mut().zip(gradients.as_chunks_mut::<LANES>().0) {
            let weight = exp2(V::load(score).sub(V::splat(lse)));
            weight.store(score);
            weight.mul(V::load(gradient).sub(V::splat(delta))).store(gradient);
        }
        mask::<V>(scores, visible, 0.0);
        mask::<V>(gradients, visible, 0.0);
    }
}

/// Sets the values from `visible` on to `fill`.
#[inline(always)]
fn mask<V: Lanes>(row: &mut [f32; KEY_TILE], visible: usize, fill: f32) {
    const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    if visible >= KEY_TILE {
        return;
    }
    for (i, vector) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let bound = V::splat(visible as f32 - (i * LANES) as f32);
        V::load(&LANE).select_lt(bound, V::load(vector), V::splat(fill)).store(vector);
    }
}
