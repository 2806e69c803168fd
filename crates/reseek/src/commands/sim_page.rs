//! `reseek report sim`: the page about full-scale runs, with the ledger's evidence and the pipeline's trace beside it.

use std::path::Path;

use reseek_claims::{Evidence, SimulatedFacts, Verdict, verify};
use reseek_report::render_sim;
use reseek_report::sim_charts::{Estimate, Prediction, Stack, scatter, stacked, tornado, waterfall};
use reseek_sim::Plan;
use reseek_sim::bill::{DEEPSEEK, Prices, Range, Selection, bill, catalog, compare, positions};
use reseek_sim::deepseek::{DeepSeek, Draws};
use reseek_sim::memory::Memory;
use reseek_sim::uncertainty::{AS_WIDE_AS, Bar, INPUTS};
use reseek_sim::validate::{self, Validation, covered, validate};
use reseek_store::write_atomic;
use serde_json::json;

use super::schedule::{picture, trace};
use super::sim_page_rows::{
    ClaimRow, ItemRow, Page, PhaseRow, PositionRow, QuotedWords, StepRow, StepWords, SubjectRow, ValidationPart,
    headline, lengths_matter,
};
use crate::error::{Failure, Outcome};
use crate::ui::Ui;

/// Draws behind every interval of the page.
const DRAWS: usize = 400;
const SEED: u64 = 1;
/// Inputs that the tornado shows.
const BARS: usize = 12;

/// Writes `index.html`, `claims.json` and `v3-trace.json` to `out`.
pub fn sim_page(out: &Path, json: bool, quiet: bool) -> Outcome<()> {
    let mut ui = Ui::new(quiet);
    let runs = DeepSeek::new()?;
    let step = runs.step(&Plan::v3())?;
    let (page, evidence) = page(&runs, picture(&step), &mut ui)?;
    let html = render_sim(&serde_json::to_value(page)?)?;
    std::fs::create_dir_all(out)
        .map_err(|error| Failure::Error(format!("cannot make {}: {error}. Choose another --out.", out.display())))?;
    write_atomic(&out.join("index.html"), html.as_bytes())?;
    write_atomic(&out.join("claims.json"), serde_json::to_string_pretty(&evidence)?.as_bytes())?;
    write_atomic(&out.join("v3-trace.json"), trace(&step).to_string().as_bytes())?;
    let index = out.join("index.html");
    match json {
        true => crate::say!(
            "{}",
            json!({"page": index, "claims": out.join("claims.json"), "trace": out.join("v3-trace.json")})
        ),
        false => crate::say!("{} (and claims.json, v3-trace.json for Perfetto)", index.display()),
    }
    Ok(())
}

/// Everything that the page shows, and the evidence of its claims; `timeline` is the picture of a step.
fn page(runs: &DeepSeek, timeline: String, ui: &mut Ui) -> Outcome<(Page, Vec<Evidence>)> {
    let threads = reseek_tensor::pool::threads();
    let draws = Draws { count: DRAWS, seed: SEED, threads };
    ui.line("simulating V3's step and run, with intervals");
    let step = runs.step_beside(draws)?;
    let whole = runs.whole_runs(draws)?;
    let zero_hours = runs.r1_zero_gpu_hours()?;
    let (hours, bars) = runs.v3_tornado()?;
    let memory = runs.memory_by_plan()?;
    ui.line("simulating the published runs");
    let validation = validate()?;
    // A quarter of the draws for each of many rows.
    let covered = covered(DRAWS / 4, SEED, threads)?;
    ui.line("adding up the bill");
    let prices = Prices::default();
    let all = bill(DEEPSEEK, &prices, &Selection::All)?;
    let names: Vec<&str> = catalog()?.subjects.iter().map(|subject| subject.id.as_str()).collect();
    let subjects = compare(&names, &prices)?;
    ui.line("checking the ledger");
    let evidence = verify(&SimulatedFacts::simulate()?)?;
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        quoted: QuotedWords::new(),
        draws: DRAWS,
        as_wide_as: AS_WIDE_AS,
        headline: headline(&whole, &step, zero_hours),
        step: StepWords::of(&runs.model, &runs.cluster, &Plan::v3()),
        parts: step.parts.iter().map(StepRow::of).collect(),
        timeline,
        memory: memory_chart(&memory, runs.cluster.gpu.memory_bytes as f64),
        scatter_rate: predictions(&validation, "Rates", "TFLOPS", "TFLOPS a GPU"),
        scatter_hours: predictions(&validation, "GPU-hours", "h/T tokens", "for 10¹² tokens"),
        validation: ValidationPart::of(&validation, covered),
        phases: whole.iter().flat_map(PhaseRow::of).collect(),
        zero_range: lengths_matter(zero_hours),
        tornado: tornado_chart(hours, &bars),
        inputs: &INPUTS,
        waterfall: waterfall_chart(subjects.iter().filter(|one| one.subject == DEEPSEEK).flat_map(|one| &one.groups)),
        items: all.lines.iter().map(ItemRow::of).collect(),
        positions: positions(&prices)?.iter().flat_map(|(preset, bill)| PositionRow::of(preset, bill)).collect(),
        subjects: subjects.iter().map(SubjectRow::of).collect(),
        claims_summary: claims_summary(&evidence),
        claims: evidence.iter().map(ClaimRow::of).collect::<Outcome<_>>()?,
    };
    Ok((page, evidence))
}

