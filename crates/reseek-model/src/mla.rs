//! Multi-head Latent Attention (DeepSeek-V2 report, 2.1; V3 report, 2.1.1).
//!
//! Queries pass through a latent of `q_lora_rank`; keys and values are expanded from a latent of `kv_lora_rank`, beside one
//! rotary key that all heads share. Two equal forms: *expanded* (naive), which training and strict decoding use, and
//! *absorbed*, which attends over the cached latents themselves.
//!
//! Shapes: n rows, h heads, r `kv_lora_rank`, p `qk_rope_head_dim`, q = nope + p. Kept for the backward pass: the latents before
//! their norms, queries, keys and values, the attention output and its log-sum-exp. V3 computes norms and up-projections again (report,
//! 3.2.3); here a pass is a chunk of rows that bounds what is kept, and only the norms are.

use reseek_spec::{MlaSpec, ModelSpec};
use reseek_tensor::attention::AttentionShape;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::fp8::rounded_blocks;
use reseek_tensor::matmul::{Accumulate, Packed, matmul};
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::{copy_short, join_rows, split_rows};
use reseek_tensor::rope::{RopeDirection, RopeStyle, rope};

use crate::attend::{attend, attend_backward};
use crate::cache::{CacheMode, LayerCache};
use crate::part::{Matrix, Norm};
use crate::rows::Pass;
use crate::weights::Source;

/// One layer's attention.
#[derive(Debug)]
pub(crate) struct Mla {
    q_a: Option<(Matrix, Norm)>,
    q_b: Matrix,
    kv_a: Matrix,
    kv_norm: Norm,
    kv_b: Matrix,
    o: Matrix,
    absorbed: Vec<Absorbed>,
    kv_b_range: std::ops::Range<usize>,
    dims: MlaSpec,
    heads: usize,
    scale: f32,
}

/// One head's part of `kv_b_proj`, for the absorbed form.
#[derive(Debug)]
struct Absorbed {
    /// Takes a query's nope part [nope] to the latent space [r].
    key: Packed,
    /// Takes attended latents [r] to values [v].
    value: Packed,
}

/// What the layer keeps for its backward pass.
#[derive(Debug)]
pub(crate) struct MlaSaved {
    q_a: Buffer,
    latent: Buffer,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    lse: Buffer,
}

impl Mla {
    pub fn new(weights: Source, prefix: &str) -> Self {
        let spec: &ModelSpec = &weights.spec;
        let dims = spec.mla.clone().expect("multi-head latent attention has its specification");
        let matrix = |part: &str| Matrix::new(weights, &format!("{prefix}.{part}"));
        let norm = |part: &str| Norm::new(weights, &format!("{prefix}.{part}"));
        let with_q_lora = dims.q_lora_rank.is_some();
        let mut mla = Self {
            q_a: with_q_lora.then(|| (matrix("q_a_proj"), norm("q_a_layernorm"))),
            q_b: matrix(if with_q_lora { "q_b_proj" } else { "q_proj" }),
            kv_a: matrix("kv_a_proj_with_mqa"),
            kv_norm: norm("kv_a_layernorm"),
            kv_b: matrix("kv_b_proj"),
            o: matrix("o_proj"),
            absorbed: Vec::new(),
            kv_b_range: weights.layout.range(&format!("{prefix}.kv_b_proj.weight")),
            dims,
            heads: spec.num_attention_heads,
            scale: spec.softmax_scale() as f32,
        };
        mla.absorb(&weights.data);
        mla
    }

    pub fn repack(&mut self, data: &[f32]) {
        if let Some((matrix, norm)) = &mut self.q_a {
            matrix.repack(data);
            norm.repack(data);
        }
        [&mut self.q_b, &mut self.kv_a, &mut self.kv_b, &mut self.o].into_iter().for_each(|m| m.repack(data));
        self.kv_norm.repack(data);
        self.absorb(data);
    }

