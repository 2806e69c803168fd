//! The commands and their options.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use reseek_spec::{Scale, stages};
use reseek_tensor::compute::Compute;

use crate::cli_eval::{EvalArgs, RlArgs, SampleArgs, SftArgs, WhyArgs};
use crate::cli_full_scale::{ClaimsCommand, CostArgs, SimCommand};
use crate::cli_runs::RunsCommand;
use crate::cli_stages::StageCommand;

/// From raw text to a reasoning model, the way DeepSeek made V3 and R1.
#[derive(Parser)]
#[command(name = "reseek", version, about, after_help = "Example: reseek replicate --scale smoke --out runs/first")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// The whole chain: tokenizer, pretrain, extend, zero, r1, distil, eval, report
    #[command(
        after_help = "Example: reseek replicate --seed 2 --out runs/second\n\nThe same command again continues a run that was stopped, and skips what is done."
    )]
    Replicate(RunArgs),
    #[command(flatten)]
    Stage(StageCommand),
    /// Stage 7: ask every model of the run held-out problems, several times each; or with MODEL, measure any model on a task
    #[command(
        after_help = "Examples: reseek eval --out runs/nano --set eval.k=8 --redo\n          reseek eval --show-task gsm8k"
    )]
    Eval(EvalArgs),
    /// Stage 8: the report page, report/index.html, and summary.json
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples: reseek report --out runs/nano\n          reseek report --out runs/nano --beside runs/nano-f32\n          reseek report sim --out runs/sim"
    )]
    Report(ReportArgs),
    /// Fine-tune a model of anyone's on conversations: a cold start, a distillation
    #[command(after_help = "Example: reseek sft --show-recipe")]
    Sft(SftArgs),
    /// R1-Zero on a model of anyone's: reinforcement learning with rewards by rule alone
    #[command(after_help = "Examples: reseek rl --show-recipe --recipe zero-gsm8k")]
    Rl(RlArgs),
    /// A model's right answers to problems, to fine-tune on (rejection sampling), and the problems that it solves sometimes
    Sample(SampleArgs),
    /// What a step of `reseek rl` saw and did: its figures in sentences, its groups with answers, rewards and advantages
    Why(WhyArgs),
    /// The runs that there are, two of them beside each other, and copies
    #[command(subcommand, after_help = "Example: reseek runs copy runs/first runs/longer")]
    Runs(RunsCommand),
    /// Show the recipe of a scale (a run has its own in config.toml): every setting and its value; --explain says what each is
    #[command(
        after_help = "Examples: reseek config --scale micro --set zero.steps=40\n          reseek config zero > zero.toml; reseek zero --recipe zero.toml\n          reseek config --explain zero.lr\n          reseek config --explain learning_rate"
    )]
    Config(ShowArgs),
    /// Count a model: parameters, operations a token, bytes of cache
    #[command(after_help = "Example: reseek params v3-671b --json")]
    Params(ParamsArgs),
    /// What a full-scale run takes: step time, memory, hours, money
    #[command(subcommand, after_help = "Example: reseek sim run v3-671b --cluster h800x2048 --recipe v3")]
    Sim(SimCommand),
    /// What training a model cost, item by item, and what published estimates count
    #[command(
        after_help = "Examples: reseek cost\n          reseek cost --preset everything --price gpu_hour_usd=1.5:2:4\n          reseek cost --subject deepseek-v3-r1 --subject llama-3.1-405b"
    )]
    Cost(CostArgs),
    /// What DeepSeek's reports claim, one by one, and what checking them found
    #[command(subcommand, after_help = "Example: reseek claims verify")]
    Claims(ClaimsCommand),
    /// Log-probabilities of a text's tokens under a model
    #[command(after_help = "Example: reseek score runs/nano/r1 --text 'Add 2 and 3.' --json")]
    Score(ScoreArgs),
    /// Complete a prompt
    #[command(after_help = "Example: reseek generate runs/nano/extend 'It is a truth' --max-new-tokens 40")]
    Generate(GenerateArgs),
    /// What a model is: family, shapes, formats, tokenizer, template, and what is odd about it
    #[command(after_help = "Examples: reseek inspect runs/nano/r1\n          reseek inspect model.gguf --tensors")]
    Inspect(InspectArgs),
    /// Write a model in another form: a Hugging Face folder, DeepSeek's FP8 form, or GGUF
    #[command(
        after_help = "Examples: reseek convert runs/nano/r1 r1.gguf --dtype q8_0\n          reseek convert model.gguf folder --dtype bf16\n\nTO is a GGUF file where its name ends in .gguf, else a folder. What is there already is not touched."
    )]
    Convert(ConvertArgs),
    /// Talk to a model
    #[command(
        after_help = "Example: reseek chat runs/nano/r1\n         echo 'Is 135 divisible by 5?' | reseek chat runs/nano/r1"
    )]
    Chat(ChatArgs),
    /// Measure this machine and the model's speed on it
    #[command(after_help = "Example: reseek bench train-v3 --json")]
    Bench(BenchArgs),
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Folder of the run [default: runs/ and the scale, such as runs/nano]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of every random stream [default: the run's; 1 for a new one]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Train on the text and problems of this folder, whose files called train and test keep their sides [default: the run's; the embedded
    /// ones for a new one]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Make finished stages anew where settings differ from the run's; an old stage stays until its new one is complete
    #[arg(long)]
    pub redo: bool,
    /// Begin even what is predicted to take more than an hour
    #[arg(long)]
    pub yes: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct ReportArgs {
    #[command(subcommand)]
    pub about: Option<ReportAbout>,
    /// Another run whose curves are drawn over the same axes, such as one in f32
    #[arg(long, value_name = "DIR")]
    pub beside: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Subcommand)]
