//! `cargo xtask compare PYTHON SCRIPTS CHECKPOINT [ROUNDS]`: `reseek bench` and its peers in turn on this machine, as the table of
//! BENCHMARKS.md. The peers are other people's programs and no part of the project: SCRIPTS is a folder with train_gpt.py, train_v3.py and
//! generate_hf.py, each of which prints a line of JSON with `tokens_per_s`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A job with its peer.
struct Job {
    name: &'static str,
    peer: &'static str,
    /// Script and arguments; CHECKPOINT stands for the folder of the small V3.
    script: &'static [&'static str],
    /// Ratio that the project asks of itself.
    at_least: f64,
}

const JOBS: [Job; 3] = [
    Job {
        name: "train-gpt",
        peer: "PyTorch bf16, torch.compile",
        script: &["train_gpt.py", "--mode", "compile", "--dtype", "bf16"],
        at_least: 1.4,
    },
    Job {
        name: "train-v3",
        peer: "transformers bf16, grouped experts",
        script: &["train_v3.py", "--dtype", "bf16", "--experts-implementation", "grouped_mm", "--steps", "3"],
        at_least: 3.0,
    },
    Job {
        name: "generate",
        peer: "transformers.generate bf16",
        script: &["generate_hf.py", "CHECKPOINT", "--dtype", "bf16", "--new", "64"],
        at_least: 15.0,
    },
];

/// One side's figures in all rounds.
#[derive(Default)]
struct Readings {
    tokens_per_s: Vec<f64>,
    rss_mib: Vec<f64>,
}

/// Runs `rounds` rounds and gives the table.
pub fn compare(python: &str, scripts: &Path, checkpoint: &str, rounds: usize) -> Result<String, String> {
    let mut readings: Vec<(Readings, Readings)> = JOBS.iter().map(|_| Default::default()).collect();
    for round in 1..=rounds {
        for (job, (ours, theirs)) in JOBS.iter().zip(&mut readings) {
            eprintln!("round {round} of {rounds}: {}", job.name);
            ours.take(&line_of(Command::new("target/release/reseek").args(["bench", job.name, "--json"]))?)?;
            let arguments = job.script[1..].iter().map(|&word| if word == "CHECKPOINT" { checkpoint } else { word });
            theirs.take(&line_of(Command::new(python).arg(scripts.join(job.script[0])).args(arguments))?)?;
        }
    }
    let mut table = String::from(
        "| job | peer | tokens/s | peer's | ratio: median (all) | asked | memory against the peer's |\n|---|---|---|---|---|---|---|\n",
    );
    for (job, (ours, theirs)) in JOBS.iter().zip(&readings) {
        let mut ratios: Vec<f64> = ours.tokens_per_s.iter().zip(&theirs.tokens_per_s).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let memory = match theirs.rss_mib.is_empty() {
            true => "–".to_string(),
            false => format!("{:.2}", median(&ours.rss_mib) / median(&theirs.rss_mib)),
        };
        table += &format!(
            "| {} | {} | {:.0} | {:.0} | {:.2} ({}) | {} | {memory} |\n",
            job.name,
            job.peer,
            median(&ours.tokens_per_s),
            median(&theirs.tokens_per_s),
            median(&ratios),
            all.join(", "),
            job.at_least
        );
    }
    Ok(table)
}

impl Readings {
    fn take(&mut self, line: &Value) -> Result<(), String> {
        let rate = line["tokens_per_s"].as_f64().ok_or_else(|| format!("no tokens_per_s in {line}"))?;
        self.tokens_per_s.push(rate);
        self.rss_mib.extend(line["rss_mib"].as_f64());
        Ok(())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The last line that the command prints, which must be JSON.
fn line_of(command: &mut Command) -> Result<Value, String> {
    let out = command.output().map_err(|error| format!("{command:?}: {error}; hint: build with --release first"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| {
        let complaint = String::from_utf8_lossy(&out.stderr);
        format!("{command:?} printed no JSON ({error}): {}", complaint.lines().last().unwrap_or_default())
    })
}
