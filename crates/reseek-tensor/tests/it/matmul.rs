//! Matrix products against the slow reference, and the bit rule.

use std::ops::Range;

use reseek_tensor::dispatch::{SimdLevel, with_level};
use reseek_tensor::dtype::{Dtype, bf16};
use reseek_tensor::linear::{Linear, linear_dgrad, linear_forward, linear_wgrad};
use reseek_tensor::matmul::{
    Accumulate, Packed, grouped_matmul, grouped_matmul_tn_parts, matmul, matmul_tn, matmul_tn_parts,
};
use reseek_tensor::numeric::{assert_close, assert_same_bits};
use reseek_tensor::operand::Operand;
use reseek_tensor::pool;
use reseek_tensor::random::Stream;

use crate::ops_support::{SPECIAL, sprinkled};

/// Sizes around every boundary of the tiles, panels and blocks, and primes.
const SIZES: [usize; 19] = [0, 1, 2, 3, 5, 7, 8, 11, 13, 15, 16, 17, 31, 33, 37, 64, 65, 101, 131];

fn values(len: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(2, name, len as u64, 0);
    (0..len).map(|_| stream.normal()).collect()
}

fn levels() -> impl Iterator<Item = SimdLevel> {
    SimdLevel::ALL.into_iter().filter(|level| level.is_supported())
}

/// a[m, k]·b[k, n] in f64.
fn reference(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    let element =
        |i: usize, j: usize| -> f64 { (0..k).map(|kk| f64::from(a[i * k + kk]) * f64::from(b[kk * n + j])).sum() };
    (0..m * n).map(|index| element(index / n, index % n) as f32).collect()
}

/// a[m, k]·b[k, n] by the bit rule: chains of `mul_add` from zero, in bf16 by pairs with the odd value first.
fn chains(a: &[f32], b: &[f32], m: usize, k: usize, n: usize, dtype: Dtype) -> Vec<f32> {
    let order: Vec<usize> = match dtype {
        Dtype::F32 => (0..k).collect(),
        Dtype::Bf16 => (0..k.next_multiple_of(2)).map(|kk| kk ^ 1).filter(|&kk| kk < k).collect(),
    };
    let element = |i: usize, j: usize| order.iter().fold(0.0, |sum, kk| a[i * k + kk].mul_add(b[kk * n + j], sum));
    (0..m * n).map(|index| element(index / n, index % n)).collect()
}

fn rounded(x: &[f32], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 => x.to_vec(),
        Dtype::Bf16 => x.iter().map(|&x| bf16::from_f32(x).to_f32()).collect(),
    }
}

fn sum(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..x.len()).map(|index| x[index % rows.max(1) * cols + index / rows.max(1)]).collect()
}

/// One random product, checked in all its forms at all levels in both formats.
fn check(m: usize, k: usize, n: usize) {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        check_dtype(m, k, n, dtype);
    }
}

