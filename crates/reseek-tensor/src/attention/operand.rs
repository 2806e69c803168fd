//! One head's rows in the forms that the products of the backward pass read.

use super::pack::{Head, copy_rows, pair_whole_rows};
use super::tile::{Left, Right};
use super::{ROW_BLOCK, padded};
use crate::dtype::{Dtype, pair_within_rows};
use crate::scratch::Scratch;

/// A head's rows `[len, padded width]`, for products from the left and from the right.
pub(super) struct Operand<'a> {
    pub(super) width: usize,
    /// Rows of a left operand: as they are, or pairs within each row.
    left: &'a mut [f32],
    /// Rows of a right operand: as they are, or pairs of neighbouring rows. Empty where `left` serves.
    right: &'a mut [f32],
    /// [`BLOCK`] rows in f32 before they are paired; empty where the format is f32.
    plain: &'a mut [f32],
    dtype: Dtype,
}

/// Rows that are loaded at once, and wait in the first cache for their pairing; even, so that no pair of rows is torn.
const BLOCK: usize = 2 * ROW_BLOCK;

impl<'a> Operand<'a> {
    pub(super) fn new([left, right, plain]: [&'a mut Scratch; 3], len: usize, width: usize, dtype: Dtype) -> Self {
        let width = padded(width);
        let (of_right, of_plain) = match dtype {
            Dtype::F32 => (0, 0),
            Dtype::Bf16 => (len.div_ceil(2) * width, BLOCK * width),
        };
        let (left, right) = (left.floats(len * dtype.steps(width)), right.floats(of_right));
        Self { width, left, right, plain: plain.floats(of_plain), dtype }
    }

    /// Puts `rows` into the rows from `first` on. What the block of `first` holds before it becomes 0.
    pub(super) fn load(&mut self, rows: Head, first: usize, factor: f32) {
        let Self { width, left, right, plain, dtype } = self;
        let (width, start) = (*width, first / ROW_BLOCK * ROW_BLOCK);
        let mut rows = std::iter::repeat_n(&[][..], first - start).chain(rows.rows());
        let mut copy = |block: &mut [f32]| {
            let mut own: [&[f32]; BLOCK] = [&[]; BLOCK];
            own.iter_mut().zip(rows.by_ref()).for_each(|(own, row)| *own = row);
            copy_rows(block, width, &own, factor);
        };
        if *dtype == Dtype::F32 {
            return left[start * width..].chunks_mut(BLOCK * width).for_each(copy);
        }
        let lefts = left[start * width / 2..].chunks_mut(BLOCK * width / 2);
        for (left, right) in lefts.zip(right[start / 2 * width..].chunks_mut(BLOCK / 2 * width)) {
            let plain = &mut plain[..2 * left.len()];
            copy(plain);
            pair_within_rows(left, plain, width);
            pair_whole_rows(right, plain, width);
        }
    }

    /// The rows of the left operand, whose values behind the head's own are 0.
    pub(super) fn left_rows(&self) -> Head<'_> {
        Head::new(self.left, 0, 1, self.dtype.steps(self.width))
    }

    /// As a left operand from row `first` on.
    pub(super) fn left(&self, first: usize) -> Left<'_> {
        let stride = self.dtype.steps(self.width);
        Left::rows(&self.left[first * stride..], stride)
    }

    /// As a right operand from row `first` on, which is even.
    pub(super) fn right(&self, first: usize) -> Right<'_> {
        match self.dtype {
            Dtype::F32 => Right::new(&self.left[first * self.width..], self.width),
            Dtype::Bf16 => Right::new(&self.right[first / 2 * self.width..], self.width),
        }
    }
}
