//! What every claim has, and that nothing is called verified that was not.

use std::collections::BTreeSet;

use reseek_claims::{Class, Inputs, Report, Tolerance, Verdict, find, list, verify_one, verify_with};
use reseek_sim::published::{self, Quoted};

#[test]
fn every_claim_is_complete() {
    let mut ids = BTreeSet::new();
    for claim in list() {
        assert!(ids.insert(claim.id), "{} is there twice", claim.id);
        assert!(!claim.place.is_empty() && claim.statement.ends_with('.'), "{}", claim.id);
        assert!(claim.tolerance.why().len() > 5 && !claim.tolerance.to_string().is_empty(), "{}", claim.id);
        let checked = matches!(claim.class(), Class::Arithmetic | Class::Simulation);
        assert_eq!(claim.published.is_some(), checked, "{}", claim.id);
        assert_eq!(checked, !claim.unit.is_empty(), "{}", claim.id);
        let prefix = match claim.report {
            Report::V3 => "v3-",
            Report::R1 => "r1-",
            Report::Insights => "insights-",
            Report::Repos => "repos-",
        };
        assert!(claim.id.starts_with(prefix), "{}", claim.id);
        if let Some(plan) = claim.plan() {
            assert!(plan.seeds_min >= 3, "{}", claim.id);
            assert!(!plan.direction.ends_with('.') && plan.test.ends_with('.'), "{}", claim.id);
            let exact = ["absorbed", "dropped", "lossless", "k3"].iter().any(|word| claim.id.contains(word));
            assert!(exact || plan.test.contains("inconclusive"), "{}", claim.id);
            assert!(matches!(claim.tolerance, Tolerance::Test { .. }), "{}", claim.id);
        }
    }
}

/// Claims whose published number stands in words, or is what a comparison is held against.
const IN_WORDS: [&str; 7] = [
    "v3-two-months",
    "insights-node-limit",
    "insights-mpft-mrft",
    "v3-dualpipe-1f1b",
    "v3-dualpipe-zb1p",
    "v3-20-sms",
    "v3-one-to-one",
];

/// What the letter before a unit or behind a number multiplies by.
fn scale(letter: &str) -> f64 {
    match letter {
        "K" => 1e3,
        "M" => 1e6,
        "B" => 1e9,
        "T" => 1e12,
        _ => 1.0,
    }
}

/// The numbers of a sentence: 19.926, 671B, 87,072.
fn numbers(sentence: &str) -> Vec<f64> {
    let words = sentence.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ','));
    words
        .filter_map(|word| {
            let word = word.trim_end_matches(['.', ',']).replace(',', "");
            let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            Some(digits.parse::<f64>().ok()? * scale(&word[digits.len()..]))
        })
        .collect()
}

#[test]
fn a_statement_quotes_its_published_number() {
    for claim in list() {
        let Some(published) = claim.published.filter(|_| !IN_WORDS.contains(&claim.id)) else { continue };
        let published = published * scale(claim.unit.split(' ').next().unwrap());
        let is_quoted = numbers(claim.statement).iter().any(|number| (number / published - 1.0).abs() < 1e-9);
        assert!(is_quoted, "{}: no {published} in {}", claim.id, claim.statement);
    }
    let quotes = |id: &str, figures: &[Quoted]| {
        let found = numbers(find(id).unwrap().statement);
        assert!(figures.iter().all(|figure| found.contains(&figure.value)), "{id}: {found:?}");
    };
    let parts = [published::STEP_FORWARD, published::STEP_BACKWARD, published::STEP_WEIGHT, published::STEP_PAIRS];
    quotes("insights-step-pairs", &parts);
    quotes("v3-hours-pretraining", &[published::HOURS_PER_T, published::TOKENS]);
    quotes("v3-data-quality", &[published::TOKENS]);
    quotes("v3-cost", &[published::GPU_HOUR_USD, published::TRAINING_USD]);
    quotes("v3-price-of-an-hour", &[published::GPU_HOUR_USD]);
    quotes("r1-zero-epochs", &[published::R1_ZERO_STEPS, published::R1_QUESTIONS_A_STEP]);
    quotes("r1-zero-hours", &[published::R1_ZERO, published::R1_GPUS]);
    quotes("repos-serving-cost", &[published::SERVING_NODES, published::GPU_HOUR_USD]);
}

