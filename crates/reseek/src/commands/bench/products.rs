//! Matrix products alone.

use std::time::Instant;

use reseek_store::peak_memory_bytes;
use reseek_tensor::compute::Compute;
use reseek_tensor::matmul::{Accumulate, Packed, matmul};
use reseek_tensor::peak::fma_peak_gflops_of_pool;
use reseek_tensor::random::Stream;
use serde_json::{Value, json};

use super::{RUNS, Setting, median};
use crate::error::Outcome;

/// Rows, k and columns of products of the small models and of SmolLM2-135M, and one large one.
const SHAPES: [(usize, usize, usize); 9] = [
    (2048, 256, 1024),
    (2048, 256, 256),
    (2048, 1024, 256),
    (2048, 576, 1536),
    (512, 64, 2048),
    (64, 256, 1024),
    (8, 256, 1024),
    (1, 576, 1536),
    (2048, 2048, 2048),
];

/// Products with the right side packed. A row counts as a token; the share of the peak is that of the last, largest shape.
pub fn products(&Setting { dtype, .. }: &Setting) -> Outcome<Value> {
    let peak = fma_peak_gflops_of_pool(200, dtype);
    let mut out = json!({"peak_gflops": peak});
    let (mut seconds_of_all, mut rows, mut logs) = (0.0, 0, 0.0);
    for (m, k, n) in SHAPES {
        let seconds = time(m, k, n, dtype);
        let gflops = 2.0 * (m * k * n) as f64 / seconds / 1e9;
        out[format!("{m}x{k}x{n}_gflops")] = json!((gflops * 10.0).round() / 10.0);
        out["share_of_peak"] = json!(gflops / peak);
        seconds_of_all += seconds;
        rows += m;
        logs += gflops.ln() / SHAPES.len() as f64;
    }
    out["gflops"] = json!(logs.exp());
    out["step_ms"] = json!(1e3 * seconds_of_all);
    out["tokens_per_s"] = json!((rows as f64 / seconds_of_all).round());
    out["rss_mib"] = json!(peak_memory_bytes() >> 20);
    Ok(out)
}

/// The median time of one product after a run that warms up, in seconds.
fn time(m: usize, k: usize, n: usize, dtype: Compute) -> f64 {
    let mut stream = Stream::new(1, "bench", 0, 0);
    let mut fill = |len: usize| (0..len).map(|_| stream.normal()).collect::<Vec<f32>>();
    let (a, b, mut c) = (fill(m * k), Packed::from_rows(&fill(k * n), k, n, dtype), vec![0.0; m * n]);
    let repeat = (200_000_000 / (m * k * n)).clamp(1, 2000);
    let mut run = || {
        let start = Instant::now();
        (0..repeat).for_each(|_| matmul(&mut c, &a, &b, Accumulate::Set));
        start.elapsed().as_secs_f64() / repeat as f64
    };
    run();
    median((0..RUNS).map(|_| run()))
}
