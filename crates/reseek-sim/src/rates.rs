//! How much of its data sheet each GPU reaches: one table a GPU type, with ranges. Most rates are kernels' published ones. Some were set with
//! published training runs, and [`Rate`] names them: the waiting for stragglers is fitted to a single run, DeepSeek-V3's bubble; attention, fp8
//! weight gradients and casts on Hopper are of the public trace of the stack that trained V3. Each row of `validate` names the rates that its run
//! set, and such runs are averaged apart.

use reseek_spec::{GpuKind, GpuSpec};
use serde::Serialize;

/// A rate that a published run set, or that nothing but published runs could have set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// [`Rates::attention`] of Hopper.
    Attention,
    /// [`Rates::fp8_wgrad`] of Hopper.
    Fp8WeightGradients,
    /// [`Rates::cast`].
    Cast,
    /// [`Rates::jitter`].
    Waiting,
    /// [`Rates::expert_load_cv`].
    ExpertLoad,
    /// [`Rates::tp_exposed`].
    TensorParallelExposed,
    /// [`Rates::dp_exposed`].
    DataParallelExposed,
    /// [`Rates::ep_exposed`] and the piece of a pair's all-to-alls that nothing hides.
    AllToAllExposed,
    /// Ampere's links and its time between kernels, which no source gives.
    AmpereLinks,
    /// [`Rates::flash1`], which no source gives.
    Flash1,
    /// Traffic of element-wise operations that are not fused, which no source gives.
    Eager,
    /// [`Rates::mtbf_gpu_hours`] and [`Rates::lost_hours`].
    Failures,
}

impl Rate {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Fp8WeightGradients => "fp8 weight gradients",
            Self::Cast => "casts",
            Self::Waiting => "waiting for stragglers",
            Self::ExpertLoad => "experts' loads",
            Self::TensorParallelExposed => "tensor-parallel collectives that show",
            Self::DataParallelExposed => "data-parallel collectives that show",
            Self::AllToAllExposed => "all-to-alls that show",
            Self::AmpereLinks => "Ampere's links and launches",
            Self::Flash1 => "first FlashAttention",
            Self::Eager => "unfused element-wise work",
            Self::Failures => "failures",
        }
    }

    /// Several, in words.
    pub fn names(rates: &[Self]) -> String {
        rates.iter().map(|rate| rate.name()).collect::<Vec<_>>().join(", ")
    }
}

/// Rate of a matrix product: `peak · share · k / (k + k_half)`, times what waves of tiles leave idle. The second factor is the prologue and
/// epilogue of a tile, which short inner sums cannot hide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GemmRate {
    /// Of the peak, with infinitely long sums.
    pub share: f64,
    /// Length of the sum at which half of `share` is reached.
    pub k_half: f64,
}

/// Rate of fused attention, of the bf16 peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionRate {
    /// Of the forward pass.
    pub forward: f64,
    /// Of the backward pass.
    pub backward: f64,
}

/// Everything uncertain about a machine, in one place, so that intervals and tornados can draw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Products in bf16.
    pub bf16: GemmRate,
    /// Products in fp8, of the fp8 peak: activations and their gradients.
    pub fp8: GemmRate,
    /// fp8 gradients of weights: transposed 128×1 tiles, added to f32.
    pub fp8_wgrad: GemmRate,
    /// Fused attention, of the bf16 peak, by its kernels' generation.
    pub attention: AttentionRate,
    /// As `attention`, before July 2024.
    pub flash2: AttentionRate,
    /// As `attention`, before July 2023.
    pub flash1: AttentionRate,
    /// Element-wise kernels, of the memory's bandwidth.
    pub elementwise: f64,
    /// Quantisation with transposed copies, of the memory's bandwidth.
    pub cast: f64,
    /// Links inside of a domain, of their bandwidth.
    pub nvlink: f64,
    /// The network between domains, of its bandwidth.
    pub network: f64,
    /// Seconds that a collective or a message inside of a domain takes without its bytes.
    pub nvlink_latency_s: f64,
    /// The same between domains.
    pub network_latency_s: f64,
    /// Seconds between two kernels.
    pub launch_s: f64,
    /// Of tensor-parallel collectives, the share that no computation hides.
    pub tp_exposed: f64,
    /// Of data-parallel collectives, the share that backward passes do not hide.
    pub dp_exposed: f64,
    /// Of all-to-alls in schedules without paired chunks, the share that nothing hides.
    pub ep_exposed: f64,
    /// Standard deviation of experts' loads over their mean.
    pub expert_load_cv: f64,
    /// Time of the whole step over that of a rank that never waits for a straggler.
    pub jitter: f64,
    /// Time of the whole step over what the model says: 1, and a range of its own in intervals.
    pub left_out: f64,
    /// Hours that a GPU runs between two failures that stop a job.
    pub mtbf_gpu_hours: f64,
    /// Hours lost with each: detection, restart, steps since the last checkpoint.
    pub lost_hours: f64,
}

