//! The key–value cache of decoding: per layer and slot, the rows that later queries attend to.
//!
//! Two contents. *Expanded*: the keys and values themselves, so that a decoded row goes through the very operations of a
//! training pass and has its bits (strict mode). *Latent*: MLA's normed latent and rotated key, 576 values a token in V3
//! instead of 40,960; the absorbed form attends over them and differs from training by rounding.

use reseek_spec::ModelSpec;
use reseek_tensor::attention::{AttentionShape, attention_forward};

use crate::rows::{Rows, spans};

/// What the cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// Keys and values of all heads: training's bits.
    Expanded,
    /// MLA's latents, attended in the absorbed form. A model without MLA has no latents and expands in this mode too.
    Latent,
}

/// Sequences in progress, each in a slot.
#[derive(Debug)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) mode: CacheMode,
    lens: Vec<usize>,
}

/// One layer's rows, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl KvCache {
    /// An empty cache with room for `slots` sequences.
    pub fn new(spec: &ModelSpec, slots: usize, mode: CacheMode) -> Self {
        let layer = LayerCache { keys: vec![Vec::new(); slots], values: vec![Vec::new(); slots] };
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
            layer.keys[slot].clear();
            layer.values[slot].clear();
        }
    }

    /// Makes `to` hold what `from` holds: one prompt, prefilled once, serves a whole group of samples.
    pub fn copy(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.clear(to);
        self.lens[to] = self.lens[from];
        for layer in &mut self.layers {
            for rows in [&mut layer.keys, &mut layer.values] {
                let source = std::mem::take(&mut rows[from]);
                rows[to].extend_from_slice(&source);
                rows[from] = source;
            }
        }
    }

    /// Bytes of the rows held.
    pub fn bytes(&self) -> usize {
        let of = |rows: &Vec<Vec<f32>>| rows.iter().map(|r| 4 * r.len()).sum::<usize>();
        self.layers.iter().map(|layer| of(&layer.keys) + of(&layer.values)).sum()
    }

    pub(crate) fn advance(&mut self, rows: &Rows, slots: &[usize]) {
        slots.iter().zip(&rows.segments).for_each(|(&slot, len)| self.lens[slot] += len);
    }
}

impl LayerCache {
    /// Appends the new rows' keys and values, then attends with each segment's queries over its slot. Returns o [n, h, d_v].
    pub fn attend(
        &mut self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        rows: &Rows,
        slots: &[usize],
        shape: AttentionShape,
    ) -> Vec<f32> {
        let (wq, wo) = (shape.n_heads * shape.d_qk, shape.n_heads * shape.d_v);
        let (wk, wv) = (shape.n_kv_heads * shape.d_qk, shape.n_kv_heads * shape.d_v);
        let mut o = vec![0.0; rows.len() * wo];
        let mut lse = vec![0.0; rows.len() * shape.n_heads];
        for ((from, to), &slot) in spans(&rows.segments).zip(slots) {
            self.keys[slot].extend_from_slice(&k[from * wk..to * wk]);
            self.values[slot].extend_from_slice(&v[from * wv..to * wv]);
            let (o, lse) = (&mut o[from * wo..to * wo], &mut lse[from * shape.n_heads..to * shape.n_heads]);
            attention_forward(o, lse, &q[from * wq..to * wq], &self.keys[slot], &self.values[slot], shape);
        }
        o
    }
}
