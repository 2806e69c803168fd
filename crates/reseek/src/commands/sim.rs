//! `reseek sim`: full-scale runs from first principles.

use reseek_sim::bill::Range;
use reseek_sim::choice::Choice;
use reseek_sim::run::{Phase, RunReport, run};
use reseek_sim::step::peak_memory;
use reseek_sim::uncertainty::{AS_WIDE_AS, intervals};
use reseek_sim::{Rates, StepReport, published};
use reseek_spec::preset;
use serde_json::{Value, json};

use super::plan::{Subject, check_memory, plan_json, recipe, subject};
use super::sim_print::{print_run, sim_validate};
use super::{calibrate, schedule, sim_laptop, sweep};
use crate::cli_full_scale::{SimCommand, SimRunArgs};
use crate::error::{Outcome, fail};

/// A hundred thousand times what anybody has: beyond it sums stop to be numbers.
const TOKENS_MAX: u64 = 1_000_000_000_000_000_000;
/// Draws behind the intervals, and their seed, where none are given.
const DRAWS: usize = 400;
const SEED: u64 = 1;

/// Runs a command of the group.
pub fn sim(command: &SimCommand) -> Outcome<()> {
    match command {
        SimCommand::Run(args) => sim_run(args),
        SimCommand::Sweep(args) => sweep::run_sweep(args),
        SimCommand::Schedule(args) => schedule::schedule(args),
        SimCommand::Laptop(args) => sim_laptop::laptop(args),
        SimCommand::Calibrate(args) => calibrate::calibrate(args),
        SimCommand::Validate(args) => sim_validate(args.json),
    }
}

/// How many tokens a run has, and what has to be said of them.
struct Tokens {
    count: u64,
    /// Where they come from, if not from the user: another model's are an assumption that is never made without a word.
    note: Option<&'static str>,
}

/// The tokens of pre-training; none for a recipe that counts its own.
fn tokens(args: &SimRunArgs, subject: &Subject) -> Outcome<Option<Tokens>> {
    let recipe = recipe(&args.plan);
    match (recipe.own_work(), args.tokens) {
        (Some(work), Some(count)) => fail(format!(
            "--recipe {} is {work}, and --tokens {count} would change nothing of it. Leave --tokens out, or take --recipe pretrain.",
            recipe.name()
        )),
        (Some(_), None) => Ok(None),
        (None, Some(count @ 1..=TOKENS_MAX)) => Ok(Some(Tokens { count, note: None })),
        (None, Some(count)) => fail(format!(
            "--tokens {count} is not from 1 to {TOKENS_MAX}. V3 was trained on {0}T tokens, which is --tokens {0}T.",
            published::TOKENS.value / 1e12
        )),
        (None, None) => {
            let note = match subject.model == preset("v3-671b")? {
                true => "V3's own",
                false => "V3's, an assumption: --tokens N sets this model's own",
            };
            Ok(Some(Tokens { count: published::TOKENS.value as u64, note: Some(note) }))
        }
    }
}

fn sim_run(args: &SimRunArgs) -> Outcome<()> {
    let subject = subject(&args.plan)?;
    let tokens = tokens(args, &subject)?;
    let rates = Rates::of(&subject.cluster.gpu);
    // Before the run: a plan that does not fit is refused at once.
    let peak_bytes = peak_memory(&subject.model, &subject.cluster, &subject.plan, &rates)?;
    check_memory(&subject, "the plan", peak_bytes, args.plan.ignore_memory)?;
    let count = tokens.as_ref().map_or(0, |tokens| tokens.count);
    let phases = recipe(&args.plan).phases(&subject.plan, count as f64);
    let usd = args.price.unwrap_or(published::GPU_HOUR_USD.value);
    let whole = run(&subject.model, &subject.cluster, &phases, &rates, usd)?;
    for phase in &whole.phases {
        check_memory(&subject, phase.name, phase.memory_peak_bytes, args.plan.ignore_memory)?;
    }
    let spread = match args.draws.unwrap_or(DRAWS) {
        0 => None,
        draws => Some(spread(&subject, &phases, usd, draws, args.seed.unwrap_or(SEED))?),
    };
    let note = tokens.and_then(|tokens| tokens.note);
    let found = Found { subject, phases, whole, spread, usd, note };
    if args.json {
        crate::say!("{}", serde_json::to_string_pretty(&run_json(&found)?)?);
    } else {
        print_run(&found);
    }
    Ok(())
}

/// All that was found, for whoever prints it.
pub struct Found {
    pub subject: Subject,
    pub phases: Vec<Phase>,
    pub whole: RunReport,
    pub spread: Option<Spread>,
    /// Of a GPU-hour.
    pub usd: f64,
    /// What has to be said of the number of tokens.
    pub note: Option<&'static str>,
}

/// A step by the plan that was asked for, which is that of the first phase of every run.
pub fn first_step(whole: &RunReport) -> &StepReport {
    &whole.phases[0].step
}

/// Intervals of what is asked most, as wide as [`AS_WIDE_AS`] says.
pub struct Spread {
    pub step_s: Range,
    pub gpu_hours_per_t_tokens: Range,
    pub gpu_hours: Range,
    pub days: Range,
    pub cost_usd: Range,
}

fn spread(subject: &Subject, phases: &[Phase], gpu_hour_usd: f64, draws: usize, seed: u64) -> Outcome<Spread> {
    let answer = |rates: &Rates| {
        let whole = run(&subject.model, &subject.cluster, phases, rates, gpu_hour_usd)?;
        let one = first_step(&whole);
        Ok([one.step_s, one.gpu_hours_per_t_tokens, whole.gpu_hours, whole.days, whole.cost_usd])
    };
    let threads = reseek_tensor::pool::threads();
    let [step_s, gpu_hours_per_t_tokens, gpu_hours, days, cost_usd] =
        intervals(&Rates::of(&subject.cluster.gpu), draws, seed, threads, &answer)?;
    Ok(Spread { step_s, gpu_hours_per_t_tokens, gpu_hours, days, cost_usd })
}

fn run_json(found: &Found) -> Outcome<Value> {
    let Found { subject, phases, whole, spread, usd, note } = found;
    let mut out = serde_json::to_value(first_step(whole))?;
    if let Some(spread) = spread {
        let of = |range: Range| json!({"low": range.low, "high": range.high});
        out["intervals"] = json!({
            "are": AS_WIDE_AS,
            "step_s": of(spread.step_s), "gpu_hours_per_t_tokens": of(spread.gpu_hours_per_t_tokens),
            "gpu_hours": of(spread.gpu_hours), "days": of(spread.days), "cost_usd": of(spread.cost_usd),
        });
    }
    let mut reports = serde_json::to_value(&whole.phases)?;
    for (report, phase) in reports.as_array_mut().into_iter().flatten().zip(phases) {
        report["plan"] = plan_json(&phase.plan);
    }
    for (key, value) in [
        ("gpu_hours", json!(whole.gpu_hours)),
        ("gpu_hour_usd", json!(usd)),
        ("cost_usd", json!(whole.cost_usd)),
        ("days", json!(whole.days)),
        ("energy_mwh", json!(whole.energy_mwh)),
        ("goodput", json!(whole.goodput)),
        ("plan", plan_json(&subject.plan)),
        ("tokens_are", json!(note)),
        ("phases", reports),
    ] {
        out[key] = value;
    }
    Ok(out)
}
