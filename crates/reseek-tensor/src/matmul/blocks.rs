//! The loops around the kernels: which tile when, so that its operands are in the right cache.
//!
//! Both products ([`product`] here, the one with a transposed A in `transposed`) use the order of
//! Goto and van de Geijn ("Anatomy of high-performance matrix multiplication", 2008): a block of B
//! stays in the L2 cache, a row tile of A in the L1 cache while all panels of the block pass by.
//! A chain over a long k is cut into blocks of k; its partial sums wait in C, or in working memory
//! where C has other values to be added to, and are loaded again, which changes no bit.

use std::cell::Cell;
use std::ops::Range;
use std::ptr::null;

use super::packed::{Packed, panel_width};
use super::tile::{PANEL, ROWS_MAX, Tile, compute, panels_max, rows_max};
use crate::aligned::Line;
use crate::dispatch::SimdLevel;
use crate::dtype::{Dtype, pair_neighbours};
use crate::operand::Left;
use crate::permute::copy_short;
use crate::profile::{Op, span};
use crate::scratch::Scratch;

/// Columns of a block of B: at [`K_BLOCK`] 512 KiB of f32, half of a common L2 cache.
pub(super) const COLUMN_BLOCK: usize = 256;
/// Steps of k of a block: a row tile of A takes 24 KiB of the L1 cache.
const K_BLOCK: usize = 512;
/// Most pairs of A that wait for all blocks of columns: 8 MiB.
const PAIRS_KEPT: usize = 2 << 20;
/// Row tiles of a block, whose partial sums wait in working memory.
const TILES_OF_BLOCK: usize = 8;

/// A place in C from which sums are continued, or to which they go.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    first: *mut f32,
    row: usize,
}

impl Sums {
    pub(super) fn new(first: *mut f32, row: usize) -> Self {
        Self { first, row }
    }

    /// The same from the given row and column on.
    pub(super) fn at(self, row: usize, column: usize) -> Self {
        Self { first: self.first.wrapping_add(row * self.row + column), ..self }
    }

    /// `len` values of a row.
    ///
    /// # Safety
    /// They exist, and no one writes them meanwhile.
    pub(super) unsafe fn row<'a>(self, row: usize, len: usize) -> &'a [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.at(row, 0).first, len) }
    }

    /// `len` values of a row.
    ///
    /// # Safety
    /// They exist, and no one else uses them meanwhile.
    pub(super) unsafe fn row_mut<'a>(self, row: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(row, 0).first, len) }
    }
}

/// What happens to the chains of one block of k.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    pub from: Option<Sums>,
    pub to: Sums,
    pub add: bool,
}

impl Pass {
    /// Pass `index` of `count` over k for the block of C at `c`, with `partial` as waiting room.
    pub(super) fn new(index: usize, count: usize, c: Sums, partial: Sums, add: bool) -> Self {
        let last = index + 1 == count;
        let waiting = if add { partial } else { c };
        Self { from: (index > 0).then_some(waiting), to: if last { c } else { waiting }, add: add && last }
    }

    /// The same from the given row and column of the block on.
    pub(super) fn at(self, row: usize, column: usize) -> Self {
        Self { from: self.from.map(|from| from.at(row, column)), to: self.to.at(row, column), ..self }
    }
}

/// What all parts of one product share.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub level: SimdLevel,
    /// As what a profile records it.
    pub op: Op,
    /// Whether it is added to what is in C.
    pub add: bool,
}

