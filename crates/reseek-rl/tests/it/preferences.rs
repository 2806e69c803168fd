//! The reward model: fresh it says nothing, trained it puts pairs in order, also those that it has not seen.

use reseek_rl::{Pair, RewardModel};
use reseek_tensor::pool::set_threads;
use reseek_tensor::random::Stream;
use reseek_train::Hyper;

use crate::common::{VOCAB, specs, weights};

/// Random answers of different lengths; the better one has a 7 in it, the worse one a 9.
fn pair(index: u64) -> Pair {
    let mut stream = Stream::new(1, "pairs", 0, index);
    let mut answer = |mark: u32| {
        let len = 4 + stream.below(8);
        let mut tokens: Vec<u32> = (0..len).map(|_| 10 + stream.below(VOCAB - 10) as u32).collect();
        let place = stream.below(len);
        tokens[place] = mark;
        tokens
    };
    Pair { chosen: answer(7), rejected: answer(9) }
}

fn pairs(from: u64, n: u64) -> Vec<Pair> {
    (from..from + n).map(pair).collect()
}

fn in_order(model: &RewardModel, pairs: &[Pair]) -> f64 {
    let right = pairs.iter().filter(|pair| model.score(&pair.chosen) > model.score(&pair.rejected)).count();
    right as f64 / pairs.len() as f64
}

fn hyper(lr: f64) -> Hyper {
    Hyper { lr, beta1: 0.9, beta2: 0.95, weight_decay: 0.0, clip: 1.0 }
}

#[test]
fn pairs_come_to_be_in_order() {
    for (what, spec) in specs() {
        let mut model = RewardModel::new(weights(spec));
        assert_eq!(model.score(&pair(0).chosen), 0.0, "a fresh model has no opinion");
        let mut reports = Vec::new();
        for i in 0..40 {
            reports.push(model.train_step(&pairs(16 * i, 16), 2, &hyper(3e-3), 10.0 * 3e-3).unwrap());
        }
        assert!((reports[0].loss - std::f64::consts::LN_2).abs() < 1e-6, "{what}: {:?}", reports[0]);
        assert!(reports[39].loss < 0.2 && reports[39].accuracy > 0.9, "{what}: {:?}", reports[39]);
        let unseen = pairs(1_000_000, 64);
        let share = in_order(&model, &unseen);
        assert!(share > 0.9, "{what}: {share} of unseen pairs in order");
    }
}

#[test]
fn threads_change_no_bit_and_lanes_only_rounding() {
    let run = |lanes: usize, threads: usize| {
        set_threads(threads);
        let (_, spec) = specs().into_iter().next().unwrap();
        let mut model = RewardModel::new(weights(spec));
        for i in 0..3 {
            model.train_step(&pairs(7 * i, 7), lanes, &hyper(1e-3), 10.0 * 1e-3).unwrap();
        }
        model.score(&pair(99).chosen)
    };
    let score = run(2, 1);
    assert!(score != 0.0);
    assert_eq!(run(2, 2).to_bits(), score.to_bits());
    assert_eq!(run(2, 5).to_bits(), score.to_bits());
    for lanes in [1, 3, 50] {
        assert!((run(lanes, 2) - score).abs() < 1e-3 * score.abs().max(0.1), "{lanes} lanes");
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_refused() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let mut broken = weights(spec);
    let norm = broken.layout.range("model.norm.weight");
    broken.data[norm].fill(f32::NAN);
    let mut model = RewardModel::new(broken);
    assert!(model.train_step(&pairs(0, 4), 2, &hyper(1e-3), 10.0 * 1e-3).is_err());
}
