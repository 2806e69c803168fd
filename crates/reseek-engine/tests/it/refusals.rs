//! Requests that cannot be served.

use reseek_engine::{EngineError, GenerateOptions, Request, Sampling, generate, score};
use reseek_model::Model;

use crate::common::{VOCAB, model, name, requests, v3, weights};

fn refused(model: &Model, prompt: Vec<u32>, sampling: &Sampling) -> EngineError {
    let fine = Request { prompt: vec![0], samples: 1 };
    let requests = [fine, Request { prompt, samples: 1 }];
    let error = generate(model, &requests, sampling, &name(1), GenerateOptions::default()).unwrap_err();
    assert!(error.to_string().contains(". "), "{error}");
    error
}

#[test]
fn prompts_that_cannot_be() {
    let model = model(v3());
    let context = v3().max_position_embeddings;
    let sampling = Sampling::on_policy(vec![], 4);
    assert!(matches!(refused(&model, vec![], &sampling), EngineError::EmptyPrompt { request: 1 }));
    let long = refused(&model, vec![0; context], &sampling);
    assert!(
        matches!(long, EngineError::PromptTooLong { request: 1, prompt, context: c } if prompt == context && c == context)
    );
    let unknown = refused(&model, vec![0, VOCAB as u32], &sampling);
    assert!(matches!(unknown, EngineError::UnknownToken { token: 64, vocab: VOCAB }));
    assert!(matches!(score(&model, &[]), Err(EngineError::EmptyPrompt { .. })));
    assert!(matches!(score(&model, &vec![0; context + 1]), Err(EngineError::PromptTooLong { .. })));
    assert!(matches!(score(&model, &[0, 64]), Err(EngineError::UnknownToken { .. })));
    assert_eq!(score(&model, &vec![1; context]).unwrap().len(), context - 1);
    assert!(score(&model, &[5]).unwrap().is_empty());
}

#[test]
fn settings_that_cannot_be() {
    let model = model(v3());
    let good = Sampling::on_policy(vec![], 4);
    let check = |sampling: Sampling, name: &str| {
        let error = refused(&model, vec![0], &sampling);
        assert!(matches!(error, EngineError::Setting { key, .. } if key == name), "{error}");
    };
    for temperature in [-0.1, f32::NAN, f32::INFINITY] {
        check(Sampling { temperature, ..good.clone() }, "temperature");
    }
    for top_p in [0.0, 1.1, -1.0, f32::NAN] {
        check(Sampling { top_p, ..good.clone() }, "top_p");
    }
    check(Sampling { max_new_tokens: 0, ..good }, "max_new_tokens");
}

#[test]
fn a_model_whose_weights_are_not_numbers() {
    let mut weights = weights(v3());
    let norm = weights.layout.range("model.norm.weight");
    weights.data[norm.start] = f32::NAN;
    let model = Model::new(&weights);
    let error = refused(&model, vec![0, 1], &Sampling::on_policy(vec![], 4));
    assert!(matches!(error, EngineError::NotFinite { .. }), "{error}");
    let error = score(&model, &[0, 1]).unwrap_err();
    assert!(matches!(error, EngineError::NotFinite { position: 1 }), "{error}");
}

#[test]
fn nothing_asked_is_nothing_answered() {
    let model = model(v3());
    let ask = |requests: &[Request]| {
        generate(&model, requests, &Sampling::on_policy(vec![], 4), &name(1), GenerateOptions::default()).unwrap()
    };
    assert!(ask(&[]).is_empty());
    let mut some = requests(&[3, 3, 3]);
    some[1].samples = 0;
    assert_eq!(ask(&some).iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 2]);
}
