//! DeepSeek's own runs as they are simulated, beside what was published of them: V3 on 2,048 H800, R1-Zero and R1 on 512.

use reseek_spec::{ClusterSpec, ModelSpec, SpecError, preset};

use crate::bill::Range;
use crate::memory::Memory;
use crate::published::{self, Quoted};
use crate::recipe::{r1, r1_plan, r1_zero, v3};
use crate::run::{Phase, RunReport, run};
use crate::uncertainty::{Bar, intervals, tornado};
use crate::{Plan, Precision, Rates, Recompute, SimError, Simulated, StepReport, step};

/// The model with both of its clusters, at the table's rates.
pub struct DeepSeek {
    /// V3's shape, which R1 shares.
    pub model: ModelSpec,
    /// Of V3's training.
    pub cluster: ClusterSpec,
    /// Of R1-Zero's and R1's.
    pub r1_cluster: ClusterSpec,
    /// The table's.
    pub rates: Rates,
}

/// How an interval is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// 40 to 100,000.
    pub count: usize,
    /// Of the draws: the same seed gives the same intervals.
    pub seed: u64,
    /// Threads that simulate; the intervals do not depend on them.
    pub threads: usize,
}

/// A part of V3's step.
#[derive(Clone, Copy, Debug)]
pub struct StepPart {
    /// In words.
    pub name: &'static str,
    /// As table 4 of Insights has it.
    pub published: Quoted,
    /// Simulated, in s.
    pub seconds: Range,
}

/// V3's step beside table 4 of Insights.
#[derive(Clone, Debug)]
pub struct StepBeside {
    /// The whole step, its passes, bubble and optimizer.
    pub parts: [StepPart; 4],
    /// GPU-hours for 10¹² tokens.
    pub gpu_hours_per_t_tokens: Range,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct WholeRun {
    /// V3, R1-Zero or R1.
    pub name: &'static str,
    /// At the table's rates.
    pub report: RunReport,
    /// GPU-hours of each phase, in the report's order.
    pub phases: Vec<Range>,
    /// What was published of so many phases, one figure after another; of the phases that are left, nothing.
    pub published: Vec<(usize, Quoted)>,
    /// GPU-hours of all.
    pub gpu_hours: Range,
}

impl DeepSeek {
    /// # Errors
    /// Only if a built-in configuration is broken.
    pub fn new() -> Result<Self, SpecError> {
        let cluster = ClusterSpec::h800x2048();
        let r1_cluster = ClusterSpec { gpus: published::R1_GPUS.value as usize, ..cluster.clone() };
        let rates = Rates::of(&cluster.gpu);
        Ok(Self { model: preset("v3-671b")?, cluster, r1_cluster, rates })
    }

    /// A step on V3's cluster by `plan`.
    ///
    /// # Errors
    /// As [`step()`].
    pub fn step(&self, plan: &Plan) -> Result<Simulated, SimError> {
        step(&self.model, &self.cluster, plan, &self.rates)
    }

    /// `phases` on `cluster` at `rates`, for the report's price of an hour.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, cluster: &ClusterSpec, phases: &[Phase], rates: &Rates) -> Result<RunReport, SimError> {
        run(&self.model, cluster, phases, rates, published::GPU_HOUR_USD.value)
    }

    /// V3's step with its parts, each between the ends of its interval.
    ///
    /// # Errors
    /// As [`intervals`].
    pub fn step_beside(&self, draws: Draws) -> Result<StepBeside, SimError> {
        let answer = |rates: &Rates| {
            let report = step(&self.model, &self.cluster, &Plan::v3(), rates)?.report;
            let StepReport { parts, .. } = &report;
            Ok([report.step_s, parts.passes_s(), report.bubble_s, parts.optimizer_s, report.gpu_hours_per_t_tokens])
        };
        let [step_s, passes_s, bubble_s, optimizer_s, gpu_hours_per_t_tokens] =
            intervals(&self.rates, draws.count, draws.seed, draws.threads, &answer)?;
        let parts = [
            ("whole step", published::STEP, step_s),
            ("passes, alone and in pairs", published::STEP_PASSES, passes_s),
            ("bubble", published::STEP_BUBBLE, bubble_s),
            ("optimizer", published::STEP_OPTIMIZER, optimizer_s),
        ]
        .map(|(name, published, seconds)| StepPart { name, published, seconds });
        Ok(StepBeside { parts, gpu_hours_per_t_tokens })
    }

