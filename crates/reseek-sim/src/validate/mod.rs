//! The simulator held against published runs. A row names the rates that were set with its run; errors of runs that set some and of those that
//! set none are given apart. Means are over runs: several figures of one run say one thing several times.

mod held_out;
mod rows;

pub use rows::{TRACE, V3};

use std::collections::BTreeMap;

use reseek_spec::{ClusterSpec, ModelSpec};
use serde::Serialize;

use crate::rates::Rate;
use crate::uncertainty::intervals;
use crate::{Plan, Rates, SimError, pair, step};

/// What a run published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "published")]
pub enum Published {
    /// Seconds of a step.
    StepSeconds(f64),
    /// Seconds of forward and backward passes in a step, alone and in pairs.
    PassesSeconds(f64),
    /// Waiting in a step, in s.
    BubbleSeconds(f64),
    /// What follows the passes of a step, in s.
    OptimizerSeconds(f64),
    /// Milliseconds of one overlapped pair of so many layers.
    PairMilliseconds {
        /// Of the pair.
        layers: usize,
        /// From its beginning to its end.
        milliseconds: f64,
    },
    /// Percent of that pair in which communication shows; its tolerance is in points.
    PairExposedPercent {
        /// Of the pair.
        layers: usize,
        /// Of its time.
        percent: f64,
    },
    /// TFLOPS a GPU of the model with causal attention.
    Tflops(f64),
    /// TFLOPS a GPU by Megatron's formula, which counts recomputed forward passes and whole attention squares (Narayanan and others, 2021, 5.1).
    MegatronTflops(f64),
    /// GPU-hours for 10¹² tokens, from a rate or from a bill, which pays for restarts too.
    HoursPerTrillion {
        /// As published, divided by the trillions of tokens.
        hours: f64,
        /// Whether restarts are among them.
        pays_restarts: bool,
    },
    /// Tokens a second and GPU.
    TokensPerSecond(f64),
}

/// A published run.
pub struct Row {
    /// The run.
    pub name: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Its shape.
    pub model: ModelSpec,
    /// Its GPUs.
    pub cluster: ClusterSpec,
    /// How the model was laid over them.
    pub plan: Plan,
    /// The figure.
    pub published: Published,
    /// Largest error that passes, in percent.
    pub tolerance: f64,
    /// Rates that were set with this run, or with the trace of its training stack: by any figure of it, not by this one alone.
    pub sets_rates: &'static [Rate],
    /// Whether it counts for the mean and the verdict; other rows are shown.
    pub counts: bool,
    /// What had to be assumed because the source does not say.
    pub assumed: &'static str,
    /// Power cap of the board over its rating, as published: 1 where none is.
    pub power_share: f64,
    /// Whether experts were forced to equal loads.
    pub is_balanced: bool,
}

/// A row with its outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The run.
    pub name: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// What was measured.
    pub quantity: &'static str,
    /// Of the quantity; "points" of a percentage.
    pub unit: &'static str,
    /// The published value, in `unit`.
    pub published: f64,
    /// The simulator's, in `unit`.
    pub simulated: f64,
    /// In percent of the published value; for shares, in points.
    pub error: f64,
    /// Largest error that passes, in percent or points.
    pub tolerance: f64,
    /// Whether the error is within the tolerance.
    pub passes: bool,
    /// As [`Row::sets_rates`].
    pub sets_rates: &'static [Rate],
    /// Number of its run: rows of one model, cluster and plan are figures of one run.
    pub run: usize,
    /// As [`Row::counts`].
    pub counts: bool,
    /// As [`Row::assumed`].
    pub assumed: &'static str,
}

/// All rows and what they come to.
#[derive(Clone, Debug, Serialize)]
pub struct Validation {
    /// In the table's order.
    pub rows: Vec<Outcome>,
    /// Over runs that count.
    pub counted: Errors,
    /// Over those of them that no rate was set with.
    pub unseen: Errors,
    /// Over runs that are shown and do not count: their plans are guessed in part, or their GPUs' rates are data sheets' only.
    pub shown: Errors,
    /// Whether every row that counts is within its tolerance, and the mean within [`MEAN_MAX`].
    pub passes: bool,
}

/// Absolute errors of some runs, in percent; shares of time are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Errors {
    /// Runs that were averaged.
    pub runs: usize,
    /// Their figures.
    pub figures: usize,
    /// Mean over runs, each of which counts once: by the mean of its figures' absolute errors.
    pub mean: f64,
    /// Root of the mean over runs of their figures' mean squared error.
    pub rms: f64,
    /// The largest of a figure.
    pub worst: f64,
}

/// Mean error that passes, and the largest of a row, in percent.
pub const MEAN_MAX: f64 = 6.0;
/// The largest error of a row that passes, in percent.
pub const WORST_MAX: f64 = 15.0;

/// The published runs.
pub fn table() -> Vec<Row> {
    rows::rows()
}

/// Simulates every published run.
///
/// # Errors
/// A row whose plan does not hold, which is a mistake in the table.
pub fn validate() -> Result<Validation, SimError> {
    let table = table();
    let rows = table.iter().map(|row| outcome(row, run_of(&table, row))).collect::<Result<Vec<_>, _>>()?;
    let counted = errors(&rows, |row| row.counts);
    let unseen = errors(&rows, |row| row.counts && row.sets_rates.is_empty());
    let shown = errors(&rows, |row| !row.counts);
    let passes =
        rows.iter().all(|row| row.passes || !row.counts) && counted.mean <= MEAN_MAX && counted.worst <= WORST_MAX;
    Ok(Validation { rows, counted, unseen, shown, passes })
}

