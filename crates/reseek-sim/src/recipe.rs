//! The recipes of DeepSeek's runs: plans as far as they are published, and phases with their tokens, steps and lengths of answers.

use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, thousands};

use crate::Plan;
use crate::choice::Choice;
use crate::published::{R1_ANSWERS_A_QUESTION, R1_EPOCHS, R1_LESSONS, R1_QUESTIONS_A_STEP, R1_ZERO_STEPS};
use crate::rollout::{Lengths, Sampler};
use crate::run::{Phase, Ramp, Reinforce, Work};

/// A published run to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// [`v3`] by [`Plan::v3`].
    V3,
    /// [`r1_zero`] by [`r1_plan`].
    R1Zero,
    /// [`r1`] by [`r1_plan`].
    R1,
    /// [`distil`] of a dense model, by data parallelism.
    Distil,
    /// One phase of pre-training, by data parallelism.
    Pretrain,
}

impl Choice for Recipe {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::V3, "v3", "V3's pre-training and both extensions"),
        (Self::R1Zero, "r1-zero", "R1-Zero's reinforcement learning"),
        (Self::R1, "r1", "R1's stages after its cold start"),
        (Self::Distil, "distil", "A dense model fine-tuned on R1's 800K answers"),
        (Self::Pretrain, "pretrain", "Tokens by one plan"),
    ];
}

impl Recipe {
    /// The plan that was published, or one that uses every GPU of `cluster` for data parallelism.
    pub fn plan(self, cluster: &ClusterSpec) -> Plan {
        match self {
            Self::V3 => Plan::v3(),
            Self::R1Zero | Self::R1 => r1_plan(),
            Self::Distil | Self::Pretrain => Plan::data_parallel(cluster.gpus, 1, 4096),
        }
    }

    /// Whether the plan is of a published run, its batch included.
    pub fn has_batch(self) -> bool {
        matches!(self, Self::V3 | Self::R1Zero | Self::R1)
    }

    /// The phases by `plan`; `tokens` are those of pre-training, where the recipe does not say itself what it does.
    pub fn phases(self, plan: &Plan, tokens: f64) -> Vec<Phase> {
        match self {
            Self::V3 => v3(plan, tokens),
            Self::R1Zero => r1_zero(plan, 1.0),
            Self::R1 => r1(plan, 1.0),
            Self::Distil => distil(plan, 1.0),
            Self::Pretrain => {
                let work = Work::Train { tokens, ramp: None };
                vec![Phase { name: "pre-training", plan: plan.clone(), work }]
            }
        }
    }

    /// What the recipe does in words, if it is not a number of tokens.
    pub fn own_work(self) -> Option<String> {
        let count = |n: f64| thousands(n as u64);
        match self {
            Self::V3 | Self::Pretrain => None,
            Self::R1Zero => {
                Some(format!("{} steps of {} answers", count(R1_ZERO_STEPS.value), count(answers_a_step())))
            }
            Self::R1 => Some(format!("its RL steps and two epochs of {} answers", count(R1_LESSONS.value))),
            Self::Distil => Some(format!("two epochs of R1's {} answers", count(R1_LESSONS.value))),
        }
    }
}

/// Phases of V3's own training (report, 4.2 and 4.3): pre-training with its ramp and both extensions. `plan` is that of pre-training. How
/// the extensions were divided is not published: context parallelism takes ranks from data parallelism until a rank has as many tokens as
/// before, as more do not fit in memory.
pub fn v3(plan: &Plan, tokens: f64) -> Vec<Phase> {
    let long = |factor: usize, global_batch: usize| {
        let cp = factor.min(plan.dp);
        Plan { cp, dp: plan.dp / cp, seq: plan.seq.saturating_mul(factor), global_batch, ..plan.clone() }
    };
    let phases = [long(8, 1920), long(32, 480)];
    let steps = 1000.0;
    let of = |plan: &Plan| steps * (plan.global_batch * plan.seq) as f64;
    let ramp = Ramp { first_batch: 3072.min(plan.global_batch), tokens: (469e9f64).min(tokens) };
    vec![
        Phase { name: "pre-training", plan: plan.clone(), work: Work::Train { tokens, ramp: Some(ramp) } },
        Phase {
            name: "extension to 32K",
            work: Work::Train { tokens: of(&phases[0]), ramp: None },
            plan: phases[0].clone(),
        },
        Phase {
            name: "extension to 128K",
            work: Work::Train { tokens: of(&phases[1]), ramp: None },
            plan: phases[1].clone(),
        },
    ]
}

