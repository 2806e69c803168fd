//! Pipeline schedules as data: for every rank the order of its passes. A simulator plays them, a trainer executes them.
//!
//! A model is cut into chunks along its depth, numbered from its input. Legend of formulas: F, B, W are seconds of a
//! chunk's forward, full backward and weight-gradient pass, F&B those of an overlapped pair.
//!
//! What is not here: times, memory, and any proof that an order can run. The player of a schedule reports a deadlock.

mod orders;

use crate::SpecError;

/// The schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// One forward, one backward (PipeDream-Flush).
    OneFOneB,
    /// The same with several chunks a rank (Narayanan and others, 2021).
    Interleaved {
        /// Chunks of a rank.
        virtual_stages: usize,
    },
    /// Zero bubble with 1F1B's memory (Qi and others, 2023: ZB-H1).
    Zb1p,
    /// DeepSeek-V3's: micro-batches from both ends, forward and backward chunks in overlapped pairs.
    DualPipe,
    /// DualPipe cut in half: two chunks a rank, down and up a V, so that weights are kept once.
    DualPipeV,
}

/// One thing that a rank does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The forward pass of a chunk.
    Forward {
        /// Which of the rank's parts of the model.
        chunk: usize,
        /// Which part of the batch.
        micro_batch: usize,
    },
    /// Gradients of inputs and weights.
    Backward {
        /// Which of the rank's parts of the model.
        chunk: usize,
        /// Which part of the batch.
        micro_batch: usize,
    },
    /// Gradients of inputs alone, which the rank before waits for.
    BackwardInput {
        /// Which of the rank's parts of the model.
        chunk: usize,
        /// Which part of the batch.
        micro_batch: usize,
    },
    /// The gradients of weights that such a pass left.
    BackwardWeight {
        /// Which of the rank's parts of the model.
        chunk: usize,
        /// Which part of the batch.
        micro_batch: usize,
    },
    /// A forward pass and a full backward pass of other micro-batches at once: (chunk, micro-batch) of each.
    Overlapped {
        /// Chunk and micro-batch going forward.
        forward: (usize, usize),
        /// Chunk and micro-batch going back.
        backward: (usize, usize),
    },
}

/// An order of passes for every rank.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineSchedule {
    /// Whose order it is.
    pub kind: ScheduleKind,
    /// Ranks of the pipeline.
    pub pp: usize,
    /// Parts that a batch is cut into.
    pub micro_batches: usize,
    /// What each rank does, in order.
    pub ranks: Vec<Vec<Action>>,
}

/// More passes than this are a mistake. A pass is up to three actions of 40 bytes, so this is a quarter of a GiB.
const PASSES_MAX: usize = 1 << 21;

impl ScheduleKind {
    /// Chunks of the model that each rank holds of one direction.
    pub fn chunks_per_rank(self) -> usize {
        match self {
            Self::OneFOneB | Self::Zb1p | Self::DualPipe => 1,
            Self::Interleaved { virtual_stages } => virtual_stages,
            Self::DualPipeV => 2,
        }
    }

    /// Whether forward and backward chunks run in overlapped pairs.
    pub fn is_paired(self) -> bool {
        matches!(self, Self::DualPipe | Self::DualPipeV)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneFOneB => "1f1b",
            Self::Interleaved { .. } => "interleaved",
            Self::Zb1p => "zb1p",
            Self::DualPipe => "dualpipe",
            Self::DualPipeV => "dualpipev",
        }
    }

    /// The schedule called `name`; `virtual_stages` chunks a rank if it is the interleaved one.
    ///
    /// # Errors
    /// An unknown name.
    pub fn parse(name: &str, virtual_stages: usize) -> Result<Self, SpecError> {
        match name {
            "1f1b" => Ok(Self::OneFOneB),
            "interleaved" => Ok(Self::Interleaved { virtual_stages }),
            "zb1p" => Ok(Self::Zb1p),
            "dualpipe" => Ok(Self::DualPipe),
            "dualpipev" => Ok(Self::DualPipeV),
            _ => {
                let shown: String = name.chars().take(40).collect();
                let hint = "choose one of them";
                Err(SpecError::clash(
                    format!("schedule \"{shown}\""),
                    "1f1b, interleaved, zb1p, dualpipe or dualpipev",
                    hint,
                ))
            }
        }
    }
}

