//! Attention in a sliding window.

use reseek_tensor::attention::{AttentionCache, AttentionShape, attention_cached};
use reseek_tensor::dispatch::with_level;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::numeric::assert_same_bits;
use reseek_tensor::random::Stream;

use super::case::{Case, backward};
use crate::ops_support::{check_bits_at_every_level, levels};

/// Of one key, of parts of a block, a tile and both, of whole tiles, of all keys and of more.
const WINDOWS: [usize; 14] = [1, 2, 3, 7, 8, 9, 31, 63, 64, 65, 100, 128, 149, 150];

fn f32_and_bf16(case: impl Fn() -> Case) -> [Case; 2] {
    [case(), case().in_bf16()]
}

#[test]
fn forward_and_backward_agree_with_the_reference() {
    for window in WINDOWS {
        for (n_heads, n_kv_heads, d_qk, d_v, q_len, kv_len) in
            [(1, 1, 16, 16, 150, 150), (4, 2, 20, 13, 70, 131), (6, 2, 3, 5, 9, 72), (2, 1, 33, 17, 1, 200)]
        {
            let case = || Case::new(n_heads, n_kv_heads, d_qk, d_v, q_len, kv_len).in_window(window);
            case().check_forward(3e-6);
            case().check_backward(5e-6);
            case().in_bf16().check_forward(2e-2);
            case().in_bf16().check_backward(4e-2);
        }
    }
}

#[test]
fn random_sizes_agree_with_the_reference() {
    let mut stream = Stream::new(6, "windows", 0, 0);
    for _ in 0..12 {
        let mut below = |most| 1 + stream.below(most);
        let (n_kv_heads, group, d_qk, d_v, len, more) =
            (below(3), below(3), below(40), below(40), below(140), below(90));
        let window = below(len + more + 20);
        let case = || Case::new(n_kv_heads * group, n_kv_heads, d_qk, d_v, len, len + more).in_window(window);
        case().check_forward(3e-6);
        case().check_backward(5e-6);
        case().in_bf16().check_forward(2e-2);
        case().in_bf16().check_backward(4e-2);
    }
}

fn all_bits(case: &Case) -> Vec<f32> {
    let (q, k, v, d_o) = (case.q(), case.k(), case.v(), case.d_o());
    let (o, lse) = case.forward(&q, &k, &v);
    let (dq, dk, dv) = backward(&d_o, [&q, &k, &v, &o, &lse], case.shape);
    [o, lse, dq, dk, dv].concat()
}

#[test]
fn a_window_of_all_keys_is_none() {
    for (q_len, kv_len) in [(150, 150), (70, 131), (1, 64)] {
        for case in f32_and_bf16(|| Case::new(4, 2, 19, 13, q_len, kv_len)) {
            let want = all_bits(&case);
            for window in [kv_len, kv_len + 1, usize::MAX] {
                let windowed = Case { shape: AttentionShape { window: Some(window), ..case.shape }, ..case };
                assert_same_bits(&windowed.name(), &all_bits(&windowed), &want, &[want.len()]);
            }
        }
    }
}

#[test]
fn the_same_bits_at_every_level_that_fuses() {
    for window in [1, 5, 64, 77] {
        for case in f32_and_bf16(|| Case::new(4, 2, 19, 13, 130, 150).in_window(window)) {
            check_bits_at_every_level(&case.name(), || all_bits(&case));
        }
    }
}

/// Each query's output has the bits that it has over the keys of its window's tiles alone, whatever lies elsewhere.
#[test]
fn what_is_outside_of_the_window_cannot_be_seen() {
    for window in [1, 2, 7, 31, 64, 90] {
        for case in f32_and_bf16(|| Case::new(2, 1, 32, 32, 150, 150).in_window(window)) {
            let (q, k, v) = (case.q(), case.k(), case.v());
            let (o, lse) = case.forward(&q, &k, &v);
            for (first, nasty) in [(0, f32::NAN), (10, f32::INFINITY), (63, f32::NAN), (64, 1e38), (70, f32::NAN)] {
                let (mut k, mut v) = (k.clone(), v.clone());
                k[first * 32..(first + 1) * 32].fill(nasty);
                v[first * 32..(first + 1) * 32].fill(nasty);
                let (changed, changed_lse) = case.forward(&q, &k, &v);
                let what = format!("{nasty} in key {first}, {}", case.name());
                let beyond = (first + window).min(150);
                for rows in [0..first, beyond..150] {
                    let of = |x: &[f32]| x[rows.start * 64..rows.end * 64].to_vec();
                    assert_same_bits(&what, &of(&changed), &of(&o), &[rows.len(), 64]);
                    let of = |x: &[f32]| x[rows.start * 2..rows.end * 2].to_vec();
                    assert_same_bits(&what, &of(&changed_lse), &of(&lse), &[rows.len(), 2]);
                }
                let seers = &changed[first * 64..beyond * 64];
                assert!(nasty.is_finite() || seers.iter().all(|x| !x.is_finite()), "{what}: is not lost");
            }
        }
    }
}

