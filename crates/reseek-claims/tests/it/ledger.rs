//! What every claim has, and that nothing is called verified that was not.

use std::collections::BTreeSet;

use reseek_claims::{Class, Inputs, Report, Tolerance, Verdict, find, list, verify_one, verify_with};

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
