//! fp8 against torch, against its definition, and against itself in other shapes, threads and instruction sets.

use reseek_tensor::compute::Compute;
use reseek_tensor::dispatch::{SimdLevel, with_level};
use reseek_tensor::fp8::accumulate::Accumulator;
use reseek_tensor::fp8::{Format, TILE, decode_e4m3, rounded_blocks};
use reseek_tensor::linear::{Linear, linear_dgrad, linear_forward, linear_wgrad};
use reseek_tensor::matmul::{Accumulate, Packed, grouped_matmul, grouped_matmul_tn_parts, matmul, matmul_tn};
use reseek_tensor::numeric::{assert_close, assert_same_bits};
use reseek_tensor::pool;
use reseek_tensor::random::Stream;

/// Normal values, every third row of 64 a thousand times smaller or greater, so that scales matter.
fn values(len: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(2, name, len as u64, 0);
    let loudness = |i: usize| [1.0, 1e-3, 1e3][i / 64 % 3];
    (0..len).map(|i| stream.normal() * loudness(i)).collect()
}

fn levels() -> impl Iterator<Item = SimdLevel> {
    SimdLevel::ALL.into_iter().filter(|level| level.is_supported())
}

fn hex(text: &str) -> u32 {
    u32::from_str_radix(text, 16).expect("hexadecimal digits")
}

/// Rounded values with the scale of each: what they stand for is the product of the two.
struct Rounded {
    q: Vec<f32>,
    scales: Vec<f32>,
}

/// `x: [rows, columns]` in tiles of `tile_rows` × `tile_columns`.
fn rounded(x: &[f32], columns: usize, tile_rows: usize, tile_columns: usize) -> Rounded {
    let (mut q, mut scales) = (x.to_vec(), vec![0.0; x.len()]);
    let tile_of = |i: usize| (i / columns / tile_rows, i % columns / tile_columns);
    let mut tiles: Vec<_> = (0..x.len()).map(tile_of).collect();
    tiles.sort();
    tiles.dedup();
    for tile in tiles {
        let places: Vec<usize> = (0..x.len()).filter(|&i| tile_of(i) == tile).collect();
        let mut values: Vec<f32> = places.iter().map(|&i| x[i]).collect();
        let scale = Format::E4M3.quantise(&mut values);
        for (&i, &value) in places.iter().zip(&values) {
            (q[i], scales[i]) = (value, scale);
        }
    }
    Rounded { q, scales }
}

/// a[m, k]·b[k, n] by the bit rule: in each tile of k a chain as in bf16, the odd value of a pair first; then promotion.
fn promoted(a: &Rounded, b: &Rounded, m: usize, k: usize, n: usize) -> Vec<f32> {
    let element = |i: usize, j: usize| {
        (0..k).step_by(TILE).fold(0.0_f32, |sum, first| {
            let end = k.min(first + TILE);
            let order = (first..end.next_multiple_of(2)).map(|kk| kk ^ 1).filter(|&kk| kk < end);
            let chain = order.fold(0.0_f32, |chain, kk| a.q[i * k + kk].mul_add(b.q[kk * n + j], chain));
            chain.mul_add(b.scales[first * n + j] * a.scales[i * k + first], sum)
        })
    };
    (0..m * n).map(|index| element(index / n, index % n)).collect()
}

fn transpose(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..x.len()).map(|index| x[index % rows * columns + index / rows]).collect()
}