    fn absorb(&mut self, data: &[f32]) {
        let (nope, v, r) = (self.dims.qk_nope_head_dim, self.dims.v_head_dim, self.dims.kv_lora_rank);
        let dtype = self.kv_b.linear.dtype();
        let w = &data[self.kv_b_range.clone()];
        // In fp8 the values that the expanded form multiplies with, in bf16: as DeepSeek-V3's inference/model.py does.
        let rounded = (self.kv_b.linear.compute() == Compute::Fp8).then(|| rounded_blocks(w, r));
        let heads = rounded.as_deref().unwrap_or(w).chunks_exact((nope + v) * r);
        self.absorbed = heads
            .map(|w| {
                let (key, value) = w.split_at(nope * r);
                let key = Packed::from_rows(key, nope, r, dtype);
                Absorbed { key, value: Packed::from_transposed(value, v, r, dtype) }
            })
            .collect();
    }

    /// The format in which the layer takes its input.
    pub fn dtype(&self) -> Dtype {
        self.kv_a.dtype()
    }

    pub fn forward(&self, x: &Operand, pass: Pass) -> (Buffer, MlaSaved) {
        let n = pass.rows.len();
        let (q_a, q) = self.queries(x, pass);
        let (latent, k_rope) = self.latents(x, pass);
        let (k, v) = self.expand(&self.kv_norm.operand(&latent, self.kv_b.dtype()), &k_rope);
        let (o, lse) = attend(&q, &k, &v, pass.rows, self.expanded_shape());
        let y = self.o.forward(&self.output(&o), n);
        (y, MlaSaved { q_a, latent, q, k, v, o, lse })
    }

