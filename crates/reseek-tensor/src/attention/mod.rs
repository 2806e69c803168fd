//! Causal softmax attention in tiles: FlashAttention-2 (Dao 2023), no matrix of T × T anywhere.
//!
//! Shapes: q `[q_len, n_heads, d_qk]`, k `[kv_len, n_kv_heads, d_qk]`, v `[kv_len, n_kv_heads,
//! d_v]`, o `[q_len, n_heads, d_v]`, lse `[q_len, n_heads]`. Query i has position
//! `kv_len - q_len + i` and sees the keys up to that position, in a window the last of them alone. Head h reads key head
//! `h * n_kv_heads / n_heads`. Tiles that no query sees cost nothing.
//!
//! **Invariant:** a query's output has the same bits whatever the other queries are, how many
//! there are, which keys exist that it must not see, and whether the keys come from a cache. Keys are taken in
//! tiles at fixed positions (multiples of 64); a query's scores, weights, running maximum and sums
//! depend on its own row and these tiles alone; values that it must not see are never multiplied
//! with its weights, not even by 0.
//!
//! Kept for the backward pass: o and lse, in natural units. One thread; the caller runs
//! sequences in parallel.

mod backward;
mod cache;
mod forward;
mod operand;
mod pack;
mod pairing;
mod ranges;
mod softmax;
mod tile;

pub use backward::{AttentionGradients, AttentionPass, attention_backward};
pub use cache::AttentionCache;
pub use forward::{attention_cached, attention_forward};

use std::ops::Range;

use crate::dtype::Dtype;
use crate::profile::{Op, Span, span};
use crate::simd::LANES;

/// Keys in a tile.
const KEY_TILE: usize = 64;

/// Queries that a kernel takes at once.
const ROW_BLOCK: usize = 8;

/// Sizes of one attention call but for the lengths, which the slices carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Heads of q and o.
    pub n_heads: usize,
    /// Heads of k and v; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head of q and k.
    pub d_qk: usize,
    /// Width of a head of v and o.
    pub d_v: usize,
    /// Factor of the scores before the softmax.
    pub scale: f32,
    /// Keys that a query sees, the last of which has its own position: `sliding_window`. All keys up to its own if None.
    pub window: Option<usize>,
    /// The format in which queries, keys, values, weights and their gradients meet; sums, scores and the softmax are f32.
    pub dtype: Dtype,
}

impl AttentionShape {
    /// Heads that share a key head.
    fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    fn check(&self) {
        let Self { n_heads, n_kv_heads, d_qk, d_v, window, .. } = *self;
        let sizes = [n_heads, n_kv_heads, d_qk, d_v, window.unwrap_or(1)];
        assert!(!sizes.contains(&0), "sizes must be positive: {self:?}");
        assert!(n_heads.is_multiple_of(n_kv_heads), "key heads must divide the heads: {self:?}");
    }

    /// The keys that the query at `position` sees.
    fn seen(&self, position: usize) -> Range<usize> {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
    }

    /// Pairs of a query and a key that it sees, of the first `n` positions.
    fn pairs(&self, n: usize) -> usize {
        let whole = self.window.map_or(n, |window| window.min(n));
        whole * (whole + 1) / 2 + (n - whole) * whole
    }

    /// A profile's span over the last `q_len` of `kv_len` positions, with `products` products of a query and a key each way.
    fn span(&self, op: Op, q_len: usize, kv_len: usize, products: usize) -> Span {
        let Self { n_heads, n_kv_heads, d_qk, d_v, .. } = *self;
        let pairs = self.pairs(kv_len) - self.pairs(kv_len - q_len);
        span(op, products * pairs * n_heads * (d_qk + d_v), (d_qk + d_v) * (q_len * n_heads + kv_len * n_kv_heads))
    }

    /// `q_len`, after checking that queries and results have it and that `kv_len` is no less.
    fn check_queries(&self, o: &[f32], lse: &[f32], q: &[f32], kv_len: usize) -> usize {
        let q_len = lse.len() / self.n_heads;
        assert_len("lse", lse, q_len * self.n_heads, self);
        assert_len("q", q, q_len * self.n_heads * self.d_qk, self);
        assert_len("o", o, q_len * self.n_heads * self.d_v, self);
        assert!(q_len <= kv_len, "{q_len} queries but only {kv_len} keys");
        q_len
    }
}

fn assert_len(name: &str, values: &[f32], expected: usize, shape: &AttentionShape) {
    assert_eq!(values.len(), expected, "{name} has {} values, {shape:?} asks for {expected}", values.len());
}

/// Values of a row of `width` with zeros up to whole vectors.
fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}
