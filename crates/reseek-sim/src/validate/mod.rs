//! The simulator held against published runs. A row says whether it helped to set a rate; errors of those that did and those that did not are
//! given apart.

mod held_out;
mod rows;

use reseek_spec::{ClusterSpec, ModelSpec};
use serde::Serialize;

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
    BubbleSeconds(f64),
    OptimizerSeconds(f64),
    /// Milliseconds of one overlapped pair of so many layers.
    PairMilliseconds {
        layers: usize,
        milliseconds: f64,
    },
    /// Percent of that pair in which communication shows; its tolerance is in points.
    PairExposedPercent {
        layers: usize,
        percent: f64,
    },
    /// TFLOPS a GPU of the model with causal attention.
    Tflops(f64),
    /// TFLOPS a GPU by Megatron's formula, which counts recomputed forward passes and whole attention squares (Narayanan and others, 2021, 5.1).
    MegatronTflops(f64),
    /// GPU-hours for 10¹² tokens, from a rate or from a bill, which pays for restarts too.
    HoursPerTrillion {
        hours: f64,
        pays_restarts: bool,
    },
    TokensPerSecond(f64),
}

/// A published run.
pub struct Row {
    pub name: &'static str,
    pub source: &'static str,
    pub model: ModelSpec,
    pub cluster: ClusterSpec,
    pub plan: Plan,
    pub published: Published,
    /// Largest error that passes, in percent.
    pub tolerance: f64,
    /// Whether a rate was set with its help.
    pub sets_rates: bool,
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
    pub name: &'static str,
    pub source: &'static str,
    pub quantity: &'static str,
    pub unit: &'static str,
    pub published: f64,
    pub simulated: f64,
    /// In percent of the published value; for shares, in points.
    pub error: f64,
    pub tolerance: f64,
    pub passes: bool,
    pub sets_rates: bool,
    pub counts: bool,
    pub assumed: &'static str,
}

/// All rows and what they come to.
#[derive(Clone, Debug, Serialize)]
pub struct Validation {
    pub rows: Vec<Outcome>,
    /// Mean and largest absolute error in percent over rows that count; shares of time are not among them.
    pub mean_error: f64,
    pub worst_error: f64,
    /// The same over rows that no rate was set with.
    pub unseen_mean_error: f64,
    pub unseen_worst_error: f64,
    /// The same over rows that are shown and do not count: their plans are guessed in part, or their GPUs' rates are data sheets' only.
    pub shown_mean_error: f64,
    pub shown_worst_error: f64,
    pub passes: bool,
}

/// Mean error that passes, and the largest of a row, in percent.
pub const MEAN_MAX: f64 = 6.0;
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
    let rows = table().iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
    let errors = |chosen: &dyn Fn(&Outcome) -> bool| {
        let chosen = rows.iter().filter(|row| row.unit != "points" && chosen(row));
        let errors: Vec<f64> = chosen.map(|row| row.error.abs()).collect();
        (errors.iter().sum::<f64>() / errors.len().max(1) as f64, errors.iter().copied().fold(0.0, f64::max))
    };
    let (mean_error, worst_error) = errors(&|row| row.counts);
    let (unseen_mean_error, unseen_worst_error) = errors(&|row| row.counts && !row.sets_rates);
    let (shown_mean_error, shown_worst_error) = errors(&|row| !row.counts);
    let passes = rows.iter().all(|row| row.passes || !row.counts) && mean_error <= MEAN_MAX && worst_error <= WORST_MAX;
    Ok(Validation {
        rows,
        mean_error,
        worst_error,
        unseen_mean_error,
        unseen_worst_error,
        shown_mean_error,
        shown_worst_error,
        passes,
    })
}

/// Of the rows that count, those whose published value lies in the simulator's own 95 % interval, and all of them: an honest interval holds
/// nearly all.
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

fn outcome(row: &Row) -> Result<Outcome, SimError> {
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
        counts: row.counts,
        assumed: row.assumed,
    })
}

fn simulate(row: &Row, rates: &Rates) -> Result<(&'static str, &'static str, f64, f64), SimError> {
    let report = || step(&row.model, &row.cluster, &row.plan, rates).map(|simulated| simulated.report);
    Ok(match row.published {
        Published::StepSeconds(s) => ("step", "s", s, report()?.step_s),
        Published::PassesSeconds(s) => {
            let parts = report()?.parts;
            ("passes", "s", s, parts.forward_s + parts.backward_s + parts.weight_s + parts.forward_backward_s)
        }
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
