//! Forward pass: blocks of 8 rows walk over the tiles of keys. The rows of a key head are its
//! queries, each with all the heads that share the keys.

use std::cell::Cell;
use std::f32::consts::LOG2_E;
use std::ops::Range;

use super::cache::AttentionCache;
use super::pack::copy_rows;
use super::ranges::Ranges;
use super::softmax::{RowState, Scores, finish, online_softmax};
use super::tile::{Left, Output, Right, tile_matmul};
use super::{AttentionShape, KEY_TILE, ROW_BLOCK, padded};
use crate::buffer::{Buffer, View, ViewMut};
use crate::dtype::{Dtype, odd_of_pairs, pair_within_rows};
use crate::matmul::Accumulate;
use crate::profile::Op;
use crate::scratch::Scratch;

/// `o = softmax(scale * q·kᵀ)·v` with the causal mask and the shape's window, and `lse`, the logarithm of the softmax's
/// denominator. Both are overwritten.
///
/// # Panics
/// If the lengths do not fit each other and `shape`, or if there are more queries than keys.
pub fn attention_forward<'m, 'v>(
    o: impl Into<ViewMut<'m>>,
    lse: impl Into<ViewMut<'m>>,
    q: impl Into<View<'v>>,
    k: impl Into<View<'v>>,
    v: impl Into<View<'v>>,
    shape: AttentionShape,
) {
    let (o, lse, q, k, v) = (o.into().0, lse.into().0, q.into().0, k.into().0, v.into().0);
    thread_local! {
        static KEPT: Cell<Option<AttentionCache>> = const { Cell::new(None) };
    }
    shape.check();
    let kv_len = k.len() / (shape.n_kv_heads * shape.d_qk);
    let q_len = shape.check_queries(o, lse, q, kv_len);
    let _span = shape.span(Op::AttentionForward, q_len, kv_len, 2);
    let mut cache = KEPT.take().unwrap_or_else(|| AttentionCache::new(shape));
    cache.reset(shape);
    cache.push(k, v);
    attend(o, lse, q, q_len, &cache);
    KEPT.set(Some(cache));
}

/// [`attention_forward`] with the keys and values of a cache, of which the queries are the last
/// positions: the same bits without the work of packing them.
///
/// # Panics
/// As [`attention_forward`], and if a query sees a key that the cache has let go of (see [`AttentionCache::push`]).
pub fn attention_cached<'m, 'v>(
    o: impl Into<ViewMut<'m>>,
    lse: impl Into<ViewMut<'m>>,
    q: impl Into<View<'v>>,
    cache: &AttentionCache,
) {
    let (o, lse, q) = (o.into().0, lse.into().0, q.into().0);
    let q_len = cache.shape.check_queries(o, lse, q, cache.len());
    let _span = cache.shape.span(Op::AttentionCached, q_len, cache.len(), 2);
    attend(o, lse, q, q_len, cache);
}

fn attend(o: &mut [f32], lse: &mut [f32], q: &[f32], q_len: usize, cache: &AttentionCache) {
    let shape = cache.shape;
    let (n_rows, first) = (q_len * shape.group(), cache.len() - q_len);
    cache.check_holds(shape.seen(first).start);
    let mut scratch = SCRATCH.take();
    let [q_block, q_pairs, o_block] = &mut scratch;
    let q_block = q_block.floats(ROW_BLOCK * shape.d_qk);
    let q_pairs = q_pairs.floats(ROW_BLOCK * shape.dtype.steps(shape.d_qk));
    let o_block = o_block.floats(ROW_BLOCK * padded(shape.d_v));
    let mut scores = Scores::new();
    for kv_head in 0..shape.n_kv_heads {
        // Where row r of the key head lies in q, o and lse.
        let place = |r: usize| r / shape.group() * shape.n_heads + kv_head * shape.group() + r % shape.group();
        for start in (0..n_rows).step_by(ROW_BLOCK) {
            let rows = start..(start + ROW_BLOCK).min(n_rows);
            let mut q_rows: [&[f32]; ROW_BLOCK] = [&[]; ROW_BLOCK];
            for (row, r) in q_rows.iter_mut().zip(rows.clone()) {
                *row = &q[place(r) * shape.d_qk..][..shape.d_qk];
            }
            copy_rows(q_block, shape.d_qk, &q_rows[..rows.len()], shape.scale * LOG2_E);
            if shape.dtype == Dtype::Bf16 {
                let (pairs, block) = (rows.len() * shape.dtype.steps(shape.d_qk), rows.len() * shape.d_qk);
                pair_within_rows(&mut q_pairs[..pairs], &q_block[..block], shape.d_qk);
            }
            let q = if shape.dtype == Dtype::Bf16 { &*q_pairs } else { &*q_block };
            let position = |r: usize| first + (start + r) / shape.group();
            let seen = Ranges::of_rows(|r| if r < rows.len() { shape.seen(position(r)) } else { 0..0 });
            let block = RowBlock { cache, kv_head, q, n_rows: rows.len(), seen };
            let o_block = &mut o_block[..rows.len() * padded(shape.d_v)];
            let block_lse = block.attend(o_block, &mut scores);
            for (r, o_row) in rows.zip(o_block.chunks_exact(padded(shape.d_v))) {
                lse[place(r)] = block_lse[r - start];
                o[place(r) * shape.d_v..][..shape.d_v].copy_from_slice(&o_row[..shape.d_v]);
            }
        }
    }
    SCRATCH.set(scratch);
}

