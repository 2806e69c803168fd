//! Mistakes in the commands about full-scale runs: exit code 2, the values that clash and the mend.

use std::fs;

use crate::common::{Scratch, refuse, reseek, succeed};

fn sim(args: &str, parts: &[&str]) {
    refuse(reseek().arg("sim").args(args.split(' ')), parts);
}

#[test]
fn plans_that_do_not_divide_or_fit() {
    let v3 = |rest: &str, parts: &[&str]| sim(&format!("run v3-671b --cluster h800x2048 --recipe v3 {rest}"), parts);
    v3("--ep 48", &["--ep 48", "divisor of 256 experts", "--ep 32"]);
    v3("--pp 128", &["pp 128", "at most --pp 61"]);
    v3("--pp 62", &["pp 62", "at most --pp 61"]);
    v3("--node-limit 0", &["--node-limit 0"]);
    sim("run r1-distill-qwen-7b --cluster h100x64 --tp 8", &["--tp 8", "divisor of 28 heads", "--tp 4"]);
    sim("run llama-3.1-8b --cluster a100-80x8 --precision mxfp8", &["--precision mxfp8 on a100-80", "bf16"]);
    v3("--dp 100", &["dp 100", "2048 GPUs", "--dp 128"]);
    v3("--global-batch 1000", &["--global-batch 1000", "dp 128", "--global-batch 896"]);
    v3("--interleave 0", &["--interleave 0"]);
    sim("run v3-671b --cluster h800x16 --tp 8 --pp 2", &["GB on its fullest rank", "80 GB", "--ignore-memory"]);
    sim("run llama-3.1-8b --cluster h800x8 --tp 5", &["tp 5", "8 GPUs", "must divide 8"]);
    sim("schedule v3-671b --cluster h800x2048 --recipe v3 --micro-batch 7", &["micro-batch 7", "--global-batch"]);
    sim("sweep v3-671b --cluster a100-40x8 --global-batch 64", &["fail in memory", "more GPUs"]);
}

#[test]
fn clusters_prices_and_tokens() {
    sim("run v3-671b --cluster z900x16", &["z900", "h800", "gb300"]);
    sim("run v3-671b --cluster h800", &["h800", "GPUxN"]);
    sim("run v3-671b --cluster h800x0", &["h800x0"]);
    for price in ["-1", "0", "nan", "inf", "1e300", "free"] {
        sim(&format!("run v3-671b --cluster h800x2048 --recipe v3 --gpu-hour-usd {price}"), &[price, "positive price"]);
        let sweep = "sweep llama-3.1-8b --cluster h800x64 --global-batch 64";
        sim(&format!("{sweep} --gpu-hour-usd {price}"), &[price, "positive price"]);
    }
    for tokens in ["0", "-5", "nan", "1e308"] {
        sim(
            &format!("run v3-671b --cluster h800x2048 --recipe v3 --tokens {tokens}"),
            &["--tokens", "positive number"],
        );
    }
    sim("run v3-671b --cluster h800x2048 --recipe v3 --draws 5", &["5 draws", "40 or more"]);
    sim("run v3-671b --cluster h800x2048 --recipe v3 --draws 99999999999", &["99999999999 draws", "up to 100000"]);
    sim("sweep v3-671b --cluster h800x2048 --global-batch 0", &["--global-batch 0", "from 1"]);
    let cost = |args: &[&str], parts: &[&str]| refuse(reseek().arg("cost").args(args), parts);
    cost(&["--price", "gpu_hour_usd=-2"], &["gpu_hour_usd", "-2"]);
    cost(&["--price", "gpu_hour_usd"], &["--price gpu_hour_usd", ". "]);
    cost(&["--price", "gpu_huor_usd=2"], &["gpu_huor_usd", "gpu_hour_usd"]);
    cost(&["--preset", "lambrt"], &["lambrt", "lambert"]);
    refuse(reseek().args(["claims", "show", "nonsense"]), &["nonsense", "claims list"]);
}

#[test]
fn models_that_are_not_known() {
    let scratch = Scratch::new();
    let config = scratch.join("config.json");
    let path = config.display().to_string();
    let run = |text: &str, parts: &[&str]| {
        fs::write(&config, text).unwrap();
        sim(&format!("run {path} --cluster h800x8"), parts);
    };
    run(r#"{"model_type": "mamba2"}"#, &["config.json", "mamba2", "deepseek_v3", "lacks vocab_size"]);
    run(r#"{"model_type": "llama", "hidden_size": 64}"#, &["config.json", "lacks num_attention_heads"]);
    run("{", &["config.json"]);
    sim("run no-such-model --cluster h800x8", &["no-such-model", "v3-671b"]);
}

#[test]
fn a_laptop_is_predicted_from_rates_that_make_sense() {
    let scratch = Scratch::new();
    let file = scratch.join("rates.json");
    let path = file.display().to_string();
    succeed(reseek().args(["sim", "calibrate", "--dtype", "f32", "--out", &path]));
    let run = format!("run v3-smoke --cluster laptop --rates {path}");
    let out = succeed(reseek().arg("sim").args(run.split(' ')).arg("--json"));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["rates"]["compute"], "f32");
    assert!(answer["stages"].as_array().unwrap().iter().all(|stage| stage["seconds"].as_f64().unwrap() > 0.0));
    let rates = fs::read_to_string(&file).unwrap();
    for (text, parts) in [
        (rates.replace("\"memory\": ", "\"memory\": -"), ["rates.json", "a rate of -"]),
        (rates.replace("\"threads\": 2", "\"threads\": 0"), ["rates.json", "no threads"]),
        (rates.replace("elementwise", "elementwsie"), ["rates.json", "elementwsie"]),
    ] {
        fs::write(&file, text).unwrap();
        sim(&run, &parts);
    }
    sim("run v3-smoke --cluster laptop --rates no-such.json", &["no-such.json", "sim calibrate"]);
    sim("run v3-671b --cluster laptop", &["v3-671b", "v3-nano"]);
}

#[test]
fn what_the_machine_reads_has_every_field() {
    let out = succeed(reseek().args([
        "sim",
        "run",
        "v3-671b",
        "--cluster",
        "h800x2048",
        "--recipe",
        "v3",
        "--draws",
        "40",
        "--json",
    ]));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    for key in
        "step_s parts bubble_s exposed_comm_s tflops_per_gpu mfu_causal mfu_noncausal gpu_hours_per_t_tokens gpu_hours \
        cost_usd memory_peak_bytes intervals_95"
            .split_whitespace()
    {
        assert!(!answer[key].is_null(), "{key}");
    }
    assert!((answer["step_s"].as_f64().unwrap() / 19.926 - 1.0).abs() < 0.05);
}
