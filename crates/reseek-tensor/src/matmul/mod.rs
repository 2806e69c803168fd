//! Matrix products: operands in f32, bf16 or fp8 ([`Compute`]), sums in f32.
//!
//! **Bit rule.** Every element of C is one chain of fused multiply-adds in increasing k, begun at
//! zero: `s = fma(a[k], b[k], s)`. With [`Accumulate::Add`], and in the gradients of weights, the
//! finished sum is added to C at the end, in one rounding. So the bits of a row depend neither on
//! the number of rows nor on the row's place, nor on threads, blocks or register widths: decoding
//! one token gives the bits of a pass over the whole sequence. (x86 processors without FMA round
//! the product as well: the same rule with other bits.)
//! In bf16, where both operands are rounded on the way to the kernel, the chain takes the values
//! in pairs, the odd one first: `s = fma(a[k], b[k], fma(a[k + 1], b[k + 1], s))`, as the dot
//! product of AVX-512 BF16 does; processors without it give the same bits, subnormal values apart.
//!
//! In fp8 each tile of 128 places of k is such a chain of its own, and the tiles' sums are scaled and added (`scaled`).
//!
//! Layers of this module: [`Packed`] and its panels (`packed`), loops for the caches (`blocks`,
//! `transposed`), a tile of C (`tile`), and one file of kernels for each instruction set.
//!
//! Every function runs on the calling thread. One that runs a single lane, or is outside of the pool,
//! shares larger products with threads that have nothing to do (`team`).
//!
//! On one thread of a Zen 4 (116 GFLOP/s) most shapes reach 85 to 97 % of the peak with AVX-512;
//! one row alone is bound by the L2 cache, which gives up the weights at 80 to 100 GB/s.

mod blocks;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod kernel_portable;
mod packed;
mod scaled;
mod tile;
mod transposed;

use std::ops::Range;

use crate::buffer::ViewMut;
use crate::compute::Compute;
use crate::dispatch;
use crate::operand::Left;
use crate::pool;
use crate::profile::Op;

pub use packed::Packed;

use blocks::Call;

/// What happens to the former values of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// Bytes of B from which a product is shared with threads that are awake.
const SHARED_BYTES: usize = 128 << 10;
/// Floating-point operations from which it is worth waking one.
const SHARED_FLOPS: usize = 16_000_000;
/// Rows from which it is rows that are shared: packing A once for each part of the columns costs more than passing over B.
const SHARED_ROWS: usize = 128;
/// Into how many units the rows are cut at most: a smaller one passes over B for too few rows.
const ROW_UNITS: usize = 64;
/// Rows up to which a profile counts a product as one of few rows.
const FEW_ROWS: usize = 32;

/// `c[m, n] (=|+=) a[m, k]·B`.
///
/// # Panics
/// If the lengths of `c` and `a` are not those of m rows for one m.
pub fn matmul<'m, 'a>(c: impl Into<ViewMut<'m>>, a: impl Into<Left<'a>>, b: &Packed, acc: Accumulate) {
    let c = c.into().0;
    let (k, n, a) = (b.k(), b.n(), a.into());
    let m = c.len().checked_div(n).or(a.rows(k)).unwrap_or(0);
    check_format(a, b.compute());
    assert!(
        a.has_shape(m, k) && c.len() == m * n,
        "matmul with B [{k}, {n}]: a has {} values, c has {}; rows of both must match (a = m*{k}, c = m*{n})",
        a.len(),
        c.len()
    );
    if m == 0 || n == 0 {
        return;
    }
    if let Some(scales) = b.scales() {
        let call = Call { level: dispatch::level(), op: op_of(m), add: acc == Accumulate::Add };
        return scaled::matmul_scaled(call, c, &a.to_values(k), b, scales);
    }
    // The level is the caller's: what it chose for a test holds on other threads too.
    let call = Call { level: dispatch::level(), op: op_of(m), add: acc == Accumulate::Add };
    let c = &Shared(c.as_mut_ptr());
    let part = |rows: Range<usize>, columns: Range<usize>| {
        let (m, a) = (rows.len(), a.part(rows.clone(), k));
        // SAFETY: the machine supports what dispatch returns; c is borrowed, and every part below has its own rows or columns of it,
        // which begin at multiples of the panel.
        unsafe { blocks::product(call, c.0.add(rows.start * n), a, m, b, columns) }
    };
    if !is_shared(2 * m * k * n, b.bytes()) {
        part(0..m, 0..n);
    } else if m >= SHARED_ROWS {
        share(m, row_unit(m), |rows| part(rows, 0..n));
    } else {
        share(n, column_unit(m), |columns| part(0..m, columns));
    }
}

