//! Products with quantised weights, for sampling: whole numbers of 2 to 8 bits in blocks of 32 along k, with scales that take as many bits as
//! the numbers are worth. Fewer bytes on the way from memory, which is what a decoded token waits for.
//!
//! With w = d·(q − z) + m (q unsigned) in a group, and the activations of its block rounded to 16 bits, x ≈ s·a (s = max|x| / 32512, a signed):
//! Σ w·x ≈ d·s·Σ (q − z)·a + m·s·Σ a. The sums inside of a group are whole numbers, hence exact in any order.
//!
//! **Bit rule.** Each element of y is a chain over the groups of k: `y = fma(Σ(q−z)a, d·s, y)`, then, for a form with least values,
//! `y = fma(m, s·Σa, y)`. So rows depend neither on each other nor on threads, and instruction sets with fused multiply-add agree.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod form;
mod kernel;
mod pack;
mod panel;
mod plain;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

pub use half::f16;

use crate::aligned::Line;
use crate::pool;
use crate::profile::{Op, span};
use crate::simd::LANES;
use activations::{Activations, Order, with_activations};
pub use form::{Bits, Block, Form, Scales};
use kernel::Vector;
pub use pack::PanelMut;
use panel::Panel;

/// Values of a block.
pub const BLOCK: usize = 32;

/// Bytes of weights from which two threads share a product.
const PARALLEL_BYTES: usize = 96 << 10;

/// Bytes of rounded activations that are to stay in the second-level cache while panels go by.
const CACHED_BYTES: usize = 256 << 10;

/// Bytes of a line.
const LINE: usize = 64;

/// W `[n, k]`, right operand of y = x·Wᵀ, in panels of 16 rows. A clone shares the memory.
#[derive(Clone, Debug)]
pub struct Quantised {
    n: usize,
    k: usize,
    form: Form,
    lines: Arc<Vec<Line>>,
}

impl Quantised {
    /// Values of a row of x.
    pub fn in_features(&self) -> usize {
        self.k
    }

    /// Values of a row of y.
    pub fn out_features(&self) -> usize {
        self.n
    }

    /// How the values are held.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Bytes of the panels, which are all of its memory.
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Row `row` of W as its blocks stand for it. d·(q − z) is exact where a code and its group's whole number have at most 13 bits together,
    /// as in all of ggml's kinds, and m is added with one rounding.
    ///
    /// # Panics
    /// If there is no such row, or `values` are not k.
    pub fn row(&self, row: usize, values: &mut [f32]) {
        assert!(row < self.n, "row {row} of {}", self.n);
        assert_eq!(values.len(), self.k, "room for a row of {} values", self.k);
        let panel = self.panel(row / LANES);
        for (index, values) in values.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            panel.values(index, row % LANES, values);
        }
    }

    fn panel_bytes(&self) -> usize {
        self.form.panel_lines(self.k / BLOCK) * LINE
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        let lines = self.form.panel_lines(self.k / BLOCK);
        Panel::new(&self.form, Line::bytes(&self.lines[index * lines..(index + 1) * lines]), self.k / BLOCK)
    }
}

/// `y[m, n] = x[m, k]·Wᵀ`.
///
/// # Panics
/// If the lengths are not those of m rows for one m.
pub fn quantised_matmul(y: &mut [f32], x: &[f32], w: &Quantised) {
    let rows = x.len().checked_div(w.k).unwrap_or(0);
    assert!(
        x.len() == rows * w.k && y.len() == rows * w.n,
        "quantised_matmul with W [{}, {}]: x has {} values, y {} (x = m*{}, y = m*{})",
        w.n,
        w.k,
        x.len(),
        y.len(),
        w.k,
        w.n
    );
    if y.is_empty() {
        return;
    }
    let kernel = Kernel::of_level();
    with_activations(x, w.k, &w.form, kernel.order(), |activations| {
        let panels = w.n.div_ceil(LANES);
        let target = Target { first: y.as_mut_ptr(), row: w.n };
        if pool::has_awake_threads() && w.bytes() >= PARALLEL_BYTES {
            pool::share(panels, |part| {
                // SAFETY: y is borrowed, and every part has its own columns.
                unsafe { panels_product(target, &activations, w, part, kernel) }
            });
        } else {
            // SAFETY: y is borrowed.
            unsafe { panels_product(target, &activations, w, 0..panels, kernel) };
        }
    });
}

/// Rows of y, of which parts write different columns, which no safe slice can express.
#[derive(Clone, Copy)]
struct Target {
    first: *mut f32,
    row: usize,
}

