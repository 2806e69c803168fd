//! `reseek sim sweep`: the fastest and the cheapest plan.

use std::time::Instant;

use reseek_sim::choice::Choice;
use reseek_sim::sweep::{Candidate, Search, Sweep, sweep};
use reseek_sim::{Plan, Rates, published};
use reseek_spec::{ClusterSpec, thousands};
use serde_json::{Value, json};

use super::cost::whole;
use super::params::find;
use super::plan::{cluster, plan_json, schedule_name};
use crate::cli_full_scale::SweepArgs;
use crate::error::{Outcome, fail};

/// Searches and prints.
pub fn run_sweep(args: &SweepArgs) -> Outcome<()> {
    let (model, cluster) = (find(&args.model)?, cluster(&args.cluster)?);
    let numbers = [("--global-batch", args.global_batch), ("--seq", args.seq), ("--top", args.top)];
    let v3 = Plan::v3();
    if let Some((name, value)) = numbers.into_iter().find(|(_, value)| *value == 0 || *value > 1 << 26) {
        return fail(format!(
            "{name} {value} will not do: it takes a number from 1 to 67108864. V3's step has {} sequences of {}.",
            v3.global_batch, v3.seq
        ));
    }
    let search = Search { global_batch: args.global_batch, seq: args.seq, precision: args.precision, top: args.top };
    let start = Instant::now();
    let found = sweep(&model, &cluster, &Rates::of(&cluster.gpu), &search, reseek_tensor::pool::threads())?;
    let seconds = start.elapsed().as_secs_f64();
    let hours_usd = args.price.unwrap_or(published::GPU_HOUR_USD.value);
    if args.json {
        let all = |some: &[Candidate]| some.iter().map(|c| candidate_json(c, hours_usd)).collect::<Vec<_>>();
        let answer = json!({
            "plans": found.plans, "simulated": found.simulated(), "ruled_out": found.ruled_out, "seconds": seconds,
            "fastest": all(&found.fastest), "cheapest": all(&found.cheapest),
        });
        crate::say!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    print_search(args, &found, &cluster, seconds);
    print_plans(&found, hours_usd);
    Ok(())
}

/// How many plans there were, and what they had in common.
fn print_search(args: &SweepArgs, found: &Sweep, cluster: &ClusterSpec, seconds: f64) {
    let out = &found.ruled_out;
    crate::say!(
        "{} plans simulated in {seconds:.1} s, of {}; ruled out before: {} as sizes do not divide, {} as the schedule lacks micro-batches, {} by \
         memory",
        thousands(found.simulated() as u64),
        thousands(found.plans as u64),
        thousands(out.divisibility as u64),
        thousands(out.schedule as u64),
        thousands(out.memory as u64)
    );
    crate::say!(
        "{} sequences of {} tokens a step, {}, on up to {} {}",
        thousands(args.global_batch as u64),
        thousands(args.seq as u64),
        args.precision.name(),
        thousands(cluster.gpus as u64),
        cluster.gpu.name
    );
}

/// The plans that were found, `usd` for a GPU-hour.
fn print_plans(found: &Sweep, usd: f64) {
    for (title, some) in [("fastest", &found.fastest), ("cheapest, on fewer GPUs where that is so", &found.cheapest)] {
        crate::say!(
            "\n{title}\n{:>6} {:>3} {:>3} {:>3} {:>4} {:>5} {:>3} {:<13} {:<10} {:>4} {:>9} {:>12} {:>14} {:>8}",
            "GPUs",
            "tp",
            "cp",
            "pp",
            "ep",
            "dp",
            "mb",
            "schedule",
            "recompute",
            "zero",
            "step, s",
            "h/T tokens",
            "$ a T tokens",
            "GB"
        );
        for c in some {
            let p = &c.plan;
            crate::say!(
                "{:>6} {:>3} {:>3} {:>3} {:>4} {:>5} {:>3} {:<13} {:<10} {:>4} {:>9.3} {:>12} {:>14} {:>8.1}",
                p.gpus(),
                p.tp,
                p.cp,
                p.pp,
                p.ep,
                p.dp,
                p.micro_batch,
                schedule_name(p.schedule),
                p.recompute.name(),
                p.zero,
                c.step_s,
                whole(c.gpu_hours_per_t_tokens),
                whole(c.gpu_hours_per_t_tokens * usd),
                c.memory_peak_bytes / 1e9
            );
        }
    }
}

fn candidate_json(c: &Candidate, gpu_hour_usd: f64) -> Value {
    let mut out = plan_json(&c.plan);
    out["step_s"] = json!(c.step_s);
    out["gpu_hours_per_t_tokens"] = json!(c.gpu_hours_per_t_tokens);
    out["usd_per_t_tokens"] = json!(c.gpu_hours_per_t_tokens * gpu_hour_usd);
    out["memory_peak_bytes"] = json!(c.memory_peak_bytes);
    out
}
