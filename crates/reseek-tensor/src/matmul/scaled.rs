//! Products of operands in fp8: E4M3 values that meet as pairs of bf16, with a scale for every tile of 128 along k ([`crate::fp8`]).
//!
//! **Bit rule.** In each tile of k an element is the chain of the bf16 product, begun at 0; then the sum is promoted:
//! `s = fma(chain, scale of a · scale of b, s)`. The rest is as in [`super`]: neither rows, places, threads nor levels that fuse change bits.
//!
//! The left operand is rounded once for all columns, and a whole k of a row tile passes by before the next one. Three runs on a busy machine gave 0.73
//! to 0.96 of bf16's rate at 2048³; weight gradients, which round both operands column by column, 0.74 to 0.86.

use std::ops::Range;

use super::blocks::{COLUMN_BLOCK, Call, OfA, Pass, RowTiles, Sums, blocks, odd_lines, with_scratch};
use super::packed::{Packed, pack_rows, padded, panel_width};
use super::tile::{PANEL, ROWS_MAX, Tile, WIDTH_MAX, compute, panels_max};
use super::transposed::{C_BLOCK, Columns, Strips};
use super::{SHARED_ROWS, Shared, column_unit, is_shared, row_unit, share};
use crate::dispatch::{SimdLevel, with_level};
use crate::dtype::Dtype;
use crate::fp8::{TILE, quantise_columns, quantise_rows};
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// Steps of a tile of k: pairs.
const STEPS: usize = TILE / 2;
/// Pairs of B that pass by for each row tile: half of a common L2 cache.
const PAIRS_OF_BLOCK: usize = 128 << 10;
/// Most pairs of A that are rounded at once: 8 MiB.
const PAIRS_KEPT: usize = 2 << 20;
/// Rows of both operands of a transposed product that are rounded at once.
const T_BLOCK: usize = 4 * TILE;

/// [`super::matmul`] for a B in fp8, checked by the caller: `c[m, n] (=|+=) a[m, k]·B`.
pub(super) fn matmul_scaled(call: Call, c: &mut [f32], a: &[f32], b: &Packed, scales: &[f32]) {
    let (k, n, m) = (b.k(), b.n(), c.len() / b.n());
    if k == 0 {
        // A sum of nothing.
        c.iter_mut().filter(|_| !call.add).for_each(|c| *c = 0.0);
        return;
    }
    let is_shared = is_shared(2 * m * k * n, b.bytes());
    if is_shared && m >= SHARED_ROWS {
        let c = &Shared(c.as_mut_ptr());
        share(m, row_unit(m), |rows| {
            // SAFETY: c is borrowed, and every part has its own rows.
            let c = unsafe { std::slice::from_raw_parts_mut(c.0.add(rows.start * n), rows.len() * n) };
            with_level(call.level, || rows_product(call, c, &a[rows.start * k..rows.end * k], b, scales, false));
        });
    } else {
        rows_product(call, c, a, b, scales, is_shared);
    }
}

/// All rows on this thread, or their columns shared.
fn rows_product(call: Call, c: &mut [f32], a: &[f32], b: &Packed, scales: &[f32], is_shared: bool) {
    let (k, n) = (b.k(), b.n());
    let rows = (PAIRS_KEPT / odd_lines(b.steps())).max(ROWS_MAX);
    for (c, a) in c.chunks_mut(rows * n).zip(a.chunks(rows * k)) {
        let m = c.len() / n;
        with_left(a, m, b, |left| {
            let c = &Shared(c.as_mut_ptr());
            let product = |columns: Range<usize>| {
                // SAFETY: c has m rows of n values, and every caller below has its own columns, which begin at a panel.
                with_level(call.level, || unsafe { columns_product(call, c.0, left, b, scales, columns) });
            };
            if is_shared { share(n, column_unit(m), product) } else { product(0..n) }
        });
    }
}

/// Rounded rows of the left operand: pairs, `row` values apart, and the scales of all rows tile after tile of k.
struct Left<'a> {
    m: usize,
    row: usize,
    pairs: &'a [f32],
    scales: &'a [f32],
}

/// Rounds `a: [m, b.k]` in this thread's working memory.
fn with_left<R>(a: &[f32], m: usize, b: &Packed, f: impl FnOnce(&Left) -> R) -> R {
    let row = odd_lines(b.steps());
    let tiles = b.k().div_ceil(TILE);
    with_scratch(m * row + tiles * m, |scratch| {
        let (pairs, scales) = scratch.split_at_mut(m * row);
        quantise_rows(pairs, row, scales, a, b.k());
        f(&Left { m, row, pairs, scales })
    })
}