impl PipelineSchedule {
    /// The schedule of `kind` for `pp` ranks and `micro_batches`.
    ///
    /// # Errors
    /// Numbers that the schedule cannot be made of, with what would do.
    pub fn new(kind: ScheduleKind, pp: usize, micro_batches: usize) -> Result<Self, SpecError> {
        let refuse = |what: String, allowed: String, hint: &str| Err(SpecError::clash(what, &allowed, hint));
        if pp == 0 || micro_batches == 0 {
            let what = format!("{pp} ranks and {micro_batches} micro-batches");
            return refuse(what, "at least 1 of each".into(), "raise the global batch or lower dp");
        }
        let passes = pp.saturating_mul(micro_batches).saturating_mul(kind.chunks_per_rank());
        if passes > PASSES_MAX {
            let what = format!("{passes} passes in a step");
            return refuse(what, format!("at most {PASSES_MAX}"), "use larger micro-batches or more data parallelism");
        }
        match kind {
            ScheduleKind::Interleaved { virtual_stages } => {
                if virtual_stages == 0 {
                    return refuse("0 virtual stages".into(), "at least 1".into(), "2 halves the bubble");
                }
                if !micro_batches.is_multiple_of(pp) {
                    let near = micro_batches.next_multiple_of(pp);
                    let hint = format!("use {near}, or --interleave 1");
                    return refuse(format!("{micro_batches} micro-batches"), format!("a multiple of pp {pp}"), &hint);
                }
            }
            ScheduleKind::DualPipe if !pp.is_multiple_of(2) => {
                return refuse(format!("pp {pp}"), "an even number for dualpipe".into(), "use dualpipev");
            }
            ScheduleKind::DualPipe if !micro_batches.is_multiple_of(2) || micro_batches < 2 * pp => {
                let what = format!("{micro_batches} micro-batches");
                let hint = "raise the global batch or lower dp";
                return refuse(what, format!("an even number from 2·pp = {} for dualpipe", 2 * pp), hint);
            }
            ScheduleKind::DualPipeV if micro_batches < 2 * pp => {
                let what = format!("{micro_batches} micro-batches");
                let hint = "raise the global batch or lower dp";
                return refuse(what, format!("at least 2·pp = {} for dualpipev", 2 * pp), hint);
            }
            _ => {}
        }
        let order = |rank| match kind {
            ScheduleKind::OneFOneB => orders::one_f_one_b(pp, micro_batches, rank),
            ScheduleKind::Interleaved { virtual_stages } => {
                orders::interleaved(pp, micro_batches, virtual_stages, rank)
            }
            ScheduleKind::Zb1p => orders::zb1p(pp, micro_batches, rank),
            ScheduleKind::DualPipe => orders::dualpipe(pp, micro_batches, rank),
            ScheduleKind::DualPipeV => orders::dualpipe_v(pp, micro_batches, rank),
        };
        Ok(Self { kind, pp, micro_batches, ranks: (0..pp).map(order).collect() })
    }

    /// Chunks that the model is cut into.
    pub fn chunks(&self) -> usize {
        self.pp * self.kind.chunks_per_rank()
    }

    /// Directions in which micro-batches travel. Each has its own copy of the weights, so this is also the copies of the
    /// parameters: 2 for DualPipe, else 1. In the first direction go micro-batches below half, in the second the others.
    pub fn directions(&self) -> usize {
        if self.kind == ScheduleKind::DualPipe { 2 } else { 1 }
    }

