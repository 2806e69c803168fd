use std::collections::BTreeMap;
use std::fs;

use reseek_store::summary::{
    Comparison, Extension, Gflops, Model, NeedleRow, PassAtK, PositionRow, Share, Stage, TaskScore,
};
use reseek_store::{Machine, Summary};
use serde_json::{Value, json};

use crate::common::{Scratch, assert_names};

fn summary() -> Summary {
    let score =
        TaskScore { pass_at_1: 0.25, ci_low: 0.2, ci_high: 0.31, cons_at_k: 0.5, k: 4, n: 64, mean_tokens: 31.5 };
    let tasks = BTreeMap::from([("heldout".to_owned(), score.clone()), ("addition".to_owned(), score)]);
    let pass_at_k =
        [(1, 0.25), (2, 0.5)].map(|(k, mean)| PassAtK { k, mean, ci_low: mean - 0.05, ci_high: mean + 0.06 });
    let model = Model { tasks, pass_at_k: pass_at_k.into(), bits_per_byte: 2.1, language_match: 0.9 };
    let difference = Comparison { difference: 0.1, ci_low: 0.05, ci_high: 0.15, verdict: "zero is above base".into() };
    let share = |mean| Share { mean, ci_low: 0.0, ci_high: 1.0 };
    let extension = Extension {
        old_length: 256,
        verdict: "no retrieval is shown".into(),
        needles: vec![NeedleRow {
            length: 512,
            n: 64,
            before: share(0.1),
            after: share(0.2),
            difference: difference.clone(),
        }],
        windows: 20,
        text: vec![PositionRow { from: 0, to: 256, before: 3.1, after: 3.0, difference: difference.clone() }],
        long_context: Some(difference.clone()),
    };
    Summary {
        config_hash: "c0ffee".into(),
        seed: u64::MAX,
        out_of_date: Vec::new(),
        machine: Machine::detect(),
        peak_memory_bytes: 1 << 30,
        gflops: Gflops { achieved: 80.0, peak: 150.5 },
        stages: vec![Stage {
            name: "pretrain".into(),
            seconds: 0.1 + 0.2,
            tokens: 1_000_000,
            tokens_per_s: 5e3,
            flops: 1.5e13,
        }],
        split: Some("test".into()),
        models: BTreeMap::from([("zero".to_owned(), model.clone()), ("base".to_owned(), model)]),
        comparisons: BTreeMap::from([("zero-base".to_owned(), difference)]),
        extension: Some(extension),
    }
}

#[test]
fn a_summary_comes_back_and_has_the_agreed_names() {
    let scratch = Scratch::new();
    let path = scratch.join("summary.json");
    summary().write(&path).unwrap();
    assert_eq!(Summary::read(&path).unwrap(), summary());
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["models"]["base"]["tasks"]["heldout"]["pass_at_1"], json!(0.25));
    assert_eq!(json["models"]["zero"]["language_match"], json!(0.9));
    assert_eq!(json["seed"], json!(u64::MAX));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json["stages"][0]), ["name", "seconds", "tokens", "tokens_per_s", "flops"]);
    assert_eq!(keys(&json["machine"]), ["cpu", "cores", "memory_bytes", "os", "simd"]);
}

#[test]
fn a_run_without_extension_or_models_is_a_summary_too() {
    let scratch = Scratch::new();
    let path = scratch.join("summary.json");
    let mut few = summary();
    few.extension = None;
    few.models.clear();
    few.write(&path).unwrap();
    assert_eq!(Summary::read(&path).unwrap(), few);
}

#[test]
fn numbers_that_cannot_be_are_named_and_not_written() {
    let scratch = Scratch::new();
    let path = scratch.join("summary.json");
    let refused = |change: fn(&mut Summary), parts: &[&str]| {
        let mut bad = summary();
        change(&mut bad);
        assert_names(&bad.write(&path).unwrap_err(), parts);
        assert!(!path.exists());
    };
    refused(|s| s.stages[0].seconds = f64::NAN, &["stages[0].seconds", "NaN"]);
    refused(|s| s.gflops.peak = -1.0, &["gflops.peak", "-1"]);
    refused(|s| base(s).bits_per_byte = f64::INFINITY, &["models.base.bits_per_byte", "inf"]);
    refused(|s| base(s).language_match = 1.3, &["models.base.language_match", "1.3", "from 0 to 1"]);
    refused(|s| s.models.get_mut("base").unwrap().pass_at_k[1].mean = 1.5, &["models.base.pass_at_k[1].mean", "1.5"]);
    refused(|s| s.models.get_mut("base").unwrap().pass_at_k[1].k = 3, &["models.base.pass_at_k[1].k", "3"]);
    refused(|s| score(s).pass_at_1 = f64::NAN, &["models.base.tasks.heldout.pass_at_1"]);
    refused(|s| score(s).ci_low = 0.26, &["models.base.tasks.heldout.ci_low", "0.26", "not above"]);
    refused(|s| score(s).ci_high = 0.24, &["models.base.tasks.heldout.ci_high", "0.24", "not below"]);
    refused(|s| score(s).n = 0, &["models.base.tasks.heldout.n", "at least 1"]);
    refused(|s| base(s).tasks.retain(|task, _| task != "heldout"), &["models.base.tasks.heldout", "absent"]);
    refused(|s| s.comparisons.get_mut("zero-base").unwrap().difference = f64::NAN, &["comparisons.zero-base"]);
    refused(|s| extension(s).needles[0].after.mean = 1.5, &["extension.needles[0].after.mean", "1.5"]);
    refused(|s| extension(s).text[0].before = f64::NAN, &["extension.text[0].before", "NaN"]);
    refused(|s| extension(s).text[0].difference.ci_low = 0.2, &["extension.text[0].difference.ci_low", "0.2"]);
    refused(
        |s| {
            let model = base(s).clone();
            s.models.insert("zer0".into(), model);
        },
        &["models", "zer0", "one of base, zero, r1"],
    );
}

fn base(summary: &mut Summary) -> &mut Model {
    summary.models.get_mut("base").unwrap()
}

fn extension(summary: &mut Summary) -> &mut Extension {
    summary.extension.as_mut().unwrap()
}

fn score(summary: &mut Summary) -> &mut TaskScore {
    base(summary).tasks.get_mut("heldout").unwrap()
}

#[test]
fn a_file_that_is_no_summary_is_an_error() {
    let scratch = Scratch::new();
    let path = scratch.join("summary.json");
    summary().write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let cases = [
        (text.replace("\"pass_at_1\"", "\"pass_at_one\""), "unknown field `pass_at_one`"),
        (text.replace("\"bits_per_byte\": 2.1", "\"bits_per_byte\": null"), "null"),
        (text.replace("\"language_match\": 0.9", "\"language_match\": 9.0"), "language_match is 9"),
        (text[..text.len() / 2].to_owned(), "EOF"),
    ];
    for (damaged, reason) in cases {
        fs::write(&path, damaged).unwrap();
        assert_names(&Summary::read(&path).unwrap_err(), &["summary.json", reason, ". "]);
    }
}
