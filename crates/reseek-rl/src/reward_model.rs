//! A small learned reward model for what rules cannot verify (R1 report, 2.3.4): a language model whose last hidden row, through one
//! linear map, scores a prompt with its answer. Trained on pairs by the Bradley–Terry loss −log σ(r_chosen − r_rejected).

use reseek_model::{Model, OutputGradients, Rows, Weights};
use reseek_tensor::adamw::{AdamW, adamw};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::pool::map_lanes;
use reseek_train::{Hyper, Optimizer};

use crate::RlError;

/// Two answers to one prompt, prompt included, as tokens.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The better one.
    pub chosen: Vec<u32>,
    /// The worse one.
    pub rejected: Vec<u32>,
}

/// A trained scorer.
#[derive(Debug)]
pub struct RewardModel {
    weights: Weights,
    model: Model,
    optimizer: Optimizer,
    head: Vec<f32>,
    head_m: Vec<f32>,
    head_v: Vec<f32>,
    grads: Vec<Vec<f32>>,
}

/// What a step of training saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairReport {
    /// Mean −log σ of the margin.
    pub loss: f64,
    /// Share of pairs in the right order.
    pub accuracy: f64,
    /// Rows that went through.
    pub rows: usize,
}

impl RewardModel {
    /// A scorer on top of `weights`, giving 0 to everything.
    pub fn new(weights: Weights) -> Self {
        let (n, d) = (weights.data.len(), weights.spec.hidden_size);
        Self {
            model: Model::new(&weights),
            optimizer: Optimizer::new(n, Dtype::F32),
            head: vec![0.0; d],
            head_m: vec![0.0; d],
            head_v: vec![0.0; d],
            grads: Vec::new(),
            weights,
        }
    }

    /// The score of a prompt with its answer.
    ///
    /// # Panics
    /// If there is no token.
    pub fn score(&self, tokens: &[u32]) -> f32 {
        let pass = self.model.forward(Rows::new(tokens, &[tokens.len()]), None);
        dot(last_row(pass.hidden(), self.head.len()), &self.head)
    }

    /// One optimizer step on `pairs`, in `lanes` fixed lanes; the head, which begins at 0, has a learning rate of its own.
    ///
    /// # Errors
    /// If the gradient is not finite.
    pub fn train_step(
        &mut self,
        pairs: &[Pair],
        lanes: usize,
        hyper: &Hyper,
        head_lr: f64,
    ) -> Result<PairReport, RlError> {
        let n = pairs.len();
        let per_lane = n.div_ceil(lanes.max(1)).max(1);
        self.grads.resize_with(n.div_ceil(per_lane), Vec::new);
        let (model, head) = (&self.model, &self.head);
        let jobs: Vec<_> = pairs.chunks(per_lane).zip(&mut self.grads).collect();
        let results = map_lanes(jobs, |(pairs, grads)| {
            grads.clear();
            grads.resize(model.parameters(), 0.0);
            let mut head_grad = vec![0.0; head.len()];
            let mut report = PairReport::default();
            pairs.iter().for_each(|pair| pair_gradients(model, head, pair, n, grads, &mut head_grad, &mut report));
            (head_grad, report)
        });
        let (first, rest) = self.grads.split_first_mut().expect("a batch of pairs");
        rest.iter().for_each(|lane| first.iter_mut().zip(lane).for_each(|(a, b)| *a += b));
        let mut head_grad = vec![0.0; head.len()];
        let mut report = PairReport::default();
        for (lane, seen) in results {
            head_grad.iter_mut().zip(lane).for_each(|(a, b)| *a += b);
            report.loss += seen.loss / n as f64;
            report.accuracy += seen.accuracy / n as f64;
            report.rows += seen.rows;
        }
        self.optimizer.update(&mut self.weights, first, hyper)?;
        let adam = AdamW { lr: head_lr, beta1: hyper.beta1, beta2: hyper.beta2, eps: 1e-8, weight_decay: 0.0 };
        let step = self.optimizer.step;
        adamw(&mut self.head, &head_grad, &mut self.head_m, &mut self.head_v, &adam, step, 1.0);
        self.model.repack(&self.weights);
        Ok(report)
    }
}

