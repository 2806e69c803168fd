//! Rows by a weight each, and weights that are sigmoids of logits.

use reseek_tensor::elementwise::{scale_rows, scale_rows_backward, sigmoid, sigmoid_backward};

use crate::ops_support::{check_at_every_level, gradient, inner, narrow, normal, widen};

/// Rows by the sigmoid of a logit each, as Qwen2-MoE gates its shared expert.
fn gated(x: &[f64], logits: &[f64], width: usize) -> Vec<f64> {
    let rows = x.chunks_exact(width).zip(logits);
    rows.flat_map(|(row, z)| row.iter().map(move |x| x / (1.0 + (-z).exp()))).collect()
}

#[test]
fn rows_by_sigmoids_agree_with_the_reference_and_its_differences() {
    for (n, width) in [(0, 5), (1, 1), (3, 15), (5, 16), (2, 100)] {
        let (x, dy, logits) = (normal(n * width, "x"), normal(n * width, "dy"), normal(n, "logits"));
        let want = gated(&widen(&x), &widen(&logits), width);
        check_at_every_level("y", &[n, width], &narrow(&want), 1e-6, || {
            let (mut y, mut weights) = (x.clone(), logits.clone());
            sigmoid(&mut weights);
            scale_rows(&mut y, &weights, width);
            y
        });
        let dx = gradient(&x, |x| inner(&gated(x, &widen(&logits), width), &dy));
        let dlogits = gradient(&logits, |logits| inner(&gated(&widen(&x), logits, width), &dy));
        let want = [dx, dlogits].concat();
        check_at_every_level("dx, dlogits", &[want.len()], &want, 3e-6, || {
            let (mut dx, mut dlogits, mut weights) = (dy.clone(), vec![f32::NAN; n], logits.clone());
            sigmoid(&mut weights);
            scale_rows_backward(&mut dx, &mut dlogits, &x, &weights, width);
            sigmoid_backward(&mut dlogits, &weights);
            [dx, dlogits].concat()
        });
    }
}

#[test]
#[should_panic(expected = "7 values as 2 rows of 3")]
fn names_rows_that_do_not_fit_their_weights() {
    scale_rows(&mut [0.0; 7], &[1.0; 2], 3);
}
