//! Benchmarks of a real model's size: decoding and GRPO with SmolLM2-135M, from its file or, without one, with random values.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Instant;

use reseek_engine::{Completion, GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_model::{Model, ReadError, Tensors, Weights};
use reseek_rl::{Rewards, StepName, UpdateSettings, rollout, update};
use reseek_spec::{RlRecipe, Scale, resolve};
use reseek_store::{BlockKind, peak_memory_bytes};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::peak::fma_peak_gflops_of_pool;
use reseek_tensor::pool::threads;
use reseek_tensor::quantised::Quantised;
use reseek_tensor::random::Stream;
use reseek_text::Tokenizer;
use reseek_train::Learner;
use serde_json::{Value, json};

use super::quantised::random_quantised;
use super::{Setting, shapes, timed, with_profile};
use crate::error::Outcome;
use crate::opened::Opened;

/// Decoding with weights of 4 bits (the head of 8): one sequence alone, or several at once.
pub fn decode(setting: &Setting) -> Outcome<Value> {
    let model = match setting.model {
        Some(path) => Opened::new(path)?.model(setting.asked_dtype)?,
        None => {
            let weights = random_weights()?;
            Model::open(shapes::smollm2()?, &RandomBlocks(weights), Dtype::F32)?
        }
    };
    match setting.batch.unwrap_or(1) {
        1 => decode_one(&model, setting),
        batch => decode_many(&model, batch, setting),
    }
}

/// 128 new tokens after a prompt of 145, greedily. The prompt's pass is measured alone and left out of the rate, as the peer reports it.
fn decode_one(model: &Model, setting: &Setting) -> Outcome<Value> {
    const PROMPT: usize = 145;
    const NEW: usize = 128;
    let requests = [Request { prompt: prompt(0, PROMPT), samples: 1 }];
    let run = |new: usize| sample(model, &requests, &Sampling { temperature: 0.0, ..Sampling::on_policy(vec![], new) });
    let prefill_s = timed(&mut || run(1))?;
    let whole_s = timed(&mut || run(NEW))?;
    let rate = (NEW - 1) as f64 / (whole_s - prefill_s);
    let gflops = model.spec().forward_flops_per_token(PROMPT as f64) * rate / 1e9;
    let result = json!({
        "batch": 1, "prompt": PROMPT, "new": NEW, "tokens_per_s": (10.0 * rate).round() / 10.0, "step_ms": 1e3 / rate,
        "prefill_tokens_per_s": (PROMPT as f64 / prefill_s).round(), "gflops": gflops,
        "share_of_peak": gflops / fma_peak_gflops_of_pool(200, setting.dtype), "rss_mib": peak_memory_bytes() >> 20,
    });
    with_profile(result, setting, &mut || run(NEW))
}

/// `batch` sequences at temperature 1, each of 64 new tokens after a prompt of its own of 32. New tokens over the seconds from the first request
/// to the last answer, prompts included: xtask/peers/sample_llama_cpp.py has the same prompts and the same clock.
fn decode_many(model: &Model, batch: usize, setting: &Setting) -> Outcome<Value> {
    const PROMPT: usize = 32;
    const NEW: usize = 64;
    let requests: Vec<Request> = (0..batch).map(|i| Request { prompt: prompt(i, PROMPT), samples: 1 }).collect();
    let mut run = || sample(model, &requests, &Sampling::on_policy(vec![], NEW));
    let seconds = timed(&mut run)?;
    let rate = (batch * NEW) as f64 / seconds;
    // The prompts are passed once, each new token then alone.
    let flops = model.spec().forward_flops_per_token((PROMPT + NEW / 2) as f64) * (batch * (PROMPT + NEW)) as f64;
    let gflops = flops / seconds / 1e9;
    let result = json!({
        "batch": batch, "prompt": PROMPT, "new": NEW, "tokens_per_s": (10.0 * rate).round() / 10.0,
        "step_ms": 1e3 * batch as f64 / rate, "gflops": gflops,
        "share_of_peak": gflops / fma_peak_gflops_of_pool(200, setting.dtype), "rss_mib": peak_memory_bytes() >> 20,
    });
    with_profile(result, setting, &mut run)
}

/// Prompt `i`: ids by a rule that the peer's script repeats, no two prompts alike.
fn prompt(i: usize, len: usize) -> Vec<u32> {
    (0..len).map(|j| (3 + (131 * i + 17 * j) % 4000) as u32).collect()
}

fn sample(model: &Model, requests: &[Request], sampling: &Sampling) -> Outcome<()> {
    let name = StreamName { seed: 1, purpose: "bench".to_string(), step: 0 };
    generate(model, requests, sampling, &name, GenerateOptions::default())?;
    Ok(())
}

/// Steps of GRPO: 4 prompts × 8 completions of 64 tokens, β 0.04, all weights trained. The peer's job: no completion ends before its 64th token,
/// AdamW's moments are in f32. As many lanes as threads. With a tokenizer the prompts ask for sums; without one they are noise.
pub fn grpo(setting: &Setting) -> Outcome<Value> {
    let (weights, tokenizer) = match setting.model {
        Some(path) => {
            let opened = Opened::new(path)?;
            (opened.weights()?, opened.tokenizer()?)
        }
        None => (random_weights()?, None),
    };
    let weights = weights.computing_in(setting.dtype);
    let vocab = weights.spec.vocab_size;
    let recipe = RlRecipe {
        questions: 4,
        group: 8,
        max_new_tokens: 64,
        kl_beta: 0.04,
        clip_epsilon: 0.2,
        temperature: 1.0,
        minibatches: 1,
        ..resolve(Scale::Nano, &[], &[])?.recipe.zero
    };
    let forward = weights.spec.forward_flops_per_token(64.0);
    let reference = Model::forward_only(&weights);
    let (moments, lanes) = (Dtype::F32, threads());
    let mut learner = Learner::with_moments(weights, moments);
    let settings = UpdateSettings::new(&recipe, 1e-6, lanes, false)?;
    // Of every step: tokens sampled, and operations.
    let (mut step, work) = (0, RefCell::new(Vec::new()));
    let mut run = || -> Outcome<()> {
        let questions = questions(recipe.questions, step, tokenizer.as_ref(), vocab)?;
        let (prompts, sums): (Vec<Vec<u32>>, Vec<String>) = questions.into_iter().unzip();
        let one = |prompt: usize, completion: &Completion| {
            let reward = match &tokenizer {
                Some(tokenizer) => {
                    let text = tokenizer.decode_visible(&completion.tokens);
                    f64::from(text.contains(&sums[prompt])) - 0.001 * text.chars().count() as f64
                }
                None => completion.tokens.iter().map(|&token| f64::from(token % 7)).sum(),
            };
            Rewards { total: Some(reward), ..Rewards::default() }
        };
        let grade = |prompt: usize, _: &[u32], completions: &[Completion]| {
            completions.iter().map(|completion| one(prompt, completion)).collect()
        };
        let name = StepName { seed: 1, stage: "bench", step };
        step += 1;
        // No token ends a completion.
        let rollout = rollout(&learner, prompts, &[], &recipe, &name, grade)?;
        let updated = update(&mut learner, Some(&reference), &rollout, &settings, &name)?;
        let sampled = rollout.report().sampled_tokens;
        work.borrow_mut().push((sampled as f64, forward * (sampled + 4 * updated.trained_rows) as f64));
        Ok(())
    };
    let step_s = timed(&mut run)?;
    // The first step warms up.
    let counted = work.borrow()[1..].to_vec();
    let mean = |sum: f64| sum / counted.len() as f64;
    let tokens = mean(counted.iter().map(|(tokens, _)| tokens).sum());
    let gflops = mean(counted.iter().map(|(_, flops)| flops).sum()) / step_s / 1e9;
    let completions = (recipe.questions * recipe.group) as f64;
    let result = json!({
        "step_ms": 1e3 * step_s, "tokens_per_s": tokens / step_s, "completions_per_s": completions / step_s,
        "mean_completion_tokens": tokens / completions, "moments": moments.to_string(), "lanes": lanes,
        "gflops": gflops, "share_of_peak": gflops / fma_peak_gflops_of_pool(200, setting.dtype),
        "rss_mib": peak_memory_bytes() >> 20,
    });
    with_profile(result, setting, &mut run)
}

/// The prompts of a step, each with the sum that it asks for; noise of a like length where there is no tokenizer. The text and the absence
/// of a begin token are those of the peer's job.
fn questions(n: usize, step: u64, tokenizer: Option<&Tokenizer>, vocab: usize) -> Outcome<Vec<(Vec<u32>, String)>> {
    let mut stream = Stream::new(1, "bench", step, 0);
    let one = |_| {
        let Some(tokenizer) = tokenizer else {
            return Ok(((0..13).map(|_| stream.below(vocab.min(4000)) as u32).collect(), String::new()));
        };
        let (p, q) = (1 + stream.below(9), 1 + stream.below(9));
        let prompt = format!("Question: what is {p} plus {q}? Answer:");
        Ok((tokenizer.encode(&prompt)?, (p + q).to_string()))
    };
    (0..n).map(one).collect()
}

/// SmolLM2-135M's shape with random values.
fn random_weights() -> Outcome<Weights> {
    let start = Instant::now();
    let weights = Weights::init(shapes::smollm2()?, 1)?;
    eprintln!(
        "random weights of SmolLM2-135M's shape in {:.1} s; --model FILE measures its own",
        start.elapsed().as_secs_f64()
    );
    Ok(weights)
}

/// Random values, and random blocks where SmolLM2's file is quantised.
struct RandomBlocks(Weights);

impl Tensors for RandomBlocks {
    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, ReadError> {
        self.0.values(name)
    }

    fn quantised(&self, name: &str) -> Result<Option<Quantised>, ReadError> {
        let Some(&[n, k]) = self.0.layout.shape(name) else { return Ok(None) };
        let kind = if name == "model.embed_tokens.weight" { BlockKind::Q8_0 } else { BlockKind::Q4_1 };
        Ok(Some(random_quantised(kind, n, k)))
    }
}

#[cfg(test)]
mod tests {
    use super::prompt;

    #[test]
    fn prompts_are_the_peers_and_no_two_are_alike() {
        let script = include_str!("../../../../../xtask/peers/sample_llama_cpp.py");
        assert!(script.contains("3 + (131 * i + 17 * j) % 4000"), "the peer has other prompts");
        for fixed in ["\"--prompt\", type=int, default=32", "\"--new\", type=int, default=64"] {
            assert!(script.contains(fixed), "{fixed}");
        }
        assert_eq!(prompt(1, 3), [134, 151, 168]);
        let all: std::collections::BTreeSet<Vec<u32>> = (0..32).map(|i| prompt(i, 32)).collect();
        assert_eq!(all.len(), 32);
        assert!(all.iter().flatten().all(|id| (3..4003).contains(id)));
    }
}
