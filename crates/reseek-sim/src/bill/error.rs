//! Why a bill is refused, and the nearest name for one that is unknown.

use reseek_spec::sentence;

/// Why a bill cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BillError {
    /// A file of items that is not of the catalog's form.
    #[error("{file}: {message}. Every item needs id, title, group, basis, quantity and either cited or assumption.")]
    Data {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file whose items contradict each other or the catalog.
    #[error("{file}: {message}. {}", sentence(hint))]
    Catalog {
        /// The file's name.
        file: String,
        /// What contradicts what.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A name that nothing has.
    #[error("there is no {what} \"{name}\". {}", sentence(hint))]
    Unknown {
        /// Subject, preset or item.
        what: &'static str,
        /// What was asked for, at most 80 characters of it.
        name: String,
        /// The nearest name.
        hint: String,
    },
    /// A price without sense.
    #[error("price {key}: {message}. {}", sentence(hint))]
    Price {
        /// Its name.
        key: String,
        /// What is wrong with it.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl BillError {
    pub(super) fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let near = reseek_spec::nearest(name, known.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean {near}? There are {}", known.join(", ")),
            None => "there are none".to_string(),
        };
        Self::Unknown { what, name: shown(name), hint }
    }
}

/// What is repeated of a name that came from outside.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}
