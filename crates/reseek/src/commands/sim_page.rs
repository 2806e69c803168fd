//! `reseek report sim`: the page about full-scale runs, with the ledger's evidence and the pipeline's trace beside it.

use std::path::Path;

use reseek_claims::{Evidence, SimulatedFacts, Verdict, find, verify};
use reseek_report::render_sim;
use reseek_report::sim_charts::{Estimate, Prediction, Stack, scatter, stacked, tornado, waterfall};
use reseek_sim::bill::{Prices, Range, Selection, bill, catalog, compare};
use reseek_sim::memory::Memory;
use reseek_sim::rates::Rate;
use reseek_sim::run::{Phase, r1, r1_plan, r1_zero, run, v3};
use reseek_sim::uncertainty::{AS_WIDE_AS, INPUTS, Input, intervals, tornado as inputs_alone};
use reseek_sim::validate::{self, Errors, Validation};
use reseek_sim::{Plan, Rates, SimError, Simulated, step};
use reseek_spec::{ClusterSpec, ModelSpec, preset};
use reseek_store::write_atomic;
use serde_json::{Value, json};

use super::claims::word;
use super::cost::{agreement, usd, whole};
use super::schedule::{picture, trace};
use crate::error::Outcome;
use crate::ui::Ui;

/// Draws behind every interval of the page.
const DRAWS: usize = 400;
/// Tokens that V3 was pre-trained on.
const TOKENS: f64 = 14.8e12;
const SEED: u64 = 1;

