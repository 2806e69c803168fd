//! `reseek sim laptop`: how long the stages of `replicate` take on this machine.

use std::path::Path;

use reseek_sim::laptop::CpuRates;
use reseek_spec::{Scale, resolve};
use serde_json::json;

use super::calibrate::{measure, predict_chain};
use crate::cli_full_scale::LaptopArgs;
use crate::error::{Outcome, fail};
use crate::ui::duration;

/// The stages at the rates of a file, or of now.
pub fn laptop(args: &LaptopArgs) -> Outcome<()> {
    let name = args.model.trim_start_matches("v3-");
    let Some(scale) = Scale::ALL.into_iter().find(|scale| scale.name() == name) else {
        let names: Vec<String> = Scale::ALL.iter().map(|scale| format!("v3-{}", scale.name())).collect();
        return fail(format!(
            "`sim laptop` is for the models of a run, and {} is none. They are {}.",
            args.model,
            names.join(", ")
        ));
    };
    let recipe = resolve(scale, &[], &[])?.recipe;
    let rates = match &args.rates {
        Some(path) => read_rates(path)?,
        None => measure(crate::chain::compute(&recipe)),
    };
    let stages = predict_chain(&recipe, &rates, reseek_data::Corpus::embedded().bytes());
    let total: f64 = stages.iter().map(|stage| stage.seconds).sum();
    if args.json {
        crate::say!("{}", json!({"stages": stages, "seconds": total, "rates": rates}));
        return Ok(());
    }
    for stage in &stages {
        crate::say!("{:<16} {:>10}", stage.name, duration(stage.seconds));
    }
    crate::say!("{:<16} {:>10}", "all", duration(total));
    Ok(())
}

fn read_rates(path: &Path) -> Outcome<CpuRates> {
    let text = std::fs::read_to_string(path).or_else(|error| {
        fail(format!("cannot read {}: {error}. Make it with `reseek sim calibrate --out FILE`.", path.display()))
    })?;
    let rates: CpuRates = serde_json::from_str(&text).or_else(|error| {
        fail(format!("{}: {error}. Make it anew with `reseek sim calibrate --out FILE`.", path.display()))
    })?;
    let lists = [&rates.products, &rates.few_rows, &rates.weight_gradients];
    let is_empty = rates.threads == 0 || lists.iter().any(|list| list.is_empty());
    let points = lists.into_iter().flatten().map(|point| point.gflops);
    let single = [rates.attention, rates.elementwise, rates.memory];
    let wrong = points.chain(single).find(|rate| !(*rate > 0.0 && rate.is_finite()));
    if wrong.is_some() || is_empty {
        let what = wrong.map_or("no threads or no rates".to_string(), |rate| format!("a rate of {rate}"));
        return fail(format!("{}: {what}. Make it anew with `reseek sim calibrate --out FILE`.", path.display()));
    }
    Ok(rates)
}
