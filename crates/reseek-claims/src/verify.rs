//! From claims to evidence.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::arithmetic::{COUNTS, MONEY, NETWORK};
use crate::claim::{Answer, Basis, Check, Claim, Finding, Tolerance};
use crate::experiments::{LEARNING, MACHINERY};
use crate::simulation::SIMULATION;
use crate::unknowable::UNKNOWABLE;
use crate::{Inputs, SimulatedFacts};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within its tolerance.
    Holds,
    /// Within its tolerance, and no evidence: the claim's own run set rates of the simulator.
    ByConstruction,
    /// Outside of it.
    Fails,
    /// Checked, and neither can be said.
    Inconclusive,
    /// No check is possible from outside.
    CannotBeChecked,
    /// Not yet checked.
    Open,
}

/// A claim's verdict with all that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The claim's id.
    pub claim: &'static str,
    /// As the claim has it.
    pub published: Option<f64>,
    /// What the check found, in `unit`.
    pub found: Option<f64>,
    /// Ends of what was found, where the check has them.
    pub interval: Option<(f64, f64)>,
    /// As the claim's; "difference" of runs.
    pub unit: &'static str,
    /// As [`Tolerance::deviation`]: in the unit for absolute tolerances, otherwise as a share.
    pub deviation: Option<f64>,
    /// As the claim's.
    pub tolerance: Tolerance,
    /// What follows.
    pub verdict: Verdict,
    /// The formula with its inputs; what is missing; the reason; or the command to run.
    pub working: String,
}

/// What a run of ours says. A caller reads it from the run's summary.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// The run's folder.
    pub name: String,
    /// The run's seed.
    pub seed: u64,
    /// Paired differences by the names that [`Answer`] has.
    pub differences: BTreeMap<String, Difference>,
}

/// A paired difference with the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean over problems.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Why a claim cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// No claim has this id.
    #[error("there is no claim \"{id}\". Did you mean {nearest}? `reseek claims list` shows all.")]
    Unknown {
        /// What was asked for, at most 80 characters of it.
        id: String,
        /// A claim that there is.
        nearest: &'static str,
    },
    /// Runs were named for a claim that runs do not answer.
    #[error("No run answers {id}: {what}. `reseek claims verify {id}` says what is known of it.")]
    NoRun {
        /// The claim.
        id: &'static str,
        /// Why not.
        what: &'static str,
    },
    /// A built-in configuration is broken.
    #[error(transparent)]
    Inputs(#[from] reseek_spec::SpecError),
    /// A plan of V3 or R1 does not hold, which is a mistake of ours.
    #[error(transparent)]
    Simulation(#[from] reseek_sim::SimError),
}

/// All claims: arithmetic, simulation, experiments, and those that cannot be checked.
pub fn list() -> Vec<&'static Claim> {
    [COUNTS, MONEY, NETWORK, SIMULATION, MACHINERY, LEARNING, UNKNOWABLE].into_iter().flatten().collect()
}

/// The claim with this id.
///
/// # Errors
/// If there is none, with the nearest.
pub fn find(id: &str) -> Result<&'static Claim, ClaimError> {
    list().into_iter().find(|claim| claim.id == id).ok_or_else(|| {
        let nearest = reseek_spec::nearest(id, list().into_iter().map(|claim| claim.id)).unwrap_or_default();
        ClaimError::Unknown { id: id.chars().take(80).collect(), nearest }
    })
}

/// Evidence for every claim, with the simulation's answers.
///
/// # Errors
/// Only if a built-in configuration is broken.
pub fn verify(simulated: &SimulatedFacts) -> Result<Vec<Evidence>, ClaimError> {
    Ok(verify_with(&Inputs::published()?, Some(simulated)))
}

/// Evidence for one claim; without a simulation those of its class stay open.
///
/// # Errors
/// An unknown id, with the nearest.
pub fn verify_one(id: &str, simulated: Option<&SimulatedFacts>) -> Result<Evidence, ClaimError> {
    let claim = find(id)?;
    Ok(evidence(claim, &Inputs::published()?, simulated))
}

/// Evidence for every claim from inputs of the caller's.
pub fn verify_with(inputs: &Inputs, simulated: Option<&SimulatedFacts>) -> Vec<Evidence> {
    list().into_iter().map(|claim| evidence(claim, inputs, simulated)).collect()
}

/// Evidence for a claim from inputs of the caller's; without a simulation those of its class stay open.
pub fn evidence(claim: &Claim, inputs: &Inputs, simulated: Option<&SimulatedFacts>) -> Evidence {
    let unchecked = |verdict, working: String| Evidence { verdict, working, ..open(claim) };
    match (claim.check, simulated) {
        _ if matches!(claim.basis, Basis::Unread(_)) => {
            unchecked(Verdict::Open, claim.basis.words().unwrap_or_default())
        }
        (Check::Arithmetic(check), _) => judge(claim, check(inputs)),
        (Check::Simulation(check), Some(simulated)) => judge(claim, check(simulated)),
        (Check::Simulation(_), None) => {
            unchecked(Verdict::Open, "needs a simulation: `reseek claims verify` runs it".to_string())
        }
        (Check::Experiment(plan), _) => unchecked(
            Verdict::Open,
            match claim.command() {
                Some(command) => {
                    let seeds = plan.seeds_min;
                    format!("To be run: `{command}`. {}. {} At least {seeds} seeds.", plan.direction, plan.test)
                }
                None => format!("No command answers it yet. {}. {}", plan.direction, plan.test),
            },
        ),
        (Check::CannotBeChecked { reason }, _) => unchecked(Verdict::CannotBeChecked, reason.to_string()),
    }
}

