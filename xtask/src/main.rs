//! Checks of the project as a whole: `cargo xtask deps` (what each room reads, what the model leaves to tensor, that every file is part of a crate), `cargo xtask licences` (what the dependencies are
//! and may be), `cargo xtask run DIR` (that a finished run is whole), `cargo xtask recorded DIR` (what the prediction of a run is held against),
//! `cargo xtask compare …` (speed beside peers).

mod compare;
mod floats;
mod orphans;
mod rooms;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode};

use reseek_spec::stages::examined;
use serde_json::Value;

/// Licences that a dependency may be used under.
const LICENCES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
];

/// Build helpers that compile C or C++: a user needs no C compiler.
const COMPILE_C: [&str; 4] = ["cc", "cmake", "bindgen", "pkg-config"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["deps"] => metadata().and_then(|m| {
            Ok([rooms::directions(&m)?, floats::none_in_the_model()?, orphans::none()?].join("\n"))
        }),
        ["licences"] => metadata().and_then(|m| licences(&m)),
        ["run", dir] => finished_run(Path::new(dir)),
        ["recorded", dir] => recorded(Path::new(dir)),
        ["compare", python, scripts, models] => compare::compare(python, Path::new(scripts), models, 3, None),
        ["compare", python, scripts, models, rounds, ref only @ ..] if only.len() < 2 => match rounds.parse() {
            Ok(rounds @ 1..=100) => {
                compare::compare(python, Path::new(scripts), models, rounds, only.first().copied())
            }
            _ => Err(format!("{rounds} rounds will not do: give 1 to 100")),
        },
        _ => {
            Err("usage: cargo xtask deps | licences | run DIR | recorded DIR | compare PYTHON SCRIPTS MODELS [ROUNDS [JOB]]"
                .to_string())
        }
    };
    match result {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Of a finished run, what the prediction is held against: `cargo xtask recorded runs/nano > crates/reseek-sim/tests/fixtures/nano_run.json`.
/// Only a run that nothing disturbed says how long its stages take.
fn recorded(dir: &Path) -> Result<String, String> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let json = |name: &str| -> Result<Value, String> {
        serde_json::from_str(&read(name)?).map_err(|error| format!("{}: {error}", dir.join(name).display()))
    };
    let (summary, prediction) = (json("summary.json")?, json("prediction.json")?);
    let of_stage = |stage: &Value| serde_json::json!({"name": stage["name"], "seconds": stage["seconds"], "tokens": stage["tokens"], "flops": stage["flops"]});
    let stages: Vec<Value> = summary["stages"].as_array().into_iter().flatten().map(of_stage).collect();
    let record = serde_json::json!({
        "about": format!("seed {} on {}", summary["seed"], summary["machine"]["cpu"].as_str().unwrap_or("a machine without a name")),
        "within": 0.15,
        "changed": [],
        "rates": prediction["rates"],
        "memory_bytes": summary["peak_memory_bytes"],
        "disk_bytes": bytes_in(dir).map_err(|error| format!("{}: {error}", dir.display()))?,
        "stages": stages,
        "config": read("config.toml")?,
    });
    serde_json::to_string_pretty(&record).map_err(|error| error.to_string())
}

/// Bytes of all files below a folder.
fn bytes_in(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn metadata() -> Result<Value, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// Every dependency has an allowed licence, comes from crates.io and compiles no C.
fn licences(metadata: &Value) -> Result<String, String> {
    let mut wrong = Vec::new();
    let mut n = 0;
    for package in packages(metadata).filter(|p| p["source"].is_string()) {
        n += 1;
        let name = package["name"].as_str().unwrap_or("");
        let licence = package["license"].as_str().unwrap_or("none given");
        if !is_allowed(licence) {
            wrong.push(format!("{name} has licence {licence}"));
        }
        if !package["source"].as_str().unwrap_or("").starts_with("registry+") {
            wrong.push(format!("{name} does not come from the registry"));
        }
        if COMPILE_C.contains(&name) && used_in_builds(metadata, &package["id"]) {
            wrong.push(format!("{name} compiles C"));
        }
    }
    if wrong.is_empty() {
        Ok(format!("licences: {n} dependencies, all permissive, none compiles C"))
    } else {
        Err(wrong.join("; "))
    }
}

/// Whether a package is reached from a room through normal or build dependencies.
fn used_in_builds(metadata: &Value, id: &Value) -> bool {
    let nodes: Vec<&Value> = metadata["resolve"]["nodes"].as_array().into_iter().flatten().collect();
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut queue: Vec<&str> = members.into_iter().collect();
    let mut seen: BTreeSet<&str> = queue.iter().copied().collect();
    while let Some(next) = queue.pop() {
        let node = nodes.iter().find(|n| n["id"].as_str() == Some(next));
        for dependency in node.and_then(|n| n["deps"].as_array()).into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            let here = |k: &Value| {
                k["kind"] != "dev"
                    && (k["target"].is_null() || k["target"].as_str().is_some_and(|t| t.contains("linux")))
            };
            let Some(package) = dependency["pkg"].as_str() else { continue };
            if kinds.clone().any(here) && seen.insert(package) {
                queue.push(package);
            }
        }
    }
    id.as_str().is_some_and(|id| seen.contains(id))
}

/// An SPDX expression holds if one side of an OR holds, and all sides of an AND.
fn is_allowed(licence: &str) -> bool {
    let any = |text: &str| text.split(" OR ").any(|part| LICENCES.contains(&part.trim().trim_matches(['(', ')'])));
    licence.replace('/', " OR ").split(" AND ").all(any)
}

/// summary.json has what the issue asks for, and the page shows every stage.
fn finished_run(dir: &Path) -> Result<String, String> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).map_err(|e| format!("{name}: {e}"));
    let summary: Value = serde_json::from_str(&read("summary.json")?).map_err(|e| e.to_string())?;
    for (model, _) in examined() {
        let model = model.name;
        for key in ["pass_at_1", "ci_low", "ci_high", "cons_at_k", "k", "n", "mean_tokens"] {
            if !summary["models"][model]["tasks"]["heldout"][key].is_number() {
                return Err(format!("summary.json lacks models.{model}.tasks.heldout.{key}"));
            }
        }
        for key in ["bits_per_byte", "language_match"] {
            if !summary["models"][model][key].is_number() {
                return Err(format!("summary.json lacks models.{model}.{key}"));
            }
        }
        if summary["models"][model]["tasks"].as_object().map_or(0, |tasks| tasks.len()) < 9 {
            return Err(format!("models.{model} has fewer than eight families"));
        }
    }
    let page = read("report/index.html")?;
    let stages = summary["stages"].as_array().ok_or("summary.json lacks stages")?;
    for stage in stages {
        let name = stage["name"].as_str().unwrap_or("");
        if !page.contains(name) {
            return Err(format!("the page does not show {name}"));
        }
    }
    if !page.contains("Where the time goes") {
        return Err("the page does not show where the time goes by op".to_string());
    }
    let charts = page.matches("<svg").count();
    if charts < 30 || !page.trim_end().ends_with("</html>") {
        return Err(format!("the page has {charts} pictures and may be cut off"));
    }
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        if page.contains(outside) {
            return Err(format!("the page loads something from elsewhere: {outside}"));
        }
    }
    Ok(format!("run: {} stages, {charts} pictures, {} KB page", stages.len(), page.len() / 1024))
}
