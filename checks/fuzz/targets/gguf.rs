//! A GGUF file: header, then every tensor's values and blocks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseek_store::ModelSource;

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("reseek-fuzz-{}.gguf", std::process::id()));
    std::fs::write(&path, data).expect("a place for the file");
    if let Ok(model) = ModelSource::open(&path) {
        for tensor in model.spec().tensors() {
            let values: usize = tensor.shape.iter().product();
            if let Ok(read) = model.values(&tensor.name) {
                assert_eq!(read.len(), values, "{}", tensor.name);
            }
            let _ = model.blocks(&tensor.name);
        }
    }
});
