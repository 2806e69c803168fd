//! From claims to evidence.

use serde::Serialize;

use crate::arithmetic::{COUNTS, MONEY, NETWORK};
use crate::claim::{Check, Claim, Finding, Tolerance};
use crate::experiments::{LEARNING, MACHINERY};
use crate::simulation::SIMULATION;
use crate::unknowable::UNKNOWABLE;
use crate::{Inputs, SimulatedFacts};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Holds,
    Fails,
    /// Checked, and neither can be said.
    Inconclusive,
    CannotBeChecked,
    /// Not yet checked.
    Open,
}

/// A claim's verdict with all that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    pub claim: &'static str,
    pub published: Option<f64>,
    pub found: Option<f64>,
    /// Ends of what was found, where the check has them.
    pub interval: Option<(f64, f64)>,
    pub unit: &'static str,
    /// As [`Tolerance::deviation`]: in the unit for absolute tolerances, otherwise as a share.
    pub deviation: Option<f64>,
    pub tolerance: Tolerance,
    pub verdict: Verdict,
    /// The formula with its inputs; what is missing; the reason; or the command to run.
    pub working: String,
}

/// Why a claim cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("there is no claim \"{id}\". Did you mean {nearest}? `reseek claims list` shows all.")]
    Unknown { id: String, nearest: &'static str },
    #[error(transparent)]
    Inputs(#[from] reseek_spec::SpecError),
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
    let unchecked = |verdict, working: String| Evidence {
        claim: claim.id,
        published: claim.published,
        found: None,
        interval: None,
        unit: claim.unit,
        deviation: None,
        tolerance: claim.tolerance,
        verdict,
        working,
    };
    match (claim.check, simulated) {
        (Check::Arithmetic(check), _) => judge(claim, check(inputs)),
        (Check::Simulation(check), Some(simulated)) => judge(claim, check(simulated)),
        (Check::Simulation(_), None) => {
            unchecked(Verdict::Open, "needs a simulation: `reseek claims verify` runs it".to_string())
        }
        (Check::Experiment(plan), _) => unchecked(
            Verdict::Open,
            format!(
                "to be run: `{}`. {}. {} At least {} seeds",
                plan.command, plan.direction, plan.test, plan.seeds_min
            ),
        ),
        (Check::CannotBeChecked { reason }, _) => unchecked(Verdict::CannotBeChecked, reason.to_string()),
    }
}

/// A check that gives no finite number says why, and is inconclusive.
fn judge(claim: &Claim, found: Result<Finding, String>) -> Evidence {
    let finite = found.and_then(|f| match f.value.is_finite() {
        true => Ok(f),
        false => Err(format!("{} is no number. An input is missing or zero.", f.working)),
    });
    let mut evidence = Evidence {
        claim: claim.id,
        published: claim.published,
        found: None,
        interval: None,
        unit: claim.unit,
        deviation: None,
        tolerance: claim.tolerance,
        verdict: Verdict::Inconclusive,
        working: String::new(),
    };
    match (finite, claim.published) {
        (Ok(finding), Some(published)) => {
            evidence.verdict = match claim.tolerance.judge(published, &finding) {
                Some(true) => Verdict::Holds,
                Some(false) => Verdict::Fails,
                None => Verdict::Inconclusive,
            };
            evidence.found = Some(finding.value);
            evidence.interval = finding.interval;
            evidence.deviation = Some(claim.tolerance.deviation(published, finding.value));
            evidence.working = finding.working;
        }
        (Ok(finding), None) => evidence.working = finding.working,
        (Err(message), _) => evidence.working = message,
    }
    evidence
}
