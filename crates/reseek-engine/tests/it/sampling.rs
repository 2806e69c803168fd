//! What is drawn: the distribution, where a completion ends, and the names of random streams.

use std::sync::Mutex;

use reseek_engine::{Finish, GenerateOptions, Request, Sampling, StreamName, generate, score};
use reseek_model::{CacheMode, Model};

use crate::common::{VOCAB, draw, model, name, requests, v3};

#[test]
fn tokens_are_drawn_as_often_as_the_model_says() {
    let model = model(v3());
    let prompt = vec![0, 5, 9, 40];
    let p = next_token(&model, &prompt);
    assert!(p.iter().cloned().fold(0.0, f64::max) > 4.0 / VOCAB as f64, "too even to show anything");
    for temperature in [1.0, 0.6] {
        let weights: Vec<f64> = p.iter().map(|p| p.powf(1.0 / temperature)).collect();
        let total: f64 = weights.iter().sum();
        let draws = 20_000;
        let request = Request { prompt: prompt.clone(), samples: draws };
        let sampling = Sampling { temperature: temperature as f32, ..Sampling::on_policy(vec![], 1) };
        let completions = draw(&model, &[request], &sampling, GenerateOptions::default()).remove(0);
        let mut counts = [0.0; VOCAB];
        completions.iter().for_each(|c| counts[c.tokens[0] as usize] += 1.0);
        // Pearson's statistic; cells of less than five expected draws are taken together.
        let (mut chi, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = draws as f64 * weight / total;
            if expected < 5.0 {
                rest = (rest.0 + count, rest.1 + expected);
            } else {
                chi += (count - expected).powi(2) / expected;
                cells += 1.0;
            }
        }
        if rest.1 > 0.0 {
            chi += (rest.0 - rest.1).powi(2) / rest.1;
            cells += 1.0;
        }
        let (mean, sd) = (cells - 1.0, (2.0 * (cells - 1.0f64)).sqrt());
        assert!((chi - mean).abs() < 4.0 * sd, "T {temperature}: χ² is {chi} for {mean} ± {sd}");
        // Log-probabilities are the model's own at every temperature; those of the behaviour are of what was drawn from.
        for completion in &completions[..50] {
            let token = completion.tokens[0] as usize;
            assert!((completion.logprobs[0] as f64 - p[token].ln()).abs() < 1e-5);
            assert!((completion.behaviour_logprobs[0] as f64 - (weights[token] / total).ln()).abs() < 1e-5);
        }
    }
}

/// The model's distribution after `prompt`, by scoring every continuation.
fn next_token(model: &Model, prompt: &[u32]) -> Vec<f64> {
    let of = |token: u32| *score(model, &[prompt, &[token]].concat()).unwrap().last().unwrap() as f64;
    let p: Vec<f64> = (0..VOCAB as u32).map(|token| of(token).exp()).collect();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    p
}

#[test]
fn greedy_takes_the_most_likely_token() {
    let model = model(v3());
    for request in requests(&[3, 17]) {
        let p = next_token(&model, &request.prompt);
        let best = (0..VOCAB).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
        let sampling = Sampling { temperature: 0.0, ..Sampling::on_policy(vec![], 1) };
        let drawn = draw(&model, &[request], &sampling, GenerateOptions::default());
        assert!(drawn[0].iter().all(|c| c.tokens == [best as u32]));
    }
}

#[test]
fn a_completion_ends_with_its_first_stop_token_or_at_its_length() {
    let model = model(v3());
    let stop = vec![7, 8, 9, 10];
    let requests: Vec<Request> = requests(&[4; 8]).into_iter().map(|r| Request { samples: 6, ..r }).collect();
    let drawn = draw(&model, &requests, &Sampling::on_policy(stop.clone(), 20), GenerateOptions::default());
    let mut seen = [0, 0];
    for completion in drawn.iter().flatten() {
        assert_eq!(completion.tokens.len(), completion.logprobs.len());
        assert_eq!(completion.behaviour_logprobs, completion.logprobs, "at temperature 1 they are the model's own");
        let (last, before) = completion.tokens.split_last().unwrap();
        assert!(before.iter().all(|token| !stop.contains(token)), "{completion:?}");
        match completion.finish {
            Finish::Stop => assert!(stop.contains(last)),
            Finish::Length => assert!(completion.tokens.len() == 20 && !stop.contains(last)),
        }
        seen[usize::from(completion.finish == Finish::Stop)] += 1;
    }
    assert!(seen[0] > 2 && seen[1] > 2, "{seen:?}");
}

#[test]
fn the_context_ends_a_completion_too() {
    let model = model(v3());
    let context = v3().max_position_embeddings;
    for mode in [CacheMode::Latent, CacheMode::Expanded] {
        let options = GenerateOptions { mode, ..GenerateOptions::default() };
        let drawn = draw(&model, &requests(&[context - 1, context - 4, 5]), &Sampling::on_policy(vec![], 10), options);
        let lens: Vec<usize> = drawn.iter().map(|c| c[0].tokens.len()).collect();
        assert_eq!(lens, [1, 4, 10]);
        assert!(drawn.iter().flatten().all(|c| c.finish == Finish::Length));
    }
}

#[test]
fn every_part_of_a_streams_name_counts() {
    let model = model(v3());
    let requests = requests(&[6; 3]);
    let sampling = Sampling::on_policy(vec![], 12);
    let of = |name: &StreamName| generate(&model, &requests, &sampling, name, GenerateOptions::default()).unwrap();
    let first = of(&name(1));
    assert_eq!(first, of(&name(1)));
    assert_ne!(first, of(&name(2)));
    assert_ne!(first, of(&StreamName { step: 1, ..name(1) }));
    assert_ne!(first, of(&StreamName { purpose: "other".to_string(), ..name(1) }));
    assert_ne!(first[0][0], first[0][1], "two samples of one request");
    let twins = [requests[0].clone(), requests[0].clone()];
    let twins = generate(&model, &twins, &sampling, &name(1), GenerateOptions::default()).unwrap();
    assert_ne!(twins[0], twins[1], "the same prompt asked twice");
}

#[test]
fn tokens_are_shown_as_they_are_drawn() {
    let model = model(v3());
    let requests = requests(&[6, 3, 9]);
    let seen = Mutex::new(vec![vec![Vec::new(); 2]; 3]);
    let see = |request: usize, sample: usize, token: u32| seen.lock().unwrap()[request][sample].push(token);
    let options = GenerateOptions { on_token: Some(&see), ..GenerateOptions::default() };
    let drawn = draw(&model, &requests, &Sampling::on_policy(vec![3], 12), options);
    let drawn: Vec<Vec<Vec<u32>>> =
        drawn.into_iter().map(|group| group.into_iter().map(|c| c.tokens).collect()).collect();
    assert_eq!(drawn, *seen.lock().unwrap());
}
