//! `reseek claims`: the ledger.

use reseek_claims::{Claim, Evidence, SimulatedFacts, Verdict, answered_by_a_run, find, list, verify, verify_one};
use reseek_sim::run::{r1_plan, r1_zero, run, v3};
use reseek_sim::{Plan, Rates, Recompute, StepReport, pair, step};
use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, ModelSpec, preset};

use super::claims_run;
use super::cost::whole;
use crate::cli_scale::ClaimsCommand;
use crate::error::{Failure, Outcome};

/// Runs a command of the group.
pub fn claims(command: &ClaimsCommand) -> Outcome<()> {
    match command {
        ClaimsCommand::List(args) => list_claims(args.json),
        ClaimsCommand::Show { id, json } => show(id, *json),
        ClaimsCommand::Verify { id, run, beside, json } if !run.is_empty() => {
            claims_run::verify(id.as_deref(), run, beside.as_deref(), *json)
        }
        ClaimsCommand::Verify { id: Some(id), json, .. } => answer(&verify_one(id, Some(&simulated_facts()?))?, *json),
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
    let evidence = verify(&simulated_facts()?)?;
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

/// What the simulator says of V3 and R1, for the claims that it can check.
pub fn simulated_facts() -> Outcome<SimulatedFacts> {
    let model = preset("v3-671b")?;
    let cluster = ClusterSpec::h800x2048();
    let rates = Rates::of(&cluster.gpu);
    let report = |plan: &Plan| -> Outcome<StepReport> { Ok(step(&model, &cluster, plan, &rates)?.report) };
    let ours = report(&Plan::v3())?;
    let parts = &ours.parts;
    // The public trace has balanced routing.
    let balanced = Rates { expert_load_cv: 0.0, ..rates.clone() };
    let (trace, _) = pair(&model, &cluster, &Plan::v3(), &balanced, 4);
    let bubble = |schedule| Ok::<f64, Failure>(report(&Plan { schedule, ..Plan::v3() })?.bubble_s);
    let sms = [8, 12, 16, 20, 24, 28, 32, 40];
    let step_s_by_comm_sms = sms
        .into_iter()
        .map(|comm_sms| Ok((comm_sms, report(&Plan { comm_sms, ..Plan::v3() })?.step_s)))
        .collect::<Outcome<Vec<_>>>()?;
    let r1_cluster = ClusterSpec::parse("h800x512")?;
    let r1_zero_hours =
        |length: f64| run(&model, &r1_cluster, &r1_zero(&r1_plan(), length), &rates, 2.0).map(|found| found.gpu_hours);
    Ok(SimulatedFacts {
        step_s: ours.step_s,
        forward_backward_s: parts.forward_s + parts.backward_s + parts.weight_s + parts.forward_backward_s,
        bubble_s: ours.bubble_s,
        optimizer_s: parts.optimizer_s,
        gpu_hours_per_t_tokens: ours.gpu_hours_per_t_tokens,
        exposed_comm_share: trace.exposed_s / trace.pair_s,
        compute_s: trace.compute_s,
        communication_s: trace.communication_s,
        dualpipe_bubble_s: ours.bubble_s,
        one_f_one_b_bubble_s: bubble(ScheduleKind::OneFOneB)?,
        zb1p_bubble_s: bubble(ScheduleKind::Zb1p)?,
        step_s_by_comm_sms,
        extension_gpu_hours: extension(&model, &cluster, &rates)?,
        r1_zero_gpu_hours: (r1_zero_hours(0.5)?, r1_zero_hours(1.0)?, r1_zero_hours(2.0)?),
    })
}

/// GPU-hours of both extensions by the fastest and by the slowest plan that fits in memory, and between them: half of the ranks for a
/// sequence give each twice the tokens, which fit if everything is computed again.
fn extension(model: &ModelSpec, cluster: &ClusterSpec, rates: &Rates) -> Outcome<(f64, f64, f64)> {
    let mut phases = v3(&Plan::v3(), 14.8e12).split_off(1);
    let fast = run(model, cluster, &phases, rates, 2.0)?.gpu_hours;
    for phase in &mut phases {
        let (cp, dp) = (phase.plan.cp / 2, phase.plan.dp * 2);
        phase.plan = Plan { cp, dp, recompute: Recompute::Full, ..phase.plan.clone() };
    }
    let slow = run(model, cluster, &phases, rates, 2.0)?.gpu_hours;
    Ok((fast, 0.5 * (fast + slow), slow))
}
