//! Keys and values of one sequence in the layout of the kernels, in pages.

use std::sync::Arc;

use super::pack::{Head, copy_columns, copy_rows, put_into_pairs};
use super::{AttentionShape, KEY_TILE, assert_len, padded};
use crate::aligned::Line;
use crate::buffer::{Buffer, View};
use crate::dtype::{Dtype, pair_within_rows};

/// The keys and values that a sequence's queries look back at, kept from token to token in
/// decoding; for use with [`super::attention_cached`].
///
/// They lie in pages of 64 positions, so that a longer sequence moves nothing. A clone shares the
/// pages: samples of one prompt read the same memory, and only a page that is written to is copied. In a window, pages that no
/// later query sees are given back.
#[derive(Clone, Debug)]
pub struct AttentionCache {
    pub(super) shape: AttentionShape,
    len: usize,
    /// Pages of the sequence's beginning that are gone.
    gone: usize,
    /// Each `[n_kv_heads]` of a tile of keys `[d_qk, KEY_TILE]` and one of values `[KEY_TILE, padded d_v]`; in bf16
    /// of half as many rows of pairs. What lies behind `len` is never used.
    pages: Vec<Arc<[Line]>>,
}

impl AttentionCache {
    /// An empty cache for attention of this shape.
    ///
    /// # Panics
    /// If a size is 0 or the heads are not a multiple of the key heads.
    pub fn new(shape: AttentionShape) -> Self {
        shape.check();
        Self { shape, len: 0, gone: 0, pages: Vec::new() }
    }

    /// Number of keys, with those that are gone.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends keys `[n, n_kv_heads, d_qk]` and values `[n, n_kv_heads, d_v]`. In a window, the queries from now on are those of these
    /// and later positions: what none of them sees may go.
    ///
    /// # Panics
    /// If the lengths do not fit each other and the shape.
    pub fn push<'v>(&mut self, k: impl Into<View<'v>>, v: impl Into<View<'v>>) {
        let (k, v) = (k.into().0, v.into().0);
        let AttentionShape { n_kv_heads, d_qk, d_v, .. } = self.shape;
        let n = k.len() / (n_kv_heads * d_qk);
        assert_len("k", k, n * n_kv_heads * d_qk, &self.shape);
        assert_len("v", v, n * n_kv_heads * d_v, &self.shape);
        let dtype = self.shape.dtype;
        let mut key_pairs =
            Buffer::uncleared(if dtype == Dtype::Bf16 { n * n_kv_heads * dtype.steps(d_qk) } else { 0 });
        let (k, d_k) = match dtype {
            Dtype::F32 => (k, d_qk),
            Dtype::Bf16 => {
                pair_within_rows(key_pairs.host_mut(), k, d_qk);
                (key_pairs.host(), dtype.steps(d_qk))
            }
        };
        let (key_size, pair_size) = self.sizes();
        let unseen = self.shape.seen(self.len).start / KEY_TILE;
        self.pages.drain(..unseen.saturating_sub(self.gone));
        self.gone = self.gone.max(unseen);
        for tile in self.len / KEY_TILE..(self.len + n).div_ceil(KEY_TILE) {
            if tile - self.gone == self.pages.len() {
                self.pages.push(Line::zeros(self.page_len()).into());
            }
            let page = Line::flatten_mut(Arc::make_mut(&mut self.pages[tile - self.gone]));
            let first = self.len.max(tile * KEY_TILE);
            let end = (self.len + n).min((tile + 1) * KEY_TILE);
            let (to, from) = (first - tile * KEY_TILE, first - self.len);
            for (head, pair) in page.chunks_exact_mut(pair_size).enumerate() {
                let (keys, values) = pair.split_at_mut(key_size);
                copy_columns(keys, to, Head::new(k, head, n_kv_heads, d_k), from, end - first);
                let v = Head::new(v, head, n_kv_heads, d_v);
                let rows = (from..from + end - first).map(|row| v.row(row));
                match dtype {
                    Dtype::F32 => {
                        let values = values[to * padded(d_v)..].chunks_exact_mut(padded(d_v));
                        values.zip(rows).for_each(|(to, row)| copy_rows(to, padded(d_v), &[row], 1.0));
                    }
                    Dtype::Bf16 => put_into_pairs(values, padded(d_v), to, rows),
                }
            }
        }
        self.len += n;
    }

    /// Forgets the keys from `len` on.
    ///
    /// # Panics
    /// If there are fewer, or if a key that the next query would see is gone.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len, "cannot keep {len} keys of {}", self.len);
        if len == 0 {
            self.gone = 0;
        }
        self.check_holds(self.shape.seen(len).start);
        self.len = len;
    }

    /// That the keys from `first` on are there.
    pub(super) fn check_holds(&self, first: usize) {
        let (gone, window) = (self.gone * KEY_TILE, self.shape.window);
        assert!(
            first >= gone,
            "a query sees the keys from {first} on, and in a window of {window:?} those before {gone} are gone"
        );
    }

    /// Empties the cache for another shape; keeps its memory where pages are as long.
    pub(super) fn reset(&mut self, shape: AttentionShape) {
        let of_before = self.page_len();
        self.shape = shape;
        if self.page_len() != of_before {
            self.pages.clear();
        }
        (self.len, self.gone) = (0, 0);
    }

    /// Keys `[d_qk, KEY_TILE]` and values `[KEY_TILE, padded d_v]` of a tile and key head.
    pub(super) fn tile(&self, tile: usize, kv_head: usize) -> (&[f32], &[f32]) {
        let (key_size, pair_size) = self.sizes();
        Line::flatten(&self.pages[tile - self.gone])[kv_head * pair_size..][..pair_size].split_at(key_size)
    }

    /// Values in a page.
    fn page_len(&self) -> usize {
        self.shape.n_kv_heads * self.sizes().1
    }

    /// Values in a tile of keys, and with its tile of values.
    fn sizes(&self) -> (usize, usize) {
        let dtype = self.shape.dtype;
        let key_size = dtype.steps(self.shape.d_qk) * KEY_TILE;
        (key_size, key_size + dtype.steps(KEY_TILE) * padded(self.shape.d_v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_no_later_query_sees_are_given_back() {
        for (window, most) in [(Some(1), 2), (Some(64), 3), (Some(130), 4), (None, 100)] {
            let shape =
                AttentionShape { n_heads: 1, n_kv_heads: 1, d_qk: 2, d_v: 2, scale: 1.0, window, dtype: Dtype::F32 };
            let mut cache = AttentionCache::new(shape);
            for len in 0..2000 {
                cache.push(&[1.0; 2], &[1.0; 2]);
                assert!(cache.pages.len() <= most, "{} pages of {len} keys in {window:?}", cache.pages.len());
            }
            assert_eq!((cache.len(), cache.pages.len() + cache.gone), (2000, 32));
        }
    }
}
