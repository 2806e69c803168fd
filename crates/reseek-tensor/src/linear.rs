//! A linear layer y = x·Wᵀ with W `[out, in]` as Hugging Face stores it: forward, gradient of the
//! input, gradient of the weight. Holds packed copies of W, made once an optimizer step.

use crate::dtype::Dtype;
use crate::matmul::{Accumulate, Packed, matmul, matmul_tn};

/// The two packed forms of one weight matrix W `[out, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Wᵀ `[in, out]`, right operand of the forward pass.
    pub forward: Packed,
    /// W `[out, in]`, right operand of the input's gradient.
    pub dgrad: Packed,
}

impl Linear {
    /// Packs `w: [out, in_]`.
    ///
    /// # Panics
    /// If `w` does not have `out * in_` values.
    pub fn pack(w: &[f32], out: usize, in_: usize, dtype: Dtype) -> Self {
        Self { forward: Packed::from_transposed(w, out, in_, dtype), dgrad: Packed::from_rows(w, out, in_, dtype) }
    }

    /// Packs new values of the same shape without allocating.
    ///
    /// # Panics
    /// If `w` does not have [`Linear::out_features`] × [`Linear::in_features`] values.
    pub fn repack(&mut self, w: &[f32]) {
        self.forward.repack_transposed(w);
        self.dgrad.repack_rows(w);
    }

    pub fn in_features(&self) -> usize {
        self.forward.k
    }

    pub fn out_features(&self) -> usize {
        self.forward.n
    }

    /// The format of all three products' operands.
    pub fn dtype(&self) -> Dtype {
        self.forward.dtype
    }
}

/// `y[t, out] = x[t, in]·Wᵀ`.
///
/// # Panics
/// If the lengths do not fit each other and W.
pub fn linear_forward(y: &mut [f32], x: &[f32], w: &Linear) {
    matmul(y, x, &w.forward, Accumulate::Set);
}

/// `dx[t, in] (=|+=) dy[t, out]·W`.
///
/// # Panics
/// If the lengths do not fit each other and W.
pub fn linear_dgrad(dx: &mut [f32], dy: &[f32], w: &Linear, acc: Accumulate) {
    matmul(dx, dy, &w.dgrad, acc);
}

/// `dw[out, in] += dyᵀ[out, t]·x[t, in]`; of `w` only the shape and the format are used.
///
/// # Panics
/// If the lengths do not fit each other and W.
pub fn linear_wgrad(dw: &mut [f32], dy: &[f32], x: &[f32], w: &Linear) {
    matmul_tn(dw, dy, x, w.out_features(), w.in_features(), w.dtype());
}
