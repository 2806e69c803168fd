//! The small matrix product that all of attention is made of: operands that lie in the first
//! cache, any strides on the left, whole vectors on the right.
//!
//! In bf16 both operands hold pairs of neighbours along t, and strides along t count pairs. Where a row ends inside of a pair, the odd
//! half meets nothing: it may belong to a key that the row must not see.

use super::ROW_BLOCK;
#[cfg(target_arch = "x86_64")]
use crate::dispatch::{SimdLevel, level};
use crate::dtype::Dtype;
use crate::matmul::Accumulate;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::{LANES, Lanes, multiversion};

/// Left operand `a[i, t] = values[i * row_stride + t * t_stride]`; with bf16, t counts pairs.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    values: &'a [f32],
    row_stride: usize,
    t_stride: usize,
}

impl<'a> Left<'a> {
    /// Row i of the product reads row i of `values`, rows `stride` apart.
    pub(super) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row_stride: stride, t_stride: 1 }
    }

    /// Row i of the product reads column i of `values`, rows `stride` apart.
    pub(super) fn columns(values: &'a [f32], stride: usize) -> Self {
        Self { values, row_stride: 1, t_stride: stride }
    }
}

/// Right operand `b[t, j] = values[t * stride + j]`.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    values: &'a [f32],
    stride: usize,
}

impl<'a> Right<'a> {
    pub(super) fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride }
    }
}

/// Result `c[i, j] = values[i * stride + j]`.
pub(super) struct Output<'a> {
    values: &'a mut [f32],
    stride: usize,
    columns: usize,
}

impl<'a> Output<'a> {
    /// `columns` values from the start of each row on, rows `stride` values apart.
    pub(super) fn new(values: &'a mut [f32], stride: usize, columns: usize) -> Self {
        Self { values, stride, columns }
    }
}

/// `c[m, n] (=|+=) Σ_t a[m, t]·b[t, n]`, in row i over t in `0..steps[i]`, for the n columns of `c` and
/// `m` up to [`ROW_BLOCK`] rows; `steps` must not fall. Every value is one chain of multiply-adds
/// in increasing t, which starts at 0 or at c, whatever the other rows and columns are; in bf16 the
/// odd value of a pair comes first.
///
/// # Panics
/// If `n` is no multiple of 16, if there are too many rows, or if an operand is shorter than the
/// sizes and strides ask for.
pub(super) fn tile_matmul(
    c: Output,
    a: Left,
    b: Right,
    m: usize,
    steps: &[usize; ROW_BLOCK],
    accumulate: Accumulate,
    dtype: Dtype,
) {
    let n = c.columns;
    if m == 0 || n == 0 {
        return;
    }
    assert!(m <= ROW_BLOCK, "{m} rows, at most {ROW_BLOCK} fit");
    assert!(n.is_multiple_of(LANES), "{n} columns are no multiple of {LANES}");
    assert!((m - 1) * c.stride + n <= c.values.len(), "result is too short for {m} x {n}");
    let last = steps[m - 1];
    assert!(steps[..m].is_sorted(), "steps fall: {steps:?}");
    if last > 0 {
        let last = dtype.steps(last);
        let last_a = (m - 1) * a.row_stride + (last - 1) * a.t_stride;
        assert!(last_a < a.values.len(), "left operand is too short for {m} x {last}");
        let end_b = (last - 1) * b.stride + n;
        assert!(end_b <= b.values.len(), "right operand is too short for {last} x {n}");
    }
    match dtype {
        Dtype::F32 => product(c, a, b, m, steps, n, accumulate),
        #[cfg(target_arch = "x86_64")]
        Dtype::Bf16 if level() == SimdLevel::Avx512 && dtype.is_native() => {
            // SAFETY: the machine has the instructions.
            unsafe { pairs_native(c, a, b, m, steps, n, accumulate) }
        }
        Dtype::Bf16 => pairs(c, a, b, m, steps, n, accumulate),
    }
}

/// How a step of a chain multiplies and adds.
trait Step<V: Lanes> {
    /// Values of t in a step.
    const VALUES: usize;

    /// a·b + sum.
    ///
    /// # Safety
    /// Inlined into a function that has the instructions enabled.
    unsafe fn all(a: V, b: V, sum: V) -> V;

