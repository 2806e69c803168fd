//! What is asserted at run time, and what gives no gradient.

use reseek_engine::Completion;
use reseek_model::Model;
use reseek_rl::{RlError, StepName, UpdateSettings, rollout, update};
use reseek_spec::RlRecipe;
use reseek_tensor::compute::Compute;
use reseek_tensor::pool::set_threads;
use reseek_train::{Learner, TrainError};

use crate::common::{Report, STOP, VOCAB, grade, policy, prompts, recipe, specs, step, step_on, weights};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn parity(_: usize, completion: &Completion) -> reseek_rl::Rewards {
    grade(Some(f64::from(completion.tokens[0].is_multiple_of(2))))
}

#[test]
fn before_the_first_update_all_three_policies_are_one() {
    for (what, spec) in specs() {
        for (minibatches, temperature, compute) in
            [(1, 1.0, Compute::F32), (3, 1.0, Compute::F32), (2, 0.7, Compute::F32), (1, 1.0, Compute::Fp8)]
        {
            let recipe = RlRecipe { minibatches, temperature, kl_beta: 0.1, ..recipe() };
            let mut policy = Learner::new(weights(spec.clone()).computing_in(compute));
            for i in 0..3 {
                let reference = Model::new(&policy.weights);
                let report = step(&mut policy, Some(&reference), &recipe, i, parity).unwrap();
                assert_eq!(report.update.first_ratio_gap, 0.0, "{what}, {compute}: sampler and trainer differ");
                // The later mini-batches of a step come after an update: their KL is above 0 and shows in the mean.
                assert_eq!(report.update.kl == 0.0, minibatches == 1, "{what}: KL {}", report.update.kl);
            }
        }
    }
}

/// At a temperature the policy is softmax(z/T): its entropy, its ratio and its gradient, not those of a softmax that nothing was drawn from.
#[test]
fn the_policy_that_learns_is_the_one_that_was_sampled() {
    for (what, spec) in specs() {
        let mut peaked = weights(spec);
        let head = peaked.layout.range("lm_head.weight");
        peaked.data[head].iter_mut().for_each(|w| *w *= 12.0);
        for temperature in [0.7, 1.0, 1.5] {
            let mut policy = Learner::new(peaked.clone());
            let recipe = RlRecipe { temperature, max_new_tokens: 1, ..recipe() };
            let entropies =
                prompts().iter().map(|prompt| entropy(&policy.model, prompt, temperature)).collect::<Vec<_>>();
            let expected = entropies.iter().sum::<f64>() / entropies.len() as f64;
            let reference = Model::new(&policy.weights);
            let report = step(&mut policy, Some(&reference), &recipe, 0, parity).unwrap();
            assert!(
                (report.update.entropy - expected).abs() < 1e-4,
                "{what}, T {temperature}: {} for {expected}",
                report.update.entropy
            );
            assert_eq!((report.update.first_ratio_gap, report.update.kl), (0.0, 0.0), "{what}, T {temperature}");
        }
    }
}

