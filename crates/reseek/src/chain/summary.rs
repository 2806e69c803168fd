//! What a run came to: summary.json, the table, and the report page.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use reseek_eval::{Interval, mean_of, paired_difference};
use reseek_spec::stages::{TABLE, examined};
use reseek_store::manifest::MANIFEST;
use reseek_store::summary::{Comparison, Extension, Gflops, Model, Stage, Summary};
use reseek_store::{Manifest, verify_dir};
use reseek_train::{Observer, Usage};
use serde_json::Value;

use super::eval::Card;
use super::extension::in_words;
use super::{Chain, EXTENSION, USAGE, kept};
use crate::error::{Outcome, fail};
use crate::ui::duration;

/// Writes summary.json and the page.
pub fn report(chain: &mut Chain) -> Outcome<()> {
    let summary = summarise(chain)?;
    if !summary.out_of_date.is_empty() {
        chain.ui.warn(&strangers(chain.run.path(), &summary.out_of_date));
    }
    summary.write(&chain.path("summary.json"))?;
    let page = reseek_report::render(chain.run.path(), chain.beside.as_deref())?;
    chain.run.write("report/index.html", page.as_bytes())?;
    Ok(())
}

/// That the stages of the run in `run` do not belong together, and what to do.
fn strangers(run: &Path, out_of_date: &[String]) -> String {
    format!(
        "the stages of {} do not belong together: {}. Run `reseek replicate --out {}` to make anew what is out of date.",
        run.display(),
        out_of_date.join("; "),
        run.display()
    )
}

/// What a finished stage used; nothing of one that never ran.
fn used(chain: &Chain, stage: &str) -> Outcome<Option<Value>> {
    let path = chain.path(stage).join(USAGE);
    Ok(if path.exists() { Some(Manifest::read(&path)?.meta) } else { None })
}

fn usage(value: &Value) -> Usage {
    let number = |key: &str| value[key].as_f64().unwrap_or(0.0);
    Usage { seconds: number("seconds"), tokens: number("tokens") as u64, flops: number("flops") }
}

/// Operations of a stage that another one depends on.
pub fn flops_of(chain: &Chain, stage: &str) -> Outcome<f64> {
    match used(chain, stage)? {
        Some(value) => Ok(usage(&value).flops),
        None => fail(format!(
            "{} is missing. Remove the folder {} and run the same command again.",
            chain.path(stage).join(USAGE).display(),
            chain.path(stage).display()
        )),
    }
}

fn summarise(chain: &Chain) -> Outcome<Summary> {
    // The numbers are copied from there: a flipped digit must not pass.
    let mut split = None;
    if chain.path("eval").join(MANIFEST).exists() {
        verify_dir(&chain.path("eval"))?;
        let meta = Manifest::read(&chain.path("eval").join(MANIFEST))?.meta;
        split = meta["split"].as_str().map(str::to_string);
    }
    let mut cards = BTreeMap::new();
    for (model, _) in examined() {
        let name = model.name;
        let path = chain.path("eval").join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path)
            .or_else(|error| fail(format!("cannot read {}: {error}. Run `reseek eval` first.", path.display())))?;
        cards.insert(name, serde_json::from_str::<Card>(&text)?);
    }
    let mut values = Vec::new();
    for stage in &TABLE {
        values.extend(used(chain, stage.name)?.map(|value| (stage.name, value)));
    }
    let stages: Vec<Stage> = values
        .iter()
        .map(|(name, value)| (name, usage(value)))
        .filter(|(_, usage)| usage.seconds > 0.0)
        .map(|(name, usage)| Stage {
            name: name.to_string(),
            seconds: usage.seconds,
            tokens: usage.tokens,
            tokens_per_s: usage.tokens as f64 / usage.seconds,
            flops: usage.flops,
        })
        .collect();
    let trained = stages.iter().filter(|s| s.flops > 0.0 && s.name != "eval");
    let (flops, seconds) = trained.fold((0.0, 0.0), |(f, s), stage| (f + stage.flops, s + stage.seconds));
    let (machine, peak) = kept::machine(chain)?;
    Ok(Summary {
        config_hash: chain.config_hash.clone(),
        seed: chain.seed,
        out_of_date: chain.survey()?.strangers(),
        machine,
        // A run may have taken several processes: the largest of them counts. Who only draws the page is none of them.
        peak_memory_bytes: values
            .iter()
            .filter_map(|(_, value)| value["peak_memory_bytes"].as_u64())
            .max()
            .unwrap_or(0),
        gflops: Gflops { achieved: flops / f64::max(seconds, 1e-9) / 1e9, peak },
        stages,
        split,
        comparisons: compare(&cards),
        models: cards.iter().map(|(name, card)| (name.to_string(), model(card))).collect(),
        extension: extension(chain),
    })
}

fn model(card: &Card) -> Model {
    Model {
        tasks: card.tasks.clone(),
        pass_at_k: card.pass_at_k.clone(),
        bits_per_byte: card.bits_per_byte,
        language_match: card.language_match,
    }
}