/// Up to [`ROW_BLOCK`] neighbouring rows of a key head.
struct RowBlock<'a> {
    cache: &'a AttentionCache,
    kv_head: usize,
    /// `[ROW_BLOCK, d_qk]`, scaled so that scores come in units of log₂; in bf16 pairs.
    q: &'a [f32],
    n_rows: usize,
    /// Keys that each row sees; none for rows that do not exist.
    seen: Ranges,
}

impl RowBlock<'_> {
    /// Overwrites `o [n_rows, padded d_v]` with the outputs and returns the log-sum-exps.
    fn attend(&self, o: &mut [f32], scores: &mut Scores) -> [f32; ROW_BLOCK] {
        let AttentionShape { d_qk, dtype, .. } = self.cache.shape;
        let mut state = RowState::new();
        let width = o.len() / self.n_rows;
        o.fill(0.0);
        let (first, end) = (self.seen.from[0] / KEY_TILE, self.seen.to[self.n_rows - 1]);
        for tile in first..end.div_ceil(KEY_TILE) {
            let (start, n_keys) = (tile * KEY_TILE, (end - tile * KEY_TILE).min(KEY_TILE));
            let (keys, values) = self.cache.tile(tile, self.kv_head);
            tile_matmul(
                Output::new(scores.flat_mut(), KEY_TILE, padded(n_keys)),
                Left::rows(self.q, dtype.steps(d_qk)),
                Right::new(keys, KEY_TILE),
                self.n_rows,
                &[d_qk; ROW_BLOCK],
                Accumulate::Set,
                dtype,
            );
            let visible = self.seen.within(start, KEY_TILE);
            online_softmax(scores, &visible, &mut state, o, width, dtype);
            if visible.begin_late() {
                self.add_values_by_row(o, scores, values, &visible);
                continue;
            }
            // Each row up to its own last key, so that no weight of 0 meets a value that the row
            // must not see.
            tile_matmul(
                Output::new(o, width, width),
                Left::rows(scores.flat(), KEY_TILE),
                Right::new(values, width),
                self.n_rows,
                &visible.to,
                Accumulate::Add,
                dtype,
            );
        }
        finish(&state, o, width)
    }

    /// The product of weights and values in a tile where windows begin: each row from its own first key on.
    fn add_values_by_row(&self, o: &mut [f32], scores: &Scores, values: &[f32], visible: &Ranges) {
        let dtype = self.cache.shape.dtype;
        let width = o.len() / self.n_rows;
        let mut torn = Buffer::uncleared(width);
        let rows = o.chunks_exact_mut(width).zip(scores.flat().chunks_exact(KEY_TILE)).enumerate();
        for (r, (o, weights)) in rows.filter(|(r, _)| !visible.is_empty(*r)) {
            let mut add = |keys: Range<usize>, values: &[f32]| {
                tile_matmul(
                    Output::new(o, width, width),
                    Left::rows(&weights[dtype.steps(keys.start)..], KEY_TILE),
                    Right::new(values, width),
                    1,
                    &[keys.len(); ROW_BLOCK],
                    Accumulate::Add,
                    dtype,
                );
            };
            let mut keys = visible.row(r);
            if dtype == Dtype::Bf16 && !keys.start.is_multiple_of(2) {
                // The first key's pair holds one before it too.
                let pair = keys.start - 1..keys.start + 1;
                odd_of_pairs(torn.host_mut(), &values[pair.start / 2 * width..][..width]);
                add(pair.clone(), torn.host());
                keys.start = pair.end;
            }
            if !keys.is_empty() {
                add(keys.clone(), &values[dtype.steps(keys.start) * width..]);
            }
        }
    }
}

thread_local! {
    /// A block's queries, their pairs, and its outputs.
    static SCRATCH: Cell<[Scratch; 3]> = const { Cell::new([const { Scratch::new() }; 3]) };
}
