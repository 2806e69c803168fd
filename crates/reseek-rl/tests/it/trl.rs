//! Advantages, losses and gradients beside TRL's own, on inputs that `fixtures/make_grpo.py` drew and had its trainers compute.

use reseek_rl::algorithm::advantage::{leave_one_out, relative_to_the_group};
use reseek_rl::algorithm::{Algorithm, Known, Sizes, TABLE, TermSettings};
use reseek_spec::{KlEstimator, ScaleRewards};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/grpo.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(|x| x.as_f64().unwrap()).collect()
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// The largest distance between two lists, as a share of `of` beyond which a number is not 0.
#[track_caller]
fn assert_near(what: &str, got: &[f64], expect: &[f64]) {
    assert_eq!(got.len(), expect.len(), "{what}");
    let scale = expect.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    for (i, (got, expect)) in got.iter().zip(expect).enumerate() {
        assert!((got - expect).abs() <= 1e-5 * expect.abs() + 1e-7 * scale, "{what}: {got} at {i} for {expect}");
    }
}

#[test]
fn advantages_are_trls() {
    let fixture = fixture();
    let cases = list(&fixture["advantages"]);
    assert!(cases.len() >= 8);
    for case in cases {
        let rewards: Vec<Option<f64>> = list(&case["rewards"]).iter().map(Value::as_f64).collect();
        let groups: Vec<Vec<Option<f64>>> = rewards.chunks(count(&case["size"])).map(<[_]>::to_vec).collect();
        let check = |key: &str, got: Vec<f32>| {
            let got: Vec<f64> = got.into_iter().map(f64::from).collect();
            let expect = numbers(&case[key]);
            // A difference that rounding alone made, of a mean of equal rewards.
            let near = |(got, expect): (&f64, &f64)| (got - expect).abs() <= 1e-5 * expect.abs() + 1e-9;
            assert!(got.iter().zip(&expect).all(near), "{}, {key}: {got:?} for {expect:?}", case["name"]);
        };
        check("group", relative_to_the_group(&groups, ScaleRewards::Group));
        check("batch", relative_to_the_group(&groups, ScaleRewards::Batch));
        check("none", relative_to_the_group(&groups, ScaleRewards::None));
        check("rloo", leave_one_out(&groups, ScaleRewards::Auto));
    }
}

/// A batch of the fixture, a row a sequence.
struct Batch {
    advantages: Vec<f32>,
    truncated: Vec<bool>,
    logps: Vec<Vec<f32>>,
    old: Vec<Vec<f32>>,
    reference: Vec<Vec<f32>>,
}

impl Batch {
    fn new(value: &Value) -> Self {
        let floats = |value: &Value| numbers(value).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let rows = |key: &str| list(&value[key]).iter().map(floats).collect();
        Self {
            advantages: floats(&value["advantages"]),
            truncated: list(&value["truncated"]).iter().map(|x| x.as_bool().unwrap()).collect(),
            logps: rows("logps"),
            old: rows("old"),
            reference: rows("ref"),
        }
    }
}

/// The losses of the mini-batches and the slope at every token, as an update takes them; what is masked has no row.
fn loss(batch: &Batch, case: &Value, max_tokens: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let name = case["algorithm"].as_str().unwrap();
    let algorithm: &Algorithm = TABLE.into_iter().find(|algorithm| algorithm.name == name).unwrap();
    let number = |key: &str| case[key].as_f64().map(|x| x as f32);
    let settings = TermSettings {
        clip_epsilon: number("eps").unwrap(),
        clip_epsilon_high: number("eps_high").unwrap(),
        clip_delta: number("delta").unwrap_or(f32::INFINITY),
        kl_beta: number("beta").unwrap(),
        kl_estimator: if case["corrected"] == true { KlEstimator::K3Corrected } else { KlEstimator::K3 },
    };
    let is_in = |i: usize| !(case["mask_truncated"] == true && batch.truncated[i]);
    let tokens = |rows: &[usize]| rows.iter().filter(|&&i| is_in(i)).map(|&i| batch.old[i].len()).sum();
    let all: Vec<usize> = (0..batch.old.len()).collect();
    let minibatches = count(&case["steps"]);
    let (mut losses, mut slopes) = (Vec::new(), Vec::new());
    for rows in all.chunks(all.len().div_ceil(minibatches)) {
        let mut sum = 0.0;
        for &i in rows {
            if !is_in(i) {
                slopes.push(vec![0.0; batch.old[i].len()]);
                continue;
            }
            let sizes = Sizes {
                sequences: rows.len(),
                tokens: batch.old[i].len(),
                minibatch_tokens: tokens(rows),
                step_tokens: tokens(&all),
                minibatches,
                max_tokens,
            };
            let (share, advantage) = ((algorithm.reduction)(&sizes), batch.advantages[i]);
            let known = batch.old[i].iter().zip(&batch.reference[i]);
            let known: Vec<Known> =
                known.map(|(&old, &reference)| Known { old, reference, advantage, share }).collect();
            let terms = algorithm.sequence(&batch.logps[i], &known, &settings);
            sum += terms.iter().map(|term| f64::from(term.loss)).sum::<f64>();
            slopes.push(terms.iter().map(|term| f64::from(term.gradient)).collect());
        }
        losses.push(sum);
    }
    (losses, slopes)
}

