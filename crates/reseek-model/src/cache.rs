//! The key–value cache of decoding: per layer and slot, the rows that later queries attend to.
//!
//! Two contents. *Expanded*: the keys and values themselves, so that a decoded row goes through the very operations of a
//! training pass and has its bits (strict mode). *Latent*: MLA's normed latent and rotated key, 576 values a token in V3
//! instead of 40,960; the absorbed form attends over them and differs from training by rounding.

use reseek_spec::ModelSpec;
use reseek_tensor::attention::{AttentionCache, AttentionShape, attention_cached};
use reseek_tensor::buffer::Buffer;

use crate::rows::{Rows, spans};

/// What the cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// Keys and values of all heads: training's bits.
    Expanded,
    /// MLA's latents, attended in the absorbed form. A model without MLA has no latents and expands in this mode too.
    Latent,
}

/// Sequences in progress, each in a slot. A clone shares the pages of both until one writes.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) mode: CacheMode,
    lens: Vec<usize>,
}

/// One layer's rows, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    /// Made when the slot is first written, for only the layer knows the shape of its rows.
    slots: Vec<Option<AttentionCache>>,
}

impl KvCache {
    /// An empty cache with room for `slots` sequences.
    pub fn new(spec: &ModelSpec, slots: usize, mode: CacheMode) -> Self {
        let layer = LayerCache { slots: vec![None; slots] };
        Self { layers: vec![layer; spec.num_hidden_layers], mode, lens: vec![0; slots] }
    }

    /// Tokens held in `slot`.
    pub fn len(&self, slot: usize) -> usize {
        self.lens[slot]
    }

    /// Whether nothing is held in `slot`.
    pub fn is_empty(&self, slot: usize) -> bool {
        self.lens[slot] == 0
    }

    /// Empties `slot`, keeping its memory.
    pub fn clear(&mut self, slot: usize) {
        self.lens[slot] = 0;
        for layer in &mut self.layers {
            if let Some(cache) = &mut layer.slots[slot] {
                cache.truncate(0);
            }
        }
    }

    /// Makes `to` hold what `from` holds: one prompt, prefilled once, serves a whole group of samples.
    pub fn copy(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.lens[to] = self.lens[from];
        for layer in &mut self.layers {
            layer.slots[to] = layer.slots[from].clone();
        }
    }

    pub(crate) fn advance(&mut self, rows: &Rows, slots: &[usize]) {
        slots.iter().zip(&rows.segments).for_each(|(&slot, len)| self.lens[slot] += len);
    }
}

impl LayerCache {
    /// Appends the new rows' keys and values, then attends with each segment's queries over its slot. Returns o [n, h, d_v].
    pub fn attend(
        &mut self,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        rows: &Rows,
        slots: &[usize],
        shape: AttentionShape,
    ) -> Buffer {
        let AttentionShape { n_heads, n_kv_heads, d_qk, d_v, .. } = shape;
        let mut o = Buffer::uncleared(rows.len() * n_heads * d_v);
        let mut lse = Buffer::uncleared(rows.len() * n_heads);
        for ((from, to), &slot) in spans(&rows.segments).zip(slots) {
            let cache = self.slots[slot].get_or_insert_with(|| AttentionCache::new(shape));
            cache.push(k.rows(from..to, n_kv_heads * d_qk), v.rows(from..to, n_kv_heads * d_v));
            let (o, lse) = (o.rows_mut(from..to, n_heads * d_v), lse.rows_mut(from..to, n_heads));
            attention_cached(o, lse, q.rows(from..to, n_heads * d_qk), cache);
        }
        o
    }
}
