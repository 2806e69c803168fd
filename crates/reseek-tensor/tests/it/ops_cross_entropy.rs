//! The language-model head with its loss.

use reseek_tensor::cross_entropy::{IGNORE, LmGrads, lm_logprobs, lm_loss, log_softmax_row, temper};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::linear::{Linear, linear_forward};
use reseek_tensor::numeric::{assert_close, assert_same_bits};

use crate::ops_support::{check_at_every_level, gradient, levels, narrow, normal, widen};

struct Case {
    rows: usize,
    width: usize,
    vocab: usize,
    temperature: f32,
}

/// Results of one call, for a loss that is a nonlinear function of every log-probability.
struct Outcome {
    logp: Vec<f32>,
    entropy: Vec<f32>,
    dhidden: Vec<f32>,
    dhead: Vec<f32>,
}

impl Case {
    fn hidden(&self) -> Vec<f32> {
        normal(self.rows * self.width, "hidden")
    }

    fn head(&self) -> Vec<f32> {
        normal(self.vocab * self.width, "head").iter().map(|w| 0.3 * w).collect()
    }

    /// Every third row has no target.
    fn targets(&self) -> Vec<u32> {
        (0..self.rows).map(|row| if row % 3 == 2 { IGNORE } else { (row * 7 % self.vocab) as u32 }).collect()
    }

    fn run(&self, hidden: &[f32], targets: &[u32]) -> Outcome {
        let head = Linear::pack(&self.head(), self.vocab, self.width, Dtype::F32);
        let mut outcome = Outcome {
            logp: vec![0.0; targets.len()],
            entropy: vec![0.0; targets.len()],
            dhidden: vec![f32::NAN; hidden.len()],
            dhead: vec![1.0; self.vocab * self.width],
        };
        let Outcome { logp, entropy, dhidden, dhead } = &mut outcome;
        let mut dlogp = |row: usize, row_logp: f32, row_entropy: f32| {
            (logp[row], entropy[row]) = (row_logp, row_entropy);
            slope(f64::from(row_logp)) as f32
        };
        lm_loss(hidden, &head, targets, self.temperature, &mut dlogp, Some(LmGrads { dhidden: dhidden.into(), dhead }));
        outcome
    }

    /// Log-probabilities and entropies in f64, 0 without a target.
    fn reference(&self, hidden: &[f64], head: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let row = |(x, target): (&[f64], u32)| {
            if target == IGNORE {
                return (0.0, 0.0);
            }
            let logit = |w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() / f64::from(self.temperature);
            let logits: Vec<f64> = head.chunks(self.width).map(logit).collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
            let entropy = -logits.iter().map(|l| (l - lse).exp() * (l - lse)).sum::<f64>();
            (logits[target as usize] - lse, entropy)
        };
        hidden.chunks(self.width).zip(self.targets()).map(row).unzip()
    }

    fn reference_loss(&self, hidden: &[f64], head: &[f64]) -> f64 {
        let (logp, _) = self.reference(hidden, head);
        logp.iter().map(|logp| 0.5 * (1.0 + 0.1 * logp).powi(2)).sum()
    }
}

/// Derivative of the loss `0.5 · (1 + 0.1·logp)²` of a row.
fn slope(logp: f64) -> f64 {
    0.1 * (1.0 + 0.1 * logp)
}

#[test]
fn agrees_with_the_reference_and_its_differences() {
    for (rows, width, vocab, temperature) in [
        (1, 1, 1, 1.0),
        (1, 8, 33, 1.0),
        (5, 3, 17, 1.0),
        (7, 16, 64, 1.0),
        (5, 3, 17, 0.7),
        (7, 16, 64, 0.5),
        (4, 8, 33, 1.6),
    ] {
        let case = Case { rows, width, vocab, temperature };
        let (hidden, targets) = (case.hidden(), case.targets());
        let (wide_hidden, wide_head) = (widen(&hidden), widen(&case.head()));
        let (logp, entropy) = case.reference(&wide_hidden, &wide_head);
        check_at_every_level("logp", &[rows], &narrow(&logp), 1e-6, || case.run(&hidden, &targets).logp);
        check_at_every_level("entropy", &[rows], &narrow(&entropy), 1e-6, || case.run(&hidden, &targets).entropy);

        let dhidden = gradient(&hidden, |hidden| case.reference_loss(hidden, &wide_head));
        check_at_every_level("dhidden", &[rows, width], &dhidden, 2e-6, || case.run(&hidden, &targets).dhidden);
        let dhead = gradient(&case.head(), |head| case.reference_loss(&wide_hidden, head));
        let want: Vec<f32> = dhead.iter().map(|x| x + 1.0).collect();
        check_at_every_level("dhead", &[vocab, width], &want, 1e-6, || case.run(&hidden, &targets).dhead);
    }
}

