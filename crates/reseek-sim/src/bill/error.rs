//! Why a bill is refused, and the nearest name for one that is unknown.

/// Why a bill cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BillError {
    #[error(
        "{file}: {message}; hint: every item needs id, title, group, basis, quantity and either cited or assumption"
    )]
    Data { file: String, message: String },
    #[error("{file}: {message}; hint: {hint}")]
    Catalog { file: String, message: String, hint: String },
    #[error("there is no {what} \"{name}\"; hint: {hint}")]
    Unknown { what: &'static str, name: String, hint: String },
    #[error("price {key}: {message}; hint: {hint}")]
    Price { key: String, message: String, hint: String },
}

impl BillError {
    pub(super) fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let near = nearest(name, known.iter().copied());
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

/// The known name with the fewest letters to change (Levenshtein's distance), the first of equals.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = shown(name);
    known.min_by_key(|other| distance(&name, other))
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
