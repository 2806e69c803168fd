//! Products with quantised weights alone: of each kind of block, at Qwen2.5-0.5B's shapes.

use std::convert::Infallible;
use std::time::Instant;

use reseek_store::{BlockKind, peak_memory_bytes};
use reseek_tensor::linear::{Linear, linear_forward};
use reseek_tensor::quantised::{BLOCK, Block, Quantised, Scales, f16};
use reseek_tensor::random::Stream;
use serde_json::{Value, json};

use super::{RUNS, Setting, median};
use crate::error::Outcome;
use crate::opened::form_of;

/// k and columns: up, down and head. Kinds in blocks of 256, which 896 is not, have 1024 and 768.
const SHAPES: [(usize, usize); 3] = [(896, 4864), (4864, 896), (896, 151_936)];
/// Rows of x: a decoded token, a few and many sequences, a prompt.
const ROWS: [usize; 4] = [1, 8, 32, 256];
/// Those of SmolLM2-135M's and Qwen2.5-0.5B's files.
const KINDS: [BlockKind; 5] = [BlockKind::Q4_1, BlockKind::Q5_0, BlockKind::Q8_0, BlockKind::Q4K, BlockKind::Q6K];

/// For each kind, shape and number of rows the gigabytes of weights and the gigaflops a second.
pub fn products(_: &Setting) -> Outcome<Value> {
    let mut out = json!({});
    for kind in KINDS {
        for (k, n) in SHAPES {
            let k = k.next_multiple_of(kind.values_per_block());
            let w = random_quantised(kind, n, k);
            let bytes = w.bytes() as f64;
            let w = Linear::quantised(w);
            let of_rows = ROWS.map(|rows| {
                let seconds = time(&w, rows);
                let round = |x: f64| (10.0 * x).round() / 10.0;
                json!([round(bytes / seconds / 1e9), round(2.0 * (rows * k * n) as f64 / seconds / 1e9)])
            });
            out[format!("{kind} {k}->{n}")] = json!(of_rows);
        }
    }
    out["of"] = json!(format!("[GB/s, GFLOP/s] for {ROWS:?} rows"));
    out["rss_mib"] = json!(peak_memory_bytes() >> 20);
    Ok(out)
}

/// The median time of one product after a run that warms up, in seconds.
fn time(w: &Linear, rows: usize) -> f64 {
    let mut stream = Stream::new(1, "bench", 0, 0);
    let (k, n) = (w.in_features(), w.out_features());
    let x: Vec<f32> = (0..rows * k).map(|_| stream.normal()).collect();
    let mut y = vec![0.0; rows * n];
    let repeat = (200_000_000 / (rows * k * n)).clamp(1, 200);
    let mut run = || {
        let start = Instant::now();
        (0..repeat).for_each(|_| linear_forward(&mut y, &x, w));
        start.elapsed().as_secs_f64() / repeat as f64
    };
    run();
    median((0..RUNS).map(|_| run()))
}

/// A matrix of a kind whose values are noise of about 0.02.
pub fn random_quantised(kind: BlockKind, n: usize, k: usize) -> Quantised {
    let form = form_of(kind).expect("a quantised kind");
    let codes = 1 << form.bits.count();
    // Scales that are whole numbers are 16 here, under an f16.
    let whole = if form.scales == Scales::Halves { 1 } else { 16 };
    let scale = 0.08 / (codes * i32::from(whole)) as f32;
    let least = if form.has_least { -scale * codes as f32 / 2.0 } else { 0.0 };
    let (scale, least) = (f16::from_f32(scale), f16::from_f32(least));
    let packed = Quantised::pack(form, n, k, |panel| {
        for row in panel.rows() {
            let mut stream = Stream::new(row as u64, "blocks", 0, 0);
            let block = || Block {
                codes: std::array::from_fn(|_| stream.below(codes as usize) as u8),
                scale,
                least,
                scales: [whole; 2],
                leasts: [whole; 2],
            };
            panel.set_row(row, std::iter::repeat_with(block).take(k / BLOCK));
        }
        Ok::<(), Infallible>(())
    });
    let Ok(packed) = packed;
    packed
}
