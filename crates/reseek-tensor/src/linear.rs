//! A linear layer y = x·Wᵀ with W `[out, in]` as Hugging Face stores it: forward, gradient of the
//! input, gradient of the weight. Holds packed copies of W, made once an optimizer step.

use std::sync::Arc;

use crate::buffer::{Buffer, ViewMut};
use crate::compute::Compute;
use crate::dtype::Dtype;
use crate::matmul::{Accumulate, Packed, matmul, matmul_tn};
use crate::operand::Left;
use crate::quantised::{Quantised, quantised_matmul};

/// A weight matrix W `[out, in]` in the forms that products read.
///
/// A clone shares what is only read: a quantised matrix, and one that never changes.
#[derive(Clone, Debug)]
pub struct Linear(Form);

#[derive(Clone, Debug)]
enum Form {
    /// Wᵀ `[in, out]`, right operand of the forward pass, and W `[out, in]`, that of the input's gradient; the latter is absent where
    /// no gradient is wanted.
    Packed { forward: Packed, dgrad: Option<Packed> },
    /// Wᵀ of a matrix that never changes.
    Shared(Arc<Packed>),
    /// For the forward pass alone.
    Sampled(Arc<Quantised>),
}

impl Linear {
    /// Packs `w: [out, in_]`.
    ///
    /// # Panics
    /// If `w` does not have `out * in_` values.
    pub fn pack(w: &[f32], out: usize, in_: usize, compute: impl Into<Compute>) -> Self {
        let compute = compute.into();
        let forward = Packed::from_transposed(w, out, in_, compute);
        Self(Form::Packed { forward, dgrad: Some(Packed::from_rows(w, out, in_, compute)) })
    }

    /// [`Linear::pack`] for the forward pass alone, in half the memory: a reference policy, or a model to sample from.
    ///
    /// # Panics
    /// As [`Linear::pack`].
    pub fn pack_forward(w: &[f32], out: usize, in_: usize, compute: impl Into<Compute>) -> Self {
        Self(Form::Packed { forward: Packed::from_transposed(w, out, in_, compute), dgrad: None })
    }

    /// A quantised matrix, which can be sampled from and not trained.
    pub fn quantised(w: Quantised) -> Self {
        Self(Form::Sampled(Arc::new(w)))
    }

    /// [`Linear::pack_forward`] of a matrix whose values never change: its clones are the same memory.
    ///
    /// # Panics
    /// As [`Linear::pack`].
    pub fn pack_shared(w: &[f32], out: usize, in_: usize, compute: impl Into<Compute>) -> Self {
        Self(Form::Shared(Arc::new(Packed::from_transposed(w, out, in_, compute))))
    }

    /// Row i of W in f32, as products read it.
    ///
    /// # Panics
    /// If there is no such row, `values` are not [`Linear::in_features`], or W is in fp8.
    pub fn row(&self, i: usize, values: &mut [f32]) {
        match &self.0 {
            Form::Packed { forward, .. } => forward.column(i, values),
            Form::Shared(forward) => forward.column(i, values),
            Form::Sampled(w) => w.row(i, values),
        }
    }

    /// Packs new values of the same shape without allocating.
    ///
    /// # Panics
    /// If `w` does not have [`Linear::out_features`] × [`Linear::in_features`] values, or the matrix is quantised.
    pub fn repack(&mut self, w: &[f32]) {
        match &mut self.0 {
            Form::Packed { forward, dgrad } => {
                forward.repack_transposed(w);
                dgrad.iter_mut().for_each(|dgrad| dgrad.repack_rows(w));
            }
            Form::Shared(_) => panic!("a matrix that is shared does not change"),
            Form::Sampled(_) => panic!("{QUANTISED}"),
        }
    }

    /// Values of a row of x.
    pub fn in_features(&self) -> usize {
        match &self.0 {
            Form::Packed { forward, .. } => forward.k(),
            Form::Shared(forward) => forward.k(),
            Form::Sampled(w) => w.in_features(),
        }
    }

    /// Values of a row of y.
    pub fn out_features(&self) -> usize {
        match &self.0 {
            Form::Packed { forward, .. } => forward.n(),
            Form::Shared(forward) => forward.n(),
            Form::Sampled(w) => w.out_features(),
        }
    }

