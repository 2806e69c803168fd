//! What `reseek sim run` and `reseek sim validate` print.

use reseek_sim::StepReport;
use reseek_sim::bill::Range;
use reseek_sim::rates::Rate;
use reseek_sim::run::RunReport;
use reseek_sim::uncertainty::AS_WIDE_AS;
use reseek_sim::validate::{Errors, MEAN_MAX, Validation, WORST_MAX, validate};

use super::cost::whole as whole_number;
use super::plan::{Subject, describe};
use super::sim::{Found, first_step};
use crate::error::{Failure, Outcome};

/// The plan, its step, the whole run and the intervals.
pub fn print_run(found: &Found) {
    let Found { subject, phases, whole, spread, usd, note } = found;
    crate::say!("{}\n", describe(&subject.plan, &subject.cluster));
    print_step(subject, first_step(whole));
    print_phases(whole, *note);
    for phase in phases.iter().filter(|phase| phase.plan != subject.plan) {
        crate::say!("{}: {}", phase.name, describe(&phase.plan, &subject.cluster));
    }
    crate::say!(
        "\n{} GPU-hours, {:.1} days, ${} at ${usd} a GPU-hour, {} MWh; {:.1} % of the time makes steps that count",
        whole_number(whole.gpu_hours),
        whole.days,
        whole_number(whole.cost_usd),
        whole_number(whole.energy_mwh),
        100.0 * whole.goodput
    );
    let Some(s) = spread else { return };
    crate::say!("\nIntervals {AS_WIDE_AS}, every rate varied over its range at once:");
    crate::say!("  step             {:.2} – {:.2} s", s.step_s.low, s.step_s.high);
    let range = |range: Range| format!("{} – {}", whole_number(range.low), whole_number(range.high));
    crate::say!("  GPU-hours        {}", range(s.gpu_hours));
    crate::say!("  a trillion       {} GPU-hours", range(s.gpu_hours_per_t_tokens));
    crate::say!("  days             {:.1} – {:.1}", s.days.low, s.days.high);
    crate::say!("  money            ${} – ${}", whole_number(s.cost_usd.low), whole_number(s.cost_usd.high));
}

fn print_step(subject: &Subject, report: &StepReport) {
    let parts = &report.parts;
    crate::say!("step {:.3} s, {} tokens/s a GPU", report.step_s, whole_number(report.tokens_per_s_per_gpu));
    for (name, seconds) in [
        ("forward alone", parts.forward_s),
        ("backward alone", parts.backward_s),
        ("weight gradients", parts.weight_s),
        ("forward and backward in pairs", parts.forward_backward_s),
        ("bubble", parts.bubble_s),
        ("optimizer", parts.optimizer_s),
    ] {
        crate::say!("  {name:<30} {seconds:>9.3} s  {:>5.1} %", 100.0 * seconds / report.step_s);
    }
    crate::say!(
        "communication that shows         {:>9.3} s of {:.3} s in the passes",
        report.exposed_comm_s,
        report.comm_s
    );
    crate::say!(
        "TFLOPS a GPU                     {:>9.1} causal, {:.1} non-causal",
        report.tflops_per_gpu,
        report.tflops_per_gpu_noncausal
    );
    crate::say!(
        "MFU of the bf16 peak             {:>9.2} % causal, {:.2} % non-causal",
        100.0 * report.mfu_causal,
        100.0 * report.mfu_noncausal
    );
    crate::say!("GPU-hours for 10¹² tokens        {:>9}", whole_number(report.gpu_hours_per_t_tokens));
    let memory = &report.memory;
    crate::say!(
        "memory of the fullest rank       {:>9.1} GB of {:.0}: weights {:.1}, gradients {:.1}, optimizer {:.1}, activations {:.1}, buffers {:.1}",
        report.memory_peak_bytes / 1e9,
        subject.cluster.gpu.memory_bytes as f64 / 1e9,
        memory.weights_bytes / 1e9,
        memory.gradients_bytes / 1e9,
        memory.optimizer_bytes / 1e9,
        memory.activations_bytes / 1e9,
        memory.buffers_bytes / 1e9,
    );
}

fn print_phases(whole: &RunReport, note: Option<&str>) {
    crate::say!(
        "\n{:<24} {:>20} {:>9} {:>12} {:>10} {:>10} {:>8}",
        "phase",
        "tokens",
        "hours",
        "GPU-hours",
        "sampling",
        "its tail",
        "GB"
    );
    for phase in &whole.phases {
        crate::say!(
            "{:<24} {:>20} {:>9} {:>12} {:>10.1} {:>10.1} {:>8.1}",
            phase.name,
            whole_number(phase.tokens),
            whole_number(phase.hours),
            whole_number(phase.gpu_hours),
            phase.rollout_hours,
            phase.tail_hours,
            phase.memory_peak_bytes / 1e9
        );
    }
    if let Some(note) = note {
        crate::say!("the tokens of pre-training are {note}");
    }
}

/// Published runs beside what is simulated.
pub fn sim_validate(json: bool) -> Outcome<()> {
    let found = validate()?;
    match json {
        true => crate::say!("{}", serde_json::to_string_pretty(&found)?),
        false => print_validation(&found),
    }
    if found.passes { Ok(()) } else { Err(Failure::No) }
}

fn print_validation(found: &Validation) {
    crate::say!(
        "{:<27} {:<29} {:>10} {:>10} {:>8} {:>6}  rates set with this run",
        "run",
        "quantity",
        "published",
        "simulated",
        "error",
        "within"
    );
    let figure = |value: f64| if value < 1000.0 { format!("{value:.2}") } else { whole_number(value) };
    for row in &found.rows {
        let sign = if row.unit == "points" { "pt" } else { "% " };
        let mark = match (row.counts, row.passes) {
            (false, _) => "shown only",
            (true, true) => "",
            (true, false) => "out of tolerance",
        };
        let notes: Vec<String> = [mark.to_string(), Rate::names(row.sets_rates)].into();
        let notes = notes.into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ");
        crate::say!(
            "{:<27} {:<29} {:>10} {:>10} {:>+6.1} {sign} {:>5.0}  {notes}",
            row.name,
            format!("{}, {}", row.quantity, row.unit),
            figure(row.published),
            figure(row.simulated),
            row.error,
            row.tolerance
        );
    }
    let says = |what: &str, errors: &Errors| {
        let Errors { runs, figures, mean, worst, .. } = errors;
        crate::say!("{what}: mean error {mean:.1} % over {runs} runs, worst {worst:.1} % of {figures} figures");
    };
    crate::say!(
        "\nThe figures of one run count once in a mean. At most {MEAN_MAX} % in the mean and {WORST_MAX} % at worst pass."
    );
    says("all that count", &found.counted);
    says("no rate set with them", &found.unseen);
    says("shown only", &found.shown);
}