    /// The same with the even values alone.
    ///
    /// # Safety
    /// As [`Step::all`].
    #[inline(always)]
    unsafe fn half(a: V, b: V, sum: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { Self::all(a.pair_without_odd(), b.pair_without_odd(), sum) }
    }
}

struct Values;

impl<V: Lanes> Step<V> for Values {
    const VALUES: usize = 1;

    #[inline(always)]
    unsafe fn all(a: V, b: V, sum: V) -> V {
        a.mul_add(b, sum)
    }
}

/// Pairs of bf16, widened.
struct Pairs;

impl<V: Lanes> Step<V> for Pairs {
    const VALUES: usize = 2;

    #[inline(always)]
    unsafe fn all(a: V, b: V, sum: V) -> V {
        a.even_of_pair().mul_add(b.even_of_pair(), a.odd_of_pair().mul_add(b.odd_of_pair(), sum))
    }
}

/// Pairs of bf16 with AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
struct NativePairs;

#[cfg(target_arch = "x86_64")]
impl Step<Avx512> for NativePairs {
    const VALUES: usize = 2;

    #[inline(always)]
    unsafe fn all(a: Avx512, b: Avx512, sum: Avx512) -> Avx512 {
        // SAFETY: the caller's promise.
        unsafe { a.dot_pairs(b, sum) }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
fn pairs_native(
    c: Output<'_>,
    a: Left<'_>,
    b: Right<'_>,
    m: usize,
    steps: &[usize; ROW_BLOCK],
    n: usize,
    accumulate: Accumulate,
) {
    columns::<Avx512, NativePairs>(c, a, b, m, steps, n, accumulate);
}

multiversion! {
    fn pairs(
        c: Output<'_>,
        a: Left<'_>,
        b: Right<'_>,
        m: usize,
        steps: &[usize; ROW_BLOCK],
        n: usize,
        accumulate: Accumulate,
    ) = pairs_body
}

multiversion! {
    fn product(
        c: Output<'_>,
        a: Left<'_>,
        b: Right<'_>,
        m: usize,
        steps: &[usize; ROW_BLOCK],
        n: usize,
        accumulate: Accumulate,
    ) = product_body
}

#[inline(always)]
fn product_body<V: Lanes>(
    c: Output,
    a: Left,
    b: Right,
    m: usize,
    steps: &[usize; ROW_BLOCK],
    n: usize,
    accumulate: Accumulate,
) {
    columns::<V, Values>(c, a, b, m, steps, n, accumulate);
}

#[inline(always)]
fn pairs_body<V: Lanes>(
    c: Output,
    a: Left,
    b: Right,
    m: usize,
    steps: &[usize; ROW_BLOCK],
    n: usize,
    accumulate: Accumulate,
) {
    columns::<V, Pairs>(c, a, b, m, steps, n, accumulate);
}

/// Cuts the result into blocks that fit the registers: 8 rows by up to 3 vectors, or 4 by 1. One or two rows take 4 vectors, as fewer chains do
/// not hide the latency of a multiply-add.
#[inline(always)]
fn columns<V: Lanes, S: Step<V>>(
    c: Output,
    a: Left,
    b: Right,
    m: usize,
    steps: &[usize; ROW_BLOCK],
    n: usize,
    accumulate: Accumulate,
) {
    let mut column = 0;
    while column < n {
        let vectors = match (V::MANY_REGISTERS, (n - column) / LANES) {
            (false, _) | (true, 1) => 1,
            (true, 4..) if m <= 2 => 4,
            (true, 2 | 4) => 2,
            (true, _) => 3,
        };
        let block = Block {
            c: c.values[column..].as_mut_ptr(),
            c_stride: c.stride,
            a: a.values.as_ptr(),
            a_stride: a.row_stride,
            a_step: a.t_stride,
            b: b.values.as_ptr().wrapping_add(column),
            b_step: b.stride,
            steps,
            add: accumulate == Accumulate::Add,
        };
        // SAFETY: `tile_matmul` has checked that rows 0..m, columns 0..n and as many steps as the
        // last row takes, which are the most, lie in the operands; `column + vectors * LANES <= n`.
        unsafe {
            match vectors {
                1 => block.all_rows::<V, S, 1>(m),
                2 => block.all_rows::<V, S, 2>(m),
                3 => block.all_rows::<V, S, 3>(m),
                _ => block.few_rows::<V, S, 4>(m),
            }
        }
        column += vectors * LANES;
    }
}

/// Columns of the product as addresses.
#[derive(Clone, Copy)]
struct Block<'a> {
    c: *mut f32,
    c_stride: usize,
    a: *const f32,
    a_stride: usize,
    a_step: usize,
    b: *const f32,
    b_step: usize,
    steps: &'a [usize; ROW_BLOCK],
    add: bool,
}

impl Block<'_> {
    /// # Safety
    /// Rows `0..m` of `a` and `c`, and `N` vectors of `b` and `c`, are in bounds.
    #[inline(always)]
    unsafe fn all_rows<V: Lanes, S: Step<V>, const N: usize>(self, m: usize) {
        let mut row = 0;
        // SAFETY: no block goes past row m.
        unsafe {
            if V::MANY_REGISTERS && m == 8 {
                return self.rows::<V, S, 8, N>(0);
            }
            while m - row >= 4 {
                self.rows::<V, S, 4, N>(row);
                row += 4;
            }
            if m - row >= 2 {
                self.rows::<V, S, 2, N>(row);
                row += 2;
            }
            if m > row {
                self.rows::<V, S, 1, N>(row);
            }
        }
    }

