//! Which tokens are in the loss, over how many it is a mean, and how often they are learnt from.

use reseek_engine::Finish;
use reseek_model::Model;
use reseek_rl::algorithm::TABLE;
use reseek_rl::{Rollout, StepName, UpdateReport, UpdateSettings, rollout, update};
use reseek_spec::RlRecipe;
use reseek_train::Learner;

use crate::common::{PROMPTS, STOP, grade, policy, prompts, recipe, specs};

const NAME: StepName = StepName { seed: 1, stage: "test", step: 0 };

fn drawn(policy: &Learner, recipe: &RlRecipe, stop: u32) -> Rollout {
    let odd = |_: usize, _: &[u32], group: &[reseek_engine::Completion]| {
        group.iter().map(|c| grade(Some(f64::from(c.tokens[0] % 2)))).collect()
    };
    rollout(policy, prompts(), &[stop], recipe, &NAME, odd).unwrap()
}

/// What an update of the rollout reports, and the weights after it.
fn updated(recipe: &RlRecipe, lanes: usize, rollout: &Rollout) -> (UpdateReport, Vec<f32>) {
    let (_, spec) = specs().into_iter().next().unwrap();
    let mut policy = policy(spec);
    let settings = UpdateSettings::new(recipe, recipe.lr, lanes, false).unwrap();
    let report = update(&mut policy, None, rollout, &settings, &NAME).unwrap();
    (report, policy.weights.data)
}

fn small(algorithm: &str) -> RlRecipe {
    // Six tokens at most: of 32 completions a few end before.
    RlRecipe { algorithm: algorithm.to_string(), ..recipe() }
}

/// The advantages of a step's samples and their lengths, for those that `counts`.
fn mean_over_tokens(rollout: &Rollout, counts: impl Fn(&reseek_rl::Sample) -> bool) -> f64 {
    let advantages = rollout.groups().flat_map(|group| {
        let rewards: Vec<Option<f64>> = group.iter().map(|sample| sample.rewards.total).collect();
        (TABLE[0].advantages)(&[rewards], TABLE[0].scale)
    });
    let (mut sum, mut tokens) = (0.0, 0.0);
    for (sample, advantage) in rollout.samples.iter().zip(advantages).filter(|(sample, _)| counts(sample)) {
        sum += f64::from(advantage) * sample.completion.tokens.len() as f64;
        tokens += sample.completion.tokens.len() as f64;
    }
    -sum / tokens
}

/// On-policy a token's term is −A: a mean over tokens is known beforehand. The end token is one of them, and so is one in the middle of an
/// answer that has the same value, as padding has it in some vocabularies; none is where an answer was cut off and is masked.
#[test]
fn the_loss_is_a_mean_over_the_sampled_tokens_and_no_others() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let policy = policy(spec);
    let of_step = small("dapo");
    let masked = RlRecipe { mask_truncated: true, ..of_step.clone() };
    for stop in [STOP, u32::MAX] {
        let rollout = drawn(&policy, &RlRecipe { max_new_tokens: 24, ..of_step.clone() }, stop);
        let has_end = |sample: &&reseek_rl::Sample| sample.completion.tokens.contains(&STOP);
        assert!(rollout.samples.iter().filter(has_end).count() > 4);
        let (report, _) = updated(&of_step, 2, &rollout);
        let expected = mean_over_tokens(&rollout, |_| true);
        assert!((report.loss - expected).abs() < 1e-6, "stop {stop}: {} for {expected}", report.loss);
        let prompt_rows = report.trained_rows - rollout.report().sampled_tokens;
        assert!((2 * PROMPTS..=2 * PROMPTS + 2).contains(&prompt_rows), "{prompt_rows}");
        let (report, weights) = updated(&masked, 2, &rollout);
        if stop == STOP {
            let expected = mean_over_tokens(&rollout, |sample| sample.completion.finish == Finish::Stop);
            assert!((report.loss - expected).abs() < 1e-6, "masked: {} for {expected}", report.loss);
        } else {
            // Every answer was cut off: no row, no loss, and no step that is not a number.
            assert_eq!((report.loss, report.trained_rows, report.grad_norm), (0.0, 0, 0.0));
            assert!(weights == policy.weights.data);
        }
    }
}

