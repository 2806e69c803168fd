//! What a run folder says about itself, so that the command of a single stage need not say it again.

use std::path::Path;

use reseek_spec::{Layer, Scale};
use reseek_store::{RunDir, StoreError};

use crate::chain::CONFIG;
use crate::error::{Outcome, fail};

/// The seed and the configuration of a run that is there already; nothing of one that is not.
#[derive(Default)]
pub struct Past {
    pub seed: Option<u64>,
    config: Option<toml::Table>,
}

impl Past {
    /// Reads the run at `out`.
    pub fn of(out: &Path) -> Outcome<Self> {
        let seed = match RunDir::inspect(out) {
            Err(StoreError::NoManifest { .. }) => return Ok(Self::default()),
            other => other?.seed,
        };
        let path = out.join(CONFIG);
        // A kill right after the run was begun leaves none.
        if !path.exists() {
            return Ok(Self { seed: Some(seed), config: None });
        }
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| text.parse().map_err(|error: toml::de::Error| error.to_string())) {
            Ok(config) => Ok(Self { seed: Some(seed), config: Some(config) }),
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
                "{} was made with --scale {}, this command has --scale {}. Leave --scale out to go on with that run, or choose \
                 another folder with --out.",
                out.display(),
                has.name(),
                asked.name()
            )),
            _ => Ok(has),
        }
    }

    /// The configuration as a layer under what this command sets.
    pub fn layer(&self, out: &Path) -> Outcome<Option<Layer>> {
        let Some(config) = &self.config else { return Ok(None) };
        Ok(Some(Layer { name: out.join(CONFIG).display().to_string(), text: toml::to_string(config)? }))
    }
}
