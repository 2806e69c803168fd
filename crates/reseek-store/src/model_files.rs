//! config.json and model.safetensors as Hugging Face lays them out: a model of ours out.

use std::collections::BTreeMap;
use std::path::Path;

use reseek_spec::{ModelSpec, TensorSpec};

use crate::StoreError;
use crate::manifest::DirWriter;
use crate::model_config::CONFIG;
use crate::safetensors_io::{self, TensorRef};
use crate::shards::WEIGHTS;

/// Writes config.json and model.safetensors into a folder that gets more files before its manifest.
pub(crate) fn write_model(
    folder: &mut DirWriter,
    spec: &ModelSpec,
    tensors: &[TensorRef<'_>],
) -> Result<(), StoreError> {
    let mut config = serde_json::to_vec_pretty(&spec.to_hf_json()).expect("a configuration is JSON");
    config.push(b'\n');
    folder.write(CONFIG, &config)?;
    folder.write_with(WEIGHTS, |file| safetensors_io::write_tensors(file, tensors))
}

/// Puts `tensors` in the specification's order and checks names and shapes.
pub(crate) fn expected_tensors<'a>(
    dir: &Path,
    spec: &ModelSpec,
    tensors: impl IntoIterator<Item = TensorRef<'a>>,
) -> Result<Vec<TensorRef<'a>>, StoreError> {
    let path = dir.join(WEIGHTS);
    let mut given: BTreeMap<&str, TensorRef<'a>> = BTreeMap::new();
    for tensor in tensors {
        if given.insert(tensor.0, tensor).is_some() {
            let name = tensor.0.to_owned();
            return Err(StoreError::DuplicateTensor { path, name });
        }
    }
    let mut listed = Vec::with_capacity(given.len());
    for expected in spec.tensors() {
        let found = given.remove(expected.name.as_str());
        check_shape(&path, &expected, found.map(|(_, shape, _)| shape))?;
        listed.extend(found);
    }
    match given.into_values().next() {
        Some((name, shape, _)) => Err(extra(&path, name, shape)),
        None => Ok(listed),
    }
}

fn check_shape(path: &Path, expected: &TensorSpec, found: Option<&[usize]>) -> Result<(), StoreError> {
    let path = path.to_path_buf();
    let name = expected.name.clone();
    match found {
        None => Err(StoreError::MissingTensor { path, name, shape: expected.shape.clone() }),
        Some(found) if found != expected.shape => {
            Err(StoreError::TensorShape { path, name, expected: expected.shape.clone(), found: found.to_vec() })
        }
        Some(_) => Ok(()),
    }
}

fn extra(path: &Path, name: &str, shape: &[usize]) -> StoreError {
    StoreError::ExtraTensor { path: path.to_path_buf(), name: name.to_owned(), shape: shape.to_vec() }
}