fn open(claim: &Claim) -> Evidence {
    Evidence {
        claim: claim.id,
        published: claim.published,
        found: None,
        interval: None,
        unit: claim.unit,
        deviation: None,
        tolerance: claim.tolerance,
        verdict: Verdict::Open,
        working: String::new(),
    }
}

/// A check that gives no finite number says why, and is inconclusive.
fn judge(claim: &Claim, found: Result<Finding, String>) -> Evidence {
    let finite = found.and_then(|f| match f.value.is_finite() {
        true => Ok(f),
        false => Err(format!("{} is no number. An input is missing or zero.", f.working)),
    });
    let mut evidence = Evidence { verdict: Verdict::Inconclusive, ..open(claim) };
    match (finite, claim.published) {
        (Ok(finding), Some(published)) => {
            evidence.verdict = match claim.tolerance.judge(published, &finding) {
                Some(true) if matches!(claim.basis, Basis::SetWith(_)) => Verdict::ByConstruction,
                Some(true) => Verdict::Holds,
                Some(false) => Verdict::Fails,
                None => Verdict::Inconclusive,
            };
            evidence.found = Some(finding.value);
            evidence.interval = finding.interval;
            evidence.deviation = Some(claim.tolerance.deviation(published, finding.value));
            evidence.working = finding.working;
            if let Some(basis) = claim.basis.words() {
                evidence.working += &format!("; {basis}");
            }
        }
        (Ok(finding), None) => evidence.working = finding.working,
        (Err(message), _) => evidence.working = message,
    }
    evidence
}

/// What runs say of the claim with this id: it holds if the paired interval of every run is above 0, fails if every one is below, and is
/// inconclusive otherwise. Open if a run does not have the difference, such as one whose stages have not all run.
///
/// # Errors
/// An unknown id, and a claim that no run answers.
pub fn verify_runs(id: &str, runs: &[RunFacts]) -> Result<Evidence, ClaimError> {
    let claim = find(id)?;
    let Some(plan) = claim.plan() else {
        return Err(ClaimError::NoRun { id: claim.id, what: "it is about the reports' own figures" });
    };
    let Some(answer) = plan.answer else {
        return Err(ClaimError::NoRun { id: claim.id, what: "its experiment is none that a run makes" });
    };
    let (Answer::OneRun(name) | Answer::TwoRuns(name)) = answer;
    let mut evidence = open(claim);
    let found: Vec<(&RunFacts, &Difference)> =
        runs.iter().filter_map(|run| Some((run, run.differences.get(name)?))).collect();
    if let Some(run) = runs.iter().find(|run| !run.differences.contains_key(name)) {
        evidence.working = format!(
            "{} does not answer it: its summary has no {name}. Either a stage has not run, or an older version wrote the summary.",
            run.name
        );
        return Ok(evidence);
    }
    if found.is_empty() {
        evidence.working = "No run was named.".to_string();
        return Ok(evidence);
    }
    let all = |is: fn(&Difference) -> bool| found.iter().all(|(_, difference)| is(difference));
    evidence.verdict = match (all(|d| d.low > 0.0), all(|d| d.high < 0.0)) {
        (true, _) => Verdict::Holds,
        (_, true) => Verdict::Fails,
        _ => Verdict::Inconclusive,
    };
    let mean = |of: fn(&Difference) -> f64| found.iter().map(|(_, d)| of(d)).sum::<f64>() / found.len() as f64;
    evidence.found = Some(mean(|d| d.mean));
    // The problems are the same in every run, so the runs' errors may be too: their intervals are not narrowed.
    evidence.interval = Some((mean(|d| d.low), mean(|d| d.high)));
    evidence.unit = "difference";
    let each = |(run, d): &(&RunFacts, &Difference)| {
        format!("{} (seed {}) {:+.3} ({:+.3} to {:+.3})", run.name, run.seed, d.mean, d.low, d.high)
    };
    let seeds = found.iter().map(|(run, _)| run.seed).collect::<BTreeSet<_>>().len();
    let runs = found.iter().map(each).collect::<Vec<_>>().join(", ");
    evidence.working =
        format!("{runs}; {}. {seeds} of the {} seeds that the test asks for.", plan.direction, plan.seeds_min);
    Ok(evidence)
}

/// The claims that a single run answers.
pub fn answered_by_a_run() -> Vec<&'static Claim> {
    let is_answered = |claim: &&Claim| claim.plan().is_some_and(|plan| matches!(plan.answer, Some(Answer::OneRun(_))));
    list().into_iter().filter(is_answered).collect()
}