/// Token by token, in chunks, and as continuations of one prefix, with pages let go on the way.
#[test]
fn a_cache_has_the_bits_of_the_whole_pass() {
    for window in [1, 2, 31, 64, 65, 130] {
        for case in f32_and_bf16(|| Case::new(2, 1, 24, 40, 300, 300).in_window(window)) {
            let (q, k, v) = (case.q(), case.k(), case.v());
            for level in levels() {
                with_level(level, || {
                    let (o, lse) = case.forward(&q, &k, &v);
                    for size in [1, 3, 50, 64, 200] {
                        let mut cache = AttentionCache::new(case.shape);
                        for start in (0..300).step_by(size) {
                            let rows = start..(start + size).min(300);
                            let what = format!("rows {rows:?} of {} at {level}", case.name());
                            cache.push(&k[start * 24..rows.end * 24], &v[start * 40..rows.end * 40]);
                            let [mut o_own, mut lse_own] = [80, 2].map(|width| vec![f32::NAN; rows.len() * width]);
                            attention_cached(&mut o_own, &mut lse_own, &q[start * 48..rows.end * 48], &cache);
                            assert_same_bits(&what, &o_own, &o[start * 80..rows.end * 80], &[rows.len(), 2, 40]);
                            assert_same_bits(&what, &lse_own, &lse[start * 2..rows.end * 2], &[rows.len(), 2]);
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn continuations_of_a_prefix_have_the_bits_of_their_whole() {
    for prefix in [1, 64, 150] {
        for case in f32_and_bf16(|| Case::new(2, 1, 24, 40, 200, 200).in_window(70)) {
            let (q, mut k, v) = (case.q(), case.k(), case.v());
            let mut cache = AttentionCache::new(case.shape);
            cache.push(&k[..prefix * 24], &v[..prefix * 40]);
            for turn in 0..3 {
                k[prefix * 24..].iter_mut().for_each(|k| *k += turn as f32);
                cache.truncate(prefix);
                cache.push(&k[prefix * 24..], &v[prefix * 40..]);
                let [mut o, mut lse] = [80, 2].map(|width| vec![f32::NAN; (200 - prefix) * width]);
                attention_cached(&mut o, &mut lse, &q[prefix * 48..], &cache);
                let want = case.forward(&q, &k, &v);
                assert_same_bits("o", &o, &want.0[prefix * 80..], &[200 - prefix, 2, 40]);
                assert_same_bits("lse", &lse, &want.1[prefix * 2..], &[200 - prefix, 2]);
            }
            // From the beginning again, as a slot that the next sequence takes.
            cache.truncate(0);
            cache.push(&k, &v);
            let (mut o, mut lse) = (vec![f32::NAN; 200 * 80], vec![f32::NAN; 400]);
            attention_cached(&mut o, &mut lse, &q, &cache);
            assert_same_bits("o again", &o, &case.forward(&q, &k, &v).0, &[200, 2, 40]);
        }
    }
}

#[test]
#[should_panic(expected = "a query sees the keys from 29 on, and in a window of Some(2) those before 64 are gone")]
fn a_cache_does_not_go_back_to_what_is_gone() {
    let mut cache = AttentionCache::new(Case::new(1, 1, 1, 1, 0, 0).in_window(2).shape);
    cache.push(&[1.0; 100], &[1.0; 100]);
    cache.push(&[1.0], &[1.0]);
    cache.truncate(30);
}

#[test]
#[should_panic(expected = "sizes must be positive")]
fn a_window_of_nothing_is_refused() {
    let shape = AttentionShape { window: Some(0), ..Case::new(1, 1, 1, 1, 0, 0).shape };
    assert_eq!(shape.dtype, Dtype::F32);
    AttentionCache::new(shape);
}
