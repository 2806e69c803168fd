//! What the simulator says of V3's and R1's training, for the claims that it can check.

use reseek_sim::deepseek::DeepSeek;
use reseek_sim::{Plan, Rates, SimError, StepReport, pair, published};
use reseek_spec::schedule::ScheduleKind;

use crate::ClaimError;

/// What a simulation of V3's training on 2,048 H800 says.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedFacts {
    /// A step of 15,360 sequences of 4,096 tokens, in s.
    pub step_s: f64,
    /// All forward and backward work of the step, overlapped or not: Insights' 1F + 1B + 1W + 1F1B, in s.
    pub forward_backward_s: f64,
    /// Waiting in a step, in s.
    pub bubble_s: f64,
    /// What follows the passes of a step, in s.
    pub optimizer_s: f64,
    /// GPU-hours for 10¹² tokens, without failures.
    pub gpu_hours_per_t_tokens: f64,
    /// Share of an overlapped pair in which communication is not hidden, 0 to 1.
    pub exposed_comm_share: f64,
    /// Computation of that pair as if it were alone, in s.
    pub compute_s: f64,
    /// Its all-to-alls as if they were alone, in s.
    pub communication_s: f64,
    /// Idle time of a rank in a step under DualPipe, in s.
    pub dualpipe_bubble_s: f64,
    /// The same work under 1F1B.
    pub one_f_one_b_bubble_s: f64,
    /// The same work under ZB1P.
    pub zb1p_bubble_s: f64,
    /// Step time by the SMs that communication is given.
    pub step_s_by_comm_sms: Vec<(u32, f64)>,
    /// Both phases of context extension: low, middle, high over plans that fit in memory, as the plan is not published.
    pub extension_gpu_hours: (f64, f64, f64),
    /// Half, once and twice the answers' lengths, which are read from a figure.
    pub r1_zero_gpu_hours: (f64, f64, f64),
}

/// SMs of communication that a step is simulated with, the report's 20 among them.
const COMM_SMS: [u32; 8] = [8, 12, 16, 20, 24, 28, 32, 40];

impl SimulatedFacts {
    /// Simulates V3's step, its schedules, both extensions and R1-Zero.
    ///
    /// # Errors
    /// Only if a built-in configuration is broken.
    pub fn simulate() -> Result<Self, ClaimError> {
        let runs = DeepSeek::new()?;
        let report = |plan: &Plan| -> Result<StepReport, SimError> { Ok(runs.step(plan)?.report) };
        let ours = report(&Plan::v3())?;
        // The public trace has balanced routing.
        let balanced = Rates { expert_load_cv: 0.0, ..runs.rates.clone() };
        let (trace, _) = pair(&runs.model, &runs.cluster, &Plan::v3(), &balanced, published::TRACE_LAYERS);
        let bubble_s = |schedule| report(&Plan { schedule, ..Plan::v3() }).map(|report| report.bubble_s);
        let at_sms = |comm_sms| Ok((comm_sms, report(&Plan { comm_sms, ..Plan::v3() })?.step_s));
        Ok(Self {
            step_s: ours.step_s,
            forward_backward_s: ours.parts.passes_s(),
            bubble_s: ours.bubble_s,
            optimizer_s: ours.parts.optimizer_s,
            gpu_hours_per_t_tokens: ours.gpu_hours_per_t_tokens,
            exposed_comm_share: trace.exposed_s / trace.pair_s,
            compute_s: trace.compute_s,
            communication_s: trace.communication_s,
            dualpipe_bubble_s: ours.bubble_s,
            one_f_one_b_bubble_s: bubble_s(ScheduleKind::OneFOneB)?,
            zb1p_bubble_s: bubble_s(ScheduleKind::Zb1p)?,
            step_s_by_comm_sms: COMM_SMS.into_iter().map(at_sms).collect::<Result<_, SimError>>()?,
            extension_gpu_hours: runs.extension_gpu_hours()?.into(),
            r1_zero_gpu_hours: runs.r1_zero_gpu_hours()?.into(),
        })
    }
}
