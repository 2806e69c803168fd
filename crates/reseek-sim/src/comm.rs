//! Communication: how long collectives and messages take over the links inside of a domain and the network between domains.

use reseek_spec::{GpuSpec, ModelSpec};

use crate::plan::{Plan, Precision};
use crate::rates::Rates;

/// Links of a cluster as collectives see them.
#[derive(Clone, Copy, Debug)]
pub struct Fabric<'a> {
    /// Data sheet of the cluster's GPUs: links and domains.
    pub gpu: &'a GpuSpec,
    /// What of the data sheet is reached.
    pub rates: &'a Rates,
}

impl Fabric<'_> {
    fn nvlink(&self) -> f64 {
        self.gpu.nvlink_bytes_per_s * self.rates.nvlink
    }

    fn network(&self) -> f64 {
        self.gpu.network_bytes_per_s * self.rates.network
    }

    /// All-gather or reduce-scatter of `bytes` (of the whole result) among `ranks`, whose neighbours are `stride` ranks apart, in s. Inside
    /// of a domain a ring over its links; beyond, each domain's GPUs use their network interfaces together.
    pub fn gather_s(&self, bytes: f64, ranks: usize, stride: usize) -> f64 {
        if ranks <= 1 || bytes <= 0.0 {
            return 0.0;
        }
        let inside = (self.gpu.nvlink_domain / stride.max(1)).clamp(1, ranks);
        let outside = ranks.div_ceil(inside);
        let share = |n: usize| (n - 1) as f64 / n as f64;
        let near = share(inside) * bytes / self.nvlink() + self.steps(inside, self.rates.nvlink_latency_s);
        // A ring between domains: each of the `inside` GPUs of a domain carries its part.
        let far =
            share(outside) * bytes / inside as f64 / self.network() + self.steps(outside, self.rates.network_latency_s);
        near.max(far) + near.min(far) * 0.1
    }

    /// Latency of a collective among `ranks`: trees, so logarithmic.
    fn steps(&self, ranks: usize, latency_s: f64) -> f64 {
        if ranks <= 1 { 0.0 } else { latency_s * (ranks as f64).log2().ceil() }
    }

    /// A message of `bytes` to a neighbour `stride` ranks away, in s.
    pub fn message_s(&self, bytes: f64, stride: usize) -> f64 {
        match stride < self.gpu.nvlink_domain {
            true => bytes / self.nvlink() + self.rates.nvlink_latency_s,
            false => bytes / self.network() + self.rates.network_latency_s,
        }
    }

    /// Sends `tokens` rows of `bytes` to the experts that each chose, in s: over the network once for each other domain among them, over
    /// the links once for each rank of a domain (DeepSeek-V3 report, 3.2.2). Both run at the same time.
    /// `comm_sms` multiprocessors copy: each reads and writes its share of the memory's bandwidth; 0 stands for copy engines.
    pub fn all_to_all_s(&self, tokens: f64, bytes: f64, reach: Reach, comm_sms: u32) -> f64 {
        let far = tokens * reach.domains * bytes / self.network();
        let near = tokens * reach.ranks * bytes / self.nvlink();
        let copied = match comm_sms {
            0 => 0.0,
            n => {
                let each = self.gpu.hbm_bytes_per_s / f64::from(self.gpu.sms) / 2.0;
                tokens * (reach.domains + reach.ranks) * bytes / (each * f64::from(n))
            }
        };
        let latency = if reach.domains > 0.0 { self.rates.network_latency_s } else { self.rates.nvlink_latency_s };
        far.max(near).max(copied) + 2.0 * latency
    }
}

/// How far a token's experts are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Other domains, in the mean.
    pub domains: f64,
    /// Ranks that get a copy over links, in the mean.
    pub ranks: f64,
}

/// Where the experts of a token are, if it chooses them evenly within its limit of domains.
pub fn reach(model: &ModelSpec, plan: &Plan, gpu: &GpuSpec) -> Reach {
    let Some(moe) = &model.moe else { return Reach { domains: 0.0, ranks: 0.0 } };
    if plan.ep <= 1 {
        return Reach { domains: 0.0, ranks: 0.0 };
    }
    let chosen = moe.num_experts_per_tok as f64;
    // Ranks of an expert-parallel group are neighbours.
    let domains = plan.ep.div_ceil(gpu.nvlink_domain) as f64;
    let limit = plan.node_limit.map_or(domains, |limit| (limit as f64).min(domains));
    // Distinct ones among `chosen` even draws.
    let distinct = |of: f64, draws: f64| of * (1.0 - (1.0 - 1.0 / of).powf(draws));
    let touched = distinct(limit, chosen).min(limit);
    // With a limit the kept domains are those with the best experts, so all of them are used.
    let touched = if plan.node_limit.is_some() { limit.min(chosen) } else { touched };
    let others = touched * (domains - 1.0) / domains;
    let ranks_each = plan.ep as f64 / domains;
    let ranks = touched * distinct(ranks_each, chosen / touched) * (plan.ep as f64 - 1.0) / plan.ep as f64;
    Reach { domains: others, ranks }
}

/// Bytes of a token's row in a dispatch and a combine.
pub fn row_bytes(model: &ModelSpec, plan: &Plan) -> (f64, f64) {
    let d = model.hidden_size as f64;
    let dispatch = match plan.precision {
        Precision::Bf16 => 2.0 * d,
        // A scale of four bytes for every 128 values.
        Precision::Fp8 => d * (1.0 + 4.0 / 128.0),
        // A scale of one byte for every 32.
        Precision::Mxfp8 => d * (1.0 + 1.0 / 32.0),
    };
    (dispatch, 2.0 * d)
}
