//! A batch's gradients, computed in fixed lanes of sequences.
//!
//! A lane runs forward and backward on one thread, chunk by chunk, into a gradient buffer of its own; the buffers are then summed in
//! lane order. The number of lanes is part of the recipe, so the bits do not depend on the number of threads that serve them. Chunks
//! of about a thousand rows keep a lane's activations near the core's cache.

use reseek_model::{Model, OutputGradients};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::cross_entropy::{IGNORE, LmGrads, lm_loss};
use reseek_tensor::pool::map_lanes;

use crate::{Chunk, Objective, Outputs};

/// What the model's own terms weigh beside the objective: nothing, unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnTerms {
    /// λ of the MTP loss divided by the batch's MTP targets, a weight a token.
    pub mtp: f32,
    /// α of the balance loss divided by the batch's rows.
    pub balance: f32,
}

/// What a lane saw.
#[derive(Clone, Debug, Default)]
pub struct LaneStats {
    /// Σ −log p of the targets.
    pub nll: f64,
    /// Targets.
    pub targets: usize,
    /// Σ −log p of the MTP targets.
    pub mtp_nll: f64,
    /// MTP targets.
    pub mtp_targets: usize,
    /// Σ f·P over rows and mixtures.
    pub balance: f64,
    /// Rows.
    pub rows: usize,
    /// Rows of all mixtures: one row of the batch counts for each that it passed.
    pub mixture_rows: usize,
    /// Σ of a loss that is no sum of log-probabilities: objectives with a head of their own.
    pub loss: f64,
    /// What such an objective got right.
    pub right: f64,
    /// Σ of the entropies of the predicted distributions at the targets.
    pub entropy: f64,
    /// Tokens of each expert of each mixture.
    pub expert_counts: Vec<Vec<u32>>,
    /// log p of each target, with the number of its row in the whole batch.
    pub logprobs: Vec<(usize, f32)>,
}

/// Gradient buffers, kept from step to step.
#[derive(Debug, Default)]
pub struct Gradients {
    lanes: Vec<Vec<f32>>,
}

impl Gradients {
    /// Runs every lane and returns the summed gradients, the model's followed by the objective's own, and what all lanes saw.
    ///
    /// `batch[lane]` lists the lane's chunks.
    pub fn compute(
        &mut self,
        model: &Model,
        batch: Vec<Vec<Chunk>>,
        own: OwnTerms,
        objective: &dyn Objective,
    ) -> (&[f32], LaneStats) {
        let n = batch.len();
        self.lanes.resize_with(n.max(self.lanes.len()), Vec::new);
        let jobs: Vec<_> = batch.into_iter().zip(&mut self.lanes).collect();
        let stats = map_lanes(jobs, |(chunks, grads)| {
            grads.clear();
            grads.resize(model.parameters() + objective.parameters(), 0.0);
            let run = |chunk| chunk_gradients(model, chunk, own, objective, grads);
            LaneStats::sum(chunks.into_iter().map(run).collect())
        });
        self.sum(n);
        (&self.lanes[0], LaneStats::sum(stats))
    }

    fn sum(&mut self, n: usize) {
        let (first, rest) = self.lanes.split_first_mut().expect("a batch has a lane");
        const CHUNK: usize = 1 << 16;
        let rest = &rest[..n - 1];
        let jobs: Vec<_> = first.chunks_mut(CHUNK).enumerate().collect();
        map_lanes(jobs, |(i, total)| {
            for lane in rest {
                let part = &lane[i * CHUNK..][..total.len()];
                total.iter_mut().zip(part).for_each(|(t, g)| *t += g);
            }
        });
    }
}

impl LaneStats {
    /// Counts a target at a row of the whole batch.
    pub fn see(&mut self, row: usize, logp: f32, entropy: f32) {
        self.nll -= logp as f64;
        self.entropy += entropy as f64;
        self.targets += 1;
        self.logprobs.push((row, logp));
    }

    /// Sums over lanes, in order.
    pub fn sum(lanes: Vec<LaneStats>) -> LaneStats {
        let mut lanes = lanes.into_iter();
        let mut total = lanes.next().unwrap_or_default();
        for lane in lanes {
            total.nll += lane.nll;
            total.targets += lane.targets;
            total.mtp_nll += lane.mtp_nll;
            total.mtp_targets += lane.mtp_targets;
            total.balance += lane.balance;
            total.rows += lane.rows;
            total.mixture_rows += lane.mixture_rows;
            total.loss += lane.loss;
            total.right += lane.right;
            total.entropy += lane.entropy;
            total.logprobs.extend(lane.logprobs);
            // The MTP module's mixture, the last, is not in every part.
            for (mixture, counts) in lane.expert_counts.into_iter().enumerate() {
                match total.expert_counts.get_mut(mixture) {
                    Some(total) => total.iter_mut().zip(counts).for_each(|(t, c)| *t += c),
                    None => total.expert_counts.push(counts),
                }
            }
        }
        total
    }
}

fn chunk_gradients(
    model: &Model,
    chunk: Chunk,
    own: OwnTerms,
    objective: &dyn Objective,
    grads: &mut [f32],
) -> LaneStats {
    let Chunk { first_row, rows, targets, first_sequence, sequences, mtp_targets } = chunk;
    let next = mtp_targets.is_some().then(|| targets.iter().map(|&t| if t == IGNORE { 0 } else { t }).collect());
    let pass = model.forward(rows, next);
    let expert_counts = pass.expert_counts(model);
    let mut stats = LaneStats {
        rows: targets.len(),
        mixture_rows: targets.len() * expert_counts.len(),
        expert_counts,
        balance: if own.balance == 0.0 { 0.0 } else { pass.balance(model) },
        ..LaneStats::default()
    };
    let hidden = pass.hidden();
    let outputs = Outputs {
        model,
        rows: pass.rows(),
        targets: &targets,
        sequences: &sequences,
        first_row,
        first_sequence,
        hidden,
    };
    let dhidden = objective.backward(&outputs, grads, &mut stats);
    let mtp_hidden = pass.mtp_hidden().zip(mtp_targets).map(|(hidden, targets)| {
        let mut dhidden = Buffer::uncleared(hidden.len());
        let head_grads = LmGrads { dhidden: (&mut dhidden).into(), dhead: &mut grads[model.head_range()] };
        let mut observe = |_: usize, logp: f32, _: f32| {
            stats.mtp_nll -= logp as f64;
            stats.mtp_targets += 1;
            -own.mtp
        };
        lm_loss(hidden, model.head(), &targets, 1.0, &mut observe, Some(head_grads));
        dhidden
    });
    let of_model = &mut grads[..model.parameters()];
    model.backward(&pass, OutputGradients { hidden: dhidden, mtp_hidden, balance: own.balance }, of_model);
    stats
}
