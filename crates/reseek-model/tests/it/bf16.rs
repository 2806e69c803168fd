//! bf16 compute: the same invariants as f32, and errors of the size that its 8 bits of mantissa explain.

use reseek_model::{CacheMode, Model, Rows};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::linear::linear_forward;
use reseek_train::{Gradients, Learner, OwnTerms, TokenLoss, deal};

use crate::decode::{chunkings, decode, hidden, same_bits};
use crate::fixture::{CASES, Fixture, errors};
use crate::parity::settings;

/// Relative error of products of values that are each rounded by at most 2⁻⁹, through a few layers.
const ROUNDING: f64 = 0.03;
/// The same where a rounded row may choose another expert: the fixtures' experts are random and score alike.
const ROUNDING_OF_MIXTURES: f64 = 0.25;

fn rounding(fixture: &Fixture) -> f64 {
    if fixture.weights.spec.moe.is_some() { ROUNDING_OF_MIXTURES } else { ROUNDING }
}

#[test]
fn decoding_has_the_bits_of_training() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights.clone().computing_in(Dtype::Bf16));
        let (tokens, _) = &fixture.sequences[0];
        let trained = hidden(&model, &[tokens]);
        for chunks in chunkings(tokens.len()) {
            let decoded = decode(&model, tokens, &chunks, CacheMode::Expanded);
            assert!(same_bits(&decoded, &trained), "{case}: chunks {chunks:?} change bits");
        }
        let (l2, _) = errors(&decode(&model, tokens, &vec![1; tokens.len()], CacheMode::Latent), &trained);
        assert!(l2 < rounding(&fixture), "{case}: latents are off by {l2:e}");
        let f32_rows = hidden(&Model::new(&fixture.weights), &[tokens]);
        assert!(!same_bits(&trained, &f32_rows), "{case}: bf16 rounds nothing");
    }
}

#[test]
fn logits_and_gradients_are_those_of_transformers_but_for_rounding() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights.clone().computing_in(Dtype::Bf16));
        let pass = model.forward(Rows::new(&fixture.tokens(), &fixture.segments()), None);
        let expected = fixture.expected("logits");
        let mut logits = vec![0.0; expected.len()];
        linear_forward(&mut logits, pass.hidden(), model.head());
        let (l2, _) = errors(&logits, &expected);
        println!("{case}: logits in bf16 {l2:.1e}");
        assert!(l2 < rounding(&fixture), "{case}: logits are off by {l2:e}");

        let n = fixture.sequences.iter().map(|(tokens, _)| tokens.len() - 1).sum::<usize>();
        let loss = TokenLoss { temperature: 1.0, slope: |_, _| -1.0 / n as f32 };
        let mut gradients = Gradients::default();
        let (grads, _) = gradients.compute(&model, deal(&fixture.sequences, 2, 0.0, 1024), OwnTerms::default(), &loss);
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for (tensor, range) in fixture.weights.layout.tensors().filter(|(tensor, _)| tensor.is_trained()) {
            got.extend_from_slice(&grads[range]);
            want.extend(fixture.expected(&format!("grad.{}", tensor.name)));
        }
        let (l2, _) = errors(&got, &want);
        println!("{case}: gradients in bf16 {l2:.1e}");
        assert!(l2 < rounding(&fixture), "{case}: gradients are off by {l2:e}");
    }
}

#[test]
fn ten_losses_follow_those_of_f32() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let mut learner = Learner::new(fixture.weights.clone().computing_in(Dtype::Bf16));
        for (step, &expected) in fixture.expected("losses").iter().enumerate() {
            let loss = learner.step(&fixture.sequences, &settings()).expect("a finite loss").loss;
            let error = (loss / expected as f64 - 1.0).abs();
            assert!(error < rounding(&fixture) / 2.0, "{case}: loss {loss} for {expected} at step {step}");
        }
    }
}
