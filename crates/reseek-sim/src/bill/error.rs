//! Why a bill is refused, and the nearest name for one that is unknown.

use reseek_spec::sentence;

/// Why a bill cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BillError {
    #[error("{file}: {message}. Every item needs id, title, group, basis, quantity and either cited or assumption.")]
    Data { file: String, message: String },
    #[error("{file}: {message}. {}", sentence(hint))]
    Catalog { file: String, message: String, hint: String },
    #[error("there is no {what} \"{name}\". {}", sentence(hint))]
    Unknown { what: &'static str, name: String, hint: String },
    #[error("price {key}: {message}. {}", sentence(hint))]
    Price { key: String, message: String, hint: String },
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
