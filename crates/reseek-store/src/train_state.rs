//! What a stage needs to go on after a kill, as if it had never stopped.
//!
//! Each save is a folder `step-NNNNNNNN` of its own, built under a temporary name and renamed when it is whole.
//! The newest two are kept: while one is written the one before it stands, and if the newest turns out damaged
//! the older one serves. Names and bytes depend on the state alone, so a run that was killed and resumed leaves
//! the same folders as one that was not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::bf16;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::StoreError;
use crate::atomic;
use crate::manifest::{self, DirWriter, MANIFEST};
use crate::safetensors_io::{self, TensorFile, Values};

const TENSORS: &str = "state.safetensors";
const VALUES: &str = "state.json";
const FOLDER_PREFIX: &str = "step-";
/// Name prefix of [`TrainState::buffers`] in the file.
const BUFFER_PREFIX: &str = "buffers.";
const STATES_KEPT: usize = 2;

/// Everything that changes while a stage runs. Borrowed for saving, owned after loading.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainState<'a> {
    /// Steps done; rises from save to save within a stage.
    pub step: u64,
    /// The model's parameters, flat.
    pub weights: Cow<'a, [f32]>,
    /// AdamW's first moment, flat, in the layout of the weights.
    pub m: Moment<'a>,
    /// AdamW's second moment.
    pub v: Moment<'a>,
    /// Other f32 state by name: correction biases of the routers, a reference policy's weights.
    pub buffers: BTreeMap<String, Cow<'a, [f32]>>,
    /// Where reading the data stands.
    pub cursor: Value,
    /// Next index of each named random stream that is not addressed by step.
    pub counters: BTreeMap<String, u64>,
    /// Whatever else the stage wants back. Every f64 comes back with the same bits; JSON has no NaN or infinity.
    pub extra: Value,
}

/// A moment in the format in which the stage keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment<'a> {
    /// Kept in f32.
    F32(Cow<'a, [f32]>),
    /// Kept in bf16.
    Bf16(Cow<'a, [bf16]>),
}

impl Moment<'_> {
    fn values(&self) -> Values<'_> {
        match self {
            Self::F32(values) => Values::F32(values),
            Self::Bf16(values) => Values::Bf16(values),
        }
    }
}

/// A state found on disk.
#[derive(Debug)]
pub struct LoadedState {
    /// What was saved.
    pub state: TrainState<'static>,
    /// Newer states that were passed over because they are damaged; to be told to the user.
    pub damaged: Vec<StoreError>,
}

/// The folder that holds a stage's states.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// state.json.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateValues {
    step: u64,
    cursor: Value,
    counters: BTreeMap<String, u64>,
    extra: Value,
}

impl StateDir {
    /// Makes or reopens the folder at `path` and removes what a killed save left in it.
    ///
    /// # Errors
    /// If the folder cannot be made or cleaned.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        atomic::create_folder(path)?;
        atomic::sweep_temporaries(path)?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Saves `state`, then drops all but the newest two. States of later steps are dropped too: they belong to
    /// a future that was given up because it could not be loaded.
    ///
    /// # Errors
    /// If the disk refuses; the states that were there stay.
    pub fn save(&self, state: &TrainState<'_>) -> Result<(), StoreError> {
        let home = self.folder(state.step);
        let building = atomic::temporary_beside(&home)?;
        atomic::remove_folder_if_present(&building)?;
        if let Err(error) = write_state(&building, state) {
            // Gives a full disk its room back; the error that counts is the first one.
            let _ = fs::remove_dir_all(&building);
            return Err(error);
        }
        if !is_same(&home, &building) {
            atomic::remove_folder_if_present(&home)?;
            fs::rename(&building, &home).map_err(StoreError::io("rename into", &home))?;
            atomic::sync_folder(&self.path)?;
        } else {
            atomic::remove_folder_if_present(&building)?;
        }
        for later in self.steps()?.into_iter().filter(|&step| step > state.step) {
            self.remove(later)?;
        }
        self.drop_old(state.step)
    }

    /// The newest whole state, or nothing where none was ever saved.
    ///
    /// # Errors
    /// If states were saved but none is whole, or the folder cannot be read.
    pub fn load(&self) -> Result<Option<LoadedState>, StoreError> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match read_state(&self.folder(step), step) {
                Ok(state) => {
                    // A kill between a save and its tidying leaves one too many.
                    self.drop_old(step)?;
                    return Ok(Some(LoadedState { state, damaged }));
                }
                Err(error) => damaged.push(error),
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        Err(StoreError::NoWholeState { path: self.path.clone(), damaged })
    }

