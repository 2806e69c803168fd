//! Backward pass: tiles of 64 queries against tiles of 64 keys, scores computed again.
//!
//! With weights P, dP = dO·Vᵀ and delta = rowsum(dO ∘ O):
//! dS = P ∘ (dP − delta), dV = Pᵀ·dO, dQ = scale·dS·K, dK = scale·dSᵀ·Q.
//!
//! Where queries are the last of more positions, rows lie at their positions all the same, so that tiles and blocks are those of
//! the whole sequence. Query blocks begin with the first query's; what is before it in that block is 0 in q, dO and delta, which
//! adds exactly 0 to dK and dV.

use std::cell::Cell;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

use super::operand::Operand;
use super::pack::{Head, copy_transposed};
use super::ranges::Ranges;
use super::softmax::{GradientPairs, RowGradient, row_products, softmax_gradient, softmax_gradient_pairs};
use super::tile::{Left, Output, Right, tile_matmul};
use super::{AttentionShape, KEY_TILE, ROW_BLOCK, assert_len, padded};
use crate::buffer::{View, ViewMut};
use crate::dtype::{Dtype, pair_neighbours};
use crate::matmul::Accumulate;
use crate::profile::Op;
use crate::scratch::Scratch;
use crate::simd::{LANES, Lanes, multiversion};

/// What [`super::attention_forward`] read and gave.
#[derive(Clone, Copy, Debug)]
pub struct AttentionPass<'a> {
    /// Queries, the last of the keys' positions.
    pub q: View<'a>,
    /// Keys.
    pub k: View<'a>,
    /// Values.
    pub v: View<'a>,
    /// Outputs.
    pub o: View<'a>,
    /// Logarithms of the softmax's denominators.
    pub lse: View<'a>,
}

/// Places for the gradients of queries, keys and values, each as long as these.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// Of the queries.
    pub dq: ViewMut<'a>,
    /// Of the keys.
    pub dk: ViewMut<'a>,
    /// Of the values.
    pub dv: ViewMut<'a>,
}

/// Gradients of q, k and v from `d_o`; all three are overwritten.
///
/// # Panics
/// If the lengths do not fit each other and `shape`, or if there are more queries than keys.
pub fn attention_backward<'v>(
    gradients: AttentionGradients,
    d_o: impl Into<View<'v>>,
    pass: AttentionPass,
    shape: AttentionShape,
) {
    let d_o = d_o.into().0;
    let [q, k, v, o, lse] = [pass.q, pass.k, pass.v, pass.o, pass.lse].map(|view| view.0);
    let [dq, dk, dv] = [gradients.dq, gradients.dk, gradients.dv].map(|view| view.0);
    shape.check();
    let len = k.len() / (shape.n_kv_heads * shape.d_qk);
    let q_len = shape.check_queries(o, lse, q, len);
    for (name, values, expected) in [
        ("dq", &*dq, q.len()),
        ("d_o", d_o, o.len()),
        ("k", k, len * shape.n_kv_heads * shape.d_qk),
        ("dk", dk, k.len()),
        ("v", v, len * shape.n_kv_heads * shape.d_v),
        ("dv", dv, v.len()),
    ] {
        assert_len(name, values, expected, &shape);
    }
    let _span = shape.span(Op::AttentionBackward, q_len, len, 5);
    let (n_heads, n_kv_heads, group) = (shape.n_heads, shape.n_kv_heads, shape.group());
    let mut scratch = SCRATCH.take();
    let mut work = Work::new(&mut scratch, q_len, len, shape);
    for kv_head in 0..n_kv_heads {
        let keys = Head::new(k, kv_head, n_kv_heads, shape.d_qk);
        work.load_keys(keys, Head::new(v, kv_head, n_kv_heads, shape.d_v));
        for head in kv_head * group..(kv_head + 1) * group {
            let queries = Head::new(q, head, n_heads, shape.d_qk);
            let [d_o, o] = [d_o, o].map(|values| Head::new(values, head, n_heads, shape.d_v));
            work.load_queries(queries, d_o, o, shape.scale * LOG2_E);
            for (out, lse) in work.lse[work.first..].iter_mut().zip(lse.chunks_exact(n_heads)) {
                *out = lse[head] * LOG2_E;
            }
            for first_key in (0..len).step_by(KEY_TILE) {
                let first_query = first_key.max(work.start() / KEY_TILE * KEY_TILE);
                for first_query in (first_query..work.end_of_queries(first_key + KEY_TILE - 1)).step_by(KEY_TILE) {
                    work.tile_pair(first_query, first_key);
                }
            }
            store_rows(dq, head, n_heads, &work.dq[work.first * padded(shape.d_qk)..], shape.d_qk, shape.scale);
        }
        // The queries in `work` carry scale·log₂e.
        store_rows(dk, kv_head, n_kv_heads, work.dk, shape.d_qk, LN_2);
        store_rows(dv, kv_head, n_kv_heads, work.dv, shape.d_v, 1.0);
    }
    SCRATCH.set(scratch);
}