/// Bars of the fullest rank's memory.
fn memory_chart(plans: &[(&str, Memory)], has_bytes: f64) -> String {
    let parts = |m: &Memory| {
        [m.weights_bytes, m.gradients_bytes, m.optimizer_bytes, m.activations_bytes, m.buffers_bytes]
            .map(|b| b / 1e9)
            .to_vec()
    };
    let rows: Vec<Stack> =
        plans.iter().map(|(label, memory)| Stack { label: label.to_string(), parts: parts(memory) }).collect();
    let names = ["weights", "gradients", "optimizer", "activations", "buffers"];
    stacked("Memory of the fullest rank", "GB", &names, &rows, Some((has_bytes / 1e9, "what an H800 has")))
}

/// Rows that count and are measured in `unit`, predicted over published.
fn predictions(found: &Validation, title: &str, unit: &str, axis: &str) -> String {
    let chosen = found.rows.iter().filter(|row| row.unit == unit && row.counts);
    let point = |row: &validate::Outcome| Prediction {
        label: row.name.to_string(),
        published: row.published,
        predicted: row.simulated,
        set: !row.sets_rates.is_empty(),
    };
    scatter(title, axis, &chosen.map(point).collect::<Vec<_>>())
}

/// The inputs that move the hours of V3's run most.
fn tornado_chart(hours: f64, bars: &[Bar]) -> String {
    let bars: Vec<Estimate> = bars
        .iter()
        .take(BARS)
        .map(|bar| Estimate {
            label: bar.input.title.to_string(),
            low: bar.at_low / 1e6,
            mid: 0.0,
            high: bar.at_high / 1e6,
        })
        .collect();
    tornado("GPU-hours of V3's run, one input at a time over its range", "million hours", hours / 1e6, &bars)
}

/// Groups of the bill's items, one after another.
fn waterfall_chart<'a>(groups: impl Iterator<Item = &'a (String, Range)>) -> String {
    let groups: Vec<Estimate> = groups
        .map(|(group, usd)| Estimate {
            label: group.clone(),
            low: usd.low / 1e6,
            mid: usd.mid / 1e6,
            high: usd.high / 1e6,
        })
        .collect();
    waterfall("What V3 and R1 took, item groups one after another", "million $, with low and high", &groups)
}

/// How many claims have which verdict.
fn claims_summary(evidence: &[Evidence]) -> String {
    let count = |verdict| evidence.iter().filter(|one| one.verdict == verdict).count();
    format!(
        "{} claims: {} hold, {} more by construction, as their runs set rates, {} fail, {} are inconclusive, {} are open, and {} cannot be checked \
         from outside.",
        evidence.len(),
        count(Verdict::Holds),
        count(Verdict::ByConstruction),
        count(Verdict::Fails),
        count(Verdict::Inconclusive),
        count(Verdict::Open),
        count(Verdict::CannotBeChecked)
    )
}
