//! Attention against a slow reference, and its bit rule.

mod case;
mod window;

use reseek_tensor::attention::{AttentionCache, AttentionShape, attention_cached, attention_forward};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::numeric::{assert_close, assert_same_bits};

use reseek_tensor::random::Stream;

use crate::ops_support::{SPECIAL, check_bits_at_every_level, gradient, inner, levels, narrow, sprinkled, widen};
use case::{Case, backward};

#[test]
fn forward_agrees_with_the_reference() {
    for q_len in [1, 2, 7, 8, 9, 63, 64, 65, 150] {
        Case::new(2, 2, 48, 32, q_len, q_len).check_forward(2e-6);
    }
    for (q_len, kv_len) in [(1, 1), (1, 64), (1, 65), (1, 200), (5, 67), (17, 64), (70, 131)] {
        Case::new(4, 2, 20, 13, q_len, kv_len).check_forward(2e-6);
    }
    for (n_heads, n_kv_heads, d_qk, d_v) in
        [(1, 1, 1, 1), (6, 2, 3, 5), (8, 1, 16, 16), (2, 1, 128, 80), (1, 1, 33, 49)]
    {
        Case::new(n_heads, n_kv_heads, d_qk, d_v, 77, 77).check_forward(2e-6);
    }
}

/// In bf16 every operand is off by up to 2⁻⁹ of itself, and so are the weights.
#[test]
fn bf16_agrees_with_the_reference_but_for_rounding() {
    for q_len in [1, 2, 9, 64, 65, 150] {
        Case::new(2, 2, 48, 32, q_len, q_len).in_bf16().check_forward(1.5e-2);
        Case::new(2, 2, 48, 32, q_len, q_len).in_bf16().check_backward(3e-2);
    }
    for (n_heads, n_kv_heads, d_qk, d_v) in
        [(1, 1, 1, 1), (6, 2, 3, 5), (8, 1, 16, 16), (2, 1, 128, 80), (1, 1, 33, 49)]
    {
        Case::new(n_heads, n_kv_heads, d_qk, d_v, 77, 77).in_bf16().check_forward(1.5e-2);
        Case::new(n_heads, n_kv_heads, d_qk, d_v, 77, 77).in_bf16().check_backward(3e-2);
    }
}

/// With instructions for pairs and without, in decoding and in a whole pass.
#[test]
fn bf16_has_the_same_bits_at_every_level_that_fuses() {
    let case = Case::new(4, 2, 19, 13, 130, 130).in_bf16();
    let (q, k, v, d_o) = (case.q(), case.k(), case.v(), case.d_o());
    let all = levels().filter(|level| level.is_fused()).map(|level| {
        reseek_tensor::dispatch::with_level(level, || {
            let (o, lse) = case.forward(&q, &k, &v);
            let (dq, dk, dv) = backward(&d_o, [&q, &k, &v, &o, &lse], case.shape);
            [o, lse, dq, dk, dv].concat()
        })
    });
    let all: Vec<Vec<f32>> = all.collect();
    for other in &all[1..] {
        assert_same_bits("another level", other, &all[0], &[other.len()]);
    }
}

#[test]
fn the_reference_gradients_are_its_differences() {
    let case = Case::new(2, 1, 3, 2, 6, 6);
    let (q, k, v, d_o) = (case.q(), case.k(), case.v(), case.d_o());
    let (wide_q, wide_k, wide_v) = (widen(&q), widen(&k), widen(&v));
    let (dq, dk, dv) = case.reference_backward(&widen(&d_o), &wide_q, &wide_k, &wide_v);
    let want = gradient(&q, |q| inner(&case.reference(q, &wide_k, &wide_v).0, &d_o));
    assert_close("dq", &narrow(&dq), &want, &[6, 2, 3], 1e-7);
    let want = gradient(&k, |k| inner(&case.reference(&wide_q, k, &wide_v).0, &d_o));
    assert_close("dk", &narrow(&dk), &want, &[6, 1, 3], 1e-7);
    let want = gradient(&v, |v| inner(&case.reference(&wide_q, &wide_k, v).0, &d_o));
    assert_close("dv", &narrow(&dv), &want, &[6, 1, 2], 1e-7);
}

