//! Multi-head Latent Attention (DeepSeek-V2 report, 2.1; V3 report, 2.1.1).
//!
//! Queries pass through a latent of `q_lora_rank`; keys and values are expanded from a latent of `kv_lora_rank`, beside one
//! rotary key that all heads share. Two equal forms: *expanded* (naive), which training and strict decoding use, and
//! *absorbed*, which attends over the cached latents themselves.
//!
//! Shapes: n rows, h heads, r `kv_lora_rank`, p `qk_rope_head_dim`, q = nope + p. Kept for the backward pass: the latents before
//! their norms, queries, keys and values, the attention output and its log-sum-exp. V3 computes norms and up-projections again (report,
//! 3.2.3); here a pass is a chunk of rows that bounds what is kept, and only the norms are.

use std::borrow::Cow;

use reseek_tensor::attention::AttentionShape;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::heads::Heads;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::mla::{Absorbed, MlaHeads, mla_expand, mla_fold};
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::{join_rows, split_rows};
use reseek_tensor::rope::{RopeDirection, RopeStyle, rope};

use crate::ModelError;
use crate::attend::{Attended, attend, attend_backward};
use crate::cache::{CacheMode, LayerCache};
use crate::norm::Norm;
use crate::part::Matrix;
use crate::pending::Backward;
use crate::rows::Pass;
use crate::source::Source;
use reseek_spec::LATENT_NORM_EPS;

/// One layer's attention.
#[derive(Debug)]
pub(crate) struct Mla {
    q_a: Option<(Matrix, Norm)>,
    q_b: Matrix,
    kv_a: Matrix,
    kv_norm: Norm,
    kv_b: Matrix,
    o: Matrix,
    /// `kv_b_proj` once more, head by head.
    absorbed: Absorbed,
    kv_b_range: std::ops::Range<usize>,
    heads: MlaHeads,
    /// Width of the latent of keys and values.
    latent: usize,
    rope_style: RopeStyle,
    scale: f32,
}

/// What the layer keeps for its backward pass.
#[derive(Debug)]
pub(crate) struct MlaSaved {
    q_a: Buffer,
    latent: Buffer,
    attended: Attended,
}

impl Mla {
    pub fn new(source: Source, prefix: &str) -> Result<Self, ModelError> {
        let spec = source.spec;
        let dims = spec.mla.as_ref().expect("multi-head latent attention has its specification");
        let heads = MlaHeads {
            count: spec.num_attention_heads,
            nope: dims.qk_nope_head_dim,
            rope: dims.qk_rope_head_dim,
            value: dims.v_head_dim,
        };
        let matrix = |part: &str| Matrix::new(source, &format!("{prefix}.{part}"));
        let norm = |part: &str| Norm::with_eps(source, &format!("{prefix}.{part}"), LATENT_NORM_EPS);
        let with_q_lora = dims.q_lora_rank.is_some();
        // The absorbed form needs its values too.
        let kv_b = Matrix::in_format(source, &format!("{prefix}.kv_b_proj"), source.compute)?;
        let kv_b_weight = format!("{prefix}.kv_b_proj.weight");
        Ok(Self {
            q_a: if with_q_lora { Some((matrix("q_a_proj")?, norm("q_a_layernorm")?)) } else { None },
            q_b: matrix(if with_q_lora { "q_b_proj" } else { "q_proj" })?,
            kv_a: matrix("kv_a_proj_with_mqa")?,
            kv_norm: norm("kv_a_layernorm")?,
            absorbed: Absorbed::pack(&source.get(&kv_b_weight)?, heads, dims.kv_lora_rank, kv_b.linear.compute()),
            kv_b,
            kv_b_range: source.layout.range(&kv_b_weight),
            o: matrix("o_proj")?,
            heads,
            latent: dims.kv_lora_rank,
            rope_style: if dims.rope_interleave { RopeStyle::Interleaved } else { RopeStyle::HalfSplit },
            scale: spec.softmax_scale() as f32,
        })
    }

    pub fn repack(&mut self, data: &[f32]) {
        if let Some((matrix, norm)) = &mut self.q_a {
            matrix.repack(data);
            norm.repack(data);
        }
        [&mut self.q_b, &mut self.kv_a, &mut self.kv_b, &mut self.o].into_iter().for_each(|m| m.repack(data));
        self.kv_norm.repack(data);
        let compute = self.kv_b.linear.compute();
        self.absorbed = Absorbed::pack(&data[self.kv_b_range.clone()], self.heads, self.latent, compute);
    }

