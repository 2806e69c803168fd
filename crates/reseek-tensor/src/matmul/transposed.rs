//! The product with a transposed A, the gradient of a weight: aᵀ·b for `a: [t, m]`, `b: [t, n]`.
//!
//! Both operands are packed on the way, block by block of t, so that each of their rows is read
//! once and whole: with t not outermost, large shapes fell from 90 to 75 % of the peak, and to
//! 40 % under other load. The partial sums of a whole block of C wait meanwhile.

use std::ops::Range;

use super::blocks::{COLUMN_BLOCK, OfA, OfB, Pass, RowTiles, Sums, blocks, odd_lines, part, sweep, with_scratch};
use super::packed::{copy_rows, pack_rows, padded};
use crate::dispatch::SimdLevel;
use crate::dtype::Dtype;
use crate::operand::Left;
use crate::profile::{Op, span};

/// Steps of t of a block.
const T_BLOCK: usize = 512;
/// Most rows and columns of C whose partial sums wait at once: 4 MiB.
pub(super) const C_BLOCK: usize = 1024;

/// `c[i][j] += Σ a[t][first + i]·b[t][j]` for `a: [t, m]`, `b: [t, n]` and all rows of `c: [_, n]`.
///
/// # Safety
/// The machine supports `level`.
pub(super) unsafe fn product_tn(
    level: SimdLevel,
    c: &mut [f32],
    a: Left,
    b: Left,
    m: usize,
    n: usize,
    first: usize,
    dtype: Dtype,
) {
    let (rows, t) = (c.len() / n, b.rows(n).unwrap_or(0));
    let _span = span(Op::MatmulTransposed, 2 * t * rows * n, t * (rows + n) + 2 * c.len());
    for row_block in blocks(0..rows, C_BLOCK) {
        for columns in blocks(0..n, C_BLOCK) {
            let of_a = Columns { values: a, width: m, range: first + row_block.start..first + row_block.end };
            let of_b = Columns { values: b, width: n, range: columns.clone() };
            let c = Sums::new(c.as_mut_ptr(), n).at(row_block.start, columns.start);
            // SAFETY: the caller's promise on level; the block lies in C, which is borrowed.
            unsafe { block_of_product(level, c, &of_a, &of_b, t, dtype) };
        }
    }
}

/// Some columns of a row-major matrix.
pub(super) struct Columns<'a> {
    pub values: Left<'a>,
    pub width: usize,
    pub range: Range<usize>,
}

/// [`product_tn`] for one block of C at `c`.
///
/// # Safety
/// The machine supports `level`; `c` has a row for each column of `a` and a column for each of
/// `b`, which no one else uses.
unsafe fn block_of_product(level: SimdLevel, c: Sums, a: &Columns, b: &Columns, k: usize, dtype: Dtype) {
    let steps_of_k = dtype.steps(k);
    let (m, n) = (a.range.len(), b.range.len());
    let row_tiles = RowTiles::new(m, level);
    let n_passes = steps_of_k.div_ceil(T_BLOCK).max(1);
    let steps_max = steps_of_k.div_ceil(n_passes);
    let tile_size = odd_lines(steps_max * row_tiles.largest());
    let (a_size, b_size) = (row_tiles.count() * tile_size, steps_max * padded(n));
    let partial_row = odd_lines(n);
    let partial_size = if n_passes > 1 { m * partial_row } else { 0 };
    with_scratch(a_size + b_size + partial_size, |scratch| {
        let (a_packed, rest) = scratch.split_at_mut(a_size);
        let (b_packed, partial) = rest.split_at_mut(b_size);
        let partial = Sums::new(partial.as_mut_ptr(), partial_row);
        for index in 0..n_passes {
            let steps = part(steps_of_k, n_passes, index);
            let values = dtype.values(&steps, k);
            let pass = Pass::new(index, n_passes, c, partial, true);
            pack_row_tiles(a_packed, tile_size, a, &values, row_tiles, dtype);
            pack_rows(b_packed, b.values.part(values, b.width), b.width, b.range.clone(), dtype);
            for columns in blocks(0..n, COLUMN_BLOCK) {
                let of_b = OfB::new(b_packed, steps.len(), 0..steps.len(), columns.clone());
                for (tile, of_tile) in a_packed.chunks_exact(tile_size).enumerate() {
                    let rows = row_tiles.get(tile);
                    let of_a = OfA::new(of_tile, 1, rows.len());
                    let pass = pass.at(rows.start, columns.start);
                    // SAFETY: the caller's promises; rows and columns lie in C.
                    unsafe { sweep(level, dtype, rows.len(), &of_a, &of_b, pass) };
                }
            }
        }
    });
}

/// Transposed A in row tiles: for each tile, the given rows of its columns of `a`, at distances
/// of `tile_size` values. Goes by a few rows at a time through all tiles, because a row of `a` may
/// be a memory page away from the next.
pub(super) fn pack_row_tiles(
    packed: &mut [f32],
    tile_size: usize,
    a: &Columns,
    rows: &Range<usize>,
    tiles: RowTiles,
    dtype: Dtype,
) {
    const ROWS: usize = 8;
    let columns: Vec<Range<usize>> = (0..tiles.count())
        .map(|tile| tiles.get(tile))
        .map(|r| a.range.start + r.start..a.range.start + r.end)
        .collect();
    for (index, few_rows) in blocks(rows.clone(), ROWS).enumerate() {
        match dtype {
            Dtype::F32 => {
                for (columns, packed) in columns.iter().zip(packed.chunks_exact_mut(tile_size)) {
                    let few_rows = few_rows.clone().map(|row| &a.values.row(row, a.width)[columns.clone()]);
                    copy_tile(&mut packed[index * ROWS * columns.len()..], few_rows, columns.len());
                }
            }
            Dtype::Bf16 => {
                for (at, pair) in blocks(few_rows, 2).enumerate() {
                    let at = index * dtype.steps(ROWS) + at;
                    let place = |(tile, of_tile): (usize, &Range<usize>)| {
                        (of_tile.clone(), tile * tile_size + at * of_tile.len())
                    };
                    let places = columns.iter().enumerate().map(place);
                    let odd = (pair.len() == 2).then(|| a.values.row(pair.start + 1, a.width));
                    a.values.pair_rows(packed, a.values.row(pair.start, a.width), odd, places);
                }
            }
        }
    }
}

fn copy_tile<'a>(packed: &mut [f32], rows: impl Iterator<Item = &'a [f32]>, columns: usize) {
    match columns {
        // The full tiles of the kernel families.
        12 => copy_rows::<12>(packed, rows),
        8 => copy_rows::<8>(packed, rows),
        6 => copy_rows::<6>(packed, rows),
        4 => copy_rows::<4>(packed, rows),
        other => {
            for (target, source) in packed.chunks_exact_mut(other).zip(rows) {
                // Shorter than a call of memcpy.
                target.iter_mut().zip(source).for_each(|(t, &s)| *t = s);
            }
        }
    }
}
