//! `reseek sim sweep`: the fastest and the cheapest plan.

use std::time::Instant;

use reseek_sim::sweep::{Candidate, Search, sweep};
use reseek_sim::{Rates, Recompute};
use reseek_spec::ClusterSpec;
use reseek_spec::schedule::ScheduleKind;
use serde_json::{Value, json};

use super::params::find;
use super::plan::precision;
use crate::cli_scale::SweepArgs;
use crate::error::{Outcome, fail};

/// Searches and prints.
pub fn run_sweep(args: &SweepArgs) -> Outcome<()> {
    let (model, cluster) = (find(&args.model)?, ClusterSpec::parse(&args.cluster)?);
    let numbers = [("--global-batch", args.global_batch), ("--seq", args.seq), ("--top", args.top)];
    if let Some((name, value)) = numbers.into_iter().find(|(_, value)| *value == 0 || *value > 1 << 26) {
        return fail(format!(
            "{name} {value} will not do: it takes a number from 1 to 67108864. V3's step has 15360 sequences of 4096."
        ));
    }
    let search =
        Search { global_batch: args.global_batch, seq: args.seq, precision: precision(args.precision), top: args.top };
    let start = Instant::now();
    let found = sweep(&model, &cluster, &Rates::of(&cluster.gpu), &search, reseek_tensor::pool::threads())?;
    let seconds = start.elapsed().as_secs_f64();
    let hours_usd = args.gpu_hour_usd;
    if args.json {
        let all = |some: &[Candidate]| some.iter().map(|c| candidate_json(c, hours_usd)).collect::<Vec<_>>();
        let answer = json!({
            "plans": found.plans, "ruled_out": found.ruled_out, "seconds": seconds,
            "fastest": all(&found.fastest), "cheapest": all(&found.cheapest),
        });
        crate::say!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let out = &found.ruled_out;
    crate::say!(
        "{} plans in {seconds:.1} s; ruled out: {} as sizes do not divide, {} as the schedule lacks micro-batches, {} by memory",
        found.plans,
        out.divisibility,
        out.schedule,
        out.memory
    );
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
                "{:>6} {:>3} {:>3} {:>3} {:>4} {:>5} {:>3} {:<13} {:<10} {:>4} {:>9.3} {:>12.0} {:>14.0} {:>8.1}",
                p.gpus(),
                p.tp,
                p.cp,
                p.pp,
                p.ep,
                p.dp,
                p.micro_batch,
                schedule_name(p.schedule),
                recompute_name(p.recompute),
                p.zero,
                c.step_s,
                c.gpu_hours_per_t_tokens,
                c.gpu_hours_per_t_tokens * hours_usd,
                c.memory_peak_bytes / 1e9
            );
        }
    }
    Ok(())
}

fn schedule_name(schedule: ScheduleKind) -> String {
    match schedule {
        ScheduleKind::Interleaved { virtual_stages } => format!("interleaved×{virtual_stages}"),
        other => other.name().to_string(),
    }
}

fn recompute_name(recompute: Recompute) -> &'static str {
    match recompute {
        Recompute::None => "none",
        Recompute::Selective => "selective",
        Recompute::Full => "full",
    }
}

fn candidate_json(c: &Candidate, gpu_hour_usd: f64) -> Value {
    let p = &c.plan;
    json!({
        "gpus": p.gpus(), "tp": p.tp, "cp": p.cp, "pp": p.pp, "ep": p.ep, "dp": p.dp, "micro_batch": p.micro_batch,
        "schedule": schedule_name(p.schedule), "recompute": recompute_name(p.recompute), "zero": p.zero, "step_s": c.step_s,
        "gpu_hours_per_t_tokens": c.gpu_hours_per_t_tokens, "usd_per_t_tokens": c.gpu_hours_per_t_tokens * gpu_hour_usd,
        "memory_peak_bytes": c.memory_peak_bytes,
    })
}