/// Whether others are asked to share a product of so many operations, whose B has so many bytes.
fn is_shared(flops: usize, bytes: usize) -> bool {
    flops >= SHARED_FLOPS && pool::has_idle_threads() || bytes >= SHARED_BYTES && pool::has_awake_threads()
}

/// As what a profile counts a product of `m` rows, whatever its parts have.
fn op_of(m: usize) -> Op {
    if m <= FEW_ROWS { Op::MatmulFewRows } else { Op::Matmul }
}

/// Shares `0..total` in multiples of `unit`.
fn share(total: usize, unit: usize, f: impl Fn(Range<usize>) + Sync) {
    pool::share(total.div_ceil(unit), |units| f(units.start * unit..total.min(units.end * unit)));
}

/// Rows that no one shares further: whole row tiles.
fn row_unit(m: usize) -> usize {
    m.div_ceil(ROW_UNITS).next_multiple_of(tile::ROWS_MAX).max(2 * tile::ROWS_MAX)
}

/// Columns that no one shares further: each part packs all m rows of A.
fn column_unit(m: usize) -> usize {
    if m <= tile::ROWS_MAX { tile::PANEL } else { 2 * tile::PANEL }
}

/// Threads write different columns of the same rows, which no safe slice can express.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: the pointer is used for disjoint elements only, while C stays borrowed.
unsafe impl Sync for Shared {}

/// `c[m, n] += aᵀ·b` for `a: [t, m]` and `b: [t, n]`: the gradient of a weight,
/// dW[out, in] += dYᵀ·X.
///
/// # Panics
/// If the lengths do not fit `m`, `n` and one t.
pub fn matmul_tn<'a, 'b>(
    c: &mut [f32],
    a: impl Into<Left<'a>>,
    b: impl Into<Left<'b>>,
    m: usize,
    n: usize,
    compute: impl Into<Compute>,
) {
    matmul_tn_parts([c], a, b, m, n, compute);
}

/// [`matmul_tn`] with `a: [t, PARTS·m]`, whose every m columns have a `c[m, n]` of their own: the gradients of matrices that are applied to
/// one input as one product.
///
/// # Panics
/// As [`matmul_tn`].
pub fn matmul_tn_parts<'a, 'b, const PARTS: usize>(
    c: [&mut [f32]; PARTS],
    a: impl Into<Left<'a>>,
    b: impl Into<Left<'b>>,
    m: usize,
    n: usize,
    compute: impl Into<Compute>,
) {
    let (a, b, precision, columns) = (a.into(), b.into(), compute.into(), PARTS * m);
    let t = a.rows(columns).unwrap_or(0);
    [a, b].into_iter().for_each(|operand| check_format(operand, precision));
    assert!(
        c.iter().all(|c| c.len() == m * n) && a.has_shape(t, columns) && (m == 0 || b.has_shape(t, n)),
        "matmul_tn with m {m}, n {n}: a has {} values, b has {}, c has {:?} (a = t*{PARTS}*m, b = t*n, c = m*n)",
        a.len(),
        b.len(),
        c.map(|c| c.len())
    );
    if t == 0 || m == 0 || n == 0 {
        return;
    }
    let level = dispatch::level();
    let unrounded = (precision == Compute::Fp8).then(|| (a.to_values(columns), b.to_values(n)));
    let shared = c.map(|c| Shared(c.as_mut_ptr()));
    let part = |rows: Range<usize>| {
        // The rows of each c among them; row i of all belongs to column i of a.
        let parts = shared.iter().enumerate().filter_map(|(index, c)| {
            let (first, end) = (rows.start.max(index * m), rows.end.min((index + 1) * m));
            (first < end).then(|| (c.0.wrapping_add((first - index * m) * n), first..end))
        });
        if let Some((a, b)) = &unrounded {
            for (c, rows) in parts {
                // SAFETY: c is borrowed, and every call has its own rows of it.
                let c = unsafe { std::slice::from_raw_parts_mut(c, rows.len() * n) };
                scaled::product_tn_scaled(level, c, a, b, columns, n, rows.start);
            }
            return;
        }
        let parts = parts.map(|(c, columns)| transposed::Part { c: blocks::Sums::new(c, n), columns });
        // SAFETY: dispatch only returns levels that the machine supports; c is borrowed, and every call has its own rows of it.
        unsafe { transposed::product_tn(level, parts, a, b, columns, n, precision.dtype()) }
    };
    if is_shared(2 * t * columns * n, 0) {
        // Few units, because each packs all of b.
        let units = 2 * pool::threads();
        share(columns, columns.div_ceil(units).next_multiple_of(tile::ROWS_MAX), part);
    } else {
        part(0..columns);
    }
}

