//! Threads never change a bit of a step; lanes, which order the sums, change it by rounding only.

use reseek_model::Weights;
use reseek_spec::{ModelSpec, Scale};
use reseek_tensor::compute::Compute;
use reseek_tensor::pool::set_threads;
use reseek_train::{Learner, Sequence, StepReport, StepSettings};

use crate::fixture::{Fixture, errors, with_targets};
use crate::parity::settings;

#[test]
fn threads_do_not_change_a_bit_of_a_step() {
    let weights = Weights::init(ModelSpec::ladder(Scale::Smoke, 512), 3).expect("the smallest model");
    let sequences: Vec<Sequence> = [31, 8, 50, 2, 17, 40].iter().map(|&len| with_targets(&tokens(len, 512))).collect();
    let settings = StepSettings { mtp_lambda: 0.3, balance_alpha: 1e-3, bias_speed: 1e-3, lanes: 4, ..settings() };
    for compute in [Compute::F32, Compute::Fp8] {
        let weights = weights.clone().computing_in(compute);
        let (weights_1, report_1) = steps(1, &weights, &sequences, settings);
        let (weights_3, report_3) = steps(3, &weights, &sequences, settings);
        assert!(weights_1.data.iter().zip(&weights_3.data).all(|(a, b)| a.to_bits() == b.to_bits()), "{compute}");
        assert_eq!(weights_1.buffers, weights_3.buffers);
        assert_eq!((report_1.loss, report_1.grad_norm), (report_3.loss, report_3.grad_norm));
        assert_ne!(weights_1.data, weights.data);
        assert_ne!(weights_1.buffers, weights.buffers);
    }
}

#[test]
fn lanes_change_a_step_by_rounding_only() {
    let Fixture { weights, sequences, .. } = Fixture::load("v3");
    let of = |lanes| steps(2, &weights, &sequences, StepSettings { lanes, ..settings() });
    let ((one, report_1), (two, report_2)) = (of(1), of(2));
    assert!((report_1.grad_norm / report_2.grad_norm - 1.0).abs() < 1e-6);
    let (l2, _) = errors(&one.data, &two.data);
    assert!(l2 < 1e-4, "one and two lanes differ by {l2:e}");
}

fn steps(threads: usize, weights: &Weights, sequences: &[Sequence], settings: StepSettings) -> (Weights, StepReport) {
    set_threads(threads);
    let mut learner = Learner::new(weights.clone());
    learner.step(sequences, &settings).expect("a finite loss");
    let report = learner.step(sequences, &settings).expect("a finite loss");
    (learner.weights, report)
}

/// Tokens that look random.
fn tokens(len: usize, vocab: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * i * 37 + i * 101 + 7 * len as u32) % vocab).collect()
}
