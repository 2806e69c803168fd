//! Functions of single values, in vectors and with the same bits on every machine with fused multiply-add, and sums value by value.

use crate::buffer::{View, ViewMut};
use crate::exp;
use crate::simd::{LANES, Lanes, multiversion};

/// `x[i] = 1 / (1 + e^-x[i])`.
pub fn sigmoid<'m>(x: impl Into<ViewMut<'m>>) {
    let x = x.into().0;
    sigmoid_in_place(x);
}

multiversion! {
    fn sigmoid_in_place(x: &mut [f32]) = sigmoid_body
}

#[inline(always)]
fn sigmoid_body<V: Lanes>(x: &mut [f32]) {
    for at in (0..x.len()).step_by(LANES) {
        exp::sigmoid(V::load_at(x, at, 0.0)).store_at(x, at);
    }
}

/// `y[i] += x[i]`.
///
/// # Panics
/// If the two differ in length.
pub fn add<'m, 'v>(y: impl Into<ViewMut<'m>>, x: impl Into<View<'v>>) {
    let (y, x) = (y.into().0, x.into().0);
    assert_eq!(y.len(), x.len(), "a sum of {} and {} values", y.len(), x.len());
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// `y[i] = x[i]`.
///
/// # Panics
/// If the two differ in length.
pub fn copy<'m, 'v>(y: impl Into<ViewMut<'m>>, x: impl Into<View<'v>>) {
    let (y, x) = (y.into().0, x.into().0);
    assert_eq!(y.len(), x.len(), "a copy of {} values to {}", x.len(), y.len());
    y.copy_from_slice(x);
}

/// `y[t] += bias` for every row t of `bias.len()` values.
///
/// # Panics
/// If `y` is not whole rows.
pub fn add_bias<'m>(y: impl Into<ViewMut<'m>>, bias: &[f32]) {
    let y = y.into().0;
    check_rows(y.len(), bias.len());
    for row in y.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
}

/// The gradient of [`add_bias`]: `dbias += dy[t]` for every row t, in order.
///
/// # Panics
/// If `dy` is not whole rows.
pub fn bias_grad<'m, 'v>(dbias: impl Into<ViewMut<'m>>, dy: impl Into<View<'v>>) {
    let (dbias, dy) = (dbias.into().0, dy.into().0);
    check_rows(dy.len(), dbias.len());
    for row in dy.chunks_exact(dbias.len()) {
        add(&mut *dbias, row);
    }
}

#[track_caller]
fn check_rows(values: usize, width: usize) {
    assert!(width > 0 && values.is_multiple_of(width), "{values} values are not whole rows of {width}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{SimdLevel, with_level};

    #[test]
    fn sums_go_value_by_value_and_row_by_row() {
        for (n, width) in [(0, 3), (1, 1), (2, 17), (5, 16)] {
            let x: Vec<f32> = (0..n * width).map(|i| (i as f32 * 0.37).sin()).collect();
            let bias: Vec<f32> = (0..width).map(|j| j as f32 - 1.5).collect();
            let mut y = x.clone();
            add_bias(&mut y, &bias);
            for (i, (y, x)) in y.iter().zip(&x).enumerate() {
                assert_eq!(*y, x + bias[i % width]);
            }
            let mut twice = x.clone();
            add(&mut twice, &x);
            assert!(twice.iter().zip(&x).all(|(twice, x)| *twice == x + x));
            copy(&mut twice, &x);
            assert_eq!(twice, x);

            let mut dbias = bias.clone();
            bias_grad(&mut dbias, &x);
            for (j, (got, bias)) in dbias.iter().zip(&bias).enumerate() {
                let want = (0..n).fold(*bias, |sum, row| sum + x[row * width + j]);
                assert_eq!(got.to_bits(), want.to_bits(), "column {j} of {n} rows");
            }
        }
    }

    #[test]
    #[should_panic(expected = "5 values are not whole rows of 3")]
    fn names_values_that_are_no_rows() {
        add_bias(&mut [0.0; 5], &[0.0; 3]);
    }

    #[test]
    fn every_level_agrees_with_the_library() {
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_supported()) {
            with_level(level, || {
                for len in [0, 1, 15, 16, 33] {
                    let x: Vec<f32> = (0..len).map(|i| (i as f32 - 11.0) * 0.7).collect();
                    let mut s = x.clone();
                    sigmoid(&mut s);
                    for (x, s) in x.iter().zip(s) {
                        let want = 1.0 / (1.0 + (-x).exp());
                        assert!((s - want).abs() < 2e-7, "{level} at {x}: {s}");
                    }
                }
            });
        }
    }
}
