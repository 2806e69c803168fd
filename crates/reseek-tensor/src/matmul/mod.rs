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
//! Every function runs on the calling thread, except that a product of more than
//! 64 MFLOP that is called outside the pool is cut into parts for the pool's threads.
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

use crate::compute::Compute;
use crate::dispatch::{self, SimdLevel};
use crate::operand::Left;
use crate::pool;

pub use packed::Packed;

/// What happens to the former values of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// Bytes of B from which the threads that wait for a single lane take a share of its columns.
const PARALLEL_BYTES: usize = 128 << 10;

/// Floating-point operations from which the threads that wait for a single lane take a share of a weight's gradient.
const SHARED_FLOPS: usize = 4_000_000;

/// Floating-point operations from which a product outside the pool is worth cutting up.
const PARALLEL_FLOPS: usize = 64_000_000;

/// `c[m, n] (=|+=) a[m, k]·B`.
///
/// # Panics
/// If the lengths of `c` and `a` are not those of m rows for one m.
pub fn matmul<'a>(c: &mut [f32], a: impl Into<Left<'a>>, b: &Packed, acc: Accumulate) {
    let (k, n, a) = (b.k, b.n, a.into());
    let m = c.len().checked_div(n).or(a.rows(k)).unwrap_or(0);
    check_format(a, b.compute());
    assert!(
        a.is(m, k) && c.len() == m * n,
        "matmul with B [{k}, {n}]: a has {} values, c has {}; rows of both must match (hint: a = m*{k}, c = m*{n})",
        a.len(),
        c.len()
    );
    if m == 0 || n == 0 {
        return;
    }
    if let Some(scales) = b.scales() {
        return scaled::matmul_scaled(dispatch::level(), c, &a.to_values(k), b, scales, acc == Accumulate::Add);
    }
    let parts = parts(m, n, k);
    if parts > 1 && m >= parts * 2 * tile::ROWS_MAX {
        split_rows(dispatch::level(), c, a, b, acc, m.div_ceil(parts));
    } else {
        // SAFETY: c is borrowed and has m rows of n values.
        unsafe { product(dispatch::level(), Shared(c.as_mut_ptr()), a, m, b, acc, parts) }
    }
}

/// Threads write different columns of the same rows, which no safe slice can express.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: the pointer is used for disjoint elements only, while C stays borrowed.
unsafe impl Sync for Shared {}

/// The product of m rows, its columns in `parts` parts or shared with threads that wait.
///
/// # Safety
/// The machine supports `level`; `c` has m rows of `b.n` values, which no one else uses.
unsafe fn product(level: SimdLevel, c: Shared, a: Left, m: usize, b: &Packed, acc: Accumulate, parts: usize) {
    let (n, c) = (b.n, &c);
    // SAFETY: the caller's promise on level; every part has its own columns of C, beginning at a multiple of
    // the panel.
    let columns = |range: Range<usize>| unsafe { blocks::product(level, c.0, a, m, b, range, acc == Accumulate::Add) };
    if pool::has_idle_threads() && b.bytes() >= PARALLEL_BYTES {
        let part = |panels: Range<usize>| columns(panels.start * tile::PANEL..n.min(panels.end * tile::PANEL));
        pool::join_parts(n.div_ceil(tile::PANEL), part);
    } else if parts == 1 {
        columns(0..n);
    } else {
        let width = n.div_ceil(parts).next_multiple_of(tile::PANEL);
        pool::map_lanes(0..n.div_ceil(width), |lane| columns(lane * width..n.min((lane + 1) * width)));
    }
}

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
    matmul_tn_part(c, a, 0..m, b, m, n, compute);
}

/// [`matmul_tn`] for some of the columns of `a`: `c[columns.len(), n] += a[:, columns]ᵀ·b`.
///
/// # Panics
/// As [`matmul_tn`], and if `a` does not have the columns.
pub fn matmul_tn_part<'a, 'b>(
    c: &mut [f32],
    a: impl Into<Left<'a>>,
    columns: Range<usize>,
    b: impl Into<Left<'b>>,
    m: usize,
    n: usize,
    compute: impl Into<Compute>,
) {
    let (a, b, precision) = (a.into(), b.into(), compute.into());
    let t = a.rows(m).unwrap_or(0);
    [a, b].into_iter().for_each(|operand| check_format(operand, precision));
    assert!(columns.start <= columns.end && columns.end <= m, "columns {columns:?} of {m}");
    assert!(
        c.len() == columns.len() * n && a.is(t, m) && (m == 0 || b.is(t, n)),
        "matmul_tn with m {m}, n {n}: a has {} values, b has {}, c has {} (hint: a = t*m, b = t*n, c = m*n)",
        a.len(),
        b.len(),
        c.len()
    );
    if t == 0 || columns.is_empty() || n == 0 {
        return;
    }
    let level = dispatch::level();
    let is_shared = pool::has_idle_threads() && flops(columns.len(), n, t) >= SHARED_FLOPS;
    let parts = if is_shared { pool::threads_here() } else { parts(columns.len(), n, t) };
    let rows_of_part = columns.len().div_ceil(parts).next_multiple_of(tile::ROWS_MAX);
    let unrounded = (precision == Compute::Fp8).then(|| (a.to_values(m), b.to_values(n)));
    let compute = |(index, c): (usize, &mut [f32])| {
        let first = columns.start + index * rows_of_part;
        if let Some((a, b)) = &unrounded {
            return scaled::product_tn_scaled(level, c, a, b, m, n, first);
        }
        // SAFETY: dispatch only returns levels that the machine supports.
        unsafe { transposed::product_tn(level, c, a, b, m, n, first, precision.dtype()) }
    };
    if rows_of_part >= columns.len() {
        compute((0, c));
    } else {
        let chunks: Vec<_> = c.chunks_mut(rows_of_part * n).enumerate().collect();
        if is_shared { pool::join_each(chunks, compute) } else { drop(pool::map_lanes(chunks, compute)) }
    }
}

