//! A loss of pairs on whole sequences, as somebody would add it: Direct Preference Optimization (Rafailov et al. 2023, equation 7).
//!
//! loss = −log σ(β·m), m = (log π(y₊) − log π_ref(y₊)) − (log π(y₋) − log π_ref(y₋))

use reseek_model::{Model, Weights};
use reseek_train::{Chunk, Gradients, Group, Learner, OwnTerms, Sequence, SequenceLogprobs, SequenceLoss, deal_whole};

use crate::common::{SETTINGS, learner, sequences, student, v3};

const BETA: f32 = 0.5;

/// Margins against a reference: how much likelier the policy made the better answer of each pair than the worse one.
struct Dpo {
    /// log π_ref of each sequence: better and worse in turn.
    reference: Vec<f32>,
}

impl Dpo {
    fn margin(&self, [better, worse]: &[SequenceLogprobs; 2]) -> f32 {
        let gain = |s: &SequenceLogprobs| s.logprobs.iter().sum::<f32>() - self.reference[s.sequence];
        gain(better) - gain(worse)
    }

    /// d loss / d log p: −β·σ(−β·m) for each token of the better answer, its opposite for the worse one's.
    fn slopes(&self, sequences: &[SequenceLogprobs]) -> Vec<f32> {
        let pairs = self.reference.len() as f32 / 2.0;
        let (pair, _) = sequences.as_chunks::<2>();
        let of_pair = |pair: &[SequenceLogprobs; 2]| {
            let slope = -BETA / (1.0 + (BETA * self.margin(pair)).exp()) / pairs;
            [vec![slope; pair[0].logprobs.len()], vec![-slope; pair[1].logprobs.len()]].concat()
        };
        pair.iter().flat_map(of_pair).collect()
    }
}

/// Prompts with a better and a worse answer each.
fn pairs() -> Vec<(Vec<u32>, Vec<Sequence>)> {
    (0..6u64).map(|i| (vec![3 + i as u32; 1 + i as usize], sequences(&[4 + i as usize, 9], 100 + i))).collect()
}

fn batch(pairs: &[(Vec<u32>, Vec<Sequence>)], lanes: usize) -> Vec<Vec<Chunk>> {
    let groups: Vec<Group> = pairs.iter().map(|(prefix, sequences)| Group { prefix, sequences }).collect();
    deal_whole(&groups, lanes)
}

/// log π of every sequence.
fn logprobs(model: &Model, pairs: &[(Vec<u32>, Vec<Sequence>)]) -> Vec<f32> {
    let out = std::sync::Mutex::new(vec![0.0; 2 * pairs.len()]);
    let look = |sequences: &[SequenceLogprobs]| {
        sequences.iter().for_each(|s| out.lock().unwrap()[s.sequence] = s.logprobs.iter().sum());
        vec![0.0; sequences.iter().map(|s| s.logprobs.len()).sum()]
    };
    let loss = SequenceLoss { temperature: 1.0, slopes: look };
    Gradients::default().compute(model, batch(pairs, 2), OwnTerms::default(), &loss);
    out.into_inner().unwrap()
}

fn loss(model: &Model, pairs: &[(Vec<u32>, Vec<Sequence>)], reference: &[f32]) -> f64 {
    let gains: Vec<f32> = logprobs(model, pairs).iter().zip(reference).map(|(a, b)| a - b).collect();
    let of = |pair: &[f32]| (1.0 + (-BETA as f64 * (pair[0] - pair[1]) as f64).exp()).ln();
    gains.chunks(2).map(of).sum::<f64>() / pairs.len() as f64
}

#[test]
fn a_loss_of_pairs_has_the_gradient_of_its_value() {
    let pairs = pairs();
    // The dense student: a mixture's experts change along the way, where a loss has a step and no slope.
    let weights = Weights::init(student(), 1).unwrap();
    let model = Model::new(&weights);
    // A reference that the policy has left: no margin is 0.
    let reference: Vec<f32> =
        logprobs(&model, &pairs).iter().enumerate().map(|(i, logp)| logp + 0.3 * (i % 5) as f32 - 0.6).collect();
    let dpo = Dpo { reference: reference.clone() };
    let objective = SequenceLoss { temperature: 1.0, slopes: |sequences: &[SequenceLogprobs]| dpo.slopes(sequences) };
    let mut gradients = Gradients::default();
    let (grads, _) = gradients.compute(&model, batch(&pairs, 2), OwnTerms::default(), &objective);
    let size = grads.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
    let moved = |sign: f64| {
        let mut moved = weights.clone();
        moved.data.iter_mut().zip(grads).for_each(|(w, g)| *w += (sign * 1e-3 * *g as f64 / size) as f32);
        loss(&Model::new(&moved), &pairs, &reference)
    };
    let slope = (moved(1.0) - moved(-1.0)) / 2e-3;
    assert!((slope - size).abs() < 0.02 * size, "slope {slope}, gradient {size}");
}

#[test]
fn pairs_come_apart() {
    let pairs = pairs();
    let Learner { mut weights, mut model, mut optimizer, mut gradients } = learner(v3());
    let dpo = Dpo { reference: logprobs(&model, &pairs) };
    let objective = SequenceLoss { temperature: 1.0, slopes: |sequences: &[SequenceLogprobs]| dpo.slopes(sequences) };
    assert!((loss(&model, &pairs, &dpo.reference) - std::f64::consts::LN_2).abs() < 1e-6);
    for _ in 0..10 {
        let (grads, _) = gradients.compute(&model, batch(&pairs, 2), OwnTerms::default(), &objective);
        optimizer.update(&mut weights, grads, &SETTINGS.hyper).unwrap();
        model.repack(&weights);
    }
    let after = loss(&model, &pairs, &dpo.reference);
    assert!(after < 0.2, "a loss of {after}");
}
