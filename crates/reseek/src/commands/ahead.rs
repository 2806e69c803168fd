//! Before work begins: what was read is said, what would fail later is refused, what the work takes is predicted, and long work is asked
//! for. Nothing is written until all of it is settled.

use std::path::Path;

use reseek_sim::laptop::{CpuRates, PredictedStage};
use reseek_spec::RecipeSpec;
use reseek_store::summary::PREDICTION;
use reseek_tensor::pool::threads;
use serde_json::{Value, json};

use super::calibrate;
use crate::chain::{Chain, Data, compute};
use crate::error::{Outcome, fail};
use crate::ui::{Ui, duration};

/// Seconds above which work is begun only when it is asked for.
const ASKED_ABOVE_S: f64 = 3600.0;

/// What was settled, to be written down once the run is open.
pub struct Ahead {
    prediction: Option<Value>,
}

/// Looks ahead at the stages `to_do` of the run at `out`. Those that stay as they are are neither checked nor counted.
///
/// # Errors
/// What a stage would refuse later; more than an hour of work without `yes` or a yes on the terminal.
pub fn look(
    data: &Data,
    recipe: &RecipeSpec,
    seed: u64,
    out: &Path,
    to_do: &[&str],
    yes: bool,
    ui: &mut Ui,
) -> Outcome<Ahead> {
    if to_do.is_empty() {
        return Ok(Ahead { prediction: None });
    }
    data.told().iter().for_each(|line| ui.line(line));
    data.check(recipe, seed, to_do)?;
    let kept = rates_of(out, recipe);
    let rates = kept.clone().unwrap_or_else(|| calibrate::measure(compute(recipe)));
    let stages = calibrate::predict_chain(recipe, &rates, data.corpus.bytes());
    let ahead: Vec<&PredictedStage> = stages.iter().filter(|stage| to_do.contains(&stage.name.as_str())).collect();
    if !ahead.is_empty() {
        ui.line(&told(&ahead));
        agree(ahead.iter().map(|stage| stage.seconds).sum(), yes, ui)?;
    }
    let is_new = kept.is_none() && !out.join(PREDICTION).exists();
    Ok(Ahead { prediction: is_new.then(|| json!({"stages": stages, "rates": rates})) })
}

impl Ahead {
    /// Writes down what was predicted of a run's stages before its first, for the report to hold against what they took.
    pub fn record(&self, chain: &Chain) -> Outcome<()> {
        match &self.prediction {
            Some(prediction) => Ok(chain.run.write(PREDICTION, prediction.to_string().as_bytes())?),
            None => Ok(()),
        }
    }
}

/// The rates that were measured when the run began, unless this machine or the recipe computes in another way.
fn rates_of(out: &Path, recipe: &RecipeSpec) -> Option<CpuRates> {
    let text = std::fs::read_to_string(out.join(PREDICTION)).ok()?;
    let rates: CpuRates = serde_json::from_value(serde_json::from_str::<Value>(&text).ok()?["rates"].take()).ok()?;
    (rates.threads == threads() && rates.compute == compute(recipe).to_string()).then_some(rates)
}

/// A stage's results stay, its saved states go when it is done; memory is that of one stage at a time.
fn told(stages: &[&PredictedStage]) -> String {
    let greatest = |of: fn(&PredictedStage) -> f64| stages.iter().map(|stage| of(stage)).fold(0.0, f64::max);
    let seconds: f64 = stages.iter().map(|stage| stage.seconds).sum();
    let left: f64 = stages.iter().map(|stage| stage.disk_bytes).sum();
    format!(
        "predicted        {:>10}, {} of memory, {} of disk",
        duration(seconds),
        size(greatest(|stage| stage.memory_bytes)),
        size(left + greatest(|stage| stage.state_bytes))
    )
}

fn size(bytes: f64) -> String {
    let gib = bytes / f64::from(1 << 30);
    if gib < 1.0 { format!("{:.0} MiB", 1024.0 * gib) } else { format!("{gib:.1} GiB") }
}

fn agree(seconds: f64, yes: bool, ui: &mut Ui) -> Outcome<()> {
    if yes || seconds <= ASKED_ABOVE_S {
        return Ok(());
    }
    let takes = duration(seconds);
    match ui.confirm(&format!("This takes about {takes} on this machine. Begin?")) {
        Some(true) => Ok(()),
        Some(false) => fail("The work was not begun, and nothing was written."),
        None => fail(format!(
            "The work is predicted to take {takes} on this machine, and more than an hour is not begun unasked. Add --yes to begin, or \
             choose a smaller --scale."
        )),
    }
}
