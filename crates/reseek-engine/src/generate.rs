//! Continuous batching: lanes take samples from one queue as their slots become free, and each decodes its slots on one thread. A sample's
//! tokens depend on its own stream alone, so it does not matter which lane draws it: those of one prompt may be drawn by all.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use reseek_model::{CacheMode, KvCache, Model};
use reseek_tensor::linear::linear_forward;
use reseek_tensor::pool::{map_lanes, threads};
use reseek_tensor::random::Stream;

use crate::sample::{Distribution, DistributionScratch, Drawn};
use crate::{EngineError, Sampling};

/// A prompt and how many samples to draw from it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Tokens of the prompt, with the begin-of-sentence token.
    pub prompt: Vec<u32>,
    /// Completions wanted.
    pub samples: usize,
}

/// The random stream of a call: sample j of request i draws from (seed, purpose, step, i·2³² + j).
#[derive(Clone, Debug)]
pub struct StreamName {
    /// The run's seed.
    pub seed: u64,
    /// What the samples are for.
    pub purpose: String,
    /// The step they belong to.
    pub step: u64,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With a stop token.
    Stop,
    /// At `max_new_tokens` or at the end of the model's context.
    Length,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Its tokens, with the stop token.
    pub tokens: Vec<u32>,
    /// log p of each token under the model itself, without temperature or truncation.
    pub logprobs: Vec<f32>,
    /// log p of each token under the distribution that it was drawn from, with both: the behaviour policy of an importance ratio.
    pub behaviour_logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Completion {
    fn new(drawn: &[Drawn], finish: Finish) -> Self {
        Self {
            tokens: drawn.iter().map(|d| d.token).collect(),
            logprobs: drawn.iter().map(|d| d.logprob).collect(),
            behaviour_logprobs: drawn.iter().map(|d| d.behaviour).collect(),
            finish,
        }
    }
}

/// How a call decodes.
#[derive(Clone, Copy)]
pub struct GenerateOptions<'a> {
    /// Expanded (strict, training's bits) or latent (absorbed).
    pub mode: CacheMode,
    /// Most sequences that one lane decodes at a time; where nothing is asked for, as many as suit the caches of the processor.
    pub slots: Option<usize>,
    /// Sees every token as it is drawn: request, sample, token.
    pub on_token: Option<&'a (dyn Fn(usize, usize, u32) + Sync)>,
}

impl Default for GenerateOptions<'_> {
    fn default() -> Self {
        Self { mode: CacheMode::Latent, slots: None, on_token: None }
    }
}

/// Completions of every request, in order: `result[i][j]` is sample j of request i.
///
/// # Errors
/// If a setting, a prompt or a token is outside of its range, or the model's output is not a number.
pub fn generate(
    model: &Model,
    requests: &[Request],
    sampling: &Sampling,
    stream: &StreamName,
    options: GenerateOptions,
) -> Result<Vec<Vec<Completion>>, EngineError> {
    sampling.validate()?;
    for (i, request) in requests.iter().enumerate() {
        check(model, i, &request.prompt)?;
    }
    let all = requests.iter().enumerate().flat_map(|(i, request)| (0..request.samples).map(move |sample| (i, sample)));
    let queue: VecDeque<(usize, usize)> = all.collect();
    let lanes = threads().min(queue.len()).max(1);
    // No lane takes more at once than its share, or the first would leave nothing for the others.
    let slots = options.slots.unwrap_or_else(|| slots_in_cache(model, requests, sampling, options.mode));
    let slots = slots.clamp(1, queue.len().div_ceil(lanes).max(1));
    let mut first = Lane::new(Call { model, requests, sampling, stream, options, slots });
    if requests.len() < lanes
        && let Some(&(request, _)) = queue.front()
    {
        // Several lanes will draw from this prompt: all threads compute it together, once.
        first.compute_ahead(request);
    }
    let queue = Mutex::new(queue);
    let results = map_lanes(0..lanes, |_| first.another().run(&queue));
    let mut done = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    done.sort_by_key(|(request, sample, _)| (*request, *sample));
    let mut completions: Vec<Vec<Completion>> = requests.iter().map(|_| Vec::new()).collect();
    done.into_iter().for_each(|(request, _, completion)| completions[request].push(completion));
    Ok(completions)
}

/// What a lane's weights and sequences may take of the last level of cache, in bytes: servers and laptops have between 2 and 8 MiB a core.
const CACHE_OF_LANE: usize = 8 << 20;
/// Fewest and most sequences of a lane: fewer do not fill the kernels' rows, more do not read the weights noticeably less often.
const SLOTS: (usize, usize) = (16, 64);

