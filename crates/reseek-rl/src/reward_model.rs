//! A small learned reward model for what rules cannot verify (R1 report, 2.3.4): a language model whose last hidden row, through one
//! linear map, scores a prompt with its answer. Trained on pairs by the Bradley–Terry loss −log σ(r_chosen − r_rejected).

use reseek_model::{Rows, Weights};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::dtype::Dtype;
use reseek_train::{Group, Hyper, LaneStats, Learner, Objective, Optimizer, Outputs, OwnTerms, Sequence, deal_whole};

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
    learner: Learner,
    /// From the last hidden row to the score, [d].
    head: Vec<f32>,
    head_optimizer: Optimizer,
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
        let d = weights.spec.hidden_size;
        Self { learner: Learner::new(weights), head: vec![0.0; d], head_optimizer: Optimizer::new(d, Dtype::F32) }
    }

    /// The score of a prompt with its answer.
    ///
    /// # Panics
    /// If there is no token.
    pub fn score(&self, tokens: &[u32]) -> f32 {
        let hidden = self.learner.model.hidden(&Rows::new(tokens, &[tokens.len()]));
        dot(last_row(hidden.host(), self.head.len()), &self.head)
    }

    /// One optimizer step on `pairs`, in `lanes` fixed lanes; the head, which begins at 0, has a learning rate of its own.
    ///
    /// # Errors
    /// If the gradient is not finite.
    ///
    /// # Panics
    /// If there is no pair.
    pub fn train_step(
        &mut self,
        pairs: &[Pair],
        lanes: usize,
        hyper: &Hyper,
        head_lr: f64,
    ) -> Result<PairReport, RlError> {
        let of = |answer: &Vec<u32>| -> Sequence { (answer.clone(), vec![IGNORE; answer.len()]) };
        let sequences: Vec<[Sequence; 2]> = pairs.iter().map(|pair| [of(&pair.chosen), of(&pair.rejected)]).collect();
        let groups: Vec<Group> = sequences.iter().map(|sequences| Group { prefix: &[], sequences }).collect();
        let objective = BradleyTerry { head: &self.head, pairs: pairs.len() };
        let Learner { weights, model, optimizer, gradients } = &mut self.learner;
        let (grads, stats) = gradients.compute(model, deal_whole(&groups, lanes), OwnTerms::default(), &objective);
        let (of_model, of_head) = grads.split_at(model.parameters());
        optimizer.update(weights, of_model, hyper)?;
        self.head_optimizer.update_values(&mut self.head, of_head, &Hyper { lr: head_lr, ..*hyper });
        model.repack(weights);
        let mean = |sum: f64| sum / pairs.len() as f64;
        Ok(PairReport { loss: mean(stats.loss), accuracy: mean(stats.right), rows: stats.rows })
    }
}

/// The Bradley–Terry loss of pairs, each a chunk of its own: the better answer first.
struct BradleyTerry<'a> {
    head: &'a [f32],
    /// In the batch.
    pairs: usize,
}

impl Objective for BradleyTerry<'_> {
    fn parameters(&self) -> usize {
        self.head.len()
    }

    /// With margin m = r_chosen − r_rejected, d(−log σ(m))/dm = σ(m) − 1.
    fn backward(&self, outputs: &Outputs, grads: &mut [f32], stats: &mut LaneStats) -> Buffer {
        let (head, d) = (self.head, self.head.len());
        let &[chosen_rows, _] = &outputs.rows.segments[..] else { panic!("a pair has two answers") };
        let chosen = last_row(&outputs.hidden[..chosen_rows * d], d);
        let rejected = last_row(outputs.hidden, d);
        let margin = dot(chosen, head) - dot(rejected, head);
        let slope = -1.0 / (1.0 + margin.exp()) / self.pairs as f32;
        stats.loss += if margin > 0.0 { (-margin).exp().ln_1p() } else { margin.exp().ln_1p() - margin } as f64;
        stats.right += f64::from(margin > 0.0);
        let head_grad = &mut grads[outputs.model.parameters()..];
        for i in 0..d {
            head_grad[i] += slope * (chosen[i] - rejected[i]);
        }
        let mut dhidden = Buffer::zeros(outputs.hidden.len());
        for (end, sign) in [(chosen_rows, slope), (outputs.rows.len(), -slope)] {
            dhidden.host_mut()[(end - 1) * d..end * d].iter_mut().zip(head).for_each(|(g, h)| *g = sign * h);
        }
        dhidden
    }
}

fn last_row(hidden: &[f32], d: usize) -> &[f32] {
    &hidden[hidden.len() - d..]
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use reseek_model::Model;
    use reseek_spec::{ModelSpec, Scale};
    use reseek_train::Gradients;

    use super::*;

    /// The loss of one pair with all its gradients, of weights and of the head.
    fn gradients(weights: &Weights, head: &[f32], pair: &Pair) -> (f64, Vec<f32>, Vec<f32>) {
        let model = Model::new(weights);
        let sequences = [&pair.chosen, &pair.rejected].map(|answer| (answer.clone(), vec![IGNORE; answer.len()]));
        let batch = deal_whole(&[Group { prefix: &[], sequences: &sequences }], 1);
        let mut gradients = Gradients::default();
        let (grads, stats) = gradients.compute(&model, batch, OwnTerms::default(), &BradleyTerry { head, pairs: 1 });
        let (of_model, of_head) = grads.split_at(model.parameters());
        (stats.loss, of_model.to_vec(), of_head.to_vec())
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