/// Of the next token's distribution at `temperature`, by scoring every token.
fn entropy(model: &Model, prompt: &[u32], temperature: f64) -> f64 {
    let score = |token: u32| *reseek_engine::score(model, &[prompt, &[token]].concat()).unwrap().last().unwrap() as f64;
    let weights: Vec<f64> = (0..VOCAB as u32).map(|token| (score(token) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    -weights.iter().map(|w| w / total * (w / total).ln()).sum::<f64>()
}

#[test]
fn a_reference_that_is_said_to_be_fresh_and_is_not_stops_the_run() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let mut other = weights(spec.clone());
    let head = other.layout.range("lm_head.weight");
    other.data[head].iter_mut().for_each(|w| *w *= 1.5);
    let error = step(&mut policy(spec), Some(&Model::new(&other)), &recipe(), 7, parity).unwrap_err();
    assert!(matches!(error, RlError::StaleReference { step: 7, kl } if kl > 0.0), "{error}");
    assert!(error.to_string().contains(". "));
}

#[test]
fn samples_without_a_verdict_give_no_gradient() {
    for (what, spec) in specs() {
        let mut policy = policy(spec);
        let before = bits(&policy.weights.data);
        let report = step(&mut policy, None, &recipe(), 0, |_, _| grade(None)).unwrap();
        assert_eq!(report.update.grad_norm, 0.0, "{what}");
        assert!(bits(&policy.weights.data) == before, "{what}: an outage became an update");
        assert_eq!((report.rollout.reward, report.rollout.reward_std), (0.0, 0.0));
        // Equal rewards say nothing about which answer is better.
        let report = step(&mut policy, None, &recipe(), 1, |_, _| grade(Some(1.0))).unwrap();
        assert_eq!(
            (report.update.grad_norm, report.rollout.reward, report.rollout.frac_reward_zero_std),
            (0.0, 1.0, 1.0),
            "{what}"
        );
        assert!(bits(&policy.weights.data) == before, "{what}");
    }
}

#[test]
fn a_group_with_an_outage_teaches_nothing_and_the_others_do() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let graded = |outage: bool| {
        let mut policy = policy(spec.clone());
        let report = step(&mut policy, None, &recipe(), 0, |prompt, c| match (prompt, outage) {
            (0, true) => grade(None),
            (0, false) => grade(Some(0.25)),
            _ => parity(prompt, c),
        })
        .unwrap();
        (bits(&policy.weights.data), report)
    };
    // A group that was not graded weighs as much as one whose rewards are all equal: nothing.
    let ((with, outage), (without, even)) = (graded(true), graded(false));
    assert!(outage.update.grad_norm > 0.0);
    assert!(with == without);
    // In the report it is left out of the means, so that it does not look like wrong answers.
    let accuracy = |report: &Report| report.rollout.mean("accuracy").unwrap();
    let gap = |with: f64, even: f64| (with - (4.0 * even - 0.25) / 3.0).abs();
    assert!(
        gap(outage.rollout.reward, even.rollout.reward) < 1e-9,
        "{} and {}",
        outage.rollout.reward,
        even.rollout.reward
    );
    assert!(gap(accuracy(&outage), accuracy(&even)) < 1e-9, "{} and {}", accuracy(&outage), accuracy(&even));
}

#[test]
fn threads_change_no_bit_of_a_step() {
    for (what, spec) in specs() {
        let run = |threads: usize| {
            set_threads(threads);
            let mut policy = policy(spec.clone());
            let reference = Model::new(&policy.weights);
            let recipe = RlRecipe { minibatches: 2, kl_beta: 0.01, ..recipe() };
            let first = step(&mut policy, Some(&reference), &recipe, 0, parity).unwrap();
            let second = step(&mut policy, None, &recipe, 1, parity).unwrap();
            (bits(&policy.weights.data), format!("{first:?} {second:?}"))
        };
        let one = run(1);
        for threads in [2, 5] {
            assert!(run(threads) == one, "{what}: {threads} threads");
        }
    }
}

/// Prompts of one token and of many, in groups that do not fit into a chunk, cut by lanes and mini-batches: sharing a prompt's rows
/// changes neither what the policies are nor the bits of the step.
#[test]
fn shared_prompts_are_on_policy_however_groups_are_cut() {
    let prompts: Vec<Vec<u32>> =
        [1, 2, 9, 50].into_iter().map(|len| (0..len).map(|i| (5 * i + len) % 29 + 3).collect()).collect();
    let rows_once: usize = prompts.iter().map(|prompt| prompt.len() - 1).sum();
    for (what, spec) in specs() {
        for (minibatches, lanes) in [(1, 1), (1, 3), (3, 2)] {
            let recipe = RlRecipe { group: 80, max_new_tokens: 20, minibatches, kl_beta: 0.1, ..recipe() };
            let run = |threads: usize| {
                set_threads(threads);
                let mut policy = policy(spec.clone());
                let reference = Model::new(&policy.weights);
                let settings = UpdateSettings::new(&recipe, recipe.lr, lanes, true).unwrap();
                // No token ends a completion.
                let (prompts, step) = (prompts.clone(), (0, settings));
                let report = step_on(prompts, u32::MAX, &mut policy, Some(&reference), &recipe, step, parity).unwrap();
                (bits(&policy.weights.data), report)
            };
            let (weights, report) = run(1);
            assert_eq!(report.update.first_ratio_gap, 0.0, "{what}: sampler and trainer differ");
            assert_eq!(report.update.kl == 0.0, minibatches == 1, "{what}: KL {}", report.update.kl);
            assert!(report.update.grad_norm > 0.0);
            let prompt_rows = report.update.trained_rows - report.rollout.sampled_tokens;
            // Each group once in each mini-batch, and once more for its second chunk or a lane's end.
            let most = rows_once * minibatches + 50 * (prompts.len() + lanes * minibatches);
            assert!((rows_once + 1..=most).contains(&prompt_rows), "{what}: {prompt_rows} rows of prompts");
            let (weights_3, report_3) = run(3);
            assert!(weights == weights_3 && format!("{report:?}") == format!("{report_3:?}"), "{what}: 3 threads");
        }
    }
}

