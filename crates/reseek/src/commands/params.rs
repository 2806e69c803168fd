//! `reseek params`: counts of a model.

use std::path::Path;

use reseek_spec::{ModelSpec, preset, thousands};
use reseek_store::regular::{CONFIG_BYTES_MAX, read_regular};
use reseek_store::{ModelSource, is_gguf_name};
use serde_json::json;

use crate::cli::ParamsArgs;
use crate::error::{Outcome, fail};
use crate::opened::place;

/// Prints the counts.
pub fn params(args: &ParamsArgs) -> Outcome<()> {
    if args.seq == 0 {
        return fail("--seq is 0. The published counts use 4096.");
    }
    let spec = find(&args.model)?;
    let (counts, flops, memory) = (spec.params(), spec.train_flops_per_token(args.seq), spec.train_memory());
    let kv = spec.kv_bytes_per_token(2);
    if args.json {
        let out = json!({
            "model": args.model, "seq": args.seq, "parameters": counts, "train_flops_per_token": flops,
            "kv_bytes_per_token": kv, "train_memory_bytes_f32": memory,
        });
        crate::say!("{}", serde_json::to_string_pretty(&out)?);
        return Ok(());
    }
    let row = |name: &str, value: String| crate::say!("{name:<38} {value:>22}");
    row("parameters", thousands(counts.total));
    row("  active a token", thousands(counts.active));
    row("  active without the input embedding", thousands(counts.active_without_embedding));
    row("  multi-token prediction module", thousands(counts.mtp));
    row("GFLOP a training token, causal", format!("{:.2}", flops.causal / 1e9));
    row("GFLOP a training token, non-causal", format!("{:.2}", flops.noncausal / 1e9));
    row("bytes of bf16 KV cache a token", thousands(kv));
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64);
    row("f32 weights", gib(memory.weights));
    row("f32 gradients", gib(memory.gradients));
    row("f32 AdamW moments", gib(memory.optimizer));
    Ok(())
}

/// The model called `model`: a preset, a config.json, or a folder with one.
pub fn find(model: &str) -> Outcome<ModelSpec> {
    let named = Path::new(model);
    // A preset is none of the Hub's names and no file's.
    let path = &place(named)?;
    if path.is_file() && is_gguf_name(path) {
        return Ok(ModelSource::glance(path)?.spec().clone());
    }
    let file = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    if !file.is_file() {
        return Ok(preset(model)?);
    }
    let text = String::from_utf8_lossy(&read_regular(&file, CONFIG_BYTES_MAX)?).into_owned();
    match ModelSpec::counted_from_hf_json(&text) {
        Ok(spec) => Ok(spec),
        Err(error) => fail(format!("{}: {error}", file.display())),
    }
}
