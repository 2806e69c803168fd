//! `reseek bench fp8`: what V3's fp8 costs and keeps. Errors of the formats, of products, and of sums in few bits; speed beside bf16.

use std::time::Instant;

use reseek_tensor::compute::Compute;
use reseek_tensor::fp8::accumulate::Accumulator;
use reseek_tensor::fp8::{Format, TILE};
use reseek_tensor::matmul::{Accumulate, Packed, matmul, matmul_tn};
use reseek_tensor::random::Stream;
use serde_json::{Value, json};

use super::{RUNS, median};
use crate::error::Outcome;

/// Places of k of the sums in few bits: the V3 report's example (3.3.2).
const K: usize = 4096;

pub fn bench() -> Outcome<Value> {
    let products = [(2048, 256, 1024), (2048, 2048, 2048)].map(|(m, k, n)| product(m, k, n));
    let accumulation = [12, 13, 14, 15].map(accumulation);
    Ok(json!({"rounding": rounding(), "products": products, "accumulation": accumulation}))
}

fn normal(len: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(1, name, 0, 0);
    (0..len).map(|_| stream.normal()).collect()
}

/// Median relative error of 256 rows of 1024 normal values, and of the same with one channel in 512 ten thousand times as great, with a
/// scale for each tile of 128 or one for all. E4M3's normal values span 2¹⁵, so a tensor's milder outliers cost next to nothing.
fn rounding() -> Value {
    let plain = normal(256 * 1024, "rows");
    let mut outliers = plain.clone();
    outliers.iter_mut().skip(5).step_by(512).for_each(|x| *x *= 1e4);
    let mut rows = Vec::new();
    for (what, x) in [("normal", &plain), ("with outliers", &outliers)] {
        for (name, format) in [("e4m3", Format::E4M3), ("e5m2", Format::E5M2)] {
            for (scales, tile) in [("tiles", TILE), ("tensor", x.len())] {
                let error = rounding_error(format, tile, x);
                rows.push(json!({"values": what, "format": name, "scales": scales, "median_error": error}));
            }
        }
    }
    rows.into()
}

/// The median over values of |rounded − x| / |x|.
fn rounding_error(format: Format, tile: usize, x: &[f32]) -> f64 {
    let error = |x: &[f32]| {
        let mut q = x.to_vec();
        let scale = format.quantise(&mut q);
        let errors = q.into_iter().zip(x.to_vec()).map(move |(q, x)| f64::from((q * scale - x) / x).abs());
        errors.collect::<Vec<f64>>()
    };
    median(x.chunks(tile).flat_map(error))
}

/// Rates of forward and weight-gradient products in bf16 and fp8, measured in turn, and the error against f32.
fn product(m: usize, k: usize, n: usize) -> Value {
    let (a, b) = (normal(m * k, "a"), normal(k * n, "b"));
    let dy = normal(m * n, "dy");
    let packed = [Compute::F32, Compute::Bf16, Compute::Fp8].map(|compute| Packed::from_rows(&b, k, n, compute));
    let mut c = vec![0.0; m * n];
    let exact = of(&mut c, |c| matmul(c, &a, &packed[0], Accumulate::Set));
    let mut gradient = vec![0.0; k * n];
    let exact_gradient = of(&mut gradient, |c| matmul_tn(c, &a, &dy, k, n, Compute::F32));
    let mut out = json!({"shape": format!("{m}x{k}x{n}")});
    let mut rates = Vec::new();
    for packed in &packed[1..] {
        let compute = packed.compute();
        let error = relative(&of(&mut c, |c| matmul(c, &a, packed, Accumulate::Set)), &exact);
        let gradient_error = relative(&of(&mut gradient, |c| matmul_tn(c, &a, &dy, k, n, compute)), &exact_gradient);
        out[format!("{compute}_error")] = json!(error);
        out[format!("{compute}_gradient_error")] = json!(gradient_error);
    }
    for _ in 0..RUNS {
        rates.push(
            packed[1..]
                .iter()
                .map(|packed| {
                    let forward = rate(m * k * n, || matmul(&mut c, &a, packed, Accumulate::Set));
                    let backward = rate(m * k * n, || matmul_tn(&mut gradient, &a, &dy, k, n, packed.compute()));
                    [forward, backward]
                })
                .collect::<Vec<_>>(),
        );
    }
    for (at, what) in ["forward", "weight_gradient"].into_iter().enumerate() {
        for (i, packed) in packed[1..].iter().enumerate() {
            out[format!("{}_{what}_gflops", packed.compute())] = json!(median(rates.iter().map(|run| run[i][at])));
        }
        out[format!("{what}_fp8_over_bf16")] = json!(median(rates.iter().map(|run| run[1][at] / run[0][at])));
    }
    out
}

/// A copy of what `f` writes into zeros.
fn of(c: &mut [f32], f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    c.fill(0.0);
    f(c);
    c.to_vec()
}

/// |x − y| / |y| of whole matrices.
fn relative(x: &[f32], y: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let off: f64 = x.iter().zip(y).map(|(x, y)| square(x - y)).sum();
    (off / y.iter().map(|&y| square(y)).sum::<f64>()).sqrt()
}

/// GFLOP/s of a product of `multiplications`.
fn rate(multiplications: usize, mut f: impl FnMut()) -> f64 {
    let repeat = (4_000_000_000 / multiplications).clamp(1, 2000);
    let start = Instant::now();
    (0..repeat).for_each(|_| f());
    2.0 * (repeat * multiplications) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Mean and greatest relative error of 64 sums over [`K`] products of values that are uniform from 0 to 1, rounded to E4M3.
fn accumulation(fraction_bits: i32) -> Value {
    let mut stream = Stream::new(1, "accumulation", 0, 0);
    let mut values = || {
        let mut x: Vec<f32> = (0..K).map(|_| stream.uniform() as f32).collect();
        Format::E4M3.quantise(&mut x);
        x
    };
    let pairs: Vec<_> = (0..64).map(|_| (values(), values())).collect();
    let errors = |promote_every: Option<usize>| {
        let accumulator = Accumulator { fraction_bits, promote_every };
        let errors: Vec<f64> = pairs
            .iter()
            .map(|(a, b)| {
                let exact: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                (f64::from(accumulator.dot(a, b)) / exact - 1.0).abs()
            })
            .collect();
        json!({"mean": errors.iter().sum::<f64>() / errors.len() as f64, "max": errors.into_iter().fold(0.0, f64::max)})
    };
    json!({"fraction_bits": fraction_bits, "k": K, "unpromoted": errors(None), "promoted_every_128": errors(Some(TILE))})
}
