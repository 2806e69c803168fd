//! `reseek bench`: this machine's peak, and the model's speed at the shapes that other systems are measured at.

mod fp8;
mod language;
mod products;
mod profile;
mod quantised;
mod shapes;
mod training;

use std::path::Path;
use std::time::Instant;

use reseek_engine::{GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_model::{Model, Weights};
use reseek_sim::recipe::v3 as v3_phases;
use reseek_sim::run::run;
use reseek_sim::sweep::{Search, sweep};
use reseek_sim::uncertainty::intervals;
use reseek_sim::{Plan, Rates, SimError, published, step};
use reseek_spec::{ClusterSpec, Scale, preset};
use reseek_store::{peak_memory_bytes, write_atomic};
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::peak::{fma_peak_gflops, fma_peak_gflops_of_pool};
use reseek_tensor::pool::threads;
use reseek_tensor::profile::record;
use reseek_tensor::random::Stream;
use serde_json::{Value, json};

use crate::cli::BenchArgs;
use crate::error::Outcome;
use crate::opened::Opened;

/// How to measure.
struct Setting<'a> {
    dtype: Compute,
    /// The format that the user asked for, if any.
    asked_dtype: Option<Compute>,
    /// A model's folder or file instead of random values.
    model: Option<&'a Path>,
    /// A rung of the ladder instead of the peer's shape.
    scale: Option<Scale>,
    /// Sequences decoded at once.
    batch: Option<usize>,
    /// Whether to record one more run and say where its time goes.
    profile: bool,
    /// Where that recording goes as a trace.
    trace: Option<&'a Path>,
}

type Benchmark = fn(&Setting) -> Outcome<Value>;

/// Counted runs of a training step and of a sampling call; one more before them warms up.
const RUNS: usize = 5;

/// Prints a line for each benchmark asked for.
pub fn bench(args: &BenchArgs) -> Outcome<()> {
    let all: [(&str, Benchmark); 11] = [
        ("peak", peak),
        ("matmul", products::products),
        ("quantised", quantised::products),
        ("train-gpt", training::train_gpt),
        ("train-v3", training::train_v3),
        ("scaling", training::scaling),
        ("generate", sampling),
        ("decode", language::decode),
        ("grpo", language::grpo),
        ("fp8", |_| fp8::bench()),
        ("sim", |_| simulator()),
    ];
    for (name, run) in all {
        if args.name.as_deref().is_none_or(|wanted| wanted == name) {
            let dtype = args.dtype.unwrap_or_else(|| fastest_dtype().into());
            let trace = args.trace.as_deref();
            let mut result = run(&Setting {
                dtype,
                asked_dtype: args.dtype,
                model: args.model.as_deref(),
                scale: args.scale,
                batch: args.batch,
                profile: args.profile || trace.is_some(),
                trace,
            })?;
            result["name"] = json!(name);
            if !matches!(name, "fp8" | "sim" | "quantised") {
                result["dtype"] = json!(dtype.to_string());
            }
            if args.json { crate::say!("{result}") } else { print_human(name, &result) }
        }
    }
    Ok(())
}

/// bf16 where the processor multiplies it faster than f32.
pub fn fastest_dtype() -> Dtype {
    if Dtype::Bf16.is_native() { Dtype::Bf16 } else { Dtype::F32 }
}

fn print_human(name: &str, result: &Value) {
    crate::say!("{name}");
    for (key, value) in result.as_object().into_iter().flatten().filter(|(key, _)| *key != "name" && *key != "profile")
    {
        crate::say!("  {key:<28} {value}");
    }
    if let Some(rows) = result.get("profile") {
        profile::print(rows);
    }
}

fn peak(&Setting { dtype, .. }: &Setting) -> Outcome<Value> {
    Ok(json!({"gflops_one_thread": fma_peak_gflops(300, dtype), "gflops": fma_peak_gflops_of_pool(300, dtype)}))
}

