//! What ends a command, and with which exit code.

use std::fmt::Display;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The user stopped it; everything is saved. Exit code 130.
    Interrupted(String),
    /// The answer was printed, and it is no. Exit code 1.
    No,
    /// Exit code 2.
    Error(String),
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Failure::Interrupted(message) | Failure::Error(message) => f.write_str(message),
            Failure::No => f.write_str("the answer is no"),
        }
    }
}

/// The result of a command.
pub type Outcome<T> = Result<T, Failure>;

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Error(error.to_string())
    }
}

/// A message: what is wrong, and as its last sentence what to do.
pub fn fail<T>(message: impl Display) -> Outcome<T> {
    Err(Failure::Error(message.to_string()))
}
