//! R1-Zero with every setting of its algorithms away from its default: made in one go, on one thread, or stopped on its way, it is the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Scratch, assert_same_bytes, copy, finished, reseek, stderr, succeed};
use crate::resume::{signal, spawn, wait_for};

/// A reward that the smallest model earns now and then stands in for right answers, which it has none of.
const SETTINGS: [&str; 14] = [
    "algorithm=dapo",
    "steps=40",
    "minibatches=2",
    "num_iterations=2",
    "scale_rewards=batch",
    "mask_truncated=true",
    "dynamic_sampling=2",
    "kl_beta=0.05",
    "kl_estimator=k3_corrected",
    "clip_epsilon=0.2",
    "clip_epsilon_high=0.28",
    "clip_delta=4",
    "reference_mixup_alpha=0.6",
    "rewards.language=1",
];

fn zero(out: &Path, settings: &[&str]) -> Command {
    let mut command = reseek();
    command.args(["zero", "--quiet", "--redo", "--out"]).arg(out);
    settings.iter().for_each(|setting| {
        command.args(["--set", &format!("zero.{setting}")]);
    });
    command
}

#[test]
fn all_settings_at_once_give_the_same_bytes_however_they_are_run() {
    let run = finished();
    let scratch = Scratch::new();
    let [whole, one_thread, stopped] = ["whole", "one", "stopped"].map(|name| {
        copy(&run.out, &scratch.join(name));
        scratch.join(name)
    });
    succeed(&mut zero(&whole, &SETTINGS));
    let metrics = fs::read_to_string(whole.join("zero/metrics.jsonl")).unwrap();
    let steps: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |key: &str| steps.iter().map(|step| step[key].as_f64().unwrap()).collect::<Vec<f64>>();
    assert_eq!(steps.len(), 40);
    assert!(of("grad_norm").iter().any(|norm| *norm > 0.0) && of("kl").iter().any(|kl| *kl > 0.0));
    // Two questions a step, and up to two rounds of others in their places.
    assert!(of("prompts_drawn").iter().all(|drawn| (2.0..=6.0).contains(drawn)));
    assert!(of("frac_prompts_mixed").iter().all(|share| (0.0..=1.0).contains(share)));
    assert_eq!(of("completions/mean_length"), of("response_length"));
    assert_eq!(of("clip_ratio/region_mean"), of("clip_fraction"));

    succeed(zero(&one_thread, &SETTINGS).env("RESEEK_THREADS", "1"));
    assert_same_bytes(&one_thread, &whole);
    let mut child = spawn(zero(&stopped, &SETTINGS));
    wait_for(&mut child, &stopped, "redo/zero/metrics.jsonl");
    signal(&child, "INT");
    child.wait().unwrap();
    succeed(&mut zero(&stopped, &SETTINGS));
    assert_same_bytes(&stopped, &whole);
}

/// Before anything is made.
#[test]
fn settings_that_do_not_fit_are_refused_by_key_and_value() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("run");
    copy(&run.out, &out);
    for (settings, parts) in [
        (&["algorithm=papo"][..], ["no algorithm is called papo", "dapo", "reinforce++"]),
        (&["clip_epsilon_high=0.28"], ["zero: clip_epsilon_high = 0.28", "at least clip_epsilon = 10", "Lower"]),
        (&["clip_delta=11"], ["zero: clip_delta = 11", "above 1 + 10", "Raise it"]),
        (&["num_iterations=0"], ["zero.num_iterations = 0", "1 or more", "learns once"]),
        (&["kl_beta=-0.1"], ["zero.kl_beta = -0.1", "0 or more", "0.001"]),
        (&["reference_mixup_alpha=1.5"], ["zero.reference_mixup_alpha = 1.5", "at most 1", "TR-DPO"]),
        (&["reference_mixup_alpha=0"], ["zero.reference_mixup_alpha = 0", "above 0", "TR-DPO"]),
        (&["dynamic_sampling=-1"], ["zero.dynamic_sampling = -1", "0 or more", "rounds"]),
        (&["kl_estimator=k4"], ["k4", "k3_corrected", "k1"]),
        (&["scale_rewards=false"], ["scale_rewards", "string", "zero"]),
    ] {
        let output = zero(&out, settings).output().unwrap();
        let said = stderr(&output);
        assert!(!output.status.success(), "{settings:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{settings:?}: {said}");
    }
}