/// # Safety
/// `c` has `left.m` rows of `b.n` values, of which no one else uses the given columns; these begin at a multiple of the panel.
unsafe fn columns_product(call: Call, c: *mut f32, left: &Left, b: &Packed, scales: &[f32], columns: Range<usize>) {
    let Call { level, op, add } = call;
    let (m, steps) = (left.m, b.steps());
    let _span = span(op, 2 * m * b.k() * columns.len(), m * b.k() + (steps + m) * columns.len());
    let row_tiles = RowTiles::new(m, level);
    let of_b = Right { panels: b.values(), steps, scales, scale_row: padded(b.n()) };
    let block = (PAIRS_OF_BLOCK / steps.max(1) / (2 * PANEL) * 2 * PANEL).clamp(2 * PANEL, COLUMN_BLOCK);
    for columns in blocks(columns, block) {
        for rows in (0..row_tiles.count()).map(|tile| row_tiles.get(tile)) {
            let of_a = OfA::new(&left.pairs[rows.start * left.row..], left.row, 1);
            let of_a = Scaled { operand: of_a, rows: rows.len(), scales: &left.scales[rows.start..], scale_row: m };
            let pass = Pass { from: None, to: Sums::new(c, b.n()).at(rows.start, columns.start), add };
            // SAFETY: the caller's promise; rows and columns lie in C.
            unsafe { sweep(level, &of_a, &of_b, columns.clone(), pass) };
        }
    }
}

/// `c[i][j] += Σ a[t][first + i]·b[t][j]` for `a: [t, m]`, `b: [t, n]`, both rounded in tiles along t, and all rows of `c: [_, n]`.
pub(super) fn product_tn_scaled(
    level: SimdLevel,
    c: &mut [f32],
    a: &[f32],
    b: &[f32],
    m: usize,
    n: usize,
    first: usize,
) {
    let (rows, t) = (c.len() / n, a.len() / m);
    let _span = span(Op::MatmulTransposed, 2 * t * rows * n, t * (rows + n) + 2 * c.len());
    for row_block in blocks(0..rows, C_BLOCK) {
        for columns in blocks(0..n, C_BLOCK) {
            let of_a = Columns { values: a.into(), width: m, range: first + row_block.start..first + row_block.end };
            let of_b = Columns { values: b.into(), width: n, range: columns.clone() };
            let c = Sums::new(c.as_mut_ptr(), n).at(row_block.start, columns.start);
            // SAFETY: the block lies in C, which is borrowed.
            with_level(level, || unsafe { block_of_product(level, c, &of_a, &of_b) });
        }
    }
}

/// [`product_tn_scaled`] for one block of C at `c`.
///
/// # Safety
/// `c` has a row for each column of `a` and a column for each of `b`, which no one else uses.
unsafe fn block_of_product(level: SimdLevel, c: Sums, a: &Columns, b: &Columns) {
    let t = a.values.len() / a.width;
    let (m, n) = (a.range.len(), b.range.len());
    let strips = Strips::new(m, level);
    let t_max = t.min(T_BLOCK);
    let partial_row = odd_lines(n);
    let sizes = [
        strips.size(t_max.div_ceil(2)),
        t_max.div_ceil(2) * padded(n),
        t_max * m.max(n),
        T_BLOCK / TILE * m,
        T_BLOCK / TILE * padded(n),
        if t > T_BLOCK { m * partial_row } else { 0 },
    ];
    with_scratch(sizes.iter().sum(), |mut scratch| {
        let [of_a, of_b, q, a_scales, b_scales, partial] =
            sizes.map(|size| scratch.split_off_mut(..size).expect("room for all"));
        let partial = Sums::new(partial.as_mut_ptr(), partial_row);
        let count = t.div_ceil(T_BLOCK);
        for (index, rows) in blocks(0..t, T_BLOCK).enumerate() {
            let steps = rows.len().div_ceil(2);
            let pass = Pass::new(index, count, c, partial, true);
            quantise_columns(q, a_scales, m, a.values.part(rows.clone(), a.width).values(), a.width, a.range.clone());
            let rounded = Columns { values: (&q[..rows.len() * m]).into(), width: m, range: 0..m };
            strips.pack(of_a, &rounded, &(0..rows.len()), Dtype::Bf16);
            let of_rows = b.values.part(rows.clone(), b.width).values();
            quantise_columns(q, b_scales, padded(n), of_rows, b.width, b.range.clone());
            pack_rows(of_b, (&q[..rows.len() * n]).into(), n, 0..n, Dtype::Bf16);
            let right = Right { panels: of_b, steps, scales: b_scales, scale_row: padded(n) };
            for columns in blocks(0..n, COLUMN_BLOCK) {
                for (rows, operand) in strips.tiles(of_a, steps) {
                    let left = Scaled { operand, rows: rows.len(), scales: &a_scales[rows.start..], scale_row: m };
                    let pass = pass.at(rows.start, columns.start);
                    // SAFETY: the caller's promises; rows and columns lie in C.
                    unsafe { sweep(level, &left, &right, columns.clone(), pass) };
                }
            }
        }
    });
}

