//! The right operand of a product, in the order in which the kernels read it.

use std::ops::Range;

use super::blocks::{blocks, with_scratch};
use super::tile::{HALF_PANEL, PANEL};
use crate::aligned::Line;
use crate::compute::Compute;
use crate::dtype::{Dtype, pair_neighbours};
use crate::fp8::{TILE, quantise_blocks};
use crate::operand::Left;
use crate::profile::{Op, span};

/// B `[k, n]` packed in column panels: panel p holds columns 32p.. of all k rows, row after row,
/// 32 values a row (16 in the last panel where those are enough), zeros beyond column n. In bf16
/// two rows make one row of pairs; in fp8 too, with scales beside.
#[derive(Clone, Debug)]
pub struct Packed {
    k: usize,
    n: usize,
    dtype: Dtype,
    lines: Vec<Line>,
    /// In fp8 `[tiles of k, n with its zeros]`: the scale of each block of 128 × 128, once for each of its columns.
    scales: Option<Vec<f32>>,
}

impl Packed {
    /// Packs `b: [k, n]`.
    ///
    /// # Panics
    /// If `b` does not have `k * n` values.
    pub fn from_rows(b: &[f32], k: usize, n: usize, compute: impl Into<Compute>) -> Self {
        let mut packed = Self::zeros(k, n, compute.into());
        packed.repack_rows(b);
        packed
    }

    /// Packs B = wᵀ for `w: [n, k]`.
    ///
    /// # Panics
    /// If `w` does not have `n * k` values.
    pub fn from_transposed(w: &[f32], n: usize, k: usize, compute: impl Into<Compute>) -> Self {
        let mut packed = Self::zeros(k, n, compute.into());
        packed.repack_transposed(w);
        packed
    }

    /// Packs new values `b: [k, n]` in place.
    ///
    /// # Panics
    /// If `b` does not have `k * n` values.
    pub fn repack_rows(&mut self, b: &[f32]) {
        let (k, n) = (self.k, self.n);
        assert_eq!(b.len(), k * n, "packing B [{k}, {n}] from {} values", b.len());
        let _span = span(Op::Pack, 0, b.len() + padded(n) * self.steps());
        if n > 0 {
            let spread = |scales: &mut [f32], (i, j), scale| {
                let row = &mut scales[i * padded(n)..][..n];
                row[j * TILE..].iter_mut().take(TILE).for_each(|place| *place = scale);
            };
            let panels = Line::flatten_mut(&mut self.lines);
            with_rounded(self.scales.as_deref_mut(), b, n, spread, |b| {
                pack_rows(panels, b.into(), n, 0..n, self.dtype)
            });
        }
    }

    /// Packs B = wᵀ for new values `w: [n, k]` in place.
    ///
    /// # Panics
    /// If `w` does not have `n * k` values.
    pub fn repack_transposed(&mut self, w: &[f32]) {
        let (k, n) = (self.k, self.n);
        assert_eq!(w.len(), n * k, "packing the transpose of w [{n}, {k}] from {} values", w.len());
        let steps = self.dtype.steps(k);
        let _span = span(Op::Pack, 0, w.len() + padded(n) * steps);
        let spread = |scales: &mut [f32], (j, i), scale| {
            let row = &mut scales[i * padded(n)..][..n];
            row[j * TILE..].iter_mut().take(TILE).for_each(|place| *place = scale);
        };
        with_rounded(self.scales.as_deref_mut(), w, k, spread, |w| {
            let mut panels = Line::flatten_mut(&mut self.lines);
            for first in (0..n).step_by(PANEL) {
                let columns = PANEL.min(n - first);
                let panel = panels.split_off_mut(..steps * panel_width(columns)).expect("room for every panel");
                let w = &w[first * k..(first + columns) * k];
                if columns > HALF_PANEL {
                    transpose_panel::<PANEL>(panel, w, k, self.dtype);
                } else {
                    transpose_panel::<HALF_PANEL>(panel, w, k, self.dtype);
                }
            }
        });
    }

    /// Column j of B, as it is multiplied with: row j of the w that [`Packed::from_transposed`] was given.
    ///
    /// # Panics
    /// If there is no such column, `values` are not k, or B is in fp8.
    pub fn column(&self, j: usize, values: &mut [f32]) {
        assert!(
            j < self.n && values.len() == self.k,
            "column {j} of B [{}, {}] in {} values",
            self.k,
            self.n,
            values.len()
        );
        assert!(self.scales.is_none(), "columns in fp8 are not put together");
        let first = j / PANEL * PANEL;
        let width = panel_width(self.n - first);
        let panel = &self.values()[first * self.steps()..];
        let stored = panel.chunks_exact(width).map(|row| row[j - first]);
        match self.dtype {
            Dtype::F32 => values.iter_mut().zip(stored).for_each(|(value, stored)| *value = stored),
            Dtype::Bf16 => {
                let halves = |pair: f32| [pair.to_bits() << 16, pair.to_bits() & 0xffff_0000].map(f32::from_bits);
                values.iter_mut().zip(stored.flat_map(halves)).for_each(|(value, half)| *value = half);
            }
        }
    }

    /// Rows of B.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The format in which the kernels read it.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// In what it multiplies.
    pub fn compute(&self) -> Compute {
        if self.scales.is_some() { Compute::Fp8 } else { self.dtype.into() }
    }

    pub(super) fn scales(&self) -> Option<&[f32]> {
        self.scales.as_deref()
    }

    /// Steps of the chains: rows of k values or of pairs.
    pub(super) fn steps(&self) -> usize {
        self.dtype.steps(self.k)
    }