/// [`matmul`] with another B for each group of rows: the rows `offsets[e]..offsets[e + 1]` of `a`
/// and `c` use `bs[e]`. Groups may be empty.
///
/// # Panics
/// If there is not one offset more than operands, if the offsets do not rise from 0 to the number
/// of rows, or if the operands differ in shape.
pub fn grouped_matmul<'m, 'a>(
    c: impl Into<ViewMut<'m>>,
    a: impl Into<Left<'a>>,
    bs: &[Packed],
    offsets: &[usize],
    acc: Accumulate,
) {
    let c = c.into().0;
    let a = a.into();
    let Some((k, n)) = bs.first().map(|b| (b.k(), b.n())) else {
        let values = a.len();
        assert!(c.is_empty() && values == 0, "grouped_matmul of {values} values of a without any B");
        return;
    };
    check_offsets(offsets, bs.len(), k, a);
    check_offsets(offsets, bs.len(), n, Left::from(&*c));
    for (e, (b, rows)) in bs.iter().zip(groups(offsets)).enumerate() {
        assert!((b.k(), b.n()) == (k, n), "group {e} has B [{}, {}], group 0 has [{k}, {n}]", b.k(), b.n());
        if !rows.is_empty() {
            matmul(&mut c[rows.start * n..rows.end * n], a.part(rows, k), b, acc);
        }
    }
}

/// [`matmul_tn_parts`] for each group of rows: `c[e] += aᵀ·b` over the rows `offsets[e]..offsets[e + 1]`, for every `c: [E, m, n]`. Groups
/// may be empty.
///
/// # Panics
/// If the offsets do not rise from 0 to the number of rows of `a` and of `b`, or a `c` does not have `m * n` values for each group.
pub fn grouped_matmul_tn_parts<'a, 'b, const PARTS: usize>(
    mut c: [&mut [f32]; PARTS],
    a: impl Into<Left<'a>>,
    b: impl Into<Left<'b>>,
    m: usize,
    n: usize,
    offsets: &[usize],
    compute: impl Into<Compute>,
) {
    let (a, b, compute, width) = (a.into(), b.into(), compute.into(), PARTS * m);
    let (n_groups, size) = (offsets.len().saturating_sub(1), m * n);
    for c in &c {
        assert_eq!(c.len(), n_groups * size, "c of {n_groups} groups of [{m}, {n}]");
    }
    check_offsets(offsets, n_groups, width, a);
    check_offsets(offsets, n_groups, n, b);
    for (e, rows) in groups(offsets).enumerate() {
        let c = c.each_mut().map(|c| &mut c[e * size..(e + 1) * size]);
        matmul_tn_parts(c, a.part(rows.clone(), width), b.part(rows, n), m, n, compute);
    }
}

#[track_caller]
fn check_format(operand: Left, compute: Compute) {
    assert!(!operand.is_paired() || compute == Compute::Bf16, "an operand of bf16 pairs for a product in {compute}");
}

fn groups(offsets: &[usize]) -> impl Iterator<Item = Range<usize>> {
    offsets.windows(2).map(|pair| pair[0]..pair[1])
}

#[track_caller]
fn check_offsets(offsets: &[usize], n_groups: usize, width: usize, operand: Left) {
    let rows = offsets.last().copied().unwrap_or(0);
    assert!(
        offsets.len() == n_groups + 1 && offsets[0] == 0 && offsets.is_sorted() && operand.has_shape(rows, width),
        "offsets {offsets:?} for {n_groups} groups and {} values in rows of {width} \
         ({} offsets that rise from 0 to the number of rows)",
        operand.len(),
        n_groups + 1
    );
}
