//! The row-wise part of attention on one tile of scores: online softmax forward (Milakov and
//! Gimelshein 2018; FlashAttention, Dao et al. 2022, algorithm 1), and its gradient.
//!
//! Scores come in units of log₂, so that weights are powers of two.

use std::ops::Range;

use super::pack::Head;
#[cfg(target_arch = "x86_64")]
use super::pairing::Native;
use super::pairing::{Pairing, Plain};
use super::ranges::Ranges;
use super::{KEY_TILE, ROW_BLOCK};
use crate::dtype::Dtype;
#[cfg(target_arch = "x86_64")]
use crate::dtype::x86;
use crate::exp::{exp2, ln};
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::{LANES, Lanes, dot, multiversion};

/// Vectors of scores in a row of a tile.
const VECTORS: usize = KEY_TILE / LANES;

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

/// Takes one tile in, of which row r sees the keys `visible` of r: none leaves the row
/// as it is. Replaces its scores by weights (0 for the other keys), in bf16 by their pairs at the beginning of the row, and rescales
/// its sums and its row of `o [_, width]`, which has those that exist, to the new maximum.
pub(super) fn online_softmax(
    scores: &mut Scores,
    visible: &Ranges,
    state: &mut RowState,
    o: &mut [f32],
    width: usize,
    dtype: Dtype,
) {
    match dtype {
        Dtype::F32 => softmax_in_values(scores, visible, state, o, width),
        #[cfg(target_arch = "x86_64")]
        Dtype::Bf16 if x86::is_supported() => {
            // SAFETY: the machine has the instructions.
            unsafe { softmax_in_native_pairs(scores, visible, state, o, width) }
        }
        Dtype::Bf16 => softmax_in_pairs(scores, visible, state, o, width),
    }
}

multiversion! {
    fn softmax_in_values(
        scores: &mut Scores,
        visible: &Ranges,
        state: &mut RowState,
        o: &mut [f32],
        width: usize,
    ) = softmax_in_values_body
}

multiversion! {
    fn softmax_in_pairs(
        scores: &mut Scores,
        visible: &Ranges,
        state: &mut RowState,
        o: &mut [f32],
        width: usize,
    ) = softmax_in_pairs_body
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
fn softmax_in_native_pairs(scores: &mut Scores, visible: &Ranges, state: &mut RowState, o: &mut [f32], width: usize) {
    online_softmax_body(scores, visible, state, o, width, store_pairs::<Avx512, Native>);
}

#[inline(always)]
fn softmax_in_values_body<V: Lanes>(
    scores: &mut Scores,
    visible: &Ranges,
    state: &mut RowState,
    o: &mut [f32],
    width: usize,
) {
    online_softmax_body(scores, visible, state, o, width, |weights: [V; VECTORS], row| {
        weights.into_iter().zip(row.as_chunks_mut().0).for_each(|(weight, to)| weight.store(to));
    });
}

#[inline(always)]
fn softmax_in_pairs_body<V: Lanes>(
    scores: &mut Scores,
    visible: &Ranges,
    state: &mut RowState,
    o: &mut [f32],
    width: usize,
) {
    online_softmax_body(scores, visible, state, o, width, store_pairs::<V, Plain>);
}

/// Pairs of neighbours, at the beginning of the row.
#[inline(always)]
fn store_pairs<V: Lanes, P: Pairing<V>>(weights: [V; VECTORS], row: &mut [f32; KEY_TILE]) {
    for (pair, to) in weights.as_chunks::<2>().0.iter().zip(row.as_chunks_mut().0) {
        // SAFETY: inlined into functions that have P's instructions.
        unsafe { P::neighbours(pair[0], pair[1]) }.store(to);
    }
}

#[inline(always)]
fn online_softmax_body<V: Lanes>(
    scores: &mut Scores,
    visible: &Ranges,
    state: &mut RowState,
    o: &mut [f32],
    width: usize,
    store: impl Fn([V; VECTORS], &mut [f32; KEY_TILE]),
) {
    let old_max = V::load(&state.max);
    for (r, scores) in scores.0.iter_mut().enumerate() {
        if visible.is_empty(r) {
            continue;
        }
        mask::<V>(scores, visible.row(r), f32::NEG_INFINITY);
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
        if visible.is_empty(r) {
            continue;
        }
        let (max, shrink) = (V::splat(state.max[r]), V::splat(shrink[r]));
        let mut sum = V::load(&state.sums[r]).mul(shrink);
        let mut weights = [max; VECTORS];
        for (weight, score) in weights.iter_mut().zip(scores.as_chunks::<LANES>().0) {
            *weight = exp2(V::load(score).sub(max));
            sum = sum.add(*weight);
        }
        store(weights, scores);
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
    /// units, `weight * (gradient − delta)`, for the keys `visible` of row r; the other
    /// keys get 0 in both. Both are `[rows, KEY_TILE]`.
    pub(super) fn softmax_gradient(
        scores: &mut [f32],
        gradients: &mut [f32],
        rows: RowGradient<'_>,
        visible: &Ranges,
    ) = softmax_gradient_body
}

#[inline(always)]
fn softmax_gradient_body<V: Lanes>(scores: &mut [f32], gradients: &mut [f32], rows: RowGradient, visible: &Ranges) {
    let (scores, gradients) = (scores.as_chunks_mut().0, gradients.as_chunks_mut().0);
    let stats = rows.lse.iter().zip(rows.delta).enumerate();
    for ((scores, gradients), (r, (&lse, &delta))) in scores.iter_mut().zip(gradients).zip(stats) {
        let vectors = scores.as_chunks_mut::<LANES>().0;
        for (score, gradient) in vectors.iter_mut().zip(gradients.as_chunks_mut::<LANES>().0) {
            let weight = exp2(V::load(score).sub(V::splat(lse)));
            weight.store(score);
            weight.mul(V::load(gradient).sub(V::splat(delta))).store(gradient);
        }
        mask::<V>(scores, visible.row(r), 0.0);
        mask::<V>(gradients, visible.row(r), 0.0);
    }
}

/// Where the gradients of a block of rows go, in pairs of bf16.
pub(super) struct GradientPairs<'a> {
    /// Weights in pairs of rows, `[_ / 2, KEY_TILE]`.
    pub weights: &'a mut [f32],
    /// Gradients of the scores likewise.
    pub d_scores: &'a mut [f32],
    /// The same in pairs of neighbours, `[_, KEY_TILE / 2]`.
    pub d_scores_in_rows: &'a mut [f32],
}

/// What [`softmax_gradient`] makes, in pairs alone; those past the pair of vectors that the last row sees the end of are left.
pub(super) fn softmax_gradient_pairs(
    scores: &[f32],
    gradients: &[f32],
    rows: RowGradient,
    visible: &Ranges,
    out: GradientPairs,
) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_supported() {
        // SAFETY: the machine has the instructions.
        return unsafe { gradient_in_native_pairs(scores, gradients, rows, visible, out) };
    }
    gradient_in_pairs(scores, gradients, rows, visible, out);
}

