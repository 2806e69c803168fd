//! Keys and values of one sequence in the layout of the kernels.

use super::pack::{Head, copy_columns, copy_rows, put_into_pairs};
use super::{AttentionShape, KEY_TILE, assert_len, padded};
use crate::aligned::Line;
use crate::buffer::Buffer;
use crate::dtype::{Dtype, pair_within_rows};

/// The keys and values that a sequence's queries look back at, kept from token to token in
/// decoding; for use with [`super::attention_cached`].
#[derive(Clone, Debug)]
pub struct AttentionCache {
    pub(super) shape: AttentionShape,
    len: usize,
    /// `[tiles, n_kv_heads]` of a tile of keys `[d_qk, KEY_TILE]` and one of values
    /// `[KEY_TILE, padded d_v]`; in bf16 of half as many rows of pairs. What lies behind `len` is never used.
    tiles: Vec<Line>,
}

impl AttentionCache {
    /// An empty cache for attention of this shape.
    ///
    /// # Panics
    /// If a size is 0 or the heads are not a multiple of the key heads.
    pub fn new(shape: AttentionShape) -> Self {
        shape.check();
        Self { shape, len: 0, tiles: Vec::new() }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends keys `[n, n_kv_heads, d_qk]` and values `[n, n_kv_heads, d_v]`.
    ///
    /// # Panics
    /// If the lengths do not fit each other and the shape.
    pub fn push(&mut self, k: &[f32], v: &[f32]) {
        let AttentionShape { n_kv_heads, d_qk, d_v, .. } = self.shape;
        let n = k.len() / (n_kv_heads * d_qk);
        assert_len("k", k, n * n_kv_heads * d_qk, &self.shape);
        assert_len("v", v, n * n_kv_heads * d_v, &self.shape);
        let dtype = self.shape.dtype;
        let mut key_pairs = Buffer::new(if dtype == Dtype::Bf16 { n * n_kv_heads * dtype.steps(d_qk) } else { 0 });
        let (k, d_k) = match dtype {
            Dtype::F32 => (k, d_qk),
            Dtype::Bf16 => {
                pair_within_rows(&mut key_pairs, k, d_qk);
                (&*key_pairs, dtype.steps(d_qk))
            }
        };
        let (key_size, pair_size) = self.sizes();
        let needed = (self.len + n).div_ceil(KEY_TILE) * n_kv_heads * pair_size;
        let missing = needed.saturating_sub(self.tiles.len() * Line::VALUES);
        self.tiles.extend(Line::zeros(missing));
        let pairs = Line::flatten_mut(&mut self.tiles).chunks_exact_mut(pair_size).enumerate();
        for (index, pair) in pairs.skip(self.len / KEY_TILE * n_kv_heads) {
            let (tile, head) = (index / n_kv_heads, index % n_kv_heads);
            let first = self.len.max(tile * KEY_TILE);
            let end = (self.len + n).min((tile + 1) * KEY_TILE);
            if first >= end {
                break;
            }
            let (keys, values) = pair.split_at_mut(key_size);
            let (to, from) = (first - tile * KEY_TILE, first - self.len);
            copy_columns(keys, to, Head::new(k, head, n_kv_heads, d_k), from, end - first);
            let v = Head::new(v, head, n_kv_heads, d_v);
            let rows = (from..from + end - first).map(|row| v.row(row));
            match dtype {
                Dtype::F32 => copy_rows(&mut values[to * padded(d_v)..], padded(d_v), rows, 1.0),
                Dtype::Bf16 => put_into_pairs(values, padded(d_v), to, rows),
            }
        }
        self.len += n;
    }

    /// Forgets the keys from `len` on.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len, "cannot keep {len} keys of {}", self.len);
        self.len = len;
    }

    /// Empties the cache for another shape; keeps its memory.
    pub(super) fn reset(&mut self, shape: AttentionShape) {
        self.shape = shape;
        self.len = 0;
    }

    /// Keys `[d_qk, KEY_TILE]` and values `[KEY_TILE, padded d_v]` of a tile and key head.
    pub(super) fn tile(&self, tile: usize, kv_head: usize) -> (&[f32], &[f32]) {
        let (key_size, pair_size) = self.sizes();
        let start = (tile * self.shape.n_kv_heads + kv_head) * pair_size;
        Line::flatten(&self.tiles)[start..start + pair_size].split_at(key_size)
    }

    /// Values in a tile of keys, and with its tile of values.
    fn sizes(&self) -> (usize, usize) {
        let dtype = self.shape.dtype;
        let key_size = dtype.steps(self.shape.d_qk) * KEY_TILE;
        (key_size, key_size + dtype.steps(KEY_TILE) * padded(self.shape.d_v))
    }
}
