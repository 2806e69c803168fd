//! The crate's two environment variables, `RESEEK_SIMD` and `RESEEK_THREADS`. The first use of a
//! kernel or of the pool panics on a wrong value; a program calls [`check`] first to report it.

use std::error::Error;
use std::fmt;

/// A variable with a value that means nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvError {
    /// Its name.
    pub variable: &'static str,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub expected: String,
}

impl EnvError {
    pub(crate) fn new(variable: &'static str, value: &str, expected: String) -> Self {
        Self { variable, value: value.to_owned(), expected }
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, value, expected } = self;
        write!(f, "{variable}={value} will not do: it takes {expected}. Unset {variable} for the default.")
    }
}

impl Error for EnvError {}

/// Checks both variables without starting anything.
///
/// # Errors
/// With the first variable that has a wrong value.
pub fn check() -> Result<(), EnvError> {
    crate::dispatch::from_env()?;
    crate::pool::threads_from_env()?;
    Ok(())
}

/// The variable's value, `None` where it is unset or empty.
pub(crate) fn read(variable: &'static str) -> Result<Option<String>, EnvError> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(text) => Ok(Some(text)),
        Err(bytes) => Err(EnvError::new(variable, &bytes.to_string_lossy(), "text in UTF-8".to_owned())),
    }
}