#[test]
fn losses_and_gradients_are_trls() {
    let fixture = fixture();
    let cases = list(&fixture["losses"]);
    assert!(cases.len() >= 100);
    for case in cases {
        let batch = Batch::new(&fixture["batches"][case["batch"].as_str().unwrap()]);
        let (losses, slopes) = loss(&batch, case, count(&fixture["max_tokens"]));
        let (what, gradients) = (settings_of(case), list(&case["gradients"]));
        let expect: Vec<f64> = gradients.iter().flat_map(numbers).collect();
        assert_near(&format!("gradient of {what}"), &slopes.concat(), &expect);
        // A loss is a sum in which advantages cancel: its error is measured by its parts, of which there is no larger one than 1.
        for (got, expect) in losses.iter().zip(numbers(&case["losses"])) {
            assert!((got - expect).abs() <= 1e-5 * expect.abs() + 1e-7, "loss of {what}: {got} for {expect}");
        }
    }
    let covered = |name: &str| cases.iter().any(|case| case["algorithm"] == name);
    let without = ["reinforce++", "reinforce++-baseline"];
    assert!(TABLE.iter().all(|algorithm| covered(algorithm.name) != without.contains(&algorithm.name)));
}

fn settings_of(case: &Value) -> String {
    let settings = case.as_object().unwrap().iter().filter(|(key, _)| !["losses", "gradients"].contains(&key.as_str()));
    settings.map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
}

/// A group of equal rewards has no advantages, and with β > 0 its tokens have a slope all the same; without β none.
#[test]
fn the_pull_to_the_reference_is_there_where_rewards_are_equal() {
    let fixture = fixture();
    let batch = Batch::new(&fixture["batches"]["later pass"]);
    let flat: Vec<usize> = (0..8).filter(|&i| batch.advantages[i] == 0.0).collect();
    assert!(flat.len() >= 4, "{:?}", batch.advantages);
    for case in list(&fixture["losses"]).iter().filter(|case| case["batch"] == "later pass") {
        let (_, slopes) = loss(&batch, case, count(&fixture["max_tokens"]));
        let pulls = flat.iter().any(|&i| slopes[i].iter().any(|slope| *slope != 0.0));
        assert_eq!(pulls, case["beta"] != 0.0, "{}", settings_of(case));
    }
}

/// TRL's bnpo and grpo average over what lies in a micro-batch, so that their step depends on how it was cut for memory; here a step is one
/// sum over the mini-batch, which is TRL's where that is whole.
#[test]
fn micro_batches_that_change_the_loss_elsewhere_do_not_exist_here() {
    let fixture = fixture();
    let batch = Batch::new(&fixture["batches"]["later pass"]);
    for case in list(&fixture["micro_batches"]) {
        let name = case["loss_type"].as_str().unwrap();
        let (whole, cut) = (case["whole"].as_f64().unwrap(), case["cut"].as_f64().unwrap());
        assert_eq!((whole - cut).abs() > 1e-6, name == "bnpo", "{case}");
        let settings = serde_json::json!({"algorithm": name, "eps": 0.2, "eps_high": 0.2, "beta": 0.0, "mask_truncated": true, "steps": 1});
        let (losses, _) = loss(&batch, &settings, count(&fixture["max_tokens"]));
        assert!((losses[0] - whole).abs() <= 1e-5 * whole.abs() + 1e-7, "{name}: {} for {whole}", losses[0]);
    }
}
