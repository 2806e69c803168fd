//! One optimizer step on tokens: cross-entropy of the next token, the MTP loss, the balance loss and the routers' correction biases.

use reseek_model::{Model, Weights};
use reseek_spec::chunk_rows;
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::dtype::Dtype;

use crate::{Gradients, Hyper, Optimizer, OwnTerms, Sequence, TokenLoss, TrainError, deal};

/// Everything that learns: the weights flat and packed, the optimizer's moments.
#[derive(Debug)]
pub struct Learner {
    /// The trained values.
    pub weights: Weights,
    /// The same, packed.
    pub model: Model,
    /// The moments.
    pub optimizer: Optimizer,
    /// Buffers of the lanes.
    pub gradients: Gradients,
}

/// The settings of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepSettings {
    /// AdamW and the clip.
    pub hyper: Hyper,
    /// λ of the MTP loss; at 0 the module does not run.
    pub mtp_lambda: f32,
    /// Share of the rows that the MTP module learns from, 1 for all of them as in V3. Its loss is the mean over these.
    pub mtp_share: f32,
    /// α of the sequence-wise balance loss.
    pub balance_alpha: f32,
    /// γ of the correction biases.
    pub bias_speed: f32,
    /// Lanes of the gradient.
    pub lanes: usize,
}

/// What a step saw, before its update.
#[derive(Clone, Debug, Default)]
pub struct StepReport {
    /// Mean −log p of the targets, in nats.
    pub loss_main: f64,
    /// Mean −log p of the MTP targets, in nats; 0 where the module did not run.
    pub loss_mtp: f64,
    /// Mean Σ f·P over rows and mixtures: 1 when every load is even.
    pub loss_balance: f64,
    /// The whole loss that was minimised.
    pub loss: f64,
    /// Global norm of the gradient before the clip.
    pub grad_norm: f64,
    /// Rows in the batch.
    pub rows: usize,
    /// Tokens of each expert of each mixture.
    pub expert_counts: Vec<Vec<u32>>,
}

impl Learner {
    /// A learner that starts from `weights`, with moments in f32.
    pub fn new(weights: Weights) -> Self {
        Self::with_moments(weights, Dtype::F32)
    }

    /// A learner that starts from `weights` and keeps its moments in `format`.
    pub fn with_moments(weights: Weights, format: Dtype) -> Self {
        let optimizer = Optimizer::new(weights.data.len(), format);
        Self { model: Model::new(&weights), weights, optimizer, gradients: Gradients::default() }
    }

    /// One step on `sequences`.
    ///
    /// # Errors
    /// If the loss or the gradient is not finite: the weights are as before then.
    ///
    /// # Panics
    /// If no sequence has a target.
    pub fn step<T: AsRef<[u32]>>(
        &mut self,
        sequences: &[Sequence<T>],
        settings: &StepSettings,
    ) -> Result<StepReport, TrainError> {
        let mtp = settings.mtp_lambda > 0.0 && self.model.has_mtp();
        let targets = |targets: &[u32]| targets.iter().filter(|&&t| t != IGNORE).count();
        let n: usize = sequences.iter().map(|(_, t)| targets(t.as_ref())).sum();
        assert!(n > 0, "a batch without a target");
        let mtp_share = if mtp { settings.mtp_share } else { 0.0 };
        let lanes = deal(sequences, settings.lanes, mtp_share, chunk_rows(self.weights.data.len()));
        let n_mtp: usize = lanes.iter().flatten().filter_map(|chunk| chunk.mtp_targets.as_deref()).map(targets).sum();
        let rows: usize = sequences.iter().map(|(tokens, _)| tokens.as_ref().len()).sum();
        let own =
            OwnTerms { mtp: settings.mtp_lambda / n_mtp.max(1) as f32, balance: settings.balance_alpha / rows as f32 };
        // Mean cross-entropy of the next token.
        let share = -1.0 / n as f32;
        let objective = TokenLoss { temperature: 1.0, slope: |_, _| share };
        let (grads, stats) = self.gradients.compute(&self.model, lanes, own, &objective);

        let mixtures = stats.mixture_rows as f64 / rows as f64;
        let mut report = StepReport {
            loss_main: stats.nll / n as f64,
            loss_mtp: if mtp { stats.mtp_nll / stats.mtp_targets.max(1) as f64 } else { 0.0 },
            loss_balance: stats.balance / stats.mixture_rows.max(1) as f64,
            rows,
            ..StepReport::default()
        };
        report.loss = report.loss_main
            + settings.mtp_lambda as f64 * report.loss_mtp
            + settings.balance_alpha as f64 * report.loss_balance * mixtures;
        if !report.loss.is_finite() {
            return Err(TrainError::Diverged { what: "loss", value: report.loss, step: self.optimizer.step + 1 });
        }
        report.grad_norm = self.optimizer.update(&mut self.weights, grads, &settings.hyper)?;
        self.balance(&stats.expert_counts, settings.bias_speed);
        self.model.repack(&self.weights);
        report.expert_counts = stats.expert_counts;
        Ok(report)
    }

    /// Bias balancing (V3 report, 2.1.2): +γ for an expert with less than the mean load, −γ for one with more.
    fn balance(&mut self, counts: &[Vec<u32>], speed: f32) {
        if speed == 0.0 {
            return;
        }
        for (range, counts) in self.model.bias_ranges().into_iter().zip(counts) {
            let mean = counts.iter().sum::<u32>() as f32 / counts.len() as f32;
            for (bias, &count) in self.weights.buffers[range].iter_mut().zip(counts) {
                let gap = mean - count as f32;
                *bias += if gap > 0.0 {
                    speed
                } else if gap < 0.0 {
                    -speed
                } else {
                    0.0
                };
            }
        }
    }
}

/// Load of the busiest expert over the mean load, the worst of all mixtures; 1 when even, nothing without a mixture.
pub fn expert_load_max(counts: &[Vec<u32>]) -> Option<f64> {
    let of = |c: &Vec<u32>| {
        let mean = c.iter().sum::<u32>() as f64 / c.len() as f64;
        c.iter().copied().max().unwrap_or(0) as f64 / mean.max(f64::MIN_POSITIVE)
    };
    counts.iter().map(of).reduce(f64::max)
}
