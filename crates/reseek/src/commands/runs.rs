//! `reseek runs`: the runs that there are, two of them beside each other, and copies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_eval::{Interval, paired_difference, unpaired_difference};
use reseek_spec::stages::{Keys, TABLE, examined};
use reseek_store::{RunDir, sha256_hex, verify_dir};
use serde::Serialize;
use serde_json::{Value, json};

use crate::chain::stages::keys_of_config;
use crate::chain::survey::{State, Survey, compare};
use crate::chain::{CONFIG, data_of};
use crate::cli_runs::RunsCommand;
use crate::error::{Outcome, fail};

/// Does what the command says.
pub fn runs(command: &RunsCommand) -> Outcome<()> {
    match command {
        RunsCommand::List { dir, json } => list(dir, *json),
        RunsCommand::Diff { a, b, json } => diff(a, b, *json),
        RunsCommand::Copy { from, to, json } => copy(from, to, *json),
    }
}

/// What a run says of itself.
#[derive(Serialize)]
struct Seen {
    run: PathBuf,
    scale: String,
    seed: u64,
    config_hash: String,
    finished: Vec<&'static str>,
    out_of_date: Vec<String>,
    /// pass@1 on the held-out problems by model.
    scores: BTreeMap<String, f64>,
    #[serde(skip)]
    keys: Keys,
    #[serde(skip)]
    cards: Cards,
}

/// What a run's evaluation left.
#[derive(Default)]
pub(super) struct Cards {
    /// Which questions were asked, in which order; nothing where that was not written down.
    pub questions: Option<String>,
    pub by_model: BTreeMap<String, Value>,
}

fn look(run: &Path) -> Outcome<Seen> {
    let info = RunDir::inspect(run)?;
    let path = run.join(CONFIG);
    let config = std::fs::read_to_string(&path).or_else(|error| {
        fail(format!("cannot read {}: {error}. Is the run of an older version, or just begun?", path.display()))
    })?;
    let table: toml::Table = match config.parse() {
        Ok(table) => table,
        Err(error) => {
            return fail(format!("{} cannot be read: {error}. Write it anew with `reseek config`.", path.display()));
        }
    };
    let keys = keys_of_config(&table);
    let data = data_of(run)?.map(|data| data.sha256).unwrap_or_default();
    let survey = Survey::of(run, &keys, &data)?;
    let done = survey.found.iter().filter(|f| matches!(f.state, State::Current | State::Stale(_)));
    let cards = cards(run)?;
    let score = |(name, card): (&String, &Value)| Some((name.clone(), pass_at_1(card)?));
    Ok(Seen {
        run: run.to_path_buf(),
        scale: table.get("scale").and_then(toml::Value::as_str).unwrap_or("-").to_string(),
        seed: info.seed,
        config_hash: sha256_hex(config.as_bytes()),
        finished: done.map(|found| found.stage.name).collect(),
        out_of_date: survey.strangers(),
        scores: cards.by_model.iter().filter_map(score).collect(),
        keys,
        cards,
    })
}

pub(super) fn cards(run: &Path) -> Outcome<Cards> {
    let folder = run.join("eval");
    if !folder.join("stage.json").exists() {
        return Ok(Cards::default());
    }
    // Scores are copied from there: a flipped digit must not pass.
    let verified = verify_dir(&folder)?;
    let mut by_model = BTreeMap::new();
    for (model, _) in examined() {
        let file = format!("{}.json", model.name);
        if verified.vouches_for(&file) {
            by_model.insert(model.name.to_string(), serde_json::from_slice(&std::fs::read(folder.join(file))?)?);
        }
    }
    Ok(Cards { questions: verified.manifest.meta["questions"].as_str().map(str::to_string), by_model })
}

fn pass_at_1(card: &Value) -> Option<f64> {
    card["tasks"]["heldout"]["pass_at_1"].as_f64()
}

