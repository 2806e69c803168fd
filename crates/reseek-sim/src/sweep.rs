//! Search over plans: every way to lay a model over a cluster, what rules plans out, and the fastest and the cheapest of the rest.

use std::thread;

use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, ModelSpec};
use serde::Serialize;

use crate::plan::comm_sms;
use crate::step::{peak_memory, step};
use crate::{Kernels, Plan, Precision, Rates, Recompute, SimError};

/// What is searched.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Sequences in a step.
    pub global_batch: usize,
    /// Tokens in a sequence.
    pub seq: usize,
    /// What products are computed in.
    pub precision: Precision,
    /// Plans that are given back, of each kind.
    pub top: usize,
}

/// A plan that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// How the model is laid over the GPUs.
    pub plan: Plan,
    /// Time of a step.
    pub step_s: f64,
    /// GPU-hours for 10¹² tokens, without failures.
    pub gpu_hours_per_t_tokens: f64,
    /// On the fullest rank.
    pub memory_peak_bytes: f64,
}

impl Candidate {
    fn new(cluster: &ClusterSpec, plan: &Plan, step_s: f64, memory_peak_bytes: f64) -> Self {
        let tokens = (plan.global_batch * plan.seq) as f64;
        let gpu_hours_per_t_tokens = cluster.gpus as f64 * step_s / tokens * 1e12 / 3600.0;
        Self { plan: plan.clone(), step_s, gpu_hours_per_t_tokens, memory_peak_bytes }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Plans looked at.
    pub plans: usize,
    /// The others, by what rules them out.
    pub ruled_out: RuledOut,
    /// By seconds of a step.
    pub fastest: Vec<Candidate>,
    /// By GPU-hours for the same tokens: fewer GPUs wait for each other less.
    pub cheapest: Vec<Candidate>,
}

impl Sweep {
    /// Plans whose step was simulated; the others were ruled out before.
    pub fn simulated(&self) -> usize {
        let RuledOut { divisibility, schedule, memory } = self.ruled_out;
        self.plans - divisibility - schedule - memory
    }
}

/// Plans that cannot be, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuledOut {
    /// Sizes that do not divide heads, experts, ranks, layers or the batch.
    pub divisibility: usize,
    /// Too few micro-batches for the schedule.
    pub schedule: usize,
    /// More bytes on the fullest rank than a GPU has.
    pub memory: usize,
}

/// Sizes of clusters tried: all GPUs, a half of them, and so on.
const HALVINGS: u32 = 4;
/// Micro-batches above which a step is extended in a straight line: a pipeline that is full repeats itself.
const FULL: usize = 4;

/// Tries the plans for `model` on `cluster` and on halves of it.
///
/// # Errors
/// No plan holds; the reasons are in the message.
pub fn sweep(
    model: &ModelSpec,
    cluster: &ClusterSpec,
    rates: &Rates,
    search: &Search,
    threads: usize,
) -> Result<Sweep, SimError> {
    let clusters: Vec<ClusterSpec> = (0..HALVINGS)
        .map(|halving| ClusterSpec { gpus: cluster.gpus >> halving, ..cluster.clone() })
        .take_while(|cluster| cluster.gpus > 0)
        .collect();
    let jobs: Vec<(usize, Plan)> = clusters
        .iter()
        .enumerate()
        .flat_map(|(i, c)| plans(model, c, search).into_iter().map(move |p| (i, p)))
        .collect();
    let (found, ruled_out) = tried(model, &clusters, rates, &jobs, threads.clamp(1, 64));
    if found.is_empty() {
        let none = format!(
            "{}x{}, where none of {} plans holds ({} fail in memory),",
            cluster.gpu.name,
            cluster.gpus,
            jobs.len(),
            ruled_out.memory
        );
        return Err(SimError::plan(none, "room for one", "take more GPUs, a global batch with more divisors, or fp8"));
    }
    let best = |key: fn(&Candidate) -> f64| -> Result<Vec<Candidate>, SimError> {
        let mut sorted: Vec<&(usize, Candidate)> = found.iter().collect();
        sorted.sort_by(|a, b| key(&a.1).total_cmp(&key(&b.1)).then_with(|| order(&a.1.plan).cmp(&order(&b.1.plan))));
        sorted.truncate(search.top);
        let mut found = sorted
            .into_iter()
            .map(|(i, c)| exact(model, &clusters[*i], rates, &c.plan))
            .collect::<Result<Vec<_>, SimError>>()?;
        found.sort_by(|a, b| key(a).total_cmp(&key(b)));
        Ok(found)
    };
    Ok(Sweep {
        plans: jobs.len(),
        ruled_out,
        fastest: best(|c| c.step_s)?,
        cheapest: best(|c| c.gpu_hours_per_t_tokens)?,
    })
}

/// What holds of `jobs`, plans with the number of their cluster, and how many others there are by what rules them out.
fn tried(
    model: &ModelSpec,
    clusters: &[ClusterSpec],
    rates: &Rates,
    jobs: &[(usize, Plan)],
    threads: usize,
) -> (Vec<(usize, Candidate)>, RuledOut) {
    let share = |thread: usize| {
        let mut found: Vec<(usize, Candidate)> = Vec::new();
        let mut ruled_out = RuledOut::default();
        for (i, plan) in jobs.iter().skip(thread).step_by(threads) {
            match candidate(model, &clusters[*i], rates, plan) {
                Ok(candidate) => found.push((*i, candidate)),
                Err(Reason::Divisibility) => ruled_out.divisibility += 1,
                Err(Reason::Schedule) => ruled_out.schedule += 1,
                Err(Reason::Memory) => ruled_out.memory += 1,
            }
        }
        (found, ruled_out)
    };
    let parts: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|one| one.join().expect("a plan does not panic")).collect()
    });
    let mut found = Vec::new();
    let mut ruled_out = RuledOut::default();
    for (some, reasons) in parts {
        found.extend(some);
        ruled_out.divisibility += reasons.divisibility;
        ruled_out.schedule += reasons.schedule;
        ruled_out.memory += reasons.memory;
    }
    (found, ruled_out)
}

