//! Attention over the segments of a pass: each segment's queries over its own keys, behind those of its prefix where it has one.

use std::ops::Range;

use reseek_tensor::attention::{
    AttentionCache, AttentionGradients, AttentionPass, AttentionShape, attention_backward, attention_cached,
    attention_forward,
};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::elementwise::add;

use crate::rows::Rows;

/// Queries [n, h, d_qk], keys [n, g, d_qk] and values [n, g, d_v] with what came of them: outputs [n, h, d_v] and log-sum-exps [n, h]. What
/// attention keeps for its backward pass.
#[derive(Debug)]
pub(crate) struct Attended {
    q: Buffer,
    k: Buffer,
    v: Buffer,
    pub o: Buffer,
    lse: Buffer,
}

/// Attention of the queries over the keys and values.
pub(crate) fn attend(q: Buffer, k: Buffer, v: Buffer, rows: &Rows, shape: AttentionShape) -> Attended {
    let Widths { q: q_width, o: o_width, k: k_width, v: v_width } = Widths::of(shape);
    let mut o = Buffer::new(rows.len() * o_width);
    let mut lse = Buffer::new(rows.len() * shape.n_heads);
    // A prefix and its keys and values as attention reads them: the segments that continue it follow each other.
    let mut kept: Option<(Range<usize>, AttentionCache)> = None;
    for (own, prefix) in rows.views() {
        let (o, lse) = (&mut o[times(&own, o_width)], &mut lse[times(&own, shape.n_heads)]);
        let (q, k_own, v_own) = (&q[times(&own, q_width)], &k[times(&own, k_width)], &v[times(&own, v_width)]);
        let Some(prefix) = prefix else {
            attention_forward(o, lse, q, k_own, v_own, shape);
            continue;
        };
        if kept.as_ref().is_none_or(|(rows, _)| *rows != prefix) {
            let mut cache = AttentionCache::new(shape);
            cache.push(&k[times(&prefix, k_width)], &v[times(&prefix, v_width)]);
            kept = Some((prefix.clone(), cache));
        }
        let (_, cache) = kept.as_mut().expect("the prefix was just put there");
        cache.truncate(prefix.len());
        cache.push(k_own, v_own);
        attention_cached(o, lse, q, cache);
    }
    Attended { q, k, v, o, lse }
}

/// Gradients of q, k and v from `d_o`, with what [`attend`] gave. Those of a prefix's keys and values are summed over the segments
/// that see them, in order.
pub(crate) fn attend_backward(d_o: &Buffer, saved: &Attended, rows: &Rows, shape: AttentionShape) -> [Buffer; 3] {
    let Attended { q, k, v, o, lse } = saved;
    let Widths { q: q_width, o: o_width, k: k_width, v: v_width } = Widths::of(shape);
    let (mut dq, mut dk, mut dv) = (Buffer::new(q.len()), Buffer::new(k.len()), Buffer::new(v.len()));
    for (own, prefix) in rows.views() {
        let [of_q, of_k, of_v, of_o] = [q_width, k_width, v_width, o_width].map(|width| times(&own, width));
        let dq = &mut dq[of_q.clone()];
        let (d_o, q, o, lse) = (&d_o[of_o.clone()], &q[of_q], &o[of_o], &lse[times(&own, shape.n_heads)]);
        let Some(prefix) = prefix else {
            let (dk, dv) = (&mut dk[of_k.clone()], &mut dv[of_v.clone()]);
            let pass = AttentionPass { q, k: &k[of_k], v: &v[of_v], o, lse };
            attention_backward(AttentionGradients { dq, dk, dv }, d_o, pass, shape);
            continue;
        };
        // Rows of the prefix, then the segment's own.
        let join = |x: &[f32], width| Buffer::joined([&x[times(&prefix, width)], &x[times(&own, width)]]);
        let (k, v) = (join(k, k_width), join(v, v_width));
        let (mut dk_seen, mut dv_seen) = (Buffer::new(k.len()), Buffer::new(v.len()));
        let gradients = AttentionGradients { dq, dk: &mut dk_seen, dv: &mut dv_seen };
        attention_backward(gradients, d_o, AttentionPass { q, k: &k, v: &v, o, lse }, shape);
        for (all, seen, width) in [(&mut dk, dk_seen, k_width), (&mut dv, dv_seen, v_width)] {
            // The prefix comes first, so its own queries have set its gradient.
            let end = prefix.len() + own.len();
            add(&mut all[times(&prefix, width)], &seen[times(&(0..prefix.len()), width)]);
            all[times(&own, width)].copy_from_slice(&seen[times(&(prefix.len()..end), width)]);
        }
    }
    [dq, dk, dv]
}

/// Values of a row of each operand.
struct Widths {
    q: usize,
    o: usize,
    k: usize,
    v: usize,
}

impl Widths {
    fn of(shape: AttentionShape) -> Self {
        let AttentionShape { n_heads, n_kv_heads, d_qk, d_v, .. } = shape;
        Self { q: n_heads * d_qk, o: n_heads * d_v, k: n_kv_heads * d_qk, v: n_kv_heads * d_v }
    }
}

/// Where rows of `width` values lie.
fn times(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}
