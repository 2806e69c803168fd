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
mod kernel_portable;
mod packed;
mod scaled;
mod tile;
mod transposed;

use std::ops::Range;

use crate::compute::Compute;
use crate::dispatch::{self, SimdLevel};
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

/// Floating-point operations from which a product outside the pool is worth cutting up.
const PARALLEL_FLOPS: usize = 64_000_000;

/// `c[m, n] (=|+=) a[m, k]·B`.
///
/// # Panics
/// If the lengths of `c` and `a` are not those of m rows for one m.
pub fn matmul(c: &mut [f32], a: &[f32], b: &Packed, acc: Accumulate) {
    let (k, n) = (b.k, b.n);
    let m = c.len().checked_div(n).or(a.len().checked_div(k)).unwrap_or(0);
    assert!(
        a.len() == m * k && c.len() == m * n,
        "matmul with B [{k}, {n}]: a has {} values, c has {}; rows of both must match (hint: a = m*{k}, c = m*{n})",
        a.len(),
        c.len()
    );
    if m == 0 || n == 0 {
        return;
    }
    let level = dispatch::level();
    let add = acc == Accumulate::Add;
    if let Some(scales) = b.scales() {
        return scaled::matmul_scaled(level, c, a, b, scales, add);
    }
    let parts = parts(m, n, k);
    if pool::has_idle_threads() && b.bytes() >= PARALLEL_BYTES {
        share_columns(level, c, a, m, b, add);
    } else if parts == 1 {
        // SAFETY: dispatch only returns levels that the machine supports; c is borrowed.
        unsafe { blocks::product(level, c.as_mut_ptr(), a, m, b, 0..n, add) }
    } else if m >= parts * 2 * tile::ROWS_MAX {
        split_rows(level, c, a, b, add, m.div_ceil(parts));
    } else {
        let columns = n.div_ceil(parts).next_multiple_of(tile::PANEL);
        split_columns(level, c, a, m, b, add, columns);
    }
}

/// `c[m, n] += aᵀ·b` for `a: [t, m]` and `b: [t, n]`: the gradient of a weight,
/// dW[out, in] += dYᵀ·X.
///
/// # Panics
/// If the lengths do not fit `m`, `n` and one t.
pub fn matmul_tn(c: &mut [f32], a: &[f32], b: &[f32], m: usize, n: usize, compute: impl Into<Compute>) {
    let precision = compute.into();
    let t = a.len().checked_div(m).unwrap_or(0);
    assert!(
        c.len() == m * n && a.len() == t * m && (m == 0 || b.len() == t * n),
        "matmul_tn with m {m}, n {n}: a has {} values, b has {}, c has {} (hint: a = t*m, b = t*n, c = m*n)",
        a.len(),
        b.len(),
        c.len()
    );
    if t == 0 || m == 0 || n == 0 {
        return;
    }
    let level = dispatch::level();
    let rows_of_part = m.div_ceil(parts(m, n, t)).next_multiple_of(tile::ROWS_MAX);
    let compute = |(index, c): (usize, &mut [f32])| {
        let first = index * rows_of_part;
        if precision == Compute::Fp8 {
            return scaled::product_tn_scaled(level, c, a, b, m, n, first);
        }
        // SAFETY: dispatch only returns levels that the machine supports.
        unsafe { transposed::product_tn(level, c, a, b, m, n, first, precision.dtype()) }
    };
    if rows_of_part >= m {
        compute((0, c));
    } else {
        let chunks: Vec<_> = c.chunks_mut(rows_of_part * n).enumerate().collect();
        pool::map_lanes(chunks, compute);
    }
}

/// [`matmul`] with another B for each group of rows: the rows `offsets[e]..offsets[e + 1]` of `a`
/// and `c` use `bs[e]`. Groups may be empty.
///
/// # Panics
/// If there is not one offset more than operands, if the offsets do not rise from 0 to the number
/// of rows, or if the operands differ in shape.
pub fn grouped_matmul(c: &mut [f32], a: &[f32], bs: &[Packed], offsets: &[usize], acc: Accumulate) {
    let Some(Packed { k, n, .. }) = bs.first() else {
        assert!(c.is_empty() && a.is_empty(), "grouped_matmul of {} values of a without any B", a.len());
        return;
    };
    check_offsets(offsets, bs.len(), a.len(), *k);
    check_offsets(offsets, bs.len(), c.len(), *n);
    for (e, (b, rows)) in bs.iter().zip(groups(offsets)).enumerate() {
        assert!((b.k, b.n) == (*k, *n), "group {e} has B [{}, {}], group 0 has [{k}, {n}]", b.k, b.n);
        if !rows.is_empty() {
            matmul(&mut c[rows.start * n..rows.end * n], &a[rows.start * k..rows.end * k], b, acc);
        }
    }
}

