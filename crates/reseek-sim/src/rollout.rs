//! Sampling at scale: a decode step, and a rollout that ends when its longest answer does.

use reseek_spec::{ClusterSpec, ModelSpec};
use serde::Serialize;

use crate::SimError;
use crate::rates::Rates;

/// How a cluster samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sampler {
    /// GPUs over which one copy of the experts is spread (attention is data-parallel), or tensor parallelism of a dense model.
    pub ranks: usize,
    /// Bytes of a weight: 1 for fp8, 2 for bf16.
    pub weight_bytes: f64,
    /// Tokens accepted a step with speculation, 1 without. V3's report: 1.85 to 1.9 with MTP.
    pub accepted: f64,
    /// Sampling share of the wall time that engine, scheduler and weight loading leave.
    pub engine_share: f64,
}

impl Sampler {
    /// DeepSeek's public decoding deployment's shape on H800: experts over 32 GPUs, fp8; 1.0 accepted, since rollouts need exact policies.
    pub fn r1() -> Self {
        Self { ranks: 32, weight_bytes: 1.0, accepted: 1.0, engine_share: 0.85 }
    }
}

/// Lengths of answers: log-normal around `median`, cut at `max` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// Tokens of a prompt.
    pub prompt: f64,
    /// Tokens that half of the answers exceed.
    pub median: f64,
    /// Standard deviation of the logarithm.
    pub spread: f64,
    /// Tokens at which an answer is cut.
    pub max: f64,
}

impl Lengths {
    /// Share of answers longer than `tokens`.
    pub fn survivors(&self, tokens: f64) -> f64 {
        if tokens >= self.max {
            return 0.0;
        }
        if tokens <= 0.0 {
            return 1.0;
        }
        0.5 * erfc((tokens / self.median).ln() / self.spread / std::f64::consts::SQRT_2)
    }

    /// Mean length, cut answers included: the integral of the survivors.
    pub fn mean(&self) -> f64 {
        self.integrate(|_, survivors| survivors)
    }

    /// Integral over positions of `f(position, survivors)`.
    fn integrate(&self, f: impl Fn(f64, f64) -> f64) -> f64 {
        const PIECES: usize = 256;
        let width = self.max / PIECES as f64;
        (0..PIECES).map(|i| (i as f64 + 0.5) * width).map(|t| f(t, self.survivors(t)) * width).sum()
    }
}

/// Complementary error function (Abramowitz and Stegun 7.1.26; error below 1.5e-7).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = poly * (-x * x).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// A model that decodes on a cluster, with what does not change from step to step counted once.
struct Decoder<'a> {
    model: &'a ModelSpec,
    cluster: &'a ClusterSpec,
    rates: &'a Rates,
    sampler: &'a Sampler,
    /// Parameters that a token uses.
    active: f64,
    /// Operations of a token without attention.
    flops: f64,
}

impl<'a> Decoder<'a> {
    fn new(model: &'a ModelSpec, cluster: &'a ClusterSpec, rates: &'a Rates, sampler: &'a Sampler) -> Self {
        let active = model.params().active_without_embedding as f64;
        Self { model, cluster, rates, sampler, active, flops: model.forward_flops_per_token(0.0) }
    }

    /// Seconds of one decoding step of `batch` sequences a GPU at `context` tokens each: weights and cache come through memory, products
    /// grow with the batch, and each layer sends rows to experts (or sums over tensor-parallel ranks) with its latency.
    fn step_s(&self, batch: f64, context: f64) -> f64 {
        let Self { model, cluster, rates, sampler, active, flops } = *self;
        let gpu = &cluster.gpu;
        let ranks = sampler.ranks as f64;
        let routed = routed_params(model);
        let resident = match model.moe {
            // Attention and shared experts on each GPU, routed experts once in `ranks`.
            Some(_) => (active - routed_active(model)) + routed / ranks,
            None => active / ranks,
        };
        let touched = match &model.moe {
            // Few sequences do not reach every expert.
            Some(moe) => {
                let draws = batch * ranks * moe.num_experts_per_tok as f64 / moe.n_routed_experts as f64;
                let share = 1.0 - (-draws).exp();
                resident - routed / ranks * (1.0 - share)
            }
            None => resident,
        };
        let bandwidth = gpu.hbm_bytes_per_s * rates.elementwise;
        let weights_s = touched * sampler.weight_bytes / bandwidth;
        let cache = match model.moe {
            Some(_) => model.kv_bytes_per_token(2) as f64,
            None => model.kv_bytes_per_token(2) as f64 / ranks,
        };
        let cache_s = batch * context * cache / bandwidth;
        let peak = if sampler.weight_bytes < 2.0 { gpu.fp8_flops.unwrap_or(gpu.bf16_flops) } else { gpu.bf16_flops };
        let share = if model.moe.is_some() { 1.0 } else { 1.0 / ranks };
        let products_s = batch * share * flops / (peak * rates.fp8.share.max(rates.bf16.share));
        let layers = model.num_hidden_layers as f64;
        let (bytes, latency_s) = match &model.moe {
            Some(moe) => {
                let row = model.hidden_size as f64 * 3.0 * moe.num_experts_per_tok as f64;
                (batch * row, 2.0 * rates.network_latency_s)
            }
            None => (batch * model.hidden_size as f64 * 4.0 * 2.0, 2.0 * rates.nvlink_latency_s),
        };
        let link = match sampler.ranks <= gpu.nvlink_domain {
            true => gpu.nvlink_bytes_per_s * rates.nvlink,
            false => gpu.network_bytes_per_s * rates.network,
        };
        // About ten kernels a layer, launched as a graph.
        let launch_s = 10.0 * layers * rates.launch_s * 0.5;
        weights_s.max(products_s) + cache_s + layers * (bytes / link + latency_s) + launch_s
    }
}

