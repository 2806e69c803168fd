//! Claims that a simulation answers, with the published values as a simulation and then with wrong ones.

use reseek_claims::{Basis, Class, Inputs, SimulatedFacts, Verdict, find, list, verify, verify_one, verify_with};

fn facts() -> SimulatedFacts {
    SimulatedFacts {
        step_s: 20.2,
        forward_backward_s: 17.9,
        bubble_s: 2.2,
        optimizer_s: 0.27,
        gpu_hours_per_t_tokens: 182_600.0,
        exposed_comm_share: 0.04,
        compute_s: 0.1248,
        communication_s: 0.113,
        dualpipe_bubble_s: 2.2,
        one_f_one_b_bubble_s: 6.5,
        zb1p_bubble_s: 4.4,
        step_s_by_comm_sms: vec![(8, 23.0), (20, 20.2), (32, 20.6)],
        extension_gpu_hours: (95_000.0, 100_000.0, 115_000.0),
        r1_zero_gpu_hours: (90_000.0, 100_000.0, 110_000.0),
    }
}

#[test]
fn the_simulator_decides_every_claim_of_its_class() {
    use Verdict::{ByConstruction, Fails, Holds, Inconclusive};
    let facts = SimulatedFacts::simulate().unwrap();
    let of_class = list().into_iter().filter(|claim| claim.class() == Class::Simulation);
    let expect = [[ByConstruction; 6].as_slice(), &[Holds; 2], &[Fails; 2], &[Inconclusive; 2]].concat();
    let found: Vec<Verdict> = of_class.map(|claim| verdict(&facts, claim.id)).collect();
    assert_eq!(found, expect);
    // The facts are of one step: its parts and what waits in it.
    let parts = facts.forward_backward_s + facts.bubble_s + facts.optimizer_s;
    assert!((parts / facts.step_s - 1.0).abs() < 1e-9, "{facts:?}");
}

type Change = fn(&mut SimulatedFacts);

fn verdict(facts: &SimulatedFacts, id: &str) -> Verdict {
    verify_one(id, Some(facts)).unwrap().verdict
}

#[test]
fn a_good_simulation_lets_every_claim_hold_but_those_whose_run_set_a_rate() {
    let evidence = verify(&facts()).unwrap();
    assert_eq!(evidence.len(), list().len());
    let simulated = |id| list().iter().any(|c| c.id == id && c.class() == Class::Simulation);
    for evidence in evidence.iter().filter(|e| simulated(e.claim)) {
        let expect = match find(evidence.claim).unwrap().basis {
            Basis::SetWith(_) => Verdict::ByConstruction,
            _ => Verdict::Holds,
        };
        assert_eq!(evidence.verdict, expect, "{evidence:?}");
    }
    // The very figure that set the waiting, and those of the trace that set kernels.
    for id in ["insights-step-bubble", "v3-communication-hidden", "insights-step"] {
        assert_eq!(verdict(&facts(), id), Verdict::ByConstruction, "{id}");
    }
    // Experiments are open with a simulation too, and what has an input that nobody read.
    assert!(evidence.iter().filter(|e| e.verdict == Verdict::Open).count() == 31);
}

#[test]
fn claims_about_rows_that_set_rates_name_the_same_rates() {
    let rows = reseek_sim::validate::table();
    for (id, row) in [
        ("insights-step", "DeepSeek-V3, 2048 H800"),
        ("insights-step-bubble", "DeepSeek-V3, 2048 H800"),
        ("v3-hours-per-t-simulated", "DeepSeek-V3, 2048 H800"),
        ("v3-communication-hidden", "DeepSeek-V3, one pair"),
        ("v3-one-to-one", "DeepSeek-V3, one pair"),
    ] {
        let sets = rows.iter().find(|one| one.name == row).unwrap().sets_rates;
        assert_eq!(find(id).unwrap().basis, Basis::SetWith(sets), "{id}");
    }
}