#[test]
fn every_class_is_there() {
    let count = |class| list().iter().filter(|c| c.class() == class).count();
    assert_eq!(count(Class::Arithmetic), 40);
    assert_eq!(count(Class::Simulation), 12);
    assert_eq!(count(Class::Experiment), 30);
    assert_eq!(count(Class::CannotBeChecked), 4);
}

#[test]
fn experiments_stay_open_and_the_unknowable_unchecked() {
    let evidence = verify_with(&Inputs::published().unwrap(), None);
    assert_eq!(evidence.len(), list().len());
    for (claim, evidence) in list().into_iter().zip(evidence) {
        assert_eq!(claim.id, evidence.claim);
        assert!(!evidence.working.is_empty(), "{}", claim.id);
        match claim.class() {
            Class::Experiment => {
                assert_eq!(evidence.verdict, Verdict::Open, "{}", claim.id);
                assert!(evidence.found.is_none() && !evidence.working.is_empty(), "{}", claim.id);
                let answered = claim.plan().unwrap().answer.is_some();
                assert_eq!(answered, evidence.working.contains("reseek "), "{}", evidence.working);
            }
            Class::Simulation => assert_eq!(evidence.verdict, Verdict::Open, "{}", claim.id),
            Class::CannotBeChecked => assert_eq!(evidence.verdict, Verdict::CannotBeChecked, "{}", claim.id),
            Class::Arithmetic if evidence.verdict == Verdict::Open => {
                assert!(
                    evidence.found.is_none() && evidence.working.contains("yet to be read"),
                    "{}",
                    evidence.working
                );
            }
            Class::Arithmetic => assert!(evidence.found.is_some(), "{}: {}", claim.id, evidence.working),
        }
    }
}

#[test]
fn unknown_ids_give_the_nearest() {
    let message = find("insights-kv-ratio-lama").unwrap_err().to_string();
    assert!(message.contains("Did you mean insights-kv-ratio-llama?"), "{message}");
    assert!(verify_one(&"x".repeat(100_000), None).unwrap_err().to_string().len() < 300);
    assert_eq!(find("v3-cost").unwrap().id, "v3-cost");
}

#[test]
fn evidence_and_claims_are_json() {
    let evidence = serde_json::to_value(verify_one("insights-kv-ratio-llama", None).unwrap()).unwrap();
    assert_eq!(evidence["claim"], "insights-kv-ratio-llama");
    assert_eq!(evidence["verdict"], "fails");
    assert_eq!(evidence["published"], 7.28);
    assert_eq!(evidence["tolerance"]["kind"], "absolute");
    assert!((evidence["found"].as_f64().unwrap() - 7.344).abs() < 1e-3);
    assert!(evidence["working"].as_str().unwrap().contains("516.096 KB / 70.272 KB"));
    let claims = serde_json::to_value(list()).unwrap();
    let yarn = claims.as_array().unwrap().iter().find(|c| c["id"] == "v3-yarn").unwrap();
    assert_eq!(yarn["class"], "experiment");
    // No command answers it, so none is printed.
    assert!(yarn["command"].is_null());
    let majority = claims.as_array().unwrap().iter().find(|c| c["id"] == "r1-majority").unwrap();
    assert_eq!(majority["command"], "reseek claims verify r1-majority --run DIR");
    let open = serde_json::to_value(verify_one("v3-yarn", None).unwrap()).unwrap();
    assert_eq!((open["verdict"].as_str(), open["found"].is_null()), (Some("open"), true));
}
