//! Names that other libraries have for our keys, and what to say of a key that is none.

use super::{Section, entries, keys};
use crate::resolve::nearest;

/// Holds the place of what is no key; the page ends with its table.
pub(super) const NOT_KEYS: Section = Section { title: "Names that you may know", entries: &[] };

/// Names of settings that no key of the recipe stands for, and what does.
const ELSEWHERE: [(&[&str], &str); 11] = [
    (
        &[
            "num_hidden_layers",
            "hidden_size",
            "num_attention_heads",
            "num_key_value_heads",
            "intermediate_size",
            "n_routed_experts",
            "num_experts",
            "num_experts_per_tok",
            "kv_lora_rank",
            "q_lora_rank",
        ],
        "a model's shape follows from --scale",
    ),
    (&["seed", "data_seed"], "the option --seed"),
    (&["output_dir", "default_local_dir", "save_dir"], "the option --out"),
    (&["train_files", "data_path", "dataset_path"], "the option --data"),
    (&["optim", "optimizer"], "every stage has AdamW"),
    (&["reward_funcs", "reward_model_path"], "rewards are named and weighed in zero.rewards and its neighbours"),
    (&["max_prompt_length"], "a question is never cut: one that is longer than the context gives way to another"),
    (&["top_k", "min_p", "repetition_penalty"], "RL samples from the whole distribution; eval has eval.top_p alone"),
    (&["use_vllm", "vllm_mode", "tensor_parallel_size"], "the sampler is part of the program"),
    (
        &["gradient_accumulation_steps", "micro_batch_size"],
        "a batch is computed in pieces that fit, whatever its size; set pretrain.sequences or zero.questions",
    ),
    (&["gradient_checkpointing", "packing"], "it is not a setting here"),
];

/// Keys that are `name` or begin with it.
pub(super) fn below(name: &str) -> Vec<String> {
    keys().filter(|key| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))).collect()
}

/// Keys that others call `name`, or whose last part it is. Of several those in the section that `name` begins with, if there are any.
pub(super) fn leads_to(name: &str) -> Vec<String> {
    let name = name.to_lowercase().replace('-', "_");
    let is = |known: &str| name == known || name.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    let leaf = name.rsplit('.').next().unwrap_or_default();
    let found: Vec<String> = entries()
        .filter(|entry| entry.known_as.iter().any(|known| is(known)) || entry.key.rsplit('.').next() == Some(leaf))
        .flat_map(super::Entry::keys)
        .collect();
    let mut section = name.as_str();
    while let Some((outer, _)) = section.rsplit_once('.') {
        section = outer;
        let inside = |key: &&String| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        let here: Vec<String> = found.iter().filter(inside).cloned().collect();
        if !here.is_empty() {
            return here;
        }
    }
    found
}

/// What to do instead of setting `path`, which is no key: a sentence.
pub(crate) fn mend(path: &str) -> String {
    let path: String = path.chars().take(80).collect();
    let all: Vec<String> = keys().collect();
    let near = nearest(&path, all.iter().map(String::as_str)).unwrap_or_default();
    let letters = strsim::levenshtein(&path, near);
    let found = leads_to(&path);
    let leaf = path.rsplit('.').next().unwrap_or_default();
    // A name that others have is no slip: `beta` is one of theirs, and near to `beta1`.
    let is_theirs = entries().any(|entry| entry.known_as.contains(&leaf));
    if path.contains('.') && letters <= SLIP && !is_theirs {
        return format!("Did you mean {near}?");
    }
    if !found.is_empty() {
        return format!("Here it is {}.", listed(&found));
    }
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(names, _)| names.contains(&leaf)) {
        return format!("No key stands for {leaf}: {instead}.");
    }
    // Two names that share less than half of their letters have nothing to do with each other.
    match 2 * letters <= path.chars().count() {
        true => format!("Did you mean {near}?"),
        false => "`reseek config --explain` says what there is.".to_string(),
    }
}

