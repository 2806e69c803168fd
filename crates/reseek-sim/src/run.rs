//! Whole runs: phases of training and of reinforcement learning, failures, energy and money.

use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, ModelSpec};
use serde::Serialize;

use crate::published;
use crate::rates::Rates;
use crate::rollout::{Lengths, Sampler, rollout};
use crate::step::step;
use crate::{Plan, SimError, StepReport};

/// What a run does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// So many tokens by a plan, with the batch ramped from its first value over a number of tokens.
    Train {
        /// All of the phase.
        tokens: f64,
        /// How the batch grows; nothing where it has one size.
        ramp: Option<Ramp>,
    },
    /// Rollouts and updates.
    Reinforce(Reinforce),
}

/// Batch sizes that grow at the start of pre-training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Sequences of a step at the beginning.
    pub first_batch: usize,
    /// Tokens over which the batch grows to the plan's.
    pub tokens: f64,
}

/// Reinforcement learning in rounds: sample, score under the reference, update.
#[derive(Clone, Debug, PartialEq)]
pub struct Reinforce {
    /// Updates of the weights.
    pub steps: f64,
    /// Answers of an update.
    pub batch: f64,
    /// Updates that use the answers of one rollout.
    pub updates_per_rollout: f64,
    /// How answers are sampled.
    pub sampler: Sampler,
    /// Lengths over the run: share of the steps and their lengths.
    pub lengths: Vec<(f64, Lengths)>,
    /// Of training's rate, what updates of unequal sequences reach.
    pub update_share: f64,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// In words.
    pub name: &'static str,
    /// How the model is laid over the cluster while it trains.
    pub plan: Plan,
    /// What it does.
    pub work: Work,
}

/// What a phase takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseReport {
    /// The phase's name.
    pub name: &'static str,
    /// Trained on, or sampled.
    pub tokens: f64,
    /// Wall-clock hours, failures included.
    pub hours: f64,
    /// Hours times the cluster's GPUs.
    pub gpu_hours: f64,
    /// Of the hours, those spent sampling.
    pub rollout_hours: f64,
    /// Of these, waiting for the longest answers.
    pub tail_hours: f64,
    /// Of training, on the fullest rank; sampling takes what is left of the memory for its cache.
    pub memory_peak_bytes: f64,
    /// A step by the phase's plan, whole batches. In JSON a run shows that of its first phase alone.
    #[serde(skip)]
    pub step: StepReport,
}

/// What a run takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// One after another.
    pub phases: Vec<PhaseReport>,
    /// Share of the wall time in which steps that count are made, from 0 to 1.
    pub goodput: f64,
    /// By the clock, failures included.
    pub hours: f64,
    /// The same in days.
    pub days: f64,
    /// Hours times the cluster's GPUs.
    pub gpu_hours: f64,
    /// GPU-hours times the price of one.
    pub cost_usd: f64,
    /// Electricity of GPUs, servers and hall.
    pub energy_mwh: f64,
}

/// Power of a GPU with its share of the node and the hall over its board power at full load: Llama 3's report and DGX manuals give about 10.2 kW for
/// eight boards of 700 W, and data centres add a tenth.
const POWER_OVER_BOARD: f64 = 10.2 / 5.6 * 1.1;
/// Mean power in training over the maximum.
const POWER_USED: f64 = 0.75;

/// Simulates `phases` one after another.
///
/// # Errors
/// A phase whose plan does not fit; a price or a number of tokens that is not positive.
pub fn run(
    model: &ModelSpec,
    cluster: &ClusterSpec,
    phases: &[Phase],
    rates: &Rates,
    gpu_hour_usd: f64,
) -> Result<RunReport, SimError> {
    if !(gpu_hour_usd > 0.0 && gpu_hour_usd.is_finite()) {
        let found = format!("a price of {gpu_hour_usd} USD for a GPU-hour");
        return Err(SimError::plan(found, "a positive number", "DeepSeek assumes 2"));
    }
    let goodput = rates.goodput(cluster.gpus);
    let gpus = cluster.gpus as f64;
    let mut steps = Steps { model, cluster, rates, known: Vec::new() };
    let mut reports = Vec::with_capacity(phases.len());
    for phase in phases {
        let mut report = match &phase.work {
            Work::Train { tokens, ramp } => train(&mut steps, phase, *tokens, *ramp)?,
            Work::Reinforce(reinforce) => self::reinforce(&mut steps, phase, reinforce)?,
        };
        report.hours /= goodput;
        report.gpu_hours = report.hours * gpus;
        reports.push(report);
    }
    let gpu_hours: f64 = reports.iter().map(|phase| phase.gpu_hours).sum();
    let hours: f64 = reports.iter().map(|phase| phase.hours).sum();
    Ok(RunReport {
        phases: reports,
        goodput,
        hours,
        days: hours / 24.0,
        gpu_hours,
        cost_usd: gpu_hours * gpu_hour_usd,
        energy_mwh: gpu_hours * cluster.gpu.power_w * POWER_OVER_BOARD * POWER_USED / 1e6,
    })
}

