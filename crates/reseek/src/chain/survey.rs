//! Which stages of a run are there, and whether they are what a recipe asks for. Reads records only, takes no lock and makes nothing:
//! what it finds decides whether a command may begin at all.

use std::path::{Path, PathBuf};

use reseek_spec::stages::{Keys, Stage, TABLE};
use reseek_store::{Manifest, REDO, StageFacts};
use serde_json::Value;

use super::USAGE;
use super::stages::record;
use crate::error::Outcome;

/// A key that a stage was made with and that the recipe has otherwise. A key that one of both lacks is `-` there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub key: String,
    /// What the run's stage was made with.
    pub run: String,
    /// What the recipe says.
    pub wanted: String,
}

/// Why a finished stage is not what the recipe asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// It was recorded, finished or not, by a version that did not write down its inputs.
    OtherVersion,
    Keys(Vec<Difference>),
    /// An input was made anew since.
    Remade(&'static str),
    /// An input is not there.
    Gone(&'static str),
    /// An input is itself not what the recipe asks for.
    Stale(&'static str),
}

/// What there is of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nothing that took time.
    Missing,
    /// Steps were done and saved; from settings that differ in these.
    Begun(Vec<Difference>),
    /// Finished, and its inputs are what it was made from.
    Current,
    Stale(Vec<Why>),
}

/// A stage and its state.
pub struct Found {
    pub stage: &'static Stage,
    pub state: State,
    /// An unfinished redo of it, from settings that differ in these.
    pub redo: Option<Vec<Difference>>,
    outputs: Option<String>,
    flops: Option<String>,
}

/// All stages of a run, in order.
pub struct Survey {
    pub found: Vec<Found>,
}

impl Survey {
    /// Looks at the run in `run`, which need not be there, with the recipe of `keys` and text of the hash `data`.
    ///
    /// # Errors
    /// If a stage's record is damaged.
    pub fn of(run: &Path, keys: &Keys, data: &str) -> Outcome<Self> {
        let mut survey = Self { found: Vec::new() };
        for stage in &TABLE {
            let found = survey.look(run, stage, keys, data)?;
            survey.found.push(found);
        }
        Ok(survey)
    }

    /// What there is of the stage called `name`.
    pub fn get(&self, name: &str) -> &Found {
        self.found.iter().find(|found| found.stage.name == name).expect("inputs come before what reads them")
    }

    fn look(&self, run: &Path, stage: &'static Stage, keys: &Keys, data: &str) -> Outcome<Found> {
        let (home, beside) = (run.join(stage.name), run.join(REDO).join(stage.name));
        let (facts, redo) = (StageFacts::read(&home)?, StageFacts::read(&beside)?);
        let wanted = self.wanted(stage, keys, data);
        let found = |state, path: Option<&PathBuf>, outputs| Found {
            stage,
            state,
            redo: None,
            outputs,
            flops: path.and_then(|path| flops(path)),
        };
        // Finished beside, and killed before it took its place: it will at the next command.
        if let Some((inputs, outputs)) = redo.finished.clone()
            && Some(&inputs) == wanted.as_ref()
        {
            return Ok(found(State::Current, Some(&beside), Some(outputs)));
        }
        let pending =
            redo.begun.filter(|_| redo.finished.is_none()).map(|begun| differences(&begun, &stage.keys(keys)));
        let mut result = match (facts.finished, facts.begun) {
            (Some((inputs, outputs)), _) => {
                let whys = self.whys(stage, &inputs, keys);
                let state = if whys.is_empty() { State::Current } else { State::Stale(whys) };
                found(state, Some(&home), Some(outputs))
            }
            (None, Some(Value::Null)) if facts.has_state => found(State::Stale(vec![Why::OtherVersion]), None, None),
            (None, Some(begun)) if facts.has_state => {
                found(State::Begun(differences(&begun, &stage.keys(keys))), None, None)
            }
            _ => found(State::Missing, None, None),
        };
        result.redo = pending;
        Ok(result)
    }

    /// What `stage` must have been made from; nothing where an input is not there.
    fn wanted(&self, stage: &Stage, keys: &Keys, data: &str) -> Option<Value> {
        let of = |names: &[&str], pick: fn(&Found) -> Option<String>| -> Option<Keys> {
            names.iter().map(|name| Some((name.to_string(), pick(self.get(name))?))).collect()
        };
        if !stage.inputs().all(|name| self.get(name).state == State::Current) {
            return None;
        }
        let (outputs, flops) = (of(stage.after, |f| f.outputs.clone())?, of(stage.costs, |f| f.flops.clone())?);
        Some(record(stage, keys, data, &outputs, &flops))
    }

    /// Why `stage`, finished from `inputs`, is not what the recipe asks for.
    fn whys(&self, stage: &Stage, inputs: &Value, keys: &Keys) -> Vec<Why> {
        if inputs.is_null() {
            return vec![Why::OtherVersion];
        }
        let mut whys = Vec::new();
        let differences = differences(inputs, &stage.keys(keys));
        if !differences.is_empty() {
            whys.push(Why::Keys(differences));
        }
        let read = stage.after.iter().map(|name| (name, &inputs["outputs"][name], &self.get(name).outputs));
        let counted = stage.costs.iter().map(|name| (name, &inputs["flops"][name], &self.get(name).flops));
        for (name, was, is) in read.chain(counted) {
            match &self.get(name).state {
                State::Missing | State::Begun(_) => whys.push(Why::Gone(name)),
                _ if was.as_str() != is.as_deref() => whys.push(Why::Remade(name)),
                State::Stale(_) => whys.push(Why::Stale(name)),
                State::Current => {}
            }
        }
        whys
    }

    /// Stages whose own settings are not the recipe's, so that they cannot stay.
    pub fn changed(&self) -> Vec<&Found> {
        self.found.iter().filter(|found| found.is_changed()).collect()
    }

    /// Finished and begun stages that the recipe would have made anew, and those that would stay.
    pub fn anew_and_staying(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut anew: Vec<&str> = Vec::new();
        let mut staying = Vec::new();
        for found in self.found.iter().filter(|found| found.state != State::Missing) {
            let stage = found.stage;
            let stands = match &found.state {
                State::Begun(differences) => differences.is_empty(),
                state => *state == State::Current,
            };
            let inputs_stand = !stage.inputs().any(|input| anew.contains(&input));
            if stands && inputs_stand { staying.push(stage.name) } else { anew.push(stage.name) }
        }
        (anew, staying)
    }

    /// A sentence for each finished stage that does not belong to the others or to the recipe.
    pub fn strangers(&self) -> Vec<String> {
        self.found.iter().filter_map(Found::complaint).collect()
    }
}

impl Found {
    /// Whether its own settings, not its inputs, are other than the recipe's.
    fn is_changed(&self) -> bool {
        match &self.state {
            State::Missing | State::Current => false,
            State::Begun(differences) => !differences.is_empty(),
            State::Stale(whys) => whys.iter().any(|why| matches!(why, Why::OtherVersion | Why::Keys(_))),
        }
    }

    /// Whether there is nothing of it to read.
    pub fn is_absent(&self) -> bool {
        matches!(self.state, State::Missing | State::Begun(_)) || self.outputs.is_none()
    }

    /// Whether an older version recorded it.
    pub fn is_of_other_version(&self) -> bool {
        matches!(&self.state, State::Stale(whys) if whys.contains(&Why::OtherVersion))
    }

    /// The settings in which it differs from the recipe.
    pub fn differences(&self) -> Vec<Difference> {
        match &self.state {
            State::Begun(differences) => differences.clone(),
            State::Stale(whys) => whys
                .iter()
                .flat_map(|why| if let Why::Keys(differences) = why { differences.clone() } else { Vec::new() })
                .collect(),
            State::Missing | State::Current => Vec::new(),
        }
    }

    /// Why a finished stage is out of date, in a sentence without its full stop; nothing of one that is not.
    pub fn complaint(&self) -> Option<String> {
        let State::Stale(whys) = &self.state else { return None };
        let why = |why: &Why| match why {
            Why::OtherVersion => "was made by another version of reseek".to_string(),
            Why::Keys(differences) => {
                let one = |d: &Difference| format!("{} = {} where the recipe has {}", d.key, d.run, d.wanted);
                format!("was made with {}", differences.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Why::Remade(input) => format!("was made from another {input}"),
            Why::Gone(input) => format!("was made from {input}, which is not there"),
            Why::Stale(input) => format!("was made from {input}, which is itself out of date"),
        };
        Some(format!("{} {}", self.stage.name, whys.iter().map(why).collect::<Vec<_>>().join(", and ")))
    }
}

/// Keys in which the settings of a record differ from `wanted`.
fn differences(inputs: &Value, wanted: &Keys) -> Vec<Difference> {
    let was: Keys = serde_json::from_value(inputs["recipe"].clone()).unwrap_or_default();
    compare(&was, wanted)
}

/// Keys in which two recipes differ.
pub fn compare(run: &Keys, wanted: &Keys) -> Vec<Difference> {
    let mut keys: Vec<&String> = run.keys().chain(wanted.keys()).collect();
    keys.sort();
    keys.dedup();
    let value = |keys: &Keys, key: &String| keys.get(key).cloned().unwrap_or_else(|| "-".to_string());
    let all =
        keys.into_iter().map(|key| Difference { key: key.clone(), run: value(run, key), wanted: value(wanted, key) });
    all.filter(|d| d.run != d.wanted).collect()
}

/// The operations that a finished stage took, as a record names them.
pub fn flops(stage: &Path) -> Option<String> {
    let used = Manifest::read(&stage.join(USAGE)).ok()?;
    used.meta["flops"].as_f64().map(|flops| flops.to_string())
}
