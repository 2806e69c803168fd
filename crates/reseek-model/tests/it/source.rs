//! Models whose tensors come one by one, from a source that may fail, or that holds matrices quantised.

use std::borrow::Cow;

use reseek_model::{Model, ModelError, ReadError, Rows, Tensors, Weights};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::quantised::Quantised;

use crate::decode::same_bits;
use crate::fixture::{CASES, Fixture};

/// Weights of which one tensor cannot be read, or is cut short.
struct Broken<'a> {
    weights: &'a Weights,
    name: &'a str,
    is_short: bool,
}

impl Tensors for Broken<'_> {
    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, ReadError> {
        let values = self.weights.get(name);
        match (name == self.name, self.is_short) {
            (false, _) => Ok(Cow::Borrowed(values)),
            (true, true) => Ok(Cow::Borrowed(&values[1..])),
            (true, false) => Err(format!("{name} is on a disk that is gone").into()),
        }
    }

    fn quantised(&self, _name: &str) -> Result<Option<Quantised>, ReadError> {
        Ok(None)
    }
}

#[test]
fn a_model_from_a_source_has_the_bits_of_one_from_weights() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let rows = Rows::new(&fixture.tokens(), &fixture.segments());
        // A table whose values are all of the format that is computed in is the head's memory too.
        let mut exact = fixture.weights.clone();
        exact.data.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
        for (weights, dtype) in [(&fixture.weights, Dtype::F32), (&fixture.weights, Dtype::Bf16), (&exact, Dtype::Bf16)]
        {
            let weights = weights.clone().computing_in(dtype);
            let opened = Model::open((*weights.spec).clone(), &weights, dtype).expect("weights in memory");
            let expected = Model::forward_only(&weights);
            assert!(same_bits(opened.hidden(&rows).host(), expected.hidden(&rows).host()), "{case}");
        }
        let (spec, weights) = ((*fixture.weights.spec).clone(), &fixture.weights);
        let read = Weights::read(spec, |tensor, values| {
            values.copy_from_slice(weights.get(&tensor.name));
            Ok(())
        });
        let read = read.expect("every tensor is there");
        assert!(same_bits(&read.data, &weights.data) && same_bits(&read.buffers, &weights.buffers), "{case}");
    }
}

#[test]
fn a_tensor_that_cannot_be_read_is_named() {
    for case in ["v3", "qwen2"] {
        let fixture = Fixture::load(case);
        let spec = &fixture.weights.spec;
        for tensor in spec.tensors() {
            let of = |is_short| {
                let source = Broken { weights: &fixture.weights, name: &tensor.name, is_short };
                Model::open((**spec).clone(), &source, Dtype::F32).map(|_| ()).expect_err("a broken tensor")
            };
            let (gone, short) = (of(false), of(true));
            assert!(matches!(gone, ModelError::Read(_)) && gone.to_string().contains(&tensor.name), "{gone}");
            assert!(matches!(short, ModelError::TensorShape { ref name, .. } if *name == tensor.name), "{short}");
        }
    }
}