/// [`matmul_tn`] for each group of rows: `c[e] += aᵀ·b` over the rows `offsets[e]..offsets[e + 1]`,
/// for `c: [E, m, n]`. Groups may be empty.
///
/// # Panics
/// If the offsets do not rise from 0 to the number of rows of `a` and of `b`, or `c` does not
/// have `m * n` values for each group.
pub fn grouped_matmul_tn(
    c: &mut [f32],
    a: &[f32],
    b: &[f32],
    m: usize,
    n: usize,
    offsets: &[usize],
    compute: impl Into<Compute>,
) {
    let compute = compute.into();
    let n_groups = offsets.len().saturating_sub(1);
    assert_eq!(c.len(), n_groups * m * n, "c of {n_groups} groups of [{m}, {n}]");
    check_offsets(offsets, n_groups, a.len(), m);
    check_offsets(offsets, n_groups, b.len(), n);
    for (e, rows) in groups(offsets).enumerate() {
        let c = &mut c[e * m * n..(e + 1) * m * n];
        matmul_tn(c, &a[rows.start * m..rows.end * m], &b[rows.start * n..rows.end * n], m, n, compute);
    }
}

fn groups(offsets: &[usize]) -> impl Iterator<Item = Range<usize>> {
    offsets.windows(2).map(|pair| pair[0]..pair[1])
}

#[track_caller]
fn check_offsets(offsets: &[usize], n_groups: usize, values: usize, width: usize) {
    let rows = offsets.last().copied().unwrap_or(0);
    assert!(
        offsets.len() == n_groups + 1 && offsets[0] == 0 && offsets.is_sorted() && rows * width == values,
        "offsets {offsets:?} for {n_groups} groups and {values} values in rows of {width} \
         (hint: {} offsets that rise from 0 to the number of rows)",
        n_groups + 1
    );
}

/// Into how many parts to cut a product.
fn parts(m: usize, n: usize, k: usize) -> usize {
    let flops = 2_usize.saturating_mul(m).saturating_mul(n).saturating_mul(k);
    if flops < PARALLEL_FLOPS || pool::on_worker() { 1 } else { pool::threads() }
}

fn split_rows(level: SimdLevel, c: &mut [f32], a: &[f32], b: &Packed, add: bool, rows: usize) {
    let chunks: Vec<_> = c.chunks_mut(rows * b.n).zip(a.chunks(rows * b.k)).collect();
    pool::map_lanes(chunks, |(c, a)| {
        // SAFETY: the level comes from dispatch; every lane has its own rows of c.
        unsafe { blocks::product(level, c.as_mut_ptr(), a, c.len() / b.n, b, 0..b.n, add) }
    });
}

/// Lanes write different columns of the same rows, which no safe slice can express.
struct Shared(*mut f32);

// SAFETY: the pointer is used for disjoint elements only, while C stays borrowed.
unsafe impl Sync for Shared {}

fn share_columns(level: SimdLevel, c: &mut [f32], a: &[f32], m: usize, b: &Packed, add: bool) {
    let shared = &Shared(c.as_mut_ptr());
    pool::join_parts(b.n.div_ceil(tile::PANEL), |panels| {
        let range = panels.start * tile::PANEL..b.n.min(panels.end * tile::PANEL);
        let Shared(c) = shared;
        // SAFETY: the level comes from dispatch; c has m rows of n values, and every part has its own columns, beginning at a
        // multiple of the panel.
        unsafe { blocks::product(level, *c, a, m, b, range, add) }
    });
}

fn split_columns(level: SimdLevel, c: &mut [f32], a: &[f32], m: usize, b: &Packed, add: bool, columns: usize) {
    let shared = &Shared(c.as_mut_ptr());
    pool::map_lanes(0..b.n.div_ceil(columns), |lane| {
        let range = lane * columns..b.n.min((lane + 1) * columns);
        let Shared(c) = shared;
        // SAFETY: the level comes from dispatch; c has m rows of n values, and every lane has its
        // own columns, beginning at a multiple of the panel.
        unsafe { blocks::product(level, *c, a, m, b, range, add) }
    });
}
