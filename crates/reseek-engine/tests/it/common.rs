//! Models whose predictions are far from even, and a short way to ask them.

use std::sync::Mutex;

use reseek_engine::{Completion, GenerateOptions, Request, Sampling, StreamName, generate};
use reseek_model::{Model, Weights};
use reseek_spec::{ModelSpec, Scale};
use reseek_tensor::pool::set_threads;
use reseek_tensor::random::Stream;

/// Does `work` on a pool of `n` threads. The pool is the program's, and tests run beside each other.
pub fn on_threads<R>(n: usize, work: impl FnOnce() -> R) -> R {
    static POOL: Mutex<()> = Mutex::new(());
    let _alone = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    set_threads(n);
    work()
}

pub const VOCAB: usize = 64;

/// The smallest V3.
pub fn v3() -> ModelSpec {
    ModelSpec::ladder(Scale::Smoke, VOCAB)
}

/// V3 after the context extension, the dense student, and V3 itself.
pub fn specs() -> [(&'static str, ModelSpec); 3] {
    [("v3", v3()), ("v3 with YaRN", v3().extended(4)), ("student", ModelSpec::student(Scale::Smoke, VOCAB))]
}

/// Fresh weights with a louder head: fresh ones alone predict every token about as often.
pub fn weights(spec: ModelSpec) -> Weights {
    let mut weights = Weights::init(spec, 3).unwrap();
    let head = weights.layout.range("lm_head.weight");
    weights.data[head].iter_mut().for_each(|w| *w *= 2.5);
    weights
}

pub fn model(spec: ModelSpec) -> Model {
    Model::new(&weights(spec))
}

/// `lens.len()` prompts of random tokens, two samples each.
pub fn requests(lens: &[usize]) -> Vec<Request> {
    let mut stream = Stream::new(5, "prompts", 0, 0);
    let mut prompt = |&len: &usize| (0..len).map(|_| stream.below(VOCAB) as u32).collect();
    lens.iter().map(|len| Request { prompt: prompt(len), samples: 2 }).collect()
}

pub fn name(seed: u64) -> StreamName {
    StreamName { seed, purpose: "test".to_string(), step: 0 }
}

pub fn draw(
    model: &Model,
    requests: &[Request],
    sampling: &Sampling,
    options: GenerateOptions,
) -> Vec<Vec<Completion>> {
    generate(model, requests, sampling, &name(1), options).unwrap()
}