/// A row tile of A with `scales[tile of k * scale_row + r]`.
struct Scaled<'a> {
    operand: OfA<'a>,
    rows: usize,
    scales: &'a [f32],
    scale_row: usize,
}

/// Panels of all steps of B with `scales[tile of k * scale_row + column]`.
struct Right<'a> {
    panels: &'a [f32],
    steps: usize,
    scales: &'a [f32],
    scale_row: usize,
}

/// Computes one row tile against the panels of the given columns.
///
/// # Safety
/// The sums of `pass` hold the tile's rows by those columns, and no one else uses `pass.to`. `columns` begin at a panel.
unsafe fn sweep(level: SimdLevel, a: &Scaled, b: &Right, columns: Range<usize>, pass: Pass) {
    let panels_at_once = panels_max(level, a.rows);
    let mut column = columns.start;
    while column < columns.end {
        let left = columns.end - column;
        let width = match panels_at_once {
            2 if left >= 2 * PANEL => 2 * PANEL,
            _ => panel_width(left.min(PANEL)),
        };
        let valid = width.min(left);
        let pass = pass.at(0, column - columns.start);
        let mut totals = [0.0; ROWS_MAX * WIDTH_MAX];
        if let Some(from) = pass.from {
            for (r, totals) in totals.chunks_exact_mut(width).take(a.rows).enumerate() {
                // SAFETY: the caller's promise.
                totals[..valid].copy_from_slice(unsafe { from.row(r, valid) });
            }
        }
        add_tiles(level, &mut totals, a, b, column, width);
        for (r, totals) in totals.chunks_exact(width).take(a.rows).enumerate() {
            // SAFETY: the caller's promise; the row of `from`, which may be the same, is no longer used.
            let to = unsafe { pass.to.row_mut(r, valid) };
            if pass.add {
                to.iter_mut().zip(totals).for_each(|(to, total)| *to += total);
            } else {
                to.copy_from_slice(&totals[..valid]);
            }
        }
        column += valid;
    }
}

multiversion! {
    /// Adds to `totals: [rows, width]` the promoted sums of all tiles of k.
    fn add_tiles(
        level: SimdLevel,
        totals: &mut [f32],
        a: &Scaled<'_>,
        b: &Right<'_>,
        column: usize,
        width: usize,
    ) = add_tiles_body
}

#[inline(always)]
fn add_tiles_body<V: Lanes>(level: SimdLevel, totals: &mut [f32], a: &Scaled, b: &Right, column: usize, width: usize) {
    let mut chains = [0.0; ROWS_MAX * WIDTH_MAX];
    let row = width.min(PANEL);
    for (index, steps) in blocks(0..b.steps, STEPS).enumerate() {
        let of_b = &b.panels[column * b.steps + steps.start * row..];
        let of_a = &a.operand.values[steps.start * a.operand.k..];
        let last_panel = (width - row) / PANEL * b.steps * PANEL;
        assert!(of_b.len() >= last_panel + steps.len() * row && totals.len() >= a.rows * width);
        assert!(of_a.len() > (a.rows - 1) * a.operand.row + (steps.len() - 1) * a.operand.k);
        let tile = Tile {
            rows: a.rows,
            width,
            k: steps.len(),
            a: of_a.as_ptr(),
            a_row: a.operand.row,
            a_k: a.operand.k,
            b: of_b.as_ptr(),
            b_panel: b.steps * PANEL,
            from: std::ptr::null(),
            from_row: 0,
            to: chains.as_mut_ptr(),
            to_row: width,
            add: false,
            dtype: Dtype::Bf16,
        };
        // SAFETY: the level is that of dispatch; rows and width are those of `sweep`, which follow the level and the packing; the operands
        // reach as far as asserted, and the array has room for the largest tile.
        unsafe { compute(level, &tile, width) };
        let of_columns = &b.scales[index * b.scale_row + column..][..width];
        let of_rows = &a.scales[index * a.scale_row..][..a.rows];
        for ((totals, chains), &scale) in totals.chunks_exact_mut(width).zip(chains.chunks_exact(width)).zip(of_rows) {
            let scale = V::splat(scale);
            let vectors = totals.as_chunks_mut::<LANES>().0.iter_mut().zip(chains.as_chunks::<LANES>().0);
            for ((total, chain), of_column) in vectors.zip(of_columns.as_chunks::<LANES>().0) {
                V::load(chain).mul_add(V::load(of_column).mul(scale), V::load(total)).store(total);
            }
        }
    }
}
