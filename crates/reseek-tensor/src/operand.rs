//! Left operands of products: rows in the format in which they meet the weights.
//!
//! An activation often enters several products: the norm's output those of queries and latents, and later the gradients of their weights.
//! In bf16 it is rounded once, by the op that makes it, and read as pairs from then on, at half of the bytes. The bits of a product are
//! those that it has when it rounds values on the way: both round each value once.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Buffer, View};
use crate::dtype::{Dtype, interleave_rows, pair_rows, pair_within_rows};
use crate::profile::{Op, span};

/// Rows that [`Operand::by_blocks`] computes at once, in values: a block waits for its rounding in the L1 cache.
const BLOCK_VALUES: usize = 2048;

/// Rows `[n, width]` that enter products on their left side. A clone shares the values.
#[derive(Clone, Debug)]
pub struct Operand<'a> {
    values: Values<'a>,
    width: usize,
    dtype: Dtype,
    /// Row i of the product is row `index[i]` of the values.
    index: Option<&'a [u32]>,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    Borrowed(&'a [f32]),
    Owned(Arc<Buffer>),
}

/// What a product reads of an [`Operand`], or plain f32 rows, which it rounds itself where it multiplies in bf16.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// f32 values row after row, or bf16 pairs of neighbours in each row, where an odd last value has 0 beside it.
    stored: &'a [f32],
    paired: bool,
    /// Row i of the product is row `index[i]` of what is stored.
    index: Option<&'a [u32]>,
}

impl<'a> Operand<'a> {
    /// Rows of `width` values in `dtype`: in f32 these very values, in bf16 a rounded copy.
    ///
    /// # Panics
    /// If `x` is not whole rows.
    pub fn of(x: impl Into<View<'a>>, width: usize, dtype: Dtype) -> Self {
        let x = x.into().0;
        match dtype {
            Dtype::F32 => Self { values: Values::Borrowed(x), width, dtype, index: None },
            Dtype::Bf16 => rounded(x, width),
        }
    }

    /// [`Operand::of`] for values that are not needed otherwise.
    ///
    /// # Panics
    /// If `x` is not whole rows.
    pub fn owned(x: Buffer, width: usize, dtype: Dtype) -> Operand<'static> {
        match dtype {
            Dtype::F32 => Operand::from_buffer(x, width, dtype),
            Dtype::Bf16 => rounded(x.host(), width),
        }
    }

    /// `n` rows that `compute(rows, out)` writes as f32, block by block.
    pub fn by_blocks(
        n: usize,
        width: usize,
        dtype: Dtype,
        mut compute: impl FnMut(Range<usize>, &mut [f32]),
    ) -> Operand<'static> {
        let [operand] = Self::several_by_blocks(n, [width], dtype, |rows, [out]| compute(rows, out));
        operand
    }

    /// [`Operand::by_blocks`] for several results of one computation.
    pub fn several_by_blocks<const N: usize>(
        n: usize,
        widths: [usize; N],
        dtype: Dtype,
        mut compute: impl FnMut(Range<usize>, [&mut [f32]; N]),
    ) -> [Operand<'static>; N] {
        let mut all = widths.map(|width| Buffer::uncleared(n * dtype.steps(width)));
        match dtype {
            Dtype::F32 => compute(0..n, all.each_mut().map(Buffer::host_mut)),
            Dtype::Bf16 => {
                let most = (BLOCK_VALUES / widths.iter().sum::<usize>().max(1)).clamp(1, n.max(1));
                let mut blocks = widths.map(|width| (width, Buffer::uncleared(most * width)));
                for start in (0..n).step_by(most) {
                    let rows = start..n.min(start + most);
                    compute(
                        rows.clone(),
                        blocks.each_mut().map(|(width, block)| &mut block.host_mut()[..rows.len() * *width]),
                    );
                    for (values, (width, block)) in all.iter_mut().zip(&blocks) {
                        let steps = dtype.steps(*width);
                        let pairs = &mut values.host_mut()[start * steps..rows.end * steps];
                        pair_within_rows(pairs, &block.host()[..rows.len() * width], *width);
                    }
                }
            }
        }
        let mut widths = widths.into_iter();
        all.map(|values| Operand::from_buffer(values, widths.next().expect("one a result"), dtype))
    }

    fn from_buffer(values: Buffer, width: usize, dtype: Dtype) -> Operand<'static> {
        Operand { values: Values::Owned(Arc::new(values)), width, dtype, index: None }
    }

    /// The same values, of which row i of a product is row `index[i]`: gathered where the product reads it.
    #[must_use]
    pub fn gathered(&self, index: &'a [u32]) -> Self {
        assert!(self.index.is_none(), "rows that are gathered already");
        Self { index: Some(index), ..self.clone() }
    }

    /// The same rows in `dtype`: these very values in f32, and rounded ones in bf16.
    ///
    /// # Panics
    /// If they are rounded or gathered already.
    #[must_use]
    pub fn rounded(&self, dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => self.clone(),
            Dtype::Bf16 => rounded(self.left().values(), self.width),
        }
    }

    /// Values that nobody else holds on to: a copy where they are borrowed.
    ///
    /// # Panics
    /// If the rows are gathered, by an index that is not theirs.
    pub fn into_owned(self) -> Operand<'static> {
        assert!(self.index.is_none(), "an index is borrowed");
        let values = match self.values {
            Values::Borrowed(values) => Arc::new(Buffer::of(values)),
            Values::Owned(values) => values,
        };
        Operand { values: Values::Owned(values), width: self.width, dtype: self.dtype, index: None }
    }

    /// Rows that a product reads.
    pub fn rows(&self) -> usize {
        self.left().rows(self.width).unwrap_or(0)
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The values or pairs, in the order in which they lie.
    pub fn host(&self) -> &[f32] {
        match &self.values {
            Values::Borrowed(values) => values,
            Values::Owned(values) => values.host(),
        }
    }

    /// The view that products take.
    pub fn left(&self) -> Left<'_> {
        Left { stored: self.host(), paired: self.dtype == Dtype::Bf16, index: self.index }
    }
}

