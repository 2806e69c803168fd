//! A folder with an index and a shard: the first two bytes say how long the index is; without one the rest is model.safetensors.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use reseek_store::ModelSource;

const CONFIG: &str = include_str!("../../../crates/reseek-model/tests/fixtures/llama/config.json");

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let folder = std::env::temp_dir().join(format!("reseek-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a place for the folder");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("room for the files");
    write("config.json", CONFIG.as_bytes());
    match usize::from(u16::from_le_bytes(*length)).min(rest.len()) {
        0 => write("model.safetensors", rest),
        length => {
            write("model.safetensors.index.json", &rest[..length]);
            write("model-00001-of-00001.safetensors", &rest[length..]);
        }
    }
    if let Ok(model) = ModelSource::open(&folder) {
        for tensor in model.spec().tensors() {
            let _ = model.values(&tensor.name);
        }
    }
});