#[test]
fn backward_agrees_with_the_reference() {
    for len in [1, 2, 7, 8, 9, 17, 63, 64, 65, 150] {
        Case::new(2, 2, 48, 32, len, len).check_backward(3e-6);
    }
    for (n_heads, n_kv_heads, d_qk, d_v) in
        [(1, 1, 1, 1), (6, 2, 3, 5), (4, 1, 16, 16), (2, 1, 128, 80), (1, 1, 33, 49)]
    {
        Case::new(n_heads, n_kv_heads, d_qk, d_v, 77, 77).check_backward(3e-6);
    }
}

/// The last queries of more keys, as in a sequence that shares its beginning with others.
#[test]
fn backward_of_the_last_queries_agrees_with_the_reference() {
    for (q_len, kv_len) in [(1, 2), (1, 64), (3, 65), (8, 72), (9, 72), (40, 90), (17, 64), (65, 200), (130, 195)] {
        Case::new(4, 2, 20, 13, q_len, kv_len).check_backward(3e-6);
        Case::new(2, 2, 48, 32, q_len, kv_len).in_bf16().check_backward(3e-2);
    }
}

/// Queries whose outputs nobody used add nothing: leaving them out changes no bit.
#[test]
fn backward_of_the_last_queries_has_the_bits_of_all_with_the_first_unused() {
    for (q_len, kv_len) in [(1, 2), (1, 65), (7, 71), (40, 90), (64, 128), (70, 133), (5, 200)] {
        for whole in [Case::new(4, 2, 19, 13, kv_len, kv_len), Case::new(4, 2, 19, 13, kv_len, kv_len).in_bf16()] {
            let AttentionShape { n_heads, d_qk, d_v, .. } = whole.shape;
            let skipped = kv_len - q_len;
            let (q, k, v, mut d_o) = (whole.q(), whole.k(), whole.v(), whole.d_o());
            d_o[..skipped * n_heads * d_v].fill(0.0);
            let (o, lse) = whole.forward(&q, &k, &v);
            let last = |first: usize| {
                let (q, d_o) = (&q[first * n_heads * d_qk..], &d_o[first * n_heads * d_v..]);
                let (o, lse) = (&o[first * n_heads * d_v..], &lse[first * n_heads..]);
                let (dq, dk, dv) = backward(d_o, [q, &k, &v, o, lse], whole.shape);
                // The sign of a zero may differ.
                [dq, dk, dv].map(|gradient| gradient.iter().map(|x| x + 0.0).collect::<Vec<f32>>())
            };
            let ([dq, dk, dv], [dq_last, dk_last, dv_last]) = (last(0), last(skipped));
            let what = format!("the last {q_len} of {}", whole.name());
            assert_same_bits(&what, &dq_last, &dq[skipped * n_heads * d_qk..], &[dq_last.len()]);
            assert_same_bits(&what, &dk_last, &dk, &[dk.len()]);
            assert_same_bits(&what, &dv_last, &dv, &[dv.len()]);
        }
    }
}