/// An order among equals that does not depend on threads.
fn order(plan: &Plan) -> (usize, usize, usize, usize, usize, usize) {
    (plan.gpus(), plan.tp, plan.pp, plan.cp, plan.ep, plan.micro_batch)
}

enum Reason {
    Divisibility,
    Schedule,
    Memory,
}

fn candidate(model: &ModelSpec, cluster: &ClusterSpec, rates: &Rates, plan: &Plan) -> Result<Candidate, Reason> {
    plan.validate(model, cluster).map_err(|_| Reason::Divisibility)?;
    // What lies in flight does not grow once the pipeline is full.
    let full = plan.micro_batches().min(2 * FULL * plan.pp);
    let shorter = Plan { global_batch: full * plan.dp * plan.micro_batch, ..plan.clone() };
    let memory_peak_bytes = peak_memory(model, cluster, &shorter, rates).map_err(|_| Reason::Schedule)?;
    if memory_peak_bytes > cluster.gpu.memory_bytes as f64 {
        return Err(Reason::Memory);
    }
    let step_s = step_s(model, cluster, rates, plan).map_err(|_| Reason::Schedule)?;
    Ok(Candidate::new(cluster, plan, step_s, memory_peak_bytes))
}

/// The candidate by its whole step, not by shorter ones.
fn exact(model: &ModelSpec, cluster: &ClusterSpec, rates: &Rates, plan: &Plan) -> Result<Candidate, SimError> {
    let report = step(model, cluster, plan, rates)?.report;
    Ok(Candidate::new(cluster, plan, report.step_s, report.memory_peak_bytes))
}

/// Seconds of a step; with many micro-batches from two shorter steps.
fn step_s(model: &ModelSpec, cluster: &ClusterSpec, rates: &Rates, plan: &Plan) -> Result<f64, SimError> {
    let full = FULL * plan.pp;
    let each = plan.dp * plan.micro_batch;
    let wanted = plan.micro_batches();
    if wanted <= 2 * full {
        return Ok(step(model, cluster, plan, rates)?.report.step_s);
    }
    let of = |micro_batches: usize| {
        let shorter = Plan { global_batch: micro_batches * each, ..plan.clone() };
        step(model, cluster, &shorter, rates).map(|simulated| simulated.report.step_s)
    };
    // Interleaved schedules take micro-batches in rounds of the pipeline's length.
    let (first, second) = (of(full)?, of(full + plan.pp)?);
    Ok(first + (second - first) * (wanted - full) as f64 / plan.pp as f64)
}

/// Every plan worth a look; those that do not divide are among them, to be counted.
fn plans(model: &ModelSpec, cluster: &ClusterSpec, search: &Search) -> Vec<Plan> {
    let schedules = [
        ScheduleKind::OneFOneB,
        ScheduleKind::Interleaved { virtual_stages: 2 },
        ScheduleKind::Interleaved { virtual_stages: 4 },
        ScheduleKind::Zb1p,
        ScheduleKind::DualPipe,
        ScheduleKind::DualPipeV,
    ];
    let savings = pairs(&pairs(&[1, 2, 4], &[Recompute::None, Recompute::Selective, Recompute::Full]), &[1, 3]);
    let eps = model.moe.as_ref().map_or(vec![1], |moe| powers(moe.n_routed_experts.min(cluster.gpus)));
    let mut out = Vec::new();
    for (tp, cp, pp) in sizes(model, cluster, search) {
        let kinds = if pp == 1 { &schedules[..1] } else { &schedules[..] };
        for ((ep, schedule), ((micro_batch, recompute), zero)) in pairs(&pairs(&eps, kinds), &savings) {
            out.push(Plan {
                tp,
                cp,
                pp,
                ep,
                dp: cluster.gpus / (tp * cp * pp),
                micro_batch,
                global_batch: search.global_batch,
                seq: search.seq,
                schedule,
                recompute,
                precision: search.precision,
                kernels: Kernels::Current,
                zero,
                comm_sms: comm_sms(ep),
                node_limit: None,
            });
        }
    }
    out
}

/// Tensor, context and pipeline parallelism that the GPUs suffice for.
fn sizes(model: &ModelSpec, cluster: &ClusterSpec, search: &Search) -> Vec<(usize, usize, usize)> {
    let (tps, cps) = (powers(cluster.gpu.nvlink_domain.min(16)), powers((search.seq / 4096).clamp(1, 16)));
    let all = pairs(&pairs(&tps, &cps), &powers(model.num_hidden_layers.min(64)));
    all.into_iter().map(|((tp, cp), pp)| (tp, cp, pp)).filter(|(tp, cp, pp)| tp * cp * pp <= cluster.gpus).collect()
}

/// Powers of two up to `max`.
fn powers(max: usize) -> Vec<usize> {
    (0..).map(|i| 1 << i).take_while(|&n| n <= max).collect()
}

/// Each of `a` with each of `b`, those of the first `a` first.
fn pairs<A: Copy, B: Copy>(a: &[A], b: &[B]) -> Vec<(A, B)> {
    a.iter().flat_map(|&a| b.iter().map(move |&b| (a, b))).collect()
}