fn sum(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

#[test]
fn rounding_is_that_of_torch() {
    let lines = include_str!("../fixtures/fp8/values.txt").lines();
    for line in lines {
        let [x, code, e5m2] = std::array::from_fn(|i| hex(line.split(' ').nth(i).expect("three words")));
        let x = f32::from_bits(x);
        let value = decode_e4m3(code as u8);
        if value.is_nan() {
            assert!(x.is_nan() && decode_e4m3(encode_e4m3(x)).is_nan() && Format::E4M3.round(x).is_nan());
            continue;
        }
        assert_eq!(encode_e4m3(x), code as u8, "{x:e}");
        assert_eq!(Format::E4M3.round(x), value, "{x:e}");
        assert_eq!(Format::E5M2.round(x), f32::from_bits(e5m2), "{x:e} in E5M2");
    }
    assert_eq!((0..=255).filter(|&code| decode_e4m3(code).is_nan()).collect::<Vec<u8>>(), [0x7f, 0xff]);
    for code in (0..=255).filter(|&code| !decode_e4m3(code).is_nan()) {
        assert_eq!(encode_e4m3(decode_e4m3(code)), code);
    }
    assert_eq!([0x01, 0x08, 0x38, 0x7e].map(decode_e4m3), [2.0_f32.powi(-9), 2.0_f32.powi(-6), 1.0, 448.0]);
}

#[test]
fn tiles_are_those_of_deepgemm() {
    for tile in include_str!("../fixtures/fp8/tiles.txt").split("scale ").skip(1) {
        let mut lines = tile.lines();
        let scale = hex(lines.next().expect("a scale"));
        let words: Vec<(f32, u8)> = lines
            .map(|line| line.split_once(' ').expect("two words"))
            .map(|(x, code)| (f32::from_bits(hex(x)), hex(code) as u8))
            .collect();
        let mut q: Vec<f32> = words.iter().map(|&(x, _)| x).collect();
        assert_eq!(Format::E4M3.quantise(&mut q).to_bits(), scale);
        assert_eq!(
            q.iter().map(|&q| encode_e4m3(q)).collect::<Vec<_>>(),
            words.iter().map(|w| w.1).collect::<Vec<_>>()
        );
    }
}

/// One random product in all its forms at all levels.
fn check(m: usize, k: usize, n: usize) {
    let (a, b, c) = (values(m * k, "a"), values(k * n, "b"), values(m * n, "c"));
    let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
    let of_a = rounded(&a, k, 1, TILE);
    let want = promoted(&of_a, &rounded(&b, n, TILE, TILE), m, k, n);
    let want_tn = promoted(&of_a, &rounded(&b, n, TILE, 1), m, k, n);
    for level in levels() {
        let compare = |form: &str, got: &[f32], want: &[f32]| {
            let what = format!("{form}, k {k}, {level}");
            if level.is_fused() {
                assert_same_bits(&what, got, want, &[m, n]);
            } else {
                assert_close(&what, got, want, &[m, n], 1e-5);
            }
        };
        with_level(level, || {
            let packed = Packed::from_rows(&b, k, n, Compute::Fp8);
            let mut got = vec![f32::NAN; m * n];
            matmul(&mut got, &a, &packed, Accumulate::Set);
            compare("set", &got, &want);
            let mut got = vec![f32::NAN; m * n];
            matmul(&mut got, &a, &Packed::from_transposed(&bt, n, k, Compute::Fp8), Accumulate::Set);
            compare("transposed", &got, &want);
            let mut got = c.clone();
            matmul(&mut got, &a, &packed, Accumulate::Add);
            compare("add", &got, &sum(&c, &want));
            let mut got = c.clone();
            matmul_tn(&mut got, &at, &b, m, n, Compute::Fp8);
            compare("tn", &got, &sum(&c, &want_tn));
        });
    }
}

#[test]
fn products_are_those_of_the_definition() {
    let shapes = [(1, 1, 1), (1, 128, 128), (2, 127, 16), (3, 130, 257), (13, 300, 70), (12, 64, 32), (25, 129, 33)];
    let long = [(7, 1025, 40), (5, 3000, 17), (40, 513, 100), (131, 65, 48), (1, 200, 600)];
    for (m, k, n) in shapes.into_iter().chain(long) {
        check(m, k, n);
    }
    check(1030, 3, 1030);
}

#[test]
fn nothing_times_nothing() {
    let mut c = vec![1.0; 6];
    matmul(&mut c, &[], &Packed::from_rows(&[], 0, 3, Compute::Fp8), Accumulate::Set);
    assert_eq!(c, [0.0; 6]);
    matmul(&mut [], &[], &Packed::from_rows(&[0.0; 6], 2, 3, Compute::Fp8), Accumulate::Set);
    matmul(&mut [], &[1.0; 4], &Packed::from_rows(&[], 2, 0, Compute::Fp8), Accumulate::Set);
    matmul_tn(&mut c, &[], &[], 2, 3, Compute::Fp8);
    assert_eq!(c, [0.0; 6]);
}

#[test]
fn rows_threads_and_groups_change_no_bit() {
    let (m, k, n) = (300, 400, 500);
    let (a, dy) = (values(m * k, "a"), values(m * n, "dy"));
    let packed = Packed::from_rows(&values(k * n, "b"), k, n, Compute::Fp8);
    let wide = Packed::from_rows(&values(1000 * 4000, "wide"), 1000, 4000, Compute::Fp8);
    let run = || {
        let mut c = vec![0.0; m * n];
        matmul(&mut c, &a, &packed, Accumulate::Set);
        let mut few = vec![0.0; 5 * n];
        matmul(&mut few, &a[7 * k..12 * k], &packed, Accumulate::Set);
        assert_same_bits("rows alone", &few, &c[7 * n..12 * n], &[5, n]);
        let mut gradient = vec![0.0; k * n];
        matmul_tn(&mut gradient, &a, &dy, k, n, Compute::Fp8);
        let mut of_wide = values(10 * wide.n(), "few");
        matmul(&mut of_wide, &a[..10 * wide.k()], &wide, Accumulate::Add);
        [c, gradient, of_wide]
    };
    let alone = pool::map_lanes(0..1_usize, |_| run()).remove(0);
    for threads in [1, 3] {
        pool::set_threads(threads);
        for (got, want) in run().iter().zip(&alone) {
            assert_same_bits(&format!("{threads} threads"), got, want, &[got.len()]);
        }
    }

    // Tiles of a group's gradient begin at its own first row.
    let offsets = [0, 0, 33, 33, 170, 300];
    let experts = vec![packed; 5];
    let mut got = vec![0.0; m * n];
    grouped_matmul(&mut got, &a, &experts, &offsets, Accumulate::Set);
    assert_same_bits("groups", &got, &alone[0], &[m, n]);
    let mut got = vec![0.0; 5 * k * n];
    grouped_matmul_tn_parts([&mut got], &a, &dy, k, n, &offsets, Compute::Fp8);
    for (e, rows) in offsets.windows(2).enumerate() {
        let mut want = vec![0.0; k * n];
        matmul_tn(&mut want, &a[rows[0] * k..rows[1] * k], &dy[rows[0] * n..rows[1] * n], k, n, Compute::Fp8);
        assert_same_bits("a group's gradient", &got[e * k * n..(e + 1) * k * n], &want, &[k, n]);
    }
}

#[test]
fn what_is_not_finite_shows_where_it_belongs_and_nowhere_else() {
    let (m, k, n) = (6, 300, 300);
    let mut a = values(m * k, "a");
    a[k + 5] = f32::NAN;
    a[2 * k + 290] = f32::NEG_INFINITY;
    a[3 * k..4 * k].fill(0.0);
    a[4 * k..5 * k].iter_mut().for_each(|x| *x = 1e-40 * x.signum());
    a[5 * k..].iter_mut().for_each(|x| *x = 3e38 * x.signum());
    let mut b = vec![1e-3; k * n];
    b[130 * n + 140] = f32::INFINITY;
    let at = transpose(&a, m, k);
    for level in levels() {
        with_level(level, || {
            let mut c = vec![0.0; m * n];
            matmul(&mut c, &a, &Packed::from_rows(&b, k, n, Compute::Fp8), Accumulate::Set);
            let mut tn = vec![0.0; m * n];
            matmul_tn(&mut tn, &at, &b, m, n, Compute::Fp8);
            for (index, (&x, &y)) in c.iter().zip(&tn).enumerate() {
                let (i, j) = (index / n, index % n);
                let of_row = i == 1 || i == 2;
                assert_eq!(x.is_nan(), of_row || (128..256).contains(&j), "{level} [{i}, {j}] is {x}");
                assert_eq!(y.is_nan(), of_row || j == 140, "{level} tn [{i}, {j}] is {y}");
                assert!(x.is_nan() || x.is_finite(), "{level} [{i}, {j}] is {x}");
                if i == 3 || i == 4 {
                    assert!(x.is_nan() || x == 0.0, "{level} [{i}, {j}] is {x}");
                }
            }
        });
    }
}

#[test]
fn a_layer_multiplies_with_the_same_blocks_both_ways() {
    let (t, out, in_) = (9, 150, 270);
    let w = values(out * in_, "w");
    let (x, dy) = (values(t * in_, "x"), values(t * out, "dy"));
    let mut layer = Linear::pack(&values(out * in_, "old"), out, in_, Compute::Fp8);
    layer.repack(&w);
    assert_eq!(layer.compute(), Compute::Fp8);

    let (mut y, mut dx, mut dw) = (vec![0.0; t * out], vec![0.0; t * in_], vec![0.0; out * in_]);
    linear_forward(&mut y, &x, &layer);
    linear_dgrad(&mut dx, &dy, &layer, Accumulate::Set);
    linear_wgrad(&mut dw, &dy, &x, &layer);

    // What the rounded values stand for, multiplied in f32.
    let stands_for = |r: Rounded| r.q.iter().zip(&r.scales).map(|(q, s)| q * s).collect::<Vec<f32>>();
    let near_w = stands_for(rounded(&w, in_, TILE, TILE));
    assert_eq!(rounded_blocks(&w, in_), near_w);
    let exact = Linear::pack(&near_w, out, in_, Compute::F32);
    let mut want = vec![0.0; t * out];
    linear_forward(&mut want, &stands_for(rounded(&x, in_, 1, TILE)), &exact);
    assert_close("y", &y, &want, &[t, out], 1e-5);
    let mut want = vec![0.0; t * in_];
    linear_dgrad(&mut want, &stands_for(rounded(&dy, out, 1, TILE)), &exact, Accumulate::Set);
    assert_close("dx", &dx, &want, &[t, in_], 1e-5);
    let mut want = vec![0.0; out * in_];
    let (dy, x) = (stands_for(rounded(&dy, out, TILE, 1)), stands_for(rounded(&x, in_, TILE, 1)));
    linear_wgrad(&mut want, &dy, &x, &exact);
    assert_close("dw", &dw, &want, &[out, in_], 1e-5);
}

/// Mean relative error of sums over 4096 products of values uniform in 0 to 1, rounded to E4M3.
fn accumulation_error(fraction_bits: i32, promote_every: Option<usize>) -> f64 {
    let mut stream = Stream::new(1, "accumulation", 0, 0);
    let mut values = || {
        let mut x: Vec<f32> = (0..4096).map(|_| stream.uniform() as f32).collect();
        Format::E4M3.quantise(&mut x);
        x
    };
    let errors = (0..16).map(|_| {
        let (a, b) = (values(), values());
        let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        (f64::from(Accumulator { fraction_bits, promote_every }.dot(&a, &b)) / exact - 1.0).abs()
    });
    errors.sum::<f64>() / 16.0
}

#[test]
fn few_bits_lose_and_promotion_cures() {
    // Emulated independently before: 7.8, 3.7, 1.6 % and promoted 0.06, 0.02, 0.007 %.
    for (bits, want, want_promoted) in [(13, 7.8e-2, 6e-4), (14, 3.7e-2, 2e-4), (15, 1.6e-2, 7e-5)] {
        let (got, got_promoted) = (accumulation_error(bits, None), accumulation_error(bits, Some(TILE)));
        println!("{bits} bits: {:.3} %, promoted {:.4} %", 100.0 * got, 100.0 * got_promoted);
        assert!((0.75..1.33).contains(&(got / want)), "{bits} bits: {got:e}");
        assert!((0.75..1.33).contains(&(got_promoted / want_promoted)), "{bits} bits promoted: {got_promoted:e}");
    }
    assert!(accumulation_error(40, None) < 1e-7);
    assert_eq!(accumulation_error(14, Some(4096)), accumulation_error(14, None));
}

#[test]
fn sums_in_few_bits_by_hand() {
    // 1 + 31·2⁻¹⁵: each small product lies below a unit of 14 bits beside 1, and within one of 15.
    let mut a = [2.0_f32.powi(-8); 32];
    let mut b = [2.0_f32.powi(-7); 32];
    (a[0], b[0]) = (1.0, 1.0);
    let dot = |fraction_bits| Accumulator { fraction_bits, promote_every: None }.dot(&a, &b);
    assert_eq!(dot(14), 1.0);
    assert_eq!(dot(15), 1.0 + 31.0 * 2.0_f32.powi(-15));
    assert_eq!(Accumulator { fraction_bits: 14, promote_every: Some(TILE) }.dot(&[], &[]), 0.0);
}

/// The code of [`Format::round`] in E4M3: the reverse of [`decode_e4m3`].
fn encode_e4m3(x: f32) -> u8 {
    let sign = u8::from(x.is_sign_negative()) << 7;
    if x.is_nan() {
        return sign | 0x7f;
    }
    let magnitude = Format::E4M3.round(x).abs();
    // Codes of magnitudes rise with their values.
    let mut codes = 0..0x7f;
    sign | codes.rfind(|&code| decode_e4m3(code) <= magnitude).expect("code 0 is 0")
}