/// Letters that a slip of the fingers changes: two that change places are two.
const SLIP: usize = 2;

/// The error's first half for a key that does not exist.
pub(crate) fn no_key(path: &str) -> String {
    let path: String = path.chars().take(80).collect();
    format!("there is no key {path}")
}

fn listed(keys: &[String]) -> String {
    match keys {
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// The table that ends the page.
pub(super) fn table() -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    for entry in entries() {
        for name in entry.known_as {
            let here = format!("`{}`", entry.keys()[0]);
            match rows.iter_mut().find(|(known, _)| known == name) {
                Some((_, keys)) => *keys = format!("{keys}, {here}"),
                None => rows.push((name, here)),
            }
        }
    }
    rows.extend(ELSEWHERE.iter().flat_map(|(names, instead)| names.iter().map(|name| (*name, instead.to_string()))));
    rows.sort();
    let rows: Vec<String> = rows.into_iter().map(|(name, here)| format!("| `{name}` | {here} |\n")).collect();
    format!(
        "\n## {}\n\nNames in TRL, transformers, verl, Open R1 and Megatron, and what they are here: `--set zero.learning_rate=1e-4` is refused with the key to \
         set instead. Where a key of zero stands, r1.rl, r1.rl_all and distil.rl have it too; where one of r1.sft stands, distil.sft does.\n\n| there | here |\n|---|---|\n{}",
        NOT_KEYS.title,
        rows.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_everybody_knows_lead_to_keys() {
        for (name, key) in [
            ("zero.learning_rate", "Here it is zero.lr."),
            ("r1.rl_all.num_generations", "Here it is r1.rl_all.group."),
            ("zero.max_completion_length", "Here it is zero.max_new_tokens."),
            ("zero.beta", "Here it is zero.kl_beta."),
            ("distil.rl.epsilon", "Here it is distil.rl.clip_epsilon."),
            ("zero.epsilon_high", "Here it is zero.clip_epsilon_high."),
            ("zero.delta", "Here it is zero.clip_delta."),
            ("r1.rl.ppo_epochs", "Here it is r1.rl.num_iterations."),
            ("zero.ref_model_mixup_alpha", "Here it is zero.reference_mixup_alpha."),
            ("zero.mask_truncated_completions", "Here it is zero.mask_truncated."),
            ("zero.per_device_train_batch_size", "Here it is zero.questions."),
            ("r1.sft.num_train_epochs", "Here it is r1.sft.epochs."),
            ("r1.sft.temperature", "Here it is r1.rl.temperature or r1.rl_all.temperature."),
            ("zero.top_p", "Here it is eval.top_p."),
            ("pretrain.warmup_ratio", "Here it is pretrain.warmup_fraction."),
            ("actor_rollout_ref.rollout.n", "zero.group, r1.rl.group, r1.rl_all.group or distil.rl.group."),
            ("zero.num-generations", "Here it is zero.group."),
            ("lr", "zero.lr, r1.rl.lr, r1.rl_all.lr, distil.rl.lr, r1.sft.lr or distil.sft.lr."),
            ("pretrain.num_hidden_layers", "--scale"),
            ("seed", "--seed"),
            ("zero.setps", "Did you mean zero.steps?"),
            ("zreo.steps", "Did you mean zero.steps?"),
            ("qqqqqqqqqq", "`reseek config --explain`"),
        ] {
            assert!(mend(name).contains(key), "{name}: {}", mend(name));
        }
    }

    #[test]
    fn no_name_of_others_is_a_key_or_in_both_tables() {
        let others: Vec<&str> = entries().flat_map(|entry| entry.known_as).copied().collect();
        for name in &others {
            assert!(!keys().any(|key| key == *name), "{name} is a key of ours");
        }
        for name in ELSEWHERE.iter().flat_map(|(names, _)| *names) {
            assert!(!others.contains(name) && leads_to(name).is_empty(), "{name} is a key and none");
        }
    }
}