/// `c[i][j] (=|+=) Σ a[i][kk]·b[kk][j]` for all rows of `a: [m, b.k]` and the given columns.
///
/// # Safety
/// The machine supports the level; `c` has m rows of `b.n` values, of which no one else uses the
/// given columns; `columns.start` is a multiple of 32.
pub(super) unsafe fn product(call: Call, c: *mut f32, a: Left, m: usize, b: &Packed, columns: Range<usize>) {
    let Call { level, op, add } = call;
    let (k, n, steps_of_k) = (b.k(), b.n(), b.steps());
    let _span = span(op, 2 * m * k * columns.len(), m * k + (steps_of_k + m) * columns.len());
    let row_tiles = RowTiles::new(m, level);
    let k_block = match row_tiles.count() {
        // B passes by only once, and a few rows may be longer before they leave the L1 cache.
        1 => K_BLOCK * ROWS_MAX / m,
        _ => K_BLOCK,
    };
    let n_passes = steps_of_k.div_ceil(k_block).max(1);
    let a_row = odd_lines(steps_of_k.div_ceil(n_passes));
    // Pairs are made once for all blocks of columns, where these are several and the pairs are not too many.
    let rounds = b.dtype() == Dtype::Bf16 && !a.is_paired();
    let keep = rounds && columns.len() > COLUMN_BLOCK && m * steps_of_k <= PAIRS_KEPT;
    let tile_size = row_tiles.largest() * a_row;
    let copied = if keep { row_tiles.count() * n_passes * tile_size } else { tile_size };
    let rows_waiting = if add && n_passes > 1 { m.min(TILES_OF_BLOCK * row_tiles.rows_max) } else { 0 };
    with_scratch(copied + rows_waiting * COLUMN_BLOCK, |scratch| {
        let (copy, partial) = scratch.split_at_mut(copied);
        let partial = Sums::new(partial.as_mut_ptr(), COLUMN_BLOCK);
        let first_column = columns.start;
        for columns in blocks(columns, COLUMN_BLOCK) {
            for tiles in blocks(0..row_tiles.count(), TILES_OF_BLOCK) {
                let first_row = row_tiles.get(tiles.start).start;
                let c = Sums::new(c, n).at(first_row, columns.start);
                for index in 0..n_passes {
                    let steps = part(steps_of_k, n_passes, index);
                    let pass = Pass::new(index, n_passes, c, partial, add);
                    let of_b = OfB::new(b.values(), steps_of_k, steps.clone(), columns.clone());
                    for tile in tiles.clone() {
                        let rows = row_tiles.get(tile);
                        let place = if keep { (tile * n_passes + index) * tile_size } else { 0 };
                        let copy = &mut copy[place..place + tile_size];
                        if !keep || columns.start == first_column {
                            copy_row_tile(copy, a_row, a.part(rows.clone(), k), k, &steps, b.dtype());
                        }
                        let of_a = OfA::new(copy, a_row, 1);
                        let pass = pass.at(rows.start - first_row, 0);
                        // SAFETY: the caller's promises on level and c; rows and columns lie in C.
                        unsafe { sweep(level, b.dtype(), rows.len(), &of_a, &of_b, pass) };
                    }
                }
            }
        }
    });
}

/// A row tile of A, small enough for the L1 cache.
pub(super) struct OfA<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub k: usize,
}

impl<'a> OfA<'a> {
    /// The tile with element `[r][kk]` at `r * row + kk * k` of `values`.
    pub(super) fn new(values: &'a [f32], row: usize, k: usize) -> Self {
        Self { values, row, k }
    }
}

/// A block of B: `steps` of the `k` steps of the panels that hold `columns`.
pub(super) struct OfB<'a> {
    panels: &'a [f32],
    k: usize,
    steps: Range<usize>,
    columns: Range<usize>,
}

impl<'a> OfB<'a> {
    pub(super) fn new(panels: &'a [f32], k: usize, steps: Range<usize>, columns: Range<usize>) -> Self {
        Self { panels, k, steps, columns }
    }
}

