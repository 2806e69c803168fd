//! The page: what a run made, how, what came of it, what it cost, and the published numbers beside it.

use std::path::Path;

use minijinja::{Environment, context};
use reseek_spec::stages::{Examined, Stage, TABLE, examined};
use reseek_store::summary::PREDICTION;
use reseek_store::{PROFILE, Summary};
use serde_json::{Value, json};

use crate::charts;
use crate::svg::{Dot, Series, chances, intervals};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The template and the data do not fit, which is a defect.
    #[error("the report cannot be rendered: {0:#}. This is a defect of the template.")]
    Template(#[from] minijinja::Error),
}

/// The page of the run in `run`, as HTML. Stages that have not run are shown as missing. With `beside`, the curves of that other run are
/// drawn over the same axes: a run in f32 beside one in bf16, or another seed.
///
/// # Errors
/// If the template does not render, which is a defect.
pub fn render(run: &Path, beside: Option<&Path>) -> Result<String, ReportError> {
    let summary = Summary::read(&run.join("summary.json")).ok();
    let environment = templates()?;
    let profiles = profiles(run, summary.as_ref());
    let is_above_peak = profiles
        .iter()
        .flat_map(|p| p["ops"].as_array().into_iter().flatten())
        .any(|op| op["share_of_peak"].as_f64().is_some_and(|share| share > 1.0));
    let prediction = json_file(&run.join(PREDICTION));
    let predicted = predicted_seconds(&prediction);
    let stages: Vec<Value> = TABLE.iter().map(|of| stage(run, summary.as_ref(), &predicted, of)).collect();
    let curves: Vec<Value> = TABLE
        .iter()
        .map(|Stage { name, title, .. }| {
            json!({"name": name, "what": title, "html": charts::of_stage(&run.join(name), beside)})
        })
        .filter(|section| section["html"] != "")
        .collect();
    Ok(environment.get_template("page.html")?.render(context! {
        name => charts::run_name(run),
        summary => summary.as_ref().map(|s| serde_json::to_value(s).expect("a summary is JSON")),
        stages,
        curves,
        models => models(summary.as_ref()),
        families => families(summary.as_ref()),
        dots => summary.as_ref().map(|s| intervals("Pass@1", &dots(s))),
        passes => summary.as_ref().map(passes),
        samples => samples(run),
        totals => summary.as_ref().map(totals),
        student_flops => summary.as_ref().and_then(Summary::student_flops),
        profiles,
        is_above_peak,
        memory_gb_per_s => prediction["rates"]["memory"],
        beside => beside.map(|other| compared(run, other)),
    })?)
}

/// All templates with the style sheet that they share.
pub(crate) fn templates() -> Result<Environment<'static>, ReportError> {
    let mut environment = Environment::new();
    environment.add_template("style.css", include_str!("../templates/style.css"))?;
    environment.add_template("page.html", include_str!("../templates/page.html"))?;
    environment.add_template("extension.html", include_str!("../templates/extension.html"))?;
    environment.add_template("sim.html", include_str!("../templates/sim.html"))?;
    environment.add_template("dials.html", include_str!("../templates/dials.html"))?;
    Ok(environment)
}

