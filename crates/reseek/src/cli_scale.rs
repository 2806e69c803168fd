//! Options of the commands about full-scale runs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reseek_tensor::compute::Compute;

#[derive(Subcommand)]
pub enum SimCommand {
    /// One step and the whole run of a model by a plan: time, memory, hours, money
    #[command(after_help = "Examples: reseek sim run v3-671b --cluster h800x2048 --recipe v3\n          \
        reseek sim run llama-3.1-405b --cluster h100x8192 --tp 8 --pp 16 --interleave 8 --global-batch 2048 --seq 8192 --recompute selective --json")]
    Run(Box<SimRunArgs>),
    /// The fastest and the cheapest plan, and what rules the others out
    #[command(
        after_help = "Example: reseek sim sweep v3-671b --cluster h800x2048 --global-batch 15360 --precision fp8"
    )]
    Sweep(SweepArgs),
    /// The pipeline's timeline of a step, as a picture or a Perfetto trace
    #[command(
        after_help = "Example: reseek sim schedule v3-671b --cluster h800x2048 --recipe v3 --svg v3.svg --trace v3.json"
    )]
    Schedule(Box<ScheduleArgs>),

    /// Measure this machine's rates in a second or two, for `reseek sim run v3-nano --cluster laptop`
    #[command(after_help = "Example: reseek sim calibrate --out rates.json")]
    Calibrate(CalibrateArgs),
    /// Published runs beside what the simulator says of them; exit code 1 when one is out of tolerance
    #[command(after_help = "Example: reseek sim validate --json")]
    Validate(JsonArgs),
}

