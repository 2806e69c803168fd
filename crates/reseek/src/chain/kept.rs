//! What a run keeps of its making, so that later commands need not be told and pages drawn again say the same: where its text lies, on
//! what machine it was made, and the peak that this machine showed then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_store::{Machine, Manifest};
use reseek_tensor::peak::fma_peak_gflops_of_pool;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Chain, DATA};
use crate::error::{Outcome, fail};

/// The machine of the run, in its folder.
const MACHINE: &str = "machine.json";

/// Milliseconds that the peak is measured for.
const PEAK_MILLIS: u64 = 200;

/// Where a run's text and problems come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Nothing for the embedded ones.
    pub folder: Option<PathBuf>,
    pub sha256: String,
}

/// Where the text of the run at `out` comes from; nothing where that was never written down.
///
/// # Errors
/// If the note is there and cannot be read.
pub fn data_of(out: &Path) -> Outcome<Option<Data>> {
    let path = out.join(DATA);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())) {
        Ok(data) => Ok(Some(data)),
        Err(error) => {
            fail(format!("{} cannot be read: {error}. Remove it, and name the run's --data folder.", path.display()))
        }
    }
}

/// Writes down where the text comes from.
pub fn record_data(chain: &Chain, folder: Option<&Path>) -> Outcome<()> {
    let folder = folder.map(|folder| folder.canonicalize()).transpose()?;
    let data = Data { folder, sha256: chain.data_hash.clone() };
    if data_of(chain.run.path())?.as_ref() != Some(&data) {
        chain.run.write(DATA, serde_json::to_string_pretty(&data)?.as_bytes())?;
    }
    Ok(())
}

/// What machine.json says.
#[derive(Serialize, Deserialize)]
struct Kept {
    machine: Machine,
    /// GFLOP/s by format.
    peaks: BTreeMap<String, f64>,
}

/// The machine on which the run was begun, and the GFLOP/s of its peak in the run's format: looked at when the run is first worked on in
/// that format, and kept.
pub fn machine(chain: &Chain) -> Outcome<(Machine, f64)> {
    let path = chain.path(MACHINE);
    let format = chain.compute().to_string();
    let mut kept = match path.exists() {
        true => serde_json::from_value(Manifest::read(&path)?.meta)?,
        false => Kept { machine: Machine::detect(), peaks: BTreeMap::new() },
    };
    if let Some(peak) = kept.peaks.get(&format) {
        return Ok((kept.machine, *peak));
    }
    let peak = fma_peak_gflops_of_pool(PEAK_MILLIS, chain.compute());
    kept.peaks.insert(format, peak);
    Manifest { files: BTreeMap::new(), meta: json!(kept) }.write(&path)?;
    Ok((kept.machine, peak))
}
