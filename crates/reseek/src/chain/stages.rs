//! Every stage with what it is made from: the keys of the recipe that decide its bytes, and the stages whose outputs it reads. One
//! table for doing, skipping and refusing, so that the three cannot disagree.

use std::collections::BTreeMap;

use reseek_spec::RecipeSpec;
use serde_json::{Value, json};

use crate::error::Outcome;

/// A stage of the chain, sub-stages counted one by one.
pub struct Stage {
    pub name: &'static str,
    /// The command that makes it.
    pub command: &'static str,
    /// Keys of the recipe: whole names, sections, or beginnings that end in `*`; `!` takes one out again.
    pub reads: &'static [&'static str],
    /// Stages whose outputs it reads.
    pub after: &'static [&'static str],
    /// Stages whose operations it counts.
    pub costs: &'static [&'static str],
}

/// In the order in which they run. Whatever trains reads `compute`, `moments` and the number of lanes.
pub const TABLE: [Stage; 13] = [
    stage(
        "tokenizer",
        "tokenizer",
        &[
            "tokenizer",
            "tasks",
            "pretrain.seq_len",
            "pretrain.problem_share",
            "pretrain.conversation_share",
            "pretrain.mixed_language_share",
            "pretrain.direct_share",
        ],
        &[],
    ),
    stage("pretrain", "pretrain", &["scale", "compute", "moments", "tasks", "pretrain"], &["tokenizer"]),
    // Batches, losses and optimizer of the extension are those of pre-training.
    stage("extend", "extend", &["compute", "moments", "tasks", "pretrain", "extend"], &["pretrain", "tokenizer"]),
    stage("zero", "zero", &["compute", "moments", "pretrain.lanes", "tasks", "zero"], &["extend", "tokenizer"]),
    stage(
        "r1_cold_start",
        "r1",
        &["compute", "moments", "pretrain.lanes", "tasks", "r1.cold_start_*", "r1.sft"],
        &["extend", "tokenizer"],
    ),
    stage("r1_rl", "r1", &["compute", "moments", "pretrain.lanes", "tasks", "r1.rl"], &["r1_cold_start", "tokenizer"]),
    stage(
        "r1_rejection",
        "r1",
        &["compute", "tasks", "r1.rejection_*", "r1.general_samples", "r1.rl.max_new_tokens"],
        &["r1_rl", "tokenizer"],
    ),
    stage(
        "r1_sft",
        "r1",
        &["compute", "moments", "pretrain.lanes", "r1.sft"],
        &["extend", "r1_rejection", "tokenizer"],
    ),
    stage(
        "r1",
        "r1",
        &["compute", "moments", "pretrain.lanes", "tasks", "r1.rl_all", "r1.reward_model_*"],
        &["r1_sft", "tokenizer"],
    ),
    stage(
        "student_base",
        "distil",
        &["scale", "compute", "moments", "tasks", "pretrain", "!pretrain.tokens", "distil.pretrain_tokens"],
        &["tokenizer"],
    ),
    stage(
        "student",
        "distil",
        &["compute", "moments", "pretrain.lanes", "distil.sft"],
        &["student_base", "r1_rejection", "tokenizer"],
    ),
    Stage {
        name: "student_rl",
        command: "distil",
        reads: &["compute", "moments", "pretrain.lanes", "tasks", "distil.rl"],
        after: &["student_base", "tokenizer"],
        costs: &["student", "r1_rejection"],
    },
    stage(
        "eval",
        "eval",
        &["compute", "tasks", "eval", "pretrain.seq_len"],
        &["extend", "zero", "r1", "student", "student_rl", "tokenizer"],
    ),
];

const fn stage(
    name: &'static str,
    command: &'static str,
    reads: &'static [&'static str],
    after: &'static [&'static str],
) -> Stage {
    Stage { name, command, reads, after, costs: &[] }
}

/// The stage called `name`.
///
/// # Panics
/// If there is none: names come from the code.
pub fn find(name: &str) -> &'static Stage {
    TABLE.iter().find(|stage| stage.name == name).unwrap_or_else(|| panic!("no stage is called {name}"))
}

/// Keys with their values as TOML writes them, such as `zero.steps` and `40`.
pub type Keys = BTreeMap<String, String>;

/// Every key of a recipe.
pub fn keys_of(recipe: &RecipeSpec) -> Outcome<Keys> {
    Ok(flat(&toml::Table::try_from(recipe)?))
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

impl Stage {
    /// Whether `key` decides what comes out, as the table says.
    pub fn is_made_from(&self, key: &str) -> bool {
        let names = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == pattern || key.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.')),
        };
        let is_out = self.reads.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(names);
        !is_out && self.reads.iter().any(|pattern| names(pattern))
    }

    /// The keys of `all` that the stage reads.
    pub fn keys(&self, all: &Keys) -> Keys {
        all.iter().filter(|(key, _)| self.is_made_from(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What a stage's record says that it was made from. `outputs` are hashes by stage, `flops` operations by stage.
    pub fn inputs(&self, all: &Keys, data: &str, outputs: &Keys, flops: &Keys) -> Value {
        json!({"recipe": self.keys(all), "data": data, "outputs": outputs, "flops": flops})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Keys {
        keys_of(&reseek_spec::resolve(reseek_spec::Scale::Nano, &[], &[]).unwrap().recipe).unwrap()
    }

    /// A key that no stage reads could change without anything being made anew.
    #[test]
    fn every_key_of_the_recipe_belongs_to_a_stage() {
        for key in all().keys() {
            assert!(TABLE.iter().any(|stage| stage.is_made_from(key)), "no stage says that it reads {key}");
        }
    }

    #[test]
    fn every_pattern_names_a_key_and_every_input_comes_before() {
        let all = all();
        for (i, stage) in TABLE.iter().enumerate() {
            for pattern in stage.reads {
                let beginning = pattern.trim_start_matches('!').trim_end_matches('*');
                assert!(all.keys().any(|key| key.starts_with(beginning)), "{} reads {pattern}, no key", stage.name);
            }
            for input in stage.after.iter().chain(stage.costs) {
                assert!(TABLE[..i].iter().any(|earlier| earlier.name == *input), "{} reads {input}", stage.name);
            }
        }
    }
}