/// A file that a run may lack.
fn json_file(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Seconds that each stage was predicted to take; nothing where nobody predicted.
fn predicted_seconds(prediction: &Value) -> Value {
    prediction["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| (s["name"].as_str().unwrap_or(""), s["seconds"].clone()))
        .collect()
}

/// Where the time of each stage's middle step went, by op, with its share of the peak that the summary measured.
fn profiles(run: &Path, summary: Option<&Summary>) -> Vec<Value> {
    let peak = summary.map(|s| s.gflops.peak).filter(|peak| *peak > 0.0);
    let of = |Stage { name, title, .. }: &Stage| {
        let mut profile = json_file(&run.join(name).join(PROFILE));
        for op in profile["ops"].as_array_mut()? {
            if let Some((gflops, peak)) = op["gflops"].as_f64().filter(|rate| *rate > 0.0).zip(peak) {
                op["share_of_peak"] = json!(gflops / peak);
            }
        }
        profile["name"] = json!(name);
        profile["what"] = json!(title);
        Some(profile)
    };
    TABLE.iter().filter_map(of).collect()
}

/// The other run's name, and how far its loss is from this one's where both have pre-trained.
fn compared(run: &Path, other: &Path) -> Value {
    let losses = charts::late_losses(&run.join("pretrain"), &other.join("pretrain"));
    json!({
        "name": charts::run_name(other), "here": losses.map(|l| l.0), "there": losses.map(|l| l.1),
        "percent": losses.map(|(here, there)| 100.0 * (here - there) / there),
    })
}

fn stage(run: &Path, summary: Option<&Summary>, predicted: &Value, of: &Stage) -> Value {
    let (name, what) = (of.name, of.title);
    let used = summary.and_then(|s| s.stages.iter().find(|stage| stage.name == name));
    match used {
        Some(s) => json!({
            "name": name, "what": what, "done": true, "seconds": s.seconds, "tokens": s.tokens,
            "predicted": predicted[name].as_f64(), "tokens_per_s": s.tokens_per_s, "gflop": s.flops / 1e9, "gflops": s.flops / s.seconds.max(1e-9) / 1e9,
        }),
        None => json!({"name": name, "what": what, "done": run.join(name).join("stage.json").exists()}),
    }
}

fn models(summary: Option<&Summary>) -> Vec<Value> {
    let Some(summary) = summary else { return Vec::new() };
    let of = |Examined { name, title }: &Examined| {
        let model = summary.models.get(*name)?;
        let heldout = model.tasks.get("heldout")?;
        Some(json!({
            "name": name, "what": title, "heldout": heldout, "pass_at_4": pass_at(model, 4), "pass_at_16": pass_at(model, 16), "bits_per_byte": model.bits_per_byte,
            "language_match": model.language_match,
        }))
    };
    examined().filter_map(|(model, _)| of(model)).collect()
}

/// A row a family, a column a model.
fn families(summary: Option<&Summary>) -> Vec<Value> {
    let Some(summary) = summary else { return Vec::new() };
    let names = summary.models.values().flat_map(|m| m.tasks.keys()).filter(|name| *name != "heldout");
    let names: std::collections::BTreeSet<&String> = names.collect();
    let cell = |family: &str, model: &str| {
        let score = summary.models.get(model).and_then(|m| m.tasks.get(family));
        score.map_or(Value::Null, |t| json!(t))
    };
    let row = |family: &&String| {
        let cells: Vec<Value> = examined().map(|(model, _)| cell(family, model.name)).collect();
        json!({"name": family, "cells": cells})
    };
    names.iter().map(row).collect()
}

fn dots(summary: &Summary) -> Vec<Dot> {
    let of = |name: &str| {
        let t = summary.models.get(name)?.tasks.get("heldout")?;
        Some(Dot { label: name.to_string(), mean: t.pass_at_1, low: t.ci_low, high: t.ci_high })
    };
    examined().filter_map(|(model, _)| of(model.name)).collect()
}

fn pass_at(model: &reseek_store::summary::Model, k: u64) -> Option<&reseek_store::summary::PassAtK> {
    model.pass_at_k.iter().find(|at| at.k == k)
}

/// pass@k against k, a line a model: where a line is high at its start and no higher at its end, training made likely what could be done
/// before.
fn passes(summary: &Summary) -> String {
    let of = |name: &str| {
        let points = summary.models.get(name)?.pass_at_k.iter().map(|at| (at.k as f64, at.mean)).collect();
        Some(Series { name: name.to_string(), points })
    };
    let series: Vec<Series> = examined().filter_map(|(model, _)| of(model.name)).collect();
    chances("Pass@k", "chance that one of k samples is right, against k", &series)
}

fn totals(summary: &Summary) -> Value {
    let sum = |f: fn(&reseek_store::summary::Stage) -> f64| summary.stages.iter().map(f).sum::<f64>();
    json!({
        "seconds": sum(|s| s.seconds), "tokens": sum(|s| s.tokens as f64), "flops": sum(|s| s.flops),
        "memory_gib": summary.peak_memory_bytes as f64 / (1u64 << 30) as f64,
    })
}

/// Questions with the answers of base, R1-Zero and R1 beside each other.
fn samples(run: &Path) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(run.join("eval/samples.jsonl")) else { return Vec::new() };
    let rows: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut questions: Vec<&str> = Vec::new();
    for row in &rows {
        let question = row["question"].as_str().unwrap_or("");
        if !questions.contains(&question) && questions.len() < 12 {
            questions.push(question);
        }
    }
    let answer = |question: &str, model: &str| {
        let found =
            rows.iter().find(|r| r["question"].as_str() == Some(question) && r["model"].as_str() == Some(model));
        found.map_or(Value::Null, |r| {
            let text: String = r["completion"].as_str().unwrap_or("").chars().take(600).collect();
            json!({"model": model, "text": text, "outcome": r["outcome"]})
        })
    };
    let group = |question: &&str| {
        let gold = rows.iter().find(|r| r["question"].as_str() == Some(question)).map(|r| r["gold"].clone());
        let answers: Vec<Value> = ["base", "zero", "r1"].iter().map(|model| answer(question, model)).collect();
        json!({"question": question, "gold": gold, "answers": answers})
    };
    questions.iter().map(group).collect()
}
