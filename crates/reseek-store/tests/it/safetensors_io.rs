use std::fs;
use std::path::Path;

use reseek_store::safetensors_io::{TensorFile, TensorRef, write_tensors};
use reseek_store::{AtomicFile, StoreError};

use crate::common::{Scratch, SplitMix, assert_names, values};

fn write(path: &Path, tensors: &[TensorRef<'_>]) {
    let mut file = AtomicFile::create(path).unwrap();
    write_tensors(&mut file, tensors).unwrap();
    file.commit().unwrap();
}

/// A file with the given header and data.
fn raw(path: &Path, header: &str, data: &[u8]) {
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let scratch = Scratch::new();
    let path = scratch.join("w.safetensors");
    write(&path, &[("b", &[2, 1], &[1.0, -2.0]), ("a", &[1], &[0.5]), ("none", &[0, 3], &[])]);
    let header = concat!(
        r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"#,
        r#""a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"#,
        r#""none":{"dtype":"F32","shape":[0,3],"data_offsets":[12,12]}}"#,
    );
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    let data: Vec<u8> = [1.0f32, -2.0, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let expected = [&(padded.len() as u64).to_le_bytes()[..], padded.as_bytes(), &data].concat();
    assert_eq!(fs::read(&path).unwrap(), expected);
    // The crate that defines the format agrees.
    let bytes = fs::read(&path).unwrap();
    let parsed = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(parsed.tensor("b").unwrap().shape(), [2, 1]);
}

#[test]
fn values_come_back_with_their_bits_across_chunks() {
    let scratch = Scratch::new();
    let path = scratch.join("w.safetensors");
    let mut random = SplitMix(3);
    let bits: Vec<u32> = (0..150_001).map(|_| random.next() as u32).collect();
    let large: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
    write(&path, &[("small", &[3], &values(3, 1)), ("large", &[150_001], &large)]);
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.names(), ["small", "large"]);
    assert_eq!(file.shape("large"), Some(&[150_001][..]));
    let back: Vec<u32> = file.read_f32("large").unwrap().iter().map(|v| v.to_bits()).collect();
    assert!(back == bits);
    assert_eq!(file.read_f32("small").unwrap(), values(3, 1));
    assert!(matches!(file.read_f32("other"), Err(StoreError::MissingTensor { .. })));
}

#[test]
fn half_formats_become_the_f32_that_they_mean() {
    let scratch = Scratch::new();
    let path = scratch.join("w.safetensors");
    // 1.0, -2.0, the smallest subnormal, infinity; from the formats' definitions (sign, 8 or 5 exponent bits,
    // fraction).
    let bf16: [u16; 4] = [0x3f80, 0xc000, 0x0001, 0x7f80];
    let f16: [u16; 4] = [0x3c00, 0xc000, 0x0001, 0x7c00];
    let data: Vec<u8> = bf16.iter().chain(&f16).flat_map(|v| v.to_le_bytes()).collect();
    let header = concat!(
        r#"{"b":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},"#,
        r#""h":{"dtype":"F16","shape":[2,2],"data_offsets":[8,16]}}"#,
    );
    raw(&path, header, &data);
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.read_f32("b").unwrap(), [1.0, -2.0, 2f32.powi(-133), f32::INFINITY]);
    assert_eq!(file.read_f32("h").unwrap(), [1.0, -2.0, 2f32.powi(-24), f32::INFINITY]);
}

#[test]
fn other_number_formats_are_named() {
    let scratch = Scratch::new();
    let path = scratch.join("w.safetensors");
    raw(&path, r#"{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#, &[0, 0]);
    let error = TensorFile::open(&path).unwrap().read_f32("w").unwrap_err();
    assert_names(&error, &["w.safetensors", "tensor w", "F8_E4M3", "F32, BF16 and F16", "Convert"]);
}

#[test]
fn hostile_headers_are_errors() {
    let scratch = Scratch::new();
    let path = scratch.join("w.safetensors");
    let max = u64::MAX;
    let headers = [
        String::new(),
        "[]".into(),
        "{".repeat(5000),
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(),
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#.into(),
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#.into(),
        r#"{"w":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#.into(),
        r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#.into(),
        format!(r#"{{"w":{{"dtype":"F32","shape":[{max},{max}],"data_offsets":[0,4]}}}}"#),
        format!(r#"{{"w":{{"dtype":"U8","shape":[{max}],"data_offsets":[0,{max}]}}}}"#),
        format!(r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#, 1u64 << 40, 1u64 << 42),
    ];
    for header in headers {
        raw(&path, &header, &[0; 4]);
        assert_names(&TensorFile::open(&path).unwrap_err(), &["w.safetensors", "The file is cut short"]);
    }
    for bytes in [&b""[..], b"1234567", &[0xff; 8], &[0xff; 64]] {
        fs::write(&path, bytes).unwrap();
        assert_names(&TensorFile::open(&path).unwrap_err(), &["w.safetensors", ". "]);
    }
}

#[test]
fn a_cut_or_altered_file_is_an_error_or_other_values_but_never_a_panic() {
    let scratch = Scratch::new();
    let path = scratch.join("w.safetensors");
    write(&path, &[("a", &[4, 2], &values(8, 1)), ("b", &[3], &values(3, 2))]);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(TensorFile::open(&path).is_err(), "{length} of {} bytes", whole.len());
    }
    let mut random = SplitMix(4);
    for _ in 0..500 {
        let mut other = whole.clone();
        other[random.below(whole.len())] = random.next() as u8;
        fs::write(&path, &other).unwrap();
        if let Ok(file) = TensorFile::open(&path) {
            for name in file.names() {
                let _ = file.read_f32(&name);
            }
        }
    }
}

#[test]
#[should_panic(expected = "tensor w of shape [2, 2] came with 3 values")]
fn a_shape_must_fit_its_values() {
    let scratch = Scratch::new();
    write(&scratch.join("w"), &[("w", &[2, 2], &[0.0; 3])]);
}
