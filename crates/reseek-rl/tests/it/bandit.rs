//! A reward that a policy can find by trying: it must be found, by the right prompt, and held against the pull of the reference.

use reseek_engine::Completion;
use reseek_model::Model;
use reseek_rl::algorithm::TABLE;
use reseek_rl::{Rewards, UpdateSettings};
use reseek_spec::RlRecipe;
use reseek_train::Learner;

use crate::common::{PROMPTS, Report, STOP, VOCAB, grade, policy, prompts, recipe, specs, step, step_on};

/// One arm for each prompt: the first token must be even for prompts 0 and 2, odd for the others.
fn pulls_its_arm(prompt: usize, completion: &Completion) -> bool {
    completion.tokens[0] as usize % 2 == prompt % 2
}

#[test]
fn a_bandit_is_learnt_in_a_few_steps() {
    for (what, spec) in specs() {
        for (minibatches, algorithm) in [1, 2].into_iter().flat_map(|n| TABLE.map(|algorithm| (n, algorithm.name))) {
            // Where tokens count and not answers, long answers are loud, of which only the first token matters: at the larger rate a prompt
            // may settle on its wrong arm, from which no group brings it back.
            let (lr, steps) = if ["dr_grpo", "luspo"].contains(&algorithm) { (2e-3, 80) } else { (5e-3, 40) };
            let recipe = RlRecipe { lr, minibatches, algorithm: algorithm.to_string(), ..recipe() };
            let mut policy = policy(spec.clone());
            let reports: Vec<_> = (0..steps)
                .map(|i| {
                    let grade = |prompt: usize, c: &Completion| grade(Some(f64::from(pulls_its_arm(prompt, c))));
                    step(&mut policy, None, &recipe, i, grade).unwrap()
                })
                .collect();
            let (first, last) = (&reports[0], &reports[reports.len() - 4..]);
            assert!(
                (first.rollout.reward - 0.5).abs() < 0.3,
                "{what}, {algorithm}: reward {} at first",
                first.rollout.reward
            );
            let reward = last.iter().map(|r| r.rollout.reward).sum::<f64>() / last.len() as f64;
            assert!(reward > 0.9, "{what}, {algorithm}, {minibatches} mini-batches: reward {reward} at last");
            // Sampler and trainer are the same bits in every step, not in the first alone.
            assert!(reports.iter().all(|r| r.update.first_ratio_gap == 0.0), "{what}, {algorithm}: off-policy");
            assert!(last[0].update.entropy < first.update.entropy);
        }
    }
}

#[test]
fn a_strong_pull_to_the_reference_holds_the_policy() {
    let learnt = |kl_beta: f64| {
        let (_, spec) = specs().into_iter().next().unwrap();
        let mut policy = policy(spec);
        let start = Model::new(&policy.weights);
        let recipe = RlRecipe { kl_beta, ..recipe() };
        let mut reward = 0.0;
        for i in 0..30 {
            let grade = |prompt: usize, c: &Completion| grade(Some(f64::from(pulls_its_arm(prompt, c))));
            let report = held(&mut policy, &start, &recipe, i, grade);
            reward += if i >= 25 { report.rollout.reward / 5.0 } else { 0.0 };
        }
        reward
    };
    let (free, held) = (learnt(0.0), learnt(10.0));
    assert!(free > 0.85 && held < 0.75, "{free} without the pull, {held} with it");
}

/// A step against a reference of long ago.
fn held(
    policy: &mut Learner,
    reference: &Model,
    recipe: &RlRecipe,
    step: u64,
    grade: impl Fn(usize, &Completion) -> Rewards + Sync + Send,
) -> Report {
    let settings = UpdateSettings::new(recipe, recipe.lr, 2, false).unwrap();
    step_on(prompts(), STOP, policy, Some(reference), recipe, (step, settings), grade).unwrap()
}

#[test]
fn the_report_counts_what_happened() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let recipe = recipe();
    let report = step(&mut policy(spec), None, &recipe, 0, |prompt, c| Rewards {
        total: Some(if prompt == 0 { 2.0 } else { f64::from(pulls_its_arm(prompt, c)) }),
        named: vec![("accuracy", None), ("format", (prompt < 2).then_some(0.5)), ("language", Some(0.25))],
        learned: true,
    })
    .unwrap();
    let samples = (PROMPTS * recipe.group) as f64;
    assert_eq!((report.rollout.reward_verified, report.rollout.reward_learned.map(|r| r >= 0.5)), (None, Some(true)));
    // Each over the samples that it graded; one that graded none has no mean.
    assert_eq!(report.rollout.rewards, [("format", 0.5), ("language", 0.25)]);
    assert!(report.rollout.frac_reward_zero_std >= 0.25, "prompt 0's rewards are all the same");
    assert!(report.rollout.reward >= 0.5 && report.rollout.reward_std > 0.0);
    assert_eq!(report.rollout.response_length, report.rollout.sampled_tokens as f64 / samples);
    assert!(report.rollout.response_length <= 6.0 && report.rollout.truncated > 0.0);
    // Prompts of three tokens, of which two predict nothing that is learnt and serve a group together; between two lanes there may be
    // a group that both have a part of.
    let prompt_rows = report.update.trained_rows - report.rollout.sampled_tokens;
    assert!([2 * PROMPTS, 2 * PROMPTS + 2].contains(&prompt_rows), "{prompt_rows} rows of prompts");
    assert!((report.update.entropy - (VOCAB as f64).ln()).abs() < 0.2);
    assert_eq!((report.update.kl, report.update.clip_fraction), (0.0, 0.0));
}

/// Half of the prompts are graded by a rule that gives 3, half by a model that gives 1: the mean of 2 is that of neither.
#[test]
fn rewards_of_rules_and_of_a_reward_model_are_reported_apart() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let graded = |prompt: usize, _: &Completion| {
        let (reward, learned) = if prompt.is_multiple_of(2) { (3.0, false) } else { (1.0, true) };
        Rewards { total: Some(reward), learned, ..Rewards::default() }
    };
    let report = step(&mut policy(spec.clone()), None, &recipe(), 0, graded).unwrap();
    assert_eq!(
        (report.rollout.reward, report.rollout.reward_verified, report.rollout.reward_learned),
        (2.0, Some(3.0), Some(1.0))
    );
    let report = step(&mut policy(spec), None, &recipe(), 0, |_, _| grade(None)).unwrap();
    assert_eq!(
        (report.rollout.reward_verified, report.rollout.reward_learned),
        (None, None),
        "an outage has no reward"
    );
}
