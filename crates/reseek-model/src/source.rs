//! Where a model's parts take their tensors from: weights in memory, or files, of which one tensor is read at a time.

use std::borrow::Cow;
use std::error::Error;

use reseek_spec::ModelSpec;
use reseek_tensor::compute::Compute;
use reseek_tensor::linear::Linear;
use reseek_tensor::quantised::Quantised;

use crate::weights::Layout;
use crate::{ModelError, Weights};

/// Why a tensor could not be read.
pub type ReadError = Box<dyn Error + Send + Sync>;

/// The tensors of a model, by their Hugging Face names.
pub trait Tensors {
    /// The values of a tensor of [`ModelSpec::tensors`], in row-major order.
    ///
    /// # Errors
    /// If it cannot be read.
    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, ReadError>;

    /// The matrix `name` as it is quantised, where a model shall multiply with it so; nothing where it shall take the values.
    ///
    /// # Errors
    /// If it cannot be read.
    fn quantised(&self, name: &str) -> Result<Option<Quantised>, ReadError>;
}

impl Tensors for Weights {
    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, ReadError> {
        Ok(Cow::Borrowed(self.get(name)))
    }

    fn quantised(&self, _name: &str) -> Result<Option<Quantised>, ReadError> {
        Ok(None)
    }
}

/// Tensors on their way into a model's parts, which pack them.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub spec: &'a ModelSpec,
    pub layout: &'a Layout,
    pub tensors: &'a dyn Tensors,
    pub compute: Compute,
    pub how: Use,
}

/// What a model is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Passes forward and backward.
    Trained,
    /// Passes forward with weights that are packed anew when they have changed.
    Followed,
    /// Passes forward with weights that never change.
    Fixed,
}

impl<'a> Source<'a> {
    /// The values of `name`.
    ///
    /// # Errors
    /// If they cannot be read, or are not as many as the tensor's shape asks for.
    pub fn get(&self, name: &str) -> Result<Cow<'a, [f32]>, ModelError> {
        let values = self.tensors.values(name).map_err(ModelError::Read)?;
        let shape = self.layout.shape(name).unwrap_or_default();
        if values.len() != shape.iter().product::<usize>() {
            let (name, expected, found) = (name.to_string(), shape.to_vec(), vec![values.len()]);
            return Err(ModelError::TensorShape { name, expected, found });
        }
        Ok(values)
    }

    /// The matrix `name` as products read it, in `compute` unless it is quantised.
    ///
    /// # Errors
    /// As [`Source::get`].
    pub fn linear(&self, name: &str, compute: Compute) -> Result<Linear, ModelError> {
        match self.quantised(name)? {
            Some(quantised) => Ok(Linear::quantised(quantised)),
            None => self.dense(name, compute),
        }
    }

    /// [`Source::linear`] of a matrix whose values are needed beside it: never quantised.
    ///
    /// # Errors
    /// As [`Source::get`].
    pub fn dense(&self, name: &str, compute: Compute) -> Result<Linear, ModelError> {
        let (out, in_) = self.matrix(name);
        Ok(self.pack(&self.get(name)?, out, in_, compute))
    }

    /// The matrix `name` as it is quantised, if it is.
    ///
    /// # Errors
    /// As [`Source::get`].
    pub fn quantised(&self, name: &str) -> Result<Option<Quantised>, ModelError> {
        let Some(quantised) = self.tensors.quantised(name).map_err(ModelError::Read)? else { return Ok(None) };
        let (expected, found) = (self.matrix(name), (quantised.out_features(), quantised.in_features()));
        if expected != found {
            let [expected, found] = [expected, found].map(|(out, in_)| vec![out, in_]);
            return Err(ModelError::TensorShape { name: name.to_string(), expected, found });
        }
        Ok(Some(quantised))
    }

    /// The embedding as the matrix that its products multiply with, so that it need not be there a second time: where it is quantised, and
    /// where it is the head as well and that has every value as it is.
    ///
    /// # Errors
    /// As [`Source::get`].
    pub fn shared(&self, embedding: &str) -> Result<Option<Linear>, ModelError> {
        if let Some(quantised) = self.quantised(embedding)? {
            return Ok(Some(Linear::quantised(quantised)));
        }
        if self.how != Use::Fixed || !self.spec.tie_word_embeddings {
            return Ok(None);
        }
        let (values, dtype) = (self.get(embedding)?, self.compute.dtype());
        let (out, in_) = self.matrix(embedding);
        Ok(dtype.holds(&values).then(|| Linear::pack_shared(&values, out, in_, dtype)))
    }

    /// Outputs and inputs of the matrix `name`.
    pub fn matrix(&self, name: &str) -> (usize, usize) {
        match self.layout.shape(name) {
            Some(&[out, in_]) => (out, in_),
            other => panic!("the model has no matrix {name}, its shape is {other:?}"),
        }
    }

    /// Packs `w: [out, in_]` for the passes that there will be.
    pub fn pack(&self, w: &[f32], out: usize, in_: usize, compute: Compute) -> Linear {
        let pack = if self.how == Use::Trained { Linear::pack } else { Linear::pack_forward };
        pack(w, out, in_, compute)
    }
}