    /// The rank where `chunk` of `micro_batch` runs.
    ///
    /// # Panics
    /// May panic if there is no such chunk.
    pub fn rank_of(&self, chunk: usize, micro_batch: usize) -> usize {
        match self.kind {
            ScheduleKind::OneFOneB | ScheduleKind::Zb1p => chunk,
            ScheduleKind::Interleaved { .. } => chunk % self.pp,
            ScheduleKind::DualPipe if micro_batch < self.micro_batches / 2 => chunk,
            ScheduleKind::DualPipe => self.pp - 1 - chunk,
            ScheduleKind::DualPipeV => chunk.min(2 * self.pp - 1 - chunk),
        }
    }

    /// Chunks whose weights `rank` holds.
    pub fn chunks_of_rank(&self, rank: usize) -> Vec<usize> {
        match self.kind {
            ScheduleKind::OneFOneB | ScheduleKind::Zb1p => vec![rank],
            ScheduleKind::Interleaved { virtual_stages } => (0..virtual_stages).map(|v| v * self.pp + rank).collect(),
            ScheduleKind::DualPipe => vec![rank, self.pp - 1 - rank],
            ScheduleKind::DualPipeV => vec![rank, 2 * self.pp - 1 - rank],
        }
    }

    /// For each rank the most chunk activations that it keeps at a time: from a forward pass until the weights' gradients
    /// are done. A chunk's share of the model differs between schedules: 1 / [`PipelineSchedule::chunks`].
    pub fn activations_in_flight(&self) -> Vec<usize> {
        let peak = |actions: &Vec<Action>| {
            let (mut kept, mut most) = (0usize, 0);
            for action in actions {
                match action {
                    Action::Forward { .. } => kept += 1,
                    // The forward part is kept before the backward part lets go.
                    Action::Overlapped { .. } => most = most.max(kept + 1),
                    Action::Backward { .. } | Action::BackwardWeight { .. } => kept -= 1,
                    Action::BackwardInput { .. } => {}
                }
                most = most.max(kept);
            }
            most
        };
        self.ranks.iter().map(peak).collect()
    }
}

/// Seconds that a rank waits in a step whose chunks all take the same time and whose messages take none, as published:
/// table 2 of the V3 report; DualPipeV from the README of DeepSeek's DualPipe, whose PP is the 2·`pp` stages; interleaved
/// from Narayanan and others, 2021. `f`, `b`, `w`, `f_and_b` are seconds of one chunk's forward, full backward and
/// weight-gradient pass and of an overlapped pair; of the interleaved schedule, of all chunks of a rank together.
///
/// Where the published forms hold, found by playing the schedules, with I = B − W the backward pass for inputs:
/// - 1F1B, interleaved: always.
/// - ZB1P: if W ≤ min(F, I) and there are at least `pp` micro-batches. Otherwise ranks wait as long or longer.
/// - DualPipe, DualPipeV with D ranks on each side of the middle, or `pp` for DualPipeV: if F = I. In general, for W ≤ I
///   and max(F, B) ≤ F&B ≤ F + B, the rank that waits longest waits `published − min((D−1)(I−F), F)`: the form is too
///   high for F < I, by at most F, and too low for F > I, by (D−1)(F−I). The rank d places from the end of the pipeline
///   waits max(0, D−2−d)·(F + B − F&B) less, as it runs fewer passes in pairs and so works longer.
pub fn closed_form_bubble_s(kind: ScheduleKind, pp: usize, f: f64, b: f64, w: f64, f_and_b: f64) -> Option<f64> {
    if pp == 0 {
        return None;
    }
    let others = pp as f64 - 1.0;
    match kind {
        ScheduleKind::OneFOneB => Some(others * (f + b)),
        ScheduleKind::Interleaved { virtual_stages: 0 } => None,
        ScheduleKind::Interleaved { virtual_stages } => Some(others * (f + b) / virtual_stages as f64),
        ScheduleKind::Zb1p => Some(others * (f + b - 2.0 * w)),
        ScheduleKind::DualPipe if !pp.is_multiple_of(2) => None,
        ScheduleKind::DualPipe => Some((pp as f64 / 2.0 - 1.0) * (f_and_b + b - 3.0 * w)),
        ScheduleKind::DualPipeV => Some(others * (f_and_b + b - 3.0 * w)),
    }
}
