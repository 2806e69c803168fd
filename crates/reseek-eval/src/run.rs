//! Sampling a model on problems, and its loss on text.

use reseek_engine::{
    Completion, EngineError, Finish, GenerateOptions, Request, Sampling, StreamName, generate, logprobs,
};
use reseek_model::{Model, Rows};
use reseek_tasks::{Extraction, Judged, Outcome, Problem, language_share_quoting, reasoning};
use reseek_tensor::pool::map_lanes;
use serde::{Deserialize, Serialize};

/// How a model is sampled.
#[derive(Clone, Debug)]
pub struct EvalSettings {
    /// Temperature, truncation, stop tokens and length.
    pub sampling: Sampling,
    /// Samples a problem.
    pub k: usize,
    /// Seed of the streams.
    pub seed: u64,
    /// What the samples are for, and which part of it: both name their streams.
    pub purpose: String,
    /// The part, from 0.
    pub part: u64,
}

/// One sample before it is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The completion as text, without special tokens.
    pub completion: String,
    /// Its tokens.
    pub tokens: usize,
    /// Whether it ended at the limit of its length.
    pub truncated: bool,
}

/// One sample and its verdict.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The completion as text, without special tokens.
    pub completion: String,
    /// The verdict.
    pub outcome: Outcome,
    /// The normalised answer, where there is one: what a majority votes on.
    pub vote: Option<String>,
    /// Tokens of the completion.
    pub tokens: usize,
    /// Whether it ended at the limit of its length.
    pub truncated: bool,
    /// Share of the reasoning's words in the question's language.
    pub language_share: f64,
}

/// All samples of a problem.
#[derive(Clone, Debug)]
pub struct ProblemResult {
    /// Index of the problem.
    pub problem: usize,
    /// Its family.
    pub family: String,
    /// Its samples.
    pub answers: Vec<Answer>,
}

impl ProblemResult {
    /// Share of correct samples among those that could be judged; nothing where none could.
    pub fn pass(&self) -> Option<f64> {
        self.pass_at(1)
    }

    /// The chance that one of `k` samples is correct: 1 − C(n−c, k)/C(n, k) with c correct ones among the n that could be judged, which
    /// is unbiased (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1). Nothing where fewer than `k`
    /// could be judged.
    pub fn pass_at(&self, k: usize) -> Option<f64> {
        let judged: Vec<f32> = self.answers.iter().filter_map(|a| a.outcome.reward()).collect();
        let (n, wrong) = (judged.len(), judged.iter().filter(|&&reward| reward == 0.0).count());
        if k == 0 || k > n {
            return None;
        }
        // C(w, k)/C(n, k) = Π (w − i)/(n − i), 0 as soon as k is above w.
        let miss: f64 = (0..k).map(|i| wrong.saturating_sub(i) as f64 / (n - i) as f64).product();
        Some(1.0 - miss)
    }
}

/// Samples `model` on every prompt: `result[i]` are the samples of prompt i. `decode` gives the text of a completion; `on_token` sees every
/// token as it is drawn: prompt, sample, token.
///
/// # Errors
/// If a prompt does not fit or the model's output is not a number.
pub fn sample(
    model: &Model,
    prompts: Vec<Vec<u32>>,
    decode: impl Fn(&[u32]) -> String + Sync + Send,
    settings: &EvalSettings,
    on_token: Option<&(dyn Fn(usize, usize, u32) + Sync)>,
) -> Result<Vec<Vec<Sampled>>, EngineError> {
    let requests: Vec<Request> = prompts.into_iter().map(|prompt| Request { prompt, samples: settings.k }).collect();
    let stream = StreamName { seed: settings.seed, purpose: settings.purpose.clone(), step: settings.part };
    let options = GenerateOptions { on_token, ..GenerateOptions::default() };
    let completions = generate(model, &requests, &settings.sampling, &stream, options)?;
    let sampled = |c: &Completion| Sampled {
        completion: decode(&c.tokens),
        tokens: c.tokens.len(),
        truncated: c.finish == Finish::Length,
    };
    Ok(map_lanes(completions, |completions| completions.iter().map(sampled).collect()))
}

/// Judges the samples of each problem by what stands where `extraction` looks.
///
/// # Panics
/// If there are not samples for each problem.
pub fn judge(problems: &[Problem], samples: &[Vec<Sampled>], extraction: &Extraction) -> Vec<ProblemResult> {
    assert_eq!(problems.len(), samples.len(), "samples for each problem");
    let jobs: Vec<_> = problems.iter().zip(samples).enumerate().collect();
    map_lanes(jobs, |(i, (problem, samples))| ProblemResult {
        problem: i,
        family: problem.family.clone(),
        answers: samples.iter().map(|sampled| answer(problem, sampled, extraction)).collect(),
    })
}

fn answer(problem: &Problem, sampled: &Sampled, extraction: &Extraction) -> Answer {
    let Sampled { completion, tokens, truncated } = sampled.clone();
    let Judged { outcome, answer } = extraction.judge(&completion, problem);
    Answer {
        outcome,
        vote: answer,
        language_share: language_share_quoting(reasoning(&completion), problem.language, &problem.question),
        tokens,
        truncated,
        completion,
    }
}

/// Bits that the model needs for a byte of text: Σ −log₂ p over `windows` (tokens and the token after each), divided by the bytes that
/// these targets stand for.
pub fn bits_per_byte(model: &Model, windows: Vec<(Vec<u32>, Vec<u32>)>, bytes: usize) -> f64 {
    let lanes: Vec<(Rows, Vec<u32>)> =
        windows.into_iter().map(|(tokens, targets)| (Rows::new(&tokens, &[tokens.len()]), targets)).collect();
    let nats: f64 = logprobs(model, lanes, 1.0).iter().flatten().map(|&logp| -(logp as f64)).sum();
    nats / std::f64::consts::LN_2 / bytes.max(1) as f64
}
