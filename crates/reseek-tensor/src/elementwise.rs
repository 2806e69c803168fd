//! Functions of single values and of rows, in vectors and with the same bits on every machine with fused multiply-add, and sums and products
//! value by value.

use crate::buffer::{View, ViewMut};
use crate::exp;
use crate::simd::{LANES, Lanes, dot, multiversion};

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

/// The gradient of [`sigmoid`] by its results s, in place: `d[i] *= s[i]·(1 − s[i])`.
///
/// # Panics
/// If the two differ in length.
pub fn sigmoid_backward<'m, 'v>(d: impl Into<ViewMut<'m>>, s: impl Into<View<'v>>) {
    let (d, s) = (d.into().0, s.into().0);
    assert_eq!(d.len(), s.len(), "{} gradients of {} results", d.len(), s.len());
    d.iter_mut().zip(s).for_each(|(d, s)| *d *= s * (1.0 - s));
}

/// `x[t, i] = e^x[t, i] / Σ_j e^x[t, j]` for rows of `width` values.
///
/// # Panics
/// If `x` is not whole rows.
pub fn softmax_rows<'m>(x: impl Into<ViewMut<'m>>, width: usize) {
    let x = x.into().0;
    check_rows(x.len(), width);
    softmax_in_place(x, width);
}

multiversion! {
    fn softmax_in_place(x: &mut [f32], width: usize) = softmax_body
}

#[inline(always)]
fn softmax_body<V: Lanes>(x: &mut [f32], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let mut greatest = V::splat(f32::NEG_INFINITY);
        for at in (0..width).step_by(LANES) {
            greatest = greatest.max(V::load_at(row, at, f32::NEG_INFINITY));
        }
        let (greatest, mut sum) = (V::splat(greatest.reduce_max()), V::splat(0.0));
        for at in (0..width).step_by(LANES) {
            let power = exp::exp(V::load_at(row, at, f32::NEG_INFINITY).sub(greatest));
            sum = sum.add(power);
            power.store_at(row, at);
        }
        let sum = V::splat(sum.reduce_add());
        for at in (0..width).step_by(LANES) {
            V::load_at(row, at, 0.0).div(sum).store_at(row, at);
        }
    }
}

/// `x[i] *= factor`; its gradient is the same of the gradient.
pub fn scale<'m>(x: impl Into<ViewMut<'m>>, factor: f32) {
    x.into().0.iter_mut().for_each(|x| *x *= factor);
}

/// `x[i] += constant`.
pub fn add_constant<'m>(x: impl Into<ViewMut<'m>>, constant: f32) {
    x.into().0.iter_mut().for_each(|x| *x += constant);
}

/// `y[t] *= weights[t]` for every row t of `width` values.
///
/// # Panics
/// If `y` is not one row for each weight.
pub fn scale_rows<'m, 'v>(y: impl Into<ViewMut<'m>>, weights: impl Into<View<'v>>, width: usize) {
    let (y, weights) = (y.into().0, weights.into().0);
    assert_eq!(y.len(), weights.len() * width, "{} values as {} rows of {width}", y.len(), weights.len());
    weights.iter().zip(y.chunks_exact_mut(width)).for_each(|(weight, row)| scale(row, *weight));
}

/// The gradients of [`scale_rows`] by what it found in `x`: `dweights[t] = ⟨dy[t], x[t]⟩`, and `dy` becomes that of x, `dy[t] *= weights[t]`.
///
/// # Panics
/// If `x`, `dy` and the weights do not fit each other.
pub fn scale_rows_backward<'m, 'w, 'v>(
    dy: impl Into<ViewMut<'m>>,
    dweights: impl Into<ViewMut<'w>>,
    x: impl Into<View<'v>>,
    weights: impl Into<View<'v>>,
    width: usize,
) {
    let (dy, dweights, x, weights) = (dy.into().0, dweights.into().0, x.into().0, weights.into().0);
    assert!(
        dy.len() == x.len() && dweights.len() == weights.len(),
        "gradients of {} values and {} weights for {} and {}",
        dy.len(),
        dweights.len(),
        x.len(),
        weights.len()
    );
    dot_rows(dweights, dy, x, width);
    scale_rows(dy, weights, width);
}

multiversion! {
    fn dot_rows(out: &mut [f32], a: &[f32], b: &[f32], width: usize) = dot_rows_body
}

#[inline(always)]
fn dot_rows_body<V: Lanes>(out: &mut [f32], a: &[f32], b: &[f32], width: usize) {
    for (out, (a, b)) in out.iter_mut().zip(a.chunks_exact(width).zip(b.chunks_exact(width))) {
        *out = dot::<V>(a, b);
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
    fn scales_and_constants_go_value_by_value() {
        let x: Vec<f32> = (0..19).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut scaled, mut moved) = (x.clone(), x.clone());
        scale(&mut scaled, 48.0_f32.sqrt());
        add_constant(&mut moved, 1.0);
        for ((x, scaled), moved) in x.iter().zip(scaled).zip(moved) {
            assert_eq!((scaled, moved), (x * 48.0_f32.sqrt(), x + 1.0));
        }
    }

    #[test]
    #[should_panic(expected = "5 values are not whole rows of 3")]
    fn names_values_that_are_no_rows() {
        add_bias(&mut [0.0; 5], &[0.0; 3]);
    }

    #[test]
    fn softmax_of_rows_agrees_with_the_library() {
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_supported()) {
            with_level(level, || {
                for (n, width) in [(0, 3), (1, 1), (3, 8), (2, 16), (4, 60), (1, 256)] {
                    let x: Vec<f32> = (0..n * width).map(|i| 90.0 + 30.0 * (i as f32 * 0.37).sin()).collect();
                    let mut s = x.clone();
                    softmax_rows(&mut s, width);
                    for (x, s) in x.chunks_exact(width).zip(s.chunks_exact(width)) {
                        let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
                        for (&x, &s) in x.iter().zip(s) {
                            let want = f64::from(x).exp() / total;
                            assert!(
                                (f64::from(s) - want).abs() < 3e-7 * want + 1e-37,
                                "{level} at {x}: {s} for {want}"
                            );
                        }
                    }
                }
                // What is not a number stays in its row.
                let mut x = [1.0, f32::NAN, 0.0, 0.0];
                softmax_rows(&mut x, 2);
                assert!(x[0].is_nan() && x[1].is_nan() && x[2..] == [0.5, 0.5]);
            });
        }
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
