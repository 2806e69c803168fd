//! Parts of heads, and what MLA does with them.

use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::fp8::rounded_blocks;
use reseek_tensor::heads::{Heads, copy_heads, matmul_by_head};
use reseek_tensor::matmul::{Accumulate, Packed, matmul};
use reseek_tensor::mla::{Absorbed, MlaHeads, mla_expand, mla_fold};
use reseek_tensor::numeric::assert_same_bits;
use reseek_tensor::random::Stream;

use crate::ops_support::{SPECIAL, normal, sprinkled};

const ROWS: [usize; 4] = [0, 1, 3, 18];

/// Heads of one value, of odd widths, of whole vectors.
fn sizes() -> Vec<MlaHeads> {
    let heads = |count, nope, rope, value| MlaHeads { count, nope, rope, value };
    vec![heads(1, 1, 2, 1), heads(3, 5, 4, 7), heads(2, 16, 16, 32), heads(4, 33, 6, 17)]
}

/// Value j of `head` in `row` of rows of heads of `width` values.
fn at(values: &[f32], heads: usize, width: usize, [row, head, j]: [usize; 3]) -> f32 {
    values[(row * heads + head) * width + j]
}

#[test]
fn expanding_puts_the_shared_key_beside_every_head() {
    for heads in sizes() {
        let MlaHeads { count, nope, rope, value } = heads;
        for n in ROWS {
            let kv = sprinkled(n * count * (nope + value), "kv", &SPECIAL, 5);
            let k_rope = sprinkled(n * rope, "k_rope", &SPECIAL, 5);
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for row in 0..n {
                for head in 0..count {
                    keys.extend((0..nope).map(|j| at(&kv, count, nope + value, [row, head, j])));
                    keys.extend(&k_rope[row * rope..(row + 1) * rope]);
                    values.extend((0..value).map(|j| at(&kv, count, nope + value, [row, head, nope + j])));
                }
            }
            let (mut got_keys, mut got_values) = (vec![7.0; keys.len()], vec![7.0; values.len()]);
            mla_expand(&mut got_keys, &mut got_values, &kv, &k_rope, heads);
            assert_same_bits("keys", &got_keys, &keys, &[n, count, nope + rope]);
            assert_same_bits("values", &got_values, &values, &[n, count, value]);
        }
    }
}

#[test]
fn folding_is_the_gradient_and_sums_heads_in_order() {
    for heads in sizes() {
        let MlaHeads { count, nope, rope, value } = heads;
        for n in ROWS {
            let dkeys = sprinkled(n * count * (nope + rope), "dkeys", &SPECIAL, 50);
            let dvalues = sprinkled(n * count * value, "dvalues", &SPECIAL, 50);
            let (mut dkv, mut dk_rope) = (Vec::new(), vec![0.0_f32; n * rope]);
            for row in 0..n {
                for head in 0..count {
                    dkv.extend((0..nope).map(|j| at(&dkeys, count, nope + rope, [row, head, j])));
                    dkv.extend((0..value).map(|j| at(&dvalues, count, value, [row, head, j])));
                    for j in 0..rope {
                        dk_rope[row * rope + j] += at(&dkeys, count, nope + rope, [row, head, nope + j]);
                    }
                }
            }
            let (mut got_dkv, mut got_dk_rope) = (vec![7.0; dkv.len()], vec![7.0; dk_rope.len()]);
            mla_fold(&mut got_dkv, &mut got_dk_rope, &dkeys, &dvalues, heads);
            assert_same_bits("dkv", &got_dkv, &dkv, &[n, count, nope + value]);
            assert_same_bits("dk_rope", &got_dk_rope, &dk_rope, &[n, rope]);
        }
    }
}

#[test]
#[should_panic(expected = "keys of 2 rows, values and kv of [2, 2], the rotated key of 3 values")]
fn names_a_rotated_key_of_other_rows() {
    let heads = MlaHeads { count: 1, nope: 1, rope: 2, value: 1 };
    mla_expand(&mut [0.0; 6], &mut [0.0; 2], &[0.0; 4], &[0.0; 3], heads);
}

