//! What each stage reads of the recipe. Its hash has these keys and no others, and while it runs the recipe has no other number: one
//! that is not named here is 0, so that no setting can change a result and leave its hash alone.

use reseek_spec::RecipeSpec;
use serde_json::{Map, Value};

use crate::error::{Outcome, fail};

/// What decides how a pre-training mixture looks.
const FORMS: [&str; 4] =
    ["pretrain.problem_share", "pretrain.conversation_share", "pretrain.mixed_language_share", "pretrain.direct_share"];

/// Keys, sections, and beginnings of keys that end in `_`; after `-`, a key that is not read though its section is.
fn keys(stage: &str) -> Outcome<Vec<&'static str>> {
    let trains = ["compute", "moments", "pretrain.lanes"];
    Ok(match stage {
        "tokenizer" => [&["tasks", "tokenizer", "pretrain.seq_len"], &FORMS[..]].concat(),
        "pretrain" => vec!["scale", "compute", "moments", "tasks", "pretrain"],
        // Batches, losses and optimizer are those of pre-training.
        "extend" => vec!["compute", "moments", "tasks", "pretrain", "extend"],
        "zero" => [&trains[..], &["tasks", "zero"]].concat(),
        "r1_cold_start" => [&trains[..], &["tasks", "r1.cold_start_", "r1.sft"]].concat(),
        "r1_rl" => [&trains[..], &["tasks", "r1.rl"]].concat(),
        "r1_rejection" => vec!["compute", "tasks", "r1.rejection_", "r1.general_samples", "r1.rl.max_new_tokens"],
        "r1_sft" => [&trains[..], &["r1.sft"]].concat(),
        "r1" => [&trains[..], &["tasks", "r1.rl_all", "r1.reward_model_"]].concat(),
        "student_base" => {
            vec!["scale", "compute", "moments", "tasks", "pretrain", "-pretrain.tokens", "distil.pretrain_tokens"]
        }
        "student" => [&trains[..], &["distil.sft"]].concat(),
        "student_rl" => [&trains[..], &["tasks", "distil.rl"]].concat(),
        "eval" => vec!["compute", "tasks", "eval", "pretrain.seq_len"],
        other => return fail(format!("{other} is no stage that reads a recipe.")),
    })
}

fn is_read(keys: &[&str], path: &str) -> bool {
    let is_left_out = keys.iter().any(|key| key.strip_prefix('-') == Some(path));
    !is_left_out
        && keys.iter().any(|key| {
            path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || key.ends_with('_'))
        })
}

/// The recipe with nothing but what `stage` reads, and what it reads as text for its hash.
pub fn of_stage(recipe: &RecipeSpec, stage: &str) -> Outcome<(RecipeSpec, String)> {
    let keys = keys(stage)?;
    let mut visible = serde_json::to_value(recipe)?;
    let mut read = Map::new();
    divide(&mut visible, "", &keys, &mut read);
    Ok((serde_json::from_value(visible)?, serde_json::to_string(&read)?))
}

/// Puts what is read into `read`, by its key, and makes the other numbers 0.
fn divide(value: &mut Value, path: &str, keys: &[&str], read: &mut Map<String, Value>) {
    match value {
        Value::Object(table) => {
            for (key, inner) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                divide(inner, &path, keys, read);
            }
        }
        value if is_read(keys, path) => {
            read.insert(path.to_string(), value.clone());
        }
        Value::Array(values) => values.clear(),
        value if value.is_number() => *value = 0.into(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use reseek_spec::{Scale, resolve};

    use super::super::summary::RUN;
    use super::*;

    fn recipe() -> RecipeSpec {
        resolve(Scale::Nano, &[], &[]).unwrap().recipe
    }

    /// All keys of the recipe with another value each.
    fn changes(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) => table.iter().for_each(|(key, inner)| {
                changes(inner, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
            }),
            Value::Number(n) if n.is_f64() => found.push((path.to_string(), (n.as_f64().unwrap() + 0.5).into())),
            Value::Number(n) => found.push((path.to_string(), (n.as_u64().unwrap() + 1).into())),
            Value::Array(values) => found.push((path.to_string(), values[1..].into())),
            _ => {
                let others = BTreeMap::from([
                    ("scale", "smoke"),
                    ("compute", "f32"),
                    ("moments", "bf16"),
                    ("eval.split", "development"),
                ]);
                found.push((path.to_string(), others[path].into()));
            }
        }
    }

    #[test]
    fn a_key_changes_the_hash_of_the_stages_that_read_it_and_of_no_other() {
        let whole = serde_json::to_value(recipe()).unwrap();
        let mut found = Vec::new();
        changes(&whole, "", &mut found);
        assert!(found.len() > 100, "{found:?}");
        let mut stages: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (path, other) in found {
            let mut changed = whole.clone();
            *changed.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = other;
            let changed: RecipeSpec = serde_json::from_value(changed).unwrap();
            let differs = |stage: &&str| {
                let ((seen, hash), (seen_now, hash_now)) =
                    (of_stage(&recipe(), stage).unwrap(), of_stage(&changed, stage).unwrap());
                // What it sees differs where its hash does: text that it is not to read is the same to all.
                assert!(hash != hash_now || seen == seen_now || !path.contains('.') || path == "eval.split");
                hash != hash_now
            };
            let those: Vec<&str> = RUN.into_iter().filter(differs).collect();
            assert!(!those.is_empty(), "no stage reads {path}");
            stages.insert(path, those);
        }
        let trained = ["zero", "r1_cold_start", "r1_rl", "r1_sft", "r1", "student", "student_rl"];
        let bases = ["pretrain", "extend", "student_base"];
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        for (path, expected) in [
            ("pretrain.lanes", set(&[&bases[..], &trained].concat())),
            ("moments", set(&[&bases[..], &trained].concat())),
            ("pretrain.beta2", set(&bases)),
            ("pretrain.tokens", set(&["pretrain", "extend"])),
            ("zero.beta2", set(&["zero"])),
            ("r1.sft.sequences", set(&["r1_cold_start", "r1_sft"])),
            ("r1.sft.clip", set(&["r1_cold_start", "r1_sft"])),
            ("r1.rl.max_new_tokens", set(&["r1_rl", "r1_rejection"])),
            ("r1.rejection_language", set(&["r1_rejection"])),
            ("r1.reward_model_batch", set(&["r1"])),
            ("pretrain.seq_len", set(&["tokenizer", "pretrain", "extend", "student_base", "eval"])),
            ("pretrain.direct_share", set(&["tokenizer", "pretrain", "extend", "student_base"])),
            ("extend.warmup_steps", set(&["extend"])),
            ("eval.problems_seed", set(&["eval"])),
            ("distil.sft.beta1", set(&["student"])),
        ] {
            assert_eq!(stages[path].iter().copied().collect::<BTreeSet<_>>(), expected, "{path}");
        }
    }

    #[test]
    fn a_stage_sees_no_number_that_is_not_in_its_hash() {
        let (seen, _) = of_stage(&recipe(), "zero").unwrap();
        assert_eq!((seen.zero, seen.pretrain.lanes), (recipe().zero, recipe().pretrain.lanes));
        assert_eq!((seen.pretrain.seq_len, seen.r1.rl.steps, seen.eval.k), (0, 0, 0));
        assert!(of_stage(&recipe(), "report").is_err());
    }
}
