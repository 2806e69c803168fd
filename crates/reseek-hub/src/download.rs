//! Fetching a model into the cache.

use std::path::PathBuf;

use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};

use crate::{HubCache, HubError, HubModel};

/// What a model's folder needs of the files that a repository has: weights as safetensors, and small files beside them.
fn is_wanted(file: &str) -> bool {
    let small = file.ends_with(".json") || file.ends_with(".jinja") || file.ends_with(".model") || file == "LICENSE";
    !file.contains('/') && (small || file.ends_with(".safetensors")) || file.starts_with("additional_chat_templates/")
}

/// Fetches what is wanted and is not in the cache yet; returns the folder of the files.
pub fn fetch(cache: &HubCache, model: &HubModel) -> Result<PathBuf, HubError> {
    let failed = |error: ApiError| HubError::Fetch {
        model: model.clone(),
        reason: error.to_string(),
        mend: "Check its name and the network; a gated model needs HF_TOKEN. Without a network, copy the model's folder into the cache.",
    };
    let mut builder = ApiBuilder::from_env().with_cache_dir(cache.folder().clone()).with_retries(2);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let repository = Repo::with_revision(model.repository(), RepoType::Model, model.revision().to_string());
    let repository = builder.build().map_err(failed)?.repo(repository);
    let info = repository.info().map_err(failed)?;
    for file in info.siblings.iter().map(|file| &file.rfilename).filter(|file| is_wanted(file)) {
        repository.get(file).map_err(failed)?;
    }
    cache.snapshot(model)
}