    /// Writes dx and adds to the gradients.
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &[f32], x: &Operand, saved: &MlaSaved, pass: Pass) {
        let n = pass.rows.len();
        let shape = self.expanded_shape();
        let mut d_o = Buffer::new(saved.o.len());
        self.o.backward(&mut d_o, Accumulate::Set, grads, dy, &self.output(&saved.o));

        let q_latent = self.q_a.as_ref().map(|(_, norm)| norm.operand(&saved.q_a, self.q_b.dtype()));
        let latent = self.kv_norm.operand(&saved.latent, self.kv_b.dtype());
        let MlaSaved { q, k, v, o, lse, .. } = saved;
        let [mut dq, dk, dv] = attend_backward(&d_o, q, k, v, o, lse, pass.rows, shape);

        self.rotate(&mut dq, self.heads, shape.d_qk, self.dims.qk_nope_head_dim, pass, RopeDirection::Inverse);
        match (&self.q_a, &q_latent) {
            (Some((matrix, norm)), Some(q_latent)) => {
                let mut dq_latent = Buffer::new(saved.q_a.len());
                self.q_b.backward(&mut dq_latent, Accumulate::Set, grads, &dq, q_latent);
                let mut dq_a = Buffer::new(saved.q_a.len());
                norm.backward(&mut dq_a, grads, &dq_latent, &saved.q_a, Accumulate::Set);
                matrix.backward(dx, Accumulate::Set, grads, &dq_a, x);
            }
            _ => self.q_b.backward(dx, Accumulate::Set, grads, &dq, x),
        }

        let (dkv, mut dk_rope) = self.fold(&dk, &dv, n);
        self.rotate(&mut dk_rope, 1, self.dims.qk_rope_head_dim, 0, pass, RopeDirection::Inverse);
        let mut dlatent_normed = Buffer::new(saved.latent.len());
        self.kv_b.backward(&mut dlatent_normed, Accumulate::Set, grads, &dkv, &latent);
        let mut dlatent = Buffer::new(saved.latent.len());
        self.kv_norm.backward(&mut dlatent, grads, &dlatent_normed, &saved.latent, Accumulate::Set);
        let dkv_a = interleave(&dlatent, self.dims.kv_lora_rank, &dk_rope, self.dims.qk_rope_head_dim);
        self.kv_a.backward(dx, Accumulate::Add, grads, &dkv_a, x);
    }

    /// New rows of sequences that live in a cache: segment s belongs to slot `slots[s]`.
    pub fn decode(&self, x: &Operand, pass: Pass, cache: &mut LayerCache, slots: &[usize], mode: CacheMode) -> Buffer {
        let n = pass.rows.len();
        let (_, q) = self.queries(x, pass);
        let (latent, k_rope) = self.latents(x, pass);
        let latent = self.kv_norm.forward(&latent);
        let o = match mode {
            CacheMode::Expanded => {
                let latent = Operand::owned(latent, self.dims.kv_lora_rank, self.kv_b.dtype());
                let (k, v) = self.expand(&latent, &k_rope);
                cache.attend(&q, &k, &v, pass.rows, slots, self.expanded_shape())
            }
            CacheMode::Latent => {
                let shape = self.absorbed_shape();
                let k = interleave(&latent, self.dims.kv_lora_rank, &k_rope, self.dims.qk_rope_head_dim);
                let o = cache.attend(&self.absorb_queries(&q, n), &k, &latent, pass.rows, slots, shape);
                self.absorb_values(&o, n)
            }
        };
        self.o.forward(&self.output(&o), n)
    }

    /// Attended values [n, h, v] as the last product takes them.
    fn output<'a>(&self, o: &'a [f32]) -> Operand<'a> {
        Operand::of(o, self.heads * self.dims.v_head_dim, self.o.dtype())
    }

    fn expanded_shape(&self) -> AttentionShape {
        let d_qk = self.dims.qk_nope_head_dim + self.dims.qk_rope_head_dim;
        AttentionShape {
            n_heads: self.heads,
            n_kv_heads: self.heads,
            d_qk,
            d_v: self.dims.v_head_dim,
            scale: self.scale,
            dtype: self.kv_b.linear.dtype(),
        }
    }

    fn absorbed_shape(&self) -> AttentionShape {
        let r = self.dims.kv_lora_rank;
        let d_qk = r + self.dims.qk_rope_head_dim;
        AttentionShape {
            n_heads: self.heads,
            n_kv_heads: 1,
            d_qk,
            d_v: r,
            scale: self.scale,
            dtype: self.kv_b.linear.dtype(),
        }
    }

    /// The query latent [n, q_lora_rank] before its norm (empty without one) and the rotated queries [n, h, q].
    fn queries(&self, x: &Operand, pass: Pass) -> (Buffer, Buffer) {
        match &self.q_a {
            Some((matrix, norm)) => {
                let q_a = matrix.forward(x, pass.rows.len());
                let q = self.rotated_queries(&norm.operand(&q_a, self.q_b.dtype()), pass);
                (q_a, q)
            }
            None => (Buffer::new(0), self.rotated_queries(x, pass)),
        }
    }

    fn rotated_queries(&self, input: &Operand, pass: Pass) -> Buffer {
        let mut q = self.q_b.forward(input, pass.rows.len());
        let d_qk = self.dims.qk_nope_head_dim + self.dims.qk_rope_head_dim;
        self.rotate(&mut q, self.heads, d_qk, self.dims.qk_nope_head_dim, pass, RopeDirection::Forward);
        q
    }

    /// The latent [n, r] before its norm, and the rotated shared key [n, p].
    fn latents(&self, x: &Operand, pass: Pass) -> (Buffer, Buffer) {
        let kv_a = self.kv_a.forward(x, pass.rows.len());
        let (r, p) = (self.dims.kv_lora_rank, self.dims.qk_rope_head_dim);
        let (mut latent, mut k_rope) = (Buffer::new(pass.rows.len() * r), Buffer::new(pass.rows.len() * p));
        split_rows(&mut latent, r, &mut k_rope, p, &kv_a);
        self.rotate(&mut k_rope, 1, p, 0, pass, RopeDirection::Forward);
        (latent, k_rope)
    }

    fn rotate(
        &self,
        x: &mut [f32],
        heads: usize,
        head_stride: usize,
        offset: usize,
        pass: Pass,
        direction: RopeDirection,
    ) {
        let style = if self.dims.rope_interleave { RopeStyle::Interleaved } else { RopeStyle::HalfSplit };
        rope(x, &pass.rows.positions, pass.rope, heads, heads * head_stride, head_stride, offset, style, direction);
    }

    /// Keys [n, h, q] and values [n, h, v] from the normed latents and the rotated shared key.
    fn expand(&self, latent: &Operand, k_rope: &[f32]) -> (Buffer, Buffer) {
        let (nope, p, v) = (self.dims.qk_nope_head_dim, self.dims.qk_rope_head_dim, self.dims.v_head_dim);
        let n = k_rope.len() / p;
        let kv = self.kv_b.forward(latent, n);
        let mut keys = Buffer::new(n * self.heads * (nope + p));
        let mut values = Buffer::new(n * self.heads * v);
        let heads = keys.chunks_exact_mut(nope + p).zip(values.chunks_exact_mut(v)).zip(kv.chunks_exact(nope + v));
        for (head, ((key, value), kv)) in heads.enumerate() {
            let row = head / self.heads;
            copy_short(&mut key[..nope], &kv[..nope]);
            copy_short(&mut key[nope..], &k_rope[row * p..(row + 1) * p]);
            copy_short(value, &kv[nope..]);
        }
        (keys, values)
    }

    /// The reverse of `expand` for gradients: those of `kv_b`'s output, and of the shared key, summed over heads.
    fn fold(&self, dk: &[f32], dv: &[f32], n: usize) -> (Buffer, Buffer) {
        let (nope, p, v) = (self.dims.qk_nope_head_dim, self.dims.qk_rope_head_dim, self.dims.v_head_dim);
        let mut dkv = Buffer::new(n * self.heads * (nope + v));
        let mut dk_rope = Buffer::zeros(n * p);
        let heads = dkv.chunks_exact_mut(nope + v).zip(dk.chunks_exact(nope + p).zip(dv.chunks_exact(v)));
        for (head, (dkv, (dk, dv))) in heads.enumerate() {
            copy_short(&mut dkv[..nope], &dk[..nope]);
            copy_short(&mut dkv[nope..], dv);
            let row = head / self.heads;
            let rope = &mut dk_rope[row * p..(row + 1) * p];
            rope.iter_mut().zip(&dk[nope..]).for_each(|(a, b)| *a += b);
        }
        (dkv, dk_rope)
    }

    /// Queries in the latent space, [n, h, r + p].
    fn absorb_queries(&self, q: &[f32], n: usize) -> Buffer {
        let (nope, p, r) = (self.dims.qk_nope_head_dim, self.dims.qk_rope_head_dim, self.dims.kv_lora_rank);
        let (from, to) = (self.heads * (nope + p), self.heads * (r + p));
        let mut out = Buffer::new(n * to);
        let (mut input, mut latent) = (Buffer::new(n * nope), Buffer::new(n * r));
        for (head, absorbed) in self.absorbed.iter().enumerate() {
            for (row, input) in input.chunks_exact_mut(nope).enumerate() {
                input.copy_from_slice(&q[row * from + head * (nope + p)..][..nope]);
            }
            matmul(&mut latent, &input, &absorbed.key, Accumulate::Set);
            for (row, latent) in latent.chunks_exact(r).enumerate() {
                let target = &mut out[row * to + head * (r + p)..][..r + p];
                target[..r].copy_from_slice(latent);
                target[r..].copy_from_slice(&q[row * from + head * (nope + p) + nope..][..p]);
            }
        }
        out
    }

    /// Values [n, h, v] from attended latents [n, h, r].
    fn absorb_values(&self, o: &[f32], n: usize) -> Buffer {
        let (v, r) = (self.dims.v_head_dim, self.dims.kv_lora_rank);
        let mut out = Buffer::new(n * self.heads * v);
        let (mut latent, mut values) = (Buffer::new(n * r), Buffer::new(n * v));
        for (head, absorbed) in self.absorbed.iter().enumerate() {
            for (row, latent) in latent.chunks_exact_mut(r).enumerate() {
                latent.copy_from_slice(&o[(row * self.heads + head) * r..][..r]);
            }
            matmul(&mut values, &latent, &absorbed.value, Accumulate::Set);
            for (row, values) in values.chunks_exact(v).enumerate() {
                out[(row * self.heads + head) * v..][..v].copy_from_slice(values);
            }
        }
        out
    }
}

/// Rows of `a` (width `wa`) followed by rows of `b` (width `wb`).
fn interleave(a: &[f32], wa: usize, b: &[f32], wb: usize) -> Buffer {
    let mut out = Buffer::new(a.len() + b.len());
    join_rows(&mut out, a, wa, b, wb);
    out
}