impl Rates {
    /// The table of a GPU type.
    pub fn of(gpu: &GpuSpec) -> Self {
        match gpu.kind {
            GpuKind::A100With80 | GpuKind::A100With40 => Self::ampere(),
            GpuKind::H100 | GpuKind::H800 | GpuKind::H200 => Self::hopper(),
            GpuKind::B200 | GpuKind::Gb200 | GpuKind::Gb300 => Self::blackwell(),
        }
    }

    /// Share of wall time in which steps that count are made on `gpus` GPUs.
    pub fn goodput(&self, gpus: usize) -> f64 {
        1.0 / (1.0 + gpus as f64 * self.lost_hours / self.mtbf_gpu_hours)
    }

    /// Hopper. Products: DeepGEMM's published rates on H800 (six shapes; share and k_half by least squares on their reciprocals, within 3 %).
    /// bf16: half of the fp8 k_half, as an inner step takes twice the time. Attention, fp8 weight gradients, casts: DeepSeek's public
    /// training trace, divided by its 112 of 132 SMs. Network: 40 of 50 GB/s, NVLink: 160 of 200 (Insights, 4.3).
    fn hopper() -> Self {
        Self {
            bf16: GemmRate { share: 0.66, k_half: 360.0 },
            fp8: GemmRate { share: 0.72, k_half: 718.0 },
            fp8_wgrad: GemmRate { share: 0.37, k_half: 400.0 },
            attention: AttentionRate { forward: 0.66, backward: 0.565 },
            flash2: AttentionRate { forward: 0.38, backward: 0.33 },
            flash1: AttentionRate { forward: 0.3, backward: 0.25 },
            elementwise: 0.75,
            cast: 0.38,
            nvlink: 0.8,
            network: 0.8,
            nvlink_latency_s: 10e-6,
            network_latency_s: 25e-6,
            launch_s: 3e-6,
            tp_exposed: 1.0,
            dp_exposed: 0.2,
            ep_exposed: 0.5,
            expert_load_cv: 0.1,
            jitter: 1.04,
            left_out: 1.0,
            mtbf_gpu_hours: 50_700.0,
            lost_hours: 0.34,
        }
    }

    /// Ampere. Products: cuBLAS reaches about 270 of 312 TFLOPS on large shapes; fused attention: FlashAttention-2's published 190 and 165.
    fn ampere() -> Self {
        Self {
            bf16: GemmRate { share: 0.8, k_half: 250.0 },
            fp8: GemmRate { share: 0.0, k_half: 0.0 },
            fp8_wgrad: GemmRate { share: 0.0, k_half: 0.0 },
            attention: AttentionRate { forward: 0.58, backward: 0.5 },
            flash2: AttentionRate { forward: 0.58, backward: 0.5 },
            flash1: AttentionRate { forward: 0.36, backward: 0.3 },
            nvlink: 0.75,
            launch_s: 4e-6,
            ..Self::hopper()
        }
    }

    /// Blackwell. Products: about 1,650 of 2,250 TFLOPS in bf16 and 3,200 of 4,500 in MX formats; attention: FlashAttention-4's and cuDNN's
    /// published rates.
    fn blackwell() -> Self {
        Self {
            bf16: GemmRate { share: 0.74, k_half: 720.0 },
            fp8: GemmRate { share: 0.7, k_half: 1436.0 },
            fp8_wgrad: GemmRate { share: 0.6, k_half: 1436.0 },
            attention: AttentionRate { forward: 0.6, backward: 0.45 },
            flash2: AttentionRate { forward: 0.3, backward: 0.25 },
            ..Self::hopper()
        }
    }
}