/// The steps of a run's plans. Phases may share a plan: each plan is simulated once.
struct Steps<'a> {
    model: &'a ModelSpec,
    cluster: &'a ClusterSpec,
    rates: &'a Rates,
    known: Vec<(Plan, StepReport)>,
}

impl Steps<'_> {
    fn of(&mut self, plan: &Plan) -> Result<StepReport, SimError> {
        if let Some((_, report)) = self.known.iter().find(|(known, _)| known == plan) {
            return Ok(report.clone());
        }
        let report = step(self.model, self.cluster, plan, self.rates)?.report;
        self.known.push((plan.clone(), report.clone()));
        Ok(report)
    }

    /// Tokens a second by `plan`.
    fn rate(&mut self, plan: &Plan) -> Result<f64, SimError> {
        self.of(plan).map(|report| report.tokens_per_step / report.step_s)
    }
}

/// More tokens or steps of a run than anybody makes: beyond it sums of hours stop to be numbers.
const AMOUNT_MAX: f64 = 1e18;

fn positive(what: &str, value: f64) -> Result<(), SimError> {
    match value > 0.0 && value <= AMOUNT_MAX {
        true => Ok(()),
        false => {
            let allowed = format!("a positive number up to {AMOUNT_MAX:e}");
            let hint = format!("V3 was trained on {}e12 tokens", published::TOKENS.value / 1e12);
            Err(SimError::plan(format!("{value} {what}"), &allowed, &hint))
        }
    }
}

/// Batch sizes of a ramp's pieces.
const RAMP_PIECES: usize = 4;

fn train(steps: &mut Steps, phase: &Phase, tokens: f64, ramp: Option<Ramp>) -> Result<PhaseReport, SimError> {
    positive("tokens", tokens)?;
    let mut seconds = 0.0;
    let mut rest = tokens;
    if let Some(ramp) = ramp {
        let each = phase.plan.dp * phase.plan.micro_batch;
        let ramped = ramp.tokens.min(tokens);
        for piece in 0..RAMP_PIECES {
            let grown = (phase.plan.global_batch - ramp.first_batch.min(phase.plan.global_batch)) * piece / RAMP_PIECES;
            let batch = ((ramp.first_batch + grown) / each).max(1) * each;
            let plan = Plan { global_batch: batch, ..phase.plan.clone() };
            // A bidirectional pipeline needs more micro-batches than a small batch has.
            let small = Plan { schedule: ScheduleKind::OneFOneB, ..plan.clone() };
            seconds += ramped / RAMP_PIECES as f64 / steps.rate(&plan).or_else(|_| steps.rate(&small))?;
        }
        rest -= ramped;
    }
    let full = steps.of(&phase.plan)?;
    seconds += rest * full.step_s / full.tokens_per_step;
    Ok(PhaseReport {
        name: phase.name,
        tokens,
        hours: seconds / 3600.0,
        gpu_hours: 0.0,
        rollout_hours: 0.0,
        tail_hours: 0.0,
        memory_peak_bytes: full.memory_peak_bytes,
        step: full,
    })
}

fn reinforce(steps: &mut Steps, phase: &Phase, work: &Reinforce) -> Result<PhaseReport, SimError> {
    positive("steps", work.steps)?;
    let train_rate = steps.rate(&phase.plan)? * work.update_share;
    let rollouts = work.steps / work.updates_per_rollout;
    let (mut tokens, mut sampling_s, mut tail_s, mut update_s) = (0.0, 0.0, 0.0, 0.0);
    for (share, lengths) in &work.lengths {
        let rounds = rollouts * share;
        let samples = work.batch * work.updates_per_rollout;
        let found = rollout(steps.model, steps.cluster, steps.rates, &work.sampler, samples, lengths)?;
        tokens += rounds * found.tokens;
        sampling_s += rounds * found.seconds;
        tail_s += rounds * (found.seconds - found.busy_s).max(0.0);
        // Forward of the old policy and of the reference beside the update's three passes.
        update_s += rounds * found.tokens * (1.0 + 2.0 / 3.0) / train_rate;
    }
    let report = steps.of(&phase.plan)?;
    Ok(PhaseReport {
        name: phase.name,
        tokens,
        hours: (sampling_s + update_s) / 3600.0,
        gpu_hours: 0.0,
        rollout_hours: sampling_s / 3600.0,
        tail_hours: tail_s / 3600.0,
        memory_peak_bytes: report.memory_peak_bytes,
        step: report,
    })
}
