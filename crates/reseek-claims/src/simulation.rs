//! Claims that a simulation of the run can answer, by its [`SimulatedFacts`].

use reseek_sim::Plan;
use reseek_sim::published::{self, Report};
use reseek_sim::rates::Rate;
use reseek_sim::validate::{TRACE, V3};

use crate::SimulatedFacts;
use crate::claim::{Basis, Check, Claim, Finding, Tolerance};

pub(crate) static SIMULATION: &[Claim] = &[
    set_with(
        V3,
        simulated(
            "insights-step",
            published::STEP.at(),
            "A step takes 19.926 s.",
            published::STEP.number(),
            Tolerance::Relative { by: 0.05, why: "the project's accuracy for V3's step" },
            |s| found("step_s", s.step_s),
        ),
    ),
    set_with(
        V3,
        simulated(
            "insights-step-pairs",
            published::STEP_PASSES.at(),
            "Of a step 17.55 s are forward and backward work (1F 1.13, 1B 1.99, 1W 0.48, 1F1B 13.95).",
            published::STEP_PASSES.number(),
            Tolerance::Relative { by: 0.15, why: "the project's accuracy for parts of the step" },
            |s| found("forward_backward_s", s.forward_backward_s),
        ),
    ),
    set_with(
        V3,
        simulated(
            "insights-step-bubble",
            published::STEP_BUBBLE.at(),
            "Of a step 2.06 s are bubble.",
            published::STEP_BUBBLE.number(),
            Tolerance::Relative { by: 0.15, why: "the project's accuracy for parts of the step" },
            |s| found("bubble_s", s.bubble_s),
        ),
    ),
    set_with(
        V3,
        simulated(
            "insights-step-optimizer",
            published::STEP_OPTIMIZER.at(),
            "Of a step 0.29 s are the optimizer's.",
            published::STEP_OPTIMIZER.number(),
            Tolerance::Relative { by: 0.15, why: "the project's accuracy for parts of the step" },
            |s| found("optimizer_s", s.optimizer_s),
        ),
    ),
    set_with(
        V3,
        simulated(
            "v3-hours-per-t-simulated",
            published::HOURS_PER_T.at(),
            "A trillion tokens take 180K H800 hours.",
            published::HOURS_PER_T.number(),
            Tolerance::Relative { by: 0.05, why: "the project's accuracy for V3's step" },
            |s| found("gpu_hours_per_t_tokens", s.gpu_hours_per_t_tokens),
        ),
    ),
    set_with(
        TRACE,
        simulated(
            "v3-communication-hidden",
            (Report::V3, "section 3.2.1; value: the public training trace"),
            "All-to-all communication is hidden behind computation; in the public trace 3.3 % of a pair is not.",
            (published::TRACE_EXPOSED.value, "% of a pair"),
            Tolerance::Absolute { by: 3.0, why: "the project's accuracy for exposed communication" },
            |s| found("exposed_comm_share in %", 100.0 * s.exposed_comm_share),
        ),
    ),
    simulated(
        "v3-dualpipe-1f1b",
        (Report::V3, "section 3.2.1, table 2"),
        "DualPipe idles less than 1F1B.",
        (1.0, "ratio of bubbles"),
        Tolerance::Below { why: "less is less" },
        |s| bubbles(s.dualpipe_bubble_s, "1F1B", s.one_f_one_b_bubble_s),
    ),
    simulated(
        "v3-dualpipe-zb1p",
        (Report::V3, "section 3.2.1, table 2"),
        "DualPipe idles less than ZB1P.",
        (1.0, "ratio of bubbles"),
        Tolerance::Below { why: "less is less" },
        |s| bubbles(s.dualpipe_bubble_s, "ZB1P", s.zb1p_bubble_s),
    ),
    simulated(
        "v3-20-sms",
        (Report::V3, "section 3.2.2"),
        "20 of 132 SMs suffice for communication: no other number makes a step faster.",
        (1.0, "of the fastest step"),
        Tolerance::Relative { by: 0.02, why: "a gain below 2 % is within the simulator's error" },
        twenty_sms,
    ),
    set_with(
        TRACE,
        simulated(
            "v3-one-to-one",
            (Report::V3, "section 3.2.1"),
            "Computation and communication of expert parallelism take about equally long.",
            (1.0, "ratio"),
            Tolerance::Factor { by: 1.5, why: "\"approximately\" read as 2:3 to 3:2" },
            |s| {
                let (compute, communication) =
                    (positive("compute_s", s.compute_s)?, positive("communication_s", s.communication_s)?);
                Finding::of(compute / communication, format!("{compute} s / {communication} s"))
            },
        ),
    ),
    simulated(
        "v3-extension-hours",
        published::EXTENSION.at(),
        "Extending the context to 128K takes 119K H800 hours.",
        published::EXTENSION.number(),
        Tolerance::Relative { by: 0.25, why: "the plan of the extension is not published" },
        |s| interval("extension_gpu_hours", s.extension_gpu_hours),
    ),
    simulated(
        "r1-zero-hours-simulated",
        published::R1_ZERO.at(),
        "R1-Zero takes 101K H800 hours.",
        published::R1_ZERO.number(),
        Tolerance::Relative {
            by: 0.25,
            why: "lengths of answers, updates and engine are assumed; a quarter is what the extension is allowed",
        },
        |s| interval("r1_zero_gpu_hours", s.r1_zero_gpu_hours),
    ),
];