multiversion! {
    fn gradient_in_pairs(
        scores: &[f32],
        gradients: &[f32],
        rows: RowGradient<'_>,
        visible: &Ranges,
        out: GradientPairs<'_>,
    ) = gradient_in_plain_pairs
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
fn gradient_in_native_pairs(
    scores: &[f32],
    gradients: &[f32],
    rows: RowGradient<'_>,
    visible: &Ranges,
    out: GradientPairs<'_>,
) {
    gradient_in_pairs_body::<Avx512, Native>(scores, gradients, rows, visible, out);
}

#[inline(always)]
fn gradient_in_plain_pairs<V: Lanes>(
    scores: &[f32],
    gradients: &[f32],
    rows: RowGradient,
    visible: &Ranges,
    out: GradientPairs,
) {
    gradient_in_pairs_body::<V, Plain>(scores, gradients, rows, visible, out);
}

#[inline(always)]
fn gradient_in_pairs_body<V: Lanes, P: Pairing<V>>(
    scores: &[f32],
    gradients: &[f32],
    rows: RowGradient,
    visible: &Ranges,
    out: GradientPairs,
) {
    let (scores, gradients) = (scores.as_chunks::<KEY_TILE>().0, gradients.as_chunks::<KEY_TILE>().0);
    let GradientPairs { weights, d_scores, d_scores_in_rows } = out;
    let (weights, d_scores) = (weights.as_chunks_mut::<KEY_TILE>().0, d_scores.as_chunks_mut::<KEY_TILE>().0);
    let in_rows = d_scores_in_rows.as_chunks_mut::<{ KEY_TILE / 2 }>().0;
    let n = rows.lse.len();
    let seen = visible.to[n - 1].div_ceil(2 * LANES);
    let by_two = weights.iter_mut().zip(d_scores).zip(in_rows.chunks_mut(2)).take(n.div_ceil(2));
    for (pair, ((weights, d_scores), in_rows)) in by_two.enumerate() {
        let (weights, d_scores) = (weights.as_chunks_mut().0, d_scores.as_chunks_mut().0);
        for i in 0..seen {
            // Of two rows and two vectors of each; there is no row behind the last.
            let mut weight = [[V::splat(0.0); 2]; 2];
            let mut gradient = [[V::splat(0.0); 2]; 2];
            for (side, r) in (2 * pair..n.min(2 * pair + 2)).enumerate() {
                let (lse, delta) = (V::splat(rows.lse[r]), V::splat(rows.delta[r]));
                let (scores, gradients) = (scores[r].as_chunks().0, gradients[r].as_chunks().0);
                for half in 0..2 {
                    let at = 2 * i + half;
                    let w = exp2(V::load(&scores[at]).sub(lse));
                    let g = w.mul(V::load(&gradients[at]).sub(delta));
                    weight[side][half] = masked(w, at, visible.row(r), 0.0);
                    gradient[side][half] = masked(g, at, visible.row(r), 0.0);
                }
            }
            // SAFETY: inlined into functions that have P's instructions.
            unsafe {
                for half in 0..2 {
                    P::rows(weight[0][half], weight[1][half]).store(&mut weights[2 * i + half]);
                    P::rows(gradient[0][half], gradient[1][half]).store(&mut d_scores[2 * i + half]);
                }
                for (row, gradient) in in_rows.iter_mut().zip(gradient) {
                    P::neighbours(gradient[0], gradient[1]).store(&mut row.as_chunks_mut().0[i]);
                }
            }
        }
    }
}

/// Sets the values that are not in `visible` to `fill`.
#[inline(always)]
fn mask<V: Lanes>(row: &mut [f32; KEY_TILE], visible: Range<usize>, fill: f32) {
    if visible.start == 0 && visible.end >= KEY_TILE {
        return;
    }
    for (i, vector) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        masked(V::load(vector), i, visible.clone(), fill).store(vector);
    }
}

/// The same of vector i of a row.
#[inline(always)]
fn masked<V: Lanes>(vector: V, i: usize, visible: Range<usize>, fill: f32) -> V {
    const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let bound = |at: usize| V::splat(at as f32 - (i * LANES) as f32);
    let (lane, fill) = (V::load(&LANE), V::splat(fill));
    let vector = lane.select_lt(bound(visible.end), vector, fill);
    // Without a window, and in most of its tiles, there is nothing to hide at the beginning.
    if visible.start == 0 { vector } else { lane.select_lt(bound(visible.start), fill, vector) }
}
