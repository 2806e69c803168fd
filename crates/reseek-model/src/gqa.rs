//! Grouped-query attention of the dense families: Llama, Qwen2 (biases on q, k, v) and Qwen3 (norms on q and k).
//!
//! Shapes: n rows, h query heads, g key–value heads, d head width. Kept for the backward pass: the projections before norm and
//! rotation, the attention output and its log-sum-exp.

use reseek_spec::ModelSpec;
use reseek_tensor::attention::AttentionShape;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::heads::Heads;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;
use reseek_tensor::rope::{RopeDirection, RopeStyle, rope};

use crate::attend::{attend, attend_backward};
use crate::cache::LayerCache;
use crate::part::{Matrix, Norm};
use crate::rows::Pass;
use crate::weights::Source;

/// One layer's attention.
#[derive(Debug)]
pub(crate) struct Gqa {
    q: Matrix,
    k: Matrix,
    v: Matrix,
    o: Matrix,
    norms: Option<(Norm, Norm)>,
    shape: AttentionShape,
}

/// What the layer keeps for its backward pass: queries and keys normed and rotated, and before that where they are normed.
#[derive(Debug)]
pub(crate) struct GqaSaved {
    plain: Option<(Buffer, Buffer)>,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    lse: Buffer,
}

impl Gqa {
    pub fn new(weights: Source, prefix: &str) -> Self {
        let spec: &ModelSpec = &weights.spec;
        let matrix = |part: &str| Matrix::new(weights, &format!("{prefix}.{part}"));
        let norm = |part: &str| Norm::new(weights, &format!("{prefix}.{part}"));
        Self {
            q: matrix("q_proj"),
            k: matrix("k_proj"),
            v: matrix("v_proj"),
            o: matrix("o_proj"),
            norms: spec.qk_norm.then(|| (norm("q_norm"), norm("k_norm"))),
            shape: AttentionShape {
                n_heads: spec.num_attention_heads,
                n_kv_heads: spec.num_key_value_heads,
                d_qk: spec.head_dim,
                d_v: spec.head_dim,
                scale: spec.softmax_scale() as f32,
                dtype: weights.compute.dtype(),
            },
        }
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
        let (o, lse) = attend(&q, &k, &v, pass.rows, self.shape);
        let y = self.o.forward(&Operand::of(&o, self.o_width(), self.o.dtype()), n);
        (y, GqaSaved { plain, q, k, v, o, lse })
    }

    /// Writes dx and adds to the gradients.
    pub fn backward(&self, dx: &mut [f32], grads: &mut [f32], dy: &[f32], x: &Operand, saved: &GqaSaved, pass: Pass) {
        let mut d_o = Buffer::new(saved.o.len());
        let o = Operand::of(&saved.o, self.o_width(), self.o.dtype());
        self.o.backward(&mut d_o, Accumulate::Set, grads, dy, &o);
        let GqaSaved { q, k, v, o, lse, .. } = saved;
        let [mut dq, mut dk, dv] = attend_backward(&d_o, q, k, v, o, lse, pass.rows, self.shape);
        self.rotate(&mut dq, self.shape.n_heads, pass, RopeDirection::Inverse);
        self.rotate(&mut dk, self.shape.n_kv_heads, pass, RopeDirection::Inverse);
        if let (Some((q_norm, k_norm)), Some((q, k))) = (&self.norms, &saved.plain) {
            let (dq_normed, dk_normed) = (dq.clone(), dk.clone());
            q_norm.backward(&mut dq, grads, &dq_normed, q, Accumulate::Set);
            k_norm.backward(&mut dk, grads, &dk_normed, k, Accumulate::Set);
        }
        self.q.backward(dx, Accumulate::Set, grads, &dq, x);
        self.k.backward(dx, Accumulate::Add, grads, &dk, x);
        self.v.backward(dx, Accumulate::Add, grads, &dv, x);
    }

    /// New rows of sequences that live in a cache: segment s belongs to slot `slots[s]`.
    pub fn decode(&self, x: &Operand, pass: Pass, cache: &mut LayerCache, slots: &[usize]) -> Buffer {
        let n = pass.rows.len();
        let (q, k, v) = (self.q.forward(x, n), self.k.forward(x, n), self.v.forward(x, n));
        let (_, q, k) = self.prepare(q, k, pass);
        let o = cache.attend(&q, &k, &v, pass.rows, slots, self.shape);
        self.o.forward(&Operand::of(&o, self.o_width(), self.o.dtype()), n)
    }

    /// Values of all heads in a row of the attention output.
    fn o_width(&self) -> usize {
        self.shape.n_heads * self.shape.d_v
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
        (plain, q, k)
    }

    fn rotate(&self, x: &mut [f32], heads: usize, pass: Pass, direction: RopeDirection) {
        let heads = Heads::whole(heads, self.shape.d_qk).part(0, pass.rope.rope_dim());
        rope(x, &pass.rows.positions, pass.rope, heads, RopeStyle::HalfSplit, direction);
    }
}