/// Paired differences on the same problems, with what they mean said either way.
fn compare(cards: &BTreeMap<&str, Card>) -> BTreeMap<String, Comparison> {
    let of = |name: &str, a: &str, b: &str, what: &str, pick: fn(&Card) -> &[Option<f64>]| {
        let difference = paired_difference(pick(&cards[a]), pick(&cards[b]));
        let words = [
            format!("{a} is above {b} in {what}"),
            format!("{a} is below {b} in {what}"),
            format!("inconclusive: {a} and {b} cannot be told apart in {what}"),
        ];
        (name.to_string(), comparison(difference, words))
    };
    let mut comparisons = BTreeMap::from([
        of("zero-base", "zero", "base", "pass@1", |c| &c.passes),
        of("r1-zero", "r1", "zero", "pass@1", |c| &c.passes),
        of("r1-zero-language", "r1", "zero", "language match", |c| &c.languages),
        of("student-student_rl", "student", "student_rl", "pass@1", |c| &c.passes),
    ]);
    comparisons.extend(majority(&cards["zero"]).map(|found| ("zero-majority".to_string(), found)));
    comparisons
}

/// R1-Zero's majority of answers against its mean answer; nothing of a card that an older version wrote.
fn majority(zero: &Card) -> Option<Comparison> {
    let gains = &zero.majority_gains;
    let words = [
        "zero's majority is above its mean answer",
        "zero's majority is below its mean answer",
        "inconclusive: zero's majority and its mean answer cannot be told apart",
    ];
    (!gains.is_empty()).then(|| comparison(mean_of(gains), words))
}

/// A difference with what its interval says of it: above 0, below, or neither.
pub fn comparison<S: ToString>(difference: Interval, [above, below, neither]: [S; 3]) -> Comparison {
    let Interval { mean, low, high } = difference;
    let verdict = match () {
        () if low > 0.0 => above,
        () if high < 0.0 => below,
        () => neither,
    };
    Comparison { difference: mean, ci_low: low, ci_high: high, verdict: verdict.to_string() }
}

fn extension(chain: &Chain) -> Option<Extension> {
    let text = std::fs::read_to_string(chain.path("extend").join(EXTENSION)).ok()?;
    serde_json::from_str(&text).ok()
}

/// The table at the end of a run.
pub fn table(summary: &Summary) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{:<16} {:>10} {:>10} {:>10} {:>9}", "stage", "time", "tokens", "tokens/s", "GFLOP/s");
    for s in &summary.stages {
        let or_dash = |known: bool, text: String| if known { text } else { "–".to_string() };
        let _ = writeln!(
            out,
            "{:<16} {:>10} {:>10} {:>10} {:>9}",
            s.name,
            duration(s.seconds),
            or_dash(s.tokens > 0, s.tokens.to_string()),
            or_dash(s.tokens > 0, format!("{:.0}", s.tokens_per_s)),
            or_dash(s.flops > 0.0, format!("{:.1}", s.flops / s.seconds / 1e9)),
        );
    }
    let seconds: f64 = summary.stages.iter().map(|s| s.seconds).sum();
    let _ = writeln!(
        out,
        "{:<16} {:>10}   {:.1} of {:.0} GFLOP/s, {:.2} GiB at most\n",
        "all",
        duration(seconds),
        summary.gflops.achieved,
        summary.gflops.peak,
        summary.peak_memory_bytes as f64 / (1u64 << 30) as f64
    );
    let _ = writeln!(
        out,
        "{:<12} {:>7} {:>15} {:>7} {:>7} {:>7} {:>8} {:>10} {:>9}",
        "model", "pass@1", "95 % interval", "pass@4", "pass@16", "cons@k", "tokens", "bits/byte", "language"
    );
    for (model, _) in examined() {
        let name = model.name;
        let Some(m) = summary.models.get(name) else { continue };
        let Some(t) = m.tasks.get("heldout") else { continue };
        let interval = format!("{:.3}–{:.3}", t.ci_low, t.ci_high);
        let at = |k| m.pass_at_k.iter().find(|at| at.k == k).map_or("–".to_string(), |at| format!("{:.3}", at.mean));
        let _ = writeln!(
            out,
            "{name:<12} {:>7.3} {interval:>15} {:>7} {:>7} {:>7.3} {:>8.1} {:>10.3} {:>9.3}",
            t.pass_at_1,
            at(4),
            at(16),
            t.cons_at_k,
            t.mean_tokens,
            m.bits_per_byte,
            m.language_match
        );
    }
    if let (Some(split), Some(t)) = (&summary.split, summary.models.values().find_map(|m| m.tasks.get("heldout"))) {
        let _ = writeln!(out, "{} samples of each of {} problems of the {split} split", t.k, t.n);
    }
    out.push('\n');
    for (name, c) in &summary.comparisons {
        let _ = writeln!(out, "{name:<20} {:+.3} ({:+.3} to {:+.3})  {}", c.difference, c.ci_low, c.ci_high, c.verdict);
    }
    if let Some((distilled, by_rl)) = summary.student_flops() {
        let share = 100.0 * by_rl / distilled;
        let (distilled, by_rl) = (distilled / 1e12, by_rl / 1e12);
        let _ = writeln!(
            out,
            "{:<20} {by_rl:.2} TFLOP by RL, {distilled:.2} by distillation: {share:.0} %",
            "student's operations"
        );
    }
    for line in summary.extension.iter().flat_map(in_words) {
        let _ = writeln!(out, "{line}");
    }
    out
}
