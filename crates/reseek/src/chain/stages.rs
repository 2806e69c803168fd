//! What does each stage of the table (`reseek_spec::stages`), and what its record says that it was made from. One table for doing, skipping
//! and refusing, so that the three cannot disagree.

use reseek_spec::RecipeSpec;
use reseek_spec::stages::{Keys, Stage};
use reseek_tasks::fingerprint;
use serde_json::{Value, json};

use super::{Chain, base, distil, eval, r1, rl, task_mix};
use crate::error::Outcome;

/// Makes a stage, or finds it done.
pub type Doing = fn(&mut Chain) -> Outcome<()>;

/// What does each stage.
const DOING: [(&str, Doing); 13] = [
    ("tokenizer", base::tokenizer),
    ("pretrain", base::pretrain),
    ("extend", base::extend),
    ("zero", rl::zero),
    ("r1_cold_start", r1::cold_start),
    ("r1_rl", r1::reasoning_rl),
    ("r1_rejection", r1::rejection),
    ("r1_sft", r1::sft),
    ("r1", r1::all_scenarios),
    ("student_base", distil::student_base),
    ("student", distil::by_samples),
    ("student_rl", distil::by_rl),
    ("eval", eval::eval),
];

/// What does the stage called `name`.
///
/// # Panics
/// If there is none: names come from the table.
pub fn doing(name: &str) -> Doing {
    DOING.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("nothing does {name}")).1
}

/// A key that no recipe has: what the generators of today make of its problems. A stage that was made from others is not what the same
/// settings would make.
pub const GENERATED: &str = "tasks.generated";

/// Every key of a recipe, and what its problems are.
pub fn keys_of(recipe: &RecipeSpec) -> Outcome<Keys> {
    Ok(keys_of_config(&toml::Table::try_from(recipe)?))
}

/// The same of a recipe's TOML, which may be of an earlier version: what nothing can be drawn from has no fingerprint.
pub fn keys_of_config(config: &toml::Table) -> Keys {
    let mut keys = flat(config);
    let tasks = config.get("tasks").and_then(|tasks| tasks.clone().try_into().ok());
    let mix = tasks.and_then(|tasks| task_mix(&tasks).ok()).filter(|mix| mix.validate().is_ok());
    if let Some(mix) = mix {
        keys.insert(GENERATED.to_string(), fingerprint(&mix));
    }
    keys
}

/// Every key of a recipe's TOML.
pub fn flat(table: &toml::Table) -> Keys {
    fn walk(prefix: &str, table: &toml::Table, keys: &mut Keys) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(inner) => walk(&path, inner, keys),
                value => {
                    keys.insert(path, value.to_string());
                }
            }
        }
    }
    let mut keys = Keys::new();
    walk("", table, &mut keys);
    keys
}

/// What the record of `stage` says that it was made from. `outputs` are hashes by stage, `flops` operations by stage.
pub fn record(stage: &Stage, all: &Keys, data: &str, outputs: &Keys, flops: &Keys) -> Value {
    json!({"recipe": stage.keys(all), "data": data, "outputs": outputs, "flops": flops})
}

#[cfg(test)]
mod tests {
    use reseek_spec::stages::TABLE;

    use super::*;

    fn all() -> Keys {
        keys_of(&reseek_spec::resolve(reseek_spec::Scale::Nano, &[], &[]).unwrap().recipe).unwrap()
    }

    #[test]
    fn every_stage_of_the_table_is_done_by_something() {
        assert_eq!(DOING.map(|(name, _)| name).to_vec(), TABLE.iter().map(|stage| stage.name).collect::<Vec<_>>());
    }

    /// Two versions whose generators differ make other stages of the same settings.
    #[test]
    fn what_the_generators_make_is_among_the_keys() {
        let recipe = reseek_spec::resolve(reseek_spec::Scale::Nano, &[], &[]).unwrap().recipe;
        let keys = keys_of(&recipe).unwrap();
        assert_eq!(keys[GENERATED].len(), 12);
        assert_eq!(keys, keys_of_config(&toml::Table::try_from(&recipe).unwrap()));
        let zero = TABLE.iter().find(|stage| stage.name == "zero").unwrap();
        assert!(zero.keys(&keys).contains_key(GENERATED));
    }

    /// A key that no stage reads could change without anything being made anew.
    #[test]
    fn every_key_of_the_recipe_belongs_to_a_stage() {
        for key in all().keys() {
            assert!(TABLE.iter().any(|stage| stage.is_made_from(key)), "no stage says that it reads {key}");
        }
    }

    #[test]
    fn every_pattern_names_a_key() {
        let all = all();
        for stage in &TABLE {
            for pattern in stage.reads {
                let beginning = pattern.trim_start_matches('!').trim_end_matches('*');
                assert!(all.keys().any(|key| key.starts_with(beginning)), "{} reads {pattern}, no key", stage.name);
            }
        }
    }
}
