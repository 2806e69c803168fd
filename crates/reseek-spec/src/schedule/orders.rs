//! The order of one rank's passes in each schedule.

use std::collections::VecDeque;

use super::Action;

/// As many forward passes as there are later ranks, then one forward and one backward in turn, then the backward passes that are left.
pub fn one_f_one_b(pp: usize, micro_batches: usize, rank: usize) -> Vec<Action> {
    let chunk = rank;
    let warm = (pp - 1 - rank).min(micro_batches);
    let mut order: Vec<Action> = (0..warm).map(|micro_batch| Action::Forward { chunk, micro_batch }).collect();
    for micro_batch in 0..micro_batches {
        if warm + micro_batch < micro_batches {
            order.push(Action::Forward { chunk, micro_batch: warm + micro_batch });
        }
        order.push(Action::Backward { chunk, micro_batch });
    }
    order
}

/// Megatron-LM's: groups of `pp` micro-batches go through a rank's chunks one after another.
pub fn interleaved(pp: usize, micro_batches: usize, virtual_stages: usize, rank: usize) -> Vec<Action> {
    let total = micro_batches * virtual_stages;
    let place = |k: usize, is_forward: bool| {
        let (group, within) = (k / (pp * virtual_stages), k % (pp * virtual_stages));
        let local = if is_forward { within / pp } else { virtual_stages - 1 - within / pp };
        (local * pp + rank, group * pp + within % pp)
    };
    let forward = |k: usize| {
        let (chunk, micro_batch) = place(k, true);
        Action::Forward { chunk, micro_batch }
    };
    let backward = |k: usize| {
        let (chunk, micro_batch) = place(k, false);
        Action::Backward { chunk, micro_batch }
    };
    // With one chunk a rank this is 1F1B, whose warm-up is shorter.
    let warm = match virtual_stages {
        1 => pp - 1 - rank,
        _ => (pp - 1 - rank) * 2 + (virtual_stages - 1) * pp,
    };
    let warm = warm.min(total);
    let mut order: Vec<Action> = (0..warm).map(forward).collect();
    for k in 0..total {
        if warm + k < total {
            order.push(forward(warm + k));
        }
        order.push(backward(k));
    }
    order
}

/// 1F1B whose weight gradients wait: rank r may keep r of them, which leaves every rank's memory at 1F1B's on rank 0, and
/// fills the end with them.
pub fn zb1p(pp: usize, micro_batches: usize, rank: usize) -> Vec<Action> {
    let chunk = rank;
    let warm = (pp - 1 - rank).min(micro_batches);
    let mut order: Vec<Action> = (0..warm).map(|micro_batch| Action::Forward { chunk, micro_batch }).collect();
    let mut next_weight = 0;
    for micro_batch in 0..micro_batches {
        let is_steady = warm + micro_batch < micro_batches;
        if is_steady {
            order.push(Action::Forward { chunk, micro_batch: warm + micro_batch });
        }
        order.push(Action::BackwardInput { chunk, micro_batch });
        if next_weight + rank <= micro_batch {
            order.push(Action::BackwardWeight { chunk, micro_batch: next_weight });
            next_weight += 1;
        }
    }
    order.extend((next_weight..micro_batches).map(|micro_batch| Action::BackwardWeight { chunk, micro_batch }));
    order
}

/// DualPipe: the ranks of the first half have direction 0 as their first phase and direction 1 as their second, those of
/// the second half the reverse.
pub fn dualpipe(pp: usize, micro_batches: usize, rank: usize) -> Vec<Action> {
    let half = micro_batches / 2;
    let is_second = rank >= pp / 2;
    let place = |phase: usize, k: usize| match (phase == 1) != is_second {
        false => (rank, k),
        true => (pp - 1 - rank, half + k),
    };
    two_phases(pp / 2, rank.min(pp - 1 - rank), half, &place)
}

/// DualPipeV: a rank's two phases are its chunks on the way down the V and up again.
pub fn dualpipe_v(pp: usize, micro_batches: usize, rank: usize) -> Vec<Action> {
    let place = |phase: usize, k: usize| match phase {
        0 => (rank, k),
        _ => (2 * pp - 1 - rank, k),
    };
    two_phases(pp, rank, micro_batches, &place)
}

/// The eight steps of DualPipe, numbered as in DeepSeek's public code, for a rank at `depth` of `depths` from the end to the
/// middle, each phase with `n` micro-batches, at least 2·`depths`. `place` gives chunk and micro-batch of the k-th of a
/// phase.
fn two_phases(depths: usize, depth: usize, n: usize, place: &dyn Fn(usize, usize) -> (usize, usize)) -> Vec<Action> {
    let mut rank = TwoPhases { order: Vec::new(), forward: [0; 2], backward: [0; 2], weights: VecDeque::new(), place };
    let outer = depths - depth - 1;
    // 1. nF0
    for _ in 0..2 * outer {
        rank.forward(0);
    }
    // 2. nF0F1
    for _ in 0..=depth {
        rank.forward(0);
        rank.forward(1);
    }
    // 3. nB1W1F1
    for _ in 0..outer {
        rank.backward(1, true);
        rank.weight();
        rank.forward(1);
    }
    // 4. nF0B1F1B0, the middle's first pair apart: its parts depend on each other.
    for i in 0..n + depth + 1 - 2 * depths {
        if i == 0 && outer == 0 {
            rank.forward(0);
            rank.backward(1, false);
        } else {
            rank.pair(0, 1);
        }
        rank.pair(1, 0);
    }
    // 5. nB1F1B0
    for _ in 0..outer {
        rank.backward(1, false);
        rank.pair(1, 0);
    }
    // 6. nB1B0, the second half of these passes without their weight gradients
    let count = depth + 1;
    for i in 0..2 * count {
        rank.backward((i + 1) % 2, i >= count);
    }
    // 7. nWB0
    for _ in 0..outer {
        rank.weight();
        rank.backward(0, true);
    }
    // 8. nW
    for _ in 0..count {
        rank.weight();
    }
    rank.order
}

struct TwoPhases<'a> {
    order: Vec<Action>,
    forward: [usize; 2],
    backward: [usize; 2],
    /// Weight gradients that wait.
    weights: VecDeque<(usize, usize)>,
    place: &'a dyn Fn(usize, usize) -> (usize, usize),
}

impl TwoPhases<'_> {
    fn next(counts: &mut [usize; 2], phase: usize, place: &dyn Fn(usize, usize) -> (usize, usize)) -> (usize, usize) {
        counts[phase] += 1;
        place(phase, counts[phase] - 1)
    }

    fn forward(&mut self, phase: usize) {
        let (chunk, micro_batch) = Self::next(&mut self.forward, phase, self.place);
        self.order.push(Action::Forward { chunk, micro_batch });
    }

    fn backward(&mut self, phase: usize, is_split: bool) {
        let (chunk, micro_batch) = Self::next(&mut self.backward, phase, self.place);
        if is_split {
            self.weights.push_back((chunk, micro_batch));
            self.order.push(Action::BackwardInput { chunk, micro_batch });
        } else {
            self.order.push(Action::Backward { chunk, micro_batch });
        }
    }

    fn pair(&mut self, forward: usize, backward: usize) {
        let forward = Self::next(&mut self.forward, forward, self.place);
        let backward = Self::next(&mut self.backward, backward, self.place);
        self.order.push(Action::Overlapped { forward, backward });
    }

    fn weight(&mut self) {
        if let Some((chunk, micro_batch)) = self.weights.pop_front() {
            self.order.push(Action::BackwardWeight { chunk, micro_batch });
        }
    }
}
