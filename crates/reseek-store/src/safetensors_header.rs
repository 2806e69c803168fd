//! The header of a safetensors file: read with limits, and held against the file that it stands in.
//!
//! The form is the safetensors crate's, which reads a header first and checks it then: a list of forty million dimensions was in memory
//! before it was refused. Here each limit holds while the text is read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use safetensors::tensor::Dtype;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Most tensors of one file. DeepSeek-V3 has 92,000 in 163 files.
const TENSORS_MAX: usize = 1 << 18;
/// Most dimensions of a tensor: known models have three.
const DIMENSIONS_MAX: usize = 8;
/// Longest name of a tensor, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// What the header says of a tensor.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stored {
    pub dtype: Dtype,
    #[serde(deserialize_with = "dimensions")]
    pub shape: Vec<usize>,
    /// First byte and the one behind the last, from where the values begin.
    pub data_offsets: (u64, u64),
}

impl Stored {
    /// Bytes of its values.
    pub fn bytes(&self) -> u64 {
        self.data_offsets.1 - self.data_offsets.0
    }

    /// Values, of a tensor that [`parse`] has checked.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The tensors of a header whose values take `data_bytes`, by name.
///
/// # Errors
/// What is wrong, as a part of a sentence: no such JSON, a name given twice, more of something than there may be, a size that is not that
/// of the shape, tensors that overlap, leave bytes between them or end elsewhere than the file.
pub(crate) fn parse(json: &[u8], data_bytes: u64) -> Result<BTreeMap<String, Stored>, String> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let tensors =
        Tensors.deserialize(&mut parser).and_then(|tensors| parser.end().map(|()| tensors)).map_err(in_header)?;
    for (name, stored) in &tensors {
        check_size(name, stored)?;
    }
    check_places(&tensors, data_bytes)?;
    Ok(tensors)
}

fn in_header(error: impl fmt::Display) -> String {
    format!("the safetensors header: {error}")
}

fn check_size(name: &str, stored: &Stored) -> Result<(), String> {
    let (from, to) = stored.data_offsets;
    let values = stored.shape.iter().try_fold(1_u64, |product, &n| product.checked_mul(n as u64));
    let bits = values.and_then(|values| values.checked_mul(stored.dtype.bitsize() as u64));
    match to.checked_sub(from) {
        Some(bytes) if bits == bytes.checked_mul(8) && bits.is_some() => Ok(()),
        _ => Err(format!(
            "tensor {name} of shape {:?} in {:?} is said to take bytes {from} to {to}",
            stored.shape, stored.dtype
        )),
    }
}

/// That the tensors lie one behind the other over all of the file, as the format has it.
fn check_places(tensors: &BTreeMap<String, Stored>, data_bytes: u64) -> Result<(), String> {
    let mut by_place: Vec<(&String, (u64, u64))> = tensors.iter().map(|(name, t)| (name, t.data_offsets)).collect();
    by_place.sort_by_key(|&(_, place)| place);
    let mut end = 0;
    let mut before = None;
    for (name, (from, to)) in by_place {
        if from < end {
            let before = before.unwrap_or("");
            return Err(format!("tensors {before} and {name} overlap at byte {from}"));
        }
        if from > end {
            return Err(format!("tensor {name} begins at byte {from}, {} bytes behind the last one's end", from - end));
        }
        (end, before) = (to, Some(name.as_str()));
    }
    if end == data_bytes {
        return Ok(());
    }
    Err(format!("the header describes {end} bytes of tensors, the file has {data_bytes}"))
}

/// The header's object.
struct Tensors;

impl<'de> DeserializeSeed<'de> for Tensors {
    type Value = BTreeMap<String, Stored>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensors {
    type Value = BTreeMap<String, Stored>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name.len() > NAME_BYTES_MAX {
                return Err(A::Error::custom(format!(
                    "a name of {} bytes, at most {NAME_BYTES_MAX} are read",
                    name.len()
                )));
            }
            let stored = map.next_value().map_err(|error| A::Error::custom(format!("tensor {name}: {error}")))?;
            if tensors.len() == TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            match tensors.entry(name) {
                Entry::Vacant(place) => place.insert(stored),
                Entry::Occupied(place) => {
                    return Err(A::Error::custom(format!("tensor {} stands there twice", place.key())));
                }
            };
        }
        Ok(tensors)
    }
}

/// A shape of no more than [`DIMENSIONS_MAX`] dimensions.
fn dimensions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<usize>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of sizes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut shape = Vec::new();
            while let Some(size) = seq.next_element()? {
                if shape.len() == DIMENSIONS_MAX {
                    return Err(de::Error::custom(format!("more than {DIMENSIONS_MAX} dimensions")));
                }
                shape.push(size);
            }
            Ok(shape)
        }
    }
    from.deserialize_seq(Dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(header: &str, data_bytes: u64, part: &str) {
        let error = parse(header.as_bytes(), data_bytes).unwrap_err();
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }

    #[test]
    fn a_header_that_lies_is_refused_by_what_is_wrong() {
        let one = |name: &str, from: u64, to: u64| {
            format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#, to.saturating_sub(from))
        };
        let of = |tensors: &[String]| format!("{{{}}}", tensors.join(","));
        assert_eq!(parse(of(&[one("b", 2, 5), one("a", 0, 2)]).as_bytes(), 5).unwrap().len(), 2);
        refused(&of(&[one("a", 0, 3), one("b", 2, 5)]), 5, "tensors a and b overlap at byte 2");
        refused(&of(&[one("a", 0, 2), one("b", 3, 5)]), 5, "tensor b begins at byte 3, 1 bytes behind");
        refused(&of(&[one("a", 0, 2)]), 5, "describes 2 bytes of tensors, the file has 5");
        refused(&of(&[one("a", 0, 2), one("a", 2, 5)]), 5, "tensor a stands there twice");
        refused(&of(&[one("a", 4, 2)]), 5, "bytes 4 to 2");
        refused(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "tensor a: invalid value");
        refused(
            r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#,
            4,
            "more than 8 dimensions",
        );
        refused(&of(&[one(&"n".repeat(513), 0, 1)]), 1, "a name of 513 bytes");
        refused("{} {}", 0, "trailing");
        let many: Vec<String> = (0..=TENSORS_MAX).map(|i| one(&i.to_string(), 0, 0)).collect();
        refused(&of(&many), 0, "more than 262144 tensors");
    }

    #[test]
    fn a_list_without_end_is_left_where_the_limit_is() {
        // Ten million dimensions, and the closing bracket is never looked for.
        let long = format!(r#"{{"a":{{"dtype":"F32","shape":[{}"#, "1,".repeat(10_000_000));
        refused(&long, 4, "more than 8 dimensions");
    }
}