fn check_dtype(m: usize, k: usize, n: usize, dtype: Dtype) {
    let (a, b, c) = (values(m * k, "a"), values(k * n, "b"), values(m * n, "c"));
    let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
    let (exact, fused) = {
        let (a, b) = (rounded(&a, dtype), rounded(&b, dtype));
        (reference(&a, &b, m, k, n), chains(&a, &b, m, k, n, dtype))
    };
    let (exact_added, fused_added) = (sum(&c, &exact), sum(&c, &fused));
    for level in levels() {
        let compare = |form: &str, got: &[f32], exact: &[f32], fused: &[f32]| {
            let what = format!("{form}, k {k}, {level}, {dtype}");
            assert_close(&what, got, exact, &[m, n], 1e-5);
            if level.is_fused() {
                assert_same_bits(&what, got, fused, &[m, n]);
            }
        };
        with_level(level, || {
            let packed = Packed::from_rows(&b, k, n, dtype);
            let mut got = vec![f32::NAN; m * n];
            matmul(&mut got, &a, &packed, Accumulate::Set);
            compare("set", &got, &exact, &fused);
            let mut got = vec![f32::NAN; m * n];
            matmul(&mut got, &a, &Packed::from_transposed(&bt, n, k, dtype), Accumulate::Set);
            compare("transposed", &got, &exact, &fused);
            let mut got = c.clone();
            matmul(&mut got, &a, &packed, Accumulate::Add);
            compare("add", &got, &exact_added, &fused_added);
            let mut got = c.clone();
            matmul_tn(&mut got, &at, &b, m, n, dtype);
            compare("tn", &got, &exact_added, &fused_added);
            // Operands that were rounded before have the bits of those that are rounded on the way.
            let mut got = vec![f32::NAN; m * n];
            matmul(&mut got, &Operand::of(&a, k, dtype), &packed, Accumulate::Set);
            compare("set, operand", &got, &exact, &fused);
            let (left, right) = (Operand::of(&at, m, dtype), Operand::of(&b, n, dtype));
            let mut got = c.clone();
            matmul_tn(&mut got, &left, &right, m, n, dtype);
            compare("tn, operands", &got, &exact_added, &fused_added);
            // Rows that the product gathers itself: all of them backwards, from among others.
            let backwards: Vec<u32> = (0..m as u32).rev().collect();
            let turned: Vec<f32> = backwards.iter().flat_map(|&i| a[i as usize * k..][..k].to_vec()).collect();
            let (values, mut got) = (Operand::of(&turned, k, dtype), vec![f32::NAN; m * n]);
            matmul(&mut got, &values.gathered(&backwards), &packed, Accumulate::Set);
            compare("set, gathered", &got, &exact, &fused);
            let backwards: Vec<u32> = (0..k as u32).rev().collect();
            let turned = |x: &[f32], width: usize| -> Vec<f32> {
                backwards.iter().flat_map(|&i| x[i as usize * width..][..width].to_vec()).collect()
            };
            let (at, b_turned) = (turned(&at, m), turned(&b, n));
            let (left, right) = (Operand::of(&at, m, dtype), Operand::of(&b_turned, n, dtype));
            let mut got = c.clone();
            matmul_tn(&mut got, &left.gathered(&backwards), &right.gathered(&backwards), m, n, dtype);
            compare("tn, gathered", &got, &exact_added, &fused_added);
            let at = turned(&at, m);
            let right = Operand::of(&b, n, dtype);
            let mut got = c.clone();
            // Two matrices as one product: this one, and that of the columns backwards.
            let mirrored = |row: &[f32]| [row, &row.iter().rev().copied().collect::<Vec<_>>()].concat();
            let both: Vec<f32> = at.chunks_exact(m.max(1)).flat_map(mirrored).collect();
            let mut rows_backwards = c.chunks_exact(n.max(1)).rev().flatten().copied().collect::<Vec<_>>();
            matmul_tn_parts([&mut got, &mut rows_backwards], &Operand::of(&both, 2 * m, dtype), &right, m, n, dtype);
            compare("tn, first part", &got, &exact_added, &fused_added);
            let got: Vec<f32> = rows_backwards.chunks_exact(n.max(1)).rev().flatten().copied().collect();
            compare("tn, second part", &got, &exact_added, &fused_added);
        });
    }
}

#[test]
fn small_products_of_all_sizes() {
    for m in SIZES {
        for n in SIZES {
            let mut stream = Stream::new(3, "k", m as u64, n as u64);
            check(m, SIZES[stream.below(SIZES.len())], n);
        }
    }
}

#[test]
fn products_of_many_blocks() {
    let shapes = [
        (111, 1100, 290),
        (13, 2049, 270),
        (100, 513, 48),
        (1, 1300, 600),
        (230, 257, 80),
        (3, 7001, 33),
        (1030, 260, 17),
        (700, 1100, 20),
        (20, 300, 1050),
    ];
    for (m, k, n) in shapes {
        check(m, k, n);
    }
}

#[test]
fn products_of_random_sizes() {
    let mut stream = Stream::new(5, "sizes", 0, 0);
    for _ in 0..40 {
        let [m, k, n] = [90, 700, 200].map(|most| stream.below(most));
        check(m, k, n);
    }
}

/// Subnormal values apart, which AVX-512 BF16 takes for 0.
#[test]
fn special_values_have_the_bits_of_the_chains() {
    for (m, k, n) in [(1, 33, 70), (7, 9, 37), (13, 64, 131), (50, 530, 17)] {
        for (level, dtype) in levels().flat_map(|level| [Dtype::F32, Dtype::Bf16].map(|dtype| (level, dtype))) {
            let special: Vec<f32> = SPECIAL
                .into_iter()
                .filter(|x| dtype == Dtype::F32 || x.abs() > 1e-30 || *x == 0.0 || x.is_nan())
                .collect();
            let (a, b) = (sprinkled(m * k, "a", &special, 3 * k), sprinkled(k * n, "b", &special, 5 * k));
            let want = chains(&rounded(&a, dtype), &rounded(&b, dtype), m, k, n, dtype);
            let with_zeros: Vec<f32> = want.iter().map(|x| 0.0 + x).collect();
            with_level(level, || {
                let mut got = vec![f32::NAN; m * n];
                matmul(&mut got, &a, &Packed::from_rows(&b, k, n, dtype), Accumulate::Set);
                let mut tn = vec![0.0; m * n];
                matmul_tn(&mut tn, &transpose(&a, m, k), &b, m, n, dtype);
                if level.is_fused() {
                    assert_same_bits(&format!("k {k}, {level}, {dtype}"), &got, &want, &[m, n]);
                    assert_same_bits(&format!("tn, k {k}, {level}, {dtype}"), &tn, &with_zeros, &[m, n]);
                }
            });
        }
    }
}

