//! What a stage sees of the recipe: its own keys, as the table of stages names them, and no other number. One that is not named there
//! is 0 while the stage runs, so that no setting can change a result and leave its record alone.

use reseek_spec::RecipeSpec;
use reseek_spec::stages::Stage;
use serde_json::Value;

use crate::error::Outcome;

/// The recipe with nothing but what `stage` reads.
pub fn visible(recipe: &RecipeSpec, stage: &Stage) -> Outcome<RecipeSpec> {
    let mut value = serde_json::to_value(recipe)?;
    blank(&mut value, "", stage);
    Ok(serde_json::from_value(value)?)
}

/// Makes the numbers that `stage` does not read 0, and its lists and names empty.
fn blank(value: &mut Value, path: &str, stage: &Stage) {
    match value {
        Value::Object(table) => {
            for (key, inner) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                blank(inner, &path, stage);
            }
        }
        _ if stage.is_made_from(path) => {}
        Value::Array(values) => values.clear(),
        value if value.is_number() => *value = 0.into(),
        value if value.is_boolean() => *value = false.into(),
        // Names and choices of reinforcement learning, whose sections only their stages read.
        value if path.ends_with(".algorithm") => *value = "".into(),
        value if path.ends_with(".kl_estimator") => *value = "k3".into(),
        value if path.ends_with(".scale_rewards") => *value = "auto".into(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use reseek_spec::stages::{TABLE, find};
    use reseek_spec::{Scale, resolve};

    use super::super::stages::keys_of;
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
            Value::Bool(is) => found.push((path.to_string(), (!is).into())),
            _ if path.ends_with(".algorithm") => found.push((path.to_string(), "gspo".into())),
            _ if path.ends_with(".kl_estimator") => found.push((path.to_string(), "k1".into())),
            _ if path.ends_with(".scale_rewards") => found.push((path.to_string(), "batch".into())),
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
    fn a_key_changes_the_record_of_the_stages_that_read_it_and_of_no_other() {
        let whole = serde_json::to_value(recipe()).unwrap();
        let mut found = Vec::new();
        changes(&whole, "", &mut found);
        assert!(found.len() > 100, "{found:?}");
        let mut stages: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (path, other) in found {
            let mut changed = whole.clone();
            *changed.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = other;
            let changed: RecipeSpec = serde_json::from_value(changed).unwrap();
            let (before, now) = (keys_of(&recipe()).unwrap(), keys_of(&changed).unwrap());
            let differs = |stage: &&Stage| {
                let differs = stage.keys(&before) != stage.keys(&now);
                let seen = |recipe: &RecipeSpec| visible(recipe, stage).unwrap();
                // What it sees differs where its record does: text that it is not to read is the same to all.
                assert!(differs || seen(&recipe()) == seen(&changed) || !path.contains('.') || path == "eval.split");
                differs
            };
            let those: Vec<&str> = TABLE.iter().filter(differs).map(|stage| stage.name).collect();
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
            ("zero.algorithm", set(&["zero"])),
            ("zero.kl_estimator", set(&["zero"])),
            ("r1.rl.mask_truncated", set(&["r1_rl"])),
            ("distil.rl.scale_rewards", set(&["student_rl"])),
            ("r1.rl_all.rewards.format", set(&["r1"])),
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
    fn a_stage_sees_no_number_that_is_not_in_its_record() {
        let seen = visible(&recipe(), find("zero")).unwrap();
        assert_eq!((seen.zero, seen.pretrain.lanes), (recipe().zero, recipe().pretrain.lanes));
        assert_eq!((seen.pretrain.seq_len, seen.r1.rl.steps, seen.eval.k), (0, 0, 0));
    }
}