/// Writes `index.html`, `claims.json` and `v3-trace.json` to `out`.
pub fn sim_page(out: &Path, json: bool, quiet: bool) -> Outcome<()> {
    let mut ui = Ui::new(quiet);
    let facts = Facts::new()?;
    ui.line("simulating V3's step and run, with intervals");
    let mut page = facts.v3()?;
    ui.line("simulating the published runs");
    facts.validation(&mut page)?;
    ui.line("adding up the bill");
    facts.bill(&mut page)?;
    ui.line("checking the ledger");
    let evidence = verify(&SimulatedFacts::simulate()?)?;
    claims(&mut page, &evidence)?;
    page["version"] = json!(env!("CARGO_PKG_VERSION"));
    let html = render_sim(&page)?;
    std::fs::create_dir_all(out).map_err(|error| {
        crate::error::Failure::Error(format!("cannot make {}: {error}. Choose another --out.", out.display()))
    })?;
    write_atomic(&out.join("index.html"), html.as_bytes())?;
    write_atomic(&out.join("claims.json"), serde_json::to_string_pretty(&evidence)?.as_bytes())?;
    write_atomic(&out.join("v3-trace.json"), trace(&facts.step).to_string().as_bytes())?;
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

struct Facts {
    model: ModelSpec,
    cluster: ClusterSpec,
    rates: Rates,
    step: Simulated,
}

fn spread(range: Range, scale: f64, digits: usize) -> String {
    format!("{:.digits$} – {:.digits$}", range.low / scale, range.high / scale)
}

impl Facts {
    fn new() -> Outcome<Self> {
        let (model, cluster) = (preset("v3-671b")?, ClusterSpec::h800x2048());
        let rates = Rates::of(&cluster.gpu);
        let step = step(&model, &cluster, &Plan::v3(), &rates)?;
        Ok(Self { model, cluster, rates, step })
    }

    fn hours(&self, cluster: &ClusterSpec, phases: &[Phase], rates: &Rates) -> Result<f64, SimError> {
        run(&self.model, cluster, phases, rates, 2.0).map(|found| found.gpu_hours)
    }

    /// The step, the whole runs and what they hang on.
    fn v3(&self) -> Outcome<Value> {
        let threads = reseek_tensor::pool::threads();
        let parts = |rates: &Rates| {
            let report = step(&self.model, &self.cluster, &Plan::v3(), rates)?.report;
            let p = &report.parts;
            let passes = p.forward_s + p.backward_s + p.weight_s + p.forward_backward_s;
            Ok([report.step_s, passes, report.bubble_s, p.optimizer_s, report.gpu_hours_per_t_tokens])
        };
        let found = intervals(&self.rates, DRAWS, SEED, threads, &parts)?;
        let published =
            [("whole step", 19.926), ("passes, alone and in pairs", 17.55), ("bubble", 2.06), ("optimizer", 0.29)];
        let rows: Vec<Value> = published
            .iter()
            .zip(&found)
            .map(|((name, published), range)| {
                let error = 100.0 * (range.mid / published - 1.0);
                json!({"name": name, "published": published, "simulated": format!("{:.2}", range.mid), "interval": spread(*range, 1.0, 2),
                       "error": format!("{error:+.1} %")})
            })
            .collect();
        let (phases, headline, zero_range) = self.runs(threads, found[4])?;
        let answer =
            |rates: &Rates| self.hours(&self.cluster, &v3(&Plan::v3(), TOKENS), rates).map(|hours| hours / 1e6);
        let bars = inputs_alone(&self.rates, &answer)?;
        let bars: Vec<Estimate> = bars
            .iter()
            .take(12)
            .map(|bar| Estimate { label: bar.input.title.to_string(), low: bar.at_low, mid: 0.0, high: bar.at_high })
            .collect();
        let input = |i: &Input| json!({"title": i.title, "low": i.low, "high": i.high, "source": i.source});
        Ok(json!({
            "draws": DRAWS, "as_wide_as": AS_WIDE_AS, "parts": rows, "phases": phases, "headline": headline, "zero_range": zero_range,
            "timeline": picture(&self.step), "memory": self.memory()?,
            "tornado": tornado("GPU-hours of V3's run, one input at a time over its range", "million hours", answer(&self.rates)?, &bars),
            "inputs": INPUTS.iter().map(input).collect::<Vec<_>>(),
        }))
    }

    fn runs(&self, threads: usize, per_trillion: Range) -> Outcome<(Vec<Value>, Value, String)> {
        let r1_cluster = ClusterSpec::parse("h800x512")?;
        let mut rows = Vec::new();
        let mut totals = Vec::new();
        for (name, cluster, phases, published) in [
            ("V3", &self.cluster, v3(&Plan::v3(), TOKENS), &["2,664,000", "119,000 both", ""][..]),
            ("R1-Zero", &r1_cluster, r1_zero(&r1_plan(), 1.0), &["101,000"][..]),
            ("R1", &r1_cluster, r1(&r1_plan(), 1.0), &["41,000 in all", "", ""][..]),
        ] {
            let middle = run(&self.model, cluster, &phases, &self.rates, 2.0)?;
            let each = |rates: &Rates| -> Result<[f64; 4], SimError> {
                let found = run(&self.model, cluster, &phases, rates, 2.0)?;
                let of = |i: usize| found.phases.get(i).map_or(0.0, |phase| phase.gpu_hours);
                Ok([of(0), of(1), of(2), found.gpu_hours])
            };
            let found = intervals(&self.rates, DRAWS, SEED, threads, &each)?;
            for (i, phase) in middle.phases.iter().enumerate() {
                rows.push(json!({
                    "run": name, "name": phase.name, "tokens": whole(phase.tokens), "hours": whole(phase.hours),
                    "gpu_hours": whole(phase.gpu_hours), "interval": format!("{} – {}", whole(found[i].low), whole(found[i].high)), "published": published[i],
                }));
            }
            totals.push((middle, found[3]));
        }
        let (v3, range) = &totals[0];
        let zero = |length: f64| self.hours(&r1_cluster, &r1_zero(&r1_plan(), length), &self.rates);
        let lengths = [zero(0.5)? / 1e3, zero(2.0)? / 1e3];
        let headline = json!([
            {"value": format!("{:.2} M", v3.gpu_hours / 1e6), "what": "H800 hours for V3, failures included",
             "beside": format!("{} M; published 2.783", spread(*range, 1e6, 2))},
            {"value": format!("${:.2} M", v3.cost_usd / 1e6), "what": "at the report's $2 an hour",
             "beside": format!("${} M; published 5.566 without post-training", spread(range.times(Range::exact(2.0)), 1e6, 2))},
            {"value": format!("{:.0} K", per_trillion.mid / 1e3), "what": "hours for a trillion tokens",
             "beside": format!("{} K; published 180", spread(per_trillion, 1e3, 0))},
            {"value": format!("{:.0} K", totals[1].0.gpu_hours / 1e3), "what": "hours for R1-Zero, of which sampling is most",
             "beside": format!("{:.0} to {:.0} K with half and twice the answers' lengths; published 101", lengths[0], lengths[1])},
        ]);
        Ok((rows, headline, format!("{:.0} to {:.0} thousand", lengths[0], lengths[1])))
    }

    /// Bars of the fullest rank's memory by what is computed again.
    fn memory(&self) -> Outcome<String> {
        let plans = [
            ("V3's plan", Plan::v3()),
            ("everything computed again", Plan { recompute: reseek_sim::Recompute::Full, ..Plan::v3() }),
            ("nothing computed again", Plan { recompute: reseek_sim::Recompute::None, ..Plan::v3() }),
            ("in bf16", Plan { precision: reseek_sim::Precision::Bf16, ..Plan::v3() }),
            ("optimizer not divided", Plan { zero: 0, ..Plan::v3() }),
        ];
        let parts = |m: &Memory| {
            [m.weights_bytes, m.gradients_bytes, m.optimizer_bytes, m.activations_bytes, m.buffers_bytes]
                .map(|b| b / 1e9)
                .to_vec()
        };
        let rows = plans
            .into_iter()
            .map(|(label, plan)| {
                let memory = step(&self.model, &self.cluster, &plan, &self.rates)?.report.memory;
                Ok(Stack { label: label.to_string(), parts: parts(&memory) })
            })
            .collect::<Result<Vec<_>, SimError>>()?;
        let names = ["weights", "gradients", "optimizer", "activations", "buffers"];
        let has = self.cluster.gpu.memory_bytes as f64 / 1e9;
        Ok(stacked("Memory of the fullest rank", "GB", &names, &rows, Some((has, "what an H800 has"))))
    }

    fn validation(&self, page: &mut Value) -> Outcome<()> {
        let found = validate::validate()?;
        let covered = validate::covered(DRAWS / 4, SEED, reseek_tensor::pool::threads())?;
        let of = |unit: &str| {
            let chosen = found.rows.iter().filter(|row| row.unit == unit && row.counts);
            let point = |row: &validate::Outcome| Prediction {
                label: row.name.to_string(),
                published: row.published,
                predicted: row.simulated,
                set: !row.sets_rates.is_empty(),
            };
            chosen.map(point).collect::<Vec<_>>()
        };
        page["scatter_rate"] = json!(scatter("Rates", "TFLOPS a GPU", &of("TFLOPS")));
        page["scatter_hours"] = json!(scatter("GPU-hours", "for 10¹² tokens", &of("h/T tokens")));
        page["validation"] = validation_json(&found, covered);
        Ok(())
    }

    fn bill(&self, page: &mut Value) -> Outcome<()> {
        let prices = Prices::default();
        let all = bill("deepseek-v3-r1", &prices, &Selection::All)?;
        let mut groups: Vec<Estimate> = Vec::new();
        for line in all.lines.iter().filter(|line| line.counted) {
            let add = |e: &mut Estimate| {
                e.low += line.usd.low / 1e6;
                e.mid += line.usd.mid / 1e6;
                e.high += line.usd.high / 1e6;
            };
            match groups.iter_mut().find(|group| group.label == line.item.group) {
                Some(group) => add(group),
                None => {
                    let mut group = Estimate { label: line.item.group.clone(), low: 0.0, mid: 0.0, high: 0.0 };
                    add(&mut group);
                    groups.push(group);
                }
            }
        }
        page["waterfall"] = json!(waterfall(
            "What V3 and R1 took, item groups one after another",
            "million $, with low and high",
            &groups
        ));
        let item = |line: &reseek_sim::bill::Line| {
            json!({"title": line.item.title, "group": line.item.group, "low": usd(line.usd.low), "mid": usd(line.usd.mid),
                   "high": usd(line.usd.high), "source": line.item.source.text()})
        };
        page["items"] = all.lines.iter().map(item).collect();
        let mut positions = Vec::new();
        for preset in &catalog()?.presets {
            let subject = preset.subject.as_deref().unwrap_or("deepseek-v3-r1");
            for figure in bill(subject, &prices, &Selection::Preset(&preset.id))?.figures {
                positions.push(json!({
                    "preset": preset.id, "title": figure.figure.title, "published": usd(figure.figure.published_usd.mid),
                    "ours": usd(figure.usd.mid), "agreement": agreement(figure.agreement),
                }));
            }
        }
        page["positions"] = json!(positions);
        let names: Vec<&str> = catalog()?.subjects.iter().map(|subject| subject.id.as_str()).collect();
        let row = |s: &reseek_sim::bill::Compared| {
            json!({"title": s.title, "gpu": s.gpu, "published": usd(s.published.usd.mid), "low": usd(s.everything.usd.low),
                   "mid": usd(s.everything.usd.mid), "high": usd(s.everything.usd.high)})
        };
        page["subjects"] = compare(&names, &prices)?.iter().map(row).collect();
        Ok(())
    }
}

fn errors(found: &Errors) -> Value {
    json!({"runs": found.runs, "figures": found.figures, "mean": format!("{:.1}", found.mean), "worst": format!("{:.1}", found.worst)})
}

fn validation_json(found: &Validation, (inside, of): (usize, usize)) -> Value {
    let figure = |v: f64| if v.abs() < 1e3 { format!("{v:.2}") } else { format!("{v:.0}") };
    let row = |row: &validate::Outcome| {
        let sign = if row.unit == "points" { "pt" } else { "%" };
        json!({
            "name": row.name, "quantity": row.quantity, "unit": row.unit, "published": figure(row.published),
            "simulated": figure(row.simulated), "error": format!("{:+.1} {sign}", row.error),
            "tolerance": format!("{} {sign}", row.tolerance), "passes": row.passes, "sets_rates": Rate::names(row.sets_rates),
            "counts": row.counts, "assumed": row.assumed,
        })
    };
    json!({
        "rows": found.rows.iter().map(row).collect::<Vec<_>>(),
        "counted": errors(&found.counted), "unseen": errors(&found.unseen), "shown": errors(&found.shown),
        "covered": inside, "countable": of,
    })
}

fn claims(page: &mut Value, evidence: &[Evidence]) -> Outcome<()> {
    let number = |value: Option<f64>| {
        value.map_or(String::new(), |v| if v.abs() >= 1e5 { format!("{v:.4e}") } else { format!("{v:.4}") })
    };
    let mut rows = Vec::new();
    for one in evidence {
        let claim = find(one.claim)?;
        rows.push(json!({
            "id": claim.id, "statement": claim.statement, "place": format!("{}, {}", word(&claim.report)?, claim.place),
            "class": word(&claim.class())?, "verdict": word(&one.verdict)?, "published": number(one.published),
            "found": number(one.found), "working": format!("{} Allowed: {}", one.working, claim.tolerance.why()),
        }));
    }
    let count = |verdict| evidence.iter().filter(|one| one.verdict == verdict).count();
    page["claims"] = json!(rows);
    page["claims_summary"] = json!(format!(
        "{} claims: {} hold, {} more by construction, as their runs set rates, {} fail, {} are inconclusive, {} are open, and {} cannot be checked \
         from outside.",
        evidence.len(),
        count(Verdict::Holds),
        count(Verdict::ByConstruction),
        count(Verdict::Fails),
        count(Verdict::Inconclusive),
        count(Verdict::Open),
        count(Verdict::CannotBeChecked)
    ));
    Ok(())
}