#[test]
fn a_row_alone_has_the_bits_of_a_row_among_many() {
    for level in levels() {
        with_level(level, || {
            let shapes = [(64, 192), (1024, 100), (37, 2048), (700, 17)];
            let formats = [Dtype::F32, Dtype::Bf16];
            for ((k, n), dtype) in shapes.into_iter().flat_map(|shape| formats.map(|dtype| (shape, dtype))) {
                let packed = Packed::from_rows(&values(k * n, "b"), k, n, dtype);
                let a = values(37 * k, "a");
                let mut all = vec![0.0; 37 * n];
                matmul(&mut all, &a, &packed, Accumulate::Set);
                for rows in [1, 2, 5, 13] {
                    let run = |range: Range<usize>| {
                        let mut c = vec![0.0; range.len() * n];
                        matmul(&mut c, &a[range.start * k..range.end * k], &packed, Accumulate::Set);
                        assert_same_bits("rows alone", &c, &all[range.start * n..range.end * n], &[range.len(), n]);
                    };
                    (0..=37 - rows).step_by(3).for_each(|first| run(first..first + rows));
                }
            }
        });
    }
}

#[test]
fn large_products_have_the_same_bits_on_the_pool() {
    let (m, k, n) = (300, 400, 500);
    let (a, b) = (values(m * k, "a"), values(k * n, "b"));
    let packed = Packed::from_rows(&b, k, n, Dtype::Bf16);
    let run = || {
        let mut tall = vec![0.0; m * n];
        matmul(&mut tall, &a, &packed, Accumulate::Set);
        let (wide_k, wide_n) = (1000, 4000);
        let wide = Packed::from_rows(&values(wide_k * wide_n, "wide"), wide_k, wide_n, Dtype::F32);
        let mut few_rows = values(10 * wide_n, "few");
        matmul(&mut few_rows, &values(10 * wide_k, "x"), &wide, Accumulate::Add);
        let mut gradient = values(m * n, "gradient");
        matmul_tn(&mut gradient, &transpose(&a, m, k), &b, m, n, Dtype::F32);
        [tall, few_rows, gradient]
    };
    let alone = pool::map_lanes(0..1_usize, |_| run()).remove(0);
    for threads in [1, 3] {
        pool::set_threads(threads);
        for (got, want) in run().iter().zip(&alone) {
            assert_same_bits(&format!("{threads} threads"), got, want, &[got.len()]);
        }
        // A single lane, for which the pool's other threads work.
        for (got, want) in pool::map_lanes(0..1_usize, |_| run()).remove(0).iter().zip(&alone) {
            assert_same_bits(&format!("a lane alone among {threads} threads"), got, want, &[got.len()]);
        }
    }
}

#[test]
fn groups_are_separate_products() {
    let (k, n) = (48, 70);
    for sizes in [vec![8, 0, 33, 1, 0, 64], vec![0], vec![0, 0, 0], vec![200, 5]] {
        let offsets: Vec<usize> = (0..=sizes.len()).map(|e| sizes[..e].iter().sum()).collect();
        let (rows, experts) = (offsets[sizes.len()], sizes.len());
        let (a, dy) = (values(rows * k, "a"), values(rows * n, "dy"));
        let weights: Vec<Packed> =
            (0..experts).map(|e| Packed::from_rows(&values(k * n, &format!("b{e}")), k, n, Dtype::Bf16)).collect();
        let mut got = values(rows * n, "c");
        let mut want = got.clone();
        grouped_matmul(&mut got, &a, &weights, &offsets, Accumulate::Add);
        let mut got_gradient = values(experts * k * n, "gradient");
        let mut want_gradient = got_gradient.clone();
        grouped_matmul_tn_parts([&mut got_gradient], &a, &dy, k, n, &offsets, Dtype::Bf16);
        for e in 0..experts {
            let group = offsets[e]..offsets[e + 1];
            let (a, dy) = (&a[group.start * k..group.end * k], &dy[group.start * n..group.end * n]);
            matmul(&mut want[group.start * n..group.end * n], a, &weights[e], Accumulate::Add);
            matmul_tn(&mut want_gradient[e * k * n..(e + 1) * k * n], a, dy, k, n, Dtype::Bf16);
        }
        assert_same_bits("groups", &got, &want, &[rows, n]);
        assert_same_bits("gradients of groups", &got_gradient, &want_gradient, &[experts, k, n]);
    }
}

