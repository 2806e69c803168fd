//! Mistakes in the commands about full-scale runs: exit code 2, the values that clash and the mend.

use std::fs;
use std::path::Path;

use std::process::Command;

use serde_json::Value;

use crate::common::{Scratch, copy, finished, reseek, stderr, succeed};

/// Exit code 2, an error, and each part in what is said.
fn refuse(command: &mut Command, parts: &[&str]) {
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {}\n{message}", output.status);
    assert!(message.contains("error: ") && !message.contains("panicked"), "{command:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{command:?}: no {part:?} in\n{message}");
    }
}

fn sim(args: &str, parts: &[&str]) {
    refuse(reseek().arg("sim").args(args.split(' ')), parts);
}

fn answer(args: &str) -> Value {
    serde_json::from_str(&succeed(reseek().args(args.split(' ')).arg("--json"))).unwrap()
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
        let price = format!("--price gpu_hour_usd={price}");
        sim(&format!("run v3-671b --cluster h800x2048 --recipe v3 {price}"), &[&price[8..], "positive price"]);
        let sweep = "sweep llama-3.1-8b --cluster h800x64 --global-batch 64";
        sim(&format!("{sweep} {price}"), &[&price[8..], "positive price"]);
    }
    // One name for one price, in simulations as in bills.
    sim("run v3-671b --cluster h800x2048 --price gpu_hour=3", &["gpu_hour_usd", "\"gpu_hour\" is another"]);
    sim("run v3-671b --cluster h800x2048 --price 3", &["a price has a name", "--price gpu_hour_usd=2"]);
    sim("run v3-671b --cluster h800x2048 --gpu-hour-usd 3", &["unexpected argument", "--gpu-hour-usd"]);
    for tokens in ["-5", "nan", "1e308", "1.5", "many"] {
        sim(
            &format!("run v3-671b --cluster h800x2048 --recipe v3 --tokens {tokens}"),
            &["--tokens", tokens, "is no count", "14.8T"],
        );
    }
    sim("run v3-671b --cluster h800x2048 --recipe v3 --tokens 0", &["--tokens 0", "--tokens 14.8T"]);
    sim("run v3-671b --cluster h800x2048 --recipe v3 --tokens 2e18", &["--tokens 2000000000000000000"]);
    sim("run v3-671b --cluster h800x2048 --recipe v3 --draws 5", &["5 draws", "40 or more"]);
    sim("run v3-671b --cluster h800x2048 --recipe v3 --draws 99999999999", &["99999999999 draws", "up to 100000"]);
    sim("sweep v3-671b --cluster h800x2048 --global-batch 0", &["--global-batch 0", "from 1"]);
    let cost = |args: &[&str], parts: &[&str]| refuse(reseek().arg("cost").args(args), parts);
    cost(&["--price", "gpu_hour_usd=-2"], &["gpu_hour_usd", "-2"]);
    cost(&["--price", "gpu_hour_usd"], &["--price gpu_hour_usd", "gpu_hour_usd=3"]);
    cost(&["--price", "gpu_huor_usd=2"], &["gpu_huor_usd", "gpu_hour_usd"]);
    let side_by_side = ["--subject", "deepseek-v3-r1", "--subject", "llama-3.1-405b", "--preset", "report"];
    cost(&side_by_side, &["--preset", "side by side", "one --subject"]);
    cost(&["--price", "gpu_hour_usd=3", "serve"], &["--price", "dials of its own"]);
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
    let run = format!("laptop v3-smoke --rates {path}");
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
    sim("laptop v3-smoke --rates no-such.json", &["no-such.json", "sim calibrate"]);
    sim("laptop v3-671b", &["v3-671b", "v3-nano"]);
    // A laptop is no cluster, and options of plans say nothing of it.
    for command in ["run v3-nano", "schedule v3-nano", "sweep v3-nano --global-batch 8"] {
        sim(&format!("{command} --cluster laptop"), &["--cluster laptop", "reseek sim laptop v3-nano"]);
    }
    for dead in ["--tp 2", "--tokens 1T", "--draws 50", "--recipe v3"] {
        let name = dead.split(' ').next().unwrap_or(dead);
        sim(&format!("{run} {dead}"), &["unexpected argument", name]);
    }
    sim(&format!("run v3-671b --cluster h800x2048 --rates {path}"), &["unexpected argument", "--rates"]);
}