#[test]
fn a_wrong_simulation_turns_the_verdict() {
    let turned: [(&str, Change); 12] = [
        ("insights-step", |s| s.step_s = 21.0),
        ("insights-step-pairs", |s| s.forward_backward_s = 13.95),
        ("insights-step-bubble", |s| s.bubble_s = 2.5),
        ("insights-step-optimizer", |s| s.optimizer_s = 0.2),
        ("v3-hours-per-t-simulated", |s| s.gpu_hours_per_t_tokens = 140_000.0),
        ("v3-communication-hidden", |s| s.exposed_comm_share = 0.08),
        ("v3-dualpipe-1f1b", |s| s.one_f_one_b_bubble_s = 2.2),
        ("v3-dualpipe-zb1p", |s| s.zb1p_bubble_s = 2.0),
        ("v3-20-sms", |s| s.step_s_by_comm_sms[2].1 = 19.0),
        ("v3-one-to-one", |s| s.communication_s = 0.05),
        ("v3-extension-hours", |s| s.extension_gpu_hours = (70_000.0, 75_000.0, 80_000.0)),
        ("r1-zero-hours-simulated", |s| s.r1_zero_gpu_hours = (8_000.0, 14_000.0, 21_000.0)),
    ];
    let ids: Vec<&str> = list().iter().filter(|c| c.class() == Class::Simulation).map(|c| c.id).collect();
    assert_eq!(turned.map(|(id, _)| id).to_vec(), ids);
    for (id, change) in turned {
        let mut wrong = facts();
        change(&mut wrong);
        assert_eq!(verdict(&wrong, id), Verdict::Fails, "{id}");
    }
}

#[test]
fn plans_on_both_sides_of_a_tolerance_say_nothing() {
    let with = |extension_gpu_hours| SimulatedFacts { extension_gpu_hours, ..facts() };
    assert_eq!(verdict(&with((82_000.0, 98_000.0, 114_000.0)), "v3-extension-hours"), Verdict::Inconclusive);
    assert_eq!(verdict(&with((95_000.0, 98_000.0, 114_000.0)), "v3-extension-hours"), Verdict::Holds);
    // Half and twice the answers' lengths take half and twice the hours: that says nothing about 101K.
    let zero = |r1_zero_gpu_hours| SimulatedFacts { r1_zero_gpu_hours, ..facts() };
    for range in [(50_000.0, 98_000.0, 200_000.0), (50_000.0, 60_000.0, 200_000.0), (1e3, 1e5, 1e7)] {
        assert_eq!(verdict(&zero(range), "r1-zero-hours-simulated"), Verdict::Inconclusive, "{range:?}");
    }
}

#[test]
fn what_is_not_a_simulation_is_inconclusive() {
    let check = |id: &str, change: fn(&mut SimulatedFacts), word: &str| {
        let mut facts = facts();
        change(&mut facts);
        let evidence = verify_one(id, Some(&facts)).unwrap();
        assert_eq!(evidence.verdict, Verdict::Inconclusive, "{id}");
        assert!(evidence.working.contains(word) && evidence.working.contains(". "), "{}", evidence.working);
    };
    check("insights-step", |s| s.step_s = f64::NAN, "step_s is NaN");
    check("insights-step-bubble", |s| s.bubble_s = -1.0, "bubble_s is -1");
    check("v3-dualpipe-zb1p", |s| s.zb1p_bubble_s = 0.0, "ZB1P is 0");
    check("v3-20-sms", |s| s.step_s_by_comm_sms.clear(), "no 20 SMs");
    check("v3-20-sms", |s| s.step_s_by_comm_sms.truncate(2), "fewer than three");
    check("v3-20-sms", |s| s.step_s_by_comm_sms[0].1 = f64::INFINITY, "8 SMs is inf");
    check("r1-zero-hours-simulated", |s| s.r1_zero_gpu_hours = (1e5, 1e4, 1e5), "do not rise");
}

#[test]
fn without_a_simulation_its_claims_are_open() {
    let open = verify_with(&Inputs::published().unwrap(), None);
    let step = open.iter().find(|e| e.claim == "insights-step").unwrap();
    assert_eq!((step.verdict, step.found), (Verdict::Open, None));
}