#[test]
fn a_reward_that_is_not_a_number_is_refused() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let mut policy = policy(spec);
    let before = bits(&policy.weights.data);
    let error = step(&mut policy, None, &recipe(), 0, |_, _| grade(Some(f64::NAN))).unwrap_err();
    assert!(matches!(error, RlError::Train(TrainError::Diverged { .. })), "{error}");
    assert!(bits(&policy.weights.data) == before);
}

#[test]
fn prompts_without_room_are_refused() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let context = spec.max_position_embeddings;
    let settings = UpdateSettings::new(&recipe(), 0.1, 1, false).unwrap();
    let prompts = vec![vec![0; context]];
    let error = step_on(prompts, 1, &mut policy(spec), None, &recipe(), (0, settings), parity);
    assert!(matches!(error, Err(RlError::Engine(_))));
}

/// A rollout is data: kept, it can be learnt from again by a policy that has moved on, without the check that its own samples must pass.
#[test]
fn a_stored_rollout_can_be_learnt_from_again() {
    for (what, spec) in specs() {
        let recipe = recipe();
        let mut policy = policy(spec);
        let name = StepName { seed: 1, stage: "test", step: 0 };
        let settings = UpdateSettings::new(&recipe, recipe.lr, 2, false).unwrap();
        let stored = rollout(&policy, prompts(), &[STOP], &recipe, &name, |i, _, group| {
            group.iter().map(|c| parity(i, c)).collect()
        })
        .unwrap();
        let own = update(&mut policy, None, &stored, &settings, &name).unwrap();
        assert_eq!(own.first_ratio_gap, 0.0, "{what}");
        let again = update(&mut policy, None, &stored, &settings, &name).unwrap();
        assert!(again.loss < own.loss && again.grad_norm > 0.0, "{what}: {} after {}", again.loss, own.loss);
        // As new samples they would be refused: they are not of this policy.
        let forged = reseek_rl::Rollout { sampled_at: policy.optimizer.step, ..stored };
        let error = update(&mut policy, None, &forged, &settings, &name).unwrap_err();
        assert!(matches!(error, RlError::OffPolicy { step: 0, gap } if gap > 1e-5), "{error}");
    }
}

/// Dynamic sampling (DAPO, 3.2) as a loop around the rollout: groups whose rewards are all equal give way to others.
#[test]
fn groups_that_say_nothing_can_be_drawn_again_before_the_update() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let recipe = RlRecipe { group: 2, ..recipe() };
    let mut policy = policy(spec);
    let mut kept: Option<reseek_rl::Rollout> = None;
    for step in 0..20 {
        let name = StepName { seed: 1, stage: "test", step };
        let drawn = rollout(&policy, prompts(), &[STOP], &recipe, &name, |i, _, group| {
            group.iter().map(|c| parity(i, c)).collect()
        })
        .unwrap();
        let all = kept.get_or_insert_with(|| reseek_rl::Rollout { prompts: vec![], samples: vec![], ..drawn.clone() });
        for group in drawn.groups().filter(|group| group[0].rewards.total != group[1].rewards.total) {
            let prompt = all.prompts.len();
            all.prompts.push(drawn.prompts[group[0].prompt].clone());
            all.samples.extend(group.iter().cloned().map(|sample| reseek_rl::Sample { prompt, ..sample }));
        }
    }
    let kept = kept.unwrap();
    assert!(kept.prompts.len() > 10 && kept.report().frac_reward_zero_std == 0.0);
    let name = StepName { seed: 1, stage: "test", step: 0 };
    let settings = UpdateSettings::new(&recipe, recipe.lr, 2, false).unwrap();
    let report = update(&mut policy, None, &kept, &settings, &name).unwrap();
    assert!(report.first_ratio_gap == 0.0 && report.grad_norm > 0.0);
}
