//! The product with a transposed A, the gradient of a weight: aᵀ·b for `a: [t, m]`, `b: [t, n]`.
//!
//! Both operands are packed on the way, block by block of t, so that each of their rows is read
//! once and whole: with t not outermost, large shapes fell from 90 to 75 % of the peak, and to
//! 40 % under other load. The partial sums of a whole block of C wait meanwhile.

use std::ops::Range;

use super::blocks::{COLUMN_BLOCK, OfA, OfB, Pass, RowTiles, Sums, blocks, odd_lines, part, sweep, with_scratch};
use super::packed::{pack_rows, padded};
use super::tile::rows_max;
use crate::dispatch::SimdLevel;
use crate::dtype::Dtype;
use crate::operand::Left;
use crate::permute::copy_short;
use crate::profile::{Op, span};

/// Steps of t of a block.
const T_BLOCK: usize = 512;
/// Most rows and columns of C whose partial sums wait at once: 4 MiB.
pub(super) const C_BLOCK: usize = 1024;

/// Rows of C that lie together, and the columns of A that they come from.
pub(super) struct Part {
    pub c: Sums,
    pub columns: Range<usize>,
}

/// `c[i][j] += Σ a[t][i]·b[t][j]` for `a: [t, m]`, `b: [t, n]` and the columns i of each part: b is packed once for all of them.
///
/// # Safety
/// The machine supports `level`; each part has a row of n values for each of its columns, which no one else uses.
pub(super) unsafe fn product_tn(
    level: SimdLevel,
    parts: impl Iterator<Item = Part>,
    a: Left,
    b: Left,
    m: usize,
    n: usize,
    dtype: Dtype,
) {
    let t = b.rows(n).unwrap_or(0);
    for parts in groups(parts, C_BLOCK) {
        let rows: usize = parts.iter().map(|part| part.columns.len()).sum();
        let _span = span(Op::MatmulTransposed, 2 * t * rows * n, t * (rows + n) + 2 * rows * n);
        for columns in blocks(0..n, C_BLOCK) {
            let of_a = Columns { values: a, width: m, range: 0..m };
            let of_b = Columns { values: b, width: n, range: columns };
            // SAFETY: the caller's promises.
            unsafe { block_of_product(level, &parts, &of_a, &of_b, t, dtype) };
        }
    }
}

/// Parts in groups of at most `rows` rows, cut where they are longer.
fn groups(parts: impl Iterator<Item = Part>, rows: usize) -> Vec<Vec<Part>> {
    let mut groups: Vec<Vec<Part>> = Vec::new();
    let mut room = 0;
    for Part { c, columns } in parts {
        let mut start = columns.start;
        while start < columns.end {
            if room == 0 {
                groups.push(Vec::new());
                room = rows;
            }
            let end = columns.end.min(start + room);
            let part = Part { c: c.at(start - columns.start, 0), columns: start..end };
            groups.last_mut().expect("a group with room").push(part);
            room -= end - start;
            start = end;
        }
    }
    groups
}

/// Some columns of a row-major matrix.
pub(super) struct Columns<'a> {
    pub values: Left<'a>,
    pub width: usize,
    pub range: Range<usize>,
}

/// [`product_tn`] for some columns of C.
///
/// # Safety
/// As [`product_tn`].
unsafe fn block_of_product(level: SimdLevel, parts: &[Part], a: &Columns, b: &Columns, k: usize, dtype: Dtype) {
    let (steps_of_k, n) = (dtype.steps(k), b.range.len());
    let n_passes = steps_of_k.div_ceil(T_BLOCK).max(1);
    let steps_max = steps_of_k.div_ceil(n_passes);
    let strips = |part: &Part| Strips::new(part.columns.len(), level);
    let a_size = parts.iter().map(|part| strips(part).size(steps_max)).max().unwrap_or(0);
    let b_size = steps_max * padded(n);
    let partial_row = odd_lines(n);
    let rows: usize = parts.iter().map(|part| part.columns.len()).sum();
    let partial_size = if n_passes > 1 { rows * partial_row } else { 0 };
    with_scratch(a_size + b_size + partial_size, |scratch| {
        let (a_packed, rest) = scratch.split_at_mut(a_size);
        let (b_packed, partial) = rest.split_at_mut(b_size);
        for index in 0..n_passes {
            let steps = part(steps_of_k, n_passes, index);
            let values = dtype.values(&steps, k);
            pack_rows(b_packed, b.values.part(values.clone(), b.width), b.width, b.range.clone(), dtype);
            let mut partial = Sums::new(partial.as_mut_ptr(), partial_row);
            for part in parts {
                let strips = strips(part);
                let of_part = Columns { range: part.columns.clone(), ..*a };
                strips.pack(a_packed, &of_part, &values, dtype);
                let pass = Pass::new(index, n_passes, part.c.at(0, b.range.start), partial, true);
                for columns in blocks(0..n, COLUMN_BLOCK) {
                    let of_b = OfB::new(b_packed, steps.len(), 0..steps.len(), columns.clone());
                    for (rows, of_a) in strips.tiles(a_packed, steps.len()) {
                        let pass = pass.at(rows.start, columns.start);
                        // SAFETY: the caller's promises; rows and columns lie in the part.
                        unsafe { sweep(level, dtype, rows.len(), &of_a, &of_b, pass) };
                    }
                }
                partial = partial.at(part.columns.len(), 0);
            }
        }
    });
}