/// The loss over many chunks, the log-probabilities alone, one row alone, and the sampler's
/// log-softmax of the same logits.
#[test]
fn every_way_to_a_log_probability_has_the_same_bits() {
    for (rows, width, vocab, temperature) in
        [(1, 32, 100, 1.0), (200, 24, 77, 1.0), (130, 16, 256, 1.0), (130, 24, 77, 0.7), (3, 16, 100, 1.3)]
    {
        let case = Case { rows, width, vocab, temperature };
        let (hidden, targets) = (case.hidden(), case.targets());
        for level in levels() {
            reseek_tensor::dispatch::with_level(level, || {
                let head = Linear::pack(&case.head(), vocab, width, Dtype::F32);
                let outcome = case.run(&hidden, &targets);
                let mut logp = vec![f32::NAN; rows];
                lm_logprobs(&hidden, &head, &targets, temperature, &mut logp);
                assert_same_bits("lm_logprobs", &logp, &outcome.logp, &[rows]);
                for (row, &target) in targets.iter().enumerate().filter(|(_, target)| **target != IGNORE) {
                    let x = &hidden[row * width..][..width];
                    let mut logits = vec![0.0; vocab];
                    linear_forward(&mut logits, x, &head);
                    temper(&mut logits, temperature);
                    log_softmax_row(&mut logits, &mut vec![0.0; vocab]);
                    let alone = case.run(x, &[target]);
                    let got = [logits[target as usize], alone.logp[0]];
                    assert_same_bits(&format!("row {row} at {level}"), &got, &[logp[row]; 2], &[2]);
                    assert_same_bits(
                        "dhidden of one row",
                        &alone.dhidden,
                        &outcome.dhidden[row * width..][..width],
                        &[width],
                    );
                }
            });
        }
    }
}

#[test]
fn rows_without_a_target_cost_and_give_nothing() {
    let case = Case { rows: 4, width: 8, vocab: 10, temperature: 1.0 };
    let mut hidden = case.hidden();
    hidden[..8].fill(f32::NAN);
    hidden[16..].fill(f32::INFINITY);
    let outcome = case.run(&hidden, &[IGNORE, 3, IGNORE, IGNORE]);
    assert!(outcome.logp[1].is_finite() && outcome.dhead.iter().all(|x| x.is_finite()));
    assert!(outcome.dhidden[..8].iter().chain(&outcome.dhidden[16..]).all(|&x| x == 0.0));

    let nothing = case.run(&hidden, &[IGNORE; 4]);
    assert!(nothing.dhidden.iter().all(|&x| x == 0.0) && nothing.dhead.iter().all(|&x| x == 1.0));
    lm_logprobs(&[], &Linear::pack(&case.head(), 10, 8, Dtype::F32), &[], 1.0, &mut []);
}

#[test]
fn extreme_logits() {
    let case = Case { rows: 3, width: 8, vocab: 40, temperature: 1.0 };
    let mut hidden = case.hidden();
    hidden[..8].iter_mut().for_each(|x| *x *= 1e4);
    hidden[8..16].fill(0.0);
    hidden[16] = f32::NAN;
    let outcome = case.run(&hidden, &[1, 2, 3]);
    assert!(outcome.logp[0] < -100.0 && outcome.logp[0].is_finite());
    assert!(outcome.entropy[0].abs() < 1e-6 && outcome.dhidden[..8].iter().all(|x| x.is_finite()));
    assert!((outcome.logp[1] + 40_f32.ln()).abs() < 1e-6 && (outcome.entropy[1] - 40_f32.ln()).abs() < 1e-6);
    assert!(outcome.logp[2].is_nan() && outcome.entropy[2].is_nan() && outcome.dhidden[16].is_nan());
}

#[test]
fn log_softmax_of_impossible_tokens() {
    let mut logits = [1.0, f32::NEG_INFINITY, 1.0];
    let mut weights = [f32::NAN; 3];
    let greatest = log_softmax_row(&mut logits, &mut weights);
    assert_eq!((greatest, weights), (logits[0], [1.0, 0.0, 1.0]));
    assert_close("possible", &[logits[0], logits[2]], &[-std::f32::consts::LN_2; 2], &[2], 1e-7);
    assert_eq!(logits[1], f32::NEG_INFINITY);
    let mut one = [-3.0e38];
    assert_eq!(log_softmax_row(&mut one, &mut [0.0]), 0.0);
    assert_eq!(one, [0.0]);
    assert!(log_softmax_row(&mut [0.0, f32::NAN], &mut [0.0; 2]).is_nan());
    assert!(log_softmax_row(&mut [f32::NEG_INFINITY; 2], &mut [0.0; 2]).is_nan());
}

#[test]
fn the_callback_may_ask_for_log_probabilities() {
    let case = Case { rows: 3, width: 4, vocab: 9, temperature: 1.0 };
    let (hidden, head) = (case.hidden(), Linear::pack(&case.head(), 9, 4, Dtype::F32));
    let mut calls = 0;
    let mut dlogp = |row: usize, logp: f32, _| {
        let mut out = [0.0];
        lm_logprobs(&hidden[row * 4..][..4], &head, &[row as u32], 1.0, &mut out);
        assert_eq!(out, [logp]);
        calls += 1;
        0.0
    };
    lm_loss(&hidden, &head, &[0, 1, 2], 1.0, &mut dlogp, None);
    assert_eq!(calls, 3);
}

#[test]
#[should_panic(expected = "target 10 is outside the vocabulary of 10")]
fn names_a_target_outside_the_vocabulary() {
    Case { rows: 1, width: 2, vocab: 10, temperature: 1.0 }.run(&[0.0; 2], &[10]);
}

#[test]
#[should_panic(expected = "a softmax at temperature 0")]
fn a_temperature_of_zero_has_no_softmax() {
    Case { rows: 1, width: 2, vocab: 10, temperature: 0.0 }.run(&[0.0; 2], &[1]);
}