    /// One or two rows.
    ///
    /// # Safety
    /// As [`Block::all_rows`].
    #[inline(always)]
    unsafe fn few_rows<V: Lanes, S: Step<V>, const N: usize>(self, m: usize) {
        // SAFETY: the caller's promise.
        unsafe { if m == 2 { self.rows::<V, S, 2, N>(0) } else { self.rows::<V, S, 1, N>(0) } }
    }

    /// Rows `first..first + M`.
    ///
    /// # Safety
    /// These rows of `a` and `c`, and `N` vectors of `b` and `c`, are in bounds.
    #[inline(always)]
    unsafe fn rows<V: Lanes, S: Step<V>, const M: usize, const N: usize>(&self, first: usize) {
        let steps = &self.steps[first..first + M];
        let mut sums = [[V::splat(0.0); N]; M];
        // SAFETY: the caller's promise. `b` may point past its end only where there are no steps.
        unsafe {
            let c = self.c.add(first * self.c_stride);
            if self.add {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = V::load_from(c.add(i * self.c_stride + j * LANES));
                    }
                }
            }
            let (mut a, mut b) = (self.a.wrapping_add(first * self.a_stride), self.b);
            for _ in 0..steps[0] / S::VALUES {
                self.step::<V, S, M, N>(&mut sums, a, b, |_| S::VALUES);
                a = a.wrapping_add(self.a_step);
                b = b.wrapping_add(self.b_step);
            }
            for t in steps[0] / S::VALUES..steps[M - 1].div_ceil(S::VALUES) {
                self.step::<V, S, M, N>(&mut sums, a, b, |i| steps[i].saturating_sub(t * S::VALUES));
                a = a.wrapping_add(self.a_step);
                b = b.wrapping_add(self.b_step);
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    sum.store_to(c.add(i * self.c_stride + j * LANES));
                }
            }
        }
    }

    /// One step of the chains, of which row i takes the first `left(i)` values.
    ///
    /// # Safety
    /// `M` rows from `a` and `N` vectors from `b` are readable.
    #[inline(always)]
    unsafe fn step<V: Lanes, S: Step<V>, const M: usize, const N: usize>(
        &self,
        sums: &mut [[V; N]; M],
        a: *const f32,
        b: *const f32,
        left: impl Fn(usize) -> usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut row = [V::splat(0.0); N];
            for (j, vector) in row.iter_mut().enumerate() {
                *vector = V::load_from(b.add(j * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = left(i);
                if left > 0 {
                    let factor = V::splat(*a.add(i * self.a_stride));
                    for (sum, vector) in sums.iter_mut().zip(row) {
                        *sum = if left >= S::VALUES {
                            S::all(factor, vector, *sum)
                        } else {
                            S::half(factor, vector, *sum)
                        };
                    }
                }
            }
        }
    }
}
