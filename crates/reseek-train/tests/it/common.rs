//! The smallest models and random sequences for them.

use reseek_model::Weights;
use reseek_spec::{ModelSpec, Scale};
use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::random::Stream;
use reseek_train::{Hyper, Learner, Moments, Sequence, StepSettings};

pub const VOCAB: usize = 64;

pub fn v3() -> ModelSpec {
    ModelSpec::ladder(Scale::Smoke, VOCAB)
}

pub fn student() -> ModelSpec {
    ModelSpec::student(Scale::Smoke, VOCAB)
}

pub fn learner(spec: ModelSpec) -> Learner {
    Learner::new(Weights::init(spec, 1).unwrap())
}

pub const SETTINGS: StepSettings = StepSettings {
    hyper: Hyper { lr: 3e-3, beta1: 0.9, beta2: 0.95, weight_decay: 0.1, clip: 1.0 },
    mtp_lambda: 0.3,
    mtp_share: 1.0,
    balance_alpha: 1e-4,
    bias_speed: 1e-3,
    lanes: 2,
};

/// Sequences of the given lengths; the last token of each has nothing to predict.
pub fn sequences(lens: &[usize], seed: u64) -> Vec<Sequence> {
    let mut stream = Stream::new(seed, "sequences", 0, 0);
    let mut sequence = |&len: &usize| {
        let tokens: Vec<u32> = (0..len).map(|_| stream.below(VOCAB) as u32).collect();
        let targets = tokens[1..].iter().copied().chain([IGNORE]).collect();
        (tokens, targets)
    };
    lens.iter().map(&mut sequence).collect()
}

/// The bits of floats: equal where the values are, NaN among them.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The bits of both moments, those of bf16 as they are.
pub fn moment_bits(moments: &Moments) -> [Vec<u32>; 2] {
    match moments {
        Moments::F32 { m, v } => [m, v].map(|moment| bits(moment)),
        Moments::Bf16 { m, v } => [m, v].map(|moment| moment.iter().map(|x| x.to_bits().into()).collect()),
    }
}
