//! `cargo xtask compare PYTHON SCRIPTS MODELS [ROUNDS [JOB]]`: `reseek bench` and its peers in turn on this machine, as the table of
//! BENCHMARKS.md; with JOB, such as "grpo", the rows alone whose name begins so. The peers are other people's programs and no part of the project: SCRIPTS is a folder with train_gpt.py, train_v3.py,
//! generate_hf.py, decode_llama_cpp.py and grpo_trl.py, each of which prints a line of JSON (others lie in xtask/peers); MODELS holds `v3`,
//! the small V3 of train_v3.py as a checkpoint folder, `smollm2.gguf`, `smollm2`, the same dequantised with its tokenizer as a
//! checkpoint folder (`reseek convert`), and `qwen2.5.gguf`, Qwen2.5-Coder-0.5B-Instruct in Q4_K_M.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A job with its peer.
struct Job {
    name: &'static str,
    peer: &'static str,
    /// Of `reseek bench`; MODELS stands for the folder of the models.
    ours: &'static str,
    /// Script and arguments of the peer.
    theirs: &'static str,
    /// What both print: ours, the peer's.
    rates: [&'static str; 2],
    /// Ratio that the project asks of itself.
    at_least: f64,
}

const PROGRAM: &str = "target/release/reseek";
const TOKENS: [&str; 2] = ["tokens_per_s", "tokens_per_s"];

/// Scripts of our own, beside those that the caller names.
const OWN: &str = "xtask/peers";

const JOBS: [Job; 9] = [
    Job {
        name: "train-gpt: width 256, 6 layers, 16 × 256 tokens",
        peer: "PyTorch bf16, torch.compile",
        ours: "train-gpt",
        theirs: "train_gpt.py --mode compile --dtype bf16",
        rates: TOKENS,
        at_least: 1.4,
    },
    Job {
        name: "train-v3: MLA, 16 experts of which 4, 16 × 256 tokens",
        peer: "transformers bf16, grouped experts",
        ours: "train-v3",
        theirs: "train_v3.py --dtype bf16 --experts-implementation grouped_mm --steps 3",
        rates: TOKENS,
        at_least: 3.0,
    },
    Job {
        name: "generate: the same V3, 32 sequences, 32 + 64 tokens",
        peer: "transformers.generate bf16",
        ours: "generate",
        theirs: "generate_hf.py MODELS/v3 --dtype bf16 --new 64",
        rates: TOKENS,
        at_least: 15.0,
    },
    Job {
        name: "decode: SmolLM2-135M Q4_1, one sequence, 145 + 128 tokens",
        peer: "llama.cpp, the same file, 2 threads",
        ours: "decode --model MODELS/smollm2.gguf",
        theirs: "decode_llama_cpp.py MODELS/smollm2.gguf",
        rates: ["tokens_per_s", "decode_tokens_per_s"],
        at_least: 1.0,
    },
    Job {
        name: "generate: SmolLM2-135M in bf16, 32 sequences, 32 + 64 tokens",
        peer: "transformers.generate bf16",
        ours: "generate --model MODELS/smollm2.gguf",
        theirs: "generate_hf.py MODELS/smollm2 --dtype bf16 --new 64 --runs 1",
        rates: TOKENS,
        at_least: 4.0,
    },
    Job {
        name: "decode: SmolLM2-135M Q4_1, 32 sequences, each 32 + 64 tokens, prompts in the rate",
        peer: "llama.cpp, the same file, 32 slots, 2 threads",
        ours: "decode --batch 32 --model MODELS/smollm2.gguf",
        theirs: "xtask/peers/sample_llama_cpp.py MODELS/smollm2.gguf",
        rates: TOKENS,
        at_least: 1.0,
    },
    Job {
        name: "decode: Qwen2.5-Coder-0.5B Q4_K_M, one sequence, 145 + 128 tokens",
        peer: "llama.cpp, the same file, 2 threads",
        ours: "decode --model MODELS/qwen2.5.gguf",
        theirs: "decode_llama_cpp.py MODELS/qwen2.5.gguf",
        rates: ["tokens_per_s", "decode_tokens_per_s"],
        at_least: 1.0,
    },
    Job {
        name: "decode: Qwen2.5-Coder-0.5B Q4_K_M, 32 sequences, each 32 + 64 tokens, prompts in the rate",
        peer: "llama.cpp, the same file, 32 slots, 2 threads",
        ours: "decode --batch 32 --model MODELS/qwen2.5.gguf",
        theirs: "xtask/peers/sample_llama_cpp.py MODELS/qwen2.5.gguf --runs 3",
        rates: TOKENS,
        at_least: 1.0,
    },
    Job {
        name: "grpo: SmolLM2-135M in bf16, 4 × 8 completions of 64 tokens each, f32 moments",
        peer: "TRL GRPOTrainer bf16",
        ours: "grpo --model MODELS/smollm2",
        // Left to end where they like, nearly all completions end at once after the first update.
        theirs: "grpo_trl.py MODELS/smollm2 --bf16 --steps 2 --new 64 --min-new 64",
        rates: ["completions_per_s", "completions_per_s"],
        at_least: 4.0,
    },
];

/// One side's figures in all rounds.
#[derive(Default)]
struct Readings {
    rate: Vec<f64>,
    rss_mib: Vec<f64>,
}

/// Runs `rounds` rounds of the jobs whose name begins with `only` and gives the table.
pub fn compare(
    python: &str,
    scripts: &Path,
    models: &str,
    rounds: usize,
    only: Option<&str>,
) -> Result<String, String> {
    let jobs: Vec<&Job> = JOBS.iter().filter(|job| job.name.starts_with(only.unwrap_or_default())).collect();
    if jobs.is_empty() {
        let names: Vec<&str> = JOBS.iter().map(|job| job.name).collect();
        return Err(format!("no job begins with {:?}. There are: {}", only.unwrap_or_default(), names.join("; ")));
    }
    let words =
        |command: &str| -> Vec<String> { command.split(' ').map(|word| word.replace("MODELS", models)).collect() };
    let mut readings: Vec<(Readings, Readings)> = jobs.iter().map(|_| Default::default()).collect();
    for round in 1..=rounds {
        for (job, (ours, theirs)) in jobs.iter().zip(&mut readings) {
            eprintln!("round {round} of {rounds}: {}", job.name);
            let line = line_of(Command::new(PROGRAM).arg("bench").args(words(job.ours)).arg("--json"))?;
            ours.take(&line, job.rates[0])?;
            let peer = words(job.theirs);
            let peer_script = script(scripts, &peer[0]);
            let line =
                line_of(Command::new(python).arg(format!("{OWN}/with_rss.py")).arg(peer_script).args(&peer[1..]))?;
            theirs.take(&line, job.rates[1])?;
        }
    }
    let mut table = String::from(
        "| job | peer | rate, median | peer's, median | ratio: median (all) | asked | memory against the peer's |\n|---|---|---|---|---|---|---|\n",
    );
    for (job, (ours, theirs)) in jobs.iter().zip(&readings) {
        let ratios: Vec<f64> = ours.rate.iter().zip(&theirs.rate).map(|(a, b)| a / b).collect();
        let memory = match theirs.rss_mib.is_empty() {
            true => "–".to_string(),
            false => format!("{:.2}", median(&ours.rss_mib) / median(&theirs.rss_mib)),
        };
        table += &format!(
            "| {} | {} | {} | {} | {} | {} | {memory} |\n",
            job.name,
            job.peer,
            figure(median(&ours.rate)),
            figure(median(&theirs.rate)),
            with_all(&ratios),
            job.at_least
        );
    }
    if only.is_none() {
        table += &products(python, rounds)?;
    }
    Ok(table)
}

/// A script of ours by its path, any other in the caller's folder.
fn script(scripts: &Path, name: &str) -> PathBuf {
    if name.starts_with(OWN) { PathBuf::from(name) } else { scripts.join(name) }
}

/// Products beside PyTorch's, in both formats: a second table.
fn products(python: &str, rounds: usize) -> Result<String, String> {
    const SUFFIX: &str = "_gflops";
    let mut table =
        "\n| rows x k x columns | format | GFLOP/s, median | PyTorch's, median | ratio: median (all) |\n|---|---|---|---|---|\n"
            .to_string();
    for dtype in ["f32", "bf16"] {
        let mut shapes: Vec<(String, Vec<[f64; 2]>)> = Vec::new();
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}: products in {dtype}");
            let ours = line_of(Command::new(PROGRAM).args(["bench", "matmul", "--json", "--dtype", dtype]))?;
            if shapes.is_empty() {
                let keys = ours.as_object().into_iter().flat_map(|fields| fields.keys());
                let names = keys.filter_map(|key| key.strip_suffix(SUFFIX)).filter(|name| name.contains('x'));
                shapes = names.map(|name| (name.to_string(), Vec::new())).collect();
            }
            let names = shapes.iter().map(|(name, _)| name);
            let theirs = format!("{OWN}/matmul_torch.py");
            let theirs = line_of(Command::new(python).arg(theirs).args(["--dtype", dtype]).args(names))?;
            for (name, rates) in &mut shapes {
                let rate =
                    |line: &Value| line[format!("{name}{SUFFIX}")].as_f64().ok_or(format!("no {name} in {line}"));
                rates.push([rate(&ours)?, rate(&theirs)?]);
            }
        }
        for (name, rates) in shapes {
            let side = |i: usize| median(&rates.iter().map(|pair| pair[i]).collect::<Vec<_>>());
            let ratios: Vec<f64> = rates.iter().map(|[ours, theirs]| ours / theirs).collect();
            table += &format!("| {name} | {dtype} | {:.0} | {:.0} | {} |\n", side(0), side(1), with_all(&ratios));
        }
    }
    Ok(table)
}