/// How a transposed A is packed: its columns in strips of a few row tiles, each strip step after step, so that its rows are copied in
/// whole vectors. A tile of it alone would be twelve values wide.
#[derive(Clone, Copy)]
pub(super) struct Strips {
    row_tiles: RowTiles,
    /// Row tiles of a strip. The last may have one more: the last two tiles share their rows, and cross no border.
    of_strip: usize,
}

/// Columns of a strip, about: three cache lines.
const STRIP: usize = 48;

impl Strips {
    /// Strips of `m` columns.
    pub(super) fn new(m: usize, level: SimdLevel) -> Self {
        Self { row_tiles: RowTiles::new(m, level), of_strip: STRIP / rows_max(level) }
    }

    fn count(self) -> usize {
        // A single tile behind the last strip goes into it.
        ((self.row_tiles.count() + self.of_strip - 2) / self.of_strip).max(1)
    }

    fn columns(self, strip: usize) -> Range<usize> {
        let first = self.row_tiles.get(strip * self.of_strip).start;
        let last = match strip + 1 == self.count() {
            true => self.row_tiles.count() - 1,
            false => (strip + 1) * self.of_strip - 1,
        };
        first..self.row_tiles.get(last).end
    }

    /// Values between the steps of a strip.
    fn row(self, strip: usize) -> usize {
        odd_lines(self.columns(strip).len())
    }

    /// Where a strip of `steps` steps begins.
    fn start(self, strip: usize, steps: usize) -> usize {
        strip * odd_lines(self.of_strip * self.row_tiles.largest()) * steps
    }

    /// Values of all strips of `steps` steps.
    pub(super) fn size(self, steps: usize) -> usize {
        let last = self.count() - 1;
        self.start(last, steps) + self.row(last) * steps
    }

    /// Packs the given rows of the columns of `a`.
    pub(super) fn pack(self, packed: &mut [f32], a: &Columns, rows: &Range<usize>, dtype: Dtype) {
        let steps = dtype.steps(rows.len());
        let strips: Vec<(Range<usize>, usize, usize)> = (0..self.count())
            .map(|strip| (self.columns(strip), self.start(strip, steps), self.row(strip)))
            .map(|(columns, start, row)| (a.range.start + columns.start..a.range.start + columns.end, start, row))
            .collect();
        match dtype {
            Dtype::F32 => {
                for (step, t) in rows.clone().enumerate() {
                    let source = a.values.row(t, a.width);
                    for (columns, start, row) in &strips {
                        copy_short(&mut packed[start + step * row..][..columns.len()], &source[columns.clone()]);
                    }
                }
            }
            Dtype::Bf16 => {
                for (step, pair) in blocks(rows.clone(), 2).enumerate() {
                    let places = strips.iter().map(|(columns, start, row)| (columns.clone(), start + step * row));
                    let odd = (pair.len() == 2).then(|| a.values.row(pair.start + 1, a.width));
                    a.values.pair_rows(packed, a.values.row(pair.start, a.width), odd, places);
                }
            }
        }
    }

    /// The row tiles, each with its rows of C.
    pub(super) fn tiles(self, packed: &[f32], steps: usize) -> impl Iterator<Item = (Range<usize>, OfA<'_>)> {
        (0..self.row_tiles.count()).map(move |tile| {
            let (strip, rows) = ((tile / self.of_strip).min(self.count() - 1), self.row_tiles.get(tile));
            let first = self.start(strip, steps) + rows.start - self.columns(strip).start;
            (rows, OfA::new(&packed[first..], 1, self.row(strip)))
        })
    }
}
