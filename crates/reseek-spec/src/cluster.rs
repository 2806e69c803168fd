//! What a model runs on: accelerators as their vendors describe them, and how many.

use crate::SpecError;

/// The accelerators that have rates. Whoever adds one is led by the compiler to each place that has to know it: the name here, the data sheet
/// in [`GPUS`], the rates in the simulator. No match on this has a catch-all arm, so none gets another's rates without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuKind {
    /// Hopper with 900 GB/s of NVLink: the uncut part.
    H100,
    /// What DeepSeek-V3 was trained on: H100 with 400 GB/s of NVLink.
    H800,
    /// H100's chip with 141 GB of HBM3e.
    H200,
    /// Ampere, 80 GB.
    A100With80,
    /// Ampere, 40 GB.
    A100With40,
    /// Blackwell in a node of eight.
    B200,
    /// Blackwell in a rack of 72 on one NVLink.
    Gb200,
    /// Blackwell Ultra in such a rack.
    Gb300,
}

impl GpuKind {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H100 => "h100",
            Self::H800 => "h800",
            Self::H200 => "h200",
            Self::A100With80 => "a100-80",
            Self::A100With40 => "a100-40",
            Self::B200 => "b200",
            Self::Gb200 => "gb200",
            Self::Gb300 => "gb300",
        }
    }
}

/// One kind of accelerator with its node and network. Peaks are dense, bandwidths of one direction, as the data sheets give them;
/// how much of them is reached is the simulator's business.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSpec {
    /// Which one, for what the simulator knows of it beyond this sheet.
    pub kind: GpuKind,
    /// Its vendor's name for it.
    pub name: &'static str,
    /// Streaming multiprocessors.
    pub sms: u32,
    /// bf16, in FLOP/s.
    pub bf16_flops: f64,
    /// fp8, in FLOP/s; `None` where the chip has none.
    pub fp8_flops: Option<f64>,
    /// Whether the tensor cores scale blocks of 32 (MX formats) themselves.
    pub has_mx: bool,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Memory bandwidth, in bytes/s.
    pub hbm_bytes_per_s: f64,
    /// Links inside of a domain, a GPU and direction, in bytes/s.
    pub nvlink_bytes_per_s: f64,
    /// GPUs in a domain of such links.
    pub nvlink_domain: usize,
    /// Network between domains, a GPU and direction, in bytes/s.
    pub network_bytes_per_s: f64,
    /// Board power, in W.
    pub power_w: f64,
}

/// The accelerators that have rates. NVIDIA's data sheets: A100 (2021), H100 and H200 SXM, B200 and GB200/GB300 NVL72; H800: Insights,
/// table 5 (NVLink 400 GB/s both ways). Networks: HDR with the A100, NDR with the others, XDR (800 Gb/s) with the GB300.
pub const GPUS: [GpuSpec; 8] = [
    hopper(GpuKind::H100, 80_000_000_000, 3.35e12, 450e9),
    hopper(GpuKind::H800, 80_000_000_000, 3.35e12, 200e9),
    hopper(GpuKind::H200, 141_000_000_000, 4.8e12, 450e9),
    ampere(GpuKind::A100With80, 80_000_000_000, 2.039e12),
    ampere(GpuKind::A100With40, 40_000_000_000, 1.555e12),
    blackwell(GpuKind::B200, 2.25e15, 180_000_000_000, 8, 50e9, 1000.0),
    blackwell(GpuKind::Gb200, 2.5e15, 186_000_000_000, 72, 50e9, 1200.0),
    blackwell(GpuKind::Gb300, 2.5e15, 279_000_000_000, 72, 100e9, 1400.0),
];

const fn hopper(kind: GpuKind, memory_bytes: u64, hbm_bytes_per_s: f64, nvlink_bytes_per_s: f64) -> GpuSpec {
    GpuSpec {
        kind,
        name: kind.name(),
        sms: 132,
        bf16_flops: 989e12,
        fp8_flops: Some(1979e12),
        has_mx: false,
        memory_bytes,
        hbm_bytes_per_s,
        nvlink_bytes_per_s,
        nvlink_domain: 8,
        network_bytes_per_s: 50e9,
        power_w: 700.0,
    }
}

const fn ampere(kind: GpuKind, memory_bytes: u64, hbm_bytes_per_s: f64) -> GpuSpec {
    GpuSpec {
        kind,
        name: kind.name(),
        sms: 108,
        bf16_flops: 312e12,
        fp8_flops: None,
        has_mx: false,
        memory_bytes,
        hbm_bytes_per_s,
        nvlink_bytes_per_s: 300e9,
        nvlink_domain: 8,
        network_bytes_per_s: 25e9,
        power_w: 400.0,
    }
}

const fn blackwell(
    kind: GpuKind,
    bf16_flops: f64,
    memory_bytes: u64,
    nvlink_domain: usize,
    network_bytes_per_s: f64,
    power_w: f64,
) -> GpuSpec {
    GpuSpec {
        kind,
        name: kind.name(),
        sms: 148,
        bf16_flops,
        fp8_flops: Some(2.0 * bf16_flops),
        has_mx: true,
        memory_bytes,
        hbm_bytes_per_s: 8e12,
        nvlink_bytes_per_s: 900e9,
        nvlink_domain,
        network_bytes_per_s,
        power_w,
    }
}

/// A number of accelerators of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSpec {
    /// The kind of all of them.
    pub gpu: GpuSpec,
    /// How many.
    pub gpus: usize,
}

/// More than anybody has; keeps products of sizes in range.
const GPUS_MAX: usize = 1 << 24;

impl ClusterSpec {
    /// DeepSeek's: 2,048 H800 (V3 report, 3.1).
    pub fn h800x2048() -> Self {
        Self { gpu: GPUS[1].clone(), gpus: 2048 }
    }

    /// Reads `GPUxN`, such as `h800x2048`, in lower or upper case.
    ///
    /// # Errors
    /// An unknown GPU, no number, none or too many of them.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let shown: String = text.chars().take(40).collect();
        let known = || GPUS.map(|gpu| gpu.name).join(", ");
        let lower = text.trim().to_ascii_lowercase();
        let Some((name, number)) = lower.rsplit_once('x') else {
            let hint = "write GPUxN, such as h800x2048";
            return Err(SpecError::clash(format!("cluster \"{shown}\""), "a GPU and a number", hint));
        };
        let Some(gpu) = GPUS.iter().find(|gpu| gpu.name == name) else {
            let hint = format!("there are {}", known());
            let name: String = name.chars().take(40).collect();
            return Err(SpecError::clash(format!("GPU \"{name}\""), "one with known rates", &hint));
        };
        match number.parse() {
            Ok(gpus @ 1..=GPUS_MAX) => Ok(Self { gpu: gpu.clone(), gpus }),
            _ => {
                let hint = "write GPUxN, such as h800x2048";
                Err(SpecError::clash(format!("cluster \"{shown}\""), "1 to 16777216 GPUs", hint))
            }
        }
    }

    /// Model FLOPs utilisation against the bf16 peak: `flops_per_token` for `tokens` in `step_s` seconds.
    pub fn mfu(&self, flops_per_token: f64, tokens: f64, step_s: f64) -> f64 {
        flops_per_token * tokens / (step_s * self.gpus as f64 * self.gpu.bf16_flops)
    }
}
