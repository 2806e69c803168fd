//! What a run of ours says of a claim.

use std::collections::BTreeMap;

use reseek_claims::{Answer, Difference, RunFacts, Verdict, answered_by_a_run, find, list, verify_runs};

fn run(name: &str, seed: u64, key: &str, (low, high): (f64, f64)) -> RunFacts {
    let difference = Difference { mean: 0.5 * (low + high), low, high };
    RunFacts { name: name.to_string(), seed, differences: BTreeMap::from([(key.to_string(), difference)]) }
}

#[test]
fn the_paired_interval_decides() {
    let check = |id: &str, key: &str| {
        let verdict = |ends: &[(f64, f64)]| {
            let runs: Vec<RunFacts> =
                ends.iter().zip(1..).map(|(ends, seed)| run("runs/a", seed, key, *ends)).collect();
            verify_runs(id, &runs).unwrap().verdict
        };
        assert_eq!(verdict(&[(0.01, 0.2)]), Verdict::Holds, "{id}");
        assert_eq!(verdict(&[(-0.2, -0.01)]), Verdict::Fails, "{id}");
        assert_eq!(verdict(&[(-0.01, 0.2)]), Verdict::Inconclusive, "{id}");
        // One seed of three that says nothing, or the contrary, is enough for no verdict.
        assert_eq!(verdict(&[(0.1, 0.2), (0.1, 0.2), (-0.01, 0.1)]), Verdict::Inconclusive, "{id}");
        assert_eq!(verdict(&[(0.1, 0.2), (-0.2, -0.1)]), Verdict::Inconclusive, "{id}");
    };
    check("r1-rl-without-sft", "zero-base");
    check("r1-distillation-beats-rl", "student-student_rl");
    check("r1-language-mixing", "r1-zero-language");
    check("r1-majority", "zero-majority");
    check("r1-reference-refresh", "zero.reference_interval");
}

#[test]
fn the_working_has_runs_seeds_and_what_is_missing() {
    let two = [run("runs/a", 1, "zero-base", (0.1, 0.2)), run("runs/b", 1, "zero-base", (0.2, 0.3))];
    let evidence = verify_runs("r1-rl-without-sft", &two).unwrap();
    assert!(evidence.working.contains("runs/a (seed 1) +0.150 (+0.100 to +0.200)"), "{}", evidence.working);
    assert!(evidence.working.contains("1 of the 3 seeds"), "{}", evidence.working);
    assert!((evidence.found.unwrap() - 0.2).abs() < 1e-12);
    let (low, high) = evidence.interval.unwrap();
    assert!((low - 0.15).abs() < 1e-12 && (high - 0.25).abs() < 1e-12);
    let without = verify_runs("r1-majority", &two).unwrap();
    assert_eq!((without.verdict, without.found), (Verdict::Open, None));
    assert!(without.working.contains("runs/a does not answer it"), "{}", without.working);
}

#[test]
fn claims_that_no_run_answers_say_so() {
    for id in ["v3-mtp-helps", "v3-cost", "insights-step", "v3-no-rollbacks"] {
        let error = verify_runs(id, &[]).unwrap_err().to_string();
        assert!(error.contains("No run answers") && error.contains(id), "{error}");
    }
    assert!(verify_runs("r1-majorty", &[]).unwrap_err().to_string().contains("r1-majority"));
    assert_eq!(answered_by_a_run().len(), 4);
}

#[test]
fn a_command_is_printed_where_it_answers_and_nowhere_else() {
    for claim in list() {
        let answer = claim.plan().and_then(|plan| plan.answer);
        let command = claim.command();
        assert_eq!(answer.is_some(), command.is_some(), "{}", claim.id);
        if let Some(command) = command {
            assert!(command.starts_with(&format!("reseek claims verify {} --run DIR", claim.id)), "{command}");
            assert_eq!(matches!(answer, Some(Answer::TwoRuns(_))), command.ends_with("--beside DIR"), "{command}");
        }
    }
    assert!(find("v3-fp8-loss").unwrap().command().is_none());
}
