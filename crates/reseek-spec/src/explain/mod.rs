//! What every key of a recipe is, in which unit, what the papers have and where it comes from: one entry a key, which `reseek config
//! --explain`, docs/guide/config.md and the hints at unknown keys all read.

mod names;
mod post_training;
mod pre_training;
mod rl;

use toml::{Table, Value};

use crate::recipe::RL_SECTIONS;
use crate::{Resolved, SpecError};

pub(crate) use names::{mend, no_key};

/// What is said of a key.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The key. `{rl}` stands for the four stages of reinforcement learning and `{sft}` for both fine-tunings, which share their keys.
    pub key: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What its value counts.
    pub unit: &'static str,
    /// The papers' value.
    pub paper: &'static str,
    /// The section that says so, or "ours" and why.
    pub from: &'static str,
    /// Its names in TRL, transformers, verl, Open R1 or Megatron.
    pub known_as: &'static [&'static str],
}

/// Entries under one heading.
struct Section {
    title: &'static str,
    entries: &'static [Entry],
}

/// In the order in which they are printed.
const SECTIONS: [Section; 11] = [
    pre_training::EVERYWHERE,
    pre_training::TASKS,
    pre_training::TOKENIZER,
    pre_training::PRETRAIN,
    pre_training::EXTEND,
    rl::RL,
    post_training::R1,
    post_training::SFT,
    post_training::DISTIL,
    post_training::EVAL,
    names::NOT_KEYS,
];

/// Stages that `{sft}` stands for.
const SFT_STAGES: [&str; 2] = ["r1.sft", "distil.sft"];

impl Entry {
    /// The keys that it explains.
    fn keys(&self) -> Vec<String> {
        let of = |stages: &[&str], end: &str| stages.iter().map(|stage| format!("{stage}{end}")).collect();
        match (self.key.strip_prefix("{rl}"), self.key.strip_prefix("{sft}")) {
            (Some(end), _) => of(&RL_SECTIONS, end),
            (_, Some(end)) => of(&SFT_STAGES, end),
            _ => vec![self.key.to_string()],
        }
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    SECTIONS.iter().flat_map(|section| section.entries)
}

/// Every key that has an entry.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    entries().flat_map(Entry::keys)
}

/// Explains `about` (a key, the beginning of keys such as `r1`, or a name that another library gives one), or everything, as Markdown with
/// the values of `resolved`.
///
/// # Errors
/// If nothing is called `about`.
pub fn explain(resolved: &Resolved, about: Option<&str>) -> Result<String, SpecError> {
    let values: Table = resolved.toml.parse().expect("a recipe is TOML");
    let wanted: Option<Vec<String>> = about.map(|name| match names::below(name) {
        keys if keys.is_empty() => names::leads_to(name),
        keys => keys,
    });
    if let (Some(name), Some([])) = (about, wanted.as_deref()) {
        return Err(SpecError::Recipe {
            layer: "--explain".to_string(),
            message: format!("no key is called {name}"),
            mend: mend(name),
        });
    }
    let mut page = match wanted {
        None => format!("{}{}.\n", INTRODUCTION.trim_start(), resolved.recipe.scale.name()),
        Some(_) => String::new(),
    };
    for section in SECTIONS {
        let shown =
            |entry: &&Entry| wanted.as_ref().is_none_or(|keys| entry.keys().iter().any(|key| keys.contains(key)));
        let parts: Vec<String> =
            section.entries.iter().filter(shown).map(|entry| paragraph(entry, &values, wanted.as_deref())).collect();
        if !parts.is_empty() {
            let gap = if page.is_empty() { "" } else { "\n" };
            page.push_str(&format!("{gap}## {}\n\n{}", section.title, parts.join("\n")));
        }
    }
    if wanted.is_none() {
        page.push_str(&names::table());
    }
    Ok(page)
}

const INTRODUCTION: &str = "
# The recipe, key by key

`reseek config --explain` prints this page, `reseek config --explain zero` the part about R1-Zero, `reseek config --explain zero.lr` one key, and
`reseek config --explain learning_rate` the keys that TRL would call so. Set a key with `--set zero.lr=1e-4`, or in a file given to `--recipe`.

V3 is the DeepSeek-V3 technical report (arXiv 2412.19437), R1 the DeepSeek-R1 report (arXiv 2501.12948); \"R1, Nature\" is its second version. \"Ours\" is
a setting that the papers do not have or do not give. Models are V3's and R1's architecture at a size that `--scale` chooses: hidden sizes, layers and
experts follow from it and are no keys.

Values are those of the scale ";

/// Columns of a line.
const WIDTH: usize = 120;

fn paragraph(entry: &Entry, values: &Table, wanted: Option<&[String]>) -> String {
    let value =
        |key: &String| format!("`{key}` = {}", lookup(values, key).map_or("–".to_string(), ToString::to_string));
    let asked = |key: &&String| wanted.is_none_or(|wanted| wanted.contains(key));
    let keys: Vec<String> = entry.keys().iter().filter(asked).map(value).collect();
    let mut text = format!("- {}\n", keys.join(", "));
    let source = match entry.from.strip_prefix("ours: ") {
        Some(why) => format!("Ours: {why}"),
        None => format!("From: {}", entry.from),
    };
    let facts = format!("{} Unit: {}. Paper: {}. {source}.", entry.what, entry.unit, entry.paper);
    let names = match entry.known_as {
        [] => String::new(),
        names => format!(" Known as: {}.", names.join(", ")),
    };
    let mut line = " ".to_string();
    for word in (facts + &names).split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = " ".to_string();
        }
        line.push(' ');
        line.push_str(word);
    }
    text + &line + "\n"
}

fn lookup<'a>(values: &'a Table, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    match rest {
        None => values.get(first),
        Some(rest) => lookup(values.get(first)?.as_table()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scale, resolve};

    fn keys_of(table: &Table, prefix: &str, found: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => keys_of(inner, &format!("{prefix}{key}."), found),
                _ => found.push(format!("{prefix}{key}")),
            }
        }
    }

    #[test]
    fn every_key_has_one_entry_and_every_entry_a_key() {
        let mut explained: Vec<String> = keys().collect();
        explained.sort();
        let mut once = explained.clone();
        once.dedup();
        assert_eq!(explained, once, "a key is explained twice");
        for scale in Scale::ALL {
            let recipe: Table = resolve(scale, &[], &[]).unwrap().toml.parse().unwrap();
            let mut found = Vec::new();
            keys_of(&recipe, "", &mut found);
            let missing: Vec<&String> = found.iter().filter(|key| !explained.contains(key)).collect();
            let left_over: Vec<&String> = explained.iter().filter(|key| !found.contains(key)).collect();
            assert!(missing.is_empty(), "add an entry in crates/reseek-spec/src/explain for {missing:?}");
            assert!(left_over.is_empty(), "no recipe has {left_over:?}");
        }
    }

    #[test]
    fn entries_are_whole_sentences_with_unit_value_and_source() {
        for entry in entries() {
            assert!(entry.what.ends_with('.') && entry.what.starts_with(char::is_uppercase), "{entry:?}");
            for part in [entry.unit, entry.paper, entry.from] {
                assert!(!part.is_empty() && !part.ends_with('.'), "{entry:?}");
            }
            assert!(["V3", "R1", "ours"].iter().any(|source| entry.from.starts_with(source)), "{entry:?}");
        }
    }
}