#[derive(Args)]
pub struct JsonArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecipeName {
    /// V3's pre-training and both extensions
    V3,
    /// R1-Zero's reinforcement learning
    R1Zero,
    /// R1's stages after its cold start
    R1,
    /// A dense model fine-tuned on R1's 800K answers
    Distil,
    /// Tokens by one plan
    Pretrain,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecomputeName {
    None,
    Selective,
    Full,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    Bf16,
    Fp8,
    Mxfp8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelsName {
    Current,
    Flash2,
    Eager2022,
    Megatron2021,
}

#[derive(Args)]
pub struct PlanArgs {
    /// A preset's name, a config.json or a model folder
    pub model: String,
    /// GPUs, such as h800x2048; h100, h800, h200, a100-80, a100-40, b200, gb200, gb300; or laptop for this machine
    #[arg(long)]
    pub cluster: String,
    /// Start from a published plan; options below change it
    #[arg(long, value_enum)]
    pub recipe: Option<RecipeName>,
    /// Tensor parallelism
    #[arg(long)]
    pub tp: Option<usize>,
    /// Pipeline parallelism
    #[arg(long)]
    pub pp: Option<usize>,
    /// Expert parallelism
    #[arg(long)]
    pub ep: Option<usize>,
    /// Data parallelism; left out, it fills the cluster
    #[arg(long)]
    pub dp: Option<usize>,
    /// Context parallelism
    #[arg(long)]
    pub cp: Option<usize>,
    /// Sequences in a micro-batch
    #[arg(long)]
    pub micro_batch: Option<usize>,
    /// Sequences in a step; left out, eight micro-batches a pipeline stage
    #[arg(long)]
    pub global_batch: Option<usize>,
    /// Tokens in a sequence
    #[arg(long)]
    pub seq: Option<usize>,
    /// Chunks of the model a rank, in interleaved 1F1B
    #[arg(long)]
    pub interleave: Option<usize>,
    /// 1f1b, interleaved, zb1p, dualpipe or dualpipev
    #[arg(long)]
    pub schedule: Option<String>,
    /// Activations that the backward pass computes again instead of finding them kept
    #[arg(long, value_enum)]
    pub recompute: Option<RecomputeName>,
    /// Format in which linear layers multiply
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionName>,
    /// Generation of attention and element-wise kernels
    #[arg(long, value_enum)]
    pub kernels: Option<KernelsName>,
    /// ZeRO stage
    #[arg(long)]
    pub zero: Option<u8>,
    /// Multiprocessors that all-to-alls hold; 20 with experts on several ranks
    #[arg(long)]
    pub comm_sms: Option<u32>,
    /// Domains (nodes) that a token's experts lie in, at most
    #[arg(long)]
    pub node_limit: Option<usize>,
    /// Answer even where the plan does not fit in memory
    #[arg(long)]
    pub ignore_memory: bool,
}

#[derive(Args)]
pub struct CalibrateArgs {
    /// Format in which products multiply: f32, bf16 or fp8 [default: bf16 where the processor has it]
    #[arg(long)]
    pub dtype: Option<Compute>,
    /// File for the rates; left out, they are printed
    #[arg(long)]
    pub out: Option<PathBuf>,
}

#[derive(Args)]
pub struct SimRunArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Tokens of the run; V3's 14.8e12 if left out
    #[arg(long, allow_negative_numbers = true)]
    pub tokens: Option<f64>,
    /// Price of a GPU-hour in USD
    #[arg(long, default_value_t = 2.0, allow_negative_numbers = true, value_parser = price)]
    pub gpu_hour_usd: f64,
    /// Draws behind the 95 % intervals, 40 to 100000; 0 for none
    #[arg(long, default_value_t = 400)]
    pub draws: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// With --cluster laptop: rates from `sim calibrate --out`; left out, they are measured now
    #[arg(long)]
    pub rates: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ScheduleArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Write a picture
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write a trace for Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SweepArgs {
    /// A preset's name, a config.json or a model folder
    pub model: String,
    /// GPUs, such as h800x2048
    #[arg(long)]
    pub cluster: String,
    /// Sequences in a step
    #[arg(long)]
    pub global_batch: usize,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 4096)]
    pub seq: usize,
    /// Format in which linear layers multiply
    #[arg(long, value_enum, default_value = "bf16")]
    pub precision: PrecisionName,
    /// Price of a GPU-hour in USD
    #[arg(long, default_value_t = 2.0, allow_negative_numbers = true, value_parser = price)]
    pub gpu_hour_usd: f64,
    /// Plans to show
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CostArgs {
    #[command(subcommand)]
    pub command: Option<CostCommand>,
    /// Whose bill: deepseek-v3-r1, llama-3.1-405b and others; several are set side by side
    #[arg(long, default_value = "deepseek-v3-r1")]
    pub subject: Vec<String>,
    /// A position of the debate by the items that it counts: report, epoch, semianalysis, lambert, amodei, olmo-share, owner, everything
    #[arg(long, default_value = "report")]
    pub preset: String,
    /// Items to count instead of a preset
    #[arg(long, value_delimiter = ',', conflicts_with = "preset")]
    pub items: Vec<String>,
    /// A price, such as gpu_hour_usd=3 or gpu_hour_usd=1.5:2:4 (low, middle, high)
    #[arg(long, value_name = "NAME=USD")]
    pub price: Vec<String>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum CostCommand {
    /// Every position of the debate beside what its items come to
    #[command(after_help = "Example: reseek cost positions")]
    Positions(JsonArgs),
    /// A page with dials for prices, rates and failures, served on this machine only
    #[command(after_help = "Example: reseek cost serve --port 8671")]
    Serve {
        /// 0 takes a free one
        #[arg(long, default_value_t = 8671)]
        port: u16,
    },
}

#[derive(Subcommand)]
pub enum ClaimsCommand {
    /// All claims with their class
    #[command(after_help = "Example: reseek claims list --json")]
    List(JsonArgs),
    /// Check what arithmetic and simulation can check; a single one that fails ends with exit code 1
    #[command(after_help = "Example: reseek claims verify\n         reseek claims verify v3-total-params --json")]
    Verify {
        /// One claim; all if left out
        id: Option<String>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// One claim: what is said, where, how it is checked
    #[command(after_help = "Example: reseek claims show v3-total-params")]
    Show {
        /// Its id, as `reseek claims list` prints it
        id: String,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// A price of a GPU-hour, in USD. Bounded, so that sums of money stay numbers.
fn price(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(usd) if usd > 0.0 && usd <= 1e6 => Ok(usd),
        _ => Err("give a positive price, up to a million. DeepSeek assumes 2.".to_string()),
    }
}