    /// The format in which the layer takes its input: f32 where the matrix is quantised, or rounds its input tile by tile.
    pub fn input_dtype(&self) -> Dtype {
        match &self.0 {
            Form::Packed { forward, .. } => forward.compute().operand_dtype(),
            Form::Shared(forward) => forward.compute().operand_dtype(),
            Form::Sampled(_) => Dtype::F32,
        }
    }

    /// The precision of all three products.
    ///
    /// # Panics
    /// If the matrix is quantised.
    pub fn compute(&self) -> Compute {
        self.forward_operand().compute()
    }

    /// The format in which operands meet; in fp8 that of what is not a linear layer.
    ///
    /// # Panics
    /// If the matrix is quantised.
    pub fn dtype(&self) -> Dtype {
        self.forward_operand().dtype()
    }

    #[track_caller]
    fn forward_operand(&self) -> &Packed {
        match &self.0 {
            Form::Packed { forward, .. } => forward,
            Form::Shared(forward) => forward,
            Form::Sampled(_) => panic!("{QUANTISED}"),
        }
    }

    #[track_caller]
    fn dgrad_operand(&self) -> &Packed {
        match &self.0 {
            Form::Packed { dgrad: Some(dgrad), .. } => dgrad,
            Form::Packed { dgrad: None, .. } | Form::Shared(_) => {
                panic!("a matrix that is packed for the forward pass alone has no gradient")
            }
            Form::Sampled(_) => panic!("{QUANTISED}"),
        }
    }
}

const QUANTISED: &str = "a quantised matrix has no gradient. Load the model in f32 or bf16 to train it.";

/// `y[t, out] = x[t, in]·Wᵀ`.
///
/// # Panics
/// If the lengths do not fit each other and W.
pub fn linear_forward<'m, 'a>(y: impl Into<ViewMut<'m>>, x: impl Into<Left<'a>>, w: &Linear) {
    let y = y.into().0;
    match &w.0 {
        Form::Packed { forward, .. } => matmul(y, x, forward, Accumulate::Set),
        Form::Shared(forward) => matmul(y, x, forward, Accumulate::Set),
        Form::Sampled(w) => quantised_matmul(y, &x.into().to_values(w.in_features()), w),
    }
}

/// [`linear_forward`] for each group of rows, rows `offsets[e]..offsets[e + 1]` with the matrices `ws[e]`, whose results lie side by side
/// in a row of y.
///
/// # Panics
/// If the offsets do not rise from 0 to the number of rows, or the lengths do not fit each other and the matrices.
pub fn grouped_linear_forward<'m, 'a>(
    y: impl Into<ViewMut<'m>>,
    x: impl Into<Left<'a>>,
    ws: &[Vec<Linear>],
    offsets: &[usize],
) {
    let (y, x) = (y.into().0, x.into());
    assert!(offsets.len() == ws.len() + 1, "{} offsets for {} groups", offsets.len(), ws.len());
    for (ws, rows) in ws.iter().zip(offsets.windows(2).map(|pair| pair[0]..pair[1])) {
        let width: usize = ws.iter().map(Linear::out_features).sum();
        let y = &mut y[rows.start * width..rows.end * width];
        let mut at = 0;
        for w in ws.iter().filter(|_| !rows.is_empty()) {
            let (out, x) = (w.out_features(), x.part(rows.clone(), w.in_features()));
            let mut part = Buffer::uncleared(rows.len() * out);
            linear_forward(&mut part, x, w);
            for (y, part) in y.chunks_exact_mut(width).zip(part.host().chunks_exact(out)) {
                y[at..at + out].copy_from_slice(part);
            }
            at += out;
        }
    }
}

/// `dx[t, in] (=|+=) dy[t, out]·W`.
///
/// # Panics
/// If the lengths do not fit each other and W, or W is quantised or packed for the forward pass alone.
pub fn linear_dgrad<'m, 'a>(dx: impl Into<ViewMut<'m>>, dy: impl Into<Left<'a>>, w: &Linear, acc: Accumulate) {
    let dx = dx.into().0;
    matmul(dx, dy, w.dgrad_operand(), acc);
}

/// `dw[out, in] += dyᵀ[out, t]·x[t, in]`; of `w` only the shape and the format are used.
///
/// # Panics
/// If the lengths do not fit each other and W, or W is quantised.
pub fn linear_wgrad<'a, 'b>(dw: &mut [f32], dy: impl Into<Left<'a>>, x: impl Into<Left<'b>>, w: &Linear) {
    matmul_tn(dw, dy, x, w.out_features(), w.in_features(), w.compute());
}
