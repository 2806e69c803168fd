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
    /// The rows in f32 before they are paired; empty in f32.
    plain: &'a mut [f32],
    dtype: Dtype,
}

impl<'a> Operand<'a> {
    pub(super) fn new([left, right, plain]: [&'a mut Scratch; 3], len: usize, width: usize, dtype: Dtype) -> Self {
        let size = len * padded(width);
        let (of_left, of_pairs) = match dtype {
            Dtype::F32 => (size, 0),
            Dtype::Bf16 => (size / 2, size),
        };
        let right = right.floats(len.div_ceil(2) * padded(width) * usize::from(dtype == Dtype::Bf16));
        Self { width: padded(width), left: left.floats(of_left), right, plain: plain.floats(of_pairs), dtype }
    }

    /// Puts `rows` into the rows from `first` on. What the block of `first` holds before it becomes 0.
    pub(super) fn load(&mut self, rows: Head, first: usize, factor: f32) {
        let start = first / ROW_BLOCK * ROW_BLOCK;
        let plain = if self.dtype == Dtype::Bf16 { &mut *self.plain } else { &mut *self.left };
        let (zeros, own) = plain[start * self.width..].split_at_mut((first - start) * self.width);
        zeros.fill(0.0);
        copy_rows(own, self.width, rows.rows(), factor);
        if self.dtype == Dtype::Bf16 {
            let plain = &self.plain[start * self.width..];
            pair_within_rows(&mut self.left[start * self.width / 2..], plain, self.width);
            pair_whole_rows(&mut self.right[start / 2 * self.width..], plain, self.width);
        }
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