pub enum ReportAbout {
    /// The page about full-scale runs: V3's and R1's time and money, the bill, the ledger
    #[command(after_help = "Example: reseek report sim --out runs/sim")]
    Sim {
        /// Folder of the page
        #[arg(long, value_name = "DIR", default_value = "runs/sim")]
        out: PathBuf,
        /// Answer in JSON: the files' paths
        #[arg(long)]
        json: bool,
        /// No progress
        #[arg(short, long)]
        quiet: bool,
    },
}

#[derive(Args)]
pub struct ConfigArgs {
    /// Size of everything: smoke (seconds), nano (minutes), micro (an evening) or mini (a night) on two cores [default: that of the run that the command goes on with; nano without one]
    #[arg(long, value_parser = parse_scale)]
    pub scale: Option<Scale>,
    /// A TOML file laid over the scale's recipe; several are laid from left to right
    #[arg(long, value_name = "FILE")]
    pub recipe: Vec<PathBuf>,
    /// One setting, such as zero.steps=40; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ShowArgs {
    /// Only this part, as a recipe file of its own
    #[arg(value_parser = PossibleValuesParser::new(sections()))]
    pub section: Option<String>,
    /// How many problems each family can ask, beside how many the run draws
    #[arg(long, conflicts_with = "section")]
    pub families: bool,
    /// Say what every key is, its unit, the papers' value and its source; or only of this key, or of one that another library calls so
    #[arg(long, value_name = "KEY", num_args = 0..=1, default_missing_value = "", conflicts_with = "json")]
    pub explain: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Args)]
