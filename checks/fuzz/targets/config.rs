//! config.json: read, counted, written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseek_spec::ModelSpec;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = ModelSpec::counted_from_hf_json(text).map(|spec| spec.params());
    let Ok(spec) = ModelSpec::from_hf_json(text) else { return };
    let again = ModelSpec::from_hf_json(&spec.to_hf_json().to_string());
    assert_eq!(again.expect("what is written is read"), spec);
});