/// The median of ratios, and all of them.
fn with_all(ratios: &[f64]) -> String {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all: Vec<String> = sorted.iter().map(|ratio| format!("{ratio:.2}")).collect();
    format!("{:.2} ({})", median(&sorted), all.join(", "))
}

impl Readings {
    fn take(&mut self, line: &Value, key: &str) -> Result<(), String> {
        let rate = line[key].as_f64().ok_or_else(|| format!("no {key} in {line}"))?;
        self.rate.push(rate);
        self.rss_mib.extend(line["rss_mib"].as_f64());
        Ok(())
    }
}

/// Three digits.
fn figure(x: f64) -> String {
    if x < 10.0 { format!("{x:.2}") } else { format!("{x:.0}") }
}

/// The middle value, or the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]),
    }
}

/// The last line that the command prints, which must be JSON.
fn line_of(command: &mut Command) -> Result<Value, String> {
    let out = command.output().map_err(|error| format!("{command:?}: {error}. Build with --release first."))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| {
        let complaint = String::from_utf8_lossy(&out.stderr);
        format!("{command:?} printed no JSON ({error}): {}", complaint.lines().last().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_do_the_same_work() {
        let of = |word: &str| JOBS.iter().find(|job| job.name.starts_with(word)).unwrap();
        // All completions equally long: ours have 64 tokens, so the peer's may not end before.
        let grpo = of("grpo");
        assert!(
            grpo.theirs.contains("--new 64 --min-new 64") && grpo.name.contains("64 tokens each"),
            "{}",
            grpo.theirs
        );
        let many = JOBS.iter().find(|job| job.ours.contains("decode --batch")).unwrap();
        let script = include_str!("../peers/sample_llama_cpp.py");
        // One clock around all requests, prompts included, and no prompt from a cache.
        assert!(many.theirs.contains("sample_llama_cpp.py") && script.contains("\"cache_prompt\": False"));
        assert!(script.contains("time.perf_counter()") && !script.contains("predicted_ms"));
    }

    #[test]
    fn a_job_that_there_is_not_is_refused_with_those_that_there_are() {
        let error = compare("python", Path::new("."), "models", 1, Some("gpro")).unwrap_err();
        assert!(error.contains("\"gpro\"") && error.contains("grpo: SmolLM2"), "{error}");
    }

    #[test]
    fn figures_are_medians() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(with_all(&[3.0, 1.0, 2.0]), "2.00 (1.00, 2.00, 3.00)");
    }
}
