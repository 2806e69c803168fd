//! `reseek sim`: full-scale runs from first principles.

use reseek_sim::bill::Range;
use reseek_sim::run::{Phase, RunReport, Work, distil, r1, r1_zero, run, v3};
use reseek_sim::uncertainty::intervals;
use reseek_sim::validate::{MEAN_MAX, WORST_MAX, validate};
use reseek_sim::{Rates, StepReport, step};
use serde_json::{Value, json};

use super::plan::{Subject, check_memory, subject};
use super::{calibrate, schedule, sweep};
use crate::cli_scale::{RecipeName, SimCommand, SimRunArgs};
use crate::error::{Failure, Outcome, fail};

/// Tokens that V3 was pre-trained on.
const V3_TOKENS: f64 = 14.8e12;
/// A hundred thousand times what anybody has: beyond it sums stop to be numbers.
const TOKENS_MAX: f64 = 1e18;

/// Runs a command of the group.
pub fn sim(command: &SimCommand) -> Outcome<()> {
    match command {
        SimCommand::Run(args) => sim_run(args),
        SimCommand::Sweep(args) => sweep::run_sweep(args),
        SimCommand::Schedule(args) => schedule::schedule(args),
        SimCommand::Calibrate(args) => calibrate::calibrate(args),
        SimCommand::Validate(args) => sim_validate(args.json),
    }
}

fn phases(subject: &Subject, recipe: Option<RecipeName>, tokens: f64) -> Vec<Phase> {
    match recipe {
        Some(RecipeName::V3) => v3(&subject.plan, tokens),
        Some(RecipeName::R1Zero) => r1_zero(&subject.plan, 1.0),
        Some(RecipeName::R1) => r1(&subject.plan, 1.0),
        Some(RecipeName::Distil) => distil(&subject.plan, 1.0),
        Some(RecipeName::Pretrain) | None => {
            let work = Work::Train { tokens, ramp: None };
            vec![Phase { name: "pre-training", plan: subject.plan.clone(), work }]
        }
    }
}

fn sim_run(args: &SimRunArgs) -> Outcome<()> {
    if args.plan.cluster == "laptop" {
        return calibrate::laptop(args);
    }
    let subject = subject(&args.plan)?;
    let tokens = args.tokens.unwrap_or(V3_TOKENS);
    if !(tokens > 0.0 && tokens <= TOKENS_MAX) {
        return fail(format!(
            "--tokens {tokens} will not do: it takes a positive number up to {TOKENS_MAX:e}. V3 was trained on 14.8e12."
        ));
    }
    let rates = Rates::of(&subject.cluster.gpu);
    let simulated = step(&subject.model, &subject.cluster, &subject.plan, &rates)?;
    check_memory(&subject, "the plan", simulated.report.memory_peak_bytes, args.plan.ignore_memory)?;
    let phases = phases(&subject, args.plan.recipe, tokens);
    let whole = run(&subject.model, &subject.cluster, &phases, &rates, args.gpu_hour_usd)?;
    for phase in &whole.phases {
        check_memory(&subject, phase.name, phase.memory_peak_bytes, args.plan.ignore_memory)?;
    }
    let spread = match args.draws {
        0 => None,
        draws => Some(spread(&subject, &phases, args.gpu_hour_usd, draws, args.seed)?),
    };
    if args.json {
        crate::say!("{}", serde_json::to_string_pretty(&run_json(&simulated.report, &whole, spread.as_ref())?)?);
    } else {
        print_run(&subject, &simulated.report, &whole, spread.as_ref());
    }
    Ok(())
}

/// 95 % intervals of what is asked most.
struct Spread {
    step_s: Range,
    gpu_hours_per_t_tokens: Range,
    gpu_hours: Range,
    days: Range,
    cost_usd: Range,
}

fn spread(subject: &Subject, phases: &[Phase], gpu_hour_usd: f64, draws: usize, seed: u64) -> Outcome<Spread> {
    let answer = |rates: &Rates| {
        let one = step(&subject.model, &subject.cluster, &subject.plan, rates)?.report;
        let whole = run(&subject.model, &subject.cluster, phases, rates, gpu_hour_usd)?;
        Ok([one.step_s, one.gpu_hours_per_t_tokens, whole.gpu_hours, whole.days, whole.cost_usd])
    };
    let threads = reseek_tensor::pool::threads();
    let [step_s, gpu_hours_per_t_tokens, gpu_hours, days, cost_usd] =
        intervals(&Rates::of(&subject.cluster.gpu), draws, seed, threads, &answer)?;
    Ok(Spread { step_s, gpu_hours_per_t_tokens, gpu_hours, days, cost_usd })
}

fn run_json(report: &StepReport, whole: &RunReport, spread: Option<&Spread>) -> Outcome<Value> {
    let mut out = serde_json::to_value(report)?;
    if let Some(spread) = spread {
        let of = |range: Range| json!({"low": range.low, "high": range.high});
        out["intervals_95"] = json!({
            "step_s": of(spread.step_s), "gpu_hours_per_t_tokens": of(spread.gpu_hours_per_t_tokens),
            "gpu_hours": of(spread.gpu_hours), "days": of(spread.days), "cost_usd": of(spread.cost_usd),
        });
    }
    for (key, value) in [
        ("gpu_hours", json!(whole.gpu_hours)),
        ("cost_usd", json!(whole.cost_usd)),
        ("days", json!(whole.days)),
        ("energy_mwh", json!(whole.energy_mwh)),
        ("goodput", json!(whole.goodput)),
        ("phases", serde_json::to_value(&whole.phases)?),
    ] {
        out[key] = value;
    }
    Ok(out)
}