/// Adds a pair's gradients. With margin m = r_chosen − r_rejected, d(−log σ(m))/dm = σ(m) − 1.
fn pair_gradients(
    model: &Model,
    head: &[f32],
    pair: &Pair,
    n: usize,
    grads: &mut [f32],
    head_grad: &mut [f32],
    report: &mut PairReport,
) {
    let tokens = [pair.chosen.as_slice(), &pair.rejected].concat();
    let pass = model.forward(Rows::new(&tokens, &[pair.chosen.len(), pair.rejected.len()]), None);
    let d = head.len();
    let chosen = last_row(&pass.hidden()[..pair.chosen.len() * d], d);
    let rejected = last_row(pass.hidden(), d);
    let margin = dot(chosen, head) - dot(rejected, head);
    let slope = -1.0 / (1.0 + margin.exp()) / n as f32;
    report.loss += if margin > 0.0 { (-margin).exp().ln_1p() } else { margin.exp().ln_1p() - margin } as f64;
    report.accuracy += f64::from(margin > 0.0);
    report.rows += tokens.len();
    for i in 0..d {
        head_grad[i] += slope * (chosen[i] - rejected[i]);
    }
    let mut dhidden = Buffer::zeros(pass.hidden().len());
    for (end, sign) in [(pair.chosen.len(), slope), (tokens.len(), -slope)] {
        dhidden[(end - 1) * d..end * d].iter_mut().zip(head).for_each(|(g, h)| *g = sign * h);
    }
    model.backward(&pass, OutputGradients { hidden: dhidden, mtp_hidden: None, balance: 0.0 }, grads);
}

fn last_row(hidden: &[f32], d: usize) -> &[f32] {
    &hidden[hidden.len() - d..]
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use reseek_spec::{ModelSpec, Scale};

    use super::*;

    /// The loss of one pair with all its gradients, of weights and of the head.
    fn gradients(weights: &Weights, head: &[f32], pair: &Pair) -> (f64, Vec<f32>, Vec<f32>) {
        let model = Model::new(weights);
        let (mut grads, mut head_grad) = (vec![0.0; model.parameters()], vec![0.0; head.len()]);
        let mut report = PairReport::default();
        pair_gradients(&model, head, pair, 1, &mut grads, &mut head_grad, &mut report);
        (report.loss, grads, head_grad)
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        for spec in [ModelSpec::student(Scale::Smoke, 32), ModelSpec::ladder(Scale::Smoke, 32)] {
            let weights = Weights::init(spec, 2).unwrap();
            let d = weights.spec.hidden_size;
            let head: Vec<f32> = (0..d).map(|i| ((i * 29 % 17) as f32 - 8.0) * 0.02).collect();
            let pair = Pair { chosen: vec![0, 5, 9, 3, 11], rejected: vec![0, 5, 9, 30] };
            let (_, grads, head_grad) = gradients(&weights, &head, &pair);
            let norm = |g: &[f32]| g.iter().map(|&g| g as f64 * g as f64).sum::<f64>().sqrt();
            // Along its own direction a gradient has its norm as slope; f32 leaves about three digits of it.
            let step = 2e-3;
            let (size, head_size) = (norm(&grads), norm(&head_grad));
            let moved = |sign: f64| {
                let mut moved = weights.clone();
                moved.data.iter_mut().zip(&grads).for_each(|(w, g)| *w += (sign * step * *g as f64 / size) as f32);
                gradients(&moved, &head, &pair).0
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            assert!((slope - size).abs() < 0.02 * size, "weights: slope {slope}, gradient {size}");
            let moved = |sign: f64| {
                let along = |(h, g): (&f32, &f32)| h + (sign * step * *g as f64 / head_size) as f32;
                gradients(&weights, &head.iter().zip(&head_grad).map(along).collect::<Vec<_>>(), &pair).0
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            assert!((slope - head_size).abs() < 0.01 * head_size, "head: slope {slope}, gradient {head_size}");
        }
    }

    #[test]
    fn the_loss_is_bradley_terrys_at_any_margin() {
        let weights = Weights::init(ModelSpec::student(Scale::Smoke, 32), 2).unwrap();
        let pair = Pair { chosen: vec![0, 5, 9], rejected: vec![0, 5, 4] };
        let model = Model::new(&weights);
        let row =
            |tokens: &[u32]| last_row(model.forward(Rows::new(tokens, &[tokens.len()]), None).hidden(), 64).to_vec();
        let difference: Vec<f32> = row(&pair.chosen).iter().zip(row(&pair.rejected)).map(|(a, b)| a - b).collect();
        for scale in [0.0, 1.0, -1.0, 50.0, -50.0] {
            let head: Vec<f32> = difference.iter().map(|d| scale * d).collect();
            let margin = head.iter().zip(&difference).map(|(h, d)| (h * d) as f64).sum::<f64>();
            let expect = if margin > 0.0 { (-margin).exp().ln_1p() } else { margin.exp().ln_1p() - margin };
            let (loss, grads, _) = gradients(&weights, &head, &pair);
            assert!((loss - expect).abs() < 1e-3 * (1.0 + expect), "margin {margin}: {loss} for {expect}");
            assert!(grads.iter().all(|g| g.is_finite()));
        }
    }
}
