//! `reseek sim schedule`: who does what when in a step, as a picture and as a trace.

use std::path::Path;

use reseek_report::sim_charts::{Pass, PassKind, standalone, timeline};
use reseek_sim::timeline::Span;
use reseek_sim::{Rates, Simulated, step};
use reseek_spec::schedule::Action;
use reseek_store::write_atomic;
use serde::Serialize;
use serde_json::{Value, json};

use super::plan::{check_memory, describe, plan_json, subject};
use crate::cli_full_scale::ScheduleArgs;
use crate::error::Outcome;

/// Writes the picture and the trace that were asked for and says what each rank does.
pub fn schedule(args: &ScheduleArgs) -> Outcome<()> {
    let subject = subject(&args.plan)?;
    let found = step(&subject.model, &subject.cluster, &subject.plan, &Rates::of(&subject.cluster.gpu))?;
    check_memory(&subject, "the plan", found.report.memory_peak_bytes, args.plan.ignore_memory)?;
    for (path, text) in [(&args.svg, standalone(&picture(&found))), (&args.trace, trace(&found).to_string())] {
        if let Some(path) = path {
            write(path, &text)?;
        }
    }
    let ranks: Vec<RankRow> = (0..found.timeline.spans.len()).map(|rank| RankRow::of(&found, rank)).collect();
    if args.json {
        crate::say!(
            "{}",
            json!({"plan": plan_json(&subject.plan), "makespan_s": found.timeline.makespan_s, "ranks": ranks})
        );
        return Ok(());
    }
    crate::say!("{}\n", describe(&subject.plan, &subject.cluster));
    crate::say!("{:>5} {:>7} {:>8} {:>10} {:>10}", "rank", "units", "passes", "busy, s", "waits, s");
    for RankRow { rank, passes, busy_s, bubble_s, layers } in ranks {
        crate::say!("{rank:>5} {layers:>7} {passes:>8} {busy_s:>10.3} {bubble_s:>10.3}");
    }
    crate::say!("\nall passes end after {:.3} s; gradients and optimizer follow", found.timeline.makespan_s);
    Ok(())
}

/// What a rank of the pipeline does in a step.
#[derive(Serialize)]
struct RankRow {
    rank: usize,
    passes: usize,
    busy_s: f64,
    bubble_s: f64,
    layers: usize,
}

impl RankRow {
    fn of(found: &Simulated, rank: usize) -> Self {
        let busy_s = found.timeline.busy_s(rank);
        Self {
            rank,
            passes: found.timeline.spans[rank].len(),
            busy_s,
            bubble_s: found.timeline.makespan_s - busy_s,
            layers: found.layout.layers_of_rank(rank),
        }
    }
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    write_atomic(path, text.as_bytes())?;
    Ok(())
}

fn kind(action: Action) -> PassKind {
    match action {
        Action::Forward { .. } => PassKind::Forward,
        Action::Backward { .. } | Action::BackwardInput { .. } => PassKind::Backward,
        Action::BackwardWeight { .. } => PassKind::Weight,
        Action::Overlapped { .. } => PassKind::Pair,
    }
}

/// The picture as HTML for a page.
pub fn picture(found: &Simulated) -> String {
    let pass = |span: &Span| Pass { kind: kind(span.action), start_s: span.start_s, end_s: span.end_s };
    let ranks: Vec<Vec<Pass>> = found.timeline.spans.iter().map(|spans| spans.iter().map(pass).collect()).collect();
    timeline("Who does what when", &ranks)
}

/// Perfetto's JSON: a process for the step, a thread for each rank, times in µs.
pub fn trace(found: &Simulated) -> Value {
    let mut events = vec![json!({"ph": "M", "pid": 0, "name": "process_name", "args": {"name": "pipeline"}})];
    for (rank, spans) in found.timeline.spans.iter().enumerate() {
        events.push(
            json!({"ph": "M", "pid": 0, "tid": rank, "name": "thread_name", "args": {"name": format!("rank {rank}")}}),
        );
        for span in spans {
            let args = match span.action {
                Action::Forward { chunk, micro_batch }
                | Action::Backward { chunk, micro_batch }
                | Action::BackwardInput { chunk, micro_batch }
                | Action::BackwardWeight { chunk, micro_batch } => json!({"chunk": chunk, "micro_batch": micro_batch}),
                Action::Overlapped { forward, backward } => json!({
                    "forward_chunk": forward.0, "forward_micro_batch": forward.1,
                    "backward_chunk": backward.0, "backward_micro_batch": backward.1,
                }),
            };
            events.push(json!({
                "ph": "X", "pid": 0, "tid": rank, "name": kind(span.action).name(),
                "ts": span.start_s * 1e6, "dur": (span.end_s - span.start_s) * 1e6, "args": args,
            }));
        }
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms"})
}