multiversion! {
    /// `out[row, head] = factor * rows[row]`, leaving out the padding.
    fn store_rows(
        out: &mut [f32],
        head: usize,
        n_heads: usize,
        rows: &[f32],
        width: usize,
        factor: f32,
    ) = store_rows_body
}

#[inline(always)]
fn store_rows_body<V: Lanes>(out: &mut [f32], head: usize, n_heads: usize, rows: &[f32], width: usize, factor: f32) {
    let heads = out.chunks_exact_mut(width).skip(head).step_by(n_heads);
    for (out, row) in heads.zip(rows.chunks_exact(padded(width))) {
        for at in (0..width).step_by(LANES) {
            V::load_at(row, at, 0.0).mul(V::splat(factor)).store_at(out, at);
        }
    }
}

/// One head's operands and gradients, `[len, padded width]` unless said otherwise.
struct Work<'a> {
    len: usize,
    /// Position of the first query.
    first: usize,
    shape: AttentionShape,
    /// Scaled so that scores come in units of log₂.
    q: Operand<'a>,
    d_o: Operand<'a>,
    k: Operand<'a>,
    /// `[tiles, padded d_qk, KEY_TILE]`; in bf16 half as many rows of pairs.
    k_tiles: &'a mut [f32],
    /// `[tiles, d_v, KEY_TILE]`, likewise.
    v_tiles: &'a mut [f32],
    /// Values of the head in pairs, before they are turned.
    v_pairs: &'a mut [f32],
    /// `[len]`, in units of log₂.
    lse: &'a mut [f32],
    /// `[len]`
    delta: &'a mut [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// `[KEY_TILE queries, KEY_TILE keys]`; in bf16 `[ROW_BLOCK, KEY_TILE]`, scores that become pairs.
    weights: &'a mut [f32],
    /// Gradient of the scores, same shape.
    d_scores: &'a mut [f32],
    /// Pairs of `d_scores` within rows, `[ROW_BLOCK, KEY_TILE / 2]`.
    row_pairs: &'a mut [f32],
    /// Weights and `d_scores` in pairs of rows, `[KEY_TILE / 2, KEY_TILE]` each.
    weight_pairs: &'a mut [f32],
    d_score_pairs: &'a mut [f32],
}

/// Up to [`ROW_BLOCK`] neighbouring rows of a tile, which starts at position `tile`.
#[derive(Clone, Copy)]
struct Block {
    tile: usize,
    /// First row, counted in the tile.
    start: usize,
    len: usize,
}

impl Block {
    fn all_of_tile(tile: usize, first: usize, tile_len: usize) -> impl Iterator<Item = Self> {
        (first..tile_len).step_by(ROW_BLOCK).map(move |start| Self {
            tile,
            start,
            len: (tile_len - start).min(ROW_BLOCK),
        })
    }

    fn position(&self) -> usize {
        self.tile + self.start
    }
}

