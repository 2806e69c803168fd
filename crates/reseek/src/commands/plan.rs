//! A plan from the command line.

use reseek_sim::{Kernels, Plan, Precision, Recompute, run};
use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, ModelSpec, thousands};
use serde_json::{Value, json};

use super::params::find;
use crate::cli_scale::{KernelsName, PlanArgs, PrecisionName, RecipeName, RecomputeName};
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

pub fn precision(name: PrecisionName) -> Precision {
    match name {
        PrecisionName::Bf16 => Precision::Bf16,
        PrecisionName::Fp8 => Precision::Fp8,
        PrecisionName::Mxfp8 => Precision::Mxfp8,
    }
}

/// Model, cluster and plan of `args`: a recipe's plan or a plain one, then every option that was given.
pub fn subject(args: &PlanArgs) -> Outcome<Subject> {
    let model = find(&args.model)?;
    let cluster = cluster(&args.cluster)?;
    let base = match args.recipe {
        Some(RecipeName::V3) => Plan::v3(),
        Some(RecipeName::R1Zero | RecipeName::R1) => run::r1_plan(),
        Some(RecipeName::Pretrain | RecipeName::Distil) | None => {
            Plan { ep: 1, seq: 4096, micro_batch: 1, ..Plan::data_parallel(cluster.gpus, 1, 4096) }
        }
    };
    let mut plan = Plan {
        tp: args.tp.unwrap_or(base.tp),
        cp: args.cp.unwrap_or(base.cp),
        pp: args.pp.unwrap_or(base.pp),
        ep: args.ep.unwrap_or(base.ep),
        micro_batch: args.micro_batch.unwrap_or(base.micro_batch),
        seq: args.seq.unwrap_or(base.seq),
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
        None if matches!(args.recipe, Some(RecipeName::V3 | RecipeName::R1Zero | RecipeName::R1)) => plan.global_batch,
        None => plan.dp.saturating_mul(plan.micro_batch).saturating_mul(8 * plan.pp.max(1)),
    };
    plan.comm_sms = match args.comm_sms {
        Some(sms) => sms,
        None if plan.ep > 1 => 20,
        None => 0,
    };
    if let Some(name) = args.precision {
        plan.precision = precision(name);
    }
    if let Some(name) = args.recompute {
        plan.recompute = match name {
            RecomputeName::None => Recompute::None,
            RecomputeName::Selective => Recompute::Selective,
            RecomputeName::Full => Recompute::Full,
        };
    }
    if let Some(name) = args.kernels {
        plan.kernels = match name {
            KernelsName::Current => Kernels::Current,
            KernelsName::Flash2 => Kernels::Flash2,
            KernelsName::Eager2022 => Kernels::Eager2022,
            KernelsName::Megatron2021 => Kernels::Megatron2021,
        };
    }
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
        precision_name(plan.precision),
        recompute_name(plan.recompute),
        plan.zero,
        kernels_name(plan.kernels),
        plan.comm_sms,
    )
}

/// The plan for machines, every field by the name of its option.
pub fn plan_json(plan: &Plan) -> Value {
    json!({
        "gpus": plan.gpus(), "tp": plan.tp, "cp": plan.cp, "pp": plan.pp, "ep": plan.ep, "dp": plan.dp,
        "micro_batch": plan.micro_batch, "global_batch": plan.global_batch, "seq": plan.seq,
        "schedule": schedule_name(plan.schedule), "precision": precision_name(plan.precision),
        "recompute": recompute_name(plan.recompute), "zero": plan.zero, "kernels": kernels_name(plan.kernels),
        "comm_sms": plan.comm_sms, "node_limit": plan.node_limit,
    })
}

pub fn schedule_name(schedule: ScheduleKind) -> String {
    match schedule {
        ScheduleKind::Interleaved { virtual_stages } => format!("interleaved×{virtual_stages}"),
        other => other.name().to_string(),
    }
}

pub fn recompute_name(recompute: Recompute) -> &'static str {
    match recompute {
        Recompute::None => "none",
        Recompute::Selective => "selective",
        Recompute::Full => "full",
    }
}

pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Bf16 => "bf16",
        Precision::Fp8 => "fp8",
        Precision::Mxfp8 => "mxfp8",
    }
}

fn kernels_name(kernels: Kernels) -> &'static str {
    match kernels {
        Kernels::Current => "current",
        Kernels::Flash2 => "flash2",
        Kernels::Eager2022 => "eager2022",
        Kernels::Megatron2021 => "megatron2021",
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