/// R1-Zero (R1 report, 2.2): 10,400 steps of 512 answers, rollouts of 8,192, at most 32,768 tokens and 65,536 after step 8,200. The lengths'
/// medians are read from the report's figure; `length` scales them, as their distribution is not published.
pub fn r1_zero(plan: &Plan, length: f64) -> Vec<Phase> {
    let lengths = |median: f64, max: f64| Lengths { prompt: 300.0, median: median * length, spread: 0.9, max };
    let work = Reinforce {
        steps: R1_ZERO_STEPS.value,
        batch: answers_a_step(),
        updates_per_rollout: 16.0,
        sampler: Sampler::r1(),
        lengths: vec![
            (0.25, lengths(1500.0, 32_768.0)),
            (0.25, lengths(4000.0, 32_768.0)),
            (0.29, lengths(6500.0, 32_768.0)),
            (0.21, lengths(10_000.0, 65_536.0)),
        ],
        update_share: 0.6,
    };
    vec![Phase { name: "R1-Zero", plan: plan.clone(), work: Work::Reinforce(work) }]
}

/// R1 (R1 report, 2.3): reasoning RL, fine-tuning on 800K answers for two epochs, RL over all scenarios (1,700 steps). The first RL's number of
/// steps is not published: an assumption of 3,000.
pub fn r1(plan: &Plan, length: f64) -> Vec<Phase> {
    let lengths = r1_lengths(length);
    let rl = |steps| Reinforce {
        steps,
        batch: answers_a_step(),
        updates_per_rollout: 16.0,
        sampler: Sampler::r1(),
        lengths: vec![(1.0, lengths)],
        update_share: 0.6,
    };
    vec![
        Phase { name: "reasoning RL", plan: plan.clone(), work: Work::Reinforce(rl(3000.0)) },
        Phase {
            name: "fine-tuning",
            plan: plan.clone(),
            work: Work::Train { tokens: sft_tokens(&lengths), ramp: None },
        },
        Phase { name: "RL over all scenarios", plan: plan.clone(), work: Work::Reinforce(rl(1700.0)) },
    ]
}

/// A distillation (R1 report, 2.4): a dense model fine-tuned on the 800K answers that R1 was fine-tuned on. Two epochs, as for R1, are an
/// assumption; so is that students read whole answers.
pub fn distil(plan: &Plan, length: f64) -> Vec<Phase> {
    let tokens = sft_tokens(&r1_lengths(length));
    vec![Phase { name: "distillation", plan: plan.clone(), work: Work::Train { tokens, ramp: None } }]
}

/// R1's answers: the median is read from the report's figure of lengths, the spread is an assumption.
fn r1_lengths(length: f64) -> Lengths {
    Lengths { prompt: 300.0, median: 5000.0 * length, spread: 0.9, max: 32_768.0 }
}

/// Tokens of R1's fine-tuning: its answers with their questions.
fn sft_tokens(lengths: &Lengths) -> f64 {
    R1_LESSONS.value * R1_EPOCHS.value * (lengths.mean() + lengths.prompt)
}

/// Answers of an update.
fn answers_a_step() -> f64 {
    R1_QUESTIONS_A_STEP.value * R1_ANSWERS_A_QUESTION.value
}

/// V3's plan on the 512 GPUs of R1: 64 sequences a rank. A quarter of the ranks has to hold the same optimizer, so weights are kept once:
/// DualPipe's two copies do not fit.
pub fn r1_plan() -> Plan {
    Plan { dp: 32, ep: 32, global_batch: 2048, schedule: ScheduleKind::DualPipeV, ..Plan::v3() }
}