const fn simulated(
    id: &'static str,
    place: (Report, &'static str),
    statement: &'static str,
    published: (f64, &'static str),
    tolerance: Tolerance,
    check: fn(&SimulatedFacts) -> Result<Finding, String>,
) -> Claim {
    Claim::number(id, place, statement, published, tolerance, Check::Simulation(check))
}

/// A claim about a run that set some of the simulator's rates.
const fn set_with(rates: &'static [Rate], claim: Claim) -> Claim {
    Claim { basis: Basis::SetWith(rates), ..claim }
}

fn positive(name: &str, value: f64) -> Result<f64, String> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(format!("{name} is {value}, which is not a positive number. Fill it from the simulator."))
    }
}

fn found(name: &str, value: f64) -> Result<Finding, String> {
    if value.is_finite() && value >= 0.0 {
        Finding::of(value, format!("{name} of the simulation"))
    } else {
        Err(format!("{name} is {value}, which is not a number from 0. Fill it from the simulator."))
    }
}

fn bubbles(dualpipe: f64, name: &str, other: f64) -> Result<Finding, String> {
    let (dualpipe, other) = (positive("dualpipe_bubble_s", dualpipe)?, positive(name, other)?);
    Finding::of(dualpipe / other, format!("DualPipe {dualpipe} s / {name} {other} s"))
}

fn twenty_sms(s: &SimulatedFacts) -> Result<Finding, String> {
    for (sms, step_s) in &s.step_s_by_comm_sms {
        positive(&format!("the step at {sms} SMs"), *step_s)?;
    }
    // The report's 20.
    let ours = Plan::v3().comm_sms;
    let at = s.step_s_by_comm_sms.iter().find(|(sms, _)| *sms == ours);
    let best = s.step_s_by_comm_sms.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let (Some((_, at)), Some((sms, best))) = (at, best) else {
        return Err(format!("step_s_by_comm_sms has no {ours} SMs. Simulate {ours} and others."));
    };
    if s.step_s_by_comm_sms.len() < 3 {
        return Err(format!(
            "step_s_by_comm_sms has fewer than three entries. Simulate fewer and more than {ours} SMs."
        ));
    }
    Finding::of(at / best, format!("{at} s with {ours} SMs / {best} s with {sms}, the fastest"))
}

/// GPU-hours over what is not published: low, middle, high.
fn interval(name: &str, (low, mid, high): (f64, f64, f64)) -> Result<Finding, String> {
    let low = positive(&format!("{name}, low"), low)?;
    let high = positive(&format!("{name}, high"), high)?;
    if !(low <= mid && mid <= high) {
        return Err(format!("{name} {low}, {mid}, {high} do not rise. Give low, middle, high."));
    }
    let working = format!("simulated {low:.0} to {high:.0} GPU-hours over what is assumed, {mid:.0} in the middle");
    Ok(Finding { value: mid, interval: Some((low, high)), working })
}