#[test]
fn a_part_of_each_head_is_copied_and_the_rest_stays() {
    for n in ROWS {
        let (to, from) = (Heads::whole(3, 20).part(2, 17), Heads::whole(3, 18).part(1, 17));
        let (x, before) = (normal(n * from.row(), "x"), normal(n * to.row(), "y"));
        let mut want = before.clone();
        for row in 0..n {
            for head in 0..3 {
                for j in 0..17 {
                    want[(row * 3 + head) * 20 + 2 + j] = x[(row * 3 + head) * 18 + 1 + j];
                }
            }
        }
        let mut y = before;
        copy_heads(&mut y, to, &x, from);
        assert_same_bits("copied", &y, &want, &[n, 60]);
    }
}

#[test]
fn each_head_meets_its_own_matrix() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        for n in ROWS {
            let (to, from) = (Heads::whole(3, 9).part(1, 7), Heads::whole(3, 6).part(1, 5));
            let (x, before) = (normal(n * from.row(), "x"), normal(n * to.row(), "y"));
            let bs: Vec<Packed> =
                (0..3).map(|head| Packed::from_rows(&normal(35, &format!("b{head}")), 5, 7, dtype)).collect();
            let mut want = before.clone();
            for row in 0..n {
                for (head, b) in bs.iter().enumerate() {
                    let y = &mut want[(row * 3 + head) * 9 + 1..][..7];
                    matmul(y, &x[(row * 3 + head) * 6 + 1..][..5], b, Accumulate::Set);
                }
            }
            let mut y = before;
            matmul_by_head(&mut y, to, &x, from, &bs);
            assert_same_bits("products", &y, &want, &[n, 27]);
        }
    }
}

#[test]
#[should_panic(expected = "rows and heads must match")]
fn names_sides_of_different_rows() {
    copy_heads(&mut [0.0; 8], Heads::whole(2, 2), &[0.0; 4], Heads::whole(2, 2));
}

#[test]
fn absorbed_queries_and_values_are_products_with_each_heads_part() {
    let mut stream = Stream::new(6, "absorbed", 0, 0);
    for heads in sizes() {
        let MlaHeads { count, nope, rope, value } = heads;
        for (n, latent) in [(0, 16), (1, 5), (3, 130)] {
            let w: Vec<f32> = (0..count * (nope + value) * latent).map(|_| stream.normal()).collect();
            let (q, o) = (normal(n * count * (nope + rope), "q"), normal(n * count * latent, "o"));
            for compute in [Compute::F32, Compute::Bf16, Compute::Fp8] {
                let absorbed = Absorbed::pack(&w, heads, latent, compute);
                let mut queries = vec![f32::NAN; n * count * (latent + rope)];
                absorbed.queries(&mut queries, &q);
                let mut values = vec![f32::NAN; n * count * value];
                absorbed.values(&mut values, &o);
                // In fp8 the weight is what its blocks stand for.
                let w = if compute == Compute::Fp8 { rounded_blocks(&w, latent) } else { w.clone() };
                for (row, head) in (0..n).flat_map(|row| (0..count).map(move |head| (row, head))) {
                    let w = |j: usize, i: usize| w[(head * (nope + value) + j) * latent + i];
                    for i in 0..latent {
                        let term = |j: usize| at(&q, count, nope + rope, [row, head, j]) * w(j, i);
                        let got = at(&queries, count, latent + rope, [row, head, i]);
                        assert_sum("a query", got, (0..nope).map(term), compute);
                    }
                    for j in 0..rope {
                        let got = at(&queries, count, latent + rope, [row, head, latent + j]);
                        assert_eq!(got, at(&q, count, nope + rope, [row, head, nope + j]));
                    }
                    for j in 0..value {
                        let term = |i: usize| at(&o, count, latent, [row, head, i]) * w(nope + j, i);
                        let got = at(&values, count, value, [row, head, j]);
                        assert_sum("a value", got, (0..latent).map(term), compute);
                    }
                }
            }
        }
    }
}

/// `got` is the sum of `terms`, within the rounding of both factors of each.
#[track_caller]
fn assert_sum(what: &str, got: f32, terms: impl Iterator<Item = f32>, compute: Compute) {
    let (want, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + f64::from(x), size + f64::from(x.abs())));
    let tolerance = if compute == Compute::F32 { 1e-6 } else { 2.0 / 256.0 };
    assert!((f64::from(got) - want).abs() <= tolerance * size, "{what} in {compute}: {got} for {want}");
}