fn list(dir: &Path, as_json: bool) -> Outcome<()> {
    let entries = std::fs::read_dir(dir).or_else(|error| {
        fail(format!("cannot list {}: {error}. Name the folder that holds your runs.", dir.display()))
    })?;
    let mut folders: Vec<PathBuf> = entries.collect::<Result<Vec<_>, _>>()?.iter().map(|e| e.path()).collect();
    folders.sort();
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut rows = Vec::new();
    for folder in folders.iter().filter(|path| !hidden(path) && RunDir::inspect(path).is_ok()) {
        match look(folder) {
            Ok(seen) => rows.push(seen),
            // One damaged run must not hide the others.
            Err(crate::error::Failure::Error(error)) => eprintln!("warning: {error}"),
            Err(other) => return Err(other),
        }
    }
    if as_json {
        crate::say!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    if rows.is_empty() {
        crate::say!(
            "No run lies in {}. `reseek replicate --out {}` makes one.",
            dir.display(),
            dir.join("first").display()
        );
        return Ok(());
    }
    let width = rows.iter().map(|seen| seen.run.display().to_string().chars().count()).max().unwrap_or(0).max(3);
    let heads: String = examined().map(|(model, _)| format!(" {:>10}", model.name)).collect();
    crate::say!("{:<width$}  {:<6} {:>6}  {:<12}  {:>8} {heads}", "run", "scale", "seed", "recipe", "stages");
    for seen in &rows {
        let score = |name: &str| seen.scores.get(name).map_or("–".to_string(), |score| format!("{score:.3}"));
        let scores: String = examined().map(|(model, _)| format!(" {:>10}", score(model.name))).collect();
        let stages = format!("{} of {}", seen.finished.len(), TABLE.len());
        let (run, hash) = (seen.run.display().to_string(), &seen.config_hash[..12]);
        crate::say!("{run:<width$}  {:<6} {:>6}  {hash}  {stages:>8} {scores}", seen.scale, seen.seed);
        for complaint in &seen.out_of_date {
            crate::say!("{:<width$}  out of date: {complaint}", "");
        }
    }
    crate::say!("\nScores are pass@1 on each run's held-out problems.");
    Ok(())
}

/// A model's score in two runs.
#[derive(Serialize)]
struct Beside {
    model: String,
    a: f64,
    b: f64,
    /// b less a, over the problems that both judged, with its 95 % interval.
    difference: f64,
    ci_low: f64,
    ci_high: f64,
    paired: bool,
    bits_per_byte: [f64; 2],
}

fn diff(a: &Path, b: &Path, as_json: bool) -> Outcome<()> {
    let (a, b) = (look(a)?, look(b)?);
    let keys = compare(&a.keys, &b.keys);
    let paired = a.cards.questions.is_some() && a.cards.questions == b.cards.questions;
    let rows: Vec<Beside> =
        examined().filter_map(|(model, _)| beside(model.name, &a.cards, &b.cards, paired)).collect();
    if as_json {
        let keys: Vec<Value> = keys.iter().map(|d| json!({"key": d.key, "a": d.run, "b": d.wanted})).collect();
        crate::say!("{}", json!({"a": a, "b": b, "recipe": keys, "scores": rows}));
        return Ok(());
    }
    let name = |seen: &Seen| seen.run.display().to_string();
    for (letter, seen) in [("A", &a), ("B", &b)] {
        crate::say!(
            "{letter}  {}: scale {}, seed {}, recipe {}",
            name(seen),
            seen.scale,
            seen.seed,
            &seen.config_hash[..12]
        );
        for complaint in &seen.out_of_date {
            crate::say!("   out of date: {complaint}");
        }
    }
    match keys.is_empty() {
        true => crate::say!("\nThe recipes are the same."),
        false => crate::say!("\n{:<28} {:>14} {:>14}", "recipe", "A", "B"),
    }
    for d in &keys {
        crate::say!("{:<28} {:>14} {:>14}", d.key, d.run, d.wanted);
    }
    if rows.is_empty() {
        crate::say!("\nThere are no scores to compare: both runs need `reseek eval`.");
        return Ok(());
    }
    crate::say!("\n{:<12} {:>8} {:>8} {:>8}   {:<20} bits/byte A, B", "pass@1", "A", "B", "B − A", "95 % interval");
    for row in &rows {
        let interval = format!("{:+.3} to {:+.3}", row.ci_low, row.ci_high);
        let word = if row.ci_low > 0.0 {
            "above"
        } else if row.ci_high < 0.0 {
            "below"
        } else {
            "inconclusive"
        };
        crate::say!(
            "{:<12} {:>8.3} {:>8.3} {:>+8.3}   {interval:<20} {:.3}, {:.3}  {word}",
            row.model,
            row.a,
            row.b,
            row.difference,
            row.bits_per_byte[0],
            row.bits_per_byte[1]
        );
    }
    crate::say!("\n{}", why_paired(&a, &b, paired));
    Ok(())
}

fn why_paired(a: &Seen, b: &Seen, paired: bool) -> String {
    if paired {
        return "Differences are paired by problem: both runs were asked the same ones.".to_string();
    }
    let silent: Vec<String> =
        [a, b].iter().filter(|s| s.cards.questions.is_none()).map(|s| s.run.display().to_string()).collect();
    match silent.is_empty() {
        true => {
            "Differences are not paired, so their intervals are wider: the runs were asked other problems.".to_string()
        }
        false => format!(
            "Differences are not paired, so their intervals are wider: {} did not write down which problems were asked.",
            silent.join(" and ")
        ),
    }
}

fn beside(model: &str, a: &Cards, b: &Cards, paired: bool) -> Option<Beside> {
    let (a, b) = (a.by_model.get(model)?, b.by_model.get(model)?);
    let (of_a, of_b) = (passes(a), passes(b));
    let Interval { mean, low, high } = if paired && of_a.len() == of_b.len() {
        paired_difference(&of_b, &of_a)
    } else {
        let judged = |passes: Vec<Option<f64>>| passes.into_iter().flatten().collect::<Vec<f64>>();
        unpaired_difference(&judged(of_b), &judged(of_a))
    };
    let bits = |card: &Value| card["bits_per_byte"].as_f64().unwrap_or(f64::NAN);
    Some(Beside {
        model: model.to_string(),
        a: pass_at_1(a)?,
        b: pass_at_1(b)?,
        difference: mean,
        ci_low: low,
        ci_high: high,
        paired,
        bits_per_byte: [bits(a), bits(b)],
    })
}

/// The share of right samples of each problem; nothing of one that was not judged.
fn passes(card: &Value) -> Vec<Option<f64>> {
    card["passes"].as_array().into_iter().flatten().map(Value::as_f64).collect()
}

fn copy(from: &Path, to: &Path, as_json: bool) -> Outcome<()> {
    let copied = RunDir::copy(from, to)?;
    if as_json {
        crate::say!("{}", json!({"from": from, "to": to, "files": copied.files, "bytes": copied.bytes}));
    } else {
        let megabytes = copied.bytes as f64 / 1e6;
        crate::say!(
            "{} is a copy of {}: {} files, {megabytes:.1} MB, each read back.",
            to.display(),
            from.display(),
            copied.files
        );
    }
    Ok(())
}
