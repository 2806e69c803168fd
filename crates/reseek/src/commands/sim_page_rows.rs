//! What the page about full-scale runs says, by the names of its template (`sim.html`): the simulator's answers as they are written there.

use reseek_claims::{Evidence, find};
use reseek_sim::Plan;
use reseek_sim::bill::{Bill, Compared, Line, Preset, Range};
use reseek_sim::deepseek::{StepBeside, StepPart, WholeRun};
use reseek_sim::published;
use reseek_sim::rates::Rate;
use reseek_sim::uncertainty::Input;
use reseek_sim::validate::{self, Errors, Validation};
use reseek_spec::{ClusterSpec, ModelSpec, thousands};
use serde::Serialize;

use super::claims::word;
use super::cost::{agreement, usd, whole};
use crate::error::Outcome;

/// The page; charts are HTML.
#[derive(Serialize)]
pub struct Page {
    pub version: &'static str,
    pub quoted: QuotedWords,
    pub draws: usize,
    pub as_wide_as: &'static str,
    pub headline: [Headline; 4],
    pub step: StepWords,
    pub parts: Vec<StepRow>,
    pub timeline: String,
    pub memory: String,
    pub scatter_rate: String,
    pub scatter_hours: String,
    pub validation: ValidationPart,
    pub phases: Vec<PhaseRow>,
    pub zero_range: String,
    pub tornado: String,
    pub inputs: &'static [Input],
    pub waterfall: String,
    pub items: Vec<ItemRow>,
    pub positions: Vec<PositionRow>,
    pub subjects: Vec<SubjectRow>,
    pub claims_summary: String,
    pub claims: Vec<ClaimRow>,
}

/// Published figures in the page's sentences.
#[derive(Serialize)]
pub struct QuotedWords {
    /// In millions.
    hours: String,
    usd: String,
    /// Of an hour, in USD.
    rent: String,
}

impl QuotedWords {
    pub fn new() -> Self {
        let millions = |value: f64| format!("{:.3}", value / 1e6);
        Self {
            hours: millions(published::TRAINING.value),
            usd: millions(published::TRAINING_USD.value),
            rent: published::GPU_HOUR_USD.value.to_string(),
        }
    }
}

/// V3's plan in the page's sentences.
#[derive(Serialize)]
pub struct StepWords {
    layers: usize,
    pp: usize,
    ep: usize,
    gpus: String,
    sequences: String,
    seq: String,
}

impl StepWords {
    pub fn of(model: &ModelSpec, cluster: &ClusterSpec, plan: &Plan) -> Self {
        let count = |n: usize| thousands(n as u64);
        Self {
            layers: model.num_hidden_layers,
            pp: plan.pp,
            ep: plan.ep,
            gpus: count(cluster.gpus),
            sequences: count(plan.global_batch),
            seq: count(plan.seq),
        }
    }
}

/// A large figure at the page's top.
#[derive(Serialize)]
pub struct Headline {
    value: String,
    what: String,
    beside: String,
}

/// A part of V3's step.
#[derive(Serialize)]
pub struct StepRow {
    name: &'static str,
    published: f64,
    simulated: String,
    interval: String,
    error: String,
}

impl StepRow {
    pub fn of(part: &StepPart) -> Self {
        let error = 100.0 * (part.seconds.mid / part.published.value - 1.0);
        Self {
            name: part.name,
            published: part.published.value,
            simulated: format!("{:.2}", part.seconds.mid),
            interval: interval(part.seconds, 1.0, 2),
            error: format!("{error:+.1} %"),
        }
    }
}

fn interval(range: Range, scale: f64, digits: usize) -> String {
    format!("{:.digits$} – {:.digits$}", range.low / scale, range.high / scale)
}

/// A phase of a whole run.
#[derive(Serialize)]
pub struct PhaseRow {
    run: &'static str,
    name: &'static str,
    tokens: String,
    hours: String,
    gpu_hours: String,
    interval: String,
    published: String,
}