#[test]
fn tokens_are_obeyed_or_refused_and_an_assumption_is_said() {
    for recipe in ["distil", "r1", "r1-zero"] {
        let args = format!("run v3-671b --cluster h800x512 --recipe {recipe} --tokens 1e9");
        sim(&args, &["--tokens 1000000000 would change nothing", "Leave --tokens out"]);
    }
    let of = |model: &str, tokens: &str| answer(&format!("sim run {model} --cluster h800x64 --draws 0{tokens}"));
    let tokens = |answer: &Value| answer["phases"][0]["tokens"].as_f64().unwrap();
    for text in ["1T", "1e12", "1_000_000_000_000", "1000000000000"] {
        let answer = of("llama-3.1-8b", &format!(" --tokens {text}"));
        assert_eq!((tokens(&answer), answer["tokens_are"].is_null()), (1e12, true), "{text}");
    }
    let assumed = of("llama-3.1-8b", "");
    assert_eq!(tokens(&assumed), 14.8e12);
    assert!(assumed["tokens_are"].as_str().unwrap().contains("an assumption"), "{assumed}");
    let said = succeed(reseek().args("sim run llama-3.1-8b --cluster h800x64 --draws 0".split(' ')));
    assert!(said.contains("14,800,000,000,000") && said.contains("V3's, an assumption: --tokens N"), "{said}");
}

