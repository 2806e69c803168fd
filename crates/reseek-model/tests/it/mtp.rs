//! The whole loss — main, MTP and balance — against a slow f64 reference, and every gradient against its differences.

use reseek_model::{Model, Rows, Weights};
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::linear::linear_forward;
use reseek_tensor::random::Stream;
use reseek_train::{Gradients, OwnTerms, Sequence, TokenLoss, deal, mtp_targets};

use crate::fixture::{Fixture, errors, with_targets};
use crate::reference::{Reference, logprob};

/// λ of the MTP loss.
const LAMBDA: f64 = 0.3;
/// α of the balance loss, far above V3's 1e-4, so that an error would show.
const ALPHA: f64 = 0.05;
/// Step of the differences, relative to the wanted change.
const STEP: f64 = 1e-5;

#[test]
fn logits_of_the_module() {
    let (weights, sequences) = tiny();
    let model = Model::new(&weights);
    let reference = Reference::new(&weights);
    for (tokens, targets) in &sequences {
        let next = known(targets);
        let pass = model.forward(Rows::new(tokens, &[tokens.len()]), Some(next.clone()));
        let expected = reference.run(tokens, &next);
        for (hidden, expected) in
            [(pass.hidden(), &expected.hidden), (pass.mtp_hidden().expect("the module ran"), &expected.mtp_hidden)]
        {
            let mut logits = vec![0.0; tokens.len() * weights.spec.vocab_size];
            linear_forward(&mut logits, hidden, model.head());
            let expected: Vec<f32> = reference.logits(expected).concat().iter().map(|&v| v as f32).collect();
            let (l2, worst) = errors(&logits, &expected);
            println!("logits {l2:.1e}, worst element {worst:.1e}");
            assert!(l2 < 1e-5 && worst < 1e-5, "off by {l2:e}, one by {worst:e}");
        }
    }
}

#[test]
fn gradients_of_the_whole_loss() {
    let (weights, sequences) = tiny();
    let model = Model::new(&weights);
    let [n, n_mtp, rows] = sizes(&sequences).map(|size| size as f64);
    let own = OwnTerms { mtp: (LAMBDA / n_mtp) as f32, balance: (ALPHA / rows) as f32 };
    let objective = TokenLoss { temperature: 1.0, slope: |_, _| (-1.0 / n) as f32 };
    let mut gradients = Gradients::default();
    let (grads, stats) = gradients.compute(&model, deal(&sequences, 2, 1.0, 1024), own, &objective);
    let loss = stats.nll / n + LAMBDA * stats.mtp_nll / n_mtp + ALPHA * stats.balance / rows;

    let mut reference = Reference::new(&weights);
    let expected = total_loss(&reference, &sequences);
    assert!((loss / expected - 1.0).abs() < 1e-6, "{loss} for {expected}");
    assert!(reference.margin.get() > 1e-3, "a choice of experts is too close: {:e}", reference.margin.get());

    let mut worst = (0.0, String::new());
    for (i, (tensor, range)) in weights.layout.tensors().filter(|(tensor, _)| tensor.is_trained()).enumerate() {
        let mut stream = Stream::new(7, "direction", 0, i as u64);
        let direction: Vec<f64> = range.clone().map(|_| stream.normal() as f64).collect();
        let mut along = |step: f64| {
            let values = reference.tensors.get_mut(&tensor.name).expect("the same tensors");
            values.iter_mut().zip(&direction).for_each(|(v, d)| *v += step * d);
            total_loss(&reference, &sequences)
        };
        let above = along(STEP);
        let below = along(-2.0 * STEP);
        along(STEP);
        let difference = (above - below) / (2.0 * STEP);
        let grads = &grads[range];
        let slope: f64 = grads.iter().zip(&direction).map(|(&g, d)| g as f64 * d).sum();
        let size = grads.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
        let error = if size == 0.0 { difference.abs() } else { (slope - difference).abs() / size };
        assert!(error < 1e-4, "{}: slope {slope} for {difference}", tensor.name);
        if error > worst.0 {
            worst = (error, tensor.name.clone());
        }
    }
    println!("slopes {:.1e} ({})", worst.0, worst.1);
}

/// main + λ·mtp + α·balance, as Learner::step defines it.
fn total_loss(reference: &Reference, sequences: &[Sequence]) -> f64 {
    let [n, n_mtp, rows] = sizes(sequences).map(|size| size as f64);
    let mut loss = 0.0;
    for (tokens, targets) in sequences {
        let outputs = reference.run(tokens, &known(targets));
        let nll = |hidden, targets: &[u32]| -> f64 {
            let logits = reference.logits(hidden);
            let with_target = logits.iter().zip(targets).filter(|(_, target)| **target != IGNORE);
            with_target.map(|(logits, &target)| -logprob(logits, target)).sum()
        };
        loss += nll(&outputs.hidden, targets) / n;
        let after: Vec<u32> = targets[1..].iter().copied().chain([IGNORE]).collect();
        loss += LAMBDA * nll(&outputs.mtp_hidden, &after) / n_mtp;
        loss += ALPHA * outputs.balance * tokens.len() as f64 / rows;
    }
    loss
}

/// Targets, MTP targets and rows.
fn sizes(sequences: &[Sequence]) -> [usize; 3] {
    let count = |targets: &[u32]| targets.iter().filter(|&&t| t != IGNORE).count();
    let n = sequences.iter().map(|(_, targets)| count(targets)).sum();
    let n_mtp = sequences.iter().map(|(_, targets)| count(&mtp_targets(targets, &[targets.len()]))).sum();
    [n, n_mtp, sequences.iter().map(|(tokens, _)| tokens.len()).sum()]
}

/// The token that the module is given after a sequence's last.
fn known(targets: &[u32]) -> Vec<u32> {
    targets.iter().map(|&t| if t == IGNORE { 0 } else { t }).collect()
}

/// The fixture's shape with an MTP module, wide random values (gains and correction biases too), and two sequences, at a seed where
/// no choice of experts is close.
fn tiny() -> (Weights, Vec<Sequence>) {
    let mut spec = (*Fixture::load("v3").weights.spec).clone();
    spec.num_nextn_predict_layers = 1;
    spec.initializer_range = 0.2;
    for seed in 0..100 {
        let mut weights = Weights::init(spec.clone(), seed).expect("a sound specification");
        let mut stream = Stream::new(seed, "tiny", 0, 0);
        for (tensor, range) in weights.layout.clone().tensors() {
            if !tensor.is_trained() {
                weights.buffers[range].iter_mut().for_each(|v| *v = 0.1 * stream.normal());
            } else if tensor.shape.len() == 1 {
                weights.data[range].iter_mut().for_each(|v| *v += 0.2 * stream.normal());
            }
        }
        let mut tokens = |len: usize| (0..len).map(|_| stream.below(spec.vocab_size) as u32).collect::<Vec<_>>();
        let sequences = vec![with_targets(&tokens(11)), with_targets(&tokens(6))];
        let reference = Reference::new(&weights);
        total_loss(&reference, &sequences);
        if reference.margin.get() > 2e-3 {
            return (weights, sequences);
        }
    }
    panic!("no seed keeps every choice of experts apart")
}
