//! Backward pass: tiles of 64 queries against tiles of 64 keys, scores computed again.
//!
//! With weights P, dP = dO·Vᵀ and delta = rowsum(dO ∘ O):
//! dS = P ∘ (dP − delta), dV = Pᵀ·dO, dQ = scale·dS·K, dK = scale·dSᵀ·Q.

use std::cell::Cell;
use std::f32::consts::{LN_2, LOG2_E};

use super::pack::{Head, copy_rows, copy_transposed};
use super::softmax::{RowGradient, row_products, softmax_gradient};
use super::tile::{Left, Output, Right, tile_matmul};
use super::{AttentionShape, KEY_TILE, ROW_BLOCK, assert_len, padded};
use crate::matmul::Accumulate;
use crate::profile::Op;
use crate::scratch::Scratch;

/// Gradients of q, k and v from `d_o`; all three are overwritten. `o` and `lse` are those of
/// [`super::attention_forward`] with as many queries as keys.
///
/// # Panics
/// If the lengths do not fit each other and `shape`, or if queries and keys differ in number.
#[expect(clippy::too_many_arguments, reason = "three results, three inputs and what the forward pass kept")]
pub fn attention_backward(
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    d_o: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    o: &[f32],
    lse: &[f32],
    shape: AttentionShape,
) {
    shape.check();
    let len = shape.check_queries(o, lse, q, usize::MAX);
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
    let _span = shape.span(Op::AttentionBackward, len, len, 5);
    let (n_heads, n_kv_heads, group) = (shape.n_heads, shape.n_kv_heads, shape.group());
    let mut scratch = SCRATCH.take();
    let mut work = Work::new(&mut scratch, len, shape.d_qk, shape.d_v);
    for kv_head in 0..n_kv_heads {
        let keys = Head::new(k, kv_head, n_kv_heads, shape.d_qk);
        work.load_keys(keys, Head::new(v, kv_head, n_kv_heads, shape.d_v));
        for head in kv_head * group..(kv_head + 1) * group {
            let queries = Head::new(q, head, n_heads, shape.d_qk);
            let [d_o, o] = [d_o, o].map(|values| Head::new(values, head, n_heads, shape.d_v));
            work.load_queries(queries, d_o, o, shape.scale * LOG2_E);
            for (out, lse) in work.lse.iter_mut().zip(lse.chunks_exact(n_heads)) {
                *out = lse[head] * LOG2_E;
            }
            for first_key in (0..len).step_by(KEY_TILE) {
                for first_query in (first_key..len).step_by(KEY_TILE) {
                    work.tile_pair(first_query, first_key);
                }
            }
            store_rows(dq, head, n_heads, work.dq, shape.d_qk, shape.scale);
        }
        // The queries in `work` carry scale·log₂e.
        store_rows(dk, kv_head, n_kv_heads, work.dk, shape.d_qk, LN_2);
        store_rows(dv, kv_head, n_kv_heads, work.dv, shape.d_v, 1.0);
    }
    SCRATCH.set(scratch);
}

/// `out[row, head] = factor * rows[row]`, leaving out the padding.
fn store_rows(out: &mut [f32], head: usize, n_heads: usize, rows: &[f32], width: usize, factor: f32) {
    let heads = out.chunks_exact_mut(width).skip(head).step_by(n_heads);
    for (out, row) in heads.zip(rows.chunks_exact(padded(width))) {
        for (out, x) in out.iter_mut().zip(row) {
            *out = factor * x;
        }
    }
}

/// One head's operands and gradients, `[len, padded width]` unless said otherwise.
struct Work<'a> {
    len: usize,
    d_qk: usize,
    d_v: usize,
    /// Scaled so that scores come in units of log₂.
    q: &'a mut [f32],
    d_o: &'a mut [f32],
    k: &'a mut [f32],
    /// `[tiles, d_qk, KEY_TILE]`
    k_tiles: &'a mut [f32],
    /// `[tiles, d_v, KEY_TILE]`
    v_tiles: &'a mut [f32],
    /// `[len]`, in units of log₂.
    lse: &'a mut [f32],
    /// `[len]`
    delta: &'a mut [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// `[KEY_TILE queries, KEY_TILE keys]`
    weights: &'a mut [f32],
    /// Gradient of the scores, same shape.
    d_scores: &'a mut [f32],
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
    fn all_of_tile(tile: usize, tile_len: usize) -> impl Iterator<Item = Self> {
        (0..tile_len).step_by(ROW_BLOCK).map(move |start| Self { tile, start, len: (tile_len - start).min(ROW_BLOCK) })
    }

    fn position(&self) -> usize {
        self.tile + self.start
    }
}

