//! AdamW against the formulas, written out.

use reseek_tensor::adamw::{AdamW, adamw};
use reseek_tensor::dtype::bf16;
use reseek_tensor::numeric::assert_same_bits;

use crate::ops_support::{check_at_every_level, levels, normal};

const CONFIG: AdamW = AdamW { lr: 3e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
const CLIP: f32 = 0.5;

/// `torch.optim.AdamW`'s formulas in f64.
fn reference(p: f64, gradients: &[f64]) -> f64 {
    let AdamW { lr, beta1, beta2, eps, weight_decay } = CONFIG;
    let (mut p, mut m, mut v) = (p, 0.0, 0.0);
    for (step, g) in (1..).zip(gradients) {
        p *= 1.0 - lr * weight_decay;
        m = beta1 * m + (1.0 - beta1) * g;
        v = beta2 * v + (1.0 - beta2) * g * g;
        let m_hat = m / (1.0 - beta1.powi(step));
        let v_hat = v / (1.0 - beta2.powi(step));
        p -= lr * m_hat / (v_hat.sqrt() + eps);
    }
    p
}

#[test]
fn three_steps_agree_with_the_formulas() {
    for len in [1, 16, 37] {
        let p = normal(len, "p");
        let gradients: Vec<Vec<f32>> = ["g1", "g2", "g3"].iter().map(|name| normal(len, name)).collect();
        let want: Vec<f32> = (0..len)
            .map(|i| {
                let gradients: Vec<f64> = gradients.iter().map(|g| f64::from(g[i]) * f64::from(CLIP)).collect();
                reference(f64::from(p[i]), &gradients) as f32
            })
            .collect();
        check_at_every_level("p", &[len], &want, 3e-7, || {
            let (mut p, mut m, mut v) = (p.clone(), vec![0.0; len], vec![0.0; len]);
            for (step, g) in (1..).zip(&gradients) {
                adamw(&mut p, g, &mut m, &mut v, &CONFIG, step, CLIP);
            }
            p
        });
    }
}

#[test]
fn the_first_step_has_the_size_of_the_learning_rate() {
    let config = AdamW { weight_decay: 0.0, ..CONFIG };
    let (mut p, mut m, mut v) = ([1.0, 1.0, 1.0], [0.0; 3], [0.0; 3]);
    adamw(&mut p, &[1e-3, -50.0, 0.0], &mut m, &mut v, &config, 1, 1.0);
    for (p, want) in p.iter().zip([1.0 - 3e-3, 1.0 + 3e-3, 1.0]) {
        assert!((p - want).abs() < 1e-6, "{p} instead of {want}");
    }
}

/// Of parameters with gradients, both moments and the number of the step.
type Step = dyn Fn(&mut [f32], &[f32], &mut [bf16], &mut [bf16], u64);

/// The step in bf16 by way of f32: moments widened, a step of [`adamw`] in f32, moments rounded one by one.
fn by_way_of_f32(p: &mut [f32], g: &[f32], m: &mut [bf16], v: &mut [bf16], step: u64) {
    let [mut wide_m, mut wide_v] = [&*m, &*v].map(|values| values.iter().map(|x| x.to_f32()).collect::<Vec<f32>>());
    adamw(p, g, &mut wide_m, &mut wide_v, &CONFIG, step, CLIP);
    for (narrow, wide) in [(m, wide_m), (v, wide_v)] {
        narrow.iter_mut().zip(wide).for_each(|(narrow, x)| *narrow = bf16::from_f32(x));
    }
}

#[test]
fn moments_in_bf16_are_those_of_f32_rounded_at_any_value() {
    const NASTY: [f32; 12] =
        [0.0, -0.0, 1e-45, -1e-40, 1e-20, 1e19, -3e38, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0039063];
    for len in [1, 15, 16, 37, 300] {
        let of = |name: &str| -> Vec<f32> {
            let mut values = normal(len, name);
            values
                .iter_mut()
                .enumerate()
                .skip(name.len())
                .step_by(3)
                .for_each(|(i, x)| *x = NASTY[i / 3 % NASTY.len()]);
            values
        };
        let moment = |name: &str| of(name).into_iter().map(bf16::from_f32).collect::<Vec<bf16>>();
        let gradients = ["g", "g2", "g three"].map(of);
        let run = |step: &Step| {
            let (mut p, mut m, mut v) = (normal(len, "p"), moment("m"), moment("v"));
            (7..).zip(&gradients).for_each(|(i, g)| step(&mut p, g, &mut m, &mut v, i));
            let moments = m.into_iter().chain(v).map(|x| x.to_f32());
            p.into_iter().chain(moments).map(|x| if x.is_nan() { f32::NAN } else { x }).collect::<Vec<f32>>()
        };
        let want = run(&by_way_of_f32);
        for level in levels() {
            let got = reseek_tensor::dispatch::with_level(level, || {
                run(&|p, g, m, v, step| adamw(p, g, m, v, &CONFIG, step, CLIP))
            });
            assert_same_bits("p, m, v", &got, &want, &[3, len]);
        }
    }
}

#[test]
fn every_level_gives_the_same_bits_wherever_a_value_lies() {
    let (p, g) = (normal(50, "p"), normal(50, "g"));
    let step = |p: &[f32], g: &[f32]| {
        let (mut p, mut m, mut v) = (p.to_vec(), vec![0.1; p.len()], vec![0.2; p.len()]);
        adamw(&mut p, g, &mut m, &mut v, &CONFIG, 1000, CLIP);
        [p, m, v].concat()
    };
    let all = step(&p, &g);
    for level in levels() {
        let again = reseek_tensor::dispatch::with_level(level, || step(&p, &g));
        assert_same_bits("all", &again, &all, &[3, 50]);
    }
    assert_same_bits("value 33", &step(&p[33..34], &g[33..34]), &[all[33], all[83], all[133]], &[3]);
}
