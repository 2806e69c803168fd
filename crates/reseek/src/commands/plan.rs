//! A plan from the command line.

use reseek_sim::Plan;
use reseek_sim::choice::Choice;
use reseek_sim::plan::comm_sms;
use reseek_sim::recipe::Recipe;
use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, ModelSpec, thousands};
use serde_json::{Value, json};

use super::params::find;
use crate::cli_full_scale::PlanArgs;
use crate::error::{Outcome, fail};

/// What a simulation is about.
pub struct Subject {
    pub model: ModelSpec,
    pub cluster: ClusterSpec,
    pub plan: Plan,
}

/// The GPUs that `--cluster` names.
pub fn cluster(text: &str) -> Outcome<ClusterSpec> {
    match text {
        "laptop" => fail(
            "--cluster laptop will not do: it takes GPUs. Predict the chain of `replicate` on this machine with `reseek sim laptop v3-nano`.",
        ),
        _ => Ok(ClusterSpec::parse(text)?),
    }
}

/// The recipe that was named; without one, pre-training by one plan.
pub fn recipe(args: &PlanArgs) -> Recipe {
    args.recipe.unwrap_or(Recipe::Pretrain)
}

/// Model, cluster and plan of `args`: a recipe's plan or a plain one, then every option that was given.
pub fn subject(args: &PlanArgs) -> Outcome<Subject> {
    let model = find(&args.model)?;
    let cluster = cluster(&args.cluster)?;
    let base = recipe(args).plan(&cluster);
    let mut plan = Plan {
        tp: args.tp.unwrap_or(base.tp),
        cp: args.cp.unwrap_or(base.cp),
        pp: args.pp.unwrap_or(base.pp),
        ep: args.ep.unwrap_or(base.ep),
        micro_batch: args.micro_batch.unwrap_or(base.micro_batch),
        seq: args.seq.unwrap_or(base.seq),
        recompute: args.recompute.unwrap_or(base.recompute),
        precision: args.precision.unwrap_or(base.precision),
        kernels: args.kernels.unwrap_or(base.kernels),
        zero: args.zero.unwrap_or(base.zero),
        node_limit: args.node_limit.or(base.node_limit),
        ..base
    };
    let others = plan.tp.saturating_mul(plan.cp).saturating_mul(plan.pp);
    plan.dp = match args.dp {
        Some(dp) => dp,
        None if others == 0 => 1,
        None => (cluster.gpus / others).max(1),
    };
    plan.schedule = schedule(args, plan.schedule)?;
    plan.global_batch = match args.global_batch {
        Some(batch) => batch,
        None if recipe(args).has_batch() => plan.global_batch,
        None => plan.dp.saturating_mul(plan.micro_batch).saturating_mul(8 * plan.pp.max(1)),
    };
    plan.comm_sms = args.comm_sms.unwrap_or(comm_sms(plan.ep));
    plan.validate(&model, &cluster)?;
    Ok(Subject { model, cluster, plan })
}

/// The plan in two lines: all that was simulated, whoever decided it.
pub fn describe(plan: &Plan, cluster: &ClusterSpec) -> String {
    let limit =
        plan.node_limit.map_or("no limit of nodes".to_string(), |nodes| format!("experts on {nodes} nodes a token"));
    format!(
        "tp {} · cp {} · pp {} · ep {} · dp {} on {} {}; micro-batch {}, {} sequences of {} tokens a step\n  \
         {}, {}, recompute {}, ZeRO {}, kernels {}, {} SMs for all-to-alls, {limit}",
        plan.tp,
        plan.cp,
        plan.pp,
        plan.ep,
        plan.dp,
        thousands(cluster.gpus as u64),
        cluster.gpu.name,
        plan.micro_batch,
        thousands(plan.global_batch as u64),
        thousands(plan.seq as u64),
        schedule_name(plan.schedule),
        plan.precision.name(),
        plan.recompute.name(),
        plan.zero,
        plan.kernels.name(),
        plan.comm_sms,
    )
}

/// The plan for machines, every field by the name of its option.
pub fn plan_json(plan: &Plan) -> Value {
    json!({
        "gpus": plan.gpus(), "tp": plan.tp, "cp": plan.cp, "pp": plan.pp, "ep": plan.ep, "dp": plan.dp,
        "micro_batch": plan.micro_batch, "global_batch": plan.global_batch, "seq": plan.seq,
        "schedule": schedule_name(plan.schedule), "precision": plan.precision.name(),
        "recompute": plan.recompute.name(), "zero": plan.zero, "kernels": plan.kernels.name(),
        "comm_sms": plan.comm_sms, "node_limit": plan.node_limit,
    })
}

pub fn schedule_name(schedule: ScheduleKind) -> String {
    match schedule {
        ScheduleKind::Interleaved { virtual_stages } => format!("interleaved×{virtual_stages}"),
        other => other.name().to_string(),
    }
}

fn schedule(args: &PlanArgs, base: ScheduleKind) -> Outcome<ScheduleKind> {
    let chunks = args.interleave.unwrap_or(match base {
        ScheduleKind::Interleaved { virtual_stages } => virtual_stages,
        _ => 2,
    });
    match (&args.schedule, args.interleave) {
        (Some(name), Some(n)) if name != "interleaved" && n > 1 => fail(format!(
            "--interleave {n} does nothing with --schedule {name}. Leave it out, or set --schedule interleaved."
        )),
        (Some(name), _) => Ok(ScheduleKind::parse(name, chunks)?),
        (None, Some(0)) => {
            fail("--interleave 0 leaves a rank no chunk of the model. Set it to 1 or more: 1 is plain 1F1B.")
        }
        (None, Some(1)) => Ok(ScheduleKind::OneFOneB),
        (None, Some(virtual_stages)) => Ok(ScheduleKind::Interleaved { virtual_stages }),
        (None, None) => Ok(base),
    }
}

/// Refuses a plan that the GPUs' memory does not hold; `what` has it, the plan or a phase of the run.
pub fn check_memory(subject: &Subject, what: &str, peak_bytes: f64, ignore: bool) -> Outcome<()> {
    let has = subject.cluster.gpu.memory_bytes as f64;
    if ignore || peak_bytes <= has {
        return Ok(());
    }
    fail(format!(
        "{what} needs {:.1} GB on its fullest rank, and a {} has {:.0} GB. Try more --pp, --tp or --ep, --recompute full, a higher \
         --zero, or --ignore-memory to see the time.",
        peak_bytes / 1e9,
        subject.cluster.gpu.name,
        has / 1e9
    ))
}
