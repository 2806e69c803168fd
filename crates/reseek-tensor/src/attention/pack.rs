//! One head's rows copied out of `[len, heads, width]` into the layouts of the kernels.

use super::KEY_TILE;
use crate::dtype::{pair_rows, set_odd_of_pairs};
use crate::simd::{LANES, Lanes, multiversion, transpose_4x4};

/// Rows of one head inside `[len, n_heads, width]`.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    values: &'a [f32],
    head: usize,
    n_heads: usize,
    width: usize,
}

impl<'a> Head<'a> {
    pub(super) fn new(values: &'a [f32], head: usize, n_heads: usize, width: usize) -> Self {
        Self { values, head, n_heads, width }
    }

    pub(super) fn row(&self, index: usize) -> &'a [f32] {
        &self.values[(index * self.n_heads + self.head) * self.width..][..self.width]
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.width).skip(self.head).step_by(self.n_heads)
    }
}

multiversion! {
    /// `out[row, padded] = factor * rows[row]`, the columns behind a row's end 0. Several rows a call: one of a head is a few
    /// vectors, less than the call costs.
    pub(super) fn copy_rows(out: &mut [f32], padded: usize, rows: &[&[f32]], factor: f32) = copy_rows_body
}

#[inline(always)]
fn copy_rows_body<V: Lanes>(out: &mut [f32], padded: usize, rows: &[&[f32]], factor: f32) {
    for (out, row) in out.chunks_exact_mut(padded).zip(rows) {
        let (body, padding) = out.split_at_mut(row.len());
        let ((to, to_rest), (from, from_rest)) = (body.as_chunks_mut::<LANES>(), row.as_chunks::<LANES>());
        to.iter_mut().zip(from).for_each(|(to, from)| V::load(from).mul(V::splat(factor)).store(to));
        to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = from * factor);
        padding.iter_mut().for_each(|to| *to = 0.0);
    }
}

/// `tiles [tiles, width, KEY_TILE]` from all `len` rows of `head`; what lies behind the last row in
/// its tile stays as it is.
pub(super) fn copy_transposed(tiles: &mut [f32], head: Head, len: usize) {
    let tiles = tiles.chunks_exact_mut(head.width * KEY_TILE);
    for (tile, from) in tiles.zip((0..len).step_by(KEY_TILE)) {
        copy_columns(tile, 0, head, from, (len - from).min(KEY_TILE));
    }
}

/// Puts the rows `from..from + n` of `head` into the columns `to..to + n` of a tile
/// `[width, KEY_TILE]`.
pub(super) fn copy_columns(tile: &mut [f32], to: usize, head: Head, from: usize, n: usize) {
    let (tile, _) = tile.as_chunks_mut::<KEY_TILE>();
    let mut done = 0;
    while done < n {
        let size = if n - done >= 4 { 4 } else { 1 };
        if size == 4 {
            let row = |i: usize| head.row(from + done + i);
            copy_four_columns(tile, to + done, [row(0), row(1), row(2), row(3)]);
        } else {
            for (line, &x) in tile.iter_mut().zip(head.row(from + done)) {
                line[to + done] = x;
            }
        }
        done += size;
    }
}

/// Four at a time, in blocks of 4 × 4 that are turned in registers: stores of single values are
/// what a plain transposition spends its time on.
fn copy_four_columns(tile: &mut [[f32; KEY_TILE]], to: usize, rows: [&[f32]; 4]) {
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<4>());
    let (blocks, rest) = tile.as_chunks_mut::<4>();
    for ((((block, a), b), c), d) in blocks.iter_mut().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        for (line, column) in block.iter_mut().zip(transpose_4x4([a, b, c, d])) {
            line[to..to + 4].copy_from_slice(&column);
        }
    }
    for (i, line) in rest.iter_mut().enumerate() {
        line[to..to + 4].copy_from_slice(&[a.1[i], b.1[i], c.1[i], d.1[i]]);
    }
}

/// Pairs of neighbouring rows of `rows: [_, width]`: `out [_ / 2, width]`, the last row alone where their number is odd.
pub(super) fn pair_whole_rows(out: &mut [f32], rows: &[f32], width: usize) {
    for (out, pair) in out.chunks_exact_mut(width).zip(rows.chunks(2 * width)) {
        let (even, odd) = pair.split_at(width);
        pair_rows(out, even, (!odd.is_empty()).then_some(odd), std::iter::once((0..width, 0)));
    }
}

/// Puts `rows` into the rows from `first` on of `pairs [_, width]`, whose places hold two rows each. An even row clears the odd one's
/// place, so that nothing stale is ever behind the last row.
pub(super) fn put_into_pairs<'a>(
    pairs: &mut [f32],
    width: usize,
    first: usize,
    mut rows: impl Iterator<Item = &'a [f32]>,
) {
    let mut at = first;
    while let Some(row) = rows.next() {
        let place = &mut pairs[at / 2 * width..(at / 2 + 1) * width];
        let whole = 0..row.len();
        if at % 2 == 1 {
            set_odd_of_pairs(&mut place[whole], row);
            at += 1;
            continue;
        }
        place[row.len()..].fill(0.0);
        let odd = rows.next();
        pair_rows(place, row, odd, std::iter::once((whole, 0)));
        at += 1 + usize::from(odd.is_some());
    }
}
