//! Why a simulation is refused.

use reseek_spec::{SpecError, sentence};

/// Why a simulation is refused.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A value of a plan, a run or a schedule that does not fit.
    #[error("{found} will not do: it takes {allowed}. {}", sentence(hint))]
    Plan {
        /// The value with its name.
        found: String,
        /// What would fit.
        allowed: String,
        /// What to do.
        hint: String,
    },
    /// A cluster, model or schedule that cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl SimError {
    pub(crate) fn plan(found: String, allowed: &str, hint: &str) -> Self {
        Self::Plan { found, allowed: allowed.to_string(), hint: hint.to_string() }
    }
}