impl PhaseRow {
    /// The phases of `run`; what was published of several stands beside the first of them.
    pub fn of(run: &WholeRun) -> Vec<Self> {
        let mut published = Vec::new();
        for (phases, hours) in &run.published {
            let of_phases = match phases {
                1 => "",
                2 => " both",
                _ => " in all",
            };
            published.push(format!("{}{of_phases}", whole(hours.value)));
            published.resize(published.len() + phases - 1, String::new());
        }
        let rows = run.report.phases.iter().zip(&run.phases).enumerate();
        rows.map(|(i, (phase, hours))| Self {
            run: run.name,
            name: phase.name,
            tokens: whole(phase.tokens),
            hours: whole(phase.hours),
            gpu_hours: whole(phase.gpu_hours),
            interval: format!("{} – {}", whole(hours.low), whole(hours.high)),
            published: published.get(i).cloned().unwrap_or_default(),
        })
        .collect()
    }
}

/// What the page begins with.
pub fn headline([v3, zero, _]: &[WholeRun; 3], step: &StepBeside, zero_hours: [f64; 3]) -> [Headline; 4] {
    let rent = published::GPU_HOUR_USD.value;
    // Of the run that is simulated: pre-training and both extensions.
    let hours = published::PRE_TRAINING.value + published::EXTENSION.value;
    let per_trillion = step.gpu_hours_per_t_tokens;
    let [half, _, twice] = zero_hours.map(|hours| hours / 1e3);
    [
        Headline {
            value: format!("{:.2} M", v3.report.gpu_hours / 1e6),
            what: "H800 hours for V3, failures included".to_string(),
            beside: format!("{} M; published {:.3}", interval(v3.gpu_hours, 1e6, 2), hours / 1e6),
        },
        Headline {
            value: format!("${:.2} M", v3.report.cost_usd / 1e6),
            what: format!("at the report's ${rent} an hour"),
            beside: format!(
                "${} M; published {:.3} without post-training",
                interval(v3.gpu_hours.times(Range::exact(rent)), 1e6, 2),
                hours * rent / 1e6
            ),
        },
        Headline {
            value: format!("{:.0} K", per_trillion.mid / 1e3),
            what: "hours for a trillion tokens".to_string(),
            beside: format!("{} K; published {}", interval(per_trillion, 1e3, 0), published::HOURS_PER_T.value / 1e3),
        },
        Headline {
            value: format!("{:.0} K", zero.report.gpu_hours / 1e3),
            what: "hours for R1-Zero, of which sampling is most".to_string(),
            beside: format!(
                "{half:.0} to {twice:.0} K with half and twice the answers' lengths; published {}",
                published::R1_ZERO.value / 1e3
            ),
        },
    ]
}

/// R1-Zero's GPU-hours with half and twice the answers' lengths.
pub fn lengths_matter([half, _, twice]: [f64; 3]) -> String {
    format!("{:.0} to {:.0} thousand", half / 1e3, twice / 1e3)
}

/// The published runs.
#[derive(Serialize)]
pub struct ValidationPart {
    rows: Vec<ValidationRow>,
    counted: ErrorWords,
    unseen: ErrorWords,
    shown: ErrorWords,
    /// Published values inside of the simulator's intervals, of how many.
    covered: usize,
    countable: usize,
}

#[derive(Serialize)]
struct ErrorWords {
    runs: usize,
    figures: usize,
    mean: String,
    worst: String,
}

impl ErrorWords {
    fn of(found: &Errors) -> Self {
        let Errors { runs, figures, mean, worst, .. } = *found;
        Self { runs, figures, mean: format!("{mean:.1}"), worst: format!("{worst:.1}") }
    }
}

