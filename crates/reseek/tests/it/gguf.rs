//! A GGUF file answers as transformers does with the same file, and a damaged one is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Scratch, refuse, reseek, succeed};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf/tiny.gguf")
}

/// Made by fixtures/make_gguf.py.
fn expected() -> Value {
    serde_json::from_str(&fs::read_to_string(tiny().with_extension("json")).unwrap()).unwrap()
}

fn numbers(json: &Value) -> Vec<f64> {
    json.as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

fn score(arguments: &[&str]) -> (Vec<f64>, Vec<f64>) {
    let expected = expected();
    let mut command = reseek();
    command.arg("score").arg(tiny()).args(["--text", expected["text"].as_str().unwrap(), "--json"]).args(arguments);
    let answer: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
    (numbers(&answer["tokens"]), numbers(&answer["logprobs"]))
}

#[test]
fn tokens_and_logprobs_are_those_of_transformers() {
    let expected = expected();
    let want = numbers(&expected["logprobs"]);
    let nll = |logprobs: &[f64]| -logprobs.iter().sum::<f64>() / logprobs.len() as f64;
    // In f32, with the file's own blocks (activations of 16 bits), and in bf16.
    for (arguments, each, mean) in
        [(&["--dtype", "f32"][..], 1e-4, 1e-5), (&[], 0.02, 2e-3), (&["--dtype", "bf16"], 0.5, 0.05)]
    {
        let (tokens, got) = score(arguments);
        assert_eq!(tokens, numbers(&expected["tokens"]));
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!("{arguments:?}: worst {worst:.1e}, mean NLL off by {:.1e}", nll(&got) - nll(&want));
        assert!(worst < each, "{arguments:?}: a token is off by {worst}");
        assert!((nll(&got) - nll(&want)).abs() < mean, "{arguments:?}: {} for {}", nll(&got), nll(&want));
    }
}

#[test]
fn it_generates_and_chats_with_its_own_template() {
    let generate = || {
        let mut command = reseek();
        command.arg("generate").arg(tiny()).args(["--prompt", "the cat", "--json", "--max-new-tokens", "9"]);
        succeed(command.args(["--temperature", "1", "--top-p", "1", "-n", "3"]))
    };
    let text = generate();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(text, generate());
    for line in text.lines() {
        let completion: Value = serde_json::from_str(line).unwrap();
        let logprobs = numbers(&completion["logprobs"]);
        assert!(logprobs.iter().all(|&logprob| logprob < 0.0));
        let mut prompt = numbers(&expected_tokens("the cat"));
        let first = prompt.len();
        prompt.extend(numbers(&completion["tokens"]));
        let ids: Vec<String> = prompt.iter().map(|id| id.to_string()).collect();
        let mut command = reseek();
        let scored = succeed(command.arg("score").arg(tiny()).args(["--tokens", &ids.join(","), "--json"]));
        let scored = numbers(&serde_json::from_str::<Value>(&scored).unwrap()["logprobs"]);
        for (drawn, scored) in logprobs.iter().zip(&scored[first - 1..]) {
            assert!((drawn - scored).abs() < 1e-5, "drawn at {drawn}, scored {scored}");
        }
    }
    let input = Scratch::new();
    fs::write(input.join("question"), "the cat\n").unwrap();
    let mut chat = reseek();
    chat.arg("chat").arg(tiny()).args(["--max-new-tokens", "5", "--json"]);
    let answer = succeed(chat.stdin(fs::File::open(input.join("question")).unwrap()));
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["question"], "the cat");
}

/// Tokens that `score` gives a text.
fn expected_tokens(text: &str) -> Value {
    let mut command = reseek();
    let answer = succeed(command.arg("score").arg(tiny()).args(["--text", text, "--json"]));
    serde_json::from_str::<Value>(&answer).unwrap()["tokens"].clone()
}

#[test]
fn a_damaged_file_is_refused_wherever_the_damage_is() {
    let scratch = Scratch::new();
    let whole = fs::read(tiny()).unwrap();
    let damaged = scratch.join("damaged.gguf");
    let ask = |bytes: &[u8], parts: &[&str]| {
        fs::write(&damaged, bytes).unwrap();
        refuse(reseek().arg("score").arg(&damaged).args(["--text", "a"]), parts);
    };
    for len in [0, 3, 4, 8, 20, 24, 40, 300, 5000, whole.len() / 2, whole.len() - 40] {
        ask(&whole[..len], &["damaged.gguf", ". "]);
    }
    let with = |place: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[place..place + bytes.len()].copy_from_slice(bytes);
        changed
    };
    ask(&with(0, b"GGML"), &["does not begin with GGUF"]);
    ask(&with(4, &9_u32.to_le_bytes()), &["version 9"]);
    ask(&with(8, &u64::MAX.to_le_bytes()), &["items at byte"]);
    ask(&with(16, &(u64::MAX / 2).to_le_bytes()), &[". "]);
    // The length of the first key, and a name that no architecture has.
    ask(&with(24, &(1_u64 << 40).to_le_bytes()), &["bytes are left"]);
    let place = |text: &str| whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    ask(&with(place("llama"), b"mamba"), &["mamba", "llama"]);
    ask(&with(place("gpt2"), b"bert"), &["tokenizer.ggml.model", "bert"]);
    ask(&with(place("smollm"), b"oddity"), &["oddity", "smollm"]);
    ask(&with(place("blk.1.ffn_up"), b"blk.7.ffn_up"), &["blk.1.ffn_up.weight"]);
    // Kind 2 (Q4_0) of the first quantised tensor becomes an unknown one: it stands behind name, dimensions and shape.
    let name = "blk.0.attn_v.weight";
    ask(&with(place(name) + name.len() + 4 + 16, &77_u32.to_le_bytes()), &[name, "77", "llama-quantize"]);
}
