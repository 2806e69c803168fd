//! Plays a pipeline schedule: when each rank does what. Every rank keeps its order, and a pass begins when its rank is
//! free and its input is there.

use std::collections::VecDeque;

use reseek_spec::schedule::{Action, PipelineSchedule};

use crate::SimError;

/// Seconds of a chunk's passes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChunkCosts {
    /// Of the forward pass.
    pub forward_s: f64,
    /// Of the gradients of inputs.
    pub backward_input_s: f64,
    /// Of the gradients of weights.
    pub backward_weight_s: f64,
}

/// One pass of a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// What is done, with its chunk and micro-batch.
    pub action: Action,
    /// From the step's beginning.
    pub start_s: f64,
    /// From the step's beginning.
    pub end_s: f64,
}

/// A schedule with its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// For every rank, in order.
    pub spans: Vec<Vec<Span>>,
    /// When the last pass ends.
    pub makespan_s: f64,
}

impl Timeline {
    /// Seconds that `rank` works.
    pub fn busy_s(&self, rank: usize) -> f64 {
        self.spans[rank].iter().map(|span| span.end_s - span.start_s).sum()
    }

    /// Seconds that the mean rank waits.
    pub fn bubble_s(&self) -> f64 {
        let busy: f64 = (0..self.spans.len()).map(|rank| self.busy_s(rank)).sum();
        self.makespan_s - busy / self.spans.len() as f64
    }
}

/// Plays `schedule` with the `costs` of its chunks; `pair` gives the seconds of an overlapped pair by its forward and
/// backward chunk, `p2p_s` what a message between ranks takes. Messages do not occupy a rank, and a pair begins when the
/// inputs of both its parts are there. Takes time in proportion to the number of actions.
///
/// # Errors
/// Costs that are not one for each chunk, a pass whose end is not a finite time, or an order in which passes wait for each
/// other forever.
pub fn play(
    schedule: &PipelineSchedule,
    costs: &[ChunkCosts],
    pair: &dyn Fn(usize, usize) -> f64,
    p2p_s: f64,
) -> Result<Timeline, SimError> {
    let chunks = schedule.chunks();
    if costs.len() != chunks {
        let found = format!("costs of {} chunks", costs.len());
        return Err(SimError::plan(found, &format!("{chunks}, one for each"), "cut the model by the same schedule"));
    }
    if !p2p_s.is_finite() || p2p_s < 0.0 {
        let found = format!("{p2p_s} s for a message");
        return Err(SimError::plan(found, "a finite time", "look at the rates of the network"));
    }
    let mut player = Player {
        schedule,
        p2p_s,
        forward: vec![f64::NAN; chunks * schedule.micro_batches],
        backward: vec![f64::NAN; chunks * schedule.micro_batches],
    };
    let mut spans: Vec<Vec<Span>> = schedule.ranks.iter().map(|actions| Vec::with_capacity(actions.len())).collect();
    let mut free = vec![0.0; schedule.pp];
    let mut queue: VecDeque<usize> = (0..schedule.pp).collect();
    let mut is_queued = vec![true; schedule.pp];
    while let Some(rank) = queue.pop_front() {
        is_queued[rank] = false;
        while let Some(&action) = schedule.ranks[rank].get(spans[rank].len()) {
            let Some(ready_s) = player.ready(rank, action) else { break };
            let start_s = f64::max(ready_s, free[rank]);
            let end_s = start_s + seconds(action, costs, pair);
            if !end_s.is_finite() || end_s < start_s {
                let found = format!("{action:?} from {start_s} s to {end_s} s");
                return Err(SimError::plan(found, "a finite time", "look at the rates and at the costs of its chunk"));
            }
            free[rank] = end_s;
            spans[rank].push(Span { action, start_s, end_s });
            for waiting in player.done(action, end_s).into_iter().flatten() {
                if waiting != rank && !is_queued[waiting] {
                    is_queued[waiting] = true;
                    queue.push_back(waiting);
                }
            }
        }
    }
    if let Some(rank) = (0..schedule.pp).find(|&rank| spans[rank].len() < schedule.ranks[rank].len()) {
        let found = format!("rank {rank} waits forever at {:?}", schedule.ranks[rank][spans[rank].len()]);
        return Err(SimError::plan(found, "an order that ends", "the schedule's order contradicts itself"));
    }
    let makespan_s = free.into_iter().fold(0.0, f64::max);
    Ok(Timeline { spans, makespan_s })
}