fn print_run(subject: &Subject, report: &StepReport, whole: &RunReport, spread: Option<&Spread>) {
    print_step(subject, report);
    print_phases(whole);
    let Some(s) = spread else { return };
    crate::say!("\n95 % intervals, every rate varied over its range at once:");
    crate::say!("  step             {:.2} – {:.2} s", s.step_s.low, s.step_s.high);
    crate::say!("  GPU-hours        {:.0} – {:.0}", s.gpu_hours.low, s.gpu_hours.high);
    crate::say!(
        "  a trillion       {:.0} – {:.0} GPU-hours",
        s.gpu_hours_per_t_tokens.low,
        s.gpu_hours_per_t_tokens.high
    );
    crate::say!("  days             {:.1} – {:.1}", s.days.low, s.days.high);
    crate::say!("  money            ${:.0} – ${:.0}", s.cost_usd.low, s.cost_usd.high);
}

fn print_step(subject: &Subject, report: &StepReport) {
    let parts = &report.parts;
    crate::say!("step {:.3} s, {:.0} tokens/s a GPU", report.step_s, report.tokens_per_s_per_gpu);
    for (name, seconds) in [
        ("forward alone", parts.forward_s),
        ("backward alone", parts.backward_s),
        ("weight gradients", parts.weight_s),
        ("forward and backward in pairs", parts.forward_backward_s),
        ("bubble", parts.bubble_s),
        ("optimizer", parts.optimizer_s),
    ] {
        crate::say!("  {name:<30} {seconds:>9.3} s  {:>5.1} %", 100.0 * seconds / report.step_s);
    }
    crate::say!("exposed communication            {:>9.3} s of {:.3} s", report.exposed_comm_s, report.comm_s);
    crate::say!(
        "TFLOPS a GPU                     {:>9.1} causal, {:.1} non-causal",
        report.tflops_per_gpu,
        report.tflops_per_gpu_noncausal
    );
    crate::say!(
        "MFU of the bf16 peak             {:>9.2} % causal, {:.2} % non-causal",
        100.0 * report.mfu_causal,
        100.0 * report.mfu_noncausal
    );
    crate::say!("GPU-hours for 10¹² tokens        {:>9.0}", report.gpu_hours_per_t_tokens);
    let memory = &report.memory;
    crate::say!(
        "memory of the fullest rank       {:>9.1} GB of {:.0}: weights {:.1}, gradients {:.1}, optimizer {:.1}, activations {:.1}, buffers {:.1}",
        report.memory_peak_bytes / 1e9,
        subject.cluster.gpu.memory_bytes as f64 / 1e9,
        memory.weights_bytes / 1e9,
        memory.gradients_bytes / 1e9,
        memory.optimizer_bytes / 1e9,
        memory.activations_bytes / 1e9,
        memory.buffers_bytes / 1e9,
    );
}

fn print_phases(whole: &RunReport) {
    crate::say!(
        "\n{:<24} {:>12} {:>10} {:>12} {:>10} {:>10} {:>8}",
        "phase",
        "tokens",
        "hours",
        "GPU-hours",
        "sampling",
        "its tail",
        "GB"
    );
    for phase in &whole.phases {
        crate::say!(
            "{:<24} {:>12.3e} {:>10.1} {:>12.0} {:>10.1} {:>10.1} {:>8.1}",
            phase.name,
            phase.tokens,
            phase.hours,
            phase.gpu_hours,
            phase.rollout_hours,
            phase.tail_hours,
            phase.memory_peak_bytes / 1e9
        );
    }
    crate::say!(
        "\n{:.0} GPU-hours, {:.1} days, ${:.0}, {:.0} MWh; {:.1} % of the time makes steps that count",
        whole.gpu_hours,
        whole.days,
        whole.cost_usd,
        whole.energy_mwh,
        100.0 * whole.goodput
    );
}

fn sim_validate(json: bool) -> Outcome<()> {
    let found = validate()?;
    if json {
        crate::say!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        crate::say!(
            "{:<27} {:<22} {:>11} {:>11} {:>8} {:>6}  ",
            "run",
            "quantity",
            "published",
            "simulated",
            "error",
            "within"
        );
        for row in &found.rows {
            let sign = if row.unit == "points" { "pt" } else { "% " };
            let mark = match (row.counts, row.passes) {
                (false, _) => "shown only",
                (true, true) => "",
                (true, false) => "out of tolerance",
            };
            let set = if row.sets_rates { "a rate was set with it" } else { "" };
            let quantity = format!("{}, {}", row.quantity, row.unit);
            crate::say!(
                "{:<27} {quantity:<22} {:>11.2} {:>11.2} {:>+6.1} {sign} {:>5.0}  {mark}{set}",
                row.name,
                row.published,
                row.simulated,
                row.error,
                row.tolerance
            );
        }
        crate::say!(
            "\nmean error {:.1} % (at most {MEAN_MAX}), worst {:.1} % (at most {WORST_MAX})",
            found.mean_error,
            found.worst_error
        );
        crate::say!(
            "of rows that no rate was set with: mean {:.1} %, worst {:.1} %",
            found.unseen_mean_error,
            found.unseen_worst_error
        );
        crate::say!(
            "of rows that are only shown: mean {:.1} %, worst {:.1} %",
            found.shown_mean_error,
            found.shown_worst_error
        );
    }
    if found.passes { Ok(()) } else { Err(Failure::No) }
}
