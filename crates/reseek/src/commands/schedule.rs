//! `reseek sim schedule`: who does what when in a step, as a picture and as a trace.

use std::path::Path;

use reseek_report::sim_charts::{Pass, PassKind, timeline};
use reseek_sim::timeline::Span;
use reseek_sim::{Rates, Simulated, step};
use reseek_spec::schedule::Action;
use reseek_store::write_atomic;
use serde_json::{Value, json};

use super::plan::{check_memory, describe, plan_json, subject};
use crate::cli_full_scale::ScheduleArgs;
use crate::error::Outcome;

/// Writes the picture and the trace that were asked for and says what each rank does.
pub fn schedule(args: &ScheduleArgs) -> Outcome<()> {
    let subject = subject(&args.plan)?;
    let found = step(&subject.model, &subject.cluster, &subject.plan, &Rates::of(&subject.cluster.gpu))?;
    check_memory(&subject, "the plan", found.report.memory_peak_bytes, args.plan.ignore_memory)?;
    for (path, text) in [(&args.svg, standalone(&found)), (&args.trace, trace(&found).to_string())] {
        if let Some(path) = path {
            write(path, &text)?;
        }
    }
    let ranks: Vec<Value> = (0..found.timeline.spans.len())
        .map(|rank| {
            let busy = found.timeline.busy_s(rank);
            json!({"rank": rank, "passes": found.timeline.spans[rank].len(), "busy_s": busy,
                   "bubble_s": found.timeline.makespan_s - busy, "layers": found.layout.layers_of_rank(rank)})
        })
        .collect();
    if args.json {
        crate::say!(
            "{}",
            json!({"plan": plan_json(&subject.plan), "makespan_s": found.timeline.makespan_s, "ranks": ranks})
        );
        return Ok(());
    }
    crate::say!("{}\n", describe(&subject.plan, &subject.cluster));
    crate::say!("{:>5} {:>7} {:>8} {:>10} {:>10}", "rank", "units", "passes", "busy, s", "waits, s");
    for rank in ranks {
        let seconds = |key: &str| rank[key].as_f64().unwrap_or(f64::NAN);
        let (busy, bubble) = (seconds("busy_s"), seconds("bubble_s"));
        crate::say!("{:>5} {:>7} {:>8} {busy:>10.3} {bubble:>10.3}", rank["rank"], rank["layers"], rank["passes"]);
    }
    crate::say!("\nall passes end after {:.3} s; gradients and optimizer follow", found.timeline.makespan_s);
    Ok(())
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

/// The picture as a file of its own.
fn standalone(found: &Simulated) -> String {
    let html = picture(found);
    let svg = html.find("<svg").zip(html.find("</svg>")).map_or("<svg></svg>", |(from, to)| &html[from..to + 6]);
    let style = "<style>.fill{fill:currentColor}.tick{font:10.5px sans-serif;fill:#5c6770}.c0{color:#1f5f8b}.c1{color:#b4531f}.c2{color:#3c7a4a}\
                 .c3{color:#6b5b95}</style>";
    let (open, rest) = svg.split_once('>').unwrap_or((svg, ""));
    format!("{open} xmlns=\"http://www.w3.org/2000/svg\">{style}{rest}\n")
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