/// Each query alone, as in decoding, with only the keys that exist then.
#[test]
fn a_query_alone_has_the_bits_of_the_whole_pass() {
    for case in [
        Case::new(4, 4, 48, 32, 140, 140),
        Case::new(4, 2, 20, 13, 70, 70),
        Case::new(2, 1, 16, 16, 9, 100),
        Case::new(4, 4, 48, 32, 140, 140).in_bf16(),
        Case::new(4, 2, 21, 13, 70, 70).in_bf16(),
    ] {
        let (q, k, v) = (case.q(), case.k(), case.v());
        let AttentionShape { n_heads, n_kv_heads, d_qk, d_v, .. } = case.shape;
        for level in levels() {
            reseek_tensor::dispatch::with_level(level, || {
                let (o, lse) = case.forward(&q, &k, &v);
                for i in 0..case.q_len {
                    let kv_len = case.kv_len - case.q_len + i + 1;
                    let alone = Case { shape: case.shape, q_len: 1, kv_len };
                    let (o_i, lse_i) = alone.forward(
                        &q[i * n_heads * d_qk..][..n_heads * d_qk],
                        &k[..kv_len * n_kv_heads * d_qk],
                        &v[..kv_len * n_kv_heads * d_v],
                    );
                    let what = format!("query {i} of {} at {level}", case.name());
                    assert_same_bits(&what, &o_i, &o[i * n_heads * d_v..][..n_heads * d_v], &[n_heads, d_v]);
                    assert_same_bits(&what, &lse_i, &lse[i * n_heads..][..n_heads], &[n_heads]);
                }
            });
        }
    }
}

/// Chunks of any size, as in prefilling, give the bits of the whole, from a cache too.
#[test]
fn chunks_of_queries_have_the_bits_of_the_whole_pass() {
    check_chunks(Case::new(2, 1, 24, 40, 150, 150));
    check_chunks(Case::new(2, 1, 24, 40, 150, 150).in_bf16());
}

fn check_chunks(case: Case) {
    let (q, k, v) = (case.q(), case.k(), case.v());
    let (o, _) = case.forward(&q, &k, &v);
    for size in [1, 3, 8, 50, 64, 100] {
        let mut cache = AttentionCache::new(case.shape);
        for start in (0..150).step_by(size) {
            let end = (start + size).min(150);
            let chunk = Case { shape: case.shape, q_len: end - start, kv_len: end };
            let (o_chunk, lse) = chunk.forward(&q[start * 48..end * 48], &k[..end * 24], &v[..end * 40]);
            assert_same_bits(&chunk.name(), &o_chunk, &o[start * 80..end * 80], &chunk.o_shape());

            cache.push(&k[start * 24..end * 24], &v[start * 40..end * 40]);
            let (mut o_cached, mut lse_cached) = (vec![f32::NAN; o_chunk.len()], vec![f32::NAN; lse.len()]);
            attention_cached(&mut o_cached, &mut lse_cached, &q[start * 48..end * 48], &cache);
            assert_same_bits("o from the cache", &o_cached, &o_chunk, &chunk.o_shape());
            assert_same_bits("lse from the cache", &lse_cached, &lse, &[lse.len()]);
        }
    }
}

#[test]
fn a_truncated_cache_goes_on_as_if_it_had_never_been_longer() {
    for kept in [29, 30] {
        check_truncated(Case::new(2, 2, 12, 9, 1, 70), kept);
        check_truncated(Case::new(2, 2, 12, 9, 1, 70).in_bf16(), kept);
    }
}

fn check_truncated(case: Case, kept: usize) {
    let (q, k, v) = (case.q(), case.k(), case.v());
    let mut cache = AttentionCache::new(case.shape);
    assert!(cache.is_empty());
    cache.push(&k[..kept * 24], &v[..kept * 18]);
    cache.push(&vec![f32::NAN; 100 * 24], &vec![f32::NAN; 100 * 18]);
    cache.truncate(kept);
    cache.push(&k[kept * 24..], &v[kept * 18..]);
    assert_eq!(cache.len(), 70);
    let (mut o, mut lse) = (vec![f32::NAN; 18], vec![f32::NAN; 2]);
    attention_cached(&mut o, &mut lse, &q, &cache);
    let want = case.forward(&q, &k, &v);
    assert_same_bits("o", &o, &want.0, &[2, 9]);
    assert_same_bits("lse", &lse, &want.1, &[2]);
}

#[test]
fn what_lies_ahead_cannot_be_seen() {
    for first in [70, 71] {
        check_ahead(Case::new(1, 1, 32, 32, 100, 100), first);
        check_ahead(Case::new(1, 1, 32, 32, 100, 100).in_bf16(), first);
    }
}

