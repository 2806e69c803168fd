//! Why a simulation is refused.

use reseek_spec::{SpecError, sentence};

/// Why a simulation is refused.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("{found} will not do: it takes {allowed}. {}", sentence(hint))]
    Plan { found: String, allowed: String, hint: String },
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl SimError {
    pub(crate) fn plan(found: String, allowed: &str, hint: &str) -> Self {
        Self::Plan { found, allowed: allowed.to_string(), hint: hint.to_string() }
    }
}
