//! `reseek sim calibrate`: this machine's rates, and what they say of the chain's stages.

use std::time::Instant;

use reseek_sim::laptop::{CpuRates, Point, PredictedStage, predict};
use reseek_spec::{ModelSpec, RecipeSpec};
use reseek_store::write_atomic;
use reseek_tensor::attention::{AttentionShape, attention_forward};
use reseek_tensor::compute::Compute;
use reseek_tensor::matmul::{Accumulate, Packed, matmul, matmul_tn};
use reseek_tensor::pool::{map_lanes, threads};
use reseek_tensor::rmsnorm::rmsnorm_forward;

use super::bench::fastest_dtype;
use crate::cli_full_scale::CalibrateArgs;
use crate::error::Outcome;

/// Inputs that work goes through in turn: a pass reads what it kept of its rows, not what is still in a core's own cache.
const KEPT: usize = 16;
/// Seconds of each measurement.
const WINDOW_S: f64 = 0.06;

/// Measures and prints, or writes to a file.
pub fn calibrate(args: &CalibrateArgs) -> Outcome<()> {
    let rates = measure(args.dtype.unwrap_or_else(|| fastest_dtype().into()));
    let text = serde_json::to_string_pretty(&rates)?;
    match &args.out {
        Some(out) => {
            write_atomic(out, text.as_bytes())?;
            crate::say!("{}", out.display());
        }
        None => crate::say!("{text}"),
    }
    Ok(())
}

/// The stages of the chain at these rates, with `text_bytes` bytes of text.
pub fn predict_chain(recipe: &RecipeSpec, rates: &CpuRates, text_bytes: usize) -> Vec<PredictedStage> {
    let vocab = recipe.tokenizer.vocab_size;
    predict(
        &ModelSpec::ladder(recipe.scale, vocab),
        &ModelSpec::student(recipe.scale, vocab),
        recipe,
        rates,
        text_bytes,
    )
}

/// About a second of measurements, each on all threads at once.
pub fn measure(dtype: Compute) -> CpuRates {
    let lengths = [16, 32, 64, 128, 256, 512];
    let by_length = |rows: usize| {
        let point = |k| Point { k, gflops: products(rows, k, 256, dtype) };
        lengths.map(point).to_vec()
    };
    CpuRates {
        threads: threads(),
        compute: dtype.to_string(),
        products: by_length(1024),
        few_rows: by_length(32),
        weight_gradients: [64, 128, 256, 1024].map(|k| Point { k, gflops: weight_gradients(k, dtype) }).to_vec(),
        attention: attention(),
        elementwise: elementwise(),
        memory: memory(),
    }
}

/// Units of work a second that one thread does while all do it. `work` is told which of its [`KEPT`] inputs to read.
fn rate(work: impl Fn(usize) -> f64 + Sync) -> f64 {
    let of_thread = map_lanes(0..threads(), |_| {
        let mut done = work(0) * 0.0;
        let start = Instant::now();
        for turn in (0..KEPT).cycle() {
            done += work(turn);
            if start.elapsed().as_secs_f64() >= WINDOW_S {
                break;
            }
        }
        done / start.elapsed().as_secs_f64()
    });
    of_thread.iter().sum::<f64>() / of_thread.len() as f64
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 13) as f32 * 0.1 - 0.6).collect()
}

/// GFLOP/s over weights of 2 MiB, more than a core's own cache keeps beside activations.
fn products(rows: usize, k: usize, n: usize, dtype: Compute) -> f64 {
    let matrices = ((1 << 19) / (k * n)).max(1);
    let weights: Vec<Packed> = (0..matrices).map(|_| Packed::from_rows(&values(k * n), k, n, dtype)).collect();
    let a = values(KEPT * rows * k);
    let work = |turn: usize| {
        let mut c = vec![0.0; rows * n];
        let a = &a[turn * rows * k..][..rows * k];
        weights.iter().for_each(|b| matmul(&mut c, a, b, Accumulate::Set));
        2.0 * (matrices * rows * k * n) as f64
    };
    rate(work) / 1e9
}

fn weight_gradients(t: usize, dtype: Compute) -> f64 {
    let (m, n) = (128, 128);
    let (a, b) = (values(KEPT * t * m), values(KEPT * t * n));
    let work = |turn: usize| {
        let mut c = vec![0.0; m * n];
        matmul_tn(&mut c, &a[turn * t * m..][..t * m], &b[turn * t * n..][..t * n], m, n, dtype);
        2.0 * (t * m * n) as f64
    };
    rate(work) / 1e9
}

fn attention() -> f64 {
    let (rows, heads, width) = (256, 4, 32);
    let shape = AttentionShape {
        n_heads: heads,
        n_kv_heads: heads,
        d_qk: width,
        d_v: width,
        scale: 0.1,
        window: None,
        dtype: fastest_dtype(),
    };
    let x = values(rows * heads * width);
    let work = |_| {
        let (mut o, mut lse) = (vec![0.0; x.len()], vec![0.0; rows * heads]);
        attention_forward(&mut o, &mut lse, &x, &x, &x, shape);
        2.0 * (heads * 2 * width * rows * rows / 2) as f64
    };
    rate(work) / 1e9
}

/// GB/s of a norm, two reads and a write into new memory, over the rows that a lane computes at a time.
fn elementwise() -> f64 {
    let (rows, width) = (1024, 256);
    let (x, gamma) = (values(KEPT * rows * width), values(width));
    let work = |turn: usize| {
        let mut y = vec![0.0; rows * width];
        rmsnorm_forward(&mut y, &x[turn * rows * width..][..rows * width], &gamma, 1e-6);
        4.0 * 3.0 * y.len() as f64
    };
    rate(work) / 1e9
}

/// GB/s of all threads: a copy of 32 MiB, read and written.
fn memory() -> f64 {
    let from = values(8 << 20);
    let work = |_| {
        let to = from.clone();
        8.0 * to.len() as f64
    };
    rate(work) * threads() as f64 / 1e9
}