/// [`matmul`] with another B for each group of rows: the rows `offsets[e]..offsets[e + 1]` of `a`
/// and `c` use `bs[e]`. Groups may be empty.
///
/// # Panics
/// If there is not one offset more than operands, if the offsets do not rise from 0 to the number
/// of rows, or if the operands differ in shape.
pub fn grouped_matmul<'a>(c: &mut [f32], a: impl Into<Left<'a>>, bs: &[Packed], offsets: &[usize], acc: Accumulate) {
    let a = a.into();
    let Some(Packed { k, n, .. }) = bs.first() else {
        let values = a.len();
        assert!(c.is_empty() && values == 0, "grouped_matmul of {values} values of a without any B");
        return;
    };
    check_offsets(offsets, bs.len(), *k, a);
    check_offsets(offsets, bs.len(), *n, Left::from(&*c));
    for (e, (b, rows)) in bs.iter().zip(groups(offsets)).enumerate() {
        assert!((b.k, b.n) == (*k, *n), "group {e} has B [{}, {}], group 0 has [{k}, {n}]", b.k, b.n);
        if !rows.is_empty() {
            matmul(&mut c[rows.start * n..rows.end * n], a.part(rows, *k), b, acc);
        }
    }
}

/// [`matmul_tn`] for each group of rows: `c[e] += aᵀ·b` over the rows `offsets[e]..offsets[e + 1]`,
/// for `c: [E, m, n]`. Groups may be empty.
///
/// # Panics
/// If the offsets do not rise from 0 to the number of rows of `a` and of `b`, or `c` does not
/// have `m * n` values for each group.
pub fn grouped_matmul_tn<'a, 'b>(
    c: &mut [f32],
    a: impl Into<Left<'a>>,
    b: impl Into<Left<'b>>,
    m: usize,
    n: usize,
    offsets: &[usize],
    compute: impl Into<Compute>,
) {
    grouped_matmul_tn_part(c, a, 0..m, b, m, n, offsets, compute);
}

/// [`grouped_matmul_tn`] for some of the columns of `a`, see [`matmul_tn_part`].
///
/// # Panics
/// As both.
pub fn grouped_matmul_tn_part<'a, 'b>(
    c: &mut [f32],
    a: impl Into<Left<'a>>,
    columns: Range<usize>,
    b: impl Into<Left<'b>>,
    m: usize,
    n: usize,
    offsets: &[usize],
    compute: impl Into<Compute>,
) {
    let (a, b, compute) = (a.into(), b.into(), compute.into());
    let (n_groups, size) = (offsets.len().saturating_sub(1), columns.len() * n);
    assert_eq!(c.len(), n_groups * size, "c of {n_groups} groups of [{}, {n}]", columns.len());
    check_offsets(offsets, n_groups, m, a);
    check_offsets(offsets, n_groups, n, b);
    for (e, rows) in groups(offsets).enumerate() {
        let c = &mut c[e * size..(e + 1) * size];
        matmul_tn_part(c, a.part(rows.clone(), m), columns.clone(), b.part(rows, n), m, n, compute);
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
        offsets.len() == n_groups + 1 && offsets[0] == 0 && offsets.is_sorted() && operand.is(rows, width),
        "offsets {offsets:?} for {n_groups} groups and {} values in rows of {width} \
         (hint: {} offsets that rise from 0 to the number of rows)",
        operand.len(),
        n_groups + 1
    );
}

/// Into how many parts to cut a product.
fn parts(m: usize, n: usize, k: usize) -> usize {
    if flops(m, n, k) < PARALLEL_FLOPS || pool::on_worker() { 1 } else { pool::threads() }
}

fn flops(m: usize, n: usize, k: usize) -> usize {
    2_usize.saturating_mul(m).saturating_mul(n).saturating_mul(k)
}

/// The level is the caller's: what it chose for a test holds on the pool's threads too.
fn split_rows(level: SimdLevel, c: &mut [f32], a: Left, b: &Packed, acc: Accumulate, rows: usize) {
    let chunks: Vec<_> = c.chunks_mut(rows * b.n).enumerate().collect();
    pool::map_lanes(chunks, |(index, c)| {
        let (first, m) = (index * rows, c.len() / b.n);
        // SAFETY: the level comes from dispatch; every lane has its own rows of c.
        unsafe { product(level, Shared(c.as_mut_ptr()), a.part(first..first + m, b.k), m, b, acc, 1) }
    });
}
