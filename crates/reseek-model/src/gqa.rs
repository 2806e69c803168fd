//! Grouped-query attention: of every family without latents. Which of biases, norms on q and k (of each head, or of all heads together),
//! rotation (of whole heads or their first part), sliding window and query scale a layer has, its specification says.
//!
//! Shapes: n rows, h query heads, g key–value heads, d head width. Kept for the backward pass: the projections before norm and
//! rotation, the attention output and its log-sum-exp.

use std::borrow::Cow;

use reseek_tensor::attention::AttentionShape;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::scale_rows;
use reseek_tensor::heads::Heads;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;
use reseek_tensor::rope::{RopeDirection, RopeStyle, rope};

use crate::ModelError;
use crate::attend::{Attended, attend, attend_backward};
use crate::cache::LayerCache;
use crate::norm::Norm;
use crate::part::Matrix;
use crate::pending::Backward;
use crate::rows::Pass;
use crate::source::Source;

/// One layer's attention.
#[derive(Debug)]
pub(crate) struct Gqa {
    q: Matrix,
    k: Matrix,
    v: Matrix,
    o: Matrix,
    norms: Option<(Norm, Norm)>,
    /// Which of the model's rotary tables turns queries and keys.
    table: Option<usize>,
    shape: AttentionShape,
}

/// What the layer keeps for its backward pass: queries and keys normed and rotated, and before that where they are normed.
#[derive(Debug)]
pub(crate) struct GqaSaved {
    plain: Option<(Buffer, Buffer)>,
    attended: Attended,
}

impl Gqa {
    /// That of layer `layer`, whose tensors' names begin with `prefix`.
    pub fn new(source: Source, prefix: &str, layer: usize) -> Result<Self, ModelError> {
        let spec = source.spec;
        let matrix = |part: &str| Matrix::new(source, &format!("{prefix}.{part}"));
        let norm = |part: &str| Norm::new(source, &format!("{prefix}.{part}"));
        Ok(Self {
            q: matrix("q_proj")?,
            k: matrix("k_proj")?,
            v: matrix("v_proj")?,
            o: matrix("o_proj")?,
            norms: if spec.qk_norm { Some((norm("q_norm")?, norm("k_norm")?)) } else { None },
            table: spec.rotary_of(layer),
            shape: AttentionShape {
                n_heads: spec.num_attention_heads,
                n_kv_heads: spec.num_key_value_heads,
                d_qk: spec.head_dim,
                d_v: spec.head_dim,
                scale: spec.softmax_scale() as f32,
                window: spec.window_of(layer),
                dtype: source.compute.dtype(),
            },
        })
    }

    pub fn repack(&mut self, data: &[f32]) {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o].into_iter().for_each(|m| m.repack(data));
        if let Some((q, k)) = &mut self.norms {
            q.repack(data);
            k.repack(data);
        }
    }

    /// The format in which the layer takes its input.
    pub fn dtype(&self) -> Dtype {
        self.q.dtype()
    }

    pub fn forward(&self, x: &Operand, pass: Pass) -> (Buffer, GqaSaved) {
        let n = pass.rows.len();
        let (q, k, v) = (self.q.forward(x, n), self.k.forward(x, n), self.v.forward(x, n));
        let (plain, q, k) = self.prepare(q, k, pass);
        let attended = attend(q, k, v, pass.rows, self.shape);
        let y = self.o.forward(&self.output(&attended.o), n);
        (y, GqaSaved { plain, attended })
    }

    /// The gradient of x; those of weights are left to `back`.
    pub fn backward<'a>(
        &'a self,
        dy: &Buffer,
        x: &Operand<'a>,
        saved: &'a GqaSaved,
        back: &mut Backward<'a, '_>,
    ) -> Buffer {
        let pass = back.pass;
        let mut d_o = Buffer::uncleared(saved.attended.o.len());
        self.o.backward(&mut d_o, Accumulate::Set, Cow::Borrowed(dy), &self.output(&saved.attended.o), back);
        let [mut dq, mut dk, dv] = attend_backward(&d_o, &saved.attended, pass.rows, self.shape);
        self.scale_queries(&mut dq, pass);
        self.rotate(&mut dq, self.shape.n_heads, pass, RopeDirection::Inverse);
        self.rotate(&mut dk, self.shape.n_kv_heads, pass, RopeDirection::Inverse);
        if let (Some((q_norm, k_norm)), Some((q, k))) = (&self.norms, &saved.plain) {
            let before = |d: &mut Buffer, norm: &'a Norm, plain: &'a Buffer, back: &mut Backward<'a, '_>| {
                let d_normed = std::mem::replace(d, Buffer::uncleared(d.len()));
                norm.backward(d, Accumulate::Set, d_normed, Cow::Borrowed(plain), back);
            };
            before(&mut dq, q_norm, q, back);
            before(&mut dk, k_norm, k, back);
        }
        let mut dx = Buffer::uncleared(pass.rows.len() * x.width());
        self.q.backward(&mut dx, Accumulate::Set, Cow::Owned(dq), x, back);
        self.k.backward(&mut dx, Accumulate::Add, Cow::Owned(dk), x, back);
        self.v.backward(&mut dx, Accumulate::Add, Cow::Owned(dv), x, back);
        dx
    }

    /// New rows of sequences that live in a cache: segment s belongs to slot `slots[s]`.
    pub fn decode(&self, x: &Operand, pass: Pass, cache: &mut LayerCache, slots: &[usize]) -> Buffer {
        let n = pass.rows.len();
        let (q, k, v) = (self.q.forward(x, n), self.k.forward(x, n), self.v.forward(x, n));
        let (_, q, k) = self.prepare(q, k, pass);
        let o = cache.attend(&q, &k, &v, pass.rows, slots, self.shape);
        self.o.forward(&self.output(&o), n)
    }

    /// Attended values [n, h, d] as the last product takes them.
    fn output<'a>(&self, o: &'a Buffer) -> Operand<'a> {
        Operand::of(o, self.shape.n_heads * self.shape.d_v, self.o.dtype())
    }

    /// Queries and keys, normed where the family norms them, and rotated; with them, where they were normed, what they were before.
    fn prepare(&self, q: Buffer, k: Buffer, pass: Pass) -> (Option<(Buffer, Buffer)>, Buffer, Buffer) {
        let (plain, mut q, mut k) = match &self.norms {
            Some((q_norm, k_norm)) => {
                let (q_normed, k_normed) = (q_norm.forward(&q), k_norm.forward(&k));
                (Some((q, k)), q_normed, k_normed)
            }
            None => (None, q, k),
        };
        self.rotate(&mut q, self.shape.n_heads, pass, RopeDirection::Forward);
        self.rotate(&mut k, self.shape.n_kv_heads, pass, RopeDirection::Forward);
        self.scale_queries(&mut q, pass);
        (plain, q, k)
    }

    /// Queries, or their gradients, times the factors of their positions.
    fn scale_queries(&self, q: &mut Buffer, pass: Pass) {
        if let Some(factors) = pass.query_scales {
            scale_rows(q, factors, self.shape.n_heads * self.shape.d_qk);
        }
    }

    fn rotate(&self, x: &mut Buffer, heads: usize, pass: Pass, direction: RopeDirection) {
        let Some(table) = self.table.map(|table| &pass.ropes[table]) else { return };
        let heads = Heads::whole(heads, self.shape.d_qk).part(0, table.rope_dim());
        rope(x, &pass.rows.positions, table, heads, RopeStyle::HalfSplit, direction);
    }
}