    /// V3's, R1-Zero's and R1's training.
    ///
    /// # Errors
    /// As [`run`] and [`intervals`].
    pub fn whole_runs(&self, draws: Draws) -> Result<[WholeRun; 3], SimError> {
        let of_v3 = vec![(1, published::PRE_TRAINING), (2, published::EXTENSION)];
        let (of_zero, of_r1) = (vec![(1, published::R1_ZERO)], vec![(3, published::R1)]);
        Ok([
            self.whole_run("V3", &self.cluster, &self.v3_phases(), of_v3, draws)?,
            self.whole_run("R1-Zero", &self.r1_cluster, &r1_zero(&r1_plan(), 1.0), of_zero, draws)?,
            self.whole_run("R1", &self.r1_cluster, &r1(&r1_plan(), 1.0), of_r1, draws)?,
        ])
    }

    fn v3_phases(&self) -> Vec<Phase> {
        v3(&Plan::v3(), published::TOKENS.value)
    }

    fn whole_run(
        &self,
        name: &'static str,
        cluster: &ClusterSpec,
        phases: &[Phase],
        published: Vec<(usize, Quoted)>,
        draws: Draws,
    ) -> Result<WholeRun, SimError> {
        let report = self.run(cluster, phases, &self.rates)?;
        let answer = |rates: &Rates| -> Result<[f64; 4], SimError> {
            let found = self.run(cluster, phases, rates)?;
            let of = |i: usize| found.phases.get(i).map_or(0.0, |phase| phase.gpu_hours);
            Ok([of(0), of(1), of(2), found.gpu_hours])
        };
        let [phases @ .., gpu_hours] = intervals(&self.rates, draws.count, draws.seed, draws.threads, &answer)?;
        let phases = phases[..report.phases.len()].to_vec();
        Ok(WholeRun { name, report, phases, published, gpu_hours })
    }

    /// GPU-hours of R1-Zero with half, once and twice the lengths of answers, which are read from a figure.
    ///
    /// # Errors
    /// As [`run`].
    pub fn r1_zero_gpu_hours(&self) -> Result<[f64; 3], SimError> {
        let hours = |length: f64| {
            self.run(&self.r1_cluster, &r1_zero(&r1_plan(), length), &self.rates).map(|found| found.gpu_hours)
        };
        Ok([hours(0.5)?, hours(1.0)?, hours(2.0)?])
    }

    /// GPU-hours of both extensions by the fastest and by the slowest plan that fits in memory, and between them: half of the ranks for a
    /// sequence give each twice the tokens, which fit if everything is computed again.
    ///
    /// # Errors
    /// As [`run`].
    pub fn extension_gpu_hours(&self) -> Result<[f64; 3], SimError> {
        let mut phases = self.v3_phases().split_off(1);
        let fast = self.run(&self.cluster, &phases, &self.rates)?.gpu_hours;
        for phase in &mut phases {
            let (cp, dp) = (phase.plan.cp / 2, phase.plan.dp * 2);
            phase.plan = Plan { cp, dp, recompute: Recompute::Full, ..phase.plan.clone() };
        }
        let slow = self.run(&self.cluster, &phases, &self.rates)?.gpu_hours;
        Ok([fast, 0.5 * (fast + slow), slow])
    }

    /// What each uncertain input does to the GPU-hours of V3's run, the widest first, and the hours themselves.
    ///
    /// # Errors
    /// As [`run`].
    pub fn v3_tornado(&self) -> Result<(f64, Vec<Bar>), SimError> {
        let phases = self.v3_phases();
        let answer = |rates: &Rates| self.run(&self.cluster, &phases, rates).map(|found| found.gpu_hours);
        Ok((answer(&self.rates)?, tornado(&self.rates, &answer)?))
    }

    /// The fullest rank's memory by V3's plan and by plans that differ from it in one thing, with what that is.
    ///
    /// # Errors
    /// As [`step()`].
    pub fn memory_by_plan(&self) -> Result<Vec<(&'static str, Memory)>, SimError> {
        [
            ("V3's plan", Plan::v3()),
            ("everything computed again", Plan { recompute: Recompute::Full, ..Plan::v3() }),
            ("nothing computed again", Plan { recompute: Recompute::None, ..Plan::v3() }),
            ("in bf16", Plan { precision: Precision::Bf16, ..Plan::v3() }),
            ("optimizer not divided", Plan { zero: 0, ..Plan::v3() }),
        ]
        .into_iter()
        .map(|(what, plan)| Ok((what, self.step(&plan)?.report.memory)))
        .collect()
    }
}