/// As many sequences as stay in the cache beside the weights. Weights that do not fit pass by once a step, so then more sequences are better.
/// Measured with 1.7M parameters in expanded mode: 16 slots sample 20 % faster than 64, whose keys and values come from memory.
fn slots_in_cache(model: &Model, requests: &[Request], sampling: &Sampling, mode: CacheMode) -> usize {
    let prompt = requests.iter().map(|request| request.prompt.len()).max().unwrap_or(0);
    let tokens = (prompt + sampling.max_new_tokens).min(model.spec().max_position_embeddings).max(1);
    match CACHE_OF_LANE.saturating_sub(model.weight_bytes()) {
        0 => SLOTS.1,
        room => (room / (tokens * model.cache_bytes_per_token(mode)).max(1)).clamp(SLOTS.0, SLOTS.1),
    }
}

fn check(model: &Model, request: usize, prompt: &[u32]) -> Result<(), EngineError> {
    let spec = model.spec();
    let context = spec.max_position_embeddings;
    if prompt.is_empty() {
        return Err(EngineError::EmptyPrompt { request });
    }
    if prompt.len() >= context {
        return Err(EngineError::PromptTooLong { request, prompt: prompt.len(), context });
    }
    match prompt.iter().find(|&&token| token as usize >= spec.vocab_size) {
        Some(&token) => Err(EngineError::UnknownToken { token, vocab: spec.vocab_size }),
        None => Ok(()),
    }
}

/// The queue, also after a lane has panicked: its panic ends the call.
fn lock(queue: &Mutex<VecDeque<(usize, usize)>>) -> MutexGuard<'_, VecDeque<(usize, usize)>> {
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What all lanes of a call work on.
#[derive(Clone, Copy)]
struct Call<'a> {
    model: &'a Model,
    requests: &'a [Request],
    sampling: &'a Sampling,
    stream: &'a StreamName,
    options: GenerateOptions<'a>,
    /// Sequences of a lane.
    slots: usize,
}

/// What one thread works on.
struct Lane<'a> {
    call: Call<'a>,
    /// A slot for each sequence, and one behind them for `prompt`.
    cache: KvCache,
    /// A prompt of which samples may still come.
    prompt: Option<ComputedPrompt>,
    free: Vec<usize>,
    active: Vec<Active>,
    logits: Vec<f32>,
    scratch: DistributionScratch,
}

/// A prompt whose keys and values lie in the slot behind those of the samples.
#[derive(Clone)]
struct ComputedPrompt {
    request: usize,
    /// Its last hidden row, [d].
    hidden: Vec<f32>,
}

struct Active {
    request: usize,
    sample: usize,
    slot: usize,
    stream: Stream,
    drawn: Vec<Drawn>,
    finish: Option<Finish>,
}

impl<'a> Lane<'a> {
    fn new(call: Call<'a>) -> Self {
        let cache = KvCache::new(call.model.spec(), call.slots + 1, call.options.mode);
        Self::with(call, cache, None)
    }

    fn with(call: Call<'a>, cache: KvCache, prompt: Option<ComputedPrompt>) -> Self {
        Self {
            call,
            cache,
            prompt,
            free: (0..call.slots).rev().collect(),
            active: Vec::new(),
            logits: Vec::new(),
            scratch: DistributionScratch::default(),
        }
    }

    /// Computes the prompt of `request`, whose samples will come.
    fn compute_ahead(&mut self, request: usize) {
        let hidden = self.prefill(&[(request, self.call.slots)]);
        self.prompt = Some(ComputedPrompt { request, hidden });
    }

    /// A lane that has begun nothing and shares the pages of this one's prompt.
    fn another(&self) -> Self {
        Self::with(self.call, self.cache.clone(), self.prompt.clone())
    }

    fn run(mut self, queue: &Mutex<VecDeque<(usize, usize)>>) -> Result<Vec<(usize, usize, Completion)>, EngineError> {
        let mut done = Vec::new();
        loop {
            self.admit(queue)?;
            self.retire(&mut done);
            if self.active.is_empty() && lock(queue).is_empty() {
                return Ok(done);
            }
            self.step()?;
            self.retire(&mut done);
        }
    }

    /// Fills the free slots: each new prompt is computed once in a lane, its other samples start from a copy, also those that come later.
    fn admit(&mut self, queue: &Mutex<VecDeque<(usize, usize)>>) -> Result<(), EngineError> {
        let taken: Vec<(usize, usize)> = {
            let mut queue = lock(queue);
            let n = queue.len().min(self.free.len());
            queue.drain(..n).collect()
        };
        if taken.is_empty() {
            return Ok(());
        }
        let n = taken.len();
        let slot = |(request, sample)| (request, sample, self.free.pop().expect("a free slot"));
        let admitted: Vec<(usize, usize, usize)> = taken.into_iter().map(slot).collect();
        let computed = self.prompt.as_ref().map(|prompt| prompt.request);
        let mut first: Vec<(usize, usize)> = Vec::new();
        for &(request, _, slot) in admitted.iter().filter(|(request, ..)| Some(*request) != computed) {
            if first.last().is_none_or(|&(last, _)| last != request) {
                first.push((request, slot));
            }
        }
        let hidden = self.prefill(&first);
        let d = self.call.model.spec().hidden_size;
        let mut rows = Vec::new();
        for &(request, sample, slot) in &admitted {
            match (first.iter().position(|&(r, _)| r == request), &self.prompt) {
                (Some(place), _) => {
                    self.cache.copy(first[place].1, slot);
                    rows.extend_from_slice(&hidden[place * d..(place + 1) * d]);
                }
                (None, Some(prompt)) => {
                    self.cache.copy(self.call.slots, slot);
                    rows.extend_from_slice(&prompt.hidden);
                }
                (None, None) => unreachable!("a prompt that is not kept was computed now"),
            }
            let index = ((request as u64) << 32) | sample as u64;
            let StreamName { seed, purpose, step } = self.call.stream;
            let stream = Stream::new(*seed, purpose, *step, index);
            self.active.push(Active { request, sample, slot, stream, drawn: Vec::new(), finish: None });
        }
        if let Some(&(request, slot)) = first.last() {
            self.keep(request, slot, &hidden[hidden.len() - d..], queue);
        }
        let from = self.active.len() - n;
        self.draw(&rows, from)
    }

