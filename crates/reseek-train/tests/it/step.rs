//! One step of learning: the loss falls, correction biases move towards an even load, and divergence is an error.

use reseek_train::{Hyper, Sequence, StepSettings, TrainError, expert_load_max};

use crate::common::{SETTINGS, VOCAB, bits, learner, moment_bits, sequences, student, v3};

#[test]
fn the_loss_falls_on_a_batch_seen_again_and_again() {
    for (what, spec) in [("v3", v3()), ("student", student())] {
        let mut learner = learner(spec);
        let batch = sequences(&[40; 6], 1);
        let reports: Vec<_> = (0..40).map(|_| learner.step(&batch, &SETTINGS).unwrap()).collect();
        let even = (VOCAB as f64).ln();
        assert!((reports[0].loss_main - even).abs() < 0.2, "{what}: {} at first", reports[0].loss_main);
        assert!(reports[39].loss_main < even / 2.0, "{what}: {} at last", reports[39].loss_main);
        if what == "v3" {
            assert!(reports[39].loss_mtp < 0.8 * reports[0].loss_mtp);
            assert_eq!(reports[0].expert_counts.len(), 2, "one mixture in the body, one in the MTP module");
            assert!(reports[0].expert_counts.iter().all(|counts| counts.iter().sum::<u32>() == 2 * 240));
        }
        let r = &reports[0];
        let mixtures = r.expert_counts.len() as f64;
        let parts = r.loss_main + 0.3f32 as f64 * r.loss_mtp + 1e-4f32 as f64 * r.loss_balance * mixtures;
        assert!((r.loss - parts).abs() < 1e-9);
        assert_eq!(r.rows, 240);
    }
}

#[test]
fn the_packed_model_follows_the_weights() {
    let mut learner = learner(v3());
    let batch = sequences(&[30, 20], 1);
    learner.step(&batch, &SETTINGS).unwrap();
    let fresh = reseek_model::Model::new(&learner.weights);
    let hidden =
        |model: &reseek_model::Model| bits(model.forward(reseek_model::Rows::new(&[1, 2, 3], &[3]), None).hidden());
    assert_eq!(hidden(&learner.model), hidden(&fresh));
}

#[test]
fn correction_biases_move_against_the_load() {
    let mut learner = learner(v3());
    let report = learner.step(&sequences(&[50; 4], 3), &SETTINGS).unwrap();
    let biases = learner.model.bias_ranges();
    assert_eq!(biases.len(), report.expert_counts.len());
    for (range, counts) in biases.into_iter().zip(&report.expert_counts) {
        let mean = counts.iter().sum::<u32>() as f32 / counts.len() as f32;
        for (bias, &count) in learner.weights.buffers[range].iter().zip(counts) {
            let expect = 1e-3 * (mean - count as f32).signum() * f32::from(count as f32 != mean);
            assert_eq!(*bias, expect, "an expert with {count} tokens, {mean} on average");
        }
    }
    assert!(expert_load_max(&report.expert_counts).unwrap() >= 1.0);
    assert_eq!(expert_load_max(&[vec![2, 2], vec![6, 2]]), Some(1.5));
    assert_eq!(expert_load_max(&[]), None);
    // At speed 0 they rest.
    let before = bits(&learner.weights.buffers);
    learner.step(&sequences(&[50; 4], 4), &StepSettings { bias_speed: 0.0, ..SETTINGS }).unwrap();
    assert_eq!(bits(&learner.weights.buffers), before);
}

#[test]
fn the_mtp_loss_is_the_mean_over_its_share_of_the_rows() {
    let all = sequences(&[256; 4], 3);
    let of = |batch: &[Sequence], mtp_share: f32| {
        let settings = StepSettings { mtp_share, lanes: 2, ..SETTINGS };
        learner(v3()).step(batch, &settings).unwrap()
    };
    // The first of each lane's two sequences.
    let (part, alone) = (of(&all, 0.5), of(&[all[0].clone(), all[2].clone()], 1.0));
    assert_eq!(part.loss_mtp, alone.loss_mtp);
    assert_eq!(part.loss_main, of(&all, 1.0).loss_main);
    let rows_of = |counts: &[Vec<u32>]| counts.iter().map(|counts| counts.iter().sum::<u32>()).collect::<Vec<_>>();
    let [main, mtp] = rows_of(&part.expert_counts)[..] else { panic!("a mixture and the module's") };
    assert_eq!(main, 2 * mtp);
    let terms = SETTINGS.mtp_lambda as f64 * part.loss_mtp + SETTINGS.balance_alpha as f64 * 1.5 * part.loss_balance;
    assert!((part.loss - part.loss_main - terms).abs() < 1e-9, "{part:?}");
}

#[test]
fn without_its_loss_the_mtp_module_rests() {
    let mut learner = learner(v3());
    let before = learner.weights.clone();
    let hyper = Hyper { weight_decay: 0.0, ..SETTINGS.hyper };
    let report = learner.step(&sequences(&[50; 2], 3), &StepSettings { mtp_lambda: 0.0, hyper, ..SETTINGS }).unwrap();
    assert_eq!((report.loss_mtp, report.expert_counts.len()), (0.0, 1));
    let mut moved = 0;
    for (tensor, range) in before.layout.tensors().filter(|(tensor, _)| tensor.is_trained()) {
        let same = before.data[range.clone()] == learner.weights.data[range];
        assert!(same || !tensor.mtp, "{} moved", tensor.name);
        moved += usize::from(!same);
    }
    assert!(moved > 10);
}

#[test]
fn divergence_is_an_error_and_leaves_the_weights() {
    let mut learner = learner(v3());
    learner.step(&sequences(&[20; 2], 1), &SETTINGS).unwrap();
    let norm = learner.weights.layout.range("model.norm.weight");
    learner.weights.data[norm.start] = f32::NAN;
    learner.model.repack(&learner.weights);
    let before = (bits(&learner.weights.data), bits(&learner.weights.buffers), moment_bits(&learner.optimizer.moments));
    let error = learner.step(&sequences(&[20; 2], 2), &SETTINGS).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { what: "loss", step: 2, .. }), "{error}");
    let after = (bits(&learner.weights.data), bits(&learner.weights.buffers), moment_bits(&learner.optimizer.moments));
    assert!(before == after);
}

#[test]
fn a_rate_beyond_reason_ends_in_an_error_within_a_few_steps() {
    for spec in [v3(), student()] {
        let mut learner = learner(spec);
        let wild = StepSettings { hyper: Hyper { lr: 1e30, ..SETTINGS.hyper }, ..SETTINGS };
        let ended = (0..4).find(|&i| learner.step(&sequences(&[20; 2], i), &wild).is_err());
        assert!(ended.is_some());
    }
}