fn rounded(x: &[f32], width: usize) -> Operand<'static> {
    let n = x.len().checked_div(width).unwrap_or(0);
    assert_eq!(x.len(), n * width, "an operand with rows of {width} values");
    let _span = span(Op::Round, 0, x.len() + x.len() / 2);
    let mut values = Buffer::uncleared(n * Dtype::Bf16.steps(width));
    pair_within_rows(values.host_mut(), x, width);
    Operand::from_buffer(values, width, Dtype::Bf16)
}

impl<'a> Left<'a> {
    /// The values, of f32 rows in order.
    ///
    /// # Panics
    /// If they are rounded or gathered.
    pub(crate) fn values(self) -> &'a [f32] {
        assert!(!self.paired && self.index.is_none(), "f32 rows in order are needed here");
        self.stored
    }

    /// The f32 rows, side by side: gathered where they are not.
    ///
    /// # Panics
    /// If they are rounded.
    pub(crate) fn to_values(self, width: usize) -> Cow<'a, [f32]> {
        assert!(!self.paired, "f32 rows are needed here");
        match self.index {
            None => Cow::Borrowed(self.stored),
            Some(index) => (0..index.len()).flat_map(|i| self.row(i, width)).copied().collect(),
        }
    }

    pub(crate) fn is_paired(self) -> bool {
        self.paired
    }

    /// Rows of `width` values, the last one perhaps not whole; nothing where a row has no values.
    pub(crate) fn rows(self, width: usize) -> Option<usize> {
        self.index.map(<[u32]>::len).or_else(|| self.stored.len().checked_div(self.step(width)))
    }

    /// Whether these are `rows` rows of `width` values.
    pub(crate) fn has_shape(self, rows: usize, width: usize) -> bool {
        match self.index {
            Some(index) => index.len() == rows && self.stored.len().is_multiple_of(self.step(width).max(1)),
            None => self.stored.len() == rows * self.step(width),
        }
    }

    /// Values that are stored, in units of a row's [`Left::step`] where rows are gathered: for messages.
    pub(crate) fn len(self) -> usize {
        self.stored.len()
    }

    /// The stored values of row i.
    pub(crate) fn row(self, i: usize, width: usize) -> &'a [f32] {
        let (i, step) = (self.index.map_or(i, |index| index[i] as usize), self.step(width));
        &self.stored[i * step..][..step]
    }

    /// Some of the rows.
    pub(crate) fn part(self, rows: Range<usize>, width: usize) -> Self {
        let step = self.step(width);
        match self.index {
            Some(index) => Self { index: Some(&index[rows]), ..self },
            None => Self { stored: &self.stored[rows.start * step..rows.end * step], ..self },
        }
    }

    /// Pairs of two of the rows, which are neighbours along k: see [`pair_rows`].
    pub(crate) fn pair_rows(
        self,
        to: &mut [f32],
        even: &[f32],
        odd: Option<&[f32]>,
        places: impl Iterator<Item = (Range<usize>, usize)>,
    ) {
        if self.paired { interleave_rows(to, even, odd, places) } else { pair_rows(to, even, odd, places) }
    }

    /// Stored values of a row.
    fn step(self, width: usize) -> usize {
        if self.paired { Dtype::Bf16.steps(width) } else { width }
    }
}

impl<'a> From<&'a [f32]> for Left<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self { stored: values, paired: false, index: None }
    }
}

impl<'a> From<&'a Vec<f32>> for Left<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Self { stored: values, paired: false, index: None }
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Left<'a> {
    fn from(values: &'a [f32; N]) -> Self {
        Self { stored: values, paired: false, index: None }
    }
}

impl<'a> From<&'a Buffer> for Left<'a> {
    fn from(values: &'a Buffer) -> Self {
        Self { stored: values.host(), paired: false, index: None }
    }
}

impl<'a> From<&'a Operand<'_>> for Left<'a> {
    fn from(operand: &'a Operand<'_>) -> Self {
        operand.left()
    }
}