    /// Keeps a prompt that was computed into `slot`, if the next sample of the queue is of the same request.
    fn keep(&mut self, request: usize, slot: usize, hidden: &[f32], queue: &Mutex<VecDeque<(usize, usize)>>) {
        let next = lock(queue).front().map(|&(request, _)| request);
        self.prompt = None;
        if next == Some(request) {
            self.cache.copy(slot, self.call.slots);
            self.prompt = Some(ComputedPrompt { request, hidden: hidden.to_vec() });
        }
    }

    /// Computes prompts into their slots; the last hidden row of each.
    fn prefill(&mut self, prompts: &[(usize, usize)]) -> Vec<f32> {
        const ROWS: usize = 1024;
        let Call { model, requests, .. } = self.call;
        let d = model.spec().hidden_size;
        let mut last = Vec::with_capacity(prompts.len() * d);
        let mut from = 0;
        while from < prompts.len() {
            let mut to = from + 1;
            let len = |i: usize| requests[prompts[i].0].prompt.len();
            let mut rows = len(from);
            while to < prompts.len() && rows + len(to) <= ROWS {
                rows += len(to);
                to += 1;
            }
            let part = &prompts[from..to];
            let tokens: Vec<u32> = part.iter().flat_map(|&(r, _)| requests[r].prompt.iter().copied()).collect();
            let segments: Vec<usize> = part.iter().map(|&(r, _)| requests[r].prompt.len()).collect();
            let slots: Vec<usize> = part.iter().map(|&(_, slot)| slot).collect();
            let hidden = model.decode(&mut self.cache, &tokens, &segments, &slots);
            let mut end = 0;
            for len in segments {
                end += len;
                last.extend_from_slice(&hidden.host()[(end - 1) * d..end * d]);
            }
            from = to;
        }
        last
    }

    /// One token more for every active sequence.
    fn step(&mut self) -> Result<(), EngineError> {
        if self.active.is_empty() {
            return Ok(());
        }
        let tokens: Vec<u32> = self.active.iter().map(|a| a.drawn.last().expect("a first token").token).collect();
        let slots: Vec<usize> = self.active.iter().map(|a| a.slot).collect();
        let hidden = self.call.model.decode(&mut self.cache, &tokens, &vec![1; tokens.len()], &slots);
        self.draw(hidden.host(), 0)
    }

    /// Draws the next token of `active[from..]` from their hidden rows.
    fn draw(&mut self, hidden: &[f32], from: usize) -> Result<(), EngineError> {
        let Call { model, sampling, options, .. } = self.call;
        let (vocab, context) = (model.spec().vocab_size, model.spec().max_position_embeddings);
        let active = &mut self.active[from..];
        self.logits.resize(active.len() * vocab, 0.0);
        linear_forward(&mut self.logits, hidden, model.head());
        for (active, logits) in active.iter_mut().zip(self.logits.chunks_exact_mut(vocab)) {
            let position = self.cache.len(active.slot);
            let drawn = Distribution::new(logits, sampling.temperature, &mut self.scratch)
                .pick(sampling, active.stream.uniform())
                .ok_or(EngineError::NotFinite { position })?;
            active.drawn.push(drawn);
            if let Some(see) = options.on_token {
                see(active.request, active.sample, drawn.token);
            }
            if sampling.stop.contains(&drawn.token) {
                active.finish = Some(Finish::Stop);
            } else if active.drawn.len() >= sampling.max_new_tokens || position + 1 >= context {
                active.finish = Some(Finish::Length);
            }
        }
        Ok(())
    }

    /// Moves finished sequences out and frees their slots.
    fn retire(&mut self, done: &mut Vec<(usize, usize, Completion)>) {
        let mut i = 0;
        while i < self.active.len() {
            let Some(finish) = self.active[i].finish else {
                i += 1;
                continue;
            };
            let Active { request, sample, slot, drawn, .. } = self.active.remove(i);
            self.cache.clear(slot);
            self.free.push(slot);
            done.push((request, sample, Completion::new(&drawn, finish)));
        }
    }
}