#[test]
fn the_plan_that_was_simulated_is_shown() {
    let args = "sim run llama-3.1-405b --cluster h100x8192 --tp 8 --pp 16 --interleave 8 --global-batch 2048 --seq 8192 --recompute selective \
                --draws 0";
    let said = succeed(reseek().args(args.split_whitespace()));
    for part in [
        "tp 8 · cp 1 · pp 16 · ep 1 · dp 64 on 8,192 h100",
        "micro-batch 1, 2,048 sequences of 8,192 tokens",
        "interleaved×8, bf16, recompute selective, ZeRO 1, kernels current",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let answer = answer(&args.split_whitespace().collect::<Vec<_>>().join(" "));
    let plan = &answer["plan"];
    for (key, value) in [("tp", 8), ("cp", 1), ("pp", 16), ("ep", 1), ("dp", 64), ("global_batch", 2048), ("seq", 8192)]
    {
        assert_eq!(plan[key], value, "{key}");
    }
    assert_eq!((plan["schedule"].as_str(), plan["precision"].as_str()), (Some("interleaved×8"), Some("bf16")));
    // Of all communication only a part can show.
    let seconds = |key: &str| answer[key].as_f64().unwrap();
    assert!(seconds("exposed_comm_s") > 0.0 && seconds("exposed_comm_s") <= seconds("comm_s"), "{answer}");
    // The extensions have plans of their own.
    let v3 = succeed(reseek().args("sim run v3-671b --cluster h800x2048 --recipe v3 --draws 0".split(' ')));
    assert!(v3.contains("extension to 32K: tp 1 · cp 8") && v3.contains("dualpipe, fp8"), "{v3}");
}

#[test]
fn a_mend_is_one_that_the_user_can_make() {
    // The recipe brings the 64: whoever left --ep out cannot leave it out.
    sim("run llama-3.1-8b --cluster h800x2048 --recipe v3 --pp 8", &["--ep 64", "Set --ep 1"]);
    sim("run llama-3.1-8b --cluster h800x64 --ep 8", &["--ep 8", "Set --ep 1"]);
}

#[test]
fn an_explicit_preset_is_obeyed() {
    let selection = |args: &[&str]| {
        let out = succeed(reseek().arg("cost").args(args).arg("--json"));
        serde_json::from_str::<Value>(&out).unwrap()["selection"].clone()
    };
    assert_eq!(selection(&[]), "report");
    assert_eq!(selection(&["--subject", "deepseek-v3-r1"]), "report");
    let all = selection(&["--subject", "llama-3.1-405b"]);
    assert_ne!(all, "report");
    // It is of DeepSeek's items: to count all of Llama's instead would be another bill than was asked for.
    let explicit =
        reseek().args(["cost", "--subject", "llama-3.1-405b", "--preset", "report", "--json"]).output().unwrap();
    let printed = String::from_utf8_lossy(&explicit.stdout).into_owned();
    let is_all = serde_json::from_str::<Value>(&printed).is_ok_and(|bill| bill["selection"] == all);
    assert!(!is_all, "{printed}");
}

#[test]
fn claims_are_answered_by_a_run() {
    let run = finished();
    let path = run.out.display().to_string();
    let verify = |args: &[&str]| reseek().args(["claims", "verify"]).args(args).arg("--json").output().unwrap();
    let all: Value = serde_json::from_slice(&verify(&["--run", &path]).stdout).unwrap();
    let ids: Vec<&str> = all.as_array().unwrap().iter().filter_map(|one| one["claim"].as_str()).collect();
    assert_eq!(ids, ["r1-rl-without-sft", "r1-majority", "r1-language-mixing", "r1-distillation-beats-rl"]);
    let summary: Value = serde_json::from_str(&fs::read_to_string(run.out.join("summary.json")).unwrap()).unwrap();
    for (one, name) in
        all.as_array().unwrap().iter().zip(["zero-base", "zero-majority", "r1-zero-language", "student-student_rl"])
    {
        let found = &summary["comparisons"][name];
        let end = |key: &str| found[key].as_f64().unwrap();
        let verdict = match (end("ci_low") > 0.0, end("ci_high") < 0.0) {
            (true, _) => "holds",
            (_, true) => "fails",
            _ => "inconclusive",
        };
        assert_eq!((one["verdict"].as_str(), &one["found"]), (Some(verdict), &found["difference"]), "{one}");
        let single = verify(&[one["claim"].as_str().unwrap(), "--run", &path]);
        assert_eq!(serde_json::from_slice::<Value>(&single.stdout).unwrap(), *one);
        assert_eq!(single.status.code(), Some(i32::from(verdict == "fails")));
    }
    refuse(
        reseek().args(["claims", "verify", "r1-reference-refresh", "--run", &path]),
        &["--beside", "zero.reference_interval"],
    );
    refuse(
        reseek().args(["claims", "verify", "r1-reference-refresh", "--run", &path, "--beside", &path]),
        &["differ in nothing", "--set zero.reference_interval"],
    );
    refuse(reseek().args(["claims", "verify", "r1-majority", "--run", &path, "--beside", &path]), &["no second run"]);
    refuse(reseek().args(["claims", "verify", "v3-fp8-loss", "--run", &path]), &["No run answers v3-fp8-loss"]);
    refuse(reseek().args(["claims", "verify", "--run", "no-such-run"]), &["no-such-run", "reseek replicate --out"]);
}

#[test]
fn a_claim_about_a_setting_is_answered_by_two_runs() {
    let run = finished();
    let scratch = Scratch::new();
    let (often, never) = (&run.out, scratch.join("never"));
    copy(often, &never);
    succeed(reseek().args(["replicate", "-q", "--redo", "--set", "zero.reference_interval=6", "--out"]).arg(&never));
    let verify = |run: &Path, beside: &Path| {
        let mut command = reseek();
        command.args(["claims", "verify", "r1-reference-refresh", "--json", "--run"]).arg(run);
        command.arg("--beside").arg(beside);
        command
    };
    let output = verify(often, &never).output().unwrap();
    assert!(!output.stdout.is_empty(), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let diff: Value =
        serde_json::from_str(&succeed(reseek().args(["runs", "diff", "--json"]).arg(&never).arg(often))).unwrap();
    let zero = diff["scores"].as_array().unwrap().iter().find(|score| score["model"] == "zero").unwrap();
    assert_eq!((&zero["paired"], &zero["difference"]), (&Value::from(true), &found["found"]), "{found}");
    let word = found["verdict"].as_str().unwrap();
    assert!(["holds", "fails", "inconclusive"].contains(&word), "{found}");
    assert_eq!(output.status.code(), Some(i32::from(word == "fails")));

    refuse(&mut verify(&never, often), &["should replace its reference", "smaller zero.reference_interval"]);
    // A score that somebody changed is no evidence.
    let card = never.join("eval/zero.json");
    let text = fs::read_to_string(&card).unwrap().replacen("0.", "1.", 1);
    fs::write(&card, text).unwrap();
    refuse(&mut verify(often, &never), &["eval/zero.json", "damaged"]);
}

#[test]
fn claims_in_help_exist() {
    for id in ["v3-total-params", "r1-majority"] {
        succeed(reseek().args(["claims", "show", id]));
    }
    let shown = succeed(reseek().args(["claims", "show", "v3-fp8-loss"]));
    assert!(shown.contains("none answers it yet") && !shown.contains("reseek lab"), "{shown}");
    for group in [&["claims", "show"][..], &["claims", "verify"], &["sim", "run"], &["sim", "sweep"], &["cost"]] {
        let help = succeed(reseek().args(group).arg("--help"));
        assert!(!help.contains("v3-total-parameters"), "{help}");
    }
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
        cost_usd memory_peak_bytes plan intervals"
            .split_whitespace()
    {
        assert!(!answer[key].is_null(), "{key}");
    }
    assert!((answer["step_s"].as_f64().unwrap() / 19.926 - 1.0).abs() < 0.05);
    assert!(answer["intervals"]["are"].as_str().unwrap().contains("as wide as our errors"), "{answer}");
}
