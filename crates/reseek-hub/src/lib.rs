//! Names of models on the Hugging Face Hub, `hf://org/name[@revision]`, and where the Hub's cache has them on this machine.
//!
//! The cache is the one of Hugging Face's own tools, found as they find it: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
//! ~/.cache/huggingface/hub. A model that is there is taken from there, without a network. With the feature `download` another is fetched
//! into it (the `hf-hub` crate; HF_TOKEN for gated models, HF_ENDPOINT for a mirror), unless HF_HUB_OFFLINE is set.
//!
//! ```
//! use reseek_hub::HubModel;
//!
//! let model: HubModel = "hf://HuggingFaceTB/SmolLM2-135M@main".parse()?;
//! assert_eq!(model.repository(), "HuggingFaceTB/SmolLM2-135M");
//! assert_eq!(model.revision(), "main");
//! # Ok::<(), reseek_hub::HubError>(())
//! ```

#![deny(missing_docs, clippy::too_many_arguments)]

mod cache;
#[cfg(feature = "download")]
mod download;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use cache::HubCache;

/// What names of models on the Hub begin with.
pub const SCHEME: &str = "hf://";

/// Why a model of the Hub is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not a name.
    #[error(
        "{name:?} is no model of the Hugging Face Hub: {reason}. Such names are hf://organisation/model or hf://organisation/model@revision."
    )]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is neither HOME nor a variable that says where the cache is.
    #[error("There is no HOME to look for the Hub's cache in. Set HF_HOME to the folder whose `hub` holds models.")]
    NoHome,
    /// The cache lacks it and nothing may be fetched.
    #[error(
        "{model} is not in the Hub's cache: {} is missing. {why} Fetch it where there is a network (`hf download {}`) and copy the folder \
         {} here, or give the path of a folder with its files.",
        missing.display(),
        model.command(),
        model.folder()
    )]
    Absent {
        /// Which.
        model: HubModel,
        /// The first file or folder that was looked for in vain.
        missing: PathBuf,
        /// Why it was not fetched.
        why: &'static str,
    },
    /// A file of the cache says something that none should.
    #[error("{}: {reason}. The cache is damaged: remove the folder {} and fetch the model again.", path.display(), folder.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// The model's folder in the cache.
        folder: PathBuf,
    },
    /// The Hub did not give it.
    #[error("{model} could not be fetched: {reason}. {mend}")]
    Fetch {
        /// Which.
        model: HubModel,
        /// In the words of the `hf-hub` crate.
        reason: String,
        /// What to do.
        mend: &'static str,
    },
}

/// A model on the Hub at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    organisation: String,
    name: String,
    revision: String,
}

impl HubModel {
    /// `organisation/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// A branch, a tag or a commit; `main` where none is named.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Its folder in a cache.
    pub fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }

    fn command(&self) -> String {
        match self.revision.as_str() {
            "main" => self.repository(),
            revision => format!("{} --revision {revision}", self.repository()),
        }
    }

    /// The folder with its files: of the cache, or fetched into it.
    ///
    /// # Errors
    /// If it is not in the cache and cannot be fetched.
    pub fn locate(&self) -> Result<PathBuf, HubError> {
        let cache = HubCache::from_env()?;
        match cache.snapshot(self) {
            #[cfg(feature = "download")]
            Err(HubError::Absent { .. }) if !cache::is_offline() => download::fetch(&cache, self),
            found => found,
        }
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.repository(), self.revision)
    }
}

impl FromStr for HubModel {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |reason: &str| {
            let name = text.chars().take(200).collect();
            Err(HubError::Name { name, reason: reason.to_string() })
        };
        let Some(rest) = text.strip_prefix(SCHEME) else { return wrong("it does not begin with hf://") };
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let Some((organisation, name)) = repository.split_once('/') else { return wrong("it has no organisation") };
        // What goes into paths and addresses is letters that mean nothing there.
        if ![organisation, name].iter().all(|part| is_plain(part)) {
            return wrong("organisation and model are letters, digits, dots, hyphens and underscores");
        }
        if revision.len() > 200 || !revision.split('/').all(is_plain) {
            return wrong("its revision is a branch, a tag or a commit");
        }
        Ok(Self { organisation: organisation.to_string(), name: name.to_string(), revision: revision.to_string() })
    }
}

/// Whether `part` can be a folder's name that leads nowhere else.
fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=96).contains(&part.len()) && part.chars().all(allowed) && !part.starts_with('.')
}
