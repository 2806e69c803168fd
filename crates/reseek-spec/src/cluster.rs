//! What a model runs on.

/// One kind of accelerator; rates are the vendor's dense peaks.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSpec {
    pub name: &'static str,
    /// bf16, in FLOP/s.
    pub bf16_flops: f64,
    /// fp8, in FLOP/s.
    pub fp8_flops: f64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// A number of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSpec {
    pub gpu: GpuSpec,
    pub gpus: usize,
}

impl ClusterSpec {
    /// DeepSeek's: 2,048 H800 (V3 report, 3.1), 989 and 1,979 TFLOPS, 80 GB.
    pub fn h800x2048() -> Self {
        let gpu = GpuSpec { name: "H800", bf16_flops: 989e12, fp8_flops: 1979e12, memory_bytes: 80_000_000_000 };
        Self { gpu, gpus: 2048 }
    }

    /// Model FLOPs utilisation against the bf16 peak: `flops_per_token` for `tokens` in `step_s` seconds.
    pub fn mfu(&self, flops_per_token: f64, tokens: f64, step_s: f64) -> f64 {
        flops_per_token * tokens / (step_s * self.gpus as f64 * self.gpu.bf16_flops)
    }
}
