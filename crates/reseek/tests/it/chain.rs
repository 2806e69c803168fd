//! A chain from end to end: what it leaves behind, and that the same command again does nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Scratch, assert_same_bytes, bytes_of, copy, finished, refuse, reseek, stage, succeed};

const STAGES: [&str; 13] = [
    "tokenizer",
    "pretrain",
    "extend",
    "zero",
    "r1_cold_start",
    "r1_rl",
    "r1_rejection",
    "r1_sft",
    "r1",
    "student_base",
    "student",
    "student_rl",
    "eval",
];

#[test]
fn the_summary_has_every_field() {
    let run = finished();
    let text = fs::read_to_string(run.out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap(), summary, "--json prints another summary");

    assert_eq!(summary["seed"], 1);
    assert_eq!(summary["config_hash"].as_str().unwrap().len(), 64);
    assert!(summary["machine"].is_object());
    let names: Vec<&str> = summary["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, STAGES);
    for stage in summary["stages"].as_array().unwrap() {
        for field in ["seconds", "tokens", "tokens_per_s", "flops"] {
            assert!(stage[field].as_f64().unwrap() >= 0.0, "{field} of {stage}");
        }
        assert!(stage["seconds"].as_f64().unwrap() > 0.0, "{stage}");
    }
    for name in ["base", "zero", "r1", "student", "student_rl"] {
        let model = &summary["models"][name];
        let bits = model["bits_per_byte"].as_f64().unwrap();
        assert!((0.5..8.0).contains(&bits), "{name}: {bits} bits per byte");
        assert!((0.0..=1.0).contains(&model["language_match"].as_f64().unwrap()));
        let tasks = model["tasks"].as_object().unwrap();
        assert!(tasks.len() > 1 && tasks.contains_key("heldout"), "{name}: tasks {:?}", tasks.keys());
        for (task, score) in tasks {
            let number = |field: &str| {
                score[field].as_f64().unwrap_or_else(|| panic!("{name}.{task}.{field} is {}", score[field]))
            };
            assert!(number("ci_low") <= number("pass_at_1") && number("pass_at_1") <= number("ci_high"), "{score}");
            assert!((0.0..=1.0).contains(&number("cons_at_k")) && number("mean_tokens") > 0.0, "{score}");
            assert_eq!(number("k"), 2.0);
        }
        let families: f64 = tasks.iter().filter(|(t, _)| *t != "heldout").map(|(_, s)| s["n"].as_f64().unwrap()).sum();
        assert_eq!((tasks["heldout"]["n"].as_f64(), families), (Some(6.0), 6.0));
    }
}

/// Needles at each length with their intervals, and nothing said of them that two needles cannot show.
#[test]
fn the_summary_and_the_page_say_what_the_extension_came_to() {
    let run = finished();
    let summary: Value = serde_json::from_slice(&fs::read(run.out.join("summary.json")).unwrap()).unwrap();
    let extension = &summary["extension"];
    let file: Value = serde_json::from_slice(&fs::read(run.out.join("extend/extension.json")).unwrap()).unwrap();
    assert_eq!(*extension, file);
    let needles = extension["needles"].as_array().unwrap();
    assert_eq!(needles.iter().map(|row| row["length"].as_u64().unwrap()).collect::<Vec<_>>(), [128, 256, 512]);
    for row in needles {
        let (before, after) = (&row["before"], &row["after"]);
        for share in [before, after] {
            let [mean, low, high] = ["mean", "ci_low", "ci_high"].map(|field| share[field].as_f64().unwrap());
            assert!(low <= mean && mean <= high && high - low > 0.3, "two needles leave much open: {share}");
        }
        let difference = after["mean"].as_f64().unwrap() - before["mean"].as_f64().unwrap();
        assert_eq!(row["difference"]["difference"].as_f64().unwrap(), difference);
    }
    let page = fs::read_to_string(run.out.join("report/index.html")).unwrap();
    let section = page.split("The longer context").nth(1).expect("a section about the extension");
    assert!(section.contains(extension["verdict"].as_str().unwrap()) && section.contains("<td>512 tokens</td>"));
}

#[test]
fn the_report_shows_every_stage_and_needs_nothing_from_outside() {
    let run = finished();
    let page = fs::read_to_string(run.out.join("report/index.html")).unwrap();
    for stage in STAGES {
        assert!(page.contains(stage), "the page lacks {stage}");
    }
    assert!(page.matches("<svg").count() >= 10, "{} pictures", page.matches("<svg").count());
    for outside in ["<script src", "<link rel=\"stylesheet\"", "@import", "<img src=\"http"] {
        assert!(!page.contains(outside), "the page loads {outside}");
    }
    assert!(!page.contains("NaN"), "a number on the page is not one");
    let ops = page.split("Where the time goes").nth(1).expect("a table of ops");
    for op in ["matmul, weight gradient", "attention, cached", "adamw", "the rest"] {
        assert!(ops.contains(&format!("<td>{op}</td>")), "the tables lack {op}");
    }
}

#[test]
fn the_report_shows_another_run_beside_this_one() {
    let run = finished();
    let scratch = Scratch::new();
    let (out, other) = (scratch.join("here"), scratch.join("there"));
    copy(&run.out, &out);
    succeed(&mut stage(&scratch, "tokenizer", &run.text, &other));
    succeed(stage(&scratch, "pretrain", &run.text, &other).args(["--set", "compute=\"f32\""]));
    succeed(stage(&scratch, "report", &run.text, &out).arg("--beside").arg(&other));
    let page = fs::read_to_string(out.join("report/index.html")).unwrap();
    assert!(page.contains("next token, there") && page.contains("a relative difference of"), "no curve beside");
    // The zero stage of the other run is not there, and the page does without.
    assert!(!page.contains("mean, there"));
    let nowhere = scratch.join("nowhere");
    refuse(stage(&scratch, "report", &run.text, &out).arg("--beside").arg(&nowhere), &["nowhere", "no manifest.json"]);
}

#[test]
fn the_command_of_a_stage_goes_on_with_what_the_run_was_told() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    let told = ["--seed", "7", "--set", "pretrain.tokens=2048"];
    succeed(stage(&scratch, "tokenizer", &text, &out).args(told));
    let config = fs::read(out.join("config.toml")).unwrap();
    let bare = |name: &str| {
        let mut command = reseek();
        command.args([name, "--quiet"]).arg("--out").arg(&out).arg("--data").arg(&text);
        command
    };
    succeed(&mut bare("pretrain"));
    assert_eq!(fs::read(out.join("config.toml")).unwrap(), config, "the stage forgot the run's configuration");
    let rows = fs::read_to_string(out.join("pretrain/metrics.jsonl")).unwrap().lines().count();
    succeed(stage(&scratch, "pretrain", &text, &out).args(told));
    assert_eq!(fs::read_to_string(out.join("pretrain/metrics.jsonl")).unwrap().lines().count(), rows);
    refuse(bare("pretrain").args(["--scale", "nano"]), &["--scale smoke", "--scale nano", "Leave --scale out"]);
    fs::write(out.join("config.toml"), "scale = ").unwrap();
    refuse(&mut bare("pretrain"), &["config.toml", "cannot be read"]);
}