#[test]
fn values_that_are_not_finite_stay_in_their_row_and_column() {
    let formats = [Dtype::F32, Dtype::Bf16];
    for (level, dtype) in levels().flat_map(|level| formats.map(|dtype| (level, dtype))) {
        with_level(level, || {
            let (m, k, n) = (29, 40, 83);
            let (mut a, mut b) = (values(m * k, "a"), values(k * n, "b"));
            a[3 * k + 7] = f32::NAN;
            a[20 * k] = f32::INFINITY;
            b[39 * n + 82] = f32::INFINITY;
            let mut c = vec![0.0; m * n];
            matmul(&mut c, &a, &Packed::from_rows(&b, k, n, dtype), Accumulate::Set);
            let mut tn = vec![0.0; m * n];
            matmul_tn(&mut tn, &transpose(&a, m, k), &b, m, n, dtype);
            for (index, (&x, &y)) in c.iter().zip(&tn).enumerate() {
                let (i, j) = (index / n, index % n);
                assert_eq!(
                    x.is_nan(),
                    i == 3 || (x.is_nan() && i == 20 && j == 82),
                    "{level} {dtype} [{i}, {j}] is {x}"
                );
                assert_eq!(x.is_finite(), i != 3 && i != 20 && j != 82, "{level} {dtype} [{i}, {j}] is {x}");
                assert!(
                    x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()),
                    "{level} {dtype} [{i}, {j}]: {x}, {y}"
                );
            }
            // NaN and 0 * inf are not skipped over, and the padding's zeros meet no infinity.
            let mut zero = vec![1.0; 3];
            matmul(&mut zero, &[f32::INFINITY], &Packed::from_rows(&[0.0, 1.0, -1.0], 1, 3, dtype), Accumulate::Set);
            assert!(zero[0].is_nan() && zero[1] == f32::INFINITY && zero[2] == f32::NEG_INFINITY, "{zero:?}");
        });
    }
}

#[test]
fn repacking_replaces_all_values() {
    let (out, in_) = (45, 70);
    let (old, new) = (values(out * in_, "old"), values(out * in_, "new"));
    let mut linear = Linear::pack(&old, out, in_, Dtype::F32);
    linear.repack(&new);
    let t = 21;
    let (x, dy) = (values(t * in_, "x"), values(t * out, "dy"));
    let (mut y, mut dx, mut dw) = (vec![0.0; t * out], vec![1.0; t * in_], vec![0.5; out * in_]);
    linear_forward(&mut y, &x, &linear);
    linear_dgrad(&mut dx, &dy, &linear, Accumulate::Add);
    linear_wgrad(&mut dw, &dy, &x, &linear);
    let new_t = transpose(&new, out, in_);
    assert_close("y", &y, &reference(&x, &new_t, t, in_, out), &[t, out], 1e-5);
    assert_close("dx", &dx, &sum(&vec![1.0; t * in_], &reference(&dy, &new, t, out, in_)), &[t, in_], 1e-5);
    let dy_t = transpose(&dy, t, out);
    assert_close("dw", &dw, &sum(&vec![0.5; out * in_], &reference(&dy_t, &x, out, t, in_)), &[out, in_], 1e-5);
}

#[test]
#[should_panic(expected = "matmul with B [4, 6]: a has 12 values, c has 12")]
fn a_wrong_shape_names_both() {
    matmul(&mut [0.0; 12], &[0.0; 12], &Packed::from_rows(&[0.0; 24], 4, 6, Dtype::F32), Accumulate::Set);
}

#[test]
#[should_panic(expected = "offsets [0, 5, 4] for 2 groups")]
fn falling_offsets_are_refused() {
    let weights = [Packed::from_rows(&[0.0; 6], 2, 3, Dtype::F32), Packed::from_rows(&[0.0; 6], 2, 3, Dtype::F32)];
    grouped_matmul(&mut [0.0; 12], &[0.0; 8], &weights, &[0, 5, 4], Accumulate::Set);
}