impl<'a> Work<'a> {
    fn new(scratch: &'a mut [Scratch; 12], len: usize, d_qk: usize, d_v: usize) -> Self {
        let tiles_len = len.next_multiple_of(KEY_TILE);
        let [q, d_o, k, dq, dk, dv, k_tiles, v_tiles, lse, delta, weights, d_scores] = scratch;
        Self {
            len,
            d_qk,
            d_v,
            q: q.floats(len * padded(d_qk)),
            d_o: d_o.floats(len * padded(d_v)),
            k: k.floats(len * padded(d_qk)),
            k_tiles: k_tiles.floats(tiles_len * d_qk),
            v_tiles: v_tiles.floats(tiles_len * d_v),
            lse: lse.floats(len),
            delta: delta.floats(len),
            dq: dq.floats(len * padded(d_qk)),
            dk: dk.floats(len * padded(d_qk)),
            dv: dv.floats(len * padded(d_v)),
            weights: weights.floats(KEY_TILE * KEY_TILE),
            d_scores: d_scores.floats(KEY_TILE * KEY_TILE),
        }
    }

    fn load_keys(&mut self, keys: Head, values: Head) {
        copy_rows(self.k, padded(self.d_qk), keys.rows(), 1.0);
        copy_transposed(self.k_tiles, keys, self.len);
        copy_transposed(self.v_tiles, values, self.len);
        self.dk.fill(0.0);
        self.dv.fill(0.0);
    }

    fn load_queries(&mut self, queries: Head, d_o: Head, o: Head, scale: f32) {
        copy_rows(self.q, padded(self.d_qk), queries.rows(), scale);
        copy_rows(self.d_o, padded(self.d_v), d_o.rows(), 1.0);
        row_products(self.delta, d_o, o);
        self.dq.fill(0.0);
    }

    /// Rows of the tile that starts at position `tile`.
    fn tile_len(&self, tile: usize) -> usize {
        (self.len - tile).min(KEY_TILE)
    }

    /// Adds what a tile of queries and a tile of keys give to each other's gradients. On the
    /// diagonal, parts that the mask makes 0 are left out in steps of a block.
    fn tile_pair(&mut self, first_query: usize, first_key: usize) {
        let (n_queries, n_keys) = (self.tile_len(first_query), self.tile_len(first_key));
        let diagonal = first_query == first_key;
        for queries in Block::all_of_tile(first_query, n_queries) {
            let visible = std::array::from_fn(|r| match diagonal {
                true => n_keys.min(queries.start + r + 1),
                false => n_keys,
            });
            self.score(queries, first_key, &visible);
            self.add_dq(queries, first_key, visible[queries.len - 1]);
        }
        for keys in Block::all_of_tile(first_key, n_keys) {
            let skipped = if diagonal { keys.start } else { 0 };
            self.add_dk_dv(keys, first_query, skipped, n_queries - skipped);
        }
    }

    /// Weights and score gradients of `queries`, which see `visible` keys of the tile.
    fn score(&mut self, queries: Block, first_key: usize, visible: &[usize; ROW_BLOCK]) {
        let at = queries.start * KEY_TILE..(queries.start + queries.len) * KEY_TILE;
        let (weights, d_scores) = (&mut self.weights[at.clone()], &mut self.d_scores[at]);
        let operands = [
            (&mut *weights, &*self.q, &*self.k_tiles, self.d_qk),
            (&mut *d_scores, &*self.d_o, &*self.v_tiles, self.d_v),
        ];
        for (result, rows, tiles, width) in operands {
            let stride = padded(width);
            tile_matmul(
                Output::new(result, KEY_TILE),
                Left::rows(&rows[queries.position() * stride..], stride),
                Right::new(&tiles[first_key * width..], KEY_TILE),
                queries.len,
                &[width; ROW_BLOCK],
                padded(visible[queries.len - 1]),
                Accumulate::Set,
            );
        }
        let rows = queries.position()..queries.position() + queries.len;
        let rows = RowGradient { lse: &self.lse[rows.clone()], delta: &self.delta[rows] };
        softmax_gradient(weights, d_scores, rows, visible);
    }

    fn add_dq(&mut self, queries: Block, first_key: usize, n_keys: usize) {
        let width = padded(self.d_qk);
        tile_matmul(
            Output::new(&mut self.dq[queries.position() * width..], width),
            Left::rows(&self.d_scores[queries.start * KEY_TILE..], KEY_TILE),
            Right::new(&self.k[first_key * width..], width),
            queries.len,
            &[n_keys; ROW_BLOCK],
            width,
            Accumulate::Add,
        );
    }

    /// From `n` queries of the tile, the first `skipped` left out.
    fn add_dk_dv(&mut self, keys: Block, first_query: usize, skipped: usize, n: usize) {
        let operands = [
            (&mut *self.dv, &*self.weights, &*self.d_o, padded(self.d_v)),
            (&mut *self.dk, &*self.d_scores, &*self.q, padded(self.d_qk)),
        ];
        for (gradient, left, right, width) in operands {
            tile_matmul(
                Output::new(&mut gradient[keys.position() * width..], width),
                Left::columns(&left[skipped * KEY_TILE + keys.start..], KEY_TILE),
                Right::new(&right[(first_query + skipped) * width..], width),
                keys.len,
                &[n; ROW_BLOCK],
                width,
                Accumulate::Add,
            );
        }
    }
}

thread_local! {
    static SCRATCH: Cell<[Scratch; 12]> = const { Cell::new([const { Scratch::new() }; 12]) };
}
