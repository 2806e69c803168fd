//! Real models with their own blocks beside transformers on the dequantised weights. They are no part of the project: where they are not at
//! hand the test says so.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{reseek, succeed};

/// Nats by which a mean may differ.
const NLL: f64 = 0.005;

#[test]
fn blocks_of_real_models_give_the_likelihoods_of_their_values() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/real");
    let folder = std::env::var_os("RESEEK_REAL_MODELS");
    let mut skipped = 0;
    for fixture in fs::read_dir(fixtures).unwrap() {
        let expected: Value = serde_json::from_slice(&fs::read(fixture.unwrap().path()).unwrap()).unwrap();
        let name = expected["file"].as_str().unwrap();
        let Some(model) = folder.as_ref().map(|folder| Path::new(folder).join(name)).filter(|model| model.is_file())
        else {
            skipped += 1;
            continue;
        };
        let tokens: Vec<String> = expected["tokens"].as_array().unwrap().iter().map(Value::to_string).collect();
        let answer = succeed(reseek().arg("score").arg(&model).args(["--tokens", &tokens.join(","), "--json"]));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let logprobs: Vec<Option<f64>> = answer["logprobs"].as_array().unwrap().iter().map(Value::as_f64).collect();
        let mean = |from: usize, to: usize| {
            let part: Vec<f64> = logprobs[from..to].iter().copied().flatten().collect();
            -part.iter().sum::<f64>() / part.len() as f64
        };
        let whole = expected["nll"].as_f64().unwrap();
        println!("{name}: {:.6} nats a token, {whole:.6} by transformers", mean(0, logprobs.len()));
        assert!((mean(0, logprobs.len()) - whole).abs() < NLL, "{name}");
        for (part, span) in expected["spans"].as_object().unwrap() {
            let [from, to] = [0, 1].map(|end| span[end].as_u64().unwrap() as usize);
            let there = expected["parts"][part].as_f64().unwrap();
            assert!((mean(from, to) - there).abs() < NLL, "{name}, {part}: {} for {there}", mean(from, to));
        }
    }
    if skipped > 0 {
        eprintln!(
            "SKIPPED: {skipped} real models are not at hand. RESEEK_REAL_MODELS names a folder with them (fixtures/make_nll.py says which)."
        );
    }
}
