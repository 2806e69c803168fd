//! Which layers lie on which rank: contiguous chunks whose slowest is as fast as can be.

use reseek_spec::ModelSpec;
use reseek_spec::schedule::PipelineSchedule;

use crate::ops::Unit;
use crate::plan::Plan;

/// A model cut into pipeline chunks.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Units of each chunk, in the model's order.
    pub chunks: Vec<Vec<Unit>>,
    /// Chunks that each rank holds.
    pub chunks_of_rank: Vec<Vec<usize>>,
    /// Chunks of one micro-batch whose activations a rank keeps at most.
    pub in_flight: Vec<usize>,
    /// Copies of the weights: directions of the schedule.
    pub directions: usize,
}

impl Layout {
    /// Cuts `model` for `schedule`; `cost` is the seconds of a unit in both passes.
    pub fn new(model: &ModelSpec, plan: &Plan, schedule: &PipelineSchedule, cost: &dyn Fn(Unit) -> f64) -> Self {
        let units = units(model);
        let costs: Vec<f64> = units.iter().map(|&unit| cost(unit)).collect();
        let n = schedule.chunks();
        let mut chunks = Vec::with_capacity(n);
        let mut rest = units.as_slice();
        for length in cut(&costs, n) {
            let (chunk, others) = rest.split_at(length);
            chunks.push(chunk.to_vec());
            rest = others;
        }
        let chunks_of_rank = (0..plan.pp).map(|rank| schedule.chunks_of_rank(rank)).collect();
        Self { chunks, chunks_of_rank, in_flight: schedule.activations_in_flight(), directions: schedule.directions() }
    }

    /// Layers on a rank.
    pub fn layers_of_rank(&self, rank: usize) -> usize {
        self.chunks_of_rank[rank].iter().map(|&chunk| self.chunks[chunk].len()).sum()
    }
}

/// The model's units in order.
pub fn units(model: &ModelSpec) -> Vec<Unit> {
    let mut units = vec![Unit::Embedding];
    units.extend((0..model.num_hidden_layers).map(|layer| Unit::Layer { is_moe: model.is_mixture(layer) }));
    units.extend((0..model.num_nextn_predict_layers).map(|_| Unit::Mtp));
    units.push(Unit::Head);
    units
}

/// Lengths of `n` contiguous, non-empty parts of `costs` whose largest sum is smallest: the bound is found by bisection, parts are filled from
/// the front up to it.
fn cut(costs: &[f64], n: usize) -> Vec<usize> {
    let total: f64 = costs.iter().sum();
    let (mut low, mut high) = (costs.iter().copied().fold(total / n as f64, f64::max), total);
    for _ in 0..50 {
        let bound = 0.5 * (low + high);
        if fill(costs, n, bound).is_some() { high = bound } else { low = bound }
    }
    fill(costs, n, high * (1.0 + 1e-9)).unwrap_or_else(|| vec![costs.len()])
}

/// Parts of at most `bound`; `None` if `n` do not suffice.
fn fill(costs: &[f64], n: usize, bound: f64) -> Option<Vec<usize>> {
    let mut lengths = Vec::with_capacity(n);
    let mut at = 0;
    for part in 0..n {
        // Each later part needs one unit.
        let last = costs.len() - (n - part - 1);
        let (mut sum, mut length) = (0.0, 0);
        while at + length < last && (length == 0 || sum + costs[at + length] <= bound) {
            sum += costs[at + length];
            length += 1;
        }
        if sum > bound {
            return None;
        }
        at += length;
        lengths.push(length);
    }
    (at == costs.len()).then_some(lengths)
}
