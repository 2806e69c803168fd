//! The folder of a run that trains a model of anyone's: what it was made from, its recipe, its steps, and the model that comes out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use reseek_model::Weights;
use reseek_spec::stages::Keys;
use reseek_spec::{ComputeDtype, MomentsDtype, thousands};
use reseek_store::manifest::{MANIFEST, Manifest};
use reseek_store::{
    FolderOptions, Machine, RunDir, SHARD_BYTES_MAX, StageDir, WeightFormat, chain_hash, peak_memory_bytes,
    write_folder,
};
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_train::Usage;
use serde_json::{Value, json};

use crate::chain::USAGE;
use crate::chain::stages::flat;
use crate::chain::survey::{Difference, compare};
use crate::commands::beside;
use crate::error::{Outcome, fail};
use crate::opened::Opened;

/// The recipe of the run, with every key decided.
const CONFIG: &str = "config.toml";
/// What the run is for ever: hashes of its model and data, its recipe.
pub const MADE_FROM: &str = "made_from.json";
/// The folder of the model, in the run's.
pub const MODEL: &str = "model";

/// Opens the run at `out`, or begins one there. `made_from` is all that it follows from beside its seed, `toml` its recipe.
pub fn begin(out: &Path, made_from: &Value, seed: u64, toml: &str) -> Outcome<RunDir> {
    same_run(out, made_from, seed)?;
    let folder = RunDir::create_or_open(out, &chain_hash(&[made_from.to_string()]), seed)?;
    folder.write(MADE_FROM, made_from.to_string().as_bytes())?;
    folder.write(CONFIG, toml.as_bytes())?;
    Ok(folder)
}

/// A run keeps its model, its data, its recipe and its seed: what differs is named.
fn same_run(out: &Path, made_from: &Value, seed: u64) -> Outcome<()> {
    let was: Value = match std::fs::read(out.join(MADE_FROM)) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => return Ok(()),
    };
    let mut differences = Vec::new();
    for (key, what) in
        [("model", "another model"), ("data", "other problems"), ("version", "another version of reseek")]
    {
        if was[key] != made_from[key] {
            differences.push(format!("  {what}"));
        }
    }
    let keys = |value: &Value| -> Outcome<Keys> {
        let table: toml::Table = value["recipe"].as_str().unwrap_or_default().parse()?;
        Ok(flat(&table))
    };
    for Difference { key, run, wanted } in compare(&keys(&was)?, &keys(made_from)?) {
        differences.push(format!("  {key:<28} {run} in the run, {wanted} in this command"));
    }
    let seed_was = RunDir::inspect(out)?.seed;
    if seed_was != seed {
        differences.push(format!("  seed {seed_was} in the run, {seed} in this command"));
    }
    match differences.is_empty() {
        true => Ok(()),
        false => fail(format!(
            "{} was made otherwise than this command asks:\n{}\nRepeat the run's own settings to go on with it, or choose another folder with --out.",
            out.display(),
            differences.join("\n")
        )),
    }
}

/// The model of the run at `out`, once it is finished.
pub fn finished(out: &Path, made_from: &Value) -> Outcome<Option<Opened>> {
    let place = out.join(MODEL);
    if place.symlink_metadata().is_err() {
        return Ok(None);
    }
    // It takes its name when it is whole, so it is this run's or someone else's.
    if Manifest::read(&place.join(MANIFEST))?.meta["made_from"] != *made_from {
        return fail(format!("{} is a model that this run did not make. Move it away.", place.display()));
    }
    Ok(Some(Opened::new(&place)?))
}

/// Writes the model of the run at `out`, with what stands beside the weights of `source`, which was called `name`.
pub fn publish(out: &Path, source: &Opened, name: &Path, weights: &Weights, made_from: &Value) -> Outcome<()> {
    let options = FolderOptions {
        format: WeightFormat::F32,
        shard_bytes_max: SHARD_BYTES_MAX,
        config: source.source.config(),
        files: &beside(source, name)?,
        source: Some(&source.path),
        meta: json!({"made_from": made_from}),
    };
    let by_name: BTreeMap<&str, &[f32]> =
        weights.entries().map(|(tensor, values)| (tensor.name.as_str(), values)).collect();
    let read = |tensor: &reseek_spec::TensorSpec| Ok(Cow::Borrowed(by_name[tensor.name.as_str()]));
    write_folder(&out.join(MODEL), &weights.spec, read, &options)?;
    Ok(())
}

/// Records that the steps are done. Their last state stays until the model is written: a kill between both leads here again, and from that
/// state without a step.
pub fn finish(stage: &StageDir, made_from: Value, outputs: &[&str], usage: Usage) -> Outcome<()> {
    let used = json!({
        "seconds": usage.seconds, "tokens": usage.tokens, "flops": usage.flops, "peak_memory_bytes": peak_memory_bytes(),
    });
    Manifest { files: BTreeMap::new(), meta: used }.write(&stage.path().join(USAGE))?;
    stage.mark_done(made_from, outputs)?;
    Ok(())
}

/// Bytes that training holds from its first step to its last, activations and samples aside: weights and their packed forms, a gradient a
/// lane, the moments, and where there is one the reference.
fn state_bytes(parameters: u64, compute: Compute, moments: Dtype, lanes: usize, has_reference: bool) -> u64 {
    let packed = if compute == Compute::F32 { 4 } else { 2 };
    let moments = if moments == Dtype::Bf16 { 4 } else { 8 };
    let reference = if has_reference { 4 + packed } else { 0 };
    parameters * (4 + 2 * packed + 4 * lanes as u64 + moments + reference)
}

/// Refuses what this machine's memory cannot hold, before a weight is read.
pub fn check_memory(
    opened: &Opened,
    compute: Compute,
    moments: Dtype,
    lanes: usize,
    has_reference: bool,
) -> Outcome<()> {
    let parameters = opened.source.spec().params().total;
    let needed = state_bytes(parameters, compute, moments, lanes, has_reference);
    let there = Machine::detect().memory_bytes;
    if there == 0 || needed < there {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    fail(format!(
        "Training {} parameters holds {:.1} GiB beside activations, and this machine has {:.1} GiB. moments = \"bf16\" takes 4 bytes a \
         parameter less, lanes = 1 as well; without rl.kl_beta there is no reference. Else take a smaller model.",
        thousands(parameters),
        gib(needed),
        gib(there)
    ))
}

/// The format in which a recipe multiplies.
pub fn compute(format: ComputeDtype) -> Compute {
    match format {
        ComputeDtype::F32 => Compute::F32,
        ComputeDtype::Bf16 => Compute::Bf16,
        ComputeDtype::Fp8 => Compute::Fp8,
    }
}

/// The format of a recipe's moments.
pub fn moments(format: MomentsDtype) -> Dtype {
    match format {
        MomentsDtype::F32 => Dtype::F32,
        MomentsDtype::Bf16 => Dtype::Bf16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_training_holds_is_counted_by_the_parameter() {
        assert_eq!(state_bytes(1, Compute::Bf16, Dtype::F32, 2, false), 4 + 4 + 8 + 8);
        assert_eq!(state_bytes(10, Compute::F32, Dtype::Bf16, 1, true), 10 * (4 + 8 + 4 + 4 + 8));
    }
}
