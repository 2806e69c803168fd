//! Arithmetic: the expected verdicts, stated; and every one of them turned by a wrong input.

use reseek_claims::{Class, Inputs, Verdict, evidence, find, list, verify_with};

/// Slips of the reports. All other arithmetic holds.
const FAILS: [&str; 5] =
    ["repos-active-params", "repos-mtp-params", "insights-gflop-qwen-72b", "insights-kv-ratio-llama", "r1-zero-epochs"];

fn verdict(inputs: &Inputs, id: &str) -> Verdict {
    evidence(find(id).unwrap(), inputs, None).verdict
}

fn arithmetic() -> Vec<&'static str> {
    list().into_iter().filter(|c| c.class() == Class::Arithmetic).map(|c| c.id).collect()
}

#[test]
fn verdicts_are_as_expected() {
    let evidence = verify_with(&Inputs::published().unwrap(), None);
    let ids = arithmetic();
    assert!(FAILS.iter().all(|id| ids.contains(id)));
    for evidence in evidence.into_iter().filter(|e| ids.contains(&e.claim)) {
        let expect = match evidence.claim {
            // One of its inputs was worked out from the result.
            "insights-mpft-mrft" => Verdict::Open,
            id if FAILS.contains(&id) => Verdict::Fails,
            _ => Verdict::Holds,
        };
        assert_eq!(evidence.verdict, expect, "{evidence:?}");
    }
}

#[test]
fn known_numbers_are_found() {
    let inputs = Inputs::published().unwrap();
    let evidence = verify_with(&inputs, None);
    let check = |id: &str, expect: f64, near: f64| {
        let found = evidence.iter().find(|e| e.claim == id).unwrap().found.unwrap();
        assert!((found - expect).abs() <= near, "{id}: {found} for {expect}");
    };
    check("repos-active-params", 37.552, 1e-3);
    check("insights-gflop-v3", 249.81, 0.01);
    check("insights-gflop-qwen-72b", 444.86, 0.01);
    check("insights-gflop-llama-405b", 2473.22, 0.01);
    check("insights-kv-ratio-llama", 7.344, 1e-3);
    check("v3-hours-per-t", 180.18, 0.01);
    check("v3-two-months", 54.2, 0.01);
    check("v3-experts-max", 12.8, 1e-9);
    check("repos-serving-cost", 87_072.0, 1e-9);
    check("repos-serving-revenue", 562_100.0, 1e-6);
    check("repos-serving-margin", 545.47, 0.01);
    check("repos-serving-nodes", 226.86, 0.01);
    check("r1-zero-epochs", 3.78, 0.01);
    check("repos-files-params", 684.53, 0.01);
    check("v3-cost-misread", 5.576, 1e-12);
}

type Mutation = fn(&mut Inputs);

