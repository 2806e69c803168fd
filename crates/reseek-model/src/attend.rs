//! Attention over the segments of a pass: each segment's queries over its own keys, behind those of its prefix where it has one.

use std::ops::Range;

use reseek_tensor::attention::{
    AttentionCache, AttentionGradients, AttentionPass, AttentionShape, attention_backward, attention_cached,
    attention_forward,
};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::elementwise::{add, copy};

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
    let Widths { q: of_q, o: of_o, k: of_k, v: of_v } = Widths::of(shape);
    let mut o = Buffer::uncleared(rows.len() * of_o);
    let mut lse = Buffer::uncleared(rows.len() * shape.n_heads);
    // A prefix and its keys and values as attention reads them: the segments that continue it follow each other.
    let mut kept: Option<(Range<usize>, AttentionCache)> = None;
    for (own, prefix) in rows.views() {
        let (o, lse) = (o.rows_mut(own.clone(), of_o), lse.rows_mut(own.clone(), shape.n_heads));
        let q = q.rows(own.clone(), of_q);
        let (k_own, v_own) = (k.rows(own.clone(), of_k), v.rows(own, of_v));
        let Some(prefix) = prefix else {
            attention_forward(o, lse, q, k_own, v_own, shape);
            continue;
        };
        if kept.as_ref().is_none_or(|(rows, _)| *rows != prefix) {
            let mut cache = AttentionCache::new(shape);
            cache.push(k.rows(prefix.clone(), of_k), v.rows(prefix.clone(), of_v));
            kept = Some((prefix.clone(), cache));
        }
        let (_, cache) = kept.as_mut().expect("the prefix was just put there");
        if shape.window.is_some() {
            // What a long segment no longer sees of the prefix would be gone for the next one.
            let mut cache = cache.clone();
            cache.push(k_own, v_own);
            attention_cached(o, lse, q, &cache);
            continue;
        }
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
    let Widths { q: of_q, o: of_o, k: of_k, v: of_v } = Widths::of(shape);
    let (mut dq, mut dk, mut dv) = (Buffer::uncleared(q.len()), Buffer::uncleared(k.len()), Buffer::uncleared(v.len()));
    for (own, prefix) in rows.views() {
        let pass = AttentionPass {
            q: q.rows(own.clone(), of_q),
            k: k.rows(own.clone(), of_k),
            v: v.rows(own.clone(), of_v),
            o: o.rows(own.clone(), of_o),
            lse: lse.rows(own.clone(), shape.n_heads),
        };
        let (d_o, dq) = (d_o.rows(own.clone(), of_o), dq.rows_mut(own.clone(), of_q));
        let Some(prefix) = prefix else {
            let (dk, dv) = (dk.rows_mut(own.clone(), of_k), dv.rows_mut(own, of_v));
            attention_backward(AttentionGradients { dq, dk, dv }, d_o, pass, shape);
            continue;
        };
        // Rows of the prefix, then the segment's own.
        let joined = |x: &Buffer, width| Buffer::joined([x.rows(prefix.clone(), width), x.rows(own.clone(), width)]);
        let (k, v) = (joined(k, of_k), joined(v, of_v));
        let (mut dk_seen, mut dv_seen) = (Buffer::uncleared(k.len()), Buffer::uncleared(v.len()));
        let gradients = AttentionGradients { dq, dk: (&mut dk_seen).into(), dv: (&mut dv_seen).into() };
        attention_backward(gradients, d_o, AttentionPass { k: (&k).into(), v: (&v).into(), ..pass }, shape);
        for (all, seen, width) in [(&mut dk, dk_seen, of_k), (&mut dv, dv_seen, of_v)] {
            // The prefix comes first, so its own queries have set its gradient.
            let end = prefix.len() + own.len();
            add(all.rows_mut(prefix.clone(), width), seen.rows(0..prefix.len(), width));
            copy(all.rows_mut(own.clone(), width), seen.rows(prefix.len()..end, width));
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
