//! A model's parameters: one flat f32 buffer in the order of [`ModelSpec::tensors`], with names on top.
//!
//! One buffer makes the optimizer, gradient sums and checkpoints simple loops. The routers' correction biases are not
//! parameters (no gradient reaches them), so they lie in a second buffer of their own.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use reseek_spec::{ModelSpec, TensorSpec};
use reseek_tensor::compute::Compute;
use reseek_tensor::random::Stream;

use crate::{ModelError, ReadError};

/// Where each named tensor lies in the flat buffers.
#[derive(Debug)]
pub struct Layout {
    tensors: Vec<(TensorSpec, Range<usize>)>,
    index: HashMap<String, usize>,
    parameters: usize,
    buffers: usize,
}

impl Layout {
    pub(crate) fn new(spec: &ModelSpec) -> Self {
        let (mut parameters, mut buffers) = (0, 0);
        let mut tensors = Vec::new();
        let mut index = HashMap::new();
        for tensor in spec.tensors() {
            let len: usize = tensor.shape.iter().product();
            let next = if tensor.is_trained() { &mut parameters } else { &mut buffers };
            let range = *next..*next + len;
            *next = range.end;
            index.insert(tensor.name.clone(), tensors.len());
            tensors.push((tensor, range));
        }
        Self { tensors, index, parameters, buffers }
    }

    /// The place of `name` in the buffer that holds it.
    ///
    /// # Panics
    /// If the specification lists no such tensor: the caller asked for a part that the model does not have.
    pub fn range(&self, name: &str) -> Range<usize> {
        match self.index.get(name) {
            Some(&i) => self.tensors[i].1.clone(),
            None => panic!("the model has no tensor {name}"),
        }
    }

    /// The shape of `name`, or nothing where the model has no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.index.get(name).map(|&i| self.tensors[i].0.shape.as_slice())
    }

    /// Tensors in file order, each with its place.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorSpec, Range<usize>)> {
        self.tensors.iter().map(|(t, r)| (t, r.clone()))
    }

    /// Values in the parameter buffer.
    pub fn parameters(&self) -> usize {
        self.parameters
    }
}

/// The parameters and buffers of one model, in f32, and the format in which it computes.
#[derive(Clone, Debug)]
pub struct Weights {
    /// What the model is.
    pub spec: Arc<ModelSpec>,
    /// Where each tensor lies.
    pub layout: Arc<Layout>,
    /// All trained values, in layout order.
    pub data: Vec<f32>,
    /// Correction biases of the routers, in layout order.
    pub buffers: Vec<f32>,
    /// The precision in which a model packed from these values multiplies; the values themselves are f32, the master copy.
    pub compute: Compute,
}

impl Weights {
    /// Fresh weights: matrices and embeddings from N(0, `initializer_range`²), gains of norms 1, biases 0 (V3 report, 4.2).
    ///
    /// Each tensor draws from its own stream, so that its values do not depend on what stands before it.
    ///
    /// # Errors
    /// If the specification is not one that this crate can compute.
    pub fn init(spec: ModelSpec, seed: u64) -> Result<Self, ModelError> {
        let mut weights = Self::zeros(spec)?;
        (0..weights.layout.tensors.len()).for_each(|i| weights.draw(i, seed));
        Ok(weights)
    }

    /// Fresh values of tensor `i`, whose place holds zeros.
    fn draw(&mut self, i: usize, seed: u64) {
        let (tensor, range) = &self.layout.tensors[i];
        if !tensor.is_trained() || tensor.name.ends_with(".bias") {
            return;
        }
        let values = &mut self.data[range.clone()];
        if tensor.shape.len() == 1 {
            values.fill(if self.spec.family.has_gains_about_one() { 0.0 } else { 1.0 });
        } else {
            let std = self.spec.initializer_range as f32;
            let mut stream = Stream::new(seed, "init", 0, i as u64);
            stream.fill_normal(values, std);
        }
    }

    /// Weights from named tensors, for example those of a file.
    ///
    /// Tensors of the MTP module and correction biases may be absent (Hugging Face files often lack them): the first are
    /// then drawn from `init`'s streams with seed 0, the second are 0.
    ///
    /// # Errors
    /// If a tensor is missing, unknown, or of another shape.
    pub fn from_tensors(
        spec: ModelSpec,
        tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    ) -> Result<Self, ModelError> {
        let mut weights = Self::zeros(spec)?;
        let mut seen = vec![false; weights.layout.tensors.len()];
        for (name, shape, values) in tensors {
            let Some(&i) = weights.layout.index.get(&name) else {
                return Err(ModelError::UnknownTensor { name });
            };
            let (tensor, range) = &weights.layout.tensors[i];
            if tensor.shape != shape || values.len() != range.len() {
                return Err(ModelError::TensorShape { name, expected: tensor.shape.clone(), found: shape });
            }
            let target = if tensor.is_trained() { &mut weights.data } else { &mut weights.buffers };
            target[range.clone()].copy_from_slice(&values);
            seen[i] = true;
        }
        for i in (0..seen.len()).filter(|&i| !seen[i]) {
            let (tensor, _) = &weights.layout.tensors[i];
            if !tensor.mtp && tensor.is_trained() {
                return Err(ModelError::MissingTensor { name: tensor.name.clone() });
            }
            weights.draw(i, 0);
        }
        Ok(weights)
    }

    /// Weights of which `read` gives every tensor, one after the other, straight into its place. What it leaves alone is 0.
    ///
    /// # Errors
    /// If the specification is not one that this crate can compute, or `read` fails.
    pub fn read(
        spec: ModelSpec,
        mut read: impl FnMut(&TensorSpec, &mut [f32]) -> Result<(), ReadError>,
    ) -> Result<Self, ModelError> {
        let mut weights = Self::zeros(spec)?;
        for (tensor, range) in &weights.layout.tensors {
            let target = if tensor.is_trained() { &mut weights.data } else { &mut weights.buffers };
            read(tensor, &mut target[range.clone()]).map_err(ModelError::Read)?;
        }
        Ok(weights)
    }

    /// The same values for a model that multiplies in `compute`.
    pub fn computing_in(mut self, compute: impl Into<Compute>) -> Self {
        self.compute = compute.into();
        self
    }

    /// The values of a tensor, parameter or buffer.
    ///
    /// # Panics
    /// If the model has no such tensor.
    pub fn get(&self, name: &str) -> &[f32] {
        let i = *self.layout.index.get(name).unwrap_or_else(|| panic!("the model has no tensor {name}"));
        let (tensor, range) = &self.layout.tensors[i];
        if tensor.is_trained() { &self.data[range.clone()] } else { &self.buffers[range.clone()] }
    }

    /// Every tensor in file order with its values.
    pub fn entries(&self) -> impl Iterator<Item = (&TensorSpec, &[f32])> {
        self.layout.tensors.iter().map(|(tensor, range)| {
            let from = if tensor.is_trained() { &self.data } else { &self.buffers };
            (tensor, &from[range.clone()])
        })
    }

    fn zeros(spec: ModelSpec) -> Result<Self, ModelError> {
        crate::check(&spec)?;
        let layout = Layout::new(&spec);
        let (data, buffers) = (vec![0.0; layout.parameters], vec![0.0; layout.buffers]);
        Ok(Self { spec: Arc::new(spec), layout: Arc::new(layout), data, buffers, compute: Compute::F32 })
    }
}
