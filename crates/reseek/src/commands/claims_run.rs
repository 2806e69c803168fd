//! `reseek claims verify --run DIR`: what runs of ours say of the reports' claims.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_claims::{Answer, Difference, RunFacts, answered_by_a_run, find, verify_runs};
use reseek_eval::paired_difference;
use reseek_store::Summary;
use reseek_store::summary::SUMMARY;
use toml::{Table, Value};

use super::claims::{answer, word};
use super::runs::{Cards, cards};
use crate::chain::{CONFIG, Card};
use crate::error::{Outcome, fail};

/// One claim, or all that a run answers.
pub fn verify(id: Option<&str>, runs: &[PathBuf], beside: Option<&Path>, json: bool) -> Outcome<()> {
    let Some(id) = id else {
        let facts = runs.iter().map(|run| facts(run)).collect::<Outcome<Vec<_>>>()?;
        return verify_all(&facts, json);
    };
    let facts = match (find(id)?.plan().and_then(|plan| plan.answer), beside) {
        (Some(Answer::TwoRuns(key)), Some(beside)) => {
            runs.iter().map(|run| two_runs(run, beside, key)).collect::<Outcome<Vec<_>>>()?
        }
        (Some(Answer::TwoRuns(key)), None) => {
            return fail(format!(
                "{id} is about what {key} does, which one run cannot say. Name with --beside a run that differs in {key} alone."
            ));
        }
        (_, Some(beside)) => {
            return fail(format!(
                "{id} takes no second run, and --beside is {}. Leave --beside out.",
                beside.display()
            ));
        }
        (_, None) => runs.iter().map(|run| facts(run)).collect::<Outcome<Vec<_>>>()?,
    };
    answer(&verify_runs(id, &facts)?, json)
}

fn verify_all(facts: &[RunFacts], json: bool) -> Outcome<()> {
    let evidence =
        answered_by_a_run().into_iter().map(|claim| Ok(verify_runs(claim.id, facts)?)).collect::<Outcome<Vec<_>>>()?;
    if json {
        crate::say!("{}", serde_json::to_string_pretty(&evidence)?);
        return Ok(());
    }
    for one in &evidence {
        crate::say!("{:<28} {:<13} {}", one.claim, word(&one.verdict)?, one.working);
    }
    Ok(())
}

/// What the summary of the run at `path` says.
fn facts(path: &Path) -> Outcome<RunFacts> {
    let file = path.join(SUMMARY);
    if !file.exists() {
        return fail(format!(
            "{} has no {SUMMARY}, so it answers nothing. Finish it with `reseek replicate --out {}`.",
            path.display(),
            path.display()
        ));
    }
    let summary = Summary::read(&file)?;
    let of = |c: &reseek_store::summary::Comparison| Difference { mean: c.difference, low: c.ci_low, high: c.ci_high };
    let differences = summary.comparisons.iter().map(|(name, comparison)| (name.clone(), of(comparison))).collect();
    Ok(RunFacts { name: path.display().to_string(), seed: summary.seed, differences })
}

/// R1-Zero's pass@1 of the run at `path` less that of the one `beside` it, whose recipe has another value at `key` and no other difference.
fn two_runs(path: &Path, beside: &Path, key: &str) -> Outcome<RunFacts> {
    let (of, other) = (facts(path)?, facts(beside)?);
    let (a, b) = (settings(path)?, settings(beside)?);
    let differing: Vec<&String> = a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)).collect();
    if differing.is_empty() || differing.iter().any(|name| name.as_str() != key) || of.seed != other.seed {
        let mut names: Vec<&str> = differing.into_iter().map(String::as_str).collect();
        names.dedup();
        let differ = if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
        return fail(format!(
            "{} and {} have the seeds {} and {} and differ in {differ}, where {key} alone may differ. Make the second by the first one's recipe \
             and seed with --set {key}=N.",
            path.display(),
            beside.display(),
            of.seed,
            other.seed
        ));
    }
    refreshes(path, beside, &a, &b)?;
    let (with, without) = (cards(path)?, cards(beside)?);
    if with.questions.is_none() || with.questions != without.questions {
        return fail(format!(
            "{} was asked other problems than {}. Evaluate both on the same with `reseek eval --redo`.",
            path.display(),
            beside.display(),
        ));
    }
    let found = paired_difference(&passes_of_zero(path, &with)?, &passes_of_zero(beside, &without)?);
    let difference = Difference { mean: found.mean, low: found.low, high: found.high };
    Ok(RunFacts { differences: BTreeMap::from([(key.to_string(), difference)]), ..of })
}

/// R1-Zero's share of right answers of each problem, nothing where none could be judged.
fn passes_of_zero(path: &Path, cards: &Cards) -> Outcome<Vec<Option<f64>>> {
    let Some(card) = cards.by_model.get("zero") else {
        return fail(format!(
            "{0} has no scores of R1-Zero. Evaluate the run with `reseek eval --out {0}`.",
            path.display()
        ));
    };
    Ok(serde_json::from_value::<Card>(card.clone())?.passes)
}

/// The first run must replace its reference during R1-Zero, the second never.
fn refreshes(path: &Path, beside: &Path, a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Outcome<()> {
    let number = |settings: &BTreeMap<String, Value>, key: &str| settings.get(key).and_then(Value::as_integer);
    let replaces = |s| Some(number(s, "zero.reference_interval")? < number(s, "zero.steps")?);
    match (replaces(a), replaces(b)) {
        (Some(true), Some(false)) => Ok(()),
        _ => fail(format!(
            "{} should replace its reference within zero.steps and {} should not. Name the run with the smaller zero.reference_interval with --run, \
             and set the other one's to zero.steps or more.",
            path.display(),
            beside.display()
        )),
    }
}

/// The run's recipe as `a.b` and value.
fn settings(path: &Path) -> Outcome<BTreeMap<String, Value>> {
    let file = path.join(CONFIG);
    let text = std::fs::read_to_string(&file)
        .or_else(|error| fail(format!("{} cannot be read: {error}. Name the folder of a run.", file.display())))?;
    let table: Table = text.parse()?;
    let mut out = BTreeMap::new();
    flatten("", &table, &mut out);
    Ok(out)
}

fn flatten(prefix: &str, table: &Table, out: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, out),
            value => {
                out.insert(path, value.clone());
            }
        }
    }
}