fn check_ahead(case: Case, first: usize) {
    let (q, mut k, mut v) = (case.q(), case.k(), case.v());
    let (o, _) = case.forward(&q, &k, &v);
    for (i, nasty) in (first..100).zip([f32::NAN, f32::INFINITY, -f32::INFINITY, 1e38, -0.0].into_iter().cycle()) {
        k[i * 32..(i + 1) * 32].fill(nasty);
        v[i * 32..(i + 1) * 32].fill(nasty);
    }
    let (changed, _) = case.forward(&q, &k, &v);
    assert_same_bits("queries before the change", &changed[..first * 32], &o[..first * 32], &[first, 32]);
    assert!(changed[first * 32..(first + 1) * 32].iter().all(|x| x.is_nan()), "NaN is not lost");
}

#[test]
fn extreme_scores() {
    let case = Case::new(1, 1, 16, 16, 130, 130);
    let (q, k, v) = (case.q(), case.k(), case.v());
    // Scores of some ten thousands: the softmax picks the greatest, nothing overflows.
    let large: Vec<f32> = q.iter().map(|q| q * 1e4).collect();
    let (o, lse) = case.forward(&large, &k, &v);
    let (want_o, want_lse) = case.reference(&widen(&large), &widen(&k), &widen(&v));
    assert_close("o", &o, &narrow(&want_o), &case.o_shape(), 2e-2);
    assert_close("lse", &lse, &narrow(&want_lse), &[130, 1], 1e-6);
    // Scores of nothing: the mean of the values so far.
    let (o, lse) = case.forward(&vec![1e-30; q.len()], &k, &v);
    let (want_o, want_lse) = case.reference(&vec![0.0; q.len()], &widen(&k), &widen(&v));
    assert_close("o", &o, &narrow(&want_o), &case.o_shape(), 1e-6);
    assert_close("lse", &lse, &narrow(&want_lse), &[130, 1], 1e-6);
}

#[test]
fn random_sizes_agree_with_the_reference() {
    let mut stream = Stream::new(5, "sizes", 0, 0);
    for _ in 0..12 {
        let mut below = |most| 1 + stream.below(most);
        let (n_kv_heads, group, d_qk, d_v, len, more) =
            (below(3), below(3), below(70), below(70), below(140), below(90));
        let case = |kv_len| Case::new(n_kv_heads * group, n_kv_heads, d_qk, d_v, len, kv_len);
        case(len + more).check_forward(3e-6);
        case(len + more).in_bf16().check_forward(2e-2);
        case(len).check_backward(5e-6);
        case(len).in_bf16().check_backward(4e-2);
    }
}

#[test]
fn no_queries_are_no_work() {
    for case in [Case::new(2, 1, 5, 3, 0, 0), Case::new(2, 1, 5, 3, 0, 0).in_bf16()] {
        assert!(case.forward(&[], &[], &[]).0.is_empty());
        backward(&[], [&[]; 5], case.shape);
        let keys = Case { kv_len: 70, ..case };
        assert!(keys.forward(&[], &keys.k(), &keys.v()).0.is_empty());
    }
}

/// In bf16 subnormal values apart, which AVX-512 BF16 takes for 0.
#[test]
fn special_values_have_the_same_bits_at_every_level_that_fuses() {
    for case in [Case::new(2, 1, 19, 13, 90, 90), Case::new(2, 1, 19, 13, 90, 90).in_bf16()] {
        let special: Vec<f32> =
            SPECIAL.into_iter().filter(|x| case.shape.dtype == Dtype::F32 || x.abs() > 1e-30 || *x == 0.0).collect();
        for few in [&special[..], &[3e38, -1e30, -0.0], &[f32::NEG_INFINITY, 0.0]] {
            let of = |values: Vec<f32>, name| sprinkled(values.len(), name, few, 400);
            let (q, k, v, d_o) = (of(case.q(), "q"), of(case.k(), "k"), of(case.v(), "v"), case.d_o());
            check_bits_at_every_level(&case.name(), || {
                let (o, lse) = case.forward(&q, &k, &v);
                let (dq, dk, dv) = backward(&d_o, [&q, &k, &v, &o, &lse], case.shape);
                [o, lse, dq, dk, dv].concat()
            });
        }
    }
}

