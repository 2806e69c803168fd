//! Rows gathered into the order of the experts and added back with the gate's weights.
//! A row is `d` values; `rows` names rows of the larger side.

use crate::buffer::{View, ViewMut};
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// `y[i] = x[rows[i]]`. Its gradient is [`scatter_add_rows`].
///
/// # Panics
/// If a row is outside `x`, or if `y` is not `rows.len()` rows.
pub fn gather_rows<'m, 'v>(y: impl Into<ViewMut<'m>>, x: impl Into<View<'v>>, rows: &[u32], d: usize) {
    let (y, x) = (y.into().0, x.into().0);
    check("y", y.len(), x.len(), rows, d);
    let _span = span(Op::Permute, 0, 2 * y.len());
    for (y, &row) in y.chunks_exact_mut(d).zip(rows) {
        y.copy_from_slice(row_of(x, row, d));
    }
}

/// Copies a row that is shorter than a call of memcpy is worth.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn copy_short(to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len(), "rows of different lengths");
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<LANES>(), from.as_chunks::<LANES>());
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
}

/// `y[i]` = row i of `a` followed by row i of `b`, rows of `wa` and `wb` values.
///
/// # Panics
/// If `a` and `b` are not as many whole rows, or `y` does not have their values.
pub fn join_rows<'m, 'v>(
    y: impl Into<ViewMut<'m>>,
    a: impl Into<View<'v>>,
    wa: usize,
    b: impl Into<View<'v>>,
    wb: usize,
) {
    let (y, a, b) = (y.into().0, a.into().0, b.into().0);
    check_joined(y.len(), a.len(), wa, b.len(), wb);
    let _span = span(Op::Permute, 0, 2 * y.len());
    for (y, (a, b)) in y.chunks_exact_mut(wa + wb).zip(a.chunks_exact(wa).zip(b.chunks_exact(wb))) {
        copy_short(&mut y[..wa], a);
        copy_short(&mut y[wa..], b);
    }
}

/// The reverse of [`join_rows`].
///
/// # Panics
/// As [`join_rows`].
pub fn split_rows<'m, 'v>(
    a: impl Into<ViewMut<'m>>,
    wa: usize,
    b: impl Into<ViewMut<'m>>,
    wb: usize,
    y: impl Into<View<'v>>,
) {
    let (a, b, y) = (a.into().0, b.into().0, y.into().0);
    check_joined(y.len(), a.len(), wa, b.len(), wb);
    let _span = span(Op::Permute, 0, 2 * y.len());
    for (y, (a, b)) in y.chunks_exact(wa + wb).zip(a.chunks_exact_mut(wa).zip(b.chunks_exact_mut(wb))) {
        copy_short(a, &y[..wa]);
        copy_short(b, &y[wa..]);
    }
}

#[track_caller]
fn check_joined(y: usize, a: usize, wa: usize, b: usize, wb: usize) {
    let rows = y / (wa + wb);
    assert!(
        wa > 0 && wb > 0 && y == rows * (wa + wb) && a == rows * wa && b == rows * wb,
        "{a} values in rows of {wa} and {b} in rows of {wb} beside {y} in rows of {}",
        wa + wb
    );
}

/// `y[rows[i]] += x[i]` in the order of i: the gradient of [`gather_rows`].
///
/// # Panics
/// If a row is outside `y`, or if `x` is not `rows.len()` rows.
pub fn scatter_add_rows<'m, 'v>(y: impl Into<ViewMut<'m>>, x: impl Into<View<'v>>, rows: &[u32], d: usize) {
    let (y, x) = (y.into().0, x.into().0);
    check("x", x.len(), y.len(), rows, d);
    let _span = span(Op::Permute, x.len(), 3 * x.len());
    for (x, &row) in x.chunks_exact(d).zip(rows) {
        y[row as usize * d..][..d].iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
}

fn row_of(x: &[f32], row: u32, d: usize) -> &[f32] {
    &x[row as usize * d..][..d]
}

/// `y[t] += Σ_j weights[t, j] * x[rows[t, j]]` for `rows: [n, k]`, in the order of j, weights 1 where there are none: a row's bits depend
/// on nothing but its own k rows.
///
/// # Panics
/// If a row is outside `x`, if `rows` are not as many for each row of `y`, or if there are not as many weights.
pub fn gather_add_rows<'m, 'v>(
    y: impl Into<ViewMut<'m>>,
    x: impl Into<View<'v>>,
    rows: &[u32],
    weights: Option<View>,
    d: usize,
) {
    let weights = weights.map(|weights| weights.0);
    let (y, x) = (y.into().0, x.into().0);
    check("the rows", rows.len() * d, x.len(), rows, d);
    let n = y.len() / d;
    assert!(y.len() == n * d && rows.len().is_multiple_of(n.max(1)), "{} rows added to {} values", rows.len(), y.len());
    check_weights(weights, rows);
    let _span = span(Op::Permute, 2 * rows.len() * d, rows.len() * d + 2 * y.len());
    if !rows.is_empty() {
        gather_add(y, x, rows, weights, d);
    }
}

multiversion! {
    fn gather_add(y: &mut [f32], x: &[f32], rows: &[u32], weights: Option<&[f32]>, d: usize) = gather_add_body
}

#[inline(always)]
fn gather_add_body<V: Lanes>(y: &mut [f32], x: &[f32], rows: &[u32], weights: Option<&[f32]>, d: usize) {
    let k = rows.len() / (y.len() / d);
    for (t, (y, rows)) in y.chunks_exact_mut(d).zip(rows.chunks_exact(k)).enumerate() {
        for at in (0..d).step_by(LANES) {
            let mut sum = V::load_at(y, at, 0.0);
            for (j, &row) in rows.iter().enumerate() {
                let value = V::load_at(row_of(x, row, d), at, 0.0);
                sum = match weights {
                    Some(weights) => value.mul_add(V::splat(weights[t * k + j]), sum),
                    None => sum.add(value),
                };
            }
            sum.store_at(y, at);
        }
    }
}

fn check(name: &str, permuted: usize, whole: usize, rows: &[u32], d: usize) {
    assert!(d > 0, "rows of no values");
    assert_eq!(permuted, rows.len() * d, "{name} has {permuted} values, which are not {} rows of {d}", rows.len());
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
