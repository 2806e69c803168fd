//! Zeros of both signs, subnormal, huge and infinite values and NaN in the ops that go value by value or row by row: every level that
//! fuses gives the same bits, and where the reference does not overflow sooner or later than f32 does, its result.

use reseek_tensor::adamw::{AdamW, adamw};
use reseek_tensor::cross_entropy::{LmGrads, lm_loss, log_softmax_row};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::sigmoid;
use reseek_tensor::glu::{Activation, RowWeights, glu_backward, glu_forward};
use reseek_tensor::linear::Linear;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::permute::gather_add_rows;
use reseek_tensor::rmsnorm::{rmsnorm_dgrad, rmsnorm_forward, rmsnorm_wgrad};

use crate::ops_glu::act;
use crate::ops_support::{SPECIAL, check_at_every_level, check_bits_at_every_level, narrow, normal, sprinkled};

/// Every special value with every other one, and a few ordinary ones.
fn grid() -> (Vec<f32>, Vec<f32>) {
    let values = [&SPECIAL[..], &[1.0, -2.5, 88.0, -88.0]].concat();
    values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b))).unzip()
}

#[test]
fn gated_linear_units() {
    let (gate, up) = grid();
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let want: Vec<f64> =
            gate.iter().zip(&up).map(|(&gate, &up)| act(activation, gate.into()) * f64::from(up)).collect();
        let (width, gate_up) = (gate.len(), [gate.clone(), up.clone()].concat());
        check_at_every_level("y", &[want.len()], &narrow(&want), 1e-6, || {
            glu_forward(&gate_up, width, activation, Dtype::F32).host().to_vec()
        });
        for (dy, weight) in [(1.0, 0.0), (-0.0, 1.0), (1e-40, -2.0), (3e38, f32::INFINITY), (f32::NAN, 1e-40)] {
            check_bits_at_every_level("y, dgate, dup, dweights", || {
                let mut dweights = [0.0];
                let weights = [weight];
                let of_rows = RowWeights { weights: (&weights).into(), dweights: (&mut dweights).into() };
                let backward = glu_backward(&vec![dy; width], &gate_up, width, activation, Dtype::F32, Some(of_rows));
                [backward.y.host(), backward.dgate_up.host(), &dweights].concat()
            });
        }
    }
}

#[test]
fn functions_of_single_values() {
    let want: Vec<f64> = SPECIAL.iter().map(|&x| 1.0 / (1.0 + f64::from(-x).exp())).collect();
    check_at_every_level("sigmoid", &[want.len()], &narrow(&want), 1e-6, || {
        let mut x = SPECIAL.to_vec();
        sigmoid(&mut x);
        x
    });
}

#[test]
fn rmsnorm() {
    for width in [1, 15, 16, 37] {
        let of = |name| sprinkled(12 * width, name, &SPECIAL, 2 * width);
        let (x, dy, gamma) = (of("x"), of("dy"), sprinkled(width, "gamma", &SPECIAL, 20));
        check_bits_at_every_level("y, dx, dgamma", || {
            let (mut y, mut dx, mut dgamma) = (x.clone(), dy.clone(), gamma.clone());
            rmsnorm_forward(&mut y, &x, &gamma, 1e-6);
            rmsnorm_dgrad(&mut dx, &dy, &x, &gamma, 1e-6, Accumulate::Add);
            rmsnorm_wgrad(&mut dgamma, &dy, &x, 1e-6);
            [y, dx, dgamma].concat()
        });
    }
}

#[test]
fn adamw_step() {
    let config = AdamW { lr: 3e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let (p, g) = grid();
    let (m, v) = (sprinkled(p.len(), "m", &SPECIAL, 3), sprinkled(p.len(), "v", &SPECIAL, 3));
    check_bits_at_every_level("p, m, v", || {
        let (mut p, mut m, mut v) = (p.clone(), m.clone(), v.clone());
        adamw(&mut p, &g, &mut m, &mut v, &config, 7, 0.5);
        [p, m, v].concat()
    });
}

#[test]
fn cross_entropy() {
    let (rows, width, vocab) = (24, 8, 37);
    let (hidden, head) = (sprinkled(rows * width, "hidden", &SPECIAL, 2 * width), normal(vocab * width, "head"));
    let targets: Vec<u32> = (0..rows as u32).collect();
    check_bits_at_every_level("logp, entropy, dhidden, dhead", || {
        let head = Linear::pack(&head, vocab, width, Dtype::F32);
        let (mut dhidden, mut dhead) = (vec![0.0; hidden.len()], vec![0.0; vocab * width]);
        let mut of_rows = Vec::new();
        let mut dlogp = |_, logp: f32, entropy: f32| {
            of_rows.extend([logp, entropy]);
            -1.0
        };
        lm_loss(
            &hidden,
            &head,
            &targets,
            1.0,
            &mut dlogp,
            Some(LmGrads { dhidden: (&mut dhidden).into(), dhead: &mut dhead }),
        );
        [of_rows, dhidden, dhead].concat()
    });
    for len in [1, 16, 53] {
        let logits = sprinkled(len, "logits", &SPECIAL[..11], 9);
        check_bits_at_every_level("log-softmax", || {
            let (mut logits, mut weights) = (logits.clone(), vec![0.0; len]);
            let greatest = log_softmax_row(&mut logits, &mut weights);
            [logits, weights, vec![greatest]].concat()
        });
    }
}

#[test]
fn rows_of_experts() {
    for d in [1, 16, 39] {
        let of = |name| sprinkled(6 * d, name, &SPECIAL, 11);
        let (y, x, weights) = (of("y"), of("x"), sprinkled(12, "weights", &SPECIAL, 4));
        let rows = [5, 0, 0, 3, 2, 1, 4, 4, 5, 2, 3, 0];
        check_bits_at_every_level("combined", || {
            let mut y = y.clone();
            gather_add_rows(&mut y, &x, &rows, Some((&weights).into()), d);
            y
        });
    }
}
