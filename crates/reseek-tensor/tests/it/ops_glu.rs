//! Gated linear units with each activation.

use std::f64::consts::PI;

use reseek_tensor::dtype::Dtype;
use reseek_tensor::glu::{Activation, GluBackward, RowWeights, glu_backward, glu_forward};

use crate::ops_support::{check_at_every_level, gradient, inner, narrow, normal, widen};

const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

/// As Hugging Face writes them.
pub fn act(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
    }
}

fn glu(activation: Activation, gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(&gate, up)| act(activation, gate) * up).collect()
}

/// Rows of a gate and its up, as one product gives them.
fn side_by_side(gate: &[f32], up: &[f32], width: usize) -> Vec<f32> {
    gate.chunks_exact(width).zip(up.chunks_exact(width)).flat_map(|(gate, up)| [gate, up].concat()).collect()
}

#[test]
fn agrees_with_the_reference_and_its_differences() {
    for activation in ACTIVATIONS {
        check_differences(activation);
    }
}

fn check_differences(activation: Activation) {
    let glu = |gate: &[f64], up: &[f64]| glu(activation, gate, up);
    for (rows, width) in [(1, 1), (3, 15), (2, 16), (4, 33), (1, 200), (70, 48)] {
        let len = rows * width;
        let mut gate = normal(len, "gate");
        gate.iter_mut().for_each(|gate| *gate *= 4.0);
        let (up, dy) = (normal(len, "up"), normal(len, "dy"));
        let gate_up = side_by_side(&gate, &up, width);
        check_at_every_level("y", &[rows, width], &narrow(&glu(&widen(&gate), &widen(&up))), 1e-6, || {
            glu_forward(&gate_up, width, activation, Dtype::F32).host().to_vec()
        });
        let weights = normal(rows, "weights");
        for weights in [None, Some(&weights)] {
            let w = widen(weights.unwrap_or(&vec![1.0; rows]));
            let weighed = |gate: &[f64], up: &[f64], w: &[f64]| -> Vec<f64> {
                glu(gate, up).chunks_exact(width).zip(w).flat_map(|(row, w)| row.iter().map(move |y| w * y)).collect()
            };
            let (gate64, up64) = (widen(&gate), widen(&up));
            let dgate = gradient(&gate, |gate| inner(&weighed(gate, &up64, &w), &dy));
            let dup = gradient(&up, |up| inner(&weighed(&gate64, up, &w), &dy));
            let dw =
                weights.map_or(Vec::new(), |weights| gradient(weights, |w| inner(&weighed(&gate64, &up64, w), &dy)));
            let want = [narrow(&weighed(&gate64, &up64, &w)), side_by_side(&dgate, &dup, width), dw].concat();
            check_at_every_level("y, dgate, dup, dweights", &[want.len()], &want, 1e-5, || {
                let mut dweights = vec![f32::NAN; weights.map_or(0, Vec::len)];
                let of_rows =
                    weights.map(|weights| RowWeights { weights: weights.into(), dweights: (&mut dweights).into() });
                let GluBackward { y, dgate_up } = glu_backward(&dy, &gate_up, width, activation, Dtype::F32, of_rows);
                [y.host(), dgate_up.host(), &dweights].concat()
            });
        }
    }
}

#[test]
fn extreme_gates() {
    for activation in ACTIVATIONS {
        let gate = [1e30, -1e30, 200.0, -200.0, 0.0, f32::NAN, 88.5, -88.5];
        let gate_up = [gate, [1.0; 8]].concat();
        let y = glu_forward(&gate_up, 8, activation, Dtype::F32);
        let y = y.host();
        let backward = glu_backward(&[1.0; 8], &gate_up, 8, activation, Dtype::F32, None);
        let (dgate, dup) = backward.dgate_up.host().split_at(8);
        assert_eq!(y[..5], [1e30, 0.0, 200.0, 0.0, 0.0]);
        assert_eq!(dup[..5], y[..5]);
        assert_eq!(dgate[..5], [1.0, 0.0, 1.0, 0.0, 0.5]);
        assert!([y[5], dgate[5], dup[5]].iter().all(|x| x.is_nan()));
        assert!(y[6] == 88.5 && y[7].abs() < 1e-30);
    }
}

/// Far below 0, where 1 + tanh would leave no digit in f32, results are right in all of theirs.
#[test]
fn gelu_keeps_its_digits_in_the_tail() {
    let gate: Vec<f32> = (0..500).map(|i| -5.5 + i as f32 * 0.02).collect();
    let gate_up = [gate.clone(), vec![1.0; 500]].concat();
    let y = glu_forward(&gate_up, 500, Activation::GeluTanh, Dtype::F32);
    for (&x, &y) in gate.iter().zip(y.host()) {
        let want = act(Activation::GeluTanh, x.into());
        assert!((f64::from(y) - want).abs() <= 1e-5 * want.abs(), "gelu({x}) = {y}, expected {want}");
    }
}
