//! Logits, gradients and ten steps of training, as transformers computes them (fixtures/make_parity.py).

use reseek_model::{Model, Rows};
use reseek_spec::ModelSpec;
use reseek_tensor::linear::linear_forward;
use reseek_train::{Gradients, Hyper, Learner, OwnTerms, StepSettings, TokenLoss, deal};

use crate::fixture::{CASES, Fixture, errors};

#[test]
fn logits() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights);
        let pass = model.forward(Rows::new(&fixture.tokens(), &fixture.segments()), None);
        let expected = fixture.expected("logits");
        let mut logits = vec![0.0; expected.len()];
        linear_forward(&mut logits, pass.hidden(), model.head());
        let (l2, worst) = errors(&logits, &expected);
        println!("{case}: logits {l2:.1e}, worst element {worst:.1e}");
        assert!(l2 < 1e-5 && worst < 1e-5, "{case}: logits are off by {l2:e}, one by {worst:e}");
    }
}

#[test]
fn gradients_of_every_parameter() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights);
        let n = fixture.sequences.iter().map(|(tokens, _)| tokens.len() - 1).sum::<usize>();
        let mut gradients = Gradients::default();
        let objective = TokenLoss { temperature: 1.0, slope: |_, _| -1.0 / n as f32 };
        let batch = deal(&fixture.sequences, 2, 0.0, 1024);
        let (grads, stats) = gradients.compute(&model, batch, OwnTerms::default(), &objective);
        let loss = fixture.expected("loss")[0] as f64;
        assert!((stats.nll / n as f64 / loss - 1.0).abs() < 1e-6, "{case}: loss {} for {loss}", stats.nll / n as f64);

        let mut names = Vec::new();
        let (mut worst_l2, mut worst_element) = ((0.0, String::new()), 0.0f64);
        for (tensor, range) in fixture.weights.layout.tensors().filter(|(tensor, _)| tensor.is_trained()) {
            let expected = fixture.expected(&format!("grad.{}", tensor.name));
            let (l2, element) = errors(&grads[range], &expected);
            assert!(l2 <= 1e-4, "{case}: gradient of {} is off by {l2:e}, one element by {element:e}", tensor.name);
            if l2 > worst_l2.0 {
                worst_l2 = (l2, tensor.name.clone());
            }
            worst_element = worst_element.max(element);
            names.push(tensor.name.clone());
        }
        names.sort();
        assert_eq!(names, fixture.gradients(), "{case}: the two have other parameters");
        println!("{case}: gradients {:.1e} ({}), worst element {worst_element:.1e}", worst_l2.0, worst_l2.1);
    }
}

#[test]
fn ten_steps_of_training() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let mut learner = Learner::new(fixture.weights.clone());
        let expected = fixture.expected("losses");
        assert_eq!(expected.len(), 10);
        let mut worst = 0.0f64;
        for (step, &expected) in expected.iter().enumerate() {
            let report = learner.step(&fixture.sequences, &settings()).expect("a finite loss");
            let error = (report.loss / expected as f64 - 1.0).abs();
            assert!(error <= 1e-4, "{case}: loss {} for {expected} at step {step}", report.loss);
            worst = worst.max(error);
        }
        println!("{case}: losses {worst:.1e}");
    }
}

/// The settings that the fixtures were trained with.
pub fn settings() -> StepSettings {
    let hyper = Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.95, weight_decay: 0.1, clip: 1.0 };
    StepSettings { hyper, mtp_lambda: 0.0, mtp_share: 1.0, balance_alpha: 0.0, bias_speed: 0.0, lanes: 2 }
}

/// config.v4.json is the same model in the words of transformers 4.
#[test]
fn both_spellings_of_a_configuration_are_one_model() {
    let mut both = 0;
    for case in CASES {
        let fixture = Fixture::load(case);
        let written = fixture.weights.spec.to_hf_json().to_string();
        let again = ModelSpec::from_hf_json(&written).expect("what is written is read");
        assert_eq!(again, *fixture.weights.spec, "{case}");
        if let Some(text) = Fixture::text(case, "config.v4.json") {
            let old = ModelSpec::from_hf_json(&text).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(old, *fixture.weights.spec, "{case}");
            both += 1;
        }
    }
    assert!(both > 20, "{both} configurations are there in both spellings");
}
