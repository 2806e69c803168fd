//! Keys that each row of a block sees.

use std::ops::Range;

use super::ROW_BLOCK;

/// A range for each row of a block, `from[r]..to[r]`; neither end falls from row to row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges {
    pub from: [usize; ROW_BLOCK],
    pub to: [usize; ROW_BLOCK],
    /// The greatest of `from`.
    last_from: usize,
}

impl Ranges {
    /// Row r's by its number.
    pub(super) fn of_rows(range: impl Fn(usize) -> Range<usize>) -> Self {
        let (mut from, mut to) = ([0; ROW_BLOCK], [0; ROW_BLOCK]);
        for (r, (from, to)) in from.iter_mut().zip(&mut to).enumerate() {
            Range { start: *from, end: *to } = range(r);
        }
        Self { from, to, last_from: from.into_iter().fold(0, usize::max) }
    }

    /// What of the ranges lies in `start..start + len`, counted from `start`.
    pub(super) fn within(&self, start: usize, len: usize) -> Self {
        let inside = |at: usize| at.saturating_sub(start).min(len);
        // Without a window, and in most of its tiles, no range begins later.
        let from = if self.last_from <= start { [0; ROW_BLOCK] } else { self.from.map(inside) };
        Self { from, to: self.to.map(inside), last_from: inside(self.last_from) }
    }

    /// Row r's.
    pub(super) fn row(&self, r: usize) -> Range<usize> {
        self.from[r]..self.to[r]
    }

    /// Whether some range begins after 0.
    pub(super) fn begin_late(&self) -> bool {
        self.last_from > 0
    }

    pub(super) fn is_empty(&self, r: usize) -> bool {
        self.from[r] >= self.to[r]
    }
}
