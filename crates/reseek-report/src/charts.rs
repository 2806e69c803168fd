//! Which curves a stage has, from its metrics.jsonl.

use std::path::Path;

use reseek_store::read_metrics;
use serde_json::{Map, Value};

use crate::svg::{Series, heat, lines};

/// A chart: title, unit, and the metrics on it with their names.
type Chart = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TEXT: [Chart; 4] = [
    ("Loss", "nats a token", &[("loss_main", "next token"), ("loss_mtp", "token after it")]),
    ("Learning rate", "", &[("lr", "AdamW")]),
    ("Gradient norm", "before the clip", &[("grad_norm", "global")]),
    ("Expert load", "busiest over mean, worst mixture", &[("expert_load_max", "load")]),
];

const RL: [Chart; 6] = [
    ("Reward", "", &[("reward", "mean"), ("accuracy", "correct"), ("format", "well formed")]),
    ("Response length", "tokens", &[("response_length", "mean")]),
    ("Entropy", "nats a token", &[("entropy", "mean")]),
    ("KL to the reference", "k3, nats a token", &[("kl", "mean")]),
    ("Clip fraction", "share of tokens", &[("clip_fraction", "clipped"), ("truncated", "samples cut at the limit")]),
    ("Language", "share of words in the question's language", &[("language", "mean")]),
];

/// The charts of the stage in `folder`, as HTML; nothing if it has no metrics.
pub fn of_stage(folder: &Path) -> String {
    let Ok(rows) = read_metrics(&folder.join("metrics.jsonl")) else { return String::new() };
    let mut out = String::new();
    let is_rl = rows.iter().any(|row| row.contains_key("reward"));
    let charts: &[Chart] = if is_rl { &RL } else { &TEXT };
    for (title, unit, metrics) in charts {
        let series = metrics.iter().map(|(key, name)| Series { name: name.to_string(), points: points(&rows, key) });
        out.push_str(&lines(title, unit, &series.collect::<Vec<_>>()));
    }
    out + &heat("Load of the experts", &loads(&rows))
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