    /// The format in which the layer takes its input.
    pub fn dtype(&self) -> Dtype {
        self.kv_a.dtype()
    }

    pub fn forward(&self, x: &Operand, pass: Pass) -> (Buffer, MlaSaved) {
        let n = pass.rows.len();
        let (q_a, q) = self.queries(x, pass);
        let (latent, k_rope) = self.latents(x, pass);
        let (k, v) = self.expand(&self.kv_norm.operand(&latent, self.kv_b.dtype()), &k_rope, n);
        let attended = attend(q, k, v, pass.rows, self.expanded_shape());
        let y = self.o.forward(&self.output(&attended.o), n);
        (y, MlaSaved { q_a, latent, attended })
    }

    /// The gradient of x; those of weights are left to `back`.
    pub fn backward<'a>(
        &'a self,
        dy: &Buffer,
        x: &Operand<'a>,
        saved: &'a MlaSaved,
        back: &mut Backward<'a, '_>,
    ) -> Buffer {
        let pass = back.pass;
        let n = pass.rows.len();
        let mut d_o = Buffer::uncleared(saved.attended.o.len());
        self.o.backward(&mut d_o, Accumulate::Set, Cow::Borrowed(dy), &self.output(&saved.attended.o), back);

        let latent = self.kv_norm.operand(&saved.latent, self.kv_b.dtype());
        let [mut dq, dk, dv] = attend_backward(&d_o, &saved.attended, pass.rows, self.expanded_shape());

        self.rotate(&mut dq, self.heads.rotated(), pass, RopeDirection::Inverse);
        let mut dx = Buffer::uncleared(n * x.width());
        match &self.q_a {
            Some((matrix, norm)) => {
                let q_latent = norm.operand(&saved.q_a, self.q_b.dtype());
                let mut dq_latent = Buffer::uncleared(saved.q_a.len());
                self.q_b.backward(&mut dq_latent, Accumulate::Set, Cow::Owned(dq), &q_latent, back);
                let mut dq_a = Buffer::uncleared(saved.q_a.len());
                norm.backward(&mut dq_a, Accumulate::Set, dq_latent, Cow::Borrowed(&saved.q_a), back);
                matrix.backward(&mut dx, Accumulate::Set, Cow::Owned(dq_a), x, back);
            }
            None => self.q_b.backward(&mut dx, Accumulate::Set, Cow::Owned(dq), x, back),
        }

        let (dkv, mut dk_rope) = self.fold(&dk, &dv, n);
        self.rotate(&mut dk_rope, Heads::whole(1, self.heads.rope), pass, RopeDirection::Inverse);
        let mut dlatent_normed = Buffer::uncleared(saved.latent.len());
        self.kv_b.backward(&mut dlatent_normed, Accumulate::Set, Cow::Owned(dkv), &latent, back);
        let mut dlatent = Buffer::uncleared(saved.latent.len());
        self.kv_norm.backward(&mut dlatent, Accumulate::Set, dlatent_normed, Cow::Borrowed(&saved.latent), back);
        let dkv_a = self.join(&dlatent, &dk_rope);
        self.kv_a.backward(&mut dx, Accumulate::Add, Cow::Owned(dkv_a), x, back);
        dx
    }

    /// New rows of sequences that live in a cache: segment s belongs to slot `slots[s]`.
    pub fn decode(&self, x: &Operand, pass: Pass, cache: &mut LayerCache, slots: &[usize], mode: CacheMode) -> Buffer {
        let n = pass.rows.len();
        let (_, q) = self.queries(x, pass);
        let (latent, k_rope) = self.latents(x, pass);
        let latent = self.kv_norm.forward(&latent);
        let o = match mode {
            CacheMode::Expanded => {
                let latent = Operand::owned(latent, self.latent, self.kv_b.dtype());
                let (k, v) = self.expand(&latent, &k_rope, n);
                cache.attend(&q, &k, &v, pass.rows, slots, self.expanded_shape())
            }
            CacheMode::Latent => {
                let shape = self.absorbed_shape();
                let k = self.join(&latent, &k_rope);
                let o = cache.attend(&self.absorbed_queries(&q, n), &k, &latent, pass.rows, slots, shape);
                self.absorbed_values(&o, n)
            }
        };
        self.o.forward(&self.output(&o), n)
    }

    /// Attended values [n, h, v] as the last product takes them.
    fn output<'a>(&self, o: &'a Buffer) -> Operand<'a> {
        Operand::of(o, self.heads.count * self.heads.value, self.o.dtype())
    }

    fn expanded_shape(&self) -> AttentionShape {
        AttentionShape {
            n_heads: self.heads.count,
            n_kv_heads: self.heads.count,
            d_qk: self.heads.query(),
            d_v: self.heads.value,
            scale: self.scale,
            window: None,
            dtype: self.kv_b.linear.dtype(),
        }
    }

    fn absorbed_shape(&self) -> AttentionShape {
        AttentionShape {
            n_heads: self.heads.count,
            n_kv_heads: 1,
            d_qk: self.latent + self.heads.rope,
            d_v: self.latent,
            scale: self.scale,
            window: None,
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
            None => (Buffer::uncleared(0), self.rotated_queries(x, pass)),
        }
    }

    fn rotated_queries(&self, input: &Operand, pass: Pass) -> Buffer {
        let mut q = self.q_b.forward(input, pass.rows.len());
        self.rotate(&mut q, self.heads.rotated(), pass, RopeDirection::Forward);
        q
    }

    /// The latent [n, r] before its norm, and the rotated shared key [n, p].
    fn latents(&self, x: &Operand, pass: Pass) -> (Buffer, Buffer) {
        let kv_a = self.kv_a.forward(x, pass.rows.len());
        let (r, p) = (self.latent, self.heads.rope);
        let (mut latent, mut k_rope) = (Buffer::uncleared(pass.rows.len() * r), Buffer::uncleared(pass.rows.len() * p));
        split_rows(&mut latent, r, &mut k_rope, p, &kv_a);
        self.rotate(&mut k_rope, Heads::whole(1, p), pass, RopeDirection::Forward);
        (latent, k_rope)
    }

    fn rotate(&self, x: &mut Buffer, heads: Heads, pass: Pass, direction: RopeDirection) {
        rope(x, &pass.rows.positions, &pass.ropes[0], heads, self.rope_style, direction);
    }

    /// Keys [n, h, q] and values [n, h, v] from the normed latents and the rotated shared key.
    fn expand(&self, latent: &Operand, k_rope: &Buffer, n: usize) -> (Buffer, Buffer) {
        let kv = self.kv_b.forward(latent, n);
        let MlaHeads { count, value, .. } = self.heads;
        let (mut keys, mut values) =
            (Buffer::uncleared(n * count * self.heads.query()), Buffer::uncleared(n * count * value));
        mla_expand(&mut keys, &mut values, &kv, k_rope, self.heads);
        (keys, values)
    }

    /// The reverse of `expand` for gradients: those of `kv_b`'s output, and of the shared key, summed over heads.
    fn fold(&self, dk: &Buffer, dv: &Buffer, n: usize) -> (Buffer, Buffer) {
        let (mut dkv, mut dk_rope) = (Buffer::uncleared(n * self.kv_b.out), Buffer::uncleared(n * self.heads.rope));
        mla_fold(&mut dkv, &mut dk_rope, dk, dv, self.heads);
        (dkv, dk_rope)
    }

    /// Queries in the latent space, [n, h, r + p].
    fn absorbed_queries(&self, q: &Buffer, n: usize) -> Buffer {
        let mut out = Buffer::uncleared(n * self.heads.count * (self.latent + self.heads.rope));
        self.absorbed.queries(&mut out, q);
        out
    }

    /// Values [n, h, v] from attended latents [n, h, r].
    fn absorbed_values(&self, o: &Buffer, n: usize) -> Buffer {
        let mut out = Buffer::uncleared(n * self.heads.count * self.heads.value);
        self.absorbed.values(&mut out, o);
        out
    }

    /// Rows of latents, each followed by its rotated key.
    fn join(&self, latent: &Buffer, k_rope: &Buffer) -> Buffer {
        let mut out = Buffer::uncleared(latent.len() + k_rope.len());
        join_rows(&mut out, latent, self.latent, k_rope, self.heads.rope);
        out
    }
}