#[test]
fn a_section_of_the_recipe_is_a_recipe_file() {
    let scratch = Scratch::new();
    let text = succeed(reseek().args(["config", "zero", "--scale", "smoke", "--set", "zero.steps=5"]));
    assert!(text.starts_with("[zero]\n") && !text.contains("[pretrain]"), "{text}");
    let file = scratch.join("zero.toml");
    fs::write(&file, &text).unwrap();
    let whole = succeed(reseek().args(["config", "--scale", "smoke", "--recipe"]).arg(&file));
    assert_eq!(whole, succeed(reseek().args(["config", "--scale", "smoke", "--set", "zero.steps=5"])));
}

#[test]
fn metrics_rise_by_step_and_rl_starts_on_policy() {
    let run = finished();
    for stage in ["pretrain", "extend", "zero", "r1_cold_start", "r1_rl", "r1_sft", "r1", "student", "student_rl"] {
        let text = fs::read_to_string(run.out.join(stage).join("metrics.jsonl")).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!rows.is_empty(), "{stage} has no row");
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row["step"], i, "{stage}");
            assert!(row["loss"].is_number() && row["grad_norm"].is_number(), "{stage}: {row}");
            if row.get("kl").is_some() {
                assert_eq!(row["ratio_max_first"], 1.0, "{stage}: sampler and trainer differ: {row}");
            }
        }
        if stage == "zero" {
            // The smoke recipe copies the reference before every second step.
            (0..rows.len()).step_by(2).for_each(|i| assert_eq!(rows[i]["kl"], 0.0, "a fresh reference at step {i}"));
        }
    }
}

#[test]
fn the_same_command_again_changes_nothing() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("again");
    copy(&run.out, &out);
    for name in ["replicate", "pretrain", "r1", "eval"] {
        succeed(&mut stage(&scratch, name, &run.text, &out));
    }
    assert_same_bytes(&out, &run.out);
    let stages = |out: &Path| {
        let summary: Value = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        summary["stages"].clone()
    };
    assert_eq!(stages(&out), stages(&run.out), "a skipped stage lost the time that it took");
}

#[test]
fn a_changed_setting_makes_its_stage_and_what_follows_again() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("changed");
    copy(&run.out, &out);
    succeed(stage(&scratch, "distil", &run.text, &out).args(["--set", "distil.sft.lr=0.002", "--redo"]));
    let (before, after) = (bytes_of(&run.out), bytes_of(&out));
    let same = |name: &str| before[name] == after[name];
    assert!(same("student_base/model.safetensors") && same("zero/model.safetensors"));
    assert!(!same("student/model.safetensors"));
}
