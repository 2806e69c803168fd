//! Embedding and the permutation of rows.

use reseek_tensor::embedding::{embedding_backward, embedding_forward};
use reseek_tensor::numeric::assert_close;
use reseek_tensor::permute::{gather_add_rows, gather_rows, join_rows, scatter_add_rows, split_rows};

use reseek_tensor::random::Stream;

use crate::ops_support::{check_at_every_level, gradient, inner, narrow, normal, widen};

/// Rows of a side of 5, with repetitions and one that is never named.
const ROWS: [u32; 6] = [4, 0, 4, 2, 1, 4];
const WIDTHS: [usize; 4] = [1, 15, 16, 50];

fn gather(x: &[f64], d: usize) -> Vec<f64> {
    ROWS.iter().flat_map(|&row| x[row as usize * d..][..d].to_vec()).collect()
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

/// Σ over a token's three rows, weighed: two tokens, six choices.
fn combine(y: &[f64], x: &[f64], weights: &[f64], d: usize) -> Vec<f64> {
    let mut y = y.to_vec();
    for (choice, &row) in ROWS.iter().enumerate() {
        for j in 0..d {
            y[choice / 3 * d + j] += weights[choice] * x[row as usize * d + j];
        }
    }
    y
}

#[test]
fn rows_of_experts_come_back_with_their_weights() {
    for d in WIDTHS {
        let (y, x, gate) = (normal(2 * d, "y"), normal(5 * d, "x"), normal(6, "gate"));
        for weights in [None, Some(&gate[..])] {
            let w = widen(weights.unwrap_or(&[1.0; 6]));
            let want: Vec<f32> = narrow(&combine(&widen(&y), &widen(&x), &w, d));
            check_at_every_level("combined", &[2, d], &want, 1e-6, || {
                let mut y = y.clone();
                gather_add_rows(&mut y, &x, &ROWS, weights.map(Into::into), d);
                y
            });
        }
    }
}

#[test]
fn random_choices_agree_with_the_reference() {
    let mut stream = Stream::new(5, "sizes", 0, 0);
    for _ in 0..30 {
        let mut below = |most| 1 + stream.below(most);
        let (n, k, experts_rows, d) = (below(9), below(5), below(20), below(70));
        let rows: Vec<u32> = (0..n * k).map(|_| stream.below(experts_rows) as u32).collect();
        let (y, x, weights) = (normal(n * d, "y"), normal(experts_rows * d, "x"), normal(n * k, "weights"));
        let mut want = widen(&y);
        for (choice, &row) in rows.iter().enumerate() {
            for j in 0..d {
                want[choice / k * d + j] += f64::from(weights[choice]) * f64::from(x[row as usize * d + j]);
            }
        }
        check_at_every_level("combined", &[n, d], &narrow(&want), 1e-6, || {
            let mut y = y.clone();
            gather_add_rows(&mut y, &x, &rows, Some((&weights).into()), d);
            y
        });
    }
}

#[test]
fn rows_joined_and_split_are_what_they_were() {
    let (a, b) = (normal(4 * 3, "a"), normal(4 * 17, "b"));
    let mut y = vec![f32::NAN; 4 * 20];
    join_rows(&mut y, &a, 3, &b, 17);
    assert_eq!((&y[20..23], &y[23..40]), (&a[3..6], &b[17..34]));
    let (mut a2, mut b2) = (vec![f32::NAN; a.len()], vec![f32::NAN; b.len()]);
    split_rows(&mut a2, 3, &mut b2, 17, &y);
    assert_eq!((a2, b2), (a, b));
}

#[test]
fn no_rows_are_no_work() {
    gather_rows(&mut [], &[1.0, 2.0], &[], 2);
    let mut y = [1.0, 2.0];
    scatter_add_rows(&mut y, &[], &[], 2);
    gather_add_rows(&mut y, &[], &[], None, 2);
    assert_eq!(y, [1.0, 2.0]);
}

#[test]
#[should_panic(expected = "row 5 asked for, there are 5")]
fn names_a_row_that_does_not_exist() {
    gather_rows(&mut [0.0; 3], &[0.0; 15], &[5], 3);
}
