//! AdamW over the flat buffer: the clip, what decays, and what it refuses.

use reseek_tensor::dtype::Dtype;
use reseek_train::{Hyper, Moments, Optimizer, TrainError};

use crate::common::{bits, learner, moment_bits, v3};

const HYPER: Hyper = Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, weight_decay: 0.1, clip: 1.0 };

fn gradient(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1e-3).collect()
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for format in [Dtype::F32, Dtype::Bf16] {
        let mut weights = learner(v3()).weights;
        let n = weights.data.len();
        let mut optimizer = Optimizer::new(n, format);
        optimizer.update(&mut weights, &gradient(n), &HYPER).unwrap();
        let state = |w: &reseek_model::Weights, o: &Optimizer| (bits(&w.data), moment_bits(&o.moments), o.step);
        let before = state(&weights, &optimizer);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, n / 2, n - 1] {
                let mut grads = gradient(n);
                grads[place] = bad;
                let error = optimizer.update(&mut weights, &grads, &HYPER).unwrap_err();
                let TrainError::Diverged { what, step, .. } = &error;
                assert_eq!((*what, *step), ("gradient norm", 2));
                assert!(error.to_string().contains("Lower the learning rate"), "{error}");
                assert!(state(&weights, &optimizer) == before, "{bad} at {place} left something behind");
            }
        }
    }
}

#[test]
fn the_first_step_is_adams() {
    let mut weights = learner(v3()).weights;
    let (before, layout) = (weights.data.clone(), weights.layout.clone());
    let grads = gradient(before.len());
    let norm = grads.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
    let hyper = Hyper { clip: f64::MAX, ..HYPER };
    let got = Optimizer::new(before.len(), Dtype::F32).update(&mut weights, &grads, &hyper).unwrap();
    assert!((got - norm).abs() < 1e-9 * norm);
    for (tensor, range) in layout.tensors().filter(|(tensor, _)| tensor.is_trained()) {
        for i in range {
            // m/(1 − β1) = g and v/(1 − β2) = g², so the step is lr·sign(g); only matrices decay.
            let decay = if tensor.shape.len() > 1 { 0.1 } else { 0.0 };
            let (p, g) = (before[i] as f64, grads[i] as f64);
            let expect = p - 1e-2 * (g / (g.abs() + 1e-8) + decay * p);
            assert!(
                (weights.data[i] as f64 - expect).abs() < 1e-6,
                "{}: {} for {expect}",
                tensor.name,
                weights.data[i]
            );
        }
    }
}

#[test]
fn the_clip_scales_the_whole_gradient_to_its_norm() {
    let start = learner(v3()).weights;
    let grads = gradient(start.data.len());
    let norm = grads.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
    let moments = |clip: f64| {
        let mut optimizer = Optimizer::new(grads.len(), Dtype::F32);
        let reported = optimizer.update(&mut start.clone(), &grads, &Hyper { clip, ..HYPER }).unwrap();
        assert!((reported - norm).abs() < 1e-9 * norm, "the norm is reported as it was before the clip");
        let Moments::F32 { m, v } = optimizer.moments else { panic!("moments in f32") };
        (m, v)
    };
    let ((free_m, free_v), (clipped_m, clipped_v)) = (moments(2.0 * norm), moments(norm / 4.0));
    for (a, b) in free_m.iter().zip(&clipped_m) {
        assert!((a / 4.0 - b).abs() <= 1e-6 * a.abs());
    }
    for (a, b) in free_v.iter().zip(&clipped_v) {
        assert!((a / 16.0 - b).abs() <= 1e-6 * a.abs());
    }
}

#[test]
fn moments_in_bf16_lead_where_moments_in_f32_do() {
    let ends = [Dtype::F32, Dtype::Bf16].map(|format| {
        let mut weights = learner(v3()).weights;
        let mut optimizer = Optimizer::new(weights.data.len(), format);
        let before = weights.data.clone();
        for step in 0..40 {
            let wave = 1.0 + 0.5 * (step as f32 * 0.7).sin();
            let grads: Vec<f32> = gradient(before.len()).iter().map(|g| g * wave).collect();
            optimizer.update(&mut weights, &grads, &HYPER).unwrap();
        }
        weights.data.iter().zip(before).map(|(after, before)| after - before).collect::<Vec<f32>>()
    });
    let size = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let moved = size(&mut ends[0].iter().copied());
    let apart = size(&mut ends[0].iter().zip(&ends[1]).map(|(a, b)| a - b));
    assert!(moved > 1.0 && apart > 0.0 && apart < 0.01 * moved, "{apart} apart after {moved}");
}
