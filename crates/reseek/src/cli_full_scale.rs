//! Options of the commands about full-scale runs.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use reseek_sim::bill::DEEPSEEK;
use reseek_sim::choice::Choice;
use reseek_sim::recipe::Recipe;
use reseek_sim::{Kernels, Precision, Recompute};
use reseek_tensor::compute::Compute;

use crate::cli::count;

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
    /// The chain of `reseek replicate` on this machine: how long each stage takes
    #[command(after_help = "Example: reseek sim laptop v3-nano --json")]
    Laptop(LaptopArgs),
    /// Measure this machine's rates in a second or two, for `reseek sim laptop v3-nano --rates FILE`
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

#[derive(Args)]
pub struct PlanArgs {
    /// A preset's name, a config.json or a model folder
    pub model: String,
    /// GPUs, such as h800x2048; h100, h800, h200, a100-80, a100-40, b200, gb200, gb300
    #[arg(long)]
    pub cluster: String,
    /// Start from a published plan; options below change it
    #[arg(long, value_parser = choice::<Recipe>())]
    pub recipe: Option<Recipe>,
    /// Tensor parallelism
    #[arg(long, value_parser = count)]
    pub tp: Option<usize>,
    /// Pipeline parallelism
    #[arg(long, value_parser = count)]
    pub pp: Option<usize>,
    /// Expert parallelism
    #[arg(long, value_parser = count)]
    pub ep: Option<usize>,
    /// Data parallelism; left out, it fills the cluster
    #[arg(long, value_parser = count)]
    pub dp: Option<usize>,
    /// Context parallelism
    #[arg(long, value_parser = count)]
    pub cp: Option<usize>,
    /// Sequences in a micro-batch
    #[arg(long, value_parser = count)]
    pub micro_batch: Option<usize>,
    /// Sequences in a step; left out, eight micro-batches a pipeline stage
    #[arg(long, value_parser = count)]
    pub global_batch: Option<usize>,
    /// Tokens in a sequence; 8K is 8,000
    #[arg(long, value_parser = count)]
    pub seq: Option<usize>,
    /// Chunks of the model a rank, in interleaved 1F1B
    #[arg(long, value_parser = count)]
    pub interleave: Option<usize>,
    /// 1f1b, interleaved, zb1p, dualpipe or dualpipev
    #[arg(long)]
    pub schedule: Option<String>,
    /// Activations that the backward pass computes again instead of finding them kept
    #[arg(long, value_parser = choice::<Recompute>())]
    pub recompute: Option<Recompute>,
    /// Format in which linear layers multiply
    #[arg(long, value_parser = choice::<Precision>())]
    pub precision: Option<Precision>,
    /// Generation of attention and element-wise kernels
    #[arg(long, value_parser = choice::<Kernels>())]
    pub kernels: Option<Kernels>,
    /// ZeRO stage
    #[arg(long)]
    pub zero: Option<u8>,
    /// Multiprocessors that all-to-alls hold; 20 with experts on several ranks
    #[arg(long)]
    pub comm_sms: Option<u32>,
    /// Domains (nodes) that a token's experts lie in, at most
    #[arg(long, value_parser = count)]
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
pub struct LaptopArgs {
    /// The model of a run: v3-smoke, v3-nano and up the ladder
    pub model: String,
    /// Rates from `reseek sim calibrate --out FILE`; left out, they are measured now
    #[arg(long, value_name = "FILE")]
    pub rates: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SimRunArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Tokens of pre-training, such as 1T, 14.8e12 or 2_000_000 [default: V3's 14.8T, and the answer says so]
    #[arg(long, value_parser = reseek_spec::parse_count, allow_negative_numbers = true)]
    pub tokens: Option<u64>,
    /// The price of a GPU-hour [default: gpu_hour_usd=2]
    #[arg(long, value_name = "gpu_hour_usd=USD", value_parser = price)]
    pub price: Option<f64>,
    /// Draws behind the intervals, 40 to 100000; 0 for none [default: 400]
    #[arg(long, value_parser = count)]
    pub draws: Option<usize>,
    /// Seed of the draws [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
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
    #[arg(long, value_parser = count)]
    pub global_batch: usize,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 4096, value_parser = count)]
    pub seq: usize,
    /// Format in which linear layers multiply
    #[arg(long, value_parser = choice::<Precision>(), default_value = "bf16")]
    pub precision: Precision,
    /// The price of a GPU-hour [default: gpu_hour_usd=2]
    #[arg(long, value_name = "gpu_hour_usd=USD", value_parser = price)]
    pub price: Option<f64>,
    /// Plans to show
    #[arg(long, default_value_t = 10, value_parser = count)]
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
    #[arg(long, default_value = DEEPSEEK)]
    pub subject: Vec<String>,
    /// The items that a published estimate counts, by its author: report (DeepSeek's own), epoch, semianalysis, lambert, amodei, olmo-share, owner, everything
    /// [default: report for deepseek-v3-r1, all items for others]
    #[arg(long)]
    pub preset: Option<String>,
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
    /// Every published estimate beside what its items come to
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
    /// Check what arithmetic and simulation can check, or with --run what a run answers; exit code 1 if the claim that is named fails
    #[command(
        after_help = "Examples: reseek claims verify\n          reseek claims verify v3-total-params --json\n          \
        reseek claims verify --run runs/nano\n          reseek claims verify r1-majority --run runs/nano"
    )]
    Verify {
        /// One claim; all if left out
        id: Option<String>,
        /// Runs whose summaries answer, one a seed; with no claim named, all claims that a run answers
        #[arg(long, value_name = "DIR")]
        run: Vec<PathBuf>,
        /// A second run with one setting changed, for a claim about that setting
        #[arg(long, value_name = "DIR", requires = "run", requires = "id")]
        beside: Option<PathBuf>,
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

/// Reads a setting by the names of its values, which help explains one by one.
fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    let values = T::VALUES.iter().map(|(_, name, meaning)| PossibleValue::new(*name).help(*meaning));
    PossibleValuesParser::new(values).map(|name| T::named(&name).expect("only names of values get here"))
}

/// `gpu_hour_usd=2`: the one price that a simulation has, by the name that it has in a bill. Bounded, so that sums of money stay numbers.
fn price(text: &str) -> Result<f64, String> {
    const EXAMPLE: &str = "Write --price gpu_hour_usd=2, which is what DeepSeek assumes.";
    let Some((name, usd)) = text.split_once('=') else {
        return Err(format!("a price has a name. {EXAMPLE}"));
    };
    if name.trim() != GPU_HOUR {
        return Err(format!("a simulation has one price, {GPU_HOUR}, and \"{}\" is another. {EXAMPLE}", name.trim()));
    }
    match usd.trim().parse() {
        Ok(usd) if usd > 0.0 && usd <= 1e6 => Ok(usd),
        _ => Err(format!("it must be one positive price, up to a million. {EXAMPLE}")),
    }
}

/// Name of the price of a GPU-hour, in simulations and in bills.
const GPU_HOUR: &str = "gpu_hour_usd";
