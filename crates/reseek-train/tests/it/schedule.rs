//! V3's schedule, with the numbers of the V3 report, section 4.2, on a run of 14.8T tokens.

use reseek_spec::{PretrainRecipe, Scale, resolve};
use reseek_train::{PretrainSchedule, cosine};

/// Tokens of V3's pre-training, in billions.
const RUN: f64 = 14_800.0;

/// V3's own values, in the shares of the base recipe.
fn v3() -> PretrainRecipe {
    PretrainRecipe {
        lr_peak: 2.2e-4,
        lr_decay: 2.2e-5,
        lr_final: 7.3e-6,
        sequences_start: 3072,
        sequences: 15_360,
        lanes: 2,
        ..resolve(Scale::Nano, &[], &[]).unwrap().recipe.pretrain
    }
}

fn near(got: f64, expect: f64) {
    assert!((got - expect).abs() <= 1e-9 + 1e-6 * expect.abs(), "{got} for {expect}");
}

#[test]
fn the_learning_rate_warms_up_rests_falls_and_ends_on_two_tails() {
    let recipe = v3();
    let schedule = PretrainSchedule::new(&recipe);
    near(schedule.lr(0.0), 0.0);
    near(schedule.lr(recipe.warmup_fraction / 4.0), 2.2e-4 / 4.0);
    near(schedule.lr(recipe.warmup_fraction), 2.2e-4);
    // Constant until 10T tokens.
    near(schedule.lr(9_900.0 / RUN), 2.2e-4);
    let falls = recipe.warmup_fraction + recipe.constant_fraction;
    assert!((falls - 10_000.0 / RUN).abs() < 0.003, "the rate falls from {falls}");
    // Cosine over 4.3T.
    assert!((recipe.cosine_fraction - 4_300.0 / RUN).abs() < 0.001);
    near(schedule.lr(falls + recipe.cosine_fraction / 2.0), (2.2e-4 + 2.2e-5) / 2.0);
    near(schedule.lr(falls + recipe.cosine_fraction / 4.0), cosine(2.2e-4, 2.2e-5, 0.25));
    near(cosine(2.2e-4, 2.2e-5, 0.25), 2.2e-5 + 1.98e-4 * (0.5 + 0.125f64.sqrt()));
    // 333B at a tenth, the last 167B at 7.3e-6.
    let tail = falls + recipe.cosine_fraction;
    assert!((recipe.decay_fraction - 333.0 / RUN).abs() < 0.001);
    assert!((1.0 - tail - recipe.decay_fraction - 167.0 / RUN).abs() < 0.001);
    near(schedule.lr(tail + 1e-6), 2.2e-5);
    near(schedule.lr(tail + recipe.decay_fraction - 1e-6), 2.2e-5);
    near(schedule.lr(tail + recipe.decay_fraction + 1e-6), 7.3e-6);
    near(schedule.lr(1.0), 7.3e-6);
}

#[test]
fn after_the_warm_up_the_rate_never_rises_and_has_no_jump_but_the_last() {
    let recipe = v3();
    let schedule = PretrainSchedule::new(&recipe);
    let last = 1.0 - recipe.decay_fraction / 2.0;
    let mut before = schedule.lr(recipe.warmup_fraction);
    for i in 1..=10_000 {
        let done = recipe.warmup_fraction + (1.0 - recipe.warmup_fraction) * i as f64 / 10_000.0;
        let lr = schedule.lr(done);
        assert!(lr <= before * (1.0 + 1e-12), "{lr} after {before} at {done}");
        assert!(done > last || before - lr < 2e-7, "from {before} to {lr} at {done}");
        before = lr;
    }
}

#[test]
fn no_warm_up_and_no_tails_are_schedules_too() {
    let bare = PretrainRecipe { warmup_fraction: 0.0, constant_fraction: 0.0, cosine_fraction: 1.0, ..v3() };
    let schedule = PretrainSchedule::new(&PretrainRecipe { decay_fraction: 0.0, ramp_fraction: 0.0, ..bare });
    near(schedule.lr(0.0), 2.2e-4);
    near(schedule.lr(0.5), 1.21e-4);
    assert_eq!(schedule.sequences(0.0), 15_360);
    let flat = PretrainRecipe { warmup_fraction: 0.0, constant_fraction: 1.0, cosine_fraction: 0.0, ..v3() };
    let schedule = PretrainSchedule::new(&flat);
    [0.0, 0.3, 0.999].into_iter().for_each(|done| near(schedule.lr(done), 2.2e-4));
}

#[test]
fn the_batch_grows_over_the_first_469_billion_tokens() {
    let recipe = v3();
    let schedule = PretrainSchedule::new(&recipe);
    assert!((recipe.ramp_fraction - 469.0 / RUN).abs() < 0.001);
    assert_eq!(schedule.sequences(0.0), 3072);
    assert_eq!(schedule.sequences(recipe.ramp_fraction / 2.0), (3072 + 15_360) / 2);
    assert_eq!(schedule.sequences(recipe.ramp_fraction), 15_360);
    assert_eq!(schedule.sequences(1.0), 15_360);
    for (start, end, lanes) in [(3, 17, 2), (1, 8, 4), (2, 3, 8), (5, 5, 2), (4, 16, 0)] {
        let small = PretrainRecipe { sequences_start: start, sequences: end, lanes, ..v3() };
        let schedule = PretrainSchedule::new(&small);
        let sizes: Vec<usize> = (0..=100).map(|i| schedule.sequences(i as f64 / 100.0)).collect();
        assert!(sizes.is_sorted() && sizes[0] >= 1, "{start} to {end}: {sizes:?}");
        assert!(sizes.iter().all(|&n| n <= end), "{start} to {end}: {sizes:?}");
        assert!(end - sizes[100] < lanes.max(1), "{start} to {end} ends at {}", sizes[100]);
    }
}

#[test]
fn balancing_rests_at_the_end_and_mtp_counts_less() {
    let recipe = v3();
    let schedule = PretrainSchedule::new(&recipe);
    // γ = 0.001 for 14.3T, then 0.
    assert!((1.0 - recipe.bias_off_fraction - 14_300.0 / RUN).abs() < 0.001);
    assert_eq!(schedule.bias_speed(0.0), 0.001);
    assert_eq!(schedule.bias_speed(14_290.0 / RUN), 0.001);
    assert_eq!(schedule.bias_speed(14_310.0 / RUN), 0.0);
    assert_eq!(schedule.bias_speed(1.0), 0.0);
    // λ = 0.3 for 10T, then 0.1.
    assert!((recipe.mtp_switch_fraction - 10_000.0 / RUN).abs() < 0.001);
    assert_eq!(schedule.mtp_lambda(0.0), 0.3);
    assert_eq!(schedule.mtp_lambda(9_990.0 / RUN), 0.3);
    assert_eq!(schedule.mtp_lambda(10_010.0 / RUN), 0.1);
}