/// Computes one row tile against all panels of a block of B.
///
/// # Safety
/// The machine supports `level`; `a` has `rows` rows with as many steps as `b`; the panels hold
/// the steps and columns of `b`; the sums of `pass` hold `rows` rows by those columns, and no one
/// else uses `pass.to`.
pub(super) unsafe fn sweep(level: SimdLevel, dtype: Dtype, rows: usize, a: &OfA, b: &OfB, pass: Pass) {
    let panels_at_once = panels_max(level, rows);
    let mut column = b.columns.start;
    while column < b.columns.end {
        let left = b.columns.end - column;
        let width = match panels_at_once {
            2 if left >= 2 * PANEL => 2 * PANEL,
            _ => panel_width(left.min(PANEL)),
        };
        let valid = width.min(left);
        let pass = pass.at(0, column - b.columns.start);
        let tile = Tile {
            rows,
            width,
            k: b.steps.len(),
            a: a.values.as_ptr(),
            a_row: a.row,
            a_k: a.k,
            b: b.panels[column * b.k + b.steps.start * width.min(PANEL)..].as_ptr(),
            b_panel: b.k * PANEL,
            from: pass.from.map_or(null(), |sums| sums.first.cast_const()),
            from_row: pass.from.map_or(0, |sums| sums.row),
            to: pass.to.first,
            to_row: pass.to.row,
            add: pass.add,
            dtype,
        };
        // SAFETY: the caller's promises; `width` follows the packing, `valid` ends at the last
        // column.
        unsafe { compute(level, &tile, valid) };
        column += valid;
    }
}

/// `values` in whole cache lines, an odd number of them: rows at this distance fall into different
/// sets of the L1 cache, whatever the shape of the matrices.
pub(super) fn odd_lines(values: usize) -> usize {
    (values.div_ceil(Line::VALUES) | 1) * Line::VALUES
}

/// Copies the steps `steps` of each row of `a: [rows, k]` to rows of `copy_row` values.
fn copy_row_tile(copy: &mut [f32], copy_row: usize, a: Left, k: usize, steps: &Range<usize>, dtype: Dtype) {
    if steps.is_empty() {
        return;
    }
    let rows = a.rows(k).unwrap_or(0);
    for (i, target) in copy.chunks_exact_mut(copy_row).take(rows).enumerate() {
        let (target, source) = (&mut target[..steps.len()], a.row(i, k));
        if dtype == Dtype::Bf16 && !a.is_paired() {
            pair_neighbours(target, &source[dtype.values(steps, k)]);
        } else {
            copy_short(target, &source[steps.clone()]);
        }
    }
}

/// The rows of C in row tiles: full ones, of which the last two share what is left, because a
/// tile of one or two rows is slow.
#[derive(Clone, Copy)]
pub(super) struct RowTiles {
    rows: usize,
    rows_max: usize,
}

impl RowTiles {
    pub(super) fn new(rows: usize, level: SimdLevel) -> Self {
        Self { rows, rows_max: rows_max(level) }
    }

    pub(super) fn count(self) -> usize {
        self.rows.div_ceil(self.rows_max)
    }

    /// Most rows of any tile.
    pub(super) fn largest(self) -> usize {
        self.rows.min(self.rows_max)
    }

    pub(super) fn get(self, index: usize) -> Range<usize> {
        let full = self.count().saturating_sub(2);
        if index < full {
            return index * self.rows_max..(index + 1) * self.rows_max;
        }
        let left = full * self.rows_max..self.rows;
        let last_two = self.count() - full;
        let share = part(left.len(), last_two, index - full);
        left.start + share.start..left.start + share.end
    }
}

/// Part `index` of `0..total` cut into `count` parts of almost the same size.
pub(super) fn part(total: usize, count: usize, index: usize) -> Range<usize> {
    index * total / count..(index + 1) * total / count
}

/// `range` in blocks of `size`, the last one shorter.
pub(super) fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |start| start..end.min(start + size))
}

/// Calls `f` with `values` values of this thread's working memory, aligned to a cache line and
/// with whatever earlier calls left in them.
pub(super) fn with_scratch<R>(values: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static KEPT: Cell<Scratch> = const { Cell::new(Scratch::new()) };
    }
    let mut scratch = KEPT.take();
    let result = f(scratch.floats(values));
    KEPT.set(scratch);
    result
}
