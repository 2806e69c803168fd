//! A batch's gradients, computed in fixed lanes of sequences.
//!
//! A lane runs forward and backward on one thread, chunk by chunk, into a gradient buffer of its own; the buffers are then summed in
//! lane order. The number of lanes is part of the recipe, so the bits do not depend on the number of threads that serve them. Chunks
//! of about a thousand rows keep a lane's activations near the core's cache.

use reseek_model::{Model, OutputGradients, Rows};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::cross_entropy::{IGNORE, LmGrads, lm_loss};
use reseek_tensor::pool::map_lanes;

/// Rows that a lane computes in one pass, and what they should predict.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Number of the first row in the whole batch.
    pub first: usize,
    /// Tokens in segments.
    pub rows: Rows,
    /// The token after each row, or [`IGNORE`], [n].
    pub targets: Vec<u32>,
    /// Whether the MTP module learns from these rows.
    pub mtp: bool,
}

/// What the loss is made of: the weights of its parts, and the temperature of the distribution that it sees.
#[derive(Clone, Copy, Debug)]
pub struct LossParts {
    /// λ of the MTP loss divided by the batch's MTP targets, a weight a token.
    pub mtp: f32,
    /// α of the balance loss divided by the batch's rows.
    pub balance: f32,
    /// T of softmax(logits / T), whose log-probabilities the loss sees: 1, and in RL what the samples were drawn at.
    pub temperature: f32,
}

impl Default for LossParts {
    /// The language-model loss alone, of the model's own distribution.
    fn default() -> Self {
        Self { mtp: 0.0, balance: 0.0, temperature: 1.0 }
    }
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
    /// Runs every lane and returns the summed gradients with each lane's statistics.
    ///
    /// `batch[lane]` lists the lane's chunks; `token_loss(row, logp)` gives dL/dlogp of the target at a row of the whole batch.
    pub fn compute<F>(
        &mut self,
        model: &Model,
        batch: Vec<Vec<Chunk>>,
        parts: LossParts,
        token_loss: F,
    ) -> (&[f32], LaneStats)
    where
        F: Fn(usize, f32) -> f32 + Sync + Send,
    {
        let n = batch.len();
        self.lanes.resize_with(n.max(self.lanes.len()), Vec::new);
        let jobs: Vec<_> = batch.into_iter().zip(&mut self.lanes).collect();
        let stats = map_lanes(jobs, |(chunks, grads)| {
            grads.clear();
            grads.resize(model.parameters(), 0.0);
            let run = |chunk| chunk_gradients(model, chunk, parts, &token_loss, grads);
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
    parts: LossParts,
    token_loss: &dyn Fn(usize, f32) -> f32,
    grads: &mut [f32],
) -> LaneStats {
    let Chunk { first, rows, targets, mtp } = chunk;
    let segments = rows.segments.clone();
    let next = mtp.then(|| targets.iter().map(|&t| if t == IGNORE { 0 } else { t }).collect());
    let pass = model.forward(rows, next);
    let expert_counts = pass.expert_counts(model);
    let mut stats = LaneStats {
        rows: targets.len(),
        mixture_rows: targets.len() * expert_counts.len(),
        expert_counts,
        balance: if parts.balance == 0.0 { 0.0 } else { pass.balance(model) },
        ..LaneStats::default()
    };
    let head_range = model.head_range();
    let mut hidden = Buffer::new(pass.hidden().len());
    let head_grads = LmGrads { dhidden: &mut hidden, dhead: &mut grads[head_range.clone()] };
    let mut observe = |row: usize, logp: f32, entropy: f32| {
        stats.nll -= logp as f64;
        stats.entropy += entropy as f64;
        stats.targets += 1;
        stats.logprobs.push((first + row, logp));
        token_loss(first + row, logp)
    };
    lm_loss(pass.hidden(), model.head(), &targets, parts.temperature, &mut observe, Some(head_grads));

    let mtp_hidden = pass.mtp_hidden().map(|hidden| {
        let mut dhidden = Buffer::new(hidden.len());
        let head_grads = LmGrads { dhidden: &mut dhidden, dhead: &mut grads[head_range.clone()] };
        let mut observe = |_: usize, logp: f32, _: f32| {
            stats.mtp_nll -= logp as f64;
            stats.mtp_targets += 1;
            -parts.mtp
        };
        lm_loss(hidden, model.head(), &mtp_targets(&targets, &segments), 1.0, &mut observe, Some(head_grads));
        dhidden
    });
    model.backward(&pass, OutputGradients { hidden, mtp_hidden, balance: parts.balance }, grads);
    stats
}

/// The token after the next: each segment's targets moved by one, nothing after its end, and nothing where the next token that the
/// module is given is itself unknown.
pub fn mtp_targets(targets: &[u32], segments: &[usize]) -> Vec<u32> {
    let mut out = Vec::with_capacity(targets.len());
    let mut from = 0;
    for &len in segments {
        let segment = &targets[from..from + len];
        let after = segment.iter().skip(1).chain(std::iter::once(&IGNORE));
        out.extend(segment.iter().zip(after).map(|(&next, &after)| if next == IGNORE { IGNORE } else { after }));
        from += len;
    }
    out
}
