//! Rows gathered into the order of the experts and added back with the gate's weights.
//! A row is `d` values; `rows` names rows of the larger side.

use crate::profile::{Op, span};
use crate::simd::{Lanes, dot, multiversion};

/// `y[i] = x[rows[i]]`. Its gradient is [`scatter_add_rows`] without weights.
///
/// # Panics
/// If a row is outside `x`, or if `y` is not `rows.len()` rows.
pub fn gather_rows(y: &mut [f32], x: &[f32], rows: &[u32], d: usize) {
    check("y", y.len(), x.len(), rows, d);
    let _span = span(Op::Permute, 0, 2 * y.len());
    for (y, &row) in y.chunks_exact_mut(d).zip(rows) {
        y.copy_from_slice(row_of(x, row, d));
    }
}

/// `y[rows[i]] += weights[i] * x[i]` in the order of i, weights 1 where there are none. Gradients:
/// [`scatter_add_rows_dgrad`] and [`scatter_add_rows_wgrad`].
///
/// # Panics
/// If a row is outside `y`, if `x` is not `rows.len()` rows, or if there are not as many weights.
pub fn scatter_add_rows(y: &mut [f32], x: &[f32], rows: &[u32], weights: Option<&[f32]>, d: usize) {
    check("x", x.len(), y.len(), rows, d);
    check_weights(weights, rows);
    let _span = span(Op::Permute, x.len(), 3 * x.len());
    for (i, (x, &row)) in x.chunks_exact(d).zip(rows).enumerate() {
        let y = &mut y[row as usize * d..][..d];
        match weights {
            Some(weights) => y.iter_mut().zip(x).for_each(|(y, x)| *y += weights[i] * x),
            None => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        }
    }
}

/// Gradient of x in [`scatter_add_rows`]: `dx[i] = weights[i] * dy[rows[i]]`.
///
/// # Panics
/// If a row is outside `dy`, if `dx` is not `rows.len()` rows, or if there are not as many weights.
pub fn scatter_add_rows_dgrad(dx: &mut [f32], dy: &[f32], rows: &[u32], weights: Option<&[f32]>, d: usize) {
    let Some(weights) = weights else {
        return gather_rows(dx, dy, rows, d);
    };
    check("dx", dx.len(), dy.len(), rows, d);
    check_weights(Some(weights), rows);
    for ((dx, &row), weight) in dx.chunks_exact_mut(d).zip(rows).zip(weights) {
        for (dx, dy) in dx.iter_mut().zip(row_of(dy, row, d)) {
            *dx = weight * dy;
        }
    }
}

/// Gradient of the weights in [`scatter_add_rows`]: `dweights[i] = ⟨dy[rows[i]], x[i]⟩`.
///
/// # Panics
/// If a row is outside `dy`, if `x` is not `rows.len()` rows, or if there are not as many weights.
pub fn scatter_add_rows_wgrad(dweights: &mut [f32], dy: &[f32], x: &[f32], rows: &[u32], d: usize) {
    check("x", x.len(), dy.len(), rows, d);
    check_weights(Some(dweights), rows);
    dot_rows(dweights, dy, x, rows, d);
}

multiversion! {
    fn dot_rows(out: &mut [f32], a: &[f32], b: &[f32], rows: &[u32], d: usize) = dot_rows_body
}

#[inline(always)]
fn dot_rows_body<V: Lanes>(out: &mut [f32], a: &[f32], b: &[f32], rows: &[u32], d: usize) {
    for ((out, b), &row) in out.iter_mut().zip(b.chunks_exact(d)).zip(rows) {
        *out = dot::<V>(row_of(a, row, d), b);
    }
}

fn row_of(x: &[f32], row: u32, d: usize) -> &[f32] {
    &x[row as usize * d..][..d]
}

fn check(name: &str, permuted: usize, whole: usize, rows: &[u32], d: usize) {
    assert!(d > 0, "rows of no values");
    assert_eq!(permuted, rows.len() * d, "{name} has {permuted} values, expected {} rows of {d}", rows.len());
    assert!(whole.is_multiple_of(d), "{whole} values are not whole rows of {d}");
    if let Some(row) = rows.iter().find(|&&row| row as usize >= whole / d) {
        panic!("row {row} asked for, there are {}", whole / d);
    }
}

fn check_weights(weights: Option<&[f32]>, rows: &[u32]) {
    if let Some(weights) = weights {
        assert_eq!(weights.len(), rows.len(), "{} weights for {} rows", weights.len(), rows.len());
    }
}