impl ValidationPart {
    pub fn of(found: &Validation, (covered, countable): (usize, usize)) -> Self {
        Self {
            rows: found.rows.iter().map(ValidationRow::of).collect(),
            counted: ErrorWords::of(&found.counted),
            unseen: ErrorWords::of(&found.unseen),
            shown: ErrorWords::of(&found.shown),
            covered,
            countable,
        }
    }
}

#[derive(Serialize)]
struct ValidationRow {
    name: &'static str,
    quantity: &'static str,
    unit: &'static str,
    published: String,
    simulated: String,
    error: String,
    tolerance: String,
    passes: bool,
    sets_rates: String,
    counts: bool,
    assumed: &'static str,
}

impl ValidationRow {
    fn of(row: &validate::Outcome) -> Self {
        let figure = |v: f64| if v.abs() < 1e3 { format!("{v:.2}") } else { format!("{v:.0}") };
        let sign = if row.unit == "points" { "pt" } else { "%" };
        Self {
            name: row.name,
            quantity: row.quantity,
            unit: row.unit,
            published: figure(row.published),
            simulated: figure(row.simulated),
            error: format!("{:+.1} {sign}", row.error),
            tolerance: format!("{} {sign}", row.tolerance),
            passes: row.passes,
            sets_rates: Rate::names(row.sets_rates),
            counts: row.counts,
            assumed: row.assumed,
        }
    }
}

/// An item of the bill.
#[derive(Serialize)]
pub struct ItemRow {
    title: String,
    group: String,
    low: String,
    mid: String,
    high: String,
    source: String,
}

impl ItemRow {
    pub fn of(line: &Line) -> Self {
        Self {
            title: line.item.title.clone(),
            group: line.item.group.clone(),
            low: usd(line.usd.low),
            mid: usd(line.usd.mid),
            high: usd(line.usd.high),
            source: line.item.source.text().to_string(),
        }
    }
}

/// A figure of the debate.
#[derive(Serialize)]
pub struct PositionRow {
    preset: String,
    title: String,
    published: String,
    ours: String,
    agreement: &'static str,
}

impl PositionRow {
    /// The figures of a position.
    pub fn of(preset: &Preset, bill: &Bill) -> Vec<Self> {
        let row = |found: &reseek_sim::bill::FigureResult| Self {
            preset: preset.id.clone(),
            title: found.figure.title.clone(),
            published: usd(found.figure.published_usd.mid),
            ours: usd(found.usd.mid),
            agreement: agreement(found.agreement),
        };
        bill.figures.iter().map(row).collect()
    }
}

/// A model beside others.
#[derive(Serialize)]
pub struct SubjectRow {
    title: String,
    gpu: String,
    published: String,
    low: String,
    mid: String,
    high: String,
}

impl SubjectRow {
    pub fn of(subject: &Compared) -> Self {
        let everything = subject.everything.usd;
        Self {
            title: subject.title.clone(),
            gpu: subject.gpu.clone(),
            published: usd(subject.published.usd.mid),
            low: usd(everything.low),
            mid: usd(everything.mid),
            high: usd(everything.high),
        }
    }
}

/// A claim with its verdict.
#[derive(Serialize)]
pub struct ClaimRow {
    id: &'static str,
    statement: &'static str,
    place: String,
    class: String,
    verdict: String,
    published: String,
    found: String,
    working: String,
}

impl ClaimRow {
    pub fn of(evidence: &Evidence) -> Outcome<Self> {
        let number = |value: Option<f64>| {
            value.map_or(String::new(), |v| if v.abs() >= 1e5 { format!("{v:.4e}") } else { format!("{v:.4}") })
        };
        let claim = find(evidence.claim)?;
        Ok(Self {
            id: claim.id,
            statement: claim.statement,
            place: format!("{}, {}", word(&claim.report)?, claim.place),
            class: word(&claim.class())?,
            verdict: word(&evidence.verdict)?,
            published: number(evidence.published),
            found: number(evidence.found),
            working: format!("{} Allowed: {}", evidence.working, claim.tolerance.why()),
        })
    }
}