pub struct ParamsArgs {
    /// A preset's name, a config.json or a model folder
    pub model: String,
    /// Sequence length for operations a token; 8K is 8,000
    #[arg(long, default_value_t = 4096, value_parser = count)]
    pub seq: usize,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ScoreArgs {
    /// A model: a folder, a GGUF file or hf://org/name
    pub model: PathBuf,
    /// The text; the model's tokenizer puts its begin token before it, if it is one that does. Spellings of control tokens in it stay text
    #[arg(long, required_unless_present = "tokens")]
    pub text: Option<String>,
    /// Token ids instead of text, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with = "text")]
    pub tokens: Vec<u32>,
    /// Format in which products multiply: f32, bf16 or fp8 [default: f32; a GGUF file's own blocks]
    #[arg(long)]
    pub dtype: Option<Compute>,
    /// Answer in JSON: tokens and logprobs, the first of which is null
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SamplingArgs {
    /// 0 takes the most likely token [default: the model's generation_config.json, else 0.6]
    #[arg(long, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Only the k most likely tokens; 0 for all [default: the model's generation_config.json, else 0]
    #[arg(long, value_parser = count)]
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together reach this probability [default: the model's generation_config.json, else 0.95]
    #[arg(long, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Tokens of an answer at most; the model's context ends it too
    #[arg(long, default_value_t = 256, value_parser = count)]
    pub max_new_tokens: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Format in which products multiply: f32, bf16 or fp8 [default: f32; a GGUF file's own blocks]
    #[arg(long)]
    pub dtype: Option<Compute>,
}

#[derive(Args)]
pub struct GenerateArgs {
    /// A model: a folder, a GGUF file or hf://org/name
    pub model: PathBuf,
    /// The text to go on from; the model's tokenizer puts its begin token before it, if it is one that does. Spellings of control tokens in
    /// it stay text
    #[arg(value_name = "PROMPT", required_unless_present = "prompt")]
    pub text: Option<String>,
    /// The same, by name
    #[arg(long, value_name = "PROMPT", conflicts_with = "text")]
    pub prompt: Option<String>,
    /// Completions to sample
    #[arg(short, default_value_t = 1, value_parser = count_to_4096)]
    pub n: usize,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct InspectArgs {
    /// A model: a folder, a GGUF file or hf://org/name
    pub model: PathBuf,
    /// Every tensor with its shape and format too
    #[arg(long)]
    pub tensors: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ConvertArgs {
    /// A model: a folder, a GGUF file or hf://org/name
    #[arg(value_name = "FROM")]
    pub from: PathBuf,
    /// The new file or folder
    #[arg(value_name = "TO")]
    pub to: PathBuf,
    /// Format of the matrices: f32, bf16 or fp8 (DeepSeek's) in a folder, f32, f16, bf16, q8_0, q4_0 or q4_k in a GGUF file [default: the
    /// smallest of these without a loss; from GGUF to GGUF the file's own]
    #[arg(long)]
    pub dtype: Option<StoredAs>,
    /// Bytes of a file of weights at most, in a folder; 5G is 5,000,000,000
    #[arg(long, value_parser = count_from_1, default_value = "5G")]
    pub shard_size: usize,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// A format that weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum StoredAs {
    F32,
    F16,
    Bf16,
    Fp8,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
}

impl std::fmt::Display for StoredAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no format is hidden").get_name())
    }
}

#[derive(Args)]
pub struct ChatArgs {
    /// A model: a folder, a GGUF file or hf://org/name
    pub model: PathBuf,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// One JSON object an answer
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct BenchArgs {
    /// What to measure; everything if nothing is named
    #[arg(value_parser = ["peak", "matmul", "quantised", "train-gpt", "train-v3", "scaling", "generate", "decode", "grpo", "fp8", "sim"])]
    pub name: Option<String>,
    /// Format in which products multiply: f32, bf16 or fp8 [default: bf16 where the processor has it]
    #[arg(long)]
    pub dtype: Option<Compute>,
    /// For generate, decode and grpo: a model folder or a GGUF file [default: the peer's shape with random values]
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// For train-v3 and train-gpt: the model or student of this scale and its batch [default: the peer's shape]
    #[arg(long, value_parser = parse_scale)]
    pub scale: Option<Scale>,
    /// For decode: sequences at once [default: 1]
    #[arg(long, value_parser = count_to_4096)]
    pub batch: Option<usize>,
    /// Record one more training step or sampling call and show where its time goes, by op
    #[arg(long)]
    pub profile: bool,
    /// Write that recording as a trace that Perfetto opens
    #[arg(long, value_name = "FILE", requires = "name")]
    pub trace: Option<PathBuf>,
    /// Answer in JSON, a line for each
    #[arg(long)]
    pub json: bool,
}

/// The parts of a recipe: the problems, and what each command sets of its stages.
pub fn sections() -> Vec<&'static str> {
    [vec!["tasks"], stages::commands()].concat()
}

fn parse_scale(text: &str) -> Result<Scale, String> {
    Scale::ALL.into_iter().find(|scale| scale.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Scale::ALL.into_iter().map(Scale::name).collect();
        format!("there are {}", names.join(", "))
    })
}

/// The parser of every count on the command line.
pub fn count(text: &str) -> Result<usize, String> {
    let count = reseek_spec::parse_count(text)?;
    usize::try_from(count).map_err(|_| format!("{count} is more than this machine can count"))
}

pub fn count_from_1(text: &str) -> Result<usize, String> {
    match count(text)? {
        0 => Err("0 is nothing".to_owned()),
        n => Ok(n),
    }
}

pub fn count_to_4096(text: &str) -> Result<usize, String> {
    match count(text)? {
        n @ 1..=4096 => Ok(n),
        n => Err(format!("{n} is not in 1..=4096")),
    }
}