// SAFETY: the pointer is used for disjoint elements only, while y stays borrowed.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// # Safety
    /// The row and the columns exist, and no one else uses them.
    unsafe fn write(self, row: usize, columns: Range<usize>, values: &[f32; LANES]) {
        // SAFETY: the caller's promise.
        let target =
            unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.row + columns.start), columns.len()) };
        target.copy_from_slice(&values[..columns.len()]);
    }
}

/// The columns of the given panels.
///
/// # Safety
/// `target` has `a.rows` rows of `w.n` values, of which no one else uses these columns.
unsafe fn panels_product(target: Target, a: &Activations, w: &Quantised, panels: Range<usize>, kernel: Kernel) {
    let columns = panels.len() * LANES;
    let op = if a.rows > 32 { Op::Matmul } else { Op::MatmulFewRows };
    let _span = span(op, 2 * a.rows * w.k * columns, panels.len() * w.panel_bytes() / 4 + a.rows * columns);
    let mut bytes = UNPACKED.take();
    let rows_at_once = (CACHED_BYTES / (2 * w.k)).next_multiple_of(kernel.rows());
    for first in (0..a.rows).step_by(rows_at_once) {
        let rows = first..a.rows.min(first + rows_at_once);
        for index in panels.clone() {
            let columns = index * LANES..w.n.min((index + 1) * LANES);
            let packed = w.panel(index);
            let panel = if rows.len() > kernel.few_rows() { kernel.unpacked(&packed, &mut bytes) } else { packed };
            let mut sums = [[0.0; LANES]; ROWS_MAX];
            for first in rows.clone().step_by(kernel.rows()) {
                let tile = first..rows.end.min(first + kernel.rows());
                let sums = &mut sums[..tile.len()];
                kernel.product(sums, a, tile.clone(), &panel);
                for (row, sums) in tile.zip(sums) {
                    // SAFETY: the caller's promise.
                    unsafe { target.write(row, columns.clone(), sums) };
                }
            }
        }
    }
    UNPACKED.set(bytes);
}

thread_local! {
    /// The codes of a panel, a byte each.
    static UNPACKED: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Most rows that a kernel takes at once.
const ROWS_MAX: usize = 8;

/// The instructions of a product. All threads that share one use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// AVX-512 with `vpdpbusd`.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// AVX2 with `vpmaddwd`.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of plain loops.
    Plain,
}

impl Kernel {
    fn of_level() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::dispatch::{SimdLevel, level};
            let level = level();
            if level == SimdLevel::Avx512 && vnni::is_supported() {
                return Self::Vnni;
            }
            if matches!(level, SimdLevel::Avx512 | SimdLevel::Avx2) && avx2::is_supported() {
                return Self::Avx2;
            }
        }
        Self::Plain
    }

    /// In what order it reads activations.
    fn order(self) -> Order {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => vnni::Vnni::ORDER,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::ORDER,
            Self::Plain => plain::Plain::ORDER,
        }
    }

    /// Rows of x that it takes at once.
    fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 4,
            Self::Plain => 1,
        }
    }

    /// Most rows for which it takes the codes apart in registers; for more they are laid out once, a byte each.
    fn few_rows(self) -> usize {
        if self == Self::Plain { 0 } else { 4 }
    }

    /// The panel with codes of a byte, laid out in `bytes`.
    fn unpacked<'a>(self, panel: &Panel<'a>, bytes: &'a mut Vec<Line>) -> Panel<'a> {
        if panel.bits == Bits::Eight {
            return *panel;
        }
        let len = panel.blocks * Bits::Eight.lines();
        if bytes.len() < len {
            *bytes = Line::zeros(len * Line::VALUES);
        }
        let bytes = Line::bytes_mut(&mut bytes[..len]);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `of_level` asked for the instructions.
            Self::Vnni => unsafe { vnni::unpack(panel, bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { avx2::unpack(panel, bytes) },
            // SAFETY: it needs none.
            Self::Plain => unsafe { plain::unpack(panel, bytes) },
        }
        panel.with_bytes(bytes)
    }

    /// 16 columns of some rows of y.
    fn product(self, sums: &mut [[f32; LANES]], a: &Activations, rows: Range<usize>, panel: &Panel) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `of_level` asked for the instructions.
            Self::Vnni => unsafe { vnni::tile_product(sums, a, rows, panel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { avx2::tile_product(sums, a, rows, panel) },
            // SAFETY: it needs none.
            Self::Plain => unsafe { plain::tile_product(sums, a, rows, panel) },
        }
    }
}
