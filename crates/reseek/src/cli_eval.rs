//! `reseek eval` (stage 7 of a run, or any model on a task), `reseek sft`, `reseek rl`, `reseek sample` and `reseek why`.

use std::path::PathBuf;

use clap::Args;
use reseek_tensor::compute::Compute;

use crate::cli::{RunArgs, count, count_from_1, count_to_4096};

#[derive(Args)]
pub struct EvalArgs {
    /// Measure these instead of a run's models: each a folder, a GGUF file or hf://org/name; later ones are held against the first
    #[arg(value_name = "MODEL", requires = "task", conflicts_with_all = ["scale", "recipe", "set", "redo"])]
    pub models: Vec<PathBuf>,
    /// On what: names of tasks divided by commas, or a TOML file of your own
    #[arg(long, value_delimiter = ',', requires = "models")]
    pub task: Vec<String>,
    /// Samples of a problem [default: the task's]
    #[arg(long, value_parser = count_to_4096, requires = "models")]
    pub k: Option<usize>,
    /// The first problems alone [default: all]
    #[arg(long, value_parser = count_to_4096, requires = "models")]
    pub limit: Option<usize>,
    /// 0 takes the most likely token [default: the task's]
    #[arg(long, requires = "models", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Only the most likely tokens that together reach this probability [default: the task's]
    #[arg(long, requires = "models", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Tokens of an answer at most [default: the task's]
    #[arg(long, value_parser = count, requires = "models")]
    pub max_new_tokens: Option<usize>,
    /// Where answers are looked for, several divided by commas: tags, hashes or last_number [default: the task's]
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "models")]
    pub extract: Vec<String>,
    /// Format in which products multiply: f32, bf16 or fp8 [default: f32; a GGUF file's own blocks]
    #[arg(long, requires = "models")]
    pub dtype: Option<Compute>,
    /// Print a task as a file to change
    #[arg(long, value_name = "NAME", conflicts_with_all = ["models", "task"])]
    pub show_task: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Args)]
pub struct RlArgs {
    /// The model to train: a folder, a GGUF file or hf://org/name
    #[arg(long, value_name = "MODEL", required_unless_present = "show_recipe")]
    pub model: Option<PathBuf>,
    /// Folder with problems, whose files called train and test keep their sides [default: problems that the recipe has generated]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR", required_unless_present = "show_recipe")]
    pub out: Option<PathBuf>,
    /// zero-arithmetic or zero-gsm8k, and TOML files that are laid over it from left to right [default: zero-arithmetic]
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: Vec<String>,
    /// One setting, such as rl.steps=40; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the recipe instead, every setting and its value
    #[arg(long)]
    pub show_recipe: bool,
    /// Seed of every random stream [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct WhyArgs {
    /// The folder of a run of `reseek rl`
    pub run: PathBuf,
    /// The step, from 0 [default: the last]
    #[arg(long, value_parser = count)]
    pub step: Option<usize>,
    /// Groups that are shown [default: 4]
    #[arg(long, value_parser = count)]
    pub groups: Option<usize>,
    /// Answer in JSON: the step's figures, sentences and all groups
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SftArgs {
    /// The model to train: a folder, a GGUF file or hf://org/name
    #[arg(long, value_name = "MODEL", required_unless_present = "show_recipe")]
    pub model: Option<PathBuf>,
    /// A file of JSON lines, each with messages or with a question and an answer
    #[arg(long, value_name = "FILE", required_unless_present = "show_recipe")]
    pub data: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR", required_unless_present = "show_recipe")]
    pub out: Option<PathBuf>,
    /// TOML files that are laid over the recipe from left to right
    #[arg(long, value_name = "FILE")]
    pub recipe: Vec<PathBuf>,
    /// One setting, such as sft.epochs=3; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the recipe instead, every setting and its value
    #[arg(long)]
    pub show_recipe: bool,
    /// Count lines that cannot be read and go on without them
    #[arg(long)]
    pub skip_bad: bool,
    /// Seed of every random stream [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct SampleArgs {
    /// The model that answers: a folder, a GGUF file or hf://org/name
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Folder with problems, of which those to train on are asked [default: problems that the recipe has generated]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Folder of the samples, of traces.jsonl for `reseek sft` and problems.jsonl for `reseek rl`
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// As of `reseek rl`: how the model is asked, and in [eval] how often and at which temperature [default: zero-arithmetic]
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: Vec<String>,
    /// One setting, such as eval.k=8; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Problems that are asked, at most
    #[arg(long, default_value_t = 1000, value_parser = count_from_1)]
    pub questions: usize,
    /// Different right answers of a problem that are kept, at most
    #[arg(long, default_value_t = 4, value_parser = count_from_1)]
    pub keep: usize,
    /// Least share of right answers of a problem that is kept as one to learn from
    #[arg(long, default_value_t = 0.1)]
    pub low: f64,
    /// Greatest share
    #[arg(long, default_value_t = 0.9)]
    pub high: f64,
    /// Seed of every random stream [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}