fn seconds(action: Action, costs: &[ChunkCosts], pair: &dyn Fn(usize, usize) -> f64) -> f64 {
    match action {
        Action::Forward { chunk, .. } => costs[chunk].forward_s,
        Action::Backward { chunk, .. } => costs[chunk].backward_input_s + costs[chunk].backward_weight_s,
        Action::BackwardInput { chunk, .. } => costs[chunk].backward_input_s,
        Action::BackwardWeight { chunk, .. } => costs[chunk].backward_weight_s,
        Action::Overlapped { forward, backward } => pair(forward.0, backward.0),
    }
}

/// When the passes so far ended; NaN where they have not.
struct Player<'a> {
    schedule: &'a PipelineSchedule,
    p2p_s: f64,
    forward: Vec<f64>,
    backward: Vec<f64>,
}

impl Player<'_> {
    fn index(&self, chunk: usize, micro_batch: usize) -> usize {
        chunk * self.schedule.micro_batches + micro_batch
    }

    /// When the inputs of `action` are on `rank`; `None` while they are not made.
    fn ready(&self, rank: usize, action: Action) -> Option<f64> {
        match action {
            Action::Forward { chunk, micro_batch } => self.forward_ready(rank, chunk, micro_batch),
            Action::Backward { chunk, micro_batch } | Action::BackwardInput { chunk, micro_batch } => {
                self.backward_ready(rank, chunk, micro_batch)
            }
            Action::BackwardWeight { chunk, micro_batch } => ended(self.backward[self.index(chunk, micro_batch)]),
            Action::Overlapped { forward, backward } => {
                let forward = self.forward_ready(rank, forward.0, forward.1)?;
                Some(forward.max(self.backward_ready(rank, backward.0, backward.1)?))
            }
        }
    }

    fn forward_ready(&self, rank: usize, chunk: usize, micro_batch: usize) -> Option<f64> {
        match chunk {
            0 => Some(0.0),
            _ => {
                Some(ended(self.forward[self.index(chunk - 1, micro_batch)])? + self.way(rank, chunk - 1, micro_batch))
            }
        }
    }

    fn backward_ready(&self, rank: usize, chunk: usize, micro_batch: usize) -> Option<f64> {
        let own = ended(self.forward[self.index(chunk, micro_batch)])?;
        if chunk + 1 == self.schedule.chunks() {
            return Some(own);
        }
        Some(ended(self.backward[self.index(chunk + 1, micro_batch)])? + self.way(rank, chunk + 1, micro_batch))
    }

    /// Seconds of the message from where `chunk` ran to `rank`.
    fn way(&self, rank: usize, chunk: usize, micro_batch: usize) -> f64 {
        if self.schedule.rank_of(chunk, micro_batch) == rank { 0.0 } else { self.p2p_s }
    }

    /// Notes the end of `action` and gives the ranks that may have waited for it.
    fn done(&mut self, action: Action, end_s: f64) -> [Option<usize>; 2] {
        match action {
            Action::Forward { chunk, micro_batch } => [self.forward_done(chunk, micro_batch, end_s), None],
            Action::Backward { chunk, micro_batch } | Action::BackwardInput { chunk, micro_batch } => {
                [None, self.backward_done(chunk, micro_batch, end_s)]
            }
            Action::BackwardWeight { .. } => [None, None],
            Action::Overlapped { forward, backward } => {
                [self.forward_done(forward.0, forward.1, end_s), self.backward_done(backward.0, backward.1, end_s)]
            }
        }
    }

    fn forward_done(&mut self, chunk: usize, micro_batch: usize, end_s: f64) -> Option<usize> {
        let index = self.index(chunk, micro_batch);
        self.forward[index] = end_s;
        (chunk + 1 < self.schedule.chunks()).then(|| self.schedule.rank_of(chunk + 1, micro_batch))
    }

    fn backward_done(&mut self, chunk: usize, micro_batch: usize, end_s: f64) -> Option<usize> {
        let index = self.index(chunk, micro_batch);
        self.backward[index] = end_s;
        (chunk > 0).then(|| self.schedule.rank_of(chunk - 1, micro_batch))
    }
}

fn ended(end_s: f64) -> Option<f64> {
    (!end_s.is_nan()).then_some(end_s)
}
