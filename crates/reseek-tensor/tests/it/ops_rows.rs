//! Embedding and the permutation of rows.

use reseek_tensor::embedding::{embedding_backward, embedding_forward};
use reseek_tensor::numeric::assert_close;
use reseek_tensor::permute::{gather_rows, scatter_add_rows, scatter_add_rows_dgrad, scatter_add_rows_wgrad};

use crate::ops_support::{check_at_every_level, gradient, inner, narrow, normal, widen};

/// Rows of a side of 5, with repetitions and one that is never named.
const ROWS: [u32; 6] = [4, 0, 4, 2, 1, 4];
const WIDTHS: [usize; 4] = [1, 15, 16, 50];

fn gather(x: &[f64], d: usize) -> Vec<f64> {
    ROWS.iter().flat_map(|&row| x[row as usize * d..][..d].to_vec()).collect()
}

fn scatter(x: &[f64], weights: &[f64], d: usize) -> Vec<f64> {
    let mut y = vec![0.0; 5 * d];
    for (i, &row) in ROWS.iter().enumerate() {
        for j in 0..d {
            y[row as usize * d + j] += weights[i] * x[i * d + j];
        }
    }
    y
}

#[test]
fn embedding_copies_rows_and_adds_gradients() {
    for d in WIDTHS {
        let (table, dy) = (normal(5 * d, "table"), normal(6 * d, "dy"));
        let mut y = vec![f32::NAN; 6 * d];
        embedding_forward(&mut y, &table, &ROWS, d);
        assert_eq!(y, narrow(&gather(&widen(&table), d)));

        let want: Vec<f32> = gradient(&table, |table| inner(&gather(table, d), &dy)).iter().map(|x| x + 1.0).collect();
        let mut dtable = vec![1.0; 5 * d];
        embedding_backward(&mut dtable, &dy, &ROWS, d);
        assert_close("dtable", &dtable, &want, &[5, d], 1e-6);
    }
}

#[test]
fn scattering_agrees_with_the_reference_and_its_differences() {
    for d in WIDTHS {
        let (x, dy, gate) = (normal(6 * d, "x"), normal(5 * d, "dy"), normal(6, "gate"));
        for weights in [None, Some(&gate[..])] {
            let w = widen(weights.unwrap_or(&[1.0; 6]));
            let mut y = vec![1.0; 5 * d];
            scatter_add_rows(&mut y, &x, &ROWS, weights, d);
            let want: Vec<f32> = scatter(&widen(&x), &w, d).iter().map(|y| (y + 1.0) as f32).collect();
            assert_close("y", &y, &want, &[5, d], 3e-7);

            let mut dx = vec![f32::NAN; 6 * d];
            scatter_add_rows_dgrad(&mut dx, &dy, &ROWS, weights, d);
            assert_close("dx", &dx, &gradient(&x, |x| inner(&scatter(x, &w, d), &dy)), &[6, d], 1e-6);
        }
        let dweights = gradient(&gate, |gate| inner(&scatter(&widen(&x), gate, d), &dy));
        check_at_every_level("dweights", &[6], &dweights, 1e-6, || {
            let mut dweights = vec![f32::NAN; 6];
            scatter_add_rows_wgrad(&mut dweights, &dy, &x, &ROWS, d);
            dweights
        });
    }
}

#[test]
fn no_rows_are_no_work() {
    gather_rows(&mut [], &[1.0, 2.0], &[], 2);
    let mut y = [1.0, 2.0];
    scatter_add_rows(&mut y, &[], &[], Some(&[]), 2);
    assert_eq!(y, [1.0, 2.0]);
}

#[test]
#[should_panic(expected = "row 5 asked for, there are 5")]
fn names_a_row_that_does_not_exist() {
    gather_rows(&mut [0.0; 3], &[0.0; 15], &[5], 3);
}
