//! Training steps: the two models that the peers are measured on, and what size costs.

use std::time::Instant;

use reseek_model::Weights;
use reseek_spec::{ModelSpec, resolve};
use reseek_store::peak_memory_bytes;
use reseek_tensor::peak::fma_peak_gflops_of_pool;
use reseek_tensor::pool::threads;
use reseek_tensor::random::Stream;
use reseek_train::{Hyper, Learner, Sequence, StepSettings};
use serde_json::{Value, json};

use super::{RUNS, Setting, median, shapes, timed, with_profile};
use crate::error::Outcome;

/// A dense decoder: vocabulary 4096, width 256, 6 layers, 4 heads, SwiGLU 1024, batch 16 × 256.
pub fn train_gpt(setting: &Setting) -> Outcome<Value> {
    if let Some(scale) = setting.scale {
        let recipe = resolve(scale, &[], &[])?.recipe;
        return train(ModelSpec::student(scale, recipe.tokenizer.vocab_size), recipe.pretrain.sequences, setting);
    }
    train(shapes::dense()?, 16, setting)
}

/// A small V3: MLA, 16 experts of which 4, batch 16 × 256; without its MTP module, which the peer lacks.
pub fn train_v3(setting: &Setting) -> Outcome<Value> {
    if let Some(scale) = setting.scale {
        let recipe = resolve(scale, &[], &[])?.recipe;
        return train(ModelSpec::ladder(scale, recipe.tokenizer.vocab_size), recipe.pretrain.sequences, setting);
    }
    train(shapes::v3()?, 16, setting)
}

/// Layers measured, in sequences of 256 tokens.
const LAYERS: [usize; 4] = [1, 2, 4, 8];
/// Lengths measured, at as many tokens a batch.
const LENGTHS: [usize; 4] = [256, 512, 1024, 2048];
const TOKENS: usize = 4096;

/// The dense decoder's step over its layers and over the length of its sequences: sizes in turn, so that a slow minute meets all of them.
pub fn scaling(setting: &Setting) -> Outcome<Value> {
    let dense = shapes::dense()?;
    let of_layers =
        |layers| Step::new(ModelSpec { num_hidden_layers: layers, ..dense.clone() }, TOKENS / 256, 256, setting);
    let of_length = |length| {
        Step::new(ModelSpec { max_position_embeddings: length, ..dense.clone() }, TOKENS / length, length, setting)
    };
    let mut steps: Vec<Step> =
        LAYERS.into_iter().map(of_layers).chain(LENGTHS.into_iter().map(of_length)).collect::<Outcome<_>>()?;
    let mut seconds = vec![Vec::new(); steps.len()];
    for round in 0..=RUNS {
        for (step, seconds) in steps.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            step.run()?;
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let seconds: Vec<f64> = seconds.into_iter().map(|seconds| median(seconds.into_iter())).collect();
    let (of_layers, of_lengths) = seconds.split_at(LAYERS.len());
    let rows = |name: &str, sizes: [usize; 4], seconds: &[f64]| -> Value {
        let row = |(size, s): (usize, &f64)| json!({name: size, "step_ms": 1e3 * s, "tokens_per_s": (TOKENS as f64 / s).round()});
        sizes.into_iter().zip(seconds).map(row).collect()
    };
    Ok(json!({
        "by_layers": rows("layers", LAYERS, of_layers), "by_length": rows("length", LENGTHS, of_lengths),
        "off_linear_in_layers": off_line(&LAYERS.map(|n| n as f64), of_layers), "rss_mib": peak_memory_bytes() >> 20,
    }))
}

/// The largest relative distance of `y` from the straight line through the first and the last point.
fn off_line(x: &[f64], y: &[f64]) -> f64 {
    let (Some((x0, x1)), Some((y0, y1))) = (x.first().zip(x.last()), y.first().zip(y.last())) else { return 0.0 };
    let line = |x: f64| y0 + (y1 - y0) * (x - x0) / (x1 - x0);
    x.iter().zip(y).map(|(&x, y)| (y / line(x) - 1.0).abs()).fold(0.0, f64::max)
}

/// A model with random weights and a random batch, ready for steps.
struct Step {
    learner: Learner,
    batch: Vec<Sequence>,
    settings: StepSettings,
}

impl Step {
    fn new(spec: ModelSpec, sequences: usize, length: usize, setting: &Setting) -> Outcome<Self> {
        let (vocab, has_mtp) = (spec.vocab_size, spec.num_nextn_predict_layers > 0);
        let learner = Learner::new(Weights::init(spec, 1)?.computing_in(setting.dtype));
        let mut stream = Stream::new(1, "bench", 0, 0);
        let mut sequence = || {
            let tokens: Vec<u32> = (0..=length).map(|_| stream.below(vocab) as u32).collect();
            (tokens[..length].to_vec(), tokens[1..].to_vec())
        };
        let batch = (0..sequences).map(|_| sequence()).collect();
        let settings = StepSettings {
            hyper: Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.999, weight_decay: 0.01, clip: f64::MAX },
            mtp_lambda: if has_mtp { 0.3 } else { 0.0 },
            mtp_share: 1.0,
            balance_alpha: 0.0,
            bias_speed: 0.001,
            lanes: threads(),
        };
        Ok(Self { learner, batch, settings })
    }

    fn run(&mut self) -> Outcome<()> {
        self.learner.step(&self.batch, &self.settings)?;
        Ok(())
    }
}

fn train(spec: ModelSpec, sequences: usize, setting: &Setting) -> Outcome<Value> {
    let length = 256;
    let flops = spec.train_flops_per_token(length).causal;
    let mut step = Step::new(spec, sequences, length, setting)?;
    let mut run = || step.run();
    let step_s = timed(&mut run)?;
    let tokens = (sequences * length) as f64;
    let gflops = flops * tokens / step_s / 1e9;
    let result = json!({
        "step_ms": 1e3 * step_s, "tokens_per_s": (tokens / step_s).round(), "gflops": gflops,
        "share_of_peak": gflops / fma_peak_gflops_of_pool(200, setting.dtype), "rss_mib": peak_memory_bytes() >> 20,
    });
    with_profile(result, setting, &mut run)
}

#[cfg(test)]
mod tests {
    use super::off_line;

    #[test]
    fn distance_from_the_line_through_the_ends() {
        assert_eq!(off_line(&[1.0, 2.0, 4.0], &[3.0, 4.0, 6.0]), 0.0);
        assert!((off_line(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]) - 0.25).abs() < 1e-12);
    }
}
