//! Heads side by side in the rows of a tensor: where they lie, copies between rows that hold them differently, and a product with a
//! matrix of each head's own.

use crate::buffer::{Buffer, View, ViewMut};
use crate::matmul::{Accumulate, Packed, matmul};
use crate::permute::copy_short;
use crate::profile::{Op, span};

/// A part of each head in rows `[n, count · stride]`: `count` heads of `stride` values lie side by side, and meant are the `width` values of
/// each from its `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads in a row.
    pub count: usize,
    /// Values from the start of a head to the start of the next.
    pub stride: usize,
    /// Where the part begins in its head.
    pub offset: usize,
    /// Values of the part.
    pub width: usize,
}

impl Heads {
    /// `count` heads of `width` values, all of them meant.
    pub fn whole(count: usize, width: usize) -> Self {
        Self { count, stride: width, offset: 0, width }
    }

    /// `width` of these values, from the one at `offset` on.
    ///
    /// # Panics
    /// If there are not as many.
    #[must_use]
    pub fn part(self, offset: usize, width: usize) -> Self {
        assert!(offset + width <= self.width, "values {offset}..{} of a part of {}", offset + width, self.width);
        Self { offset: self.offset + offset, width, ..self }
    }

    /// Values in a row.
    pub fn row(self) -> usize {
        self.count * self.stride
    }

    /// Where the part of `head` lies in `row`.
    pub(crate) fn at(self, row: usize, head: usize) -> std::ops::Range<usize> {
        let start = row * self.row() + head * self.stride + self.offset;
        start..start + self.width
    }

    /// Rows in `values`, after checking that they are whole and that the part lies inside of a head.
    #[track_caller]
    pub(crate) fn rows(self, name: &str, values: usize) -> usize {
        assert!(self.row() > 0 && self.offset + self.width <= self.stride, "no part of a head: {self:?}");
        let n = values / self.row();
        assert_eq!(values, n * self.row(), "{name} has {values} values, which are not whole rows of {self:?}");
        n
    }
}

/// `y[row, head] = x[row, head]`, the parts `to` of the one and `from` of the other; the rest of `y` stays.
///
/// # Panics
/// If the two sides differ in rows, heads or width.
pub fn copy_heads<'m, 'v>(y: impl Into<ViewMut<'m>>, to: Heads, x: impl Into<View<'v>>, from: Heads) {
    let (y, x) = (y.into().0, x.into().0);
    let n = check_sides(y.len(), to, x.len(), from);
    assert_eq!(to.width, from.width, "copies of {from:?} into {to:?}");
    let _span = span(Op::Permute, 0, 2 * n * to.count * to.width);
    for row in 0..n {
        for head in 0..to.count {
            copy_short(&mut y[to.at(row, head)], &x[from.at(row, head)]);
        }
    }
}

/// `y[row, head] = x[row, head]·bs[head]`, the parts `to` of the one and `from` of the other; the rest of `y` stays.
///
/// # Panics
/// If the two sides differ in rows or heads, if there is not one B for each head, or if B is not `[from.width, to.width]`.
pub fn matmul_by_head<'m, 'v>(
    y: impl Into<ViewMut<'m>>,
    to: Heads,
    x: impl Into<View<'v>>,
    from: Heads,
    bs: &[Packed],
) {
    let (y, x) = (y.into().0, x.into().0);
    let n = check_sides(y.len(), to, x.len(), from);
    assert_eq!(bs.len(), to.count, "{} matrices for {to:?}", bs.len());
    let (mut input, mut result) = (Buffer::uncleared(n * from.width), Buffer::uncleared(n * to.width));
    for (head, b) in bs.iter().enumerate() {
        for row in 0..n {
            input.host_mut()[row * from.width..][..from.width].copy_from_slice(&x[from.at(row, head)]);
        }
        matmul(&mut result, &input, b, Accumulate::Set);
        for row in 0..n {
            y[to.at(row, head)].copy_from_slice(&result.host()[row * to.width..][..to.width]);
        }
    }
}

#[track_caller]
fn check_sides(y: usize, to: Heads, x: usize, from: Heads) -> usize {
    let n = to.rows("y", y);
    assert!(
        from.rows("x", x) == n && from.count == to.count,
        "{x} values as {from:?} for {y} values as {to:?}: rows and heads must match"
    );
    n
}
