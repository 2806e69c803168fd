//! `reseek claims`: the ledger.

use reseek_claims::{Claim, Evidence, SimulatedFacts, Verdict, answered_by_a_run, find, list, verify, verify_one};

use super::claims_run;
use super::cost::whole;
use crate::cli_full_scale::ClaimsCommand;
use crate::error::{Failure, Outcome};

/// Runs a command of the group.
pub fn claims(command: &ClaimsCommand) -> Outcome<()> {
    match command {
        ClaimsCommand::List(args) => list_claims(args.json),
        ClaimsCommand::Show { id, json } => show(id, *json),
        ClaimsCommand::Verify { id, run, beside, json } if !run.is_empty() => {
            claims_run::verify(id.as_deref(), run, beside.as_deref(), *json)
        }
        ClaimsCommand::Verify { id: Some(id), json, .. } => {
            answer(&verify_one(id, Some(&SimulatedFacts::simulate()?))?, *json)
        }
        ClaimsCommand::Verify { id: None, json, .. } => verify_all(*json),
    }
}

/// Prints one claim's evidence; a claim that fails ends with exit code 1.
pub fn answer(evidence: &Evidence, json: bool) -> Outcome<()> {
    match json {
        true => crate::say!("{}", serde_json::to_string_pretty(evidence)?),
        false => print_evidence(find(evidence.claim)?, evidence)?,
    }
    if evidence.verdict == Verdict::Fails { Err(Failure::No) } else { Ok(()) }
}

fn list_claims(json: bool) -> Outcome<()> {
    if json {
        crate::say!("{}", serde_json::to_string_pretty(&list())?);
        return Ok(());
    }
    for claim in list() {
        crate::say!("{:<34} {:<18} {:<9} {}", claim.id, word(&claim.class())?, word(&claim.report)?, claim.statement);
    }
    Ok(())
}

/// The JSON name of a unit variant.
pub fn word(value: &impl serde::Serialize) -> Outcome<String> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().replace('_', " "))
}

fn show(id: &str, json: bool) -> Outcome<()> {
    let claim = find(id)?;
    if json {
        crate::say!("{}", serde_json::to_string_pretty(claim)?);
        return Ok(());
    }
    crate::say!("{}\n  {}", claim.id, claim.statement);
    crate::say!("  where      {}, {}", word(&claim.report)?, claim.place);
    crate::say!("  class      {}", word(&claim.class())?);
    if let Some(published) = claim.published {
        crate::say!("  published  {published} {}", claim.unit);
    }
    crate::say!("  tolerance  {}", claim.tolerance);
    if let Some(basis) = claim.basis.words() {
        crate::say!("  rests on   {basis}");
    }
    if let Some(plan) = claim.plan() {
        let command = claim.command().unwrap_or("none answers it yet".to_string());
        crate::say!("  command    {command}\n  expected   {}\n  seeds      {} or more", plan.direction, plan.seeds_min);
    }
    Ok(())
}

fn verify_all(json: bool) -> Outcome<()> {
    let evidence = verify(&SimulatedFacts::simulate()?)?;
    if json {
        crate::say!("{}", serde_json::to_string_pretty(&evidence)?);
        return Ok(());
    }
    for one in &evidence {
        let number = |value: Option<f64>| value.map_or(String::new(), figure);
        crate::say!(
            "{:<34} {:<18} {:>20} {:>20} {}",
            one.claim,
            word(&one.verdict)?,
            number(one.published),
            number(one.found),
            one.unit
        );
    }
    let count = |verdict| evidence.iter().filter(|one| one.verdict == verdict).count();
    crate::say!(
        "\n{} hold, {} more by construction (their runs set rates), {} fail, {} inconclusive, {} open ({} of them answered by \
         `reseek claims verify --run DIR`), {} cannot be checked from outside",
        count(Verdict::Holds),
        count(Verdict::ByConstruction),
        count(Verdict::Fails),
        count(Verdict::Inconclusive),
        count(Verdict::Open),
        answered_by_a_run().len(),
        count(Verdict::CannotBeChecked)
    );
    Ok(())
}

/// Six digits behind the point, or a comma before every three before it.
fn figure(value: f64) -> String {
    if value.abs() < 1000.0 { format!("{value:.6}") } else { whole(value) }
}

fn print_evidence(claim: &Claim, evidence: &Evidence) -> Outcome<()> {
    crate::say!("{}", claim.statement);
    let number = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {}", figure(value)));
    let interval = evidence.interval.map(|(low, high)| format!("from {} to {}", figure(low), figure(high)));
    let found = [number("published", evidence.published), number("found", evidence.found), interval];
    let found: Vec<String> = found.into_iter().flatten().collect();
    if !found.is_empty() {
        crate::say!("{} {}", found.join(", "), evidence.unit);
    }
    crate::say!("{}\nverdict: {}", evidence.working, word(&evidence.verdict)?);
    Ok(())
}
