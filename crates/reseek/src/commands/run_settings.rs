//! What a run folder says about itself, so that no later command need say it again.

use std::path::{Path, PathBuf};

use reseek_spec::stages::Keys;
use reseek_spec::{Layer, Scale};
use reseek_store::{RunDir, StoreError};

use crate::chain::stages::flat;
use crate::chain::{CONFIG, data_of};
use crate::error::{Outcome, fail};

/// The settings that a run was made with; nothing of one that is not there.
#[derive(Default)]
pub struct RunSettings {
    pub seed: Option<u64>,
    config: Option<toml::Table>,
    /// The folder of its own text, if it has one.
    data: Option<PathBuf>,
}

impl RunSettings {
    /// Reads the run at `out`.
    pub fn read(out: &Path) -> Outcome<Self> {
        let seed = match RunDir::inspect(out) {
            Err(StoreError::NoManifest { .. }) => return Ok(Self::default()),
            other => other?.seed,
        };
        let data = data_of(out)?.and_then(|data| data.folder);
        let path = out.join(CONFIG);
        // A kill right after the run was begun leaves none.
        if !path.exists() {
            return Ok(Self { seed: Some(seed), config: None, data });
        }
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| text.parse().map_err(|error: toml::de::Error| error.to_string())) {
            Ok(config) => Ok(Self { seed: Some(seed), config: Some(config), data }),
            Err(error) => fail(format!(
                "{} cannot be read: {}. Remove the file, and repeat the run's --scale, --recipe and --set.",
                path.display(),
                error.trim_end()
            )),
        }
    }

    /// The scale of the run at `out`: the one that it has, or the one that is asked for now.
    pub fn scale(&self, out: &Path, asked: Option<Scale>) -> Outcome<Scale> {
        let name = self.config.as_ref().and_then(|config| config.get("scale")).and_then(toml::Value::as_str);
        let Some(has) = name.and_then(|name| Scale::ALL.into_iter().find(|scale| scale.name() == name)) else {
            return Ok(asked.unwrap_or(Scale::Nano));
        };
        match asked {
            Some(asked) if asked != has => fail(format!(
                "{} was made with --scale {}, and this command has --scale {}, of which nothing could stay. Leave --scale out to go on \
                 with that run, or choose another folder with --out.",
                out.display(),
                has.name(),
                asked.name()
            )),
            _ => Ok(has),
        }
    }

    /// Every key of the run's recipe, as its file has them.
    pub fn keys(&self) -> Option<Keys> {
        self.config.as_ref().map(flat)
    }

    /// The folder to read text and problems from: the one that is asked for now, or the run's.
    pub fn data(&self, out: &Path, asked: Option<&Path>) -> Outcome<Option<PathBuf>> {
        match (asked, &self.data) {
            (None, Some(folder)) if !folder.is_dir() => fail(format!(
                "{} was made from the text in {}, which is not there any more. Name the folder that has it now with --data.",
                out.display(),
                folder.display()
            )),
            (asked, own) => Ok(asked.map(Path::to_path_buf).or_else(|| own.clone())),
        }
    }

    /// The configuration as a layer under what this command sets.
    pub fn layer(&self, out: &Path) -> Outcome<Option<Layer>> {
        let Some(config) = &self.config else { return Ok(None) };
        Ok(Some(Layer { name: out.join(CONFIG).display().to_string(), text: toml::to_string(config)? }))
    }
}