/// The first row of the run that `row` belongs to.
fn run_of(table: &[Row], row: &Row) -> usize {
    let is_same = |one: &&Row| {
        one.model == row.model && one.cluster == row.cluster && one.plan == row.plan && one.counts == row.counts
    };
    let first = table.iter().find(is_same).unwrap_or(row);
    table.iter().position(|one| std::ptr::eq(one, first)).unwrap_or(table.len())
}

fn errors(rows: &[Outcome], chosen: impl Fn(&Outcome) -> bool) -> Errors {
    let mut runs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.unit != "points" && chosen(row)) {
        runs.entry(row.run).or_default().push(row.error.abs());
    }
    let mean = |values: &mut dyn ExactSizeIterator<Item = f64>| {
        let n = values.len().max(1) as f64;
        values.sum::<f64>() / n
    };
    let squares = |figures: &Vec<f64>| mean(&mut figures.iter().map(|error| error * error));
    Errors {
        runs: runs.len(),
        figures: runs.values().map(Vec::len).sum(),
        mean: mean(&mut runs.values().map(|figures| mean(&mut figures.iter().copied()))),
        rms: mean(&mut runs.values().map(squares)).sqrt(),
        worst: runs.values().flatten().copied().fold(0.0, f64::max),
    }
}

/// Of the rows that count, those whose published value lies in the simulator's own interval, and all of them. No test of the intervals: they are
/// as wide as these very errors ([`crate::uncertainty::AS_WIDE_AS`]).
///
/// # Errors
/// As [`validate`], and fewer draws than an interval needs.
pub fn covered(draws: usize, seed: u64, threads: usize) -> Result<(usize, usize), SimError> {
    let rows = table();
    let counted: Vec<&Row> = rows.iter().filter(|row| row.counts).collect();
    let mut inside = 0;
    for row in &counted {
        let answer = |rates: &Rates| simulate(row, rates).map(|(_, _, _, simulated)| [simulated]);
        let [range] = intervals(&rates_of(row), draws, seed, threads, &answer)?;
        let (_, _, published, _) = simulate(row, &rates_of(row))?;
        inside += usize::from((range.low..=range.high).contains(&published));
    }
    Ok((inside, counted.len()))
}

/// The table of the row's GPU at the row's power and routing.
fn rates_of(row: &Row) -> Rates {
    let mut rates = Rates::of(&row.cluster.gpu);
    // Clock follows power with about the cube root near the rating.
    let clock = row.power_share.cbrt();
    rates.bf16.share *= clock;
    for rate in [&mut rates.attention, &mut rates.flash2, &mut rates.flash1] {
        rate.forward *= clock;
        rate.backward *= clock;
    }
    if row.is_balanced {
        rates.expert_load_cv = 0.0;
    }
    rates
}

fn outcome(row: &Row, run: usize) -> Result<Outcome, SimError> {
    let rates = rates_of(row);
    let (quantity, unit, published, simulated) = simulate(row, &rates)?;
    let error = match unit {
        "points" => simulated - published,
        _ => 100.0 * (simulated / published - 1.0),
    };
    Ok(Outcome {
        name: row.name,
        source: row.source,
        quantity,
        unit,
        published,
        simulated,
        error,
        tolerance: row.tolerance,
        passes: error.abs() <= row.tolerance,
        sets_rates: row.sets_rates,
        run,
        counts: row.counts,
        assumed: row.assumed,
    })
}

fn simulate(row: &Row, rates: &Rates) -> Result<(&'static str, &'static str, f64, f64), SimError> {
    let report = || step(&row.model, &row.cluster, &row.plan, rates).map(|simulated| simulated.report);
    Ok(match row.published {
        Published::StepSeconds(s) => ("step", "s", s, report()?.step_s),
        Published::PassesSeconds(s) => ("passes", "s", s, report()?.parts.passes_s()),
        Published::BubbleSeconds(s) => ("bubble", "s", s, report()?.bubble_s),
        Published::OptimizerSeconds(s) => ("optimizer", "s", s, report()?.parts.optimizer_s),
        Published::PairMilliseconds { layers, milliseconds } => {
            let (found, _) = pair(&row.model, &row.cluster, &row.plan, rates, layers);
            ("pair", "ms", milliseconds, found.pair_s * 1e3)
        }
        Published::PairExposedPercent { layers, percent } => {
            let (found, _) = pair(&row.model, &row.cluster, &row.plan, rates, layers);
            ("exposed communication", "points", percent, 100.0 * found.exposed_s / found.pair_s)
        }
        Published::Tflops(t) => ("rate", "TFLOPS", t, report()?.tflops_per_gpu),
        Published::MegatronTflops(t) => {
            ("rate", "TFLOPS", t, report()?.tokens_per_s_per_gpu * megatron_flops(row) / 1e12)
        }
        Published::HoursPerTrillion { hours, pays_restarts } => {
            let goodput = if pays_restarts { rates.goodput(row.cluster.gpus) } else { 1.0 };
            ("time", "h/T tokens", hours, report()?.gpu_hours_per_t_tokens / goodput)
        }
        Published::TokensPerSecond(rate) => ("rate", "tokens/s", rate, report()?.tokens_per_s_per_gpu),
    })
}

/// 96·l·h²·(1 + s/6h + V/16lh) a token.
fn megatron_flops(row: &Row) -> f64 {
    let (l, h) = (row.model.num_hidden_layers as f64, row.model.hidden_size as f64);
    let (s, v) = (row.plan.seq as f64, row.model.vocab_size as f64);
    96.0 * l * h * h * (1.0 + s / (6.0 * h) + v / (16.0 * l * h))
}