/// Sampling from the small V3 or a given model: batch 32, prompts of 32 tokens, 64 new ones.
fn sampling(setting: &Setting) -> Outcome<Value> {
    let dtype = setting.dtype;
    let (batch, prompt, new) = (32, 32, 64);
    let weights = match setting.model {
        Some(path) => Opened::new(path)?.weights()?,
        None => Weights::init(shapes::v3()?, 1)?,
    };
    let model = Model::new(&weights.computing_in(dtype));
    let mut stream = Stream::new(1, "bench", 0, 0);
    let requests: Vec<Request> = (0..batch)
        .map(|_| Request { prompt: (0..prompt).map(|_| 3 + stream.below(4000) as u32).collect(), samples: 1 })
        .collect();
    let sampling = Sampling::on_policy(vec![], new);
    let mut run = || -> Outcome<()> {
        let name = StreamName { seed: 1, purpose: "bench".to_string(), step: 0 };
        generate(&model, &requests, &sampling, &name, GenerateOptions::default())?;
        Ok(())
    };
    let seconds = timed(&mut run)?;
    // The prompts are passed once, each new token then alone.
    let flops = model.spec().forward_flops_per_token((prompt + new / 2) as f64) * (batch * (prompt + new)) as f64;
    let gflops = flops / seconds / 1e9;
    let result = json!({
        "batch": batch, "new": new, "tokens_per_s": ((batch * new) as f64 / seconds).round(),
        "step_ms": 1e3 * seconds / new as f64, "gflops": gflops,
        "share_of_peak": gflops / fma_peak_gflops_of_pool(200, dtype), "rss_mib": peak_memory_bytes() >> 20,
    });
    with_profile(result, setting, &mut run)
}

/// The median time of [`RUNS`] runs after one that warms up, in seconds.
fn timed(run: &mut dyn FnMut() -> Outcome<()>) -> Outcome<f64> {
    run()?;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(median(seconds.into_iter()))
}

/// Adds where the time of one more run goes, where the setting asks for it.
fn with_profile(mut result: Value, setting: &Setting, run: &mut dyn FnMut() -> Outcome<()>) -> Outcome<Value> {
    if setting.profile {
        let start = Instant::now();
        let (outcome, events) = record(run);
        outcome?;
        let seconds = start.elapsed().as_secs_f64();
        result["profile"] = profile::table(&events, seconds, fma_peak_gflops_of_pool(200, setting.dtype));
        if let Some(path) = setting.trace {
            write_atomic(path, profile::trace(&events).to_string().as_bytes())?;
        }
    }
    Ok(result)
}

/// V3's step at the level of operators; its whole run with 1,000 draws of the rates; the search over plans.
fn simulator() -> Outcome<Value> {
    let (model, cluster) = (preset("v3-671b")?, ClusterSpec::parse("h800x2048")?);
    let (plan, rates) = (Plan::v3(), Rates::of(&cluster.gpu));
    let phases = v3_phases(&plan, published::TOKENS.value);
    let timed = |work: &dyn Fn() -> Result<(), SimError>| -> Result<f64, SimError> {
        let start = Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let one = || step(&model, &cluster, &plan, &rates).map(|_| ());
    let steps = (0..=RUNS).map(|_| timed(&one)).collect::<Result<Vec<f64>, _>>()?;
    let usd = published::GPU_HOUR_USD.value;
    let answer = |rates: &Rates| run(&model, &cluster, &phases, rates, usd).map(|whole| [whole.gpu_hours]);
    let draws_s = timed(&|| intervals(&rates, 1000, 1, threads(), &answer).map(|_| ()))?;
    let search = Search { global_batch: plan.global_batch, seq: plan.seq, precision: plan.precision, top: 10 };
    let start = Instant::now();
    // Those that sizes, schedule or memory rule out cost nothing.
    let plans = sweep(&model, &cluster, &rates, &search, threads())?.simulated();
    Ok(json!({
        "v3_step_ms": 1e3 * median(steps.into_iter().skip(1)), "thousand_draws_s": draws_s,
        "plans_per_minute": (plans as f64 / start.elapsed().as_secs_f64() * 60.0).round(),
    }))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