impl<'a> Work<'a> {
    fn new(scratch: &'a mut [Scratch; SCRATCHES], q_len: usize, len: usize, shape: AttentionShape) -> Self {
        let AttentionShape { d_qk, d_v, dtype, .. } = shape;
        let tiles_len = len.next_multiple_of(KEY_TILE);
        let [q0, q1, q2, o0, o1, o2, k0, k1, k2, rest @ ..] = scratch;
        let [
            dq,
            dk,
            dv,
            k_tiles,
            v_tiles,
            v_pairs,
            lse,
            delta,
            weights,
            d_scores,
            row_pairs,
            weight_pairs,
            d_score_pairs,
        ] = rest;
        let of_pairs = |values: usize| if dtype == Dtype::Bf16 { values } else { 0 };
        let tile = KEY_TILE * if dtype == Dtype::Bf16 { ROW_BLOCK } else { KEY_TILE };
        Self {
            len,
            first: len - q_len,
            shape,
            q: Operand::new([q0, q1, q2], len, d_qk, dtype),
            d_o: Operand::new([o0, o1, o2], len, d_v, dtype),
            k: Operand::new([k0, k1, k2], len, d_qk, dtype),
            k_tiles: k_tiles.floats(tiles_len * dtype.steps(padded(d_qk))),
            v_tiles: v_tiles.floats(tiles_len * dtype.steps(d_v)),
            v_pairs: v_pairs.floats(of_pairs(len * dtype.steps(d_v))),
            lse: lse.floats(len),
            delta: delta.floats(len),
            dq: dq.floats(len * padded(d_qk)),
            dk: dk.floats(len * padded(d_qk)),
            dv: dv.floats(len * padded(d_v)),
            weights: weights.floats(tile),
            d_scores: d_scores.floats(tile),
            row_pairs: row_pairs.floats(of_pairs(ROW_BLOCK * KEY_TILE / 2)),
            weight_pairs: weight_pairs.floats(of_pairs(KEY_TILE * KEY_TILE / 2)),
            d_score_pairs: d_score_pairs.floats(of_pairs(KEY_TILE * KEY_TILE / 2)),
        }
    }

    fn load_keys(&mut self, keys: Head, values: Head) {
        self.k.load(keys, 0, 1.0);
        copy_transposed(self.k_tiles, self.k.left_rows(), self.len);
        match self.shape.dtype {
            Dtype::F32 => copy_transposed(self.v_tiles, values, self.len),
            Dtype::Bf16 => {
                let width = self.shape.d_v.div_ceil(2);
                for (pairs, row) in self.v_pairs.chunks_exact_mut(width).zip(values.rows()) {
                    pair_neighbours(pairs, row);
                }
                copy_transposed(self.v_tiles, Head::new(self.v_pairs, 0, 1, width), self.len);
            }
        }
        self.dk.fill(0.0);
        self.dv.fill(0.0);
    }

    fn load_queries(&mut self, queries: Head, d_o: Head, o: Head, scale: f32) {
        self.q.load(queries, self.first, scale);
        self.d_o.load(d_o, self.first, 1.0);
        row_products(&mut self.delta[self.first..], d_o, o);
        let start = self.start();
        self.delta[start..self.first].fill(0.0);
        self.lse[start..self.first].fill(0.0);
        self.dq[start * padded(self.shape.d_qk)..].fill(0.0);
    }

    /// Where the block of the first query starts.
    fn start(&self) -> usize {
        self.first / ROW_BLOCK * ROW_BLOCK
    }

    /// Where the queries end that see the key at `position`.
    fn end_of_queries(&self, position: usize) -> usize {
        self.shape.window.map_or(self.len, |window| position.saturating_add(window).min(self.len))
    }

    /// Rows of the tile that starts at position `tile`.
    fn tile_len(&self, tile: usize) -> usize {
        (self.len - tile).min(KEY_TILE)
    }

    /// Adds what a tile of queries and a tile of keys give to each other's gradients. On the
    /// diagonal, parts that the mask makes 0 are left out in steps of a block, and so is what comes before the first query and what
    /// the window hides.
    fn tile_pair(&mut self, first_query: usize, first_key: usize) {
        let (n_queries, n_keys) = (self.tile_len(first_query), self.tile_len(first_key));
        let diagonal = first_query == first_key;
        let before = self.start().saturating_sub(first_query);
        for queries in Block::all_of_tile(first_query, before, n_queries) {
            let visible = Ranges::of_rows(|r| self.shape.seen(queries.position() + r)).within(first_key, n_keys);
            if visible.is_empty(0) {
                break;
            }
            self.score(queries, first_key, &visible);
            // From an even key on, so that no pair is torn; the gradient of its score is 0 where it is hidden.
            self.add_dq(queries, first_key, visible.from[0] / 2 * 2..visible.to[queries.len - 1]);
        }
        for keys in Block::all_of_tile(first_key, 0, n_keys) {
            let first = if diagonal { keys.start.max(before) } else { before };
            let end = self.end_of_queries(keys.position() + keys.len - 1).saturating_sub(first_query).min(n_queries);
            if first < end {
                self.add_dk_dv(keys, first_query, first..end);
            }
        }
    }