/// The divisors are those of the step as it was sampled: an answer that is masked is one of N, and none of its tokens counts. At a learning
/// rate of 0 every mini-batch is on-policy.
#[test]
fn every_reduction_divides_by_what_it_says() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let policy = policy(spec);
    for (algorithm, mask_truncated, minibatches) in TABLE
        .into_iter()
        .filter(|algorithm| !["cispo", "sapo"].contains(&algorithm.name))
        .flat_map(|algorithm| [(algorithm, false, 1), (algorithm, true, 1), (algorithm, true, 2)])
    {
        let recipe = RlRecipe { max_new_tokens: 24, lr: 0.0, mask_truncated, minibatches, ..small(algorithm.name) };
        let rollout = drawn(&policy, &recipe, STOP);
        let rewards = |group: &[reseek_rl::Sample]| group.iter().map(|sample| sample.rewards.total).collect();
        let groups: Vec<Vec<Option<f64>>> = rollout.groups().map(rewards).collect();
        let advantages = (algorithm.advantages)(&groups, algorithm.scale);
        let (mut means, mut sums, mut tokens) = (0.0, 0.0, 0.0);
        for (sample, advantage) in rollout.samples.iter().zip(advantages) {
            if !(mask_truncated && sample.completion.finish == Finish::Length) {
                let (length, advantage) = (sample.completion.tokens.len() as f64, f64::from(advantage));
                (means, sums, tokens) = (means + advantage, sums + advantage * length, tokens + length);
            }
        }
        let n = rollout.samples.len() as f64;
        assert!(!mask_truncated || tokens < rollout.report().sampled_tokens as f64);
        let expected = match algorithm.name {
            "grpo" | "gspo" | "rloo" => means / n,
            "luspo" => sums / n,
            "dr_grpo" => sums / (n * 24.0),
            "bnpo" if minibatches > 1 => continue,
            _ => sums / tokens,
        };
        let (report, _) = updated(&recipe, 2, &rollout);
        let what = format!("{}, mask {mask_truncated}, {minibatches} mini-batches", algorithm.name);
        assert!((report.loss + expected).abs() < 1e-5, "{what}: {} for {}", report.loss, -expected);
    }
}

/// However a mini-batch is dealt to lanes, the mean is over the same tokens: the step is the same up to the rounding of sums, in every
/// algorithm and with a mask.
#[test]
fn lanes_change_a_step_by_rounding_alone() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let policy = policy(spec);
    for algorithm in TABLE {
        for (mask_truncated, minibatches) in [(false, 1), (true, 1), (true, 3)] {
            let recipe = RlRecipe { mask_truncated, minibatches, ..small(algorithm.name) };
            let rollout = drawn(&policy, &RlRecipe { max_new_tokens: 24, ..recipe.clone() }, STOP);
            let (one, _) = updated(&recipe, 1, &rollout);
            for lanes in [2, 5] {
                let (more, _) = updated(&recipe, lanes, &rollout);
                let near = |a: f64, b: f64| (a - b).abs() <= 2e-5 * a.abs() + 1e-9;
                let what =
                    format!("{}, {minibatches} mini-batches, mask {mask_truncated}, {lanes} lanes", algorithm.name);
                assert!(one.grad_norm > 0.0 && near(one.grad_norm, more.grad_norm), "{what}: {one:?} and {more:?}");
                assert!((one.loss - more.loss).abs() < 1e-5, "{what}: {} and {}", one.loss, more.loss);
            }
        }
    }
}

/// Two iterations are two updates from the same samples, to the bit; only the first is on-policy, and the reference is asked once.
#[test]
fn iterations_are_updates_from_the_same_samples() {
    for (what, spec) in specs() {
        for minibatches in [1, 3] {
            let recipe = RlRecipe { minibatches, kl_beta: 0.1, ..recipe() };
            let start = policy(spec.clone());
            let (reference, rollout) = (Model::new(&start.weights), drawn(&start, &recipe, STOP));
            let settings = |num_iterations| UpdateSettings {
                num_iterations,
                ..UpdateSettings::new(&recipe, recipe.lr, 2, true).unwrap()
            };
            let (mut at_once, mut in_turn) = (policy(spec.clone()), policy(spec.clone()));
            let both = update(&mut at_once, Some(&reference), &rollout, &settings(2), &NAME).unwrap();
            let first = update(&mut in_turn, Some(&reference), &rollout, &settings(1), &NAME).unwrap();
            let second = update(&mut in_turn, Some(&reference), &rollout, &settings(1), &NAME).unwrap();
            assert!(at_once.weights.data == in_turn.weights.data, "{what}");
            assert_eq!(at_once.optimizer.step, 2 * minibatches as u64);
            assert_eq!(both.first_ratio_gap, 0.0);
            assert!((both.kl - (first.kl + second.kl) / 2.0).abs() < 1e-9 && second.kl > 0.0, "{what}");
            assert_eq!((both.trained_rows, both.batch_rows), (2 * first.trained_rows, first.trained_rows));
        }
    }
}
