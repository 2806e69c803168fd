//! Configurations that somebody has altered: refused at once, or read as what they then say.

use reseek_spec::{Family, ModelSpec};
use serde_json::{Value, json};

use crate::drawn::{Draw, drawn};

/// Some value of any kind, most often one that means something somewhere.
fn any_value(draw: &mut Draw, depth: usize) -> Value {
    const TEXTS: [&str; 12] = [
        "silu",
        "gelu_pytorch_tanh",
        "yarn",
        "linear",
        "default",
        "llama3",
        "greedy",
        "group_limited_greedy",
        "full_attention",
        "sliding_attention",
        "fp8",
        "",
    ];
    match draw.below(9) {
        0 => Value::Null,
        1 => json!(draw.flag()),
        2 => json!(draw.below(9)),
        3 => json!(1u64 << draw.below(40)),
        4 => json!((draw.below(1 << 30) as f64).exp2().min(1e300) / 3.0),
        5 => json!(draw.below(1 << 30) as f64 / 7e8),
        6 => json!(TEXTS[draw.below(TEXTS.len())]),
        7 if depth > 0 => (0..draw.below(9)).map(|_| any_value(draw, depth - 1)).collect(),
        _ => json!(-1.0 / (1 + draw.below(1000)) as f64),
    }
}

#[test]
fn altered_configurations_are_refused_or_written_as_they_are_read() {
    let mut draw = Draw(7);
    let mut read = 0;
    for family in Family::ALL {
        for seed in 0..1500 {
            let mut config = drawn(family, seed % 40).to_hf_json();
            for _ in 0..=draw.below(3) {
                let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
                let key = &keys[draw.below(keys.len())];
                if draw.below(4) == 0 {
                    config.as_object_mut().unwrap().shift_remove(key);
                    continue;
                }
                let target = match &mut config[key.as_str()] {
                    Value::Object(inner) if draw.flag() => {
                        let keys: Vec<String> = inner.keys().cloned().collect();
                        &mut inner[keys[draw.below(keys.len())].as_str()]
                    }
                    target => target,
                };
                *target = any_value(&mut draw, 2);
            }
            let text = config.to_string();
            let _ = ModelSpec::counted_from_hf_json(&text).map(|spec| spec.params());
            let Ok(spec) = ModelSpec::from_hf_json(&text) else { continue };
            let again = spec.to_hf_json().to_string();
            assert_eq!(ModelSpec::from_hf_json(&again).unwrap_or_else(|error| panic!("{error} {text} {again}")), spec);
            read += 1;
        }
    }
    assert!(read > 2000, "{read} of the altered configurations are read");
}

#[test]
fn hostile_configurations_are_answered_at_once() {
    let base = drawn(Family::Smollm3, 3).to_hf_json();
    let mut cases: Vec<String> = Vec::new();
    for (key, value) in base.as_object().unwrap() {
        for wrong in [json!(0), json!(-1), json!(0.5), json!(1e300), json!(u64::MAX), json!("x"), json!([]), json!({})]
        {
            let mut config = base.clone();
            config[key] = wrong;
            cases.push(config.to_string());
        }
        assert!(value.is_null() || !key.is_empty());
    }
    for (key, value) in [
        ("num_hidden_layers", json!(1_000_000_000)),
        ("eos_token_id", json!(vec![1; 100_000])),
        ("layer_types", json!(vec!["full_attention"; 200_000])),
        ("no_rope_layers", json!(vec![1; 500_000])),
    ] {
        let mut config = base.clone();
        config[key] = value;
        assert!(ModelSpec::from_hf_json(&config.to_string()).is_err(), "{key}");
    }
    cases.push(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    cases.push(format!("{{\"model_type\": {}1{}}}", "{\"a\":".repeat(1000), "}".repeat(1000)));
    cases.push(" ".repeat(5 << 20));
    for case in cases {
        // Some of these are a model: a bias more, another base.
        if let Ok(spec) = ModelSpec::from_hf_json(&case) {
            spec.validate().unwrap();
        }
    }
}
