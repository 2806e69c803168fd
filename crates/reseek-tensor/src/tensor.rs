//! A shape and its values: what passes between modules where a bare slice would lose the shape.
//! Row-major, f32, owned; no views, strides or broadcasting. Ops work on slices.

/// Row-major f32 values with their shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Sizes of the dimensions, the last one's values side by side.
    pub shape: Vec<usize>,
    /// As many values as the product of the sizes.
    pub data: Vec<f32>,
}

impl Tensor {
    /// All zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
    }

    /// # Panics
    /// If `data` does not have the product of `shape` values.
    pub fn from_vec(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} does not fit {} values", data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// Number of rows when all dimensions but the last are taken as one (1 for a scalar or vector).
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// Last dimension (1 for a scalar).
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Row `r` of [`Tensor::rows`].
    ///
    /// # Panics
    /// If `r` is out of range.
    pub fn row(&self, r: usize) -> &[f32] {
        let cols = self.cols();
        &self.data[r * cols..(r + 1) * cols]
    }

    /// The same values under another shape.
    ///
    /// # Panics
    /// If the two shapes differ in the number of values.
    #[must_use]
    pub fn reshape(self, shape: &[usize]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), self.data.len(), "cannot reshape {:?} to {shape:?}", self.shape);
        Self { shape: shape.to_vec(), data: self.data }
    }
}

#[cfg(test)]
mod tests {
    use super::Tensor;

    #[test]
    fn shapes() {
        let tensor = Tensor::from_vec(&[2, 2, 3], (0..12_u8).map(f32::from).collect());
        assert_eq!((tensor.rows(), tensor.cols()), (4, 3));
        assert_eq!(tensor.row(3), [9.0, 10.0, 11.0]);
        let reshaped = tensor.reshape(&[6, 2]);
        assert_eq!((reshaped.rows(), reshaped.cols(), reshaped.row(5)), (6, 2, &[10.0, 11.0][..]));
        assert_eq!((Tensor::zeros(&[]).data.len(), Tensor::zeros(&[0, 4]).rows()), (1, 0));
        assert_eq!(Tensor::zeros(&[5]).rows(), 1);
    }

    #[test]
    #[should_panic(expected = "cannot reshape [2, 3] to [4, 2]")]
    fn reshape_names_both_shapes() {
        let _ = Tensor::zeros(&[2, 3]).reshape(&[4, 2]);
    }
}