#[test]
fn gradients_do_not_depend_on_the_later_rows() {
    let (long, short) = (Case::new(1, 1, 48, 32, 150, 150), Case::new(1, 1, 48, 32, 100, 100));
    let (q, k, v, mut d_o) = (long.q(), long.k(), long.v(), long.d_o());
    d_o[100 * 32..].fill(0.0);
    let of_case = |case: &Case| {
        let (n_qk, n_v) = (case.q_len * 48, case.q_len * 32);
        let (o, lse) = case.forward(&q[..n_qk], &k[..n_qk], &v[..n_v]);
        backward(&d_o[..n_v], [&q[..n_qk], &k[..n_qk], &v[..n_v], &o, &lse], case.shape)
    };
    let ((dq, dk, dv), (dq_short, dk_short, dv_short)) = (of_case(&long), of_case(&short));
    assert_same_bits("dq", &dq[..4800], &dq_short, &[100, 48]);
    assert_same_bits("dk", &dk[..4800], &dk_short, &[100, 48]);
    assert_same_bits("dv", &dv[..3200], &dv_short, &[100, 32]);
}

#[test]
#[should_panic(expected = "v has 31 values")]
fn names_the_wrong_length() {
    let shape =
        AttentionShape { n_heads: 1, n_kv_heads: 1, d_qk: 8, d_v: 16, scale: 1.0, window: None, dtype: Dtype::F32 };
    attention_forward(&mut [0.0; 32], &mut [0.0; 2], &[0.0; 16], &[0.0; 16], &[0.0; 31], shape);
}

#[test]
#[should_panic(expected = "3 queries but only 2 keys")]
fn refuses_more_queries_than_keys() {
    let shape =
        AttentionShape { n_heads: 1, n_kv_heads: 1, d_qk: 1, d_v: 1, scale: 1.0, window: None, dtype: Dtype::F32 };
    attention_forward(&mut [0.0; 3], &mut [0.0; 3], &[0.0; 3], &[0.0; 2], &[0.0; 2], shape);
}

/// A clone shares its pages until one of both writes.
#[test]
fn clones_of_a_cache_go_on_apart() {
    for case in [Case::new(2, 1, 24, 40, 1, 150), Case::new(2, 1, 24, 40, 1, 150).in_bf16()] {
        let (k, v) = (case.k(), case.v());
        let push = |cache: &mut AttentionCache, rows: std::ops::Range<usize>| {
            cache.push(&k[rows.start * 24..rows.end * 24], &v[rows.start * 40..rows.end * 40]);
        };
        for shared in [1, 63, 64, 100, 128] {
            let mut first = AttentionCache::new(case.shape);
            push(&mut first, 0..shared);
            let mut second = first.clone();
            // Different continuations in turns: rows from the beginning again, and those that follow.
            let (mut first_alone, mut second_alone) =
                (AttentionCache::new(case.shape), AttentionCache::new(case.shape));
            push(&mut first_alone, 0..shared);
            push(&mut second_alone, 0..shared);
            for i in 0..10 {
                push(&mut first, i..i + 1);
                push(&mut first_alone, i..i + 1);
                push(&mut second, 140 + i..141 + i);
                push(&mut second_alone, 140 + i..141 + i);
            }
            for (cache, alone) in [(first, first_alone), (second, second_alone)] {
                let outputs = [cache, alone].map(|cache| {
                    let (mut o, mut lse) = (vec![f32::NAN; 80], vec![f32::NAN; 2]);
                    attention_cached(&mut o, &mut lse, &case.q(), &cache);
                    o
                });
                assert_same_bits(&format!("{shared} shared rows"), &outputs[0], &outputs[1], &[2, 40]);
            }
        }
    }
}