/// A wrong input for every claim, after which its verdict must be another.
const MUTATIONS: [(&str, Mutation); 39] = [
    ("v3-total-params", |i| i.v3.num_hidden_layers += 1),
    ("v3-active-params", |i| i.v3.intermediate_size *= 4),
    ("repos-active-params", |i| i.v3.vocab_size = 69_850),
    ("repos-mtp-params", |i| moe(i).moe_intermediate_size = 2028),
    ("repos-files-params", |i| i.v3.vocab_size += 100_000),
    ("insights-gflop-v3", |i| moe(i).num_experts_per_tok = 9),
    ("insights-gflop-v2", |i| i.v2.num_hidden_layers += 2),
    ("insights-gflop-qwen-72b", |i| i.qwen_72b.intermediate_size = 25_256),
    ("insights-gflop-llama-405b", |i| i.llama_405b.num_hidden_layers += 4),
    ("insights-tflops-causal", |i| i.step_s = 20.0),
    ("insights-tflops-noncausal", |i| i.step_s = 20.0),
    ("insights-mfu-causal", |i| i.cluster.gpu.bf16_flops = 990e12),
    ("insights-mfu-noncausal", |i| i.cluster.gpu.bf16_flops = 990e12),
    ("insights-kv-v3", |i| i.v3.num_hidden_layers += 1),
    ("insights-kv-qwen-72b", |i| i.qwen_72b.num_key_value_heads = 9),
    ("insights-kv-llama-405b", |i| i.llama_405b.num_hidden_layers += 1),
    ("insights-kv-ratio-qwen", |i| i.qwen_72b.num_hidden_layers += 1),
    ("insights-kv-ratio-llama", |i| {
        if let Some(mla) = &mut i.v3.mla {
            mla.kv_lora_rank = 517;
        }
    }),
    ("v3-hours-total", |i| i.hours[1] += 1e3),
    ("v3-hours-pretraining", |i| i.hours_per_t = 181e3),
    ("v3-cost", |i| i.usd_per_hour = 2.1),
    ("v3-cost-misread", |i| i.usd_per_hour = 2.1),
    ("v3-hours-per-t", |i| i.step_s = 20.5),
    ("v3-days-per-t", |i| i.cluster.gpus = 1024),
    ("v3-two-months", |i| i.hours[0] = 3e6),
    ("insights-tokens-per-day", |i| i.sequences += 1.0),
    ("insights-step-parts", |i| i.step_parts_s[1] -= 0.01),
    ("repos-serving-cost", |i| i.serving.nodes = 226.8),
    ("repos-serving-revenue", |i| i.serving.input_cached += 10e9),
    ("repos-serving-margin", |i| i.serving.revenue_usd += 1e3),
    ("repos-serving-nodes", |i| i.serving.rates[1] = 15.2e3),
    ("r1-hours", |i| i.r1_hours[0] += 1e3),
    ("r1-zero-hours", |i| i.r1_gpus = 648.0),
    ("r1-stages-hours", |i| i.r1_wall_h[1] = 82.0),
    ("r1-cost", |i| i.usd_per_hour = 1.9),
    ("r1-zero-epochs", |i| i.r1_prompts[0] = 146e3),
    ("v3-experts-per-node", |i| i.ib_gb_s = 40.0),
    ("v3-experts-max", |i| i.nvlink_gb_s = 200.0),
    ("insights-node-limit", |i| moe(i).topk_group = 5),
];

fn moe(inputs: &mut Inputs) -> &mut reseek_spec::MoeSpec {
    inputs.v3.moe.as_mut().unwrap()
}

#[test]
fn a_wrong_input_turns_every_verdict() {
    let right = Inputs::published().unwrap();
    let mutated: Vec<&str> = MUTATIONS.iter().map(|(id, _)| *id).collect();
    // What is open has no verdict to turn.
    let checked: Vec<&str> = arithmetic().into_iter().filter(|id| verdict(&right, id) != Verdict::Open).collect();
    assert_eq!(mutated, checked);
    for (id, mutate) in MUTATIONS {
        let mut wrong = right.clone();
        mutate(&mut wrong);
        assert_ne!(verdict(&wrong, id), verdict(&right, id), "{id}");
    }
}

#[test]
fn senseless_inputs_are_inconclusive_not_a_panic() {
    let check = |mutate: fn(&mut Inputs), ids: &[&str]| {
        let mut inputs = Inputs::published().unwrap();
        mutate(&mut inputs);
        for id in ids {
            assert_eq!(verdict(&inputs, id), Verdict::Inconclusive, "{id}");
        }
    };
    check(|i| i.step_s = f64::NAN, &["v3-hours-per-t", "insights-mfu-causal"]);
    check(|i| i.cluster.gpus = 0, &["v3-days-per-t", "insights-tflops-causal"]);
    check(|i| i.v3.moe = None, &["v3-experts-max", "insights-node-limit"]);
    check(|i| i.r1_prompts = [0.0; 5], &["r1-zero-epochs"]);
    check(|i| i.usd_per_hour = -2.0, &["v3-cost-misread"]);
    check(|i| i.ib_gb_s = 0.0, &["v3-experts-per-node"]);
}

#[test]
fn the_misreading_is_on_record() {
    let claim = find("v3-cost-misread").unwrap();
    assert!(claim.statement.contains("never says so") && claim.statement.contains("Misreading"));
    let evidence = verify_with(&Inputs::published().unwrap(), None);
    let working = &evidence.iter().find(|e| e.claim == claim.id).unwrap().working;
    assert!(working.contains("items beside them") && working.contains("assumptions"), "{working}");
}
