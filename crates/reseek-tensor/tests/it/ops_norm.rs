//! RMSNorm, and operands in bf16.

use reseek_tensor::dtype::Dtype;
use reseek_tensor::glu::{Activation, RowWeights, glu_backward, glu_forward};
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::numeric::assert_same_bits;
use reseek_tensor::operand::Operand;
use reseek_tensor::rmsnorm::{rmsnorm_dgrad, rmsnorm_forward, rmsnorm_operand, rmsnorm_wgrad};

use crate::ops_support::{check_at_every_level, gradient, inner, narrow, normal, widen};

const EPS: f32 = 1e-6;
const SHAPES: [[usize; 2]; 8] = [[1, 1], [1, 16], [3, 15], [2, 17], [5, 33], [4, 64], [3, 100], [1, 257]];

fn rmsnorm(x: &[f64], gamma: &[f64], eps: f32) -> Vec<f64> {
    let row = |x: &[f64]| {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let inverse = 1.0 / (mean + f64::from(eps)).sqrt();
        x.iter().zip(gamma).map(|(x, gamma)| x * inverse * gamma).collect::<Vec<_>>()
    };
    x.chunks(gamma.len()).flat_map(row).collect()
}

#[test]
fn rmsnorm_agrees_with_the_reference_and_its_differences() {
    /// So large that its part shows, and that the gradient of a row of one value is not all
    /// cancellation.
    const EPS: f32 = 0.1;
    for shape @ [rows, width] in SHAPES {
        let (x, dy, gamma) = (normal(rows * width, "x"), normal(rows * width, "dy"), normal(width, "gamma"));
        let forward = || {
            let mut y = vec![f32::NAN; x.len()];
            rmsnorm_forward(&mut y, &x, &gamma, EPS);
            y
        };
        check_at_every_level("y", &shape, &narrow(&rmsnorm(&widen(&x), &widen(&gamma), EPS)), 1e-6, forward);

        let dx = gradient(&x, |x| inner(&rmsnorm(x, &widen(&gamma), EPS), &dy));
        for (accumulate, start) in [(Accumulate::Set, f32::NAN), (Accumulate::Add, 1.0)] {
            let start_or_zero = if accumulate == Accumulate::Add { start } else { 0.0 };
            let want: Vec<f32> = dx.iter().map(|dx| dx + start_or_zero).collect();
            check_at_every_level("dx", &shape, &want, 3e-6, || {
                let mut dx = vec![start; x.len()];
                rmsnorm_dgrad(&mut dx, &dy, &x, &gamma, EPS, accumulate);
                dx
            });
        }

        let dgamma = gradient(&gamma, |gamma| inner(&rmsnorm(&widen(&x), gamma, EPS), &dy));
        let want: Vec<f32> = dgamma.iter().map(|dgamma| dgamma + 2.0).collect();
        check_at_every_level("dgamma", &[width], &want, 1e-6, || {
            let mut dgamma = vec![2.0; width];
            rmsnorm_wgrad(&mut dgamma, &dy, &x, EPS);
            dgamma
        });
    }
}

#[test]
fn rmsnorm_of_extreme_rows() {
    let width = 48;
    let gamma = vec![1.0; width];
    let mut x = normal(5 * width, "extreme");
    for (row, scale) in x.chunks_mut(width).zip([1e15, 1e-15, 0.0, 1.0, 1.0]) {
        row.iter_mut().for_each(|x| *x *= scale);
    }
    x[3 * width + 7] = f32::NAN;
    x[4 * width + 7] = 1e25;
    let mut y = vec![0.0; x.len()];
    rmsnorm_forward(&mut y, &x, &gamma, EPS);
    let rows: Vec<&[f32]> = y.chunks(width).collect();
    let mean_square = |row: &[f32]| row.iter().map(|y| y * y).sum::<f32>() / width as f32;
    assert!((mean_square(rows[0]) - 1.0).abs() < 1e-5, "large values are normed");
    assert!(mean_square(rows[1]) < 1e-20, "eps keeps small values small");
    assert!(rows[2].iter().all(|&y| y == 0.0));
    assert!(rows[3].iter().all(|y| y.is_nan()), "NaN stays in its row and is not lost");
    assert!(rows[4].iter().all(|&y| y == 0.0), "a square beyond f32 gives 0, as in PyTorch");
}

#[test]
fn rmsnorm_rows_do_not_see_each_other() {
    for width in [15, 64, 100] {
        let (x, dy, gamma) = (normal(7 * width, "x"), normal(7 * width, "dy"), normal(width, "gamma"));
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        rmsnorm_forward(&mut y, &x, &gamma, EPS);
        rmsnorm_dgrad(&mut dx, &dy, &x, &gamma, EPS, Accumulate::Set);
        for row in 0..7 {
            let at = row * width..(row + 1) * width;
            let mut alone = vec![0.0; width];
            rmsnorm_forward(&mut alone, &x[at.clone()], &gamma, EPS);
            assert_same_bits("y of one row", &alone, &y[at.clone()], &[width]);
            rmsnorm_dgrad(&mut alone, &dy[at.clone()], &x[at.clone()], &gamma, EPS, Accumulate::Set);
            assert_same_bits("dx of one row", &alone, &dx[at], &[width]);
        }
    }
}

#[test]
#[should_panic(expected = "dy has 5 values, x 6 in rows of 3")]
fn rmsnorm_names_both_lengths() {
    rmsnorm_wgrad(&mut [0.0; 3], &[0.0; 5], &[0.0; 6], EPS);
}

/// In bf16 an op's operand is its f32 result, rounded once.
#[test]
fn operands_are_rounded_results() {
    for (rows, width) in [(1, 1), (5, 7), (3, 16), (40, 65), (9, 3000)] {
        let (x, gamma) = (normal(2 * rows * width, "x"), normal(width, "gamma"));
        let (dy, gate) = (normal(rows * width, "dy"), normal(rows, "gate"));
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let want = |values: &[f32]| Operand::of(values, width, dtype).host().to_vec();
            let mut y = vec![f32::NAN; x.len()];
            rmsnorm_forward(&mut y, &x, &gamma, EPS);
            assert_same_bits("rmsnorm", rmsnorm_operand(&x, &gamma, EPS, dtype).host(), &want(&y), &[x.len()]);
            let y = glu_forward(&x, width, Activation::Silu, Dtype::F32);
            let y = y.host();
            assert_same_bits("swiglu", glu_forward(&x, width, Activation::Silu, dtype).host(), &want(y), &[y.len()]);
            let of_rows = |dtype| {
                let mut dweights = vec![f32::NAN; rows];
                let of_rows = RowWeights { weights: (&gate).into(), dweights: (&mut dweights).into() };
                (glu_backward(&dy, &x, width, Activation::Silu, dtype, Some(of_rows)), dweights)
            };
            let ((exact, want_dweights), (rounded, dweights)) = (of_rows(Dtype::F32), of_rows(dtype));
            assert_same_bits("y again", rounded.y.host(), &want(exact.y.host()), &[y.len()]);
            let dgate_up = Operand::of(exact.dgate_up.host(), 2 * width, dtype);
            assert_same_bits("dgate, dup", rounded.dgate_up.host(), dgate_up.host(), &[x.len()]);
            assert_same_bits("dweights", &dweights, &want_dweights, &[rows]);
        }
    }
}
