//! The small matrix product that all of attention is made of: operands that lie in the first
//! cache, any strides on the left, whole vectors on the right.

use super::ROW_BLOCK;
use crate::matmul::Accumulate;
use crate::simd::{LANES, Lanes, multiversion};

/// Left operand `a[i, t] = values[i * row_stride + t * t_stride]`.
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
}

impl<'a> Output<'a> {
    pub(super) fn new(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride }
    }
}

/// `c[m, n] (=|+=) Σ_t a[m, t]·b[t, n]`, in row i over t in `0..steps[i]`, for `n` columns and
/// `m` up to [`ROW_BLOCK`] rows; `steps` must not fall. Every value is one chain of multiply-adds
/// in increasing t, which starts at 0 or at c, whatever the other rows and columns are.
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
    n: usize,
    accumulate: Accumulate,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(m <= ROW_BLOCK, "{m} rows: expected {ROW_BLOCK} at most");
    assert!(n.is_multiple_of(LANES), "{n} columns: expected a multiple of {LANES}");
    assert!((m - 1) * c.stride + n <= c.values.len(), "result is too short for {m} x {n}");
    let last = steps[m - 1];
    assert!(steps[..m].is_sorted(), "steps fall: {steps:?}");
    if last > 0 {
        let last_a = (m - 1) * a.row_stride + (last - 1) * a.t_stride;
        assert!(last_a < a.values.len(), "left operand is too short for {m} x {last}");
        let end_b = (last - 1) * b.stride + n;
        assert!(end_b <= b.values.len(), "right operand is too short for {last} x {n}");
    }
    product(c, a, b, m, steps, n, accumulate);
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

/// Cuts the result into blocks that fit the registers: 8 rows by up to 3 vectors, or 4 by 1.
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
    let mut column = 0;
    while column < n {
        let vectors = match (V::MANY_REGISTERS, (n - column) / LANES) {
            (false, _) | (true, 1) => 1,
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
                1 => block.all_rows::<V, 1>(m),
                2 => block.all_rows::<V, 2>(m),
                _ => block.all_rows::<V, 3>(m),
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
    unsafe fn all_rows<V: Lanes, const N: usize>(self, m: usize) {
        let mut row = 0;
        // SAFETY: no block goes past row m.
        unsafe {
            if V::MANY_REGISTERS && m == 8 {
                return self.rows::<V, 8, N>(0);
            }
            while m - row >= 4 {
                self.rows::<V, 4, N>(row);
                row += 4;
            }
            if m - row >= 2 {
                self.rows::<V, 2, N>(row);
                row += 2;
            }
            if m > row {
                self.rows::<V, 1, N>(row);
            }
        }
    }

    /// Rows `first..first + M`.
    ///
    /// # Safety
    /// These rows of `a` and `c`, and `N` vectors of `b` and `c`, are in bounds.
    #[inline(always)]
    unsafe fn rows<V: Lanes, const M: usize, const N: usize>(&self, first: usize) {
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
            for _ in 0..steps[0] {
                self.step::<V, M, N>(&mut sums, a, b, |_| true);
                a = a.wrapping_add(self.a_step);
                b = b.wrapping_add(self.b_step);
            }
            for t in steps[0]..steps[M - 1] {
                self.step::<V, M, N>(&mut sums, a, b, |i| t < steps[i]);
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

    /// One term of the sums of the rows that `takes` it.
    ///
    /// # Safety
    /// `M` rows from `a` and `N` vectors from `b` are readable.
    #[inline(always)]
    unsafe fn step<V: Lanes, const M: usize, const N: usize>(
        &self,
        sums: &mut [[V; N]; M],
        a: *const f32,
        b: *const f32,
        takes: impl Fn(usize) -> bool,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut row = [V::splat(0.0); N];
            for (j, vector) in row.iter_mut().enumerate() {
                *vector = V::load_from(b.add(j * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                if takes(i) {
                    let factor = V::splat(*a.add(i * self.a_stride));
                    for (sum, vector) in sums.iter_mut().zip(row) {
                        *sum = factor.mul_add(vector, *sum);
                    }
                }
            }
        }
    }
}
