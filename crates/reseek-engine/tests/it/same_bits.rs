//! A completion depends on its own prompt and its own random stream, on nothing that runs beside it; and its log-probabilities are
//! the trainer's.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex};
use std::thread::{ThreadId, current};
use std::time::Duration;

use reseek_engine::{Completion, GenerateOptions, Request, Sampling, score};
use reseek_model::{CacheMode, Model};
use reseek_tensor::compute::Compute;

use crate::common::{draw, model, on_threads, requests, specs, v3, weights};

#[test]
fn slots_and_threads_change_no_bit() {
    let requests = requests(&[3, 20, 7, 1, 33, 12, 5]);
    let sampling = Sampling::on_policy(vec![2, 3], 24);
    for (what, spec) in specs() {
        let model = model(spec);
        for mode in [CacheMode::Latent, CacheMode::Expanded] {
            let with = |slots: Option<usize>, threads: usize| {
                let options = GenerateOptions { mode, slots, on_token: None };
                on_threads(threads, || draw(&model, &requests, &sampling, options))
            };
            let reference = with(Some(64), 1);
            for (slots, threads) in
                [(Some(1), 1), (Some(3), 1), (Some(64), 2), (Some(2), 4), (Some(5), 3), (Some(0), 2), (None, 2)]
            {
                assert!(with(slots, threads) == reference, "{what}, {mode:?}: {slots:?} slots, {threads} threads");
            }
        }
    }
}

/// More samples than prompts: several lanes draw from one prompt, which was computed once for all of them.
#[test]
fn the_samples_of_a_prompt_are_drawn_by_all_threads() {
    let sampling = Sampling::on_policy(vec![2, 3], 24);
    for (what, spec) in specs() {
        let model = model(spec);
        for (lens, samples, mode) in
            [(&[70][..], 8, CacheMode::Expanded), (&[70], 8, CacheMode::Latent), (&[20, 3], 9, CacheMode::Expanded)]
        {
            let requests: Vec<Request> =
                requests(lens).into_iter().map(|request| Request { samples, ..request }).collect();
            let at_work = AtWork::default();
            let with = |threads: usize, see: Option<&(dyn Fn(usize, usize, u32) + Sync)>| {
                let options = GenerateOptions { mode, slots: None, on_token: see };
                on_threads(threads, || draw(&model, &requests, &sampling, options))
            };
            let reference = with(1, None);
            let on_token = |_: usize, _: usize, _: u32| at_work.wait_for(2);
            assert!(with(2, Some(&on_token)) == reference, "{what}, {mode:?}: {lens:?}");
            assert_eq!(at_work.threads.lock().unwrap().len(), 2, "{what}, {mode:?}: one lane drew everything");
            assert!(with(5, None) == reference, "{what}, {mode:?}: {lens:?} on five threads");
        }
    }
}

/// The threads that have drawn a token.
#[derive(Default)]
struct AtWork {
    threads: Mutex<HashSet<ThreadId>>,
    joined: Condvar,
}

impl AtWork {
    /// Adds the caller's thread, and lets it wait for the others before its first token, though not for ever: on a busy machine one could end
    /// before another begins.
    fn wait_for(&self, n: usize) {
        let mut threads = self.threads.lock().unwrap();
        if !threads.insert(current().id()) {
            return;
        }
        self.joined.notify_all();
        drop(self.joined.wait_timeout_while(threads, Duration::from_secs(5), |threads| threads.len() < n).unwrap());
    }
}

#[test]
fn what_else_is_asked_changes_no_bit() {
    let model = model(v3());
    let requests = requests(&[9, 30, 2, 14, 5]);
    let sampling = Sampling::on_policy(vec![2], 16);
    let together = draw(&model, &requests, &sampling, GenerateOptions::default());
    // Request 0 has the same number, and so the same random streams, in every batch.
    for n in 1..requests.len() {
        assert_eq!(draw(&model, &requests[..n], &sampling, GenerateOptions::default()), together[..n]);
    }
    // Nothing is drawn at temperature 0, so each request may stand alone.
    let greedy = Sampling { temperature: 0.0, ..sampling };
    let together = draw(&model, &requests, &greedy, GenerateOptions::default());
    for (request, expect) in requests.iter().zip(&together) {
        assert_eq!(draw(&model, std::slice::from_ref(request), &greedy, GenerateOptions::default())[0], *expect);
        assert_eq!(expect[0], expect[1]);
    }
}

#[test]
fn sampled_logprobs_are_those_of_a_training_pass() {
    let requests = requests(&[1, 6, 40, 100]);
    let sampling = Sampling::on_policy(vec![2], 40);
    for ((what, spec), compute) in
        specs().into_iter().flat_map(|s| [Compute::F32, Compute::Fp8].map(|c| (s.clone(), c)))
    {
        let model = Model::new(&weights(spec).computing_in(compute));
        let gap = |mode: CacheMode| {
            let drawn = draw(&model, &requests, &sampling, GenerateOptions { mode, ..GenerateOptions::default() });
            let gaps = requests.iter().zip(&drawn).flat_map(|(request, group)| {
                group.iter().flat_map(|completion| gaps(&model, request, completion)).collect::<Vec<f32>>()
            });
            gaps.fold(0.0, f32::max)
        };
        assert_eq!(gap(CacheMode::Expanded), 0.0, "{what}, {compute}: strict mode has other bits");
        if compute == Compute::Fp8 {
            // Latents take another way, whose roundings fp8 does not share.
            continue;
        }
        let latent = gap(CacheMode::Latent);
        assert!(latent <= 1e-5, "{what}: {latent}");
    }
}

fn gaps(model: &Model, request: &Request, completion: &Completion) -> Vec<f32> {
    let all = [request.prompt.as_slice(), &completion.tokens].concat();
    let scores = score(model, &all).unwrap();
    assert_eq!(scores.len(), all.len() - 1);
    let scores = &scores[request.prompt.len() - 1..];
    scores.iter().zip(&completion.logprobs).map(|(a, b)| (a - b).abs()).collect()
}
