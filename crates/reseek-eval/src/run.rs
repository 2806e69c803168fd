//! Sampling a model on problems, and its loss on text.

use reseek_engine::{EngineError, GenerateOptions, Request, Sampling, StreamName, generate, logprobs};
use reseek_model::{Model, Rows};
use reseek_tasks::{Outcome, Problem, accuracy, extract_answer, language_share_quoting, normalise, reasoning};
use reseek_tensor::pool::map_lanes;

/// How a model is sampled.
#[derive(Clone, Debug)]
pub struct EvalSettings {
    /// Temperature, truncation, stop tokens and length.
    pub sampling: Sampling,
    /// Samples a problem.
    pub k: usize,
    /// Seed of the streams.
    pub seed: u64,
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

/// Samples `model` on every problem. `prompt` gives a problem's tokens, `decode` the text of a completion;
/// `on_token` sees every token as it is drawn: problem, sample, token.
///
/// # Errors
/// If a prompt does not fit or the model's output is not a number.
pub fn evaluate(
    model: &Model,
    problems: &[Problem],
    prompt: impl Fn(&Problem) -> Vec<u32>,
    decode: impl Fn(&[u32]) -> String + Sync + Send,
    settings: &EvalSettings,
    on_token: Option<&(dyn Fn(usize, usize, u32) + Sync)>,
) -> Result<Vec<ProblemResult>, EngineError> {
    let requests: Vec<Request> = problems.iter().map(|p| Request { prompt: prompt(p), samples: settings.k }).collect();
    let stream = StreamName { seed: settings.seed, purpose: "eval".to_string(), step: 0 };
    let options = GenerateOptions { on_token, ..GenerateOptions::default() };
    let completions = generate(model, &requests, &settings.sampling, &stream, options)?;
    let jobs: Vec<_> = problems.iter().zip(completions).enumerate().collect();
    Ok(map_lanes(jobs, |(i, (problem, completions))| {
        let answers = completions.iter().map(|c| judge(problem, decode(&c.tokens), c.tokens.len())).collect();
        ProblemResult { problem: i, family: problem.family.clone(), answers }
    }))
}

fn judge(problem: &Problem, completion: String, tokens: usize) -> Answer {
    Answer {
        outcome: accuracy(&completion, problem),
        vote: extract_answer(&completion).ok().map(normalise),
        language_share: language_share_quoting(reasoning(&completion), problem.language, &problem.question),
        tokens,
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