    /// Removes all states; for a stage that is done.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn clear(self) -> Result<(), StoreError> {
        atomic::remove_folder_if_present(&self.path)
    }

    /// Steps with a state, damaged or whole, rising.
    fn steps(&self) -> Result<Vec<u64>, StoreError> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(StoreError::io("list", &self.path))? {
            let name = entry.map_err(StoreError::io("list", &self.path))?.file_name();
            let step = name.to_str().and_then(|n| n.strip_prefix(FOLDER_PREFIX)?.parse().ok());
            // A folder of another spelling (step-7) is not one of ours.
            steps.extend(step.filter(|&step| self.folder(step).file_name() == Some(&name)));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn folder(&self, step: u64) -> PathBuf {
        self.path.join(format!("{FOLDER_PREFIX}{step:08}"))
    }

    /// Drops all up to `newest` but the last [`STATES_KEPT`] of them.
    fn drop_old(&self, newest: u64) -> Result<(), StoreError> {
        let steps = self.steps()?.into_iter().rev().filter(|&step| step <= newest);
        for step in steps.skip(STATES_KEPT) {
            self.remove(step)?;
        }
        Ok(())
    }

    /// Takes the name away first, so that a kill leaves a temporary to sweep and not a state with files missing.
    fn remove(&self, step: u64) -> Result<(), StoreError> {
        let home = self.folder(step);
        let leaving = atomic::temporary_beside(&home)?;
        atomic::remove_folder_if_present(&leaving)?;
        fs::rename(&home, &leaving).map_err(StoreError::io("rename", &home))?;
        atomic::remove_folder_if_present(&leaving)
    }
}

fn write_state(dir: &Path, state: &TrainState<'_>) -> Result<(), StoreError> {
    let learner = [("weights", Values::F32(&state.weights)), ("m", state.m.values()), ("v", state.v.values())];
    let buffers =
        state.buffers.iter().map(|(name, values)| (format!("{BUFFER_PREFIX}{name}"), Values::F32(values.as_ref())));
    let named = learner.into_iter().map(|(name, values)| (name.to_owned(), values)).chain(buffers);
    let shapes: Vec<(String, [usize; 1], Values)> =
        named.map(|(name, values)| (name, [values.len()], values)).collect();
    let tensors: Vec<(&str, &[usize], Values)> =
        shapes.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), *values)).collect();
    let values = StateValues {
        step: state.step,
        cursor: state.cursor.clone(),
        counters: state.counters.clone(),
        extra: state.extra.clone(),
    };
    let mut folder = DirWriter::create(dir)?;
    folder.write_with(TENSORS, |file| safetensors_io::write_values(file, &tensors))?;
    folder.write(VALUES, &serde_json::to_vec_pretty(&values).expect("maps with string keys are JSON"))?;
    folder.finish(json!({"kind": "state", "step": state.step}))?;
    Ok(())
}

fn read_state(dir: &Path, step: u64) -> Result<TrainState<'static>, StoreError> {
    let verified = manifest::verify_dir(dir)?;
    for name in [TENSORS, VALUES] {
        if !verified.vouches_for(name) {
            return Err(StoreError::UnlistedFile { path: dir.join(name) });
        }
    }
    let path = dir.join(VALUES);
    let values: StateValues = serde_json::from_slice(&atomic::read(&path)?).map_err(|e| {
        StoreError::malformed(&path, e, "another version of reseek wrote it: remove the stage's state folder")
    })?;
    if values.step != step {
        let reason = format!("the state is of step {}, its folder of step {step}", values.step);
        return Err(StoreError::malformed(&path, reason, "give the folder its old name back"));
    }
    let file = TensorFile::open(&dir.join(TENSORS))?;
    let weights = file.read_f32("weights").map(Cow::Owned)?;
    let moment = |name: &str| -> Result<Moment<'static>, StoreError> {
        Ok(match file.is_bf16(name) {
            true => Moment::Bf16(file.read_bf16(name)?.into()),
            false => Moment::F32(file.read_f32(name)?.into()),
        })
    };
    let (m, v) = (moment("m")?, moment("v")?);
    let mut buffers = BTreeMap::new();
    for full in file.names() {
        if let Some(name) = full.strip_prefix(BUFFER_PREFIX) {
            buffers.insert(name.to_owned(), Cow::Owned(file.read_f32(&full)?));
        }
    }
    Ok(TrainState {
        step,
        weights,
        m,
        v,
        buffers,
        cursor: values.cursor,
        counters: values.counters,
        extra: values.extra,
    })
}

/// Whether `home` already holds, undamaged, what was just written to `building`: a save at Ctrl-C right after a
/// regular one.
fn is_same(home: &Path, building: &Path) -> bool {
    let manifest = |dir: &Path| fs::read(dir.join(MANIFEST)).ok();
    manifest(home).is_some() && manifest(home) == manifest(building) && manifest::verify_dir(home).is_ok()
}
