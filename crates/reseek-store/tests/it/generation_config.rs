use std::fs;
use std::path::Path;

use reseek_store::GenerationConfig;

use crate::common::{Scratch, assert_names};

fn parse(text: &str) -> GenerationConfig {
    GenerationConfig::parse(text.as_bytes(), Path::new("generation_config.json")).unwrap()
}

#[test]
fn what_it_says_is_read_and_all_of_it_is_kept() {
    let text = r#"{
  "_from_model_config": true,
  "bos_token_id": 128000,
  "eos_token_id": [
    128001,
    128008,
    128009
  ],
  "pad_token_id": null,
  "do_sample": true,
  "temperature": 0.6,
  "top_p": 0.9,
  "top_k": 20,
  "min_p": 0,
  "repetition_penalty": 1.05,
  "transformers_version": "5.23.0"
}
"#;
    let config = parse(text);
    assert_eq!(config.eos_token_ids, [128_001, 128_008, 128_009]);
    assert_eq!((config.bos_token_id, config.pad_token_id, config.do_sample), (Some(128_000), None, Some(true)));
    assert_eq!((config.temperature, config.top_p, config.top_k), (Some(0.6), Some(0.9), Some(20)));
    assert_eq!((config.min_p, config.repetition_penalty), (Some(0.0), Some(1.05)));
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
}

#[test]
fn one_end_none_and_no_file() {
    assert_eq!(parse(r#"{"eos_token_id": 2}"#).eos_token_ids, [2]);
    assert_eq!(parse("{}"), GenerationConfig::default());
    assert_eq!(parse(r#"{"eos_token_id": null, "top_k": -1}"#).top_k, Some(0));
    let scratch = Scratch::new();
    assert_eq!(GenerationConfig::read(scratch.path()).unwrap(), None);
    fs::write(scratch.join("generation_config.json"), r#"{"eos_token_id": [1, 2]}"#).unwrap();
    assert_eq!(GenerationConfig::read(scratch.path()).unwrap().unwrap().eos_token_ids, [1, 2]);
    fs::remove_file(scratch.join("generation_config.json")).unwrap();
    fs::create_dir(scratch.join("generation_config.json")).unwrap();
    assert_names(&GenerationConfig::read(scratch.path()).unwrap_err(), &["generation_config.json", "a folder"]);
}

#[test]
fn values_that_cannot_be_are_named() {
    let many = format!(r#"{{"eos_token_id": [{}0]}}"#, "0,".repeat(1000));
    for (text, part) in [
        (r#"{"eos_token_id": -1}"#, "eos_token_id is -1"),
        (r#"{"eos_token_id": [1, "a"]}"#, "eos_token_id is [1,\"a\"]"),
        (&many, "eos_token_id is [0,0,"),
        (r#"{"bos_token_id": 4294967296}"#, "bos_token_id is 4294967296"),
        (r#"{"temperature": -0.5}"#, "temperature is -0.5"),
        (r#"{"top_p": 1.5}"#, "top_p is 1.5, and it must be a number from 0 to 1"),
        (r#"{"top_k": 0.5}"#, "top_k is 0.5"),
        (r#"{"do_sample": "yes"}"#, "do_sample is \"yes\""),
        ("[]", "expected"),
        ("", "EOF"),
    ] {
        let error = GenerationConfig::parse(text.as_bytes(), Path::new("a/generation_config.json")).unwrap_err();
        assert_names(&error, &["a/generation_config.json", part, ". "]);
    }
}
