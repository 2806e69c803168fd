//! Which curves a stage has, from its metrics.jsonl.

use std::path::Path;

use reseek_store::read_metrics;
use serde_json::{Map, Value};

use crate::svg::{Series, escape, heat, lines};

/// A chart: title, unit, and the metrics on it with their names.
type Chart = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TEXT: [Chart; 4] = [
    ("Loss", "nats a token", &[("loss_main", "next token"), ("loss_mtp", "token after it")]),
    ("Learning rate", "", &[("lr", "AdamW")]),
    ("Gradient norm", "before the clip", &[("grad_norm", "global")]),
    ("Expert load", "busiest over mean, worst mixture", &[("expert_load_max", "load")]),
];

const RL: [Chart; 6] = [
    (
        "Reward",
        "",
        &[
            ("reward", "mean"),
            ("reward_verified", "of what rules grade"),
            ("reward_learned", "of what the reward model grades"),
            ("accuracy", "correct"),
            ("format", "well formed"),
        ],
    ),
    ("Response length", "tokens", &[("response_length", "mean")]),
    ("Entropy", "nats a token", &[("entropy", "mean")]),
    ("KL to the reference", "k3, nats a token", &[("kl", "mean")]),
    ("Clip fraction", "share of tokens", &[("clip_fraction", "clipped"), ("truncated", "samples cut at the limit")]),
    ("Language", "share of words in the question's language", &[("language", "mean")]),
];

/// The charts of the stage in `folder`, as HTML; nothing if it has no metrics. With `beside`, each chart has its first metric of the same
/// stage of that other run too.
pub fn of_stage(folder: &Path, beside: Option<&Path>) -> String {
    let file = folder.join("metrics.jsonl");
    if !file.exists() {
        return String::new();
    }
    let rows = match read_metrics(&file) {
        Ok(rows) => rows,
        Err(error) => return format!("<p class=\"wrong\">No curves: {}</p>", escape(&error.to_string())),
    };
    let other = beside.and_then(|run| read_metrics(&run.join(folder.file_name()?).join("metrics.jsonl")).ok());
    let other_name = beside.map(run_name).unwrap_or_default();
    let mut out = String::new();
    let is_rl = rows.iter().any(|row| row.contains_key("reward"));
    let charts: &[Chart] = if is_rl { &RL } else { &TEXT };
    for (title, unit, metrics) in charts {
        let mut series: Vec<Series> =
            metrics.iter().map(|(key, name)| Series { name: name.to_string(), points: points(&rows, key) }).collect();
        if let Some(other) = &other {
            let (key, name) = metrics[0];
            series.push(Series { name: format!("{name}, {other_name}"), points: points(other, key) });
        }
        out.push_str(&lines(title, unit, &series));
    }
    out + &heat("Load of the experts", &loads(&rows))
}

/// The loss over the last tenth of the steps of a stage that two runs have: here, there.
pub fn late_losses(folder: &Path, other: &Path) -> Option<(f64, f64)> {
    let late = |folder: &Path| {
        let points = points(&read_metrics(&folder.join("metrics.jsonl")).ok()?, "loss_main");
        let last = &points[points.len() - points.len().div_ceil(10)..];
        (!last.is_empty()).then(|| last.iter().map(|p| p.1).sum::<f64>() / last.len() as f64)
    };
    Some((late(folder)?, late(other)?))
}

/// A run's name: its folder's.
pub fn run_name(run: &Path) -> String {
    run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn points(rows: &[Map<String, Value>], key: &str) -> Vec<(f64, f64)> {
    rows.iter().filter_map(|row| Some((row.get("step")?.as_f64()?, row.get(key)?.as_f64()?))).collect()
}

fn loads(rows: &[Map<String, Value>]) -> Vec<Vec<f64>> {
    let first = |row: &Map<String, Value>| {
        let shares = row.get("expert_load")?.get(0)?.as_array()?;
        Some(shares.iter().take(256).map(|v| v.as_f64().unwrap_or(0.0)).collect())
    };
    rows.iter().filter_map(first).collect()
}