    /// Bytes that a product reads of it.
    pub(super) fn bytes(&self) -> usize {
        4 * self.steps() * padded(self.n)
    }

    /// All panels, exactly as long as `k`, `n` and `dtype` say: the kernels read as far as they say.
    pub(super) fn values(&self) -> &[f32] {
        &Line::flatten(&self.lines)[..self.steps() * padded(self.n)]
    }

    fn zeros(k: usize, n: usize, compute: Compute) -> Self {
        let dtype = compute.dtype();
        let scales = (compute == Compute::Fp8).then(|| vec![0.0; k.div_ceil(TILE) * padded(n)]);
        Self { k, n, dtype, lines: Line::zeros(dtype.steps(k) * padded(n)), scales }
    }
}

/// Hands `w: [_, width]` to `pack`: as it is, or where there are scales its E4M3 values, after `spread(scales, block, its scale)`.
fn with_rounded(
    scales: Option<&mut [f32]>,
    w: &[f32],
    width: usize,
    spread: impl Fn(&mut [f32], (usize, usize), f32),
    pack: impl FnOnce(&[f32]),
) {
    let Some(scales) = scales else {
        return pack(w);
    };
    with_scratch(w.len(), |q| {
        quantise_blocks(q, w, width, |i, j, scale| spread(scales, (i, j), scale));
        pack(q);
    });
}

/// Columns that a panel with `columns` existing columns has with its zeros.
pub(super) fn panel_width(columns: usize) -> usize {
    if columns > HALF_PANEL { PANEL } else { HALF_PANEL }
}

/// Columns of n columns in panels.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(HALF_PANEL)
}

/// Packs the given columns of all rows of `b: [_, n]` into panels, with zeros beyond the last
/// column. Goes by a few rows at a time through all panels, because a row of `b` may be a memory
/// page away from the next.
pub(super) fn pack_rows(panels: &mut [f32], b: Left, n: usize, columns: Range<usize>, dtype: Dtype) {
    const ROWS: usize = 8;
    let rows = b.rows(n).unwrap_or(0);
    let steps = dtype.steps(rows);
    let starts = (0..columns.len()).step_by(PANEL);
    for (index, rows) in blocks(0..rows, ROWS).enumerate() {
        match dtype {
            Dtype::F32 => {
                for start in starts.clone() {
                    let valid = PANEL.min(columns.len() - start);
                    let width = panel_width(valid);
                    let panel = &mut panels[start * steps + index * ROWS * width..];
                    let from = columns.start + start;
                    let rows = rows.clone().map(|row| &b.row(row, n)[from..from + valid]);
                    pack_values(panel, rows, valid, width);
                }
            }
            Dtype::Bf16 => {
                for (step, pair) in blocks(rows, 2).enumerate() {
                    let step = index * dtype.steps(ROWS) + step;
                    let places = starts.clone().map(|start| {
                        let valid = PANEL.min(columns.len() - start);
                        let from = columns.start + start;
                        (from..from + valid, start * steps + step * panel_width(valid))
                    });
                    let odd = (pair.len() == 2).then(|| b.row(pair.start + 1, n));
                    b.pair_rows(panels, b.row(pair.start, n), odd, places);
                    let valid = columns.len() % PANEL;
                    if !valid.is_multiple_of(HALF_PANEL) {
                        let (start, width) = (columns.len() - valid, panel_width(valid));
                        panels[start * steps + step * width..][valid..width].fill(0.0);
                    }
                }
            }
        }
    }
}

fn pack_values<'a>(panel: &mut [f32], rows: impl Iterator<Item = &'a [f32]>, valid: usize, width: usize) {
    match (valid, width) {
        (PANEL, _) => copy_rows::<PANEL>(panel, rows),
        (HALF_PANEL, _) => copy_rows::<HALF_PANEL>(panel, rows),
        _ => {
            for (target, source) in panel.chunks_exact_mut(width).zip(rows) {
                target[..valid].copy_from_slice(source);
                target[valid..].fill(0.0);
            }
        }
    }
}

/// Copies rows of exactly WIDTH values, a size that the compiler turns into vector moves.
pub(super) fn copy_rows<'a, const WIDTH: usize>(packed: &mut [f32], rows: impl Iterator<Item = &'a [f32]>) {
    for (target, source) in packed.as_chunks_mut::<WIDTH>().0.iter_mut().zip(rows) {
        target.copy_from_slice(source);
    }
}

/// One panel of wᵀ from its rows of w, `w: [<= WIDTH, k]`. Goes by blocks of one cache line of
/// every row, so each line of w is read once and the block's transpose stays in the L1 cache.
fn transpose_panel<const WIDTH: usize>(panel: &mut [f32], w: &[f32], k: usize, dtype: Dtype) {
    const BLOCK: usize = 16;
    let steps_of_block = dtype.steps(BLOCK);
    let panel = panel.as_chunks_mut::<WIDTH>().0;
    for (block, rows) in panel.chunks_mut(steps_of_block).enumerate() {
        for (j, w_row) in w.chunks_exact(k).enumerate() {
            let source = &w_row[block * BLOCK..k.min((block + 1) * BLOCK)];
            let mut pairs = [0.0; BLOCK];
            let source = match dtype {
                Dtype::F32 => source,
                Dtype::Bf16 => {
                    pair_neighbours(&mut pairs[..rows.len()], source);
                    &pairs[..rows.len()]
                }
            };
            for (row, &value) in rows.iter_mut().zip(source) {
                row[j] = value;
            }
        }
    }
}