fn routed_params(model: &ModelSpec) -> f64 {
    let Some(moe) = &model.moe else { return 0.0 };
    (model.mixture_layers() * moe.n_routed_experts) as f64
        * 3.0
        * (model.hidden_size * moe.moe_intermediate_size) as f64
}

fn routed_active(model: &ModelSpec) -> f64 {
    let Some(moe) = &model.moe else { return 0.0 };
    routed_params(model) * moe.num_experts_per_tok as f64 / moe.n_routed_experts as f64
}

/// A synchronous rollout of `samples` answers on all GPUs of `cluster`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rollout {
    /// Until the last answer ends.
    pub seconds: f64,
    /// Tokens sampled.
    pub tokens: f64,
    /// Seconds it would take if all GPUs were as busy to the end as at the start: the rest is waiting for the longest answers.
    pub busy_s: f64,
    /// Sequences a GPU at the start, as many as memory holds.
    pub batch: f64,
}

/// Samples until the last answer ends.
///
/// # Errors
/// Weights that leave no memory for a cache.
pub fn rollout(
    model: &ModelSpec,
    cluster: &ClusterSpec,
    rates: &Rates,
    sampler: &Sampler,
    samples: f64,
    lengths: &Lengths,
) -> Result<Rollout, SimError> {
    let counts = model.params();
    let resident = match model.moe {
        Some(_) => counts.total as f64 - routed_params(model) + routed_params(model) / sampler.ranks as f64,
        None => counts.total as f64 / sampler.ranks as f64,
    };
    let free = cluster.gpu.memory_bytes as f64 * 0.9 - resident * sampler.weight_bytes - 4e9;
    let cache = model.kv_bytes_per_token(2) as f64 / if model.moe.is_some() { 1.0 } else { sampler.ranks as f64 };
    let mean_context = lengths.prompt + lengths.mean() / 2.0;
    let fits = free / (cache * mean_context);
    if fits < 1.0 {
        let found = format!("{:.0} GB of weights a GPU", resident * sampler.weight_bytes / 1e9);
        let hint = "spread the sampler over more GPUs";
        return Err(SimError::plan(found, &format!("less than {} GB", cluster.gpu.memory_bytes / 1_000_000_000), hint));
    }
    let replicas = match model.moe {
        Some(_) => cluster.gpus as f64,
        None => cluster.gpus as f64 / sampler.ranks as f64,
    };
    let wanted = samples / replicas;
    let (batch, waves) = if wanted > fits { (fits, wanted / fits) } else { (wanted, 1.0) };
    let decoder = Decoder::new(model, cluster, rates, sampler);
    let step = |alive: f64, t: f64| decoder.step_s((batch * alive).max(1.0 / replicas), lengths.prompt + t);
    let per_token = sampler.accepted * sampler.engine_share;
    let one_wave = lengths.integrate(|t, alive| if alive * samples < 0.5 { 0.0 } else { step(alive, t) }) / per_token;
    let mean = lengths.mean();
    let busy = mean * step(1.0, mean / 2.0) / per_token;
    // Waves follow each other without waiting; only the last one has a tail.
    Ok(Rollout { seconds: (waves - 1.0) * busy + one_wave, tokens: samples * mean, busy_s: waves * busy, batch })
}