    /// Weights and score gradients of `queries`, which see the `visible` keys of the tile.
    fn score(&mut self, queries: Block, first_key: usize, visible: &Ranges) {
        let AttentionShape { d_qk, d_v, dtype, .. } = self.shape;
        let first = if dtype == Dtype::Bf16 { 0 } else { queries.start };
        let at = first * KEY_TILE..(first + queries.len) * KEY_TILE;
        let (weights, d_scores) = (&mut self.weights[at.clone()], &mut self.d_scores[at]);
        let operands = [
            (&mut *weights, &self.q, &self.k_tiles[first_key * dtype.steps(padded(d_qk))..], d_qk),
            (&mut *d_scores, &self.d_o, &self.v_tiles[first_key * dtype.steps(d_v)..], d_v),
        ];
        for (result, rows, tiles, width) in operands {
            tile_matmul(
                Output::new(result, KEY_TILE, padded(visible.to[queries.len - 1])),
                rows.left(queries.position()),
                Right::new(tiles, KEY_TILE),
                queries.len,
                &[width; ROW_BLOCK],
                Accumulate::Set,
                dtype,
            );
        }
        let rows = queries.position()..queries.position() + queries.len;
        let rows = RowGradient { lse: &self.lse[rows.clone()], delta: &self.delta[rows] };
        if dtype == Dtype::F32 {
            return softmax_gradient(weights, d_scores, rows, visible);
        }
        let pairs = GradientPairs {
            weights: &mut self.weight_pairs[queries.start / 2 * KEY_TILE..],
            d_scores: &mut self.d_score_pairs[queries.start / 2 * KEY_TILE..],
            d_scores_in_rows: self.row_pairs,
        };
        softmax_gradient_pairs(weights, d_scores, rows, visible, pairs);
    }

    fn add_dq(&mut self, queries: Block, first_key: usize, keys: Range<usize>) {
        let (width, dtype) = (padded(self.shape.d_qk), self.shape.dtype);
        let left = match dtype {
            Dtype::F32 => Left::rows(&self.d_scores[queries.start * KEY_TILE + keys.start..], KEY_TILE),
            Dtype::Bf16 => Left::rows(&self.row_pairs[keys.start / 2..], KEY_TILE / 2),
        };
        tile_matmul(
            Output::new(&mut self.dq[queries.position() * width..], width, width),
            left,
            self.k.right(first_key + keys.start),
            queries.len,
            &[keys.len(); ROW_BLOCK],
            Accumulate::Add,
            dtype,
        );
    }

    /// From some queries of the tile, the first of them even.
    fn add_dk_dv(&mut self, keys: Block, first_query: usize, queries: Range<usize>) {
        let dtype = self.shape.dtype;
        let (weights, d_scores) = match dtype {
            Dtype::F32 => (&*self.weights, &*self.d_scores),
            Dtype::Bf16 => (&*self.weight_pairs, &*self.d_score_pairs),
        };
        for (gradient, left, right) in [(&mut *self.dv, weights, &self.d_o), (&mut *self.dk, d_scores, &self.q)] {
            tile_matmul(
                Output::new(&mut gradient[keys.position() * right.width..], right.width, right.width),
                Left::columns(&left[dtype.steps(queries.start) * KEY_TILE + keys.start..], KEY_TILE),
                right.right(first_query + queries.start),
                keys.len,
                &[queries.len(); ROW_BLOCK],
                Accumulate::Add,
                dtype,
            );
        }
    }
}

thread_local! {
    static SCRATCH: Cell<[Scratch; SCRATCHES]> = const { Cell::new([const { Scratch::new() }; SCRATCHES]) };
}

/// Buffers of [`Work`].
const SCRATCHES: usize = 22;
